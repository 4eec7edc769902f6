// A reader of Icechunk repositories of format 2, as far as a browser needs it: read only, over HTTP, for zarrita and others.

import { KINDS, named, root } from "./file.js";
import { find } from "./flatbuffer.js";
import { flexbuffer } from "./flexbuffer.js";
import { Places } from "./places.js";

export { unpack } from "./file.js";
export { webAddress } from "./places.js";

/** @typedef {import("./flatbuffer.js").Table} Table */
/** @typedef {import("./places.js").Container} Container */

/** Manifests that are kept: those of the arrays that are looked at. */
const KEPT = 64;

/**
 * A chunk that lies somewhere: in the manifest, or as a range of an object.
 *
 * @typedef {{ bytes: Uint8Array } | { url: string, offset: number, length: number, etag?: string }} Place
 */

/**
 * @typedef {object} OpenOptions
 * @property {string} [branch] `main` where nothing is said
 * @property {string} [tag]
 * @property {readonly string[] | true} [allow] prefixes of addresses at which chunks may be asked for; the store's own is allowed
 * @property {Record<string, string>} [sources] other addresses of the store's containers, by name: a mirror, a proxy
 * @property {typeof fetch} [fetch] instead of the platform's
 */

/** One state of a repository, as a store of Zarr. */
export class IcechunkStore {
  #url;
  #fetch;
  #places;
  /** @type {Map<string, Table>} */
  #nodes;
  /** @type {Map<string, Promise<Table>>} */
  #manifests = new Map();

  /**
   * @param {string} url
   * @param {typeof fetch} get
   * @param {Places} places
   * @param {Map<string, Table>} nodes
   * @param {string} snapshot
   */
  constructor(url, get, places, nodes, snapshot) {
    this.#url = url;
    this.#fetch = get;
    this.#places = places;
    this.#nodes = nodes;
    /** Id of the snapshot. */
    this.snapshot = snapshot;
  }

  /**
   * Opens a repository: two requests.
   *
   * @param {string | URL} address of the repository
   * @param {OpenOptions} [options]
   */
  static async open(address, { branch = "main", tag, allow = [], sources = {}, fetch: given } = {}) {
    const get = given ?? ((url, init) => fetch(url, init));
    const url = new URL(address).href.replace(/\/?$/, "/");
    // The one file that changes.
    const repository = await file(get, `${url}repo`, KINDS.repository, { cache: "no-cache" });
    if (repository.table(5)?.u8(0) === 2) throw new Error(`${url} is offline`);
    const id = head(repository, tag ?? branch, tag !== undefined);
    const config = /** @type {any} */ (flexbuffer(repository.bytes(9) ?? new Uint8Array([0, 0, 1])));
    /** @type {Container[]} */
    const containers = Object.values(config?.virtual_chunk_containers ?? {});
    const snapshot = await file(get, `${url}snapshots/${id}`, KINDS.snapshot);
    const nodes = new Map();
    const list = snapshot.tables(2);
    for (let i = 0; i < list.length; i += 1) nodes.set(list.at(i).text(1), list.at(i));
    const places = new Places(containers, sources, allow === true ? true : [url, ...allow]);
    return new IcechunkStore(url, get, places, nodes, id);
  }

  /** Where the chunks lie that are not in the repository, and the addresses by which they are reached. */
  get containers() {
    return this.#places.list();
  }

