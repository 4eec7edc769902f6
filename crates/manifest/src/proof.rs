//! Whether the bytes that an index names are the tiles that it says: the proof that every raster is given once.
//!
//! A table of tile lengths goes wrong in few ways: it is of another file, or its tile numbers stand in another order than
//! the file's tile-parts. The first tile-part, which the read of a main header brings along, settles both where the
//! numbers are in the order of the bytes, as in every file that was seen. Where they are not, all tiles are asked for, so
//! that no choice and no luck decides what is found.

use s2ice_jpeg2000::{Sot, TileSpan};

use crate::manifest::TileTable;

/// Most tiles of a raster that are asked for. The largest grid of a product has 121 tiles.
const MOST_ASKED: usize = 256;

/// A tile-part header as the file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenSot {
    /// Where it begins in the file.
    pub offset: u64,
    /// What it says.
    pub sot: Sot,
}

/// What is known of a raster's tile table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Its tiles are where it says.
    Proven,
    /// They are, if the tile-part headers of these tiles are: to be read at the source.
    Ask(Vec<u32>),
    /// They are not.
    Wrong(String),
}

/// Proves a tile table by the first tile-part header of its file, as far as that goes; `None` where nobody read it.
#[must_use]
pub fn prove(tiles: &TileTable, first: Option<SeenSot>) -> Proof {
    let mut order: Vec<(u32, TileSpan)> = (0..).zip(tiles.iter()).collect();
    order.sort_by_key(|(_, span)| span.offset);
    let Some(&(tile, span)) = order.first() else { return Proof::Wrong("it has no tiles".to_owned()) };
    if let Some(first) = first
        && let Err(reason) = check(tiles, tile, first)
    {
        return Proof::Wrong(reason);
    }
    let (displaced, mut asked): (Vec<_>, Vec<_>) =
        (0..).zip(order.iter().copied()).partition(|(place, (tile, _)): &(u32, _)| place != tile);
    if !displaced.is_empty() {
        if order.len() > MOST_ASKED {
            return Proof::Wrong(format!("{} of its {} tiles are out of order", displaced.len(), order.len()));
        }
        // Those first: one is enough where the file has its tiles in order. Where it has not, no place tells anything.
        asked.splice(0..0, displaced);
        let seen = |place: &u32| *place == 0 && first.is_some();
        return Proof::Ask(asked.into_iter().filter(|(place, _)| !seen(place)).map(|(_, (tile, _))| tile).collect());
    }
    let unsure = match first {
        // The first tile goes on in another tile-part: where the second begins, it ends.
        Some(first) if ends(first.sot, span) == Some(false) => order.get(1),
        Some(_) => None,
        // Where the last begins depends on every length before it.
        None => order.last(),
    };
    unsure.map_or(Proof::Proven, |(tile, _)| Proof::Ask(vec![*tile]))
}

/// Compares a tile-part header of the file with what the table says of a tile.
///
/// # Errors
/// In what they differ, in words.
pub fn check(tiles: &TileTable, tile: u32, seen: SeenSot) -> Result<(), String> {
    let SeenSot { offset, sot } = seen;
    let span = usize::try_from(tile).ok().and_then(|tile| tiles.iter().nth(tile));
    let Some(span) = span else { return Err(format!("it has no tile {tile}")) };
    if span.offset != offset {
        return Err(format!("tile {tile} is said to begin at byte {}, the file has it at {offset}", span.offset));
    }
    if u32::from(sot.tile) != tile {
        return Err(format!("tile {tile}: at byte {offset} the file has tile {}", sot.tile));
    }
    if sot.tpsot != 0 {
        let part = sot.tpsot;
        return Err(format!("tile {tile}: at byte {offset} the file has its tile-part {part}, not its first"));
    }
    let length = span.length;
    let wrong = || Err(format!("tile {tile} is said to have {length} bytes, at byte {offset} it has {}", sot.psot));
    let is_last = || tiles.iter().all(|other| other.offset <= offset);
    match ends(sot, span) {
        Some(true) => Ok(()),
        // It goes on in other tile-parts.
        Some(false) if sot.tnsot != 1 => Ok(()),
        // A last tile-part to the end of the codestream: EOC lies behind it.
        Some(false) | None if is_last() && (sot.psot == 0 || u64::from(sot.psot) + 2 == length) => Ok(()),
        _ => wrong(),
    }
}

