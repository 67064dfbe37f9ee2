// What a receipt says (docs/receipt.md), and whether a run on this page agrees with it.
const SPECIFICATION = "CVM, 37 operators, formal back end, 1";

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const keys = Object.keys(value).sort();
    return `{${keys.map((key) => `${canonical(key)}:${canonical(value[key])}`).join(",")}}`;
  }
  const escape = (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(value).replace(/[\u0080-\uffff]/g, escape);
}

const text = (words) => new TextEncoder().encode(words);
const leafOf = (content) => sha256(new Uint8Array([0]), content);

function treeRoot(title, leaves) {
  let level = leaves.length ? leaves : [sha256()];
  while (level.length > 1) {
    const next = [];
    for (let k = 0; k + 1 < level.length; k += 2)
      next.push(sha256(new Uint8Array([1]), level[k], level[k + 1]));
    if (level.length % 2) next.push(level[level.length - 1]);
    level = next;
  }
  const count = new DataView(new ArrayBuffer(8));
  count.setBigUint64(0, BigInt(leaves.length));
  return hex(sha256(new Uint8Array([2]), text(`${title}\n`), new Uint8Array(count.buffer), level[0]));
}

// Root of the tree over a tensor: Int32Array in row-major order, and its shape.
function tensorRoot(data, shape) {
  let ordered = data;
  if (shape.length === 4) {
    const [n, c, h, w] = shape;
    ordered = new Int32Array(data.length);
    for (let b = 0; b < n; ++b)
      for (let k = 0; k < c; ++k)
        for (let p = 0; p < h * w; ++p) ordered[(b * h * w + p) * c + k] = data[(b * c + k) * h * w + p];
  }
  const bytes = new Uint8Array(ordered.length * 4), view = new DataView(bytes.buffer);
  ordered.forEach((v, i) => view.setInt32(4 * i, v, true));
  const leaves = [];
  for (let at = 0; at < bytes.length; at += 1024) leaves.push(leafOf(bytes.subarray(at, at + 1024)));
  return treeRoot(`yolo-cvm tensor 2 int32 ${shape.join("x")}`, leaves);
}

// What is wrong with a receipt's own digests; an empty text where they follow from its fields.
function receiptFault(receipt) {
  if (receipt.format !== "yolo-cvm receipt 2") return "it is no receipt of version 2";
  if (receipt.specification !== SPECIFICATION) return "it follows another specification";
  const leaves = receipt.nodes.map((node) => leafOf(text(canonical(node))));
  if (treeRoot("yolo-cvm receipt 2 nodes", leaves) !== receipt.root) return "its root does not follow from its nodes";
  const { format, nodes, identity, ...fields } = receipt;
  const all = canonical({ ...fields, operators: nodes.length });
  if (hex(sha256(text(`${format}\n${all}`))) !== identity) return "its identity does not follow from its fields";
  return "";
}

// What differs between a receipt and a run; an empty text where nothing does.
function difference(receipt, header, inputRoot, headRoots) {
  for (const key of ["symbol", "params", "model"])
    if (receipt[key] !== header[key]) return `the receipt is of another model (${key})`;
  if (receipt.input !== inputRoot) return "the receipt is of another input";
  const wrong = headRoots.findIndex((root, k) => root !== receipt.heads[k]);
  if (wrong >= 0 || receipt.heads.length !== headRoots.length) return `output ${wrong} differs`;
  return "";
}
