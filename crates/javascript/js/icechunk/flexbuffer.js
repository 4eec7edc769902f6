// FlexBuffers (https://flatbuffers.dev/flexbuffers), in which Icechunk keeps its configuration. As much as that needs: numbers, texts,
// maps and vectors. All accesses are checked by DataView.

/** Values that a buffer may have, so that one that leads to itself ends. */
const MOST = 10_000;

/**
 * The value of a buffer.
 *
 * @param {Uint8Array} bytes
 * @returns {unknown}
 */
export function flexbuffer(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = view.byteLength;
  const width = view.getUint8(end - 1);
  const state = { view, left: MOST };
  return value(state, end - 2 - width, width, view.getUint8(end - 2));
}

/**
 * @param {DataView} view
 * @param {number} at
 * @param {number} width
 */
function unsigned(view, at, width) {
  if (width === 1) return view.getUint8(at);
  if (width === 2) return view.getUint16(at, true);
  if (width === 4) return view.getUint32(at, true);
  if (width === 8) return Number(view.getBigUint64(at, true));
  throw new RangeError(`a number of ${width} bytes`);
}

/**
 * @param {DataView} view
 * @param {number} at
 * @param {number} width
 */
function signed(view, at, width) {
  return Number(BigInt.asIntN(8 * width, BigInt(unsigned(view, at, width))));
}

/**
 * @param {DataView} view
 * @param {number} at
 * @param {number} width
 */
function float(view, at, width) {
  return width === 8 ? view.getFloat64(at, true) : view.getFloat32(at, true);
}

/**
 * @param {{ view: DataView, left: number }} state
 * @param {number} at
 * @param {number} width
 * @param {number} packed type and width of what it leads to
 * @returns {unknown}
 */
function value(state, at, width, packed) {
  const { view } = state;
  state.left -= 1;
  if (state.left < 0) throw new RangeError(`more than ${MOST} values`);
  const type = packed >> 2;
  if (type === 0) return null;
  if (type === 1) return signed(view, at, width);
  if (type === 2) return unsigned(view, at, width);
  if (type === 3) return float(view, at, width);
  if (type === 26) return unsigned(view, at, width) !== 0;
  const inner = 1 << (packed & 3);
  const place = at - unsigned(view, at, width);
  if (type === 4) return text(view, place);
  if (type === 6) return signed(view, place, inner);
  if (type === 7) return unsigned(view, place, inner);
  if (type === 8) return float(view, place, inner);
  const length = unsigned(view, place - inner, inner);
  if (length > view.byteLength) throw new RangeError(`${length} values in ${view.byteLength} bytes`);
  if (type === 5) return new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(view.buffer, view.byteOffset + place, length));
  const each = (/** @type {number} */ i) => value(state, place + i * inner, inner, view.getUint8(place + length * inner + i));
  if (type === 10) return Array.from({ length }, (_, i) => each(i));
  if (type === 9) {
    const keys = place - 3 * inner - unsigned(view, place - 3 * inner, inner);
    const keyWidth = unsigned(view, place - 2 * inner, inner);
    const key = (/** @type {number} */ i) => text(view, keys + i * keyWidth - unsigned(view, keys + i * keyWidth, keyWidth));
    return Object.fromEntries(Array.from({ length }, (_, i) => [key(i), each(i)]));
  }
  throw new RangeError(`values of type ${type} are not known here`);
}

/**
 * A text that ends with a 0.
 *
 * @param {DataView} view
 * @param {number} at
 */
function text(view, at) {
  let end = at;
  while (view.getUint8(end) !== 0) end += 1;
  return new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(view.buffer, view.byteOffset + at, end - at));
}
