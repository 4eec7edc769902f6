// Workers that decode, each with a module of its own.

/** Decodes in several workers at once. */
export class Pool {
  #free = [];
  #waiting = [];

  /** `script` is what each of them runs. */
  constructor(script, count) {
    this.#free = Array.from({ length: count }, () => new Worker(script, { type: "module", name: "decoder" }));
  }

  /** Samples of a chunk, or of a beginning of it. */
  async decode(task) {
    const worker = this.#free.pop() ?? (await new Promise((done) => this.#waiting.push(done)));
    try {
      return await answer(worker, task);
    } finally {
      const next = this.#waiting.shift();
      if (next) next(worker);
      else this.#free.push(worker);
    }
  }
}

function answer(worker, task) {
  return new Promise((done, fail) => {
    worker.onmessage = ({ data }) => (data.error === undefined ? done(data.samples) : fail(new Error(data.error)));
    worker.onerror = (event) => fail(new Error(event.message || "a worker cannot be started"));
    worker.postMessage({ role: "decoder", ...task });
  });
}
