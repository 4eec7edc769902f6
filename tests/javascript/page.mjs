// Does tasks in the page, or in a worker of its own.
import { run } from "./read.mjs";

const failed = (error) => ({ error: `${error.name}: ${error.message}`, cause: String(error.cause ?? "") });
globalThis.here = (name, options) => run(name, options).catch(failed);
globalThis.inWorker = (name, options) =>
  new Promise((done) => {
    const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }) => done(data);
    worker.onerror = (event) => done({ error: event.message });
    worker.postMessage([name, options]);
  });
