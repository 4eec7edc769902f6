// The WebAssembly module: one for a page, a worker or a Node process.

/** What could not be decoded, in words that name the marker and its place. */
export class CodecError extends Error {
  name = "CodecError";
}

/** States that calls of the module return; see crates/javascript/src/lib.rs. */
const FAILED = 1;

/** @typedef {BufferSource | Response | URL | string} Bytes */
/** @typedef {Bytes | WebAssembly.Module} WasmSource */

/** @type {Promise<Decoder> | undefined} */
let decoder;

/**
 * Loads the decoder. It is loaded once, by whoever is first; later sources are not looked at.
 *
 * @param {WasmSource} [source] bytes, module, response or address of `codec.wasm`; the file beside this one where none is given
 * @returns {Promise<Decoder>}
 */
export function initialize(source) {
  decoder ??= load(source).catch((error) => {
    decoder = undefined;
    throw error;
  });
  return decoder;
}

/** @param {WasmSource} [source] */
async function load(source = new URL("./codec.wasm", import.meta.url)) {
  const module = source instanceof WebAssembly.Module ? source : await WebAssembly.compile(await bytesOf(/** @type {Bytes} */ (source)));
  return new Decoder(new WebAssembly.Instance(module, {}));
}

/** @param {Bytes} source */
async function bytesOf(source) {
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return source;
  if (source instanceof Response) return source.arrayBuffer();
  const url = new URL(source, import.meta.url);
  if (url.protocol === "file:") {
    // Node's fetch reads no files. The name is a variable, lest bundlers for browsers look for it.
    const files = "node:fs/promises";
    const { readFile } = await import(/* webpackIgnore: true */ /* @vite-ignore */ files);
    return readFile(url);
  }
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} answers ${answer.status}`);
  return answer.arrayBuffer();
}

/**
 * The module's functions. Its memory may grow, and then lies elsewhere, in any call: views of it are made anew each time.
 */
export class Decoder {
  /** @type {any} */
  #exports;

  /** @param {WebAssembly.Instance} instance */
  constructor(instance) {
    this.#exports = instance.exports;
  }

  /**
   * Calls a function of the module.
   *
   * @param {"open" | "decode" | "decode_parts" | "plan"} name
   * @param {readonly Uint8Array[]} input what it reads
   * @param {number[]} numbers
   * @returns {number} the state, which is not FAILED
   */
  call(name, input, ...numbers) {
    this.#give(input);
    const state = this.#exports[name](...numbers);
    if (state === FAILED) throw new CodecError(new TextDecoder().decode(this.output()));
    return state;
  }

  /** @param {number} codec */
  close(codec) {
    this.#exports.close(codec);
  }

  /** The output of the last call. It is valid until the next one. */
  output() {
    const { memory, output, output_length: length } = this.#exports;
    return new Uint8Array(memory.buffer, output() >>> 0, length() >>> 0);
  }

  /** The output as numbers. */
  numbers() {
    const bytes = this.output();
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return Array.from({ length: bytes.byteLength >> 2 }, (_, i) => view.getUint32(4 * i, true));
  }

  /** @param {readonly Uint8Array[]} pieces */
  #give(pieces) {
    const length = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
    // Addresses above 2 GiB come as negative numbers.
    const start = this.#exports.input(length) >>> 0;
    if (!start) throw new CodecError(`no memory for ${length} bytes`);
    let at = start;
    for (const piece of pieces) {
      new Uint8Array(this.#exports.memory.buffer, at, piece.byteLength).set(piece);
      at += piece.byteLength;
    }
  }
}
