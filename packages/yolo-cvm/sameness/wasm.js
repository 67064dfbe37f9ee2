// The digest of all outputs by the engine in WebAssembly, under Node.js: as job.py computes it.
//     node wasm.js BROWSER ENGINE.wasm ITEMS SET
// ITEMS holds folders with `plan` and `input.i32`; BROWSER the scripts of the page; SET: "wasm",
// whose vectors they are, or "portable".
const fs = require("fs");
const path = require("path");
const { createHash } = require("crypto");

const [browser, library, items, set] = process.argv.slice(2);
const scripts = ["sha256.js", "plan.js", "engine.js"].map((name) => fs.readFileSync(path.join(browser, name), "utf8"));
const { readPlan, Engine } = new Function(`${scripts.join("\n")}; return { readPlan, Engine };`)();

async function main() {
  const code = fs.readFileSync(library);
  const digest = createHash("sha256");
  for (const name of fs.readdirSync(items).sort()) {
    digest.update(`${name}\n`);
    // An engine for each: what one has prepared is never freed.
    const engine = await Engine.load(code);
    const plan = readPlan(new Uint8Array(fs.readFileSync(path.join(items, name, "plan"))));
    const bytes = fs.readFileSync(path.join(items, name, "input.i32"));
    const data = new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    engine.run(engine.prepare(plan, set), data).forEach((head, k) => {
      digest.update(`${plan.header.outputs[plan.header.heads[k]].join("x")}\n`);
      digest.update(new Uint8Array(head.buffer, head.byteOffset, head.byteLength));
    });
  }
  console.log(digest.digest("hex"));
}

main().catch((error) => { console.error(error.message); process.exit(1); });
