//! Finding the tiles of a file without TLM: from SOT to SOT (ISO/IEC 15444-1, clause A.4.2).
//!
//! Each hop reads a tile-part's header. A small tile-part arrives whole, so that it can be decoded to prove that it is nodata.

use std::collections::HashMap;

use bytes::Bytes;
use s2ice_jpeg2000::{
    CodecConfig, Error as CodestreamError, MainHeader, Marker, Scan, Sot, TileCodec, TilePartHeader, TlmEntry, TlmTable,
};

use crate::tlm::IndexEntry;

use super::blocking::blocking;
use super::jp2_header::{FileError, FileFacts, resolve_open_end};
use super::location::Source;

/// Bytes of a hop into large tile-parts: twice the header that Sentinel-2 files have.
const HOP: u64 = 256;

/// Most bytes of a hop into small tile-parts, many of which arrive at once.
const MAX_HOP: u64 = 256 * 1024;

/// Longest tile-part header that is read.
const MAX_TILE_HEADER: u64 = 1024 * 1024;

/// Tiles up to this length are decoded to see whether they are all nodata: an empty one has about 80 bytes per component.
/// No longer one is ever listed as nodata.
pub const NODATA_BYTES: u64 = 512;

/// What the walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// The lengths of all tile-parts.
    pub entry: IndexEntry,
    /// Tiles proven to hold nothing but 0, sorted; `None` where that was not asked.
    pub nodata: Option<Vec<u32>>,
}

/// Walks the tile-parts of a file and proves that they are what an index can hold: every tile of the grid, each one
/// contiguous range, up to the end of the codestream.
///
/// With `prove_nodata`, small tiles are decoded; that is for rasters in which 0 means nodata.
///
/// # Errors
/// [`FileError`] with the byte offset of what is wrong.
pub async fn walk(source: &Source, path: &str, facts: &FileFacts, prove_nodata: bool) -> Result<Walked, FileError> {
    let mut walker = Walker::new(source, path, facts)?;
    while walker.step(prove_nodata).await? {}
    walker.finish().await
}

struct Walker<'a> {
    source: &'a Source,
    path: &'a str,
    facts: &'a FileFacts,
    header: &'a MainHeader,
    tiles: u32,
    end: u64,
    /// Offset of the next tile-part.
    at: u64,
    /// Bytes read last, and where they begin.
    window: (u64, Bytes),
    entries: Vec<TlmEntry>,
    /// Per tile: tile-parts seen, and how many there are where a SOT said.
    parts: HashMap<u32, (u8, u8)>,
    small: Option<Vec<(u32, Bytes)>>,
}

impl<'a> Walker<'a> {
    fn new(source: &'a Source, path: &'a str, facts: &'a FileFacts) -> Result<Self, FileError> {
        let header = &facts.head.header;
        let grid = header.grid().map_err(|source| FileError::Codestream { path: path.to_owned(), source })?;
        Ok(Self {
            source,
            path,
            facts,
            header,
            tiles: grid.tiles(),
            end: facts.codestream_end(),
            at: facts.head.first_sot,
            window: (0, facts.prefix.clone()),
            entries: Vec::new(),
            parts: HashMap::new(),
            small: None,
        })
    }

    fn wrong(&self, source: CodestreamError) -> FileError {
        FileError::Codestream { path: self.path.to_owned(), source }
    }

    fn refuse(&self, reason: String) -> FileError {
        FileError::Refused { path: self.path.to_owned(), reason }
    }

    /// Bytes from the next tile-part on: at least `wanted`, or all up to the end of the codestream.
    async fn bytes(&mut self, wanted: u64) -> Result<Bytes, FileError> {
        let wanted = wanted.min(self.end.saturating_sub(self.at));
        if let Some(bytes) = self.buffered(wanted) {
            return Ok(bytes);
        }
        // Small tile-parts so far: take many of them in one read. Large ones: their headers only.
        let parts = self.entries.len() as u64;
        let mean = self.at.saturating_sub(self.facts.head.first_sot).checked_div(parts).unwrap_or(u64::MAX);
        let guess = if mean < MAX_HOP / 8 { MAX_HOP } else { HOP };
        let range = self.at..self.at.saturating_add(guess.max(wanted)).min(self.end);
        let fetched = self.source.get_range(self.path, range).await?;
        self.facts.check_same(self.path, &fetched)?;
        self.window = (self.at, fetched.bytes);
        self.buffered(wanted).ok_or_else(|| FileError::Changed { path: self.path.to_owned() })
    }

    fn buffered(&self, wanted: u64) -> Option<Bytes> {
        let (start, bytes) = &self.window;
        let from = usize::try_from(self.at.checked_sub(*start)?).ok()?;
        let room = usize::try_from(self.end.saturating_sub(*start)).unwrap_or(usize::MAX).min(bytes.len());
        let part = (from <= room).then(|| bytes.slice(from..room))?;
        (part.len() as u64 >= wanted).then_some(part)
    }

