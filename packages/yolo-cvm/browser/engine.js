// The compiled library in WebAssembly: a plan made ready once, and runs of it.
class Engine {
  static async load(code) {
    let memory = null;
    const text = (at, size) => new TextDecoder().decode(new Uint8Array(memory.buffer, at, size));
    const nothing = () => 0;
    const clock = (id, precision, at) => {
      new DataView(memory.buffer).setBigUint64(at, BigInt(Math.round(performance.now() * 1e6)), true);
      return 0;
    };
    const imports = new Proxy({ clock_time_get: clock, proc_exit: () => { throw new Error("The engine ended."); } }, {
      get: (own, name) => own[name] || nothing,
    });
    const found = await WebAssembly.instantiate(code, {
      env: new Proxy({}, { get: () => nothing }),
      wasi_snapshot_preview1: imports,
    });
    const { exports } = found.instance;
    memory = exports.memory;
    if (exports._initialize) exports._initialize();
    return new Engine(exports, text);
  }

  constructor(exports, text) {
    this.exports = exports;
    this.text = text;
  }

  copy(bytes) {
    const at = this.exports.malloc(bytes.length || 1);
    if (!at) throw new Error("The page has too little memory for this model.");
    new Uint8Array(this.exports.memory.buffer).set(bytes, at);
    return at;
  }

  check(code) {
    if (code === 0) return;
    const start = this.exports.cvm_message();
    const bytes = new Uint8Array(this.exports.memory.buffer);
    throw new Error(`The engine refuses the plan: ${this.text(start, bytes.indexOf(0, start) - start)}.`);
  }

  // Makes a plan ready. The library checks every word of it. set: "wasm", "portable" or the best.
  prepare(plan, set = "") {
    const x = this.exports;
    const words = this.copy(plan.words);
    const places = plan.constants.map((constant) => this.copy(constant.bytes));
    const pointers = this.copy(new Uint8Array(new Uint32Array(places).buffer));
    const counts = this.copy(new Uint8Array(BigInt64Array.from(plan.constants, (c) => BigInt(c.count)).buffer));
    const name = this.copy(new TextEncoder().encode(`${set}\0`));
    const out = this.copy(new Uint8Array(8));
    const pointer = () => new DataView(x.memory.buffer).getUint32(out, true);
    this.check(x.cvm_plan_new(words, BigInt(plan.header.words), pointers, counts, name, out));
    const ready = pointer();
    this.check(x.cvm_execution_new(ready, 1, out));
    const execution = pointer();
    const sizes = plan.header.outputs.map((shape) => shape.reduce((a, b) => a * b, 1));
    const outputs = sizes.map((size) => this.copy(new Uint8Array(4 * size)));
    const table = this.copy(new Uint8Array(new Uint32Array(outputs).buffer));
    const input = this.copy(new Uint8Array(4 * plan.header.input.reduce((a, b) => a * b, 1)));
    return { plan, execution, sizes, outputs, table, input };
  }

  // The heads of one inference as Int32Arrays. data: Int32Array within the declared precision.
  run(ready, data) {
    const x = this.exports, { header } = ready.plan;
    if (data.length !== header.input.reduce((a, b) => a * b, 1)) throw new Error("The input has another size.");
    new Int32Array(x.memory.buffer).set(data, ready.input >> 2);
    const bound = 2 ** (header.precision - 1) - 1;
    const all = 1n << 60n;
    // Where the first step reads the whole input, it looks at the values, and none is left to begin.
    const inside = x.cvm_begin(ready.execution, ready.input, ready.table, bound)
      && x.cvm_advance(ready.execution, all, 1e9) >= 0n;
    if (!inside) throw new Error(`The input holds values beyond ${bound}.`);
    const results = ready.outputs.map((at, k) => new Int32Array(x.memory.buffer, at, ready.sizes[k]).slice());
    return header.heads.map((k) => results[k]);
  }
}
