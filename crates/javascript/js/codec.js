// Chunks of one array, decoded.

import { CodecError, initialize } from "./decoder.js";

const MORE = 2;
const WHOLE = 3;

/** @typedef {import("./decoder.js").Decoder} Decoder */
/** @typedef {import("./decoder.js").WasmSource} WasmSource */

/**
 * The configuration of the codec, as it stands in array metadata.
 *
 * @typedef {object} Configuration
 * @property {string} main_header
 * @property {number} [reduce] resolutions left out
 */

/**
 * Rows and columns of a chunk, in its own samples; the first is inside, the last is not.
 *
 * @typedef {object} Window
 * @property {readonly [number, number]} y
 * @property {readonly [number, number]} x
 */

/**
 * Bytes of a chunk, and where in it they begin.
 *
 * @typedef {object} Part
 * @property {number} offset
 * @property {Uint8Array} bytes
 */

/**
 * What to read of a chunk: `more` asks again with so many of its first bytes; `whole` is all of it; `parts` are the first bytes that
 * were given and these ranges. `lead` bytes lie before the first packet that is not needed: those of a chunk at its own `reduce` are
 * a legal chunk.
 *
 * @typedef {{ kind: "more", bytes: number }
 *   | { kind: "whole" }
 *   | { kind: "parts", total: number, head: number, lead: number, ranges: [number, number][] }} Plan
 */

/** @typedef {Uint8Array | Int8Array | Uint16Array | Int16Array} Samples */
/** @typedef {"uint8" | "int8" | "uint16" | "int16"} DataType */

const TYPES = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array };

/** Decodes the chunks of one array. */
export class Codec {
  /** @type {Decoder} */
  #decoder;
  /** @type {number | undefined} */
  #number;

  /**
   * @param {Decoder} decoder that {@link initialize} gives
   * @param {Configuration} configuration
   * @throws {CodecError} for a main header that is damaged or not supported
   */
  constructor(decoder, configuration) {
    const { main_header: header, reduce = 0, ...others } = configuration;
    if (typeof header !== "string") throw new CodecError("main_header is no text");
    if (!Number.isInteger(reduce) || reduce < 0) throw new CodecError(`reduce is ${reduce}`);
    for (const name of Object.keys(others)) throw new CodecError(`the codec has no field ${name}`);
    decoder.call("open", [new TextEncoder().encode(header)], reduce);
    const [number, components, height, width, bytes, signed, rows, columns, levels, head] = decoder.numbers();
    this.#decoder = decoder;
    this.#number = number;
    /** Components, rows and columns of a chunk. @type {readonly [number, number, number]} */
    this.shape = [components, height, width];
    /** Rows and columns of the image. @type {readonly [number, number]} */
    this.imageShape = [rows, columns];
    /** @type {DataType} */
    this.dataType = `${signed ? "int" : "uint"}${bytes === 1 ? 8 : 16}`;
    /** The most resolutions that can be left out. */
    this.levels = levels;
    /** First bytes of a chunk that are mostly enough for {@link Codec.plan}. */
    this.headBytes = head;
  }

  /**
   * Loads the decoder and makes a codec.
   *
   * @param {Configuration} configuration
   * @param {WasmSource} [wasm] see {@link initialize}
   */
  static async create(configuration, wasm) {
    return new Codec(await initialize(wasm), configuration);
  }

  /**
   * Decodes a chunk, or a window of it. Samples stand component by component and row by row; those beyond the image are `fill`.
   *
   * @param {Uint8Array} chunk
   * @param {{ window?: Window, fill?: number }} [options]
   * @returns {Samples}
   */
  decode(chunk, { window, fill = 0 } = {}) {
    this.#decoder.call("decode", [chunk], this.#open(), fill, ...this.#edges(window));
    return this.#samples();
  }

  /**
   * Decodes a window from parts of a chunk: its first bytes, and the ranges of the plan.
   *
   * @param {readonly Part[]} parts
   * @param {{ window?: Window, fill?: number }} [options]
   * @returns {Samples}
   */
  decodeParts(parts, { window, fill = 0 } = {}) {
    const places = Uint32Array.from(parts.flatMap(({ offset, bytes }) => [offset, bytes.byteLength]));
    const input = [new Uint8Array(places.buffer), ...parts.map(({ bytes }) => bytes)];
    this.#decoder.call("decode_parts", input, this.#open(), fill, ...this.#edges(window), parts.length);
    return this.#samples();
  }

  /**
   * What of a chunk a window needs (or the whole chunk at this `reduce`), told by its first bytes.
   *
   * @param {Uint8Array} head
   * @param {{ window?: Window, gap?: number }} [options] ranges up to `gap` bytes apart are read as one
   * @returns {Plan}
   */
  plan(head, { window, gap = 0 } = {}) {
    const state = this.#decoder.call("plan", [head], this.#open(), ...this.#edges(window), gap);
    if (state === WHOLE) return { kind: "whole" };
    const [first, ...numbers] = this.#decoder.numbers();
    if (state === MORE) return { kind: "more", bytes: first };
    const [headEnd, lead, ...edges] = numbers;
    /** @type {[number, number][]} */
    const ranges = [];
    for (let i = 0; i < edges.length; i += 2) ranges.push([edges[i], edges[i + 1]]);
    return { kind: "parts", total: first, head: headEnd, lead, ranges };
  }

  /** Gives its memory back. It decodes nothing any more. */
  close() {
    if (this.#number !== undefined) this.#decoder.close(this.#number);
    this.#number = undefined;
  }

  #open() {
    if (this.#number === undefined) throw new CodecError("the codec is closed");
    return this.#number;
  }

  /** @param {Window} [window] */
  #edges(window) {
    const [, height, width] = this.shape;
    const edges = window ? [...window.y, ...window.x] : [0, height, 0, width];
    // WebAssembly takes numbers modulo 2^32.
    if (edges.some((edge) => !Number.isInteger(edge) || edge < 0 || edge >= 2 ** 32)) throw new CodecError(`window ${edges}`);
    return edges;
  }

  #samples() {
    const output = this.#decoder.output();
    return new TYPES[this.dataType](output.slice().buffer);
  }
}
