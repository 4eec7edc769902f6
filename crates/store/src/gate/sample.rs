//! Which references of a run are looked at in the source: every array has its turn, then every product.

use std::collections::VecDeque;

use s2ice_manifest::chunk::Chunk;
use s2ice_manifest::manifest::RasterFile;
use s2ice_manifest::range::ByteRange;

use super::random::Random;
use crate::plan::ArrayReferences;

/// A reference written from a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) array: &'a ArrayReferences,
    /// Time step.
    pub(super) step: usize,
    pub(super) raster: &'a RasterFile,
    /// Tile number in raster order.
    pub(super) tile: u32,
    /// Where the tile lies in the file.
    pub(super) range: ByteRange,
}

/// The rasters of an array that are written, and how many of their references are taken.
struct Taken<'a> {
    array: &'a ArrayReferences,
    /// With references left.
    open: VecDeque<(usize, &'a RasterFile, u64)>,
    /// With all taken.
    closed: Vec<(usize, &'a RasterFile, u64)>,
}

impl Taken<'_> {
    /// One more reference, of the raster whose turn it is; false where all are taken.
    fn take(&mut self) -> bool {
        let Some((step, raster, count)) = self.open.pop_front() else { return false };
        if count + 1 < raster.references() {
            self.open.push_back((step, raster, count + 1));
        } else {
            self.closed.push((step, raster, count + 1));
        }
        true
    }
}

/// Chooses up to `number` references among those that are written from files.
pub(super) fn choose<'a>(arrays: &'a [ArrayReferences], number: usize, random: &mut Random) -> Vec<Sample<'a>> {
    let mut taken: Vec<Taken<'a>> = arrays
        .iter()
        .map(|array| {
            let rasters = array.manifest.rasters.iter().enumerate();
            let files = rasters.filter_map(|(step, raster)| Some((step, raster.as_ref()?.file()?, 0)));
            let mut open: Vec<_> = files.filter(|(_, raster, _)| raster.references() > 0).collect();
            random.shuffle(&mut open);
            Taken { array, open: open.into(), closed: Vec::new() }
        })
        .collect();
    random.shuffle(&mut taken);
    let mut left = number;
    let mut any = true;
    while left > 0 && any {
        any = false;
        for array in taken.iter_mut().take(left) {
            if array.take() {
                any = true;
                left -= 1;
            }
        }
        // Arrays without anything left make place for the others.
        taken.sort_by_key(|array| array.open.is_empty());
    }
    let mut out = Vec::with_capacity(number - left);
    for Taken { array, open, closed } in taken {
        for (step, raster, count) in open.into_iter().chain(closed).filter(|(.., count)| *count > 0) {
            let mut tiles = ranges(raster);
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(tiles.len());
            random.draw(&mut tiles, count);
            let tiles = tiles.into_iter().take(count);
            out.extend(tiles.map(|(tile, range)| Sample { array, step, raster, tile, range }));
        }
    }
    out
}

/// The tiles of a raster that have a reference.
fn ranges(raster: &RasterFile) -> Vec<(u32, ByteRange)> {
    let (_, columns) = raster.header.grid();
    let chunks = raster.chunks().filter_map(|(row, column, chunk)| match chunk {
        Chunk::Range(range) => Some((row * columns + column, range)),
        Chunk::Missing => None,
    });
    chunks.collect()
}
