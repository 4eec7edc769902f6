// Reads arrays of a store and tells what they hold, in Node, in a page and in a worker.
import * as zarr from "zarrita";
import { Codec, firstGuess, readParts } from "@s2ice/codec";
import { IcechunkStore } from "@s2ice/codec/icechunk";
import { register, withPrefixes } from "@s2ice/codec/zarrita";

/** The samples of an array: texts as they are, numbers by their SHA-256. */
export async function told(array) {
  const { data } = await zarr.get(array, array.shape.map(() => null)).then((found) => (found?.data ? found : { data: [found] }));
  const values = array.dtype === "string" ? [...data] : null;
  const sha256 = values || !ArrayBuffer.isView(data) ? null : await digest(data);
  return { dtype: array.dtype, shape: array.shape, values: values ?? (sha256 ? null : String(data[0])), sha256 };
}

async function digest(data) {
  const hash = await crypto.subtle.digest("SHA-256", data);
  return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const TASKS = {
  /** Every array, or those that are named, by zarrita. */
  async arrays({ url, allow, sources, paths, prefixes }) {
    register(zarr.registry);
    const store = await IcechunkStore.open(url, { allow, sources });
    const root = zarr.root(prefixes ? withPrefixes(store) : store);
    const out = {};
    for (const path of paths ?? store.paths.filter((path) => store.document(path).node_type === "array")) {
      out[path] = await told(await zarr.open(root.resolve(path), { kind: "array" }));
    }
    return out;
  },

  /** A window of a chunk, at a level: from its parts, and cut from the whole. */
  async window({ url, allow, sources, path, index, reduce, window }) {
    const store = await IcechunkStore.open(url, { allow, sources });
    const [{ configuration }] = store.document(path).codecs;
    const codec = await Codec.create({ ...configuration, reduce });
    const place = await store.place(path, index);
    let bytes = 0;
    const read = async (begin, end) => {
      const found = await store.read(place, begin, end);
      bytes += found.byteLength;
      return found;
    };
    const first = firstGuess(codec, place.length, reduce + 2);
    const { whole, parts } = await readParts(codec, read, { length: place.length, first, window });
    const samples = whole ? codec.decode(parts[0].bytes, { window }) : codec.decodeParts(parts, { window });
    const all = codec.decode(await store.read(place));
    const width = codec.shape[2];
    const cut = [];
    for (let y = window.y[0]; y < window.y[1]; y += 1) cut.push(...all.subarray(y * width + window.x[0], y * width + window.x[1]));
    return { whole, bytes, length: place.length, samples: [...samples], cut };
  },
};

export const run = (name, options) => TASKS[name](options);
