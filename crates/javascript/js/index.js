// The codec `s2ice.jpeg2000`: https://github.com/s2ice/s2ice/blob/main/docs/formats/codec.md

export { Codec } from "./codec.js";
export { CodecError, initialize } from "./decoder.js";
export { firstGuess, readParts } from "./read.js";

/** Name of the codec in Zarr metadata. */
export const CODEC_NAME = "s2ice.jpeg2000";
