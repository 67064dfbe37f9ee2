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
  const header = JSON.parse(ascii(bytes.subarray(at, at + length)));
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
  return { header, words, constants };
}