  /** Paths of groups and arrays, without a slash at the end. */
  get paths() {
    return [...this.#nodes.keys()];
  }

  /**
   * What `zarr.json` of a group or array says.
   *
   * @param {string} path
   * @returns {any} `undefined` where there is none
   */
  document(path) {
    const bytes = this.#nodes.get(path)?.bytes(2);
    return bytes && JSON.parse(new TextDecoder().decode(bytes));
  }

  /**
   * Where a chunk lies.
   *
   * @param {string} path of the array
   * @param {readonly number[]} index one for each axis
   * @returns {Promise<Place | undefined>} `undefined` where there is no such chunk
   */
  async place(path, index) {
    const node = this.#nodes.get(path);
    const array = node?.u8(3) === 1 ? node.table(4) : undefined;
    const id = node?.struct(0, 8);
    if (!array || !id) return undefined;
    const manifests = array.tables(2);
    for (let i = 0; i < manifests.length; i += 1) {
      if (!covers(manifests.at(i), index)) continue;
      const manifest = await this.#manifest(manifests.at(i));
      const reference = find(manifest.tables(1), (own) => compare(own.struct(0, 8), id))?.tables(1);
      const found = reference && find(reference, (one) => compareIndices(one.structs(0, 4), index));
      if (found) return this.#placeOf(found);
    }
    return undefined;
  }

  /**
   * @param {Table} reference
   * @returns {Place}
   */
  #placeOf(reference) {
    const inline = reference.bytes(1);
    if (inline) return { bytes: inline };
    const [offset, length] = [reference.u64(2), reference.u64(3)];
    const chunk = reference.struct(4, 12);
    if (chunk) return { url: `${this.#url}chunks/${named(chunk)}`, offset, length };
    if (reference.has(8)) throw new Error("the store packs its locations with a dictionary, which is not read here");
    return { url: this.#places.address(reference.text(5) ?? ""), offset, length, etag: reference.text(6) };
  }

  /** @param {Table} reference */
  #manifest(reference) {
    const id = named(reference.struct(0, 12) ?? new Uint8Array());
    const known = this.#manifests.get(id) ?? file(this.#fetch, `${this.#url}manifests/${id}`, KINDS.manifest);
    // Who was asked for last goes last.
    this.#manifests.delete(id);
    this.#manifests.set(id, known);
    known.catch(() => this.#manifests.delete(id));
    for (const oldest of this.#manifests.keys()) if (this.#manifests.size > KEPT) this.#manifests.delete(oldest);
    return known;
  }

  /**
   * Bytes of a chunk, `[begin, end)` of it; less where it ends before.
   *
   * @param {Place} place
   * @param {number} [begin]
   * @param {number} [end]
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Uint8Array>}
   */
  async read(place, begin = 0, end = Infinity, { signal } = {}) {
    if ("bytes" in place) return place.bytes.subarray(begin, end);
    const [first, behind] = [place.offset + begin, place.offset + Math.min(end, place.length)];
    if (first >= behind) return new Uint8Array();
    // A browser's cache lets ranges of one file wait for each other, and splits them where it has some of their bytes.
    const answer = await ask(this.#fetch, place.url, { headers: { Range: `bytes=${first}-${behind - 1}` }, signal, cache: "no-store" });
    // Whoever sends the whole file instead is not read to its end.
    if (answer.status !== 206) {
      await answer.body?.cancel();
      throw new Error(`${place.url} answers ${answer.status}${answer.status === 200 ? ", and not the range that was asked for" : ""}`);
    }
    const etag = answer.headers.get("etag");
    if (etag && place.etag && etag !== place.etag) {
      await answer.body?.cancel();
      throw new Error(`${place.url} is another file than the store refers to: its ETag is ${etag}, not ${place.etag}`);
    }
    const bytes = new Uint8Array(await answer.arrayBuffer());
    if (bytes.byteLength !== behind - first) throw new Error(`${place.url} gives ${bytes.byteLength} bytes where ${behind - first} were asked for`);
    return bytes;
  }

  /**
   * As zarrita asks: a document or a chunk.
   *
   * @param {string} key
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Uint8Array | undefined>}
   */
  async get(key, options) {
    return this.#part(key, () => [0, Infinity], options);
  }

  /**
   * @param {string} key
   * @param {{ offset: number, length: number } | { suffixLength: number }} range
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Uint8Array | undefined>}
   */
  async getRange(key, range, options) {
    return this.#part(key, (length) => ("offset" in range ? [range.offset, range.offset + range.length] : [Math.max(0, length - range.suffixLength), length]), options);
  }

  /**
   * @param {string} key
   * @param {(length: number) => number[]} edges
   * @param {{ signal?: AbortSignal }} [options]
   */
  async #part(key, edges, options) {
    const [, path, name] = /^(.*)\/(zarr\.json|c(?:\/\d+)*)$/.exec(key) ?? [];
    if (name === "zarr.json") {
      const bytes = this.#nodes.get(path || "/")?.bytes(2);
      return bytes?.slice(...edges(bytes.byteLength));
    }
    const place = path && (await this.place(path, name.split("/").slice(1).map(Number)));
    if (!place) return undefined;
    const [begin, end] = edges("bytes" in place ? place.bytes.byteLength : place.length);
    return this.read(place, begin, end, options);
  }
}

/**
 * @param {typeof fetch} get
 * @param {string} url
 * @param {RequestInit} init
 */
async function ask(get, url, init) {
  try {
    return await get(url, { ...init, credentials: "omit", referrerPolicy: "no-referrer" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    // A browser does not say which of the two it is.
    throw new Error(`${new URL(url).origin} cannot be reached, or does not let pages of other origins read (CORS)`, { cause: error });
  }
}

/**
 * A file of the repository.
 *
 * @param {typeof fetch} get
 * @param {string} url
 * @param {number} kind
 * @param {RequestInit} [init]
 */
async function file(get, url, kind, init = {}) {
  const answer = await ask(get, url, init);
  if (!answer.ok) throw new Error(`${url} answers ${answer.status}`);
  const bytes = new Uint8Array(await answer.arrayBuffer());
  try {
    return root(bytes, kind);
  } catch (error) {
    throw new Error(`${url} cannot be read: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

/**
 * Id of the snapshot that a branch or tag leads to.
 *
 * @param {Table} repository
 * @param {string} name
 * @param {boolean} isTag
 */
function head(repository, name, isTag) {
  const references = repository.tables(isTag ? 1 : 2);
  for (let i = 0; i < references.length; i += 1) {
    const reference = references.at(i);
    if (reference.text(0) !== name) continue;
    const snapshots = repository.tables(4);
    const at = reference.u32(1);
    const id = at < snapshots.length ? snapshots.at(at).struct(0, 12) : undefined;
    if (id) return named(id);
  }
  throw new Error(`the repository has no ${isTag ? "tag" : "branch"} ${name}`);
}

/**
 * @param {Table} manifest
 * @param {readonly number[]} index
 */
function covers(manifest, index) {
  const extents = manifest.structs(1, 8);
  if (extents.length !== index.length) return false;
  return index.every((i, axis) => extents.at(axis).getUint32(0, true) <= i && i < extents.at(axis).getUint32(4, true));
}

/**
 * @param {Uint8Array | undefined} a
 * @param {Uint8Array} b
 */
function compare(a, b) {
  for (let i = 0; i < b.byteLength; i += 1) {
    const order = (a?.[i] ?? 0) - b[i];
    if (order) return order;
  }
  return 0;
}

/**
 * @param {{ length: number, at: (i: number) => DataView }} own
 * @param {readonly number[]} index
 */
function compareIndices(own, index) {
  for (let axis = 0; axis < index.length; axis += 1) {
    const order = (axis < own.length ? own.at(axis).getUint32(0, true) : 0) - index[axis];
    if (order) return order;
  }
  return 0;
}
