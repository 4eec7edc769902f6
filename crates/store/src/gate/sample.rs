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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::super::tests::planned;
    use super::*;

    #[test]
    fn arrays_and_products_have_their_turn() {
        let plan = planned(&[1, 2, 5, 7], None, &[]);
        let chosen = |number: usize| choose(&plan.arrays, number, &mut Random::new("a"));
        let places = |samples: &[Sample<'_>]| -> BTreeSet<(String, usize, u32)> {
            samples.iter().map(|s| (s.array.path.clone(), s.step, s.tile)).collect()
        };
        assert!(chosen(0).is_empty());
        assert_eq!(chosen(1).len(), 1);
        let arrays = |samples: &[Sample<'_>]| samples.iter().map(|s| s.array.path.clone()).collect::<BTreeSet<_>>();
        assert_eq!(arrays(&chosen(2)).len(), 2);
        // One array has four rasters, the other one three.
        let rasters: BTreeSet<_> = chosen(8).iter().map(|s| (s.array.path.clone(), s.step)).collect();
        assert_eq!(rasters.len(), 7);
        assert_eq!(places(&chosen(500)).len(), 500, "none twice");
        // Tiles without data have no reference.
        assert_eq!(chosen(10_000).len(), 4 * 100 - 2 + 3 * 100 - 2);
        assert_eq!(places(&chosen(10_000)).len(), 7 * 100 - 4);
        assert!(chosen(10_000).iter().all(|s| s.step != 2 || (s.tile != 0 && s.tile != 99)));
        assert_ne!(places(&chosen(12)), places(&choose(&plan.arrays, 12, &mut Random::new("b"))));
    }

    #[test]
    fn what_the_store_holds_is_not_looked_at() {
        let mut plan = planned(&[1, 2], None, &[]);
        let held = s2ice_manifest::manifest::HeldRaster {
            asset: plan.arrays[0].manifest.asset,
            header: std::sync::Arc::clone(&plan.arrays[0].manifest.header),
            verified: true,
            step: 0,
            era: None,
        };
        plan.arrays[0].manifest.rasters[0] = Some(s2ice_manifest::manifest::Placement::Held(held));
        let all = choose(&plan.arrays, 10_000, &mut Random::new("a"));
        assert_eq!(all.len(), 300);
        assert!(all.iter().all(|s| s.step == 1 || s.array.path != plan.arrays[0].path));
    }
}
