// The worker of decode.py for WebAssembly: answers each line, the number of a case, with the CPU seconds of its decoding.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { Codec, initialize } from "../../crates/javascript/js/index.js";

await initialize(readFileSync(new URL("../../crates/store/src/publish/page/vendor/codec.wasm", import.meta.url)));
const cases = JSON.parse(readFileSync(process.argv[2], "utf8"));
const ready = new Map();

async function make({ main_header, reduce, path, windows }) {
  const codec = await Codec.create({ main_header, reduce });
  let chunk = new Uint8Array(readFileSync(`${path}.chunk`));
  if (reduce > 0) {
    const plan = codec.plan(chunk);
    if (plan.kind === "parts") chunk = chunk.subarray(0, plan.lead);
  }
  const areas = windows.map((window) => window && { y: [window[0], window[1]], x: [window[2], window[3]] });
  return () => areas.forEach((window) => codec.decode(chunk, window ? { window } : {}));
}

for await (const line of createInterface({ input: process.stdin })) {
  const number = Number(line);
  if (!ready.has(number)) {
    ready.set(number, await make(cases[number]));
    ready.get(number)();
  }
  const begin = process.cpuUsage();
  ready.get(number)();
  const { user, system } = process.cpuUsage(begin);
  console.log((user + system) / 1e6);
}
