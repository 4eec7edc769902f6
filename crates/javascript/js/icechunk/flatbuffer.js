// Tables of FlatBuffers (https://flatbuffers.dev/internals), read where they lie. Every access is checked by DataView: what leads
// out of the buffer is a RangeError. Nothing is followed twice, and lengths are compared with the bytes before anything is made.

/** A table: fields by their place in the schema. */
export class Table {
  #view;
  #at;
  #fields;
  #size;

  /**
   * @param {DataView} view
   * @param {number} at
   */
  constructor(view, at) {
    this.#view = view;
    this.#at = at;
    this.#fields = at - view.getInt32(at, true);
    this.#size = view.getUint16(this.#fields, true);
  }

  /** @param {Uint8Array} bytes */
  static root(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return new Table(view, view.getUint32(0, true));
  }

  /**
   * Where a field lies; 0 where it is not there.
   *
   * @param {number} field
   */
  #place(field) {
    const entry = 4 + 2 * field;
    const offset = entry + 2 <= this.#size ? this.#view.getUint16(this.#fields + entry, true) : 0;
    return offset && this.#at + offset;
  }

  /**
   * Where that lies which a field leads to; 0 where it is not there.
   *
   * @param {number} field
   */
  #follow(field) {
    const place = this.#place(field);
    return place && place + this.#view.getUint32(place, true);
  }

  /** @param {number} field */
  has(field) {
    return this.#place(field) !== 0;
  }

  /** @param {number} field */
  u8(field, otherwise = 0) {
    const place = this.#place(field);
    return place ? this.#view.getUint8(place) : otherwise;
  }

  /** @param {number} field */
  u32(field, otherwise = 0) {
    const place = this.#place(field);
    return place ? this.#view.getUint32(place, true) : otherwise;
  }

  /**
   * A number of 64 bits, up to 2^53.
   *
   * @param {number} field
   */
  u64(field) {
    const place = this.#place(field);
    const number = place ? Number(this.#view.getBigUint64(place, true)) : 0;
    if (number > Number.MAX_SAFE_INTEGER) throw new RangeError(`${number} is beyond 2^53`);
    return number;
  }

  /**
   * The bytes of a struct.
   *
   * @param {number} field
   * @param {number} size
   */
  struct(field, size) {
    const place = this.#place(field);
    return place ? part(this.#view, place, size) : undefined;
  }

  /** @param {number} field */
  bytes(field) {
    const place = this.#follow(field);
    return place ? part(this.#view, place + 4, this.#view.getUint32(place, true)) : undefined;
  }

  /** @param {number} field */
  text(field) {
    const bytes = this.bytes(field);
    return bytes && new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  }

  /** @param {number} field */
  table(field) {
    const place = this.#follow(field);
    return place ? new Table(this.#view, place) : undefined;
  }

  /**
   * A vector of structs or numbers.
   *
   * @param {number} field
   * @param {number} size bytes of one
   */
  structs(field, size) {
    const place = this.#follow(field);
    const count = place ? this.#view.getUint32(place, true) : 0;
    const all = part(this.#view, place ? place + 4 : 0, count * size);
    return { length: count, at: (/** @type {number} */ i) => new DataView(all.buffer, all.byteOffset + i * size, size) };
  }

  /**
   * A vector of tables.
   *
   * @param {number} field
   */
  tables(field) {
    const { length, at } = this.structs(field, 4);
    const origin = this.#view.byteOffset;
    const table = (/** @type {number} */ i) => {
      const entry = at(i);
      return new Table(this.#view, entry.byteOffset - origin + entry.getUint32(0, true));
    };
    return { length, at: table };
  }
}

/**
 * Bytes of a view, all of which are there.
 *
 * @param {DataView} view
 * @param {number} at
 * @param {number} length
 */
function part(view, at, length) {
  if (at + length > view.byteLength) throw new RangeError(`${length} bytes at ${at} of ${view.byteLength}`);
  return new Uint8Array(view.buffer, view.byteOffset + at, length);
}

/**
 * The first entry of a sorted list for which `compare` is 0.
 *
 * @template T
 * @param {{ length: number, at: (i: number) => T }} list
 * @param {(entry: T) => number} compare below 0 where the entry stands before what is looked for
 */
export function find(list, compare) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const entry = list.at(middle);
    const order = compare(entry);
    if (order === 0) return entry;
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return undefined;
}