    /// Takes the next tile-part; false at the end of the codestream.
    async fn step(&mut self, prove_nodata: bool) -> Result<bool, FileError> {
        match self.end.saturating_sub(self.at) {
            0 => return Ok(false),
            1 => return Err(self.refuse(format!("one byte is left at byte {}, where EOC is due", self.at))),
            _ => {}
        }
        let mut bytes = self.bytes(HOP).await?;
        if bytes.starts_with(&Marker::EOC.bytes()) {
            return Ok(false);
        }
        let part = loop {
            match TilePartHeader::scan(&bytes, self.at).map_err(|e| self.wrong(e))? {
                Scan::Done(part) => break part,
                Scan::NeedMore { up_to } => {
                    if up_to > MAX_TILE_HEADER || self.at.saturating_add(up_to) > self.end {
                        return Err(
                            self.refuse(format!("the header of the tile-part at byte {} does not end", self.at))
                        );
                    }
                    bytes = self.bytes(up_to).await?;
                }
            }
        };
        let (tile, rest) = (u32::from(part.sot.tile), self.end - self.at);
        let length = if part.sot.psot == 0 { rest } else { u64::from(part.sot.psot) };
        if tile >= self.tiles {
            return Err(
                self.refuse(format!("tile {tile} at byte {} is outside a grid of {} tiles", self.at, self.tiles))
            );
        }
        if length > rest {
            let (at, end) = (self.at, self.end);
            return Err(
                self.refuse(format!("tile {tile} at byte {at} has {length} bytes, the codestream ends at {end}"))
            );
        }
        let (seen, total) = self.parts.get(&tile).copied().unwrap_or_default();
        let (Sot { tpsot, tnsot, .. }, at) = (part.sot, self.at);
        if tpsot != seen || (total != 0 && (seen >= total || (tnsot != 0 && tnsot != total))) {
            return Err(self.refuse(format!(
                "the tile-part at byte {at} is number {tpsot} of {tnsot} of tile {tile}, but {seen} of {total} came before"
            )));
        }
        // Sot::parse holds TPsot below 255.
        self.parts.insert(tile, (seen + 1, total.max(tnsot)));
        if prove_nodata {
            self.keep_small(&part, &bytes, length);
        }
        self.entries.push(TlmEntry { tile: part.sot.tile, length: part.sot.psot });
        self.at += length;
        Ok(true)
    }

    /// The bytes of a small tile-part.
    fn keep_small(&mut self, part: &TilePartHeader, bytes: &Bytes, length: u64) {
        let whole = usize::try_from(length).ok().filter(|n| *n <= bytes.len()).map(|n| bytes.slice(..n));
        let small = self.small.get_or_insert_default();
        if let Some(whole) = whole.filter(|_| length <= NODATA_BYTES && part.sot.tnsot <= 1 && part.sot.tpsot == 0) {
            small.push((u32::from(part.sot.tile), whole));
        }
    }

    async fn finish(mut self) -> Result<Walked, FileError> {
        let start = self.entries.iter().map(|e| u64::from(e.length)).sum::<u64>() + self.facts.head.first_sot;
        let mut tlm = TlmTable { entries: std::mem::take(&mut self.entries) };
        resolve_open_end(&mut tlm, start, self.facts);
        let entry = IndexEntry { file_size: self.facts.file_size, first_sot: self.facts.head.first_sot, tlm };
        entry.tlm.tile_spans(entry.first_sot, self.end, self.tiles).map_err(|e| self.wrong(e))?;
        if let Some((tile, (seen, total))) = self.parts.iter().find(|(_, (seen, total))| *total != 0 && seen != total) {
            return Err(self.refuse(format!("tile {tile} has {total} tile-parts, {seen} of them are there")));
        }

        let nodata = match self.small.take() {
            Some(mut small) => {
                // A tile with further tile-parts is not all in its first one.
                small.retain(|(tile, _)| self.parts.get(tile).is_some_and(|(seen, _)| *seen == 1));
                Some(prove(self.header, small).await)
            }
            None => None,
        };
        Ok(Walked { entry, nodata })
    }
}

/// The tiles whose every sample is 0. What does not decode is no nodata: a reader will meet the error.
async fn prove(header: &MainHeader, small: Vec<(u32, Bytes)>) -> Vec<u32> {
    let Ok(codec) = TileCodec::new(&CodecConfig::from_header(header, 0)) else { return Vec::new() };
    let decode = move || {
        let zero = |bytes: &Bytes| matches!(codec.constant_value(bytes), Ok(Some(0)));
        let mut tiles: Vec<u32> = small.iter().filter(|(_, bytes)| zero(bytes)).map(|(tile, _)| *tile).collect();
        tiles.sort_unstable();
        tiles
    };
    blocking(decode).await.unwrap_or_default()
}
