// Chunks at a level: read by their beginning, decoded by the pool, and both kept for the next look.

import { Codec } from "../../../../../javascript/js/codec.js";
import { firstGuess, joined, readParts } from "../../../../../javascript/js/read.js";

/** Chunks that are asked for at the same time. A browser has six connections to a host that speaks HTTP/1.1. */
const AT_ONCE = 12;
/** Bytes of beginnings and of samples that are kept. */
const KEPT = { bytes: 1 << 26, samples: 1 << 27 };

/** What was used last is kept, up to a number of bytes. */
class Kept {
  #entries = new Map();
  #size = 0;
  #most;

  constructor(most) {
    this.#most = most;
  }

  get(key) {
    const value = this.#entries.get(key);
    if (value) this.set(key, value);
    return value;
  }

  set(key, value) {
    this.#size += value.byteLength - (this.#entries.get(key)?.byteLength ?? 0);
    this.#entries.delete(key);
    this.#entries.set(key, value);
    for (const [oldest, { byteLength }] of this.#entries) {
      if (this.#size <= this.#most) break;
      this.#entries.delete(oldest);
      this.#size -= byteLength;
    }
  }
}

/** Somebody looked elsewhere meanwhile. */
export class Cancelled extends Error {}

/** The chunks of a store. */
export class Chunks {
  #store;
  #decoder;
  #pool;
  #codecs = new Map();
  #bytes = new Kept(KEPT.bytes);
  #samples = new Kept(KEPT.samples);
  #pending = new Map();
  #running = 0;
  #queue = [];

  constructor(store, decoder, pool) {
    this.#store = store;
    this.#decoder = decoder;
    this.#pool = pool;
  }

  /** The codec of an array without its last `reduce` resolutions, or as many as there can be. */
  codec(path, reduce) {
    const key = `${path} ${reduce}`;
    const known = this.#codecs.get(key);
    if (known) return known;
    const [{ configuration }] = this.#store.document(path).codecs;
    let made;
    for (let less = reduce; !made; less -= 1) {
      try {
        made = { reduce: less, codec: new Codec(this.#decoder, { ...configuration, reduce: less }), configuration: { ...configuration, reduce: less } };
      } catch (error) {
        if (less === 0) throw error;
      }
    }
    this.#codecs.set(key, made);
    return made;
  }

  /**
   * Samples of a chunk, component by component; `undefined` where the store has none. `isWanted` is asked before anything is begun, for
   * a map may have moved on.
   */
  async samples(path, index, made, isWanted) {
    const key = `${path} ${index} ${made.reduce}`;
    const known = this.#samples.get(key);
    if (known) return known;
    const pending = this.#pending.get(key) ?? { wanted: [] };
    pending.wanted.push(isWanted);
    if (!pending.samples) {
      this.#pending.set(key, pending);
      pending.samples = this.#turn(pending, () => this.#decoded(path, index, made)).finally(() => this.#pending.delete(key));
    }
    let samples;
    try {
      samples = await pending.samples;
    } catch (error) {
      // Others gave it up; who still wants it begins anew.
      if (error instanceof Cancelled && isWanted()) return this.samples(path, index, made, isWanted);
      throw error;
    }
    if (samples) this.#samples.set(key, samples);
    return samples;
  }

  async #turn(pending, act) {
    while (this.#running >= AT_ONCE) await new Promise((done) => this.#queue.push(done));
    if (!pending.wanted.some((isWanted) => isWanted())) {
      this.#queue.shift()?.();
      throw new Cancelled();
    }
    this.#running += 1;
    try {
      return await act();
    } finally {
      this.#running -= 1;
      this.#queue.shift()?.();
    }
  }

  async #decoded(path, index, { codec, configuration, reduce }) {
    const place = await this.#store.place(path, index);
    if (!place) return undefined;
    const length = "bytes" in place ? place.bytes.byteLength : place.length;
    // What is known of it from another level is not asked for again.
    const key = `${path} ${index}`;
    let known = this.#bytes.get(key) ?? new Uint8Array();
    const read = async (begin, end) => {
      if (begin < known.byteLength) return known.byteLength >= end ? known.subarray(begin, end) : joined([known.subarray(begin), await this.#store.read(place, known.byteLength, end)]);
      return this.#store.read(place, begin, end);
    };
    const first = Math.max(firstGuess(codec, length, reduce), known.byteLength);
    const { whole, lead, parts } = await readParts(codec, read, { length, first });
    // At this level all that is needed lies at the beginning.
    const bytes = joined(parts.map((part) => part.bytes));
    this.#bytes.set(key, bytes);
    return this.#pool.decode({ configuration, bytes: whole ? bytes : bytes.subarray(0, lead) });
  }
}
