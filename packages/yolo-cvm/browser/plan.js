// Reads the file of a prepared plan, as engine/prepared.py of yolo-cvm writes it.
const PLAN_MAGIC = "yolo-cvm plan 1\n";
const PLAN_LIMIT = 1 << 30;

const ascii = (bytes) => new TextDecoder("ascii").decode(bytes);

function readPlan(bytes) {
  const refuse = (why) => { throw new Error(`The plan is not usable: ${why}.`); };
  if (bytes.length > PLAN_LIMIT || bytes.length < 64) refuse("its size is wrong");
  if (ascii(bytes.subarray(0, PLAN_MAGIC.length)) !== PLAN_MAGIC) refuse("it is another file");
  const end = bytes.length - 32;
  if (hex(sha256(bytes.subarray(0, end))) !== hex(bytes.subarray(end))) refuse("it is damaged");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = PLAN_MAGIC.length;
  const length = view.getUint32(at, true);
  at += 4;
  if (at + length > end) refuse("its header is too long");
  const header = readHeader(ascii(bytes.subarray(at, at + length)));
  if (header === null) refuse("its header cannot be read");
  at += length;
  at += -at & 7;
  const part = (size) => {
    if (!Number.isSafeInteger(size) || size < 0 || at + size > end) refuse("it is too short");
    const found = bytes.subarray(at, at + size);
    at += size + (-size & 7);
    return found;
  };
  const words = part(8 * header.words);
  const constants = header.constants.map(([size, count]) => {
    if (size !== 1 && size !== 4) refuse("a constant has elements of another size");
    return { bytes: part(size * count), count };
  });
  if (at !== end) refuse("it is too long");
  if (!agree(header, words, constants)) refuse("its header is not that of its words");
  return { header, words, constants };
}

const countOf = (shape) => shape.reduce((a, b) => a * b, 1);

// The header with fields of the right kinds; null for anything else.
function readHeader(text) {
  const size = (value) => Number.isInteger(value) && value > 0 && value <= 2 ** 30;
  const list = (value, fits) => Array.isArray(value) && value.every(fits);
  const shape = (value) => list(value, size) && size(countOf(value));
  let found = null;
  try {
    found = JSON.parse(text);
  } catch {
    return null;
  }
  const right = found instanceof Object && size(found.words) && shape(found.input) && list(found.outputs, shape)
    && list(found.constants, (one) => list(one, size) && one.length === 2)
    && list(found.heads, (head) => head === 0 || (size(head) && head < found.outputs.length))
    && size(found.precision) && found.precision <= 32;
  return right && found.outputs.length > 0 ? found : null;
}

// Whether the words, which the library checks, speak of the sizes that the page takes memory for.
function agree(header, words, constants) {
  const { input, outputs } = header;
  // format, arena, input, constants, tensors, steps, outputs; then a size for each output and constant
  const told = [countOf(input), constants.length, outputs.length, ...outputs.map(countOf), ...header.constants.map(([size]) => size)];
  const places = [2, 3, 6, ...told.slice(3).map((_, k) => 7 + k)];
  if (words.length < 8 * (7 + told.length - 3)) return false;
  const view = new DataView(words.buffer, words.byteOffset, words.length);
  return told.every((size, k) => view.getBigInt64(8 * places[k], true) === BigInt(size));
}
