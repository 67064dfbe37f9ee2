// The page: a plan, then a picture or an input, then the result, and a receipt to compare with.
const ELEMENT = (id) => document.getElementById(id);
const page = { engine: null, ready: null, ext: null, input: null, heads: null, roots: null };

function tell(id, words, bad = false) {
  ELEMENT(id).textContent = words;
  ELEMENT(id).className = bad ? "bad" : "good";
}

// Shows what an action throws, in words, beside the thing that was dropped.
function guarded(id, action) {
  return async (...values) => {
    tell(id, "…");
    try {
      await action(...values);
    } catch (error) {
      tell(id, error.message, true);
    }
  };
}

const openPlan = guarded("plan-told", async (file) => {
  const plan = readPlan(new Uint8Array(await file.arrayBuffer()));
  page.engine = await Engine.load(unpacked(ELEMENT("engine").textContent));
  page.ready = page.engine.prepare(plan);
  page.ext = plan.header.ext;
  page.heads = null;
  tell("plan-told", `input ${plan.header.input.join("x")}, ${plan.header.gas.toLocaleString("en")} gas, model ${plan.header.model}`);
});

const openInput = guarded("input-told", async (file) => {
  if (!page.ready) throw new Error("Choose a plan first.");
  const bytes = new Uint8Array(await file.arrayBuffer());
  const shape = page.ready.plan.header.input;
  let where = null, pixels = null;
  if (ascii(bytes.subarray(1, 6)) === "NUMPY") {
    page.input = readNpy(bytes, shape);
  } else {
    if (!page.ext) throw new Error("The plan does not say how pictures become its input.");
    pixels = await decoded(file);
    ({ input: page.input, where } = encodePicture(pixels.rgb, pixels.height, pixels.width, page.ext));
  }
  const start = performance.now();
  page.heads = page.engine.run(page.ready, page.input);
  const took = performance.now() - start;
  const shapes = page.ready.plan.header.heads.map((k) => page.ready.plan.header.outputs[k]);
  page.roots = { input: tensorRoot(page.input, shape), heads: page.heads.map((head, k) => tensorRoot(head, shapes[k])) };
  tell("input-told", `${took.toFixed(0)} ms; input ${page.roots.input}; output ${page.roots.heads.join(", ")}`);
  show(where, pixels, file);
});

const openReceipt = guarded("receipt-told", async (file) => {
  if (!page.heads) throw new Error("Run an input first.");
  const receipt = JSON.parse(await file.text());
  const fault = receiptFault(receipt);
  if (fault) throw new Error(`The receipt is not sound: ${fault}.`);
  const wrong = difference(receipt, page.ready.plan.header, page.roots.input, page.roots.heads);
  if (wrong) throw new Error(`Differs: ${wrong}.`);
  tell("receipt-told", `Same bytes: input and output are those of the receipt ${receipt.identity}. What single operators gave is not looked at here; yolo-cvm verify does that.`);
});

// The int8 or int32 values of a .npy file of the wanted shape.
function readNpy(bytes, shape) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const wide = bytes[6] > 1, length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const start = (wide ? 12 : 10) + length, told = ascii(bytes.subarray(wide ? 12 : 10, start));
  const kind = (told.match(/'descr': '([|<]i[14])'/) || [])[1];
  const dims = ((told.match(/'shape': \(([0-9, ]*)\)/) || [])[1] || "").split(",").map(Number).filter(Boolean);
  const size = shape.reduce((a, b) => a * b, 1), one = kind === "|i1" ? 1 : 4;
  if (!kind || /True/.test(told) || dims.join() !== shape.join() || bytes.length !== start + one * size)
    throw new Error(`The file is not usable: int8 or int32 of ${shape.join("x")} are expected.`);
  return Int32Array.from({ length: size }, (_, i) => one === 1 ? view.getInt8(start + i) : view.getInt32(start + 4 * i, true));
}

// The RGB bytes of a picture as this browser decodes it, upright.
async function decoded(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  if (width * height > 1 << 26) throw new Error("The picture has more than 67 million pixels.");
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data, rgb = new Uint8Array(3 * width * height);
  for (let i = 0, o = 0; i < rgba.length; i += 4, o += 3)
    for (let k = 0; k < 3; ++k) rgb[o + k] = rgba[i + k];
  return { rgb, width, height, bitmap };
}

function show(where, pixels) {
  const canvas = ELEMENT("picture"), list = ELEMENT("boxes");
  list.replaceChildren();
  canvas.hidden = !pixels;
  if (!pixels) return;
  canvas.width = pixels.width;
  canvas.height = pixels.height;
  const context = canvas.getContext("2d");
  context.drawImage(pixels.bitmap, 0, 0);
  if (!page.ext.detection.boxes) {
    list.append(entry("The model puts out rows; `yolo-mrt boxes` makes one that puts out boxes."));
    return;
  }
  const line = Math.max(2, Math.round(pixels.width / 400));
  context.lineWidth = line;
  context.strokeStyle = "#e6194b";
  context.fillStyle = "#e6194b";
  context.font = `${6 * line}px sans-serif`;
  for (const found of readBoxes(page.heads[0], page.ext, where)) {
    const [x1, y1, x2, y2] = found.box;
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.fillText(found.name, x1, Math.max(y1 - line, 6 * line));
    const corners = found.box.map((v) => Math.round(v)).join(" ");
    list.append(entry(`${found.score.toFixed(3)}  ${found.name}  ${corners}`));
  }
  if (!list.children.length) list.append(entry("no boxes"));
}

function entry(words) {
  const item = document.createElement("li");
  item.textContent = words;
  return item;
}

// Bytes from base64.
function unpacked(base64) {
  const raw = atob(base64.trim());
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

// The field is emptied, so that a changed file of the same name can be chosen again.
function chosen(event, open) {
  const file = event.target.files[0];
  if (!file) return;
  open(file).then(() => {
    event.target.value = "";
    document.body.dataset.done = String(Number(document.body.dataset.done || 0) + 1);
  });
}

for (const [id, open] of [["plan", openPlan], ["input", openInput], ["receipt", openReceipt]])
  ELEMENT(id).addEventListener("change", (event) => chosen(event, open));
