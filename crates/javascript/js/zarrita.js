// The codec for zarrita (https://zarrita.dev), and overviews by their beginnings.

import { CODEC_NAME } from "./index.js";
import { Codec } from "./codec.js";
import { CodecError, initialize } from "./decoder.js";
import { joined, readParts } from "./read.js";

/** @typedef {import("./codec.js").Configuration} Configuration */
/** @typedef {import("./decoder.js").WasmSource} WasmSource */

/**
 * What zarrita tells a codec of its array. `shape` is that of a chunk.
 *
 * @typedef {object} ChunkMetadata
 * @property {string} dataType
 * @property {readonly number[]} shape
 * @property {unknown} fillValue
 */

/**
 * Makes the codec known to zarrita: `register(zarr.registry)`.
 *
 * @param {Map<string, any>} registry
 * @param {WasmSource} [wasm] see `initialize`
 */
export function register(registry, wasm) {
  registry.set(CODEC_NAME, async () => {
    const decoder = await initialize(wasm);
    return { fromConfig: (/** @type {Configuration} */ configuration, /** @type {ChunkMetadata} */ meta) => zarritaCodec(decoder, configuration, meta) };
  });
}

/**
 * @param {import("./decoder.js").Decoder} decoder
 * @param {Configuration} configuration
 * @param {ChunkMetadata} meta
 */
function zarritaCodec(decoder, configuration, meta) {
  const codec = new Codec(decoder, configuration);
  const shape = [...meta.shape];
  const [components, height, width] = codec.shape;
  const own = components === 1 ? [height, width] : [components, height, width];
  // Axes of length 1 may stand in front; of one component it may be its own.
  const front = shape.slice(0, shape.length - own.length);
  if (front.some((length) => length !== 1) || own.some((length, i) => shape[front.length + i] !== length)) {
    throw new CodecError(`chunks of ${shape} are not those of the main header, ${own}`);
  }
  if (meta.dataType !== codec.dataType) throw new CodecError(`data type ${meta.dataType} where the main header says ${codec.dataType}`);
  const fill = Number(meta.fillValue ?? 0);
  const stride = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  return {
    kind: /** @type {const} */ ("array_to_bytes"),
    /** @param {Uint8Array} bytes */
    decode: (bytes) => ({ data: codec.decode(bytes, { fill }), shape, stride }),
    encode() {
      throw new CodecError(`${CODEC_NAME} reads only`);
    },
  };
}

/**
 * @typedef {object} Store
 * @property {(key: any, options?: any) => any} get
 * @property {(key: any, range: any, options?: any) => any} [getRange]
 */

/** First bytes of an overview's chunk to ask for. */
const FIRST = 1 << 14;

/**
 * A store that gives of the chunks of overviews (`reduce` above 0) what decoding needs, which is their beginning. All else comes as
 * it is.
 *
 * @param {Store} store one with `getRange`
 * @param {WasmSource} [wasm] see `initialize`
 * @returns {Store}
 */
export function withPrefixes(store, wasm) {
  /** @type {Map<string, Promise<Codec | undefined>>} */
  const codecs = new Map();
  /** @param {string} array */
  const codecOf = (array) => {
    const known = codecs.get(array) ?? overview(store, array, wasm).catch(() => undefined);
    codecs.set(array, known);
    return known;
  };
  const { getRange } = store;
  return {
    getRange: getRange?.bind(store),
    async get(key, options) {
      const array = /^(.*)\/c(\/\d+)+$/.exec(key)?.[1];
      const codec = getRange && array !== undefined ? await codecOf(array) : undefined;
      if (!codec) return store.get(key, options);
      let missing = false;
      const { lead, parts } = await readParts(
        codec,
        async (begin, end) => {
          const bytes = await getRange?.call(store, key, { offset: begin, length: end - begin }, options);
          missing ||= bytes === undefined && begin === 0;
          return bytes ?? new Uint8Array();
        },
        { first: FIRST },
      );
      return missing ? undefined : joined(parts.map((part) => part.bytes)).subarray(0, lead);
    },
  };
}

/**
 * The codec of an array whose chunks may be beginnings.
 *
 * @param {Store} store
 * @param {string} array
 * @param {WasmSource} [wasm]
 */
async function overview(store, array, wasm) {
  const bytes = await store.get(`${array}/zarr.json`);
  const codecs = JSON.parse(new TextDecoder().decode(bytes)).codecs;
  const [only, ...others] = Array.isArray(codecs) ? codecs : [];
  if (others.length || only?.name !== CODEC_NAME || !(only.configuration?.reduce > 0)) return undefined;
  return Codec.create(only.configuration, wasm);
}
