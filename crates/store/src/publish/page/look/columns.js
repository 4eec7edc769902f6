// Columns of a store's tables: short arrays along time, packed with zstd.

import { unpack } from "../../../../../javascript/js/icechunk/index.js";
import { joined } from "../../../../../javascript/js/read.js";

/** Most bytes of a chunk of a column. */
const MOST = 1 << 26;
const TYPES = { int64: BigInt64Array, float32: Float32Array, uint32: Uint32Array, uint16: Uint16Array };

/** Values of a column; `undefined` where there is no such array. */
export async function column(store, path) {
  const document = store.document(path);
  if (!document) return undefined;
  const { shape: [length], data_type: type, codecs, fill_value: fill } = document;
  const [{ configuration: { chunk_shape: [size] } }] = [document.chunk_grid];
  const [form, packing, ...others] = codecs.map((codec) => codec.name);
  if (others.length || packing !== "zstd" || !["bytes", "vlen-utf8"].includes(form)) throw new Error(`${path} has codecs that are not known here`);
  const values = [];
  for (let start = 0; start < length; start += size) {
    const count = Math.min(size, length - start);
    const place = await store.place(path, [start / size]);
    const chunk = place && unpack(await store.read(place), MOST);
    if (!chunk) values.push(...Array(count).fill(fill === "NaN" ? NaN : fill));
    else if (form === "vlen-utf8") values.push(...texts(chunk).slice(0, count));
    else values.push(...numbers(chunk, type).slice(0, count));
  }
  return values;
}

function numbers(chunk, type) {
  // A copy stands at a multiple of any number's size.
  const found = new TYPES[type](joined([chunk]).buffer);
  return Array.from(found, Number);
}

/** How many there are, then the length of each and the text. */
function texts(chunk) {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  const [decoder, out] = [new TextDecoder(), []];
  const count = view.getUint32(0, true);
  for (let at = 4; out.length < count;) {
    const length = view.getUint32(at, true);
    out.push(decoder.decode(chunk.subarray(at + 4, at + 4 + length)));
    at += 4 + length;
  }
  return out;
}

/** The store's products, newest first: name, time, cloud cover, and in which trees at which step each stands. */
export async function products(store) {
  const trees = ["", ...store.paths.filter((path) => /^\/eras\/[^/]+$/.test(path))];
  const found = new Map();
  for (const tree of trees) {
    const [times, names, clouds] = await Promise.all(["time", "product_id", "cloud_cover"].map((name) => column(store, `${tree}/products/${name}`)));
    (names ?? []).forEach((name, step) => {
      const known = found.get(name) ?? { name, time: times[step], cloud: clouds?.[step] ?? NaN, places: [] };
      known.places.push({ tree, step });
      found.set(name, known);
    });
  }
  return [...found.values()].sort((a, b) => b.time - a.time || (a.name < b.name ? 1 : -1));
}
