//! A file with a table of its tile-parts, pieced together by GDAL's `/vsisparse/`: a local head, and what is in the source.

use std::collections::BTreeMap;

use s2ice_jpeg2000::uniform::uniform_tile;
use s2ice_jpeg2000::{MainHeader, Marker, TlmEntry, TlmTable};

use super::xml;

/// Shortest range of a tile: SOT and SOD.
const SHORTEST: u64 = 14;

/// Where the tile-parts of a tile lie in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileRange {
    /// Number of the tile in raster order.
    pub tile: u32,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// Tiles without data, coded once for all rasters of one main header.
#[derive(Default)]
pub struct Blanks {
    known: BTreeMap<(Vec<u8>, u16, u16), Vec<u8>>,
}

impl Blanks {
    fn get(&mut self, header: &MainHeader, codec: &[u8], tile: u16, fill: u16) -> s2ice_jpeg2000::Result<&[u8]> {
        use std::collections::btree_map::Entry;
        match self.known.entry((codec.to_vec(), tile, fill)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(uniform_tile(header, tile, fill)?)),
        }
    }
}

/// A raster as GDAL's `/vsisparse/` reads it.
#[derive(Debug)]
pub struct Sidecar {
    /// Main header with TLM, and the tiles that the source does not give.
    pub head: Vec<u8>,
    /// Runs of bytes of the source that follow: offset and length.
    runs: Vec<(u64, u64)>,
}

impl Sidecar {
    /// Puts the tiles of a raster in their order in the source, behind those that have no range and read as `fill`.
    ///
    /// # Errors
    /// In words: the header cannot be used, a range is outside the grid, too short or too long, or two have bytes in common.
    pub fn of(codec_header: &[u8], mut ranges: Vec<TileRange>, fill: u16, blanks: &mut Blanks) -> Result<Self, String> {
        let text = |error: s2ice_jpeg2000::Error| error.to_string();
        let header = MainHeader::parse(codec_header).map_err(text)?;
        let grid = header.grid().map_err(text)?;
        let tiles = grid.columns().saturating_mul(grid.rows());
        ranges.sort_by_key(|range| range.offset);
        let mut given = vec![false; tiles as usize];
        let mut entries = Vec::new();
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for range in ranges {
            let TileRange { tile, offset, length } = range;
            let slot = given.get_mut(tile as usize).ok_or_else(|| format!("it has a tile {tile} of {tiles}"))?;
            if std::mem::replace(slot, true) {
                return Err(format!("it has tile {tile} twice"));
            }
            let number = u16::try_from(tile).map_err(|_| format!("it has {tiles} tiles"))?;
            let length32 = u32::try_from(length).ok().filter(|_| length >= SHORTEST);
            let length32 = length32.ok_or_else(|| format!("tile {tile} has {length} bytes"))?;
            entries.push(TlmEntry { tile: number, length: length32 });
            match runs.last_mut() {
                Some((start, run)) if *start + *run == offset => *run += length,
                Some((start, run)) if *start + *run > offset => {
                    return Err(format!("tile {tile} begins inside the one before it"));
                }
                _ => runs.push((offset, length)),
            }
            offset.checked_add(length).ok_or_else(|| format!("tile {tile} ends beyond any file"))?;
        }
        let mut blank = Vec::new();
        let mut front = Vec::new();
        for (tile, given) in (0u16..).zip(given) {
            if !given {
                let part = blanks.get(&header, codec_header, tile, fill).map_err(text)?;
                front.push(TlmEntry { tile, length: u32::try_from(part.len()).map_err(|e| e.to_string())? });
                blank.extend_from_slice(part);
            }
        }
        front.extend(entries);
        let mut head = header.codec_header();
        head.extend(TlmTable { entries: front }.write().map_err(text)?);
        head.extend(blank);
        Ok(Self { head, runs })
    }

