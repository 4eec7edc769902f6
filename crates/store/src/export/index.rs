//! The references of a store as an index table (docs/formats/index.md), so that it can be built again elsewhere.
//!
//! A row tells the bytes of all tiles of a file; a store has no reference to a tile that is all nodata. Where one such tile
//! lies between two others, it is what lies between them. Several in a row share their bytes in a way that no reference
//! tells: such a raster is left out by name, as is one that begins or ends with such a tile.

use std::path::Path;

use icechunk::format::manifest::Checksum;
use s2ice_jpeg2000::{TlmEntry, TlmTable};
use s2ice_manifest::source::index_writer::{LAYOUT_KEY, write_index};
use s2ice_manifest::source::jp2_walk::NODATA_BYTES;
use s2ice_manifest::source::location::SourceUrl;
use s2ice_manifest::tlm::{IndexEntry, IndexRow, TileIndex};

use super::{Cube, HeldReference, LeftOut, Raster, Selection, own};
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress};

/// Bytes of the EOC marker, with which a codestream ends.
const EOC: u64 = 2;

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Rows: one for each raster.
    pub rows: u64,
    /// References that they tell.
    pub references: u64,
    /// Rasters that the store cannot tell enough of.
    pub left_out: Vec<LeftOut>,
}

/// Writes the index of the files below one container of a store; `container` chooses it where there are several.
///
/// # Errors
/// [`Error::Request`] where the store is none of JPEG 2000 files, nothing can be told, the container must be chosen, or
/// the file is no index;
/// [`Error::Input`] where the file cannot be written; reading failed.
pub async fn write(
    cube: &Cube,
    selection: &Selection,
    container: Option<&str>,
    path: &Path,
    progress: &dyn Progress,
) -> Result<Written> {
    if !cube.state.stamp.source_kind.is_jp2() {
        return Err(Error::Request(format!(
            "{} refers to GeoTIFFs, which need no index: `s2ice build --source-kind cog` reads the tables in the files",
            cube.url
        )));
    }
    let rasters = cube.some_rasters(selection)?;
    own::check(path, LAYOUT_KEY, "an index of s2ice")?;
    let mut written = Written::default();
    let (mut rows, mut names) = (Vec::new(), Vec::new());
    progress.begin(Phase::Rasters, Some(rasters.len() as u64));
    for raster in &rasters {
        let held = cube.references(raster).await?;
        progress.advance(1);
        let name = held.first().and_then(|first| cube.container_of(first)?.name()).map(str::to_owned);
        match (container, name) {
            (Some(wanted), Some(name)) if name != wanted => continue,
            (_, Some(name)) if !names.contains(&name) => names.push(name),
            _ => {}
        }
        match row(cube, raster, &held) {
            Ok(row) => {
                rows.push(row);
                written.references += held.len() as u64;
            }
            Err(reason) => written.left_out.push(LeftOut::of(raster, reason)),
        }
    }
    progress.end();
    if names.len() > 1 {
        names.sort();
        let names = names.join(", ");
        let reason = format!("{} refers to files of several sources, an index to those of one", cube.url);
        return Err(Error::Request(format!("{reason}: choose one of its containers, --container {names}")));
    }
    if rows.is_empty() {
        let first = written.left_out.first().map(|left| format!(" ({left})"));
        return Err(Error::Request(format!(
            "{} tells no raster of the selection well enough for an index{}",
            cube.url,
            first.unwrap_or_default()
        )));
    }
    written.rows = rows.len() as u64;
    write_index(path, &rows, false).map_err(|error| Error::Input(error.to_string()))?;
    Ok(written)
}