/// Whether a tile-part ends where its tile does; `None` where it ends elsewhere than any of its parts could.
fn ends(sot: Sot, span: TileSpan) -> Option<bool> {
    let length = u64::from(sot.psot);
    (sot.psot != 0 && length <= span.length).then_some(length == span.length)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
    use super::*;

    /// Tiles of the given numbers, one after the other from byte 1000 on; each as long as its number tells.
    fn file(numbers: &[u32]) -> Vec<(u32, TileSpan)> {
        let mut offset = 1000;
        let place = |tile: &u32| {
            let span = TileSpan { offset, length: 100 + u64::from(*tile) };
            offset += span.length;
            (*tile, span)
        };
        numbers.iter().map(place).collect()
    }

    fn table(of: &[(u32, TileSpan)]) -> TileTable {
        let mut sorted = of.to_vec();
        sorted.sort_by_key(|(tile, _)| *tile);
        TileTable::new(&sorted.into_iter().map(|(_, span)| span).collect::<Vec<_>>())
    }

    fn sot(tile: u32, length: u64) -> Sot {
        Sot { tile: tile as u16, psot: length as u32, tpsot: 0, tnsot: 1 }
    }

    fn header((tile, span): (u32, TileSpan)) -> SeenSot {
        SeenSot { offset: span.offset, sot: sot(tile, span.length) }
    }

    /// What a build does: the first header, then those that are asked for, up to the first that is wrong.
    fn outcome(file: &[(u32, TileSpan)], table: &TileTable, first: bool) -> (usize, Result<(), String>) {
        let at = |offset: u64| file.iter().find(|(_, span)| span.offset == offset).copied().map(header).unwrap();
        match prove(table, first.then(|| header(file[0]))) {
            Proof::Proven => (0, Ok(())),
            Proof::Wrong(reason) => (0, Err(reason)),
            Proof::Ask(tiles) => {
                let span = |tile: u32| table.iter().nth(tile as usize).unwrap();
                (tiles.len(), tiles.iter().try_for_each(|tile| check(table, *tile, at(span(*tile).offset))))
            }
        }
    }

    #[test]
    fn a_table_in_file_order_needs_its_first_tile_or_its_last() {
        for count in [1, 2, 36, 121, 1000] {
            let file = file(&(0..count).collect::<Vec<_>>());
            let table = table(&file);
            assert_eq!(prove(&table, Some(header(file[0]))), Proof::Proven);
            assert_eq!(prove(&table, None), Proof::Ask(vec![count - 1]));
            assert_eq!((outcome(&file, &table, true), outcome(&file, &table, false)), ((0, Ok(())), (1, Ok(()))));
        }
        assert_eq!(prove(&table(&[]), None), Proof::Wrong("it has no tiles".to_owned()));
    }

    /// Two numbers in each other's place, their lengths along with them or not: found whichever two they are.
    #[test]
    fn every_swapped_pair_is_found() {
        let count = 36;
        let file = file(&(0..count).collect::<Vec<_>>());
        for a in 0..count as usize {
            for b in a + 1..count as usize {
                let mut swapped = file.clone();
                (swapped[a].0, swapped[b].0) = (swapped[b].0, swapped[a].0);
                for first in [true, false] {
                    let (_, found) = outcome(&file, &table(&swapped), first);
                    let reason = found.unwrap_err();
                    let words = format!("at byte {} the file has tile", file[a].1.offset);
                    assert!(reason.contains(&words), "{a} {b}: {reason}");
                }
            }
        }
    }

    /// A file whose tiles lie in another order is asked tile by tile, and a pair swapped in it is found all the same.
    #[test]
    fn files_in_another_order_are_proven_or_disproven() {
        let backwards: Vec<u32> = (0..121).rev().collect();
        let file_of = file;
        let file = file_of(&backwards);
        assert_eq!(outcome(&file, &table(&file), true), (120, Ok(())));
        for (a, b) in [(0, 120), (0, 1), (59, 61), (60, 61), (119, 120)] {
            let mut swapped = file.clone();
            (swapped[a].0, swapped[b].0) = (swapped[b].0, swapped[a].0);
            for first in [true, false] {
                assert!(outcome(&file, &table(&swapped), first).1.is_err(), "{a} {b} {first}");
            }
        }
        let many = file_of(&(0..258).rev().collect::<Vec<_>>());
        let Proof::Wrong(reason) = prove(&table(&many), None) else { panic!("asked") };
        assert_eq!(reason, "258 of its 258 tiles are out of order");
    }

    #[test]
    fn a_table_of_another_file_is_wrong() {
        let file = file(&[0, 1, 2]);
        let table = table(&file);
        let seen = |change: &dyn Fn(&mut SeenSot)| {
            let mut seen = header(file[0]);
            change(&mut seen);
            prove(&table, Some(seen))
        };
        for (proof, words) in [
            (seen(&|s| s.offset = 990), "tile 0 is said to begin at byte 1000, the file has it at 990"),
            (seen(&|s| s.sot.tile = 1), "tile 0: at byte 1000 the file has tile 1"),
            (seen(&|s| s.sot.tpsot = 1), "tile 0: at byte 1000 the file has its tile-part 1, not its first"),
            (seen(&|s| s.sot.psot = 101), "tile 0 is said to have 100 bytes, at byte 1000 it has 101"),
            (seen(&|s| s.sot.psot = 99), "at byte 1000 it has 99"),
            (seen(&|s| s.sot.psot = 0), "at byte 1000 it has 0"),
        ] {
            let Proof::Wrong(reason) = proof else { panic!("{proof:?}: {words}") };
            assert!(reason.contains(words), "{reason}");
        }
        assert_eq!(check(&table, 3, header(file[0])), Err("it has no tile 3".to_owned()));
    }

    #[test]
    fn tiles_of_several_parts_and_open_ends_are_legal() {
        let file = file(&[0, 1, 2]);
        let table = table(&file);
        for tnsot in [0, 2] {
            let mut first = header(file[0]);
            (first.sot.psot, first.sot.tnsot) = (40, tnsot);
            assert_eq!(prove(&table, Some(first)), Proof::Ask(vec![1]), "the second tells how long the first is");
        }
        let last = |psot: u32| check(&table, 2, SeenSot { offset: file[2].1.offset, sot: Sot { psot, ..sot(2, 0) } });
        assert_eq!((last(0), last(100), last(102)), (Ok(()), Ok(()), Ok(())));
        assert!(last(99).is_err() && last(103).is_err());
    }
}
