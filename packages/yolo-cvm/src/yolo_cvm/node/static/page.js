"use strict";

const by = (id) => document.getElementById(id);
const colours = ["#0067a5", "#be4600", "#00795a", "#6b3fa0", "#b3261e", "#6e6000", "#007682"];
let picture = null;
let query = null;
let turn = 0;

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function say(place, text, kind) {
  place.textContent = text;
  place.className = kind || "";
}

async function ask(path, options) {
  const response = await fetch(path, options);
  const record = await response.json();
  if (!response.ok) throw new Error(record.error);
  return record;
}

// The words of a line: between backticks code, between double stars important.
function inline(text, parent) {
  text.split("`").forEach((part, number) => {
    if (number % 2) {
      element("code", part, parent);
      return;
    }
    part.split("**").forEach((words, place) => {
      const plain = words.replace(/\\([^A-Za-z0-9\s])/g, "$1");
      if (place % 2) element("strong", plain, parent);
      else if (plain) parent.append(plain);
    });
  });
}

// The card of a model: the headings, lists, tables and commands that cards have.
function showCard(card, box) {
  let block = null;
  const within = (name) => {
    if (!block || block.localName !== name) block = element(name, undefined, box);
    return block;
  };
  for (const line of card.split("\n").slice(1)) {
    const [, mark, text] = /^(#+ |> |\s*- |\d+\. |\||```)?(.*)$/.exec(line);
    if (mark === "```") {
      const ended = block && block.localName === "pre";
      block = null;
      if (!ended) within("pre");
    } else if (block && block.localName === "pre") {
      block.append(`${line}\n`);
    } else if (!line.trim()) {
      block = null;
    } else if (!mark) {
      const paragraph = within("p");
      if (paragraph.textContent) paragraph.append(" ");
      inline(text, paragraph);
    } else if (mark === "|") {
      if (/^[\s:|-]+$/.test(text)) continue;
      const row = element("tr", undefined, within("table"));
      for (const cell of text.replace(/\|\s*$/, "").split("|")) {
        inline(cell.trim(), element("td", undefined, row));
      }
    } else if (mark.startsWith("#")) {
      inline(text, element(mark.length > 3 ? "h4" : "h3", undefined, box));
      block = null;
    } else if (mark === "> ") {
      inline(text, within("blockquote"));
    } else if (/\d/.test(mark)) {
      inline(text, element("li", undefined, within("ol")));
    } else {
      const outer = /^\s/.test(mark) && block ? block.lastElementChild : null;
      inline(text, element("li", undefined, outer ? inner(outer) : within("ul")));
    }
  }
}

// The list inside an item of a list.
function inner(item) {
  const last = item.lastElementChild;
  return last && last.localName === "ul" ? last : element("ul", undefined, item);
}

async function showModels() {
  const models = await ask("/models");
  const choice = by("model");
  for (const model of models) {
    if (model.detector) {
      const option = element("option", `${model.title} ${model.info_hash.slice(0, 8)}`, choice);
      option.value = model.info_hash;
    }
    const box = element("details", undefined, by("models"));
    const line = element("summary", model.title, box);
    element("code", model.info_hash, line);
    if (model.error) element("p", model.error, box).className = "bad";
    const facts = element("dl", undefined, box);
    for (const [name, value] of Object.entries(model.facts)) {
      element("dt", name, facts);
      element("dd", value, facts);
    }
    if (model.card) showCard(model.card, box);
  }
  if (!models.length) element("p", "The store holds no model.", by("models"));
  if (!choice.length) say(by("status"), "The store holds no detector.", "bad");
}

function paint(image, detections) {
  const canvas = by("canvas");
  const pen = canvas.getContext("2d");
  canvas.width = image.width;
  canvas.height = image.height;
  pen.drawImage(image, 0, 0);
  const size = Math.max(12, Math.round((image.width + image.height) / 80));
  pen.lineWidth = Math.max(2, size / 6);
  pen.font = `${size}px system-ui, sans-serif`;
  pen.textBaseline = "bottom";
  for (const found of [...detections].reverse()) {
    const [left, top, right, bottom] = found.box;
    const label = `${found.name} ${found.score.toFixed(2)}`;
    const base = top > size * 1.4 ? top : top + size * 1.4;
    pen.strokeStyle = pen.fillStyle = colours[found.class % colours.length];
    pen.strokeRect(left, top, right - left, bottom - top);
    const width = pen.measureText(label).width + size / 2;
    const start = Math.max(0, Math.min(left, image.width - width));
    pen.fillRect(start, base - size * 1.4, width, size * 1.4);
    pen.fillStyle = "#fff";
    pen.fillText(label, start + size / 4, base);
  }
}

async function detect(file) {
  const mine = ++turn;
  picture = file;
  say(by("status"), "Computing …");
  query = new URLSearchParams({ model: by("model").value });
  if (by("conf").value) query.set("conf", by("conf").value);
  try {
    const record = await ask(`/detect?receipt=0&${query}`, { method: "POST", body: file });
    const image = await createImageBitmap(file);
    if (mine !== turn) return;
    paint(image, record.detections);
    const list = by("boxes");
    list.replaceChildren();
    for (const found of record.detections) {
      const corners = found.box.map(Math.round).join(" ");
      element("li", `${found.name} ${found.score.toFixed(3)}, at ${corners}`, list);
    }
    const digests = by("digests");
    digests.replaceChildren();
    const rows = { "Input": record.input_digest, "Output": record.output_digest,
      "Gas": record.gas.toLocaleString("en") };
    for (const [name, value] of Object.entries(rows)) {
      element("dt", name, digests);
      element("code", value, element("dd", undefined, digests));
    }
    by("result").hidden = false;
    const many = record.detections.length === 1 ? "1 object" : `${record.detections.length} objects`;
    say(by("status"), `${many} in ${record.milliseconds} ms`, "good");
  } catch (error) {
    if (mine !== turn) return;
    by("result").hidden = true;
    say(by("status"), error.message, "bad");
  }
}

async function receipt() {
  const button = by("receipt");
  button.disabled = true;
  say(by("status"), "Recording every operator of the network …");
  try {
    const record = await ask(`/detect?${query}`, { method: "POST", body: picture });
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([record.receipt]));
    link.download = "receipt.json";
    link.click();
    URL.revokeObjectURL(link.href);
    say(by("status"), "The receipt is downloaded.", "good");
  } catch (error) {
    say(by("status"), error.message, "bad");
  }
  button.disabled = false;
}

async function verify(file) {
  say(by("verdict"), "Computing …");
  const form = new FormData();
  form.append("receipt", file);
  if (picture) form.append("picture", picture);
  try {
    const record = await ask("/verify", { method: "POST", body: form });
    say(by("verdict"), record.verdict, record.verified ? "good" : "bad");
  } catch (error) {
    say(by("verdict"), error.message, "bad");
  }
}

function takes(place, input, job) {
  input.addEventListener("change", () => {
    if (input.files.length) job(input.files[0]);
    input.value = "";
  });
  place.addEventListener("dragover", (event) => {
    event.preventDefault();
    place.classList.add("over");
  });
  place.addEventListener("dragleave", () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    place.classList.remove("over");
    if (event.dataTransfer.files.length) job(event.dataTransfer.files[0]);
  });
}

takes(by("drop"), by("file"), detect);
takes(by("drop-receipt"), by("receipt-file"), verify);
by("receipt").addEventListener("click", receipt);
by("model").addEventListener("change", () => picture && detect(picture));
by("conf").addEventListener("change", () => picture && detect(picture));
showModels().catch((error) => say(by("status"), error.message, "bad"));
