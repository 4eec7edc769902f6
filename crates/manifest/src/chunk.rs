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

/// Indices of a chunk: time, row, column; for rasters with components time, 0, row, column, since a tile holds them all.
pub fn indices(has_components: bool, time: u32, row: u32, column: u32) -> Vec<u32> {
    if has_components { vec![time, 0, row, column] } else { vec![time, row, column] }
}
