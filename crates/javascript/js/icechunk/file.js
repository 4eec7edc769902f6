// Icechunk's files: a header, and a flatbuffer that is mostly compressed (https://icechunk.io/en/latest/reference/spec/).

import { Decompress } from "fzstd";
import { joined } from "../read.js";
import { Table } from "./flatbuffer.js";

/** What a file is, as its header says. */
export const KINDS = { snapshot: 1, manifest: 2, repository: 6 };

const MAGIC = new TextEncoder().encode("ICE\u{1F9CA}CHUNK");
const HEADER = 39;
/** Most bytes of a file, and of what it unpacks to. */
const MOST = 1 << 28;
/** The largest window of zstd's levels without `--long`. */
const WINDOW = 1 << 27;

/**
 * The root table of a file.
 *
 * @param {Uint8Array} bytes
 * @param {number} kind
 */
export function root(bytes, kind) {
  if (bytes.byteLength < HEADER || MAGIC.some((byte, i) => bytes[i] !== byte)) throw new Error("it is no file of Icechunk");
  const [version, found, compression] = bytes.subarray(36);
  if (version !== 2) throw new Error(`it is of Icechunk's format ${version}; format 2 is read`);
  if (found !== kind) throw new Error(`it is a file of kind ${found} where ${kind} was due`);
  const body = bytes.subarray(HEADER);
  if (compression > 1) throw new Error(`it is compressed in a way (${compression}) that is not known`);
  return Table.root(compression === 1 ? unpack(body) : body);
}

/**
 * What zstd packed, within bounds.
 *
 * @param {Uint8Array} packed
 * @param {number} most
 */
export function unpack(packed, most = MOST) {
  const { window, end } = frame(packed);
  if (window > Math.min(WINDOW, most)) throw new Error("it asks for too much memory");
  /** @type {Uint8Array[]} */
  const pieces = [];
  let length = 0;
  const stream = new Decompress((piece) => {
    length += piece.byteLength;
    if (length > most) throw new Error(`it unpacks to more than ${most} bytes`);
    pieces.push(piece.slice());
  });
  stream.push(packed.subarray(0, end), true);
  return joined(pieces);
}

/**
 * What a frame of zstd asks its reader to remember, and where it ends (RFC 8878, section 3.1.1): the library would make room for
 * whatever is asked, and go on with the next frame.
 *
 * @param {Uint8Array} packed
 */
function frame(packed) {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  if (view.getUint32(0, true) !== 0xfd2fb528) throw new Error("it is no frame of zstd");
  const descriptor = view.getUint8(4);
  if (descriptor & 3) throw new Error("it needs a dictionary of zstd");
  const [single, kind] = [(descriptor >> 5) & 1, descriptor >> 6];
  const place = 6 - single;
  const code = view.getUint8(5);
  const base = 2 ** (10 + (code >> 3));
  // A frame of one segment has no window: its size is given, in as many bytes as the first two bits say.
  const size = [() => view.getUint8(place), () => view.getUint16(place, true) + 256, () => view.getUint32(place, true), () => Number(view.getBigUint64(place, true))];
  const window = single ? size[kind]() : base + (base / 8) * (code & 7);
  let end = place + (kind ? 1 << kind : single);
  for (let last = 0; !last;) {
    const header = view.getUint16(end, true) | (view.getUint8(end + 2) << 16);
    last = header & 1;
    // A block of one byte, repeated, holds that byte alone.
    end += 3 + (((header >> 1) & 3) === 1 ? 1 : header >> 3);
  }
  return { window, end: end + (descriptor & 4) };
}

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/**
 * An id as it stands in names of files: Crockford's base 32.
 *
 * @param {Uint8Array} id
 */
export function named(id) {
  let [out, bits, rest] = ["", 0, 0];
  for (const byte of id) {
    rest = ((rest & 0xff) << 8) | byte;
    bits += 8;
    for (; bits >= 5; bits -= 5) out += DIGITS[(rest >> (bits - 5)) & 31];
  }
  return bits ? out + DIGITS[(rest << (5 - bits)) & 31] : out;
}