    /// The XML that GDAL reads; `head` is the name of the head beside it, `source` the file as GDAL names it.
    pub fn xml(&self, head: &str, source: &str) -> String {
        let mut out = String::from("<VSISparseFile>\n");
        let mut at = 0;
        let mut region = |kind: &str, content: &str, length: u64| {
            out += &format!("  <{kind}Region>\n{content}");
            out += &format!("    <DestinationOffset>{at}</DestinationOffset>\n");
            out += &format!("    <RegionLength>{length}</RegionLength>\n  </{kind}Region>\n");
            at += length;
        };
        let file = |relative: u8, name: &str, offset: u64| {
            let name = xml::escape(name);
            format!(
                "    <Filename relative=\"{relative}\">{name}</Filename>\n    <SourceOffset>{offset}</SourceOffset>\n"
            )
        };
        region("Subfile", &file(1, head, 0), self.head.len() as u64);
        for (offset, length) in &self.runs {
            region("Subfile", &file(0, source, *offset), *length);
        }
        for byte in Marker::EOC.bytes() {
            region("Constant", &format!("    <Value>{byte}</Value>\n"), 1);
        }
        out + "</VSISparseFile>\n"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// 100 x 90 samples of 15 bits in four tiles, two levels.
    fn header() -> Vec<u8> {
        let mut out = vec![0xFF, 0x4F, 0xFF, 0x51, 0, 41, 0, 0];
        for n in [100u32, 90, 0, 0, 64, 64, 0, 0] {
            out.extend(n.to_be_bytes());
        }
        out.extend([0, 1, 14, 1, 1]);
        out.extend([0xFF, 0x52, 0, 12, 0, 0, 0, 1, 0, 2, 4, 4, 0, 1]);
        out.extend([0xFF, 0x5C, 0, 10, 0x20, 128, 136, 136, 144, 136, 136, 144]);
        out
    }

    fn range(tile: u32, offset: u64, length: u64) -> TileRange {
        TileRange { tile, offset, length }
    }

    #[test]
    fn tiles_stand_in_the_order_of_the_source_behind_those_without_data() {
        let ranges = vec![range(3, 100, 20), range(0, 200, 30), range(1, 120, 80)];
        let mut blanks = Blanks::default();
        let sidecar = Sidecar::of(&header(), ranges, 0, &mut blanks).unwrap();
        assert_eq!(sidecar.runs, [(100, 130)]);
        let parsed = MainHeader::parse(&sidecar.head).unwrap();
        let entries = &parsed.tlm().unwrap().entries;
        let numbers: Vec<u16> = entries.iter().map(|entry| entry.tile).collect();
        assert_eq!(numbers, [2, 3, 1, 0]);
        assert_eq!(entries[1..].iter().map(|entry| entry.length).collect::<Vec<_>>(), [20, 80, 30]);
        let blank = sidecar.head.len() - entries[0].length as usize;
        assert_eq!(sidecar.head[blank..blank + 2], Marker::SOT.bytes());
        let xml = sidecar.xml("a.head", "/vsicurl/http://h/a&b.jp2");
        assert!(xml.contains("<Filename relative=\"0\">/vsicurl/http://h/a&amp;b.jp2</Filename>"), "{xml}");
        assert!(xml.contains(&format!("<DestinationOffset>{}</DestinationOffset>", sidecar.head.len() + 130)), "{xml}");
        // A second raster of the header takes what is coded.
        assert_eq!(Sidecar::of(&header(), vec![], 0, &mut blanks).unwrap().runs, []);
        assert_eq!(blanks.known.len(), 4);
    }

    #[test]
    fn ranges_that_cannot_be_are_told() {
        for (ranges, words) in [
            (vec![range(4, 100, 20)], "a tile 4 of 4"),
            (vec![range(0, 100, 20), range(0, 120, 20)], "tile 0 twice"),
            (vec![range(0, 100, 20), range(1, 119, 20)], "tile 1 begins inside"),
            (vec![range(0, 100, 13)], "tile 0 has 13 bytes"),
            (vec![range(0, 100, 1 << 32)], "tile 0 has 4294967296 bytes"),
            (vec![range(0, u64::MAX - 5, 20)], "tile 0 ends beyond"),
        ] {
            let error = Sidecar::of(&header(), ranges, 0, &mut Blanks::default()).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let error = Sidecar::of(&header()[..40], vec![], 0, &mut Blanks::default()).unwrap_err();
        assert!(error.contains("SIZ"), "{error}");
    }
}
