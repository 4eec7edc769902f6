//! Tile tables, and what their ranges must fit.
#![allow(clippy::unwrap_used)]

mod decide_support;

use decide_support::raster;
use proptest::prelude::*;
use s2ice_jpeg2000::TileSpan;
use s2ice_manifest::manifest::{RangeError, TileTable};

#[test]
fn ranges_are_checked_against_file_and_grid() {
    let good = raster("B01_60m");
    assert_eq!(good.validate(), Ok(()));
    let mut short = good.clone();
    short.file_size = 4_000;
    assert!(matches!(short.validate(), Err(RangeError::OutsideFile { tile: 20, end: 4_100, size: 4_000 })));
    let mut few = good.clone();
    few.tiles = TileTable::new(&good.tiles.iter().take(99).collect::<Vec<_>>());
    assert_eq!(few.validate(), Err(RangeError::Incomplete { found: 99, expected: 100 }));
    let mut overlapping = good.clone();
    let mut spans: Vec<TileSpan> = good.tiles.iter().collect();
    spans[7].offset -= 1;
    overlapping.tiles = TileTable::new(&spans);
    assert!(matches!(overlapping.validate(), Err(RangeError::Overlap { first: 6, second: 7 })));
}

proptest! {
    #[test]
    fn tile_tables_give_back_their_spans(lengths in prop::collection::vec(1_u64..9_000_000_000, 1..50), gap in 0_u64..3) {
        let mut offset = 1234;
        let spans: Vec<TileSpan> = lengths.iter().map(|length| {
            let span = TileSpan { offset, length: *length };
            offset += length + gap;
            span
        }).collect();
        prop_assert_eq!(TileTable::new(&spans).iter().collect::<Vec<_>>(), spans);
    }
}