/// What the references of a raster tell of its file.
fn row(cube: &Cube, raster: &Raster<'_>, held: &[HeldReference]) -> std::result::Result<IndexRow, String> {
    let first = held.first().ok_or("all of it is nodata, so that the store refers to none of its bytes")?;
    let address = cube.address(first);
    if let Some(other) = held.iter().map(|reference| cube.address(reference)).find(|other| *other != address) {
        return Err(format!("its tiles lie in several files, {address} and {other}"));
    }
    let container = cube.container_of(first).ok_or("no container of the store tells where its file lies")?;
    let decoded = SourceUrl::decoded_path(&address).unwrap_or(address);
    let below = decoded.strip_prefix(container.url_prefix()).unwrap_or(&decoded);
    let (rows, columns) = raster.array.header.grid();
    let spans: Vec<Span> = held.iter().map(|reference| Span::of(reference, columns)).collect();
    let (entry, nodata) = tile_parts(spans, rows.saturating_mul(columns))?;
    let bytes = entry.write().map_err(|error| error.to_string())?;
    let etag = match &first.reference.checksum {
        Some(Checksum::ETag(etag)) => Some(etag.0.clone()),
        // The time in a reference is rounded to seconds, that of an index is not.
        Some(Checksum::LastModified(_)) | None => None,
    };
    Ok(IndexRow {
        product: raster.step.id,
        asset: raster.asset,
        path: format!("/{below}"),
        index: TileIndex::from_cell(&bytes),
        // The store has of it what decoding takes, not all of its bytes.
        main_header: None,
        etag,
        last_modified: None,
        nodata: (!nodata.is_empty()).then_some(nodata),
    })
}

/// The bytes of a tile.
#[derive(Debug, Clone, Copy)]
struct Span {
    tile: u32,
    offset: u64,
    length: u64,
}

impl Span {
    fn of(held: &HeldReference, columns: u32) -> Self {
        let tile = held.row.saturating_mul(columns).saturating_add(held.column);
        Self { tile, offset: held.reference.offset, length: held.reference.length }
    }

    fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The tile-parts of a file, and which of its tiles are nodata, from the tiles that are referenced.
///
/// A file ends with the EOC marker behind its last tile, as all files do that Sentinel-2's processors write; a build finds
/// out where one does not, by its size.
fn tile_parts(mut spans: Vec<Span>, tiles: u32) -> std::result::Result<(IndexEntry, Vec<u32>), String> {
    let unknown = |from: u32, to: u32| {
        let which = if from == to { format!("tile {from} is") } else { format!("tiles {from} to {to} are") };
        format!("{which} nodata without a reference, so that nothing tells their lengths: index the file")
    };
    spans.sort_by_key(|span| span.offset);
    let (Some(first), Some(last)) = (spans.first().copied(), spans.last().copied()) else {
        return Err("it has no references".to_owned());
    };
    let (mut entries, mut nodata) = (Vec::new(), Vec::new());
    let mut push = |tile: u32, length: u64| -> std::result::Result<(), String> {
        let tile = u16::try_from(tile).map_err(|_| format!("an index has no tile {tile}"))?;
        let length =
            u32::try_from(length).map_err(|_| format!("tile {tile} has {length} bytes, too many for an index"))?;
        entries.push(TlmEntry { tile, length });
        Ok(())
    };
    let complete = spans.len() as u64 == u64::from(tiles);
    if !complete && first.tile != 0 {
        return Err(unknown(0, first.tile - 1));
    }
    if !complete && last.tile != tiles.saturating_sub(1) {
        return Err(unknown(last.tile.saturating_add(1), tiles.saturating_sub(1)));
    }
    for (place, span) in spans.iter().enumerate() {
        push(span.tile, span.length)?;
        let Some(next) = spans.get(place + 1) else { continue };
        let gap = next.offset.checked_sub(span.end());
        let gap = gap.ok_or_else(|| format!("its tiles {} and {} overlap", span.tile, next.tile))?;
        let between = i64::from(next.tile) - i64::from(span.tile) - 1;
        match (complete, between, gap) {
            (true, _, 0) | (false, 0, 0) => {}
            (false, 1, 1..=NODATA_BYTES) => {
                push(span.tile + 1, gap)?;
                nodata.push(span.tile + 1);
            }
            (false, 2.., _) => return Err(unknown(span.tile + 1, next.tile - 1)),
            _ => {
                return Err(format!(
                    "{gap} bytes between its tiles {} and {} are unaccounted for",
                    span.tile, next.tile
                ));
            }
        }
    }
    let tlm = TlmTable { entries };
    Ok((IndexEntry { file_size: last.end().saturating_add(EOC), first_sot: first.offset, tlm }, nodata))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// Tiles one after the other from byte 100 on.
    fn file(lengths: &[u64]) -> Vec<Span> {
        let mut offset = 100;
        let span = |(tile, length): (usize, &u64)| {
            let span = Span { tile: u32::try_from(tile).unwrap(), offset, length: *length };
            offset += length;
            span
        };
        lengths.iter().enumerate().map(span).collect()
    }

    fn without(spans: &[Span], absent: &[u32]) -> Vec<Span> {
        spans.iter().filter(|span| !absent.contains(&span.tile)).copied().collect()
    }

    #[test]
    fn a_tile_alone_between_two_others_is_what_lies_between_them() {
        let whole = file(&[900, 80, 700, 80, 80, 900]);
        let (entry, nodata) = tile_parts(without(&whole, &[1]), 6).unwrap();
        assert_eq!((entry.file_size, entry.first_sot, nodata), (100 + 2740 + 2, 100, vec![1]));
        assert_eq!(tile_parts(whole.clone(), 6).unwrap().0, entry);
        let why = |absent: &[u32]| tile_parts(without(&whole, absent), 6).unwrap_err();
        assert!(why(&[3, 4]).starts_with("tiles 3 to 4 are nodata without a reference"));
        assert!(why(&[0]).starts_with("tile 0 is nodata"));
        assert!(why(&[4, 5]).starts_with("tiles 4 to 5 are nodata"));
        assert_eq!(why(&[2]), "700 bytes between its tiles 1 and 3 are unaccounted for");
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let whole = file(&[900, 80, 700]);
        let moved = |by: i64| {
            let mut spans = whole.clone();
            spans[2].offset = spans[2].offset.checked_add_signed(by).unwrap();
            tile_parts(spans, 3).unwrap_err()
        };
        assert_eq!(moved(5), "5 bytes between its tiles 1 and 2 are unaccounted for");
        assert_eq!(moved(-5), "its tiles 1 and 2 overlap");
        assert!(tile_parts(Vec::new(), 3).is_err());
        let long = [Span { tile: 0, offset: 100, length: 1 << 32 }];
        assert!(tile_parts(long.to_vec(), 1).unwrap_err().contains("too many for an index"));
    }

    proptest! {
        /// Whatever tiles are absent: the table is that of the file, or there is none.
        #[test]
        fn no_length_is_invented(
            lengths in prop::collection::vec(14_u64..600, 1..40),
            absent in prop::collection::btree_set(0_u32..40, 0..6),
        ) {
            let whole = file(&lengths);
            let absent: Vec<u32> = absent.into_iter().collect();
            let tiles = u32::try_from(lengths.len()).unwrap();
            let truth = tile_parts(whole.clone(), tiles).unwrap().0;
            if let Ok((entry, nodata)) = tile_parts(without(&whole, &absent), tiles) {
                prop_assert_eq!(entry, truth);
                prop_assert!(nodata.iter().all(|tile| absent.contains(tile)));
            }
        }

        /// In whatever order the tiles of a complete file lie.
        #[test]
        fn files_in_another_order_come_back(order in Just((0..20_u32).collect::<Vec<_>>()).prop_shuffle()) {
            let mut spans = file(&[50; 20]);
            for (span, tile) in spans.iter_mut().zip(&order) {
                span.tile = *tile;
            }
            let entry = tile_parts(spans.clone(), 20).unwrap().0;
            let found = IndexEntry::parse(&entry.write().unwrap()).unwrap().tile_spans(20).unwrap();
            for span in spans {
                prop_assert_eq!(found[span.tile as usize].offset, span.offset);
            }
        }
    }
}
