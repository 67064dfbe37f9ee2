// SHA-256 of bytes. The browser's own digest is asynchronous and absent on pages without https.
const SHA256_K = new Uint32Array(64);
const SHA256_START = new Uint32Array(8);
(() => {
  // The constants are the fractional parts of roots of the first primes (FIPS 180-4, 4.2.2).
  const fraction = (value) => Math.floor((value - Math.floor(value)) * 2 ** 32);
  let found = 0;
  for (let n = 2; found < 64; ++n) {
    let prime = true;
    for (let d = 2; d * d <= n; ++d) prime = prime && n % d !== 0;
    if (!prime) continue;
    if (found < 8) SHA256_START[found] = fraction(Math.sqrt(n));
    SHA256_K[found++] = fraction(Math.cbrt(n));
  }
})();

class Sha256 {
  constructor() {
    this.state = SHA256_START.slice();
    this.block = new Uint8Array(64);
    this.held = 0;
    this.length = 0;
    this.words = new Uint32Array(64);
  }

  update(bytes) {
    this.length += bytes.length;
    let at = 0;
    while (at < bytes.length) {
      const take = Math.min(64 - this.held, bytes.length - at);
      this.block.set(bytes.subarray(at, at + take), this.held);
      this.held += take;
      at += take;
      if (this.held === 64) this.compress();
    }
    return this;
  }

  compress() {
    const w = this.words, b = this.block, s = this.state;
    for (let i = 0; i < 16; ++i)
      w[i] = (b[4 * i] << 24) | (b[4 * i + 1] << 16) | (b[4 * i + 2] << 8) | b[4 * i + 3];
    const turn = (x, n) => (x >>> n) | (x << (32 - n));
    for (let i = 16; i < 64; ++i) {
      const p = w[i - 15], q = w[i - 2];
      const s0 = turn(p, 7) ^ turn(p, 18) ^ (p >>> 3), s1 = turn(q, 17) ^ turn(q, 19) ^ (q >>> 10);
      w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
    }
    let [a, bb, c, d, e, f, g, h] = s;
    for (let i = 0; i < 64; ++i) {
      const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25), choice = (e & f) ^ (~e & g);
      const one = (h + s1 + choice + SHA256_K[i] + w[i]) | 0;
      const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22), most = (a & bb) ^ (a & c) ^ (bb & c);
      const two = (s0 + most) | 0;
      h = g, g = f, f = e, e = (d + one) | 0, d = c, c = bb, bb = a, a = (one + two) | 0;
    }
    [a, bb, c, d, e, f, g, h].forEach((v, i) => { s[i] = (s[i] + v) | 0; });
    this.held = 0;
  }

  digest() {
    const bits = this.length * 8;
    this.update(new Uint8Array([0x80]));
    while (this.held !== 56) this.update(new Uint8Array(1));
    const tail = new DataView(new ArrayBuffer(8));
    tail.setUint32(0, Math.floor(bits / 2 ** 32));
    tail.setUint32(4, bits >>> 0);
    this.update(new Uint8Array(tail.buffer));
    const out = new DataView(new ArrayBuffer(32));
    this.state.forEach((v, i) => out.setUint32(4 * i, v));
    return new Uint8Array(out.buffer);
  }
}

const sha256 = (...parts) => {
  const hash = new Sha256();
  for (const part of parts) hash.update(part);
  return hash.digest();
};
const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
const unhex = (text) => Uint8Array.from(text.match(/../g) || [], (pair) => parseInt(pair, 16));
