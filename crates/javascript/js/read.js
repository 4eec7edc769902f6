// A chunk read with as few bytes as its window needs.

/** @typedef {import("./codec.js").Codec} Codec */
/** @typedef {import("./codec.js").Part} Part */
/** @typedef {import("./codec.js").Window} Window */

/** Fewest bytes to ask for at first. */
const LEAST = 4096;
/** Bytes between two ranges that cost less than a second request. */
const GAP = 2048;
/** Most bytes that a head may ask for: a chunk is a tile, not an image. */
const MOST = 1 << 26;

/**
 * The bytes at `[begin, end)` of a chunk; fewer where it ends before.
 *
 * @callback Read
 * @param {number} begin
 * @param {number} end
 * @returns {Promise<Uint8Array>}
 */

/**
 * First bytes of a chunk that are mostly enough: the head, and a third of the chunk for each resolution that is left out.
 *
 * @param {Codec} codec
 * @param {number} length bytes of the chunk
 * @param {number} reduce
 */
export function firstGuess(codec, length, reduce) {
  const guess = Math.max(LEAST, codec.headBytes + Math.ceil(length / 3 ** reduce));
  // What little would be left is not worth a second request.
  return guess * 1.25 < length ? guess : length;
}

/**
 * Reads what a window needs, in one request where the first bytes are enough. `whole` is true where the only part is the whole chunk.
 *
 * @param {Codec} codec
 * @param {Read} read
 * @param {{ length?: number, first: number, window?: Window, gap?: number }} options `length` of the chunk, where it is known
 * @returns {Promise<{ whole: boolean, lead: number, parts: Part[] }>}
 */
export async function readParts(codec, read, { length = MOST, first, window, gap = GAP }) {
  let head = await read(0, Math.min(first, length));
  for (;;) {
    // A chunk that ends here is given as it is: decoding says what is wrong with it, if anything.
    const ends = head.byteLength >= length || head.byteLength < first;
    if (ends) return { whole: true, lead: head.byteLength, parts: [{ offset: 0, bytes: head }] };
    const plan = codec.plan(head, { window, gap });
    if (plan.kind === "parts") {
      const ranges = plan.ranges.map(async ([begin, end]) => ({ offset: begin, bytes: await read(begin, end) }));
      return { whole: false, lead: plan.lead, parts: [{ offset: 0, bytes: head }, ...(await Promise.all(ranges))] };
    }
    // A head that asks for more and more is no head.
    first = plan.kind === "more" && plan.bytes < 2 ** 16 + LEAST ? Math.max(plan.bytes, head.byteLength + 1) : length;
    head = joined([head, await read(head.byteLength, first)]);
  }
}

/**
 * Pieces one after the other.
 *
 * @param {readonly Uint8Array[]} pieces
 */
export function joined(pieces) {
  const out = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.byteLength, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.byteLength;
  }
  return out;
}
