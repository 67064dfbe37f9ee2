// From the pixels of a picture to the model's integers, by the definition in yolo_core's letterbox.
const FILL = 114;

function halfEven(x) {
  const low = Math.floor(x), rest = x - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}

// Where a picture of height x width pixels goes inside rows x columns.
function place(height, width, rows, columns, mode) {
  if (mode === "squash") return { height, width, rows, columns, left: 0, top: 0 };
  const ratio = Math.min(rows / height, columns / width);
  const fitted = [height, width].map((side) => Math.max(halfEven(side * ratio), 1));
  return {
    height, width, rows: fitted[0], columns: fitted[1],
    left: Math.floor((columns - fitted[1]) / 2), top: Math.floor((rows - fitted[0]) / 2),
  };
}

// For each target pixel: its two source indices and their weights of 11 bits.
function taps(source, target) {
  const scale = 1.0 / (target / source), one = 2048;
  const first = new Int32Array(target), second = new Int32Array(target);
  const left = new Int32Array(target), right = new Int32Array(target);
  for (let i = 0; i < target; ++i) {
    const position = Math.fround((i + 0.5) * scale - 0.5);
    const floor = Math.floor(position);
    let share = Math.fround(position - Math.fround(floor));
    if (floor < 0 || floor >= source - 1) share = 0;
    first[i] = Math.min(Math.max(floor, 0), source - 1);
    second[i] = Math.min(first[i] + 1, source - 1);
    right[i] = halfEven(Math.fround(share * one));
    left[i] = halfEven(Math.fround(Math.fround(1 - share) * one));
  }
  return { first, second, left, right };
}

// Bilinear resize of RGB bytes [height][width][3] with fixed-point weights.
function resize(pixels, height, width, rows, columns) {
  if (height === rows && width === columns) return pixels;
  const x = taps(width, columns), y = taps(height, rows);
  const out = new Uint8Array(rows * columns * 3);
  const lines = new Map();
  const line = (index) => {
    let found = lines.get(index);
    if (found) return found;
    found = new Int32Array(columns * 3);
    const start = index * width * 3;
    for (let c = 0; c < columns; ++c)
      for (let k = 0; k < 3; ++k) {
        const a = pixels[start + 3 * x.first[c] + k], b = pixels[start + 3 * x.second[c] + k];
        found[3 * c + k] = (a * x.left[c] + b * x.right[c]) >> 4;
      }
    if (lines.size > 3) lines.clear();
    lines.set(index, found);
    return found;
  };
  for (let r = 0; r < rows; ++r) {
    const upper = line(y.first[r]), lower = line(y.second[r]);
    for (let i = 0; i < columns * 3; ++i)
      out[r * columns * 3 + i] = (((upper[i] * y.left[r]) >> 16) + ((lower[i] * y.right[r]) >> 16) + 2) >> 2;
  }
  return out;
}

// RGB bytes [height][width][3] -> the model's input as Int32Array, and where the picture went.
function encodePicture(pixels, height, width, ext) {
  const [, , rows, columns] = ext.input_shapes[0], told = ext.detection;
  const where = place(height, width, rows, columns, told.letterbox);
  const fitted = resize(pixels, height, width, where.rows, where.columns);
  const input = ext.inputs_ext.data, bound = 2 ** (input.target_bit - 1) - 1;
  const code = new Int32Array(256);
  for (let v = 0; v < 256; ++v) {
    const exact = Math.floor((v / 255.0) * input.scale + 0.5) + told.input_zero_point;
    code[v] = Math.min(Math.max(exact, -bound), bound);
  }
  const out = new Int32Array(3 * rows * columns).fill(code[FILL]);
  for (let k = 0; k < 3; ++k) {
    const plane = (told.color === "bgr" ? 2 - k : k) * rows * columns;
    for (let r = 0; r < where.rows; ++r)
      for (let c = 0; c < where.columns; ++c)
        out[plane + (r + where.top) * columns + c + where.left] = code[fitted[(r * where.columns + c) * 3 + k]];
  }
  return { input: out, where };
}

// The boxes of a model whose graph decides, in pixels of the picture.
function readBoxes(head, ext, where) {
  const told = ext.detection.boxes, found = [];
  const inside = (v, most) => Math.min(Math.max(v, 0), most);
  for (let at = 0; at < head.length && head[at] >= 0; at += 6) {
    const [x1, y1, x2, y2] = [2, 3, 4, 5].map((k) => head[at + k] / 2 ** told.pixel_bits);
    const sx = where.width / where.columns, sy = where.height / where.rows;
    found.push({
      name: ext.detection.architecture.names[head[at]], score: head[at + 1] / 2 ** told.score_bits,
      box: [
        inside((x1 - where.left) * sx, where.width), inside((y1 - where.top) * sy, where.height),
        inside((x2 - where.left) * sx, where.width), inside((y2 - where.top) * sy, where.height),
      ],
    });
  }
  return found;
}
