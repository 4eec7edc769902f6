//! What stands behind one chunk of an array.

use crate::range::ByteRange;

/// The state of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// Not written: the reader sees the fill value.
    Missing,
    /// A JPEG 2000 tile of the raster's file.
    Range(ByteRange),
}
