//! TLM: tile-part lengths, read and written (ISO/IEC 15444-1, clause A.7.1).

use crate::error::{Error, Result};
use crate::marker::Marker;
use crate::read::Reader;
use crate::segment::sot::MIN_TILE_PART;

/// One tile-part, in the order of the codestream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TlmEntry {
    /// Ttlm: tile number.
    pub tile: u16,
    /// Ptlm: bytes from the tile-part's SOT to its end; 0 (to the end) is legal for the last tile-part only.
    pub length: u32,
}

/// Byte range of all tile-parts of one tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileSpan {
    /// Offset of the first SOT in the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// All TLM segments of a main header as one table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TlmTable {
    /// The tile-parts, in the order of the codestream.
    pub entries: Vec<TlmEntry>,
}

/// One segment's contents (behind Ltlm) and where they stand.
pub(crate) struct TlmSegment<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) offset: u64,
}

impl TlmTable {
    /// Parses TLM marker segments that follow each other, markers included, as an index row holds them.
    ///
    /// # Errors
    /// Another marker, truncated segments, gaps or duplicates in Ztlm, reserved Stlm, lengths shorter than a
    /// tile-part header.
    pub fn parse(segments: &[u8]) -> Result<Self> {
        let mut r = Reader::new(segments, 0, Marker::TLM);
        let mut found = Vec::new();
        while !r.is_empty() {
            let at = r.offset();
            let marker = Marker(r.u16()?);
            if marker != Marker::TLM {
                return Err(Error::UnexpectedMarker { part: marker.into(), offset: at });
            }
            let length = usize::from(r.u16()?);
            let Some(length) = length.checked_sub(2) else {
                return Err(r.invalid(format!("Ltlm is {length}")));
            };
            let offset = r.offset();
            found.push(TlmSegment { body: r.take(length)?, offset });
        }
        if found.is_empty() {
            return Err(Error::Missing { part: Marker::TLM.into(), offset: 0 });
        }
        Self::assemble(found)
    }

    /// Puts segments in the order of Ztlm and reads their entries.
    pub(crate) fn assemble(segments: Vec<TlmSegment<'_>>) -> Result<Self> {
        let mut ordered = Vec::with_capacity(segments.len());
        for segment in segments {
            let mut r = Reader::new(segment.body, segment.offset, Marker::TLM);
            let (z, style) = (r.u8()?, r.u8()?);
            if style & 0x8F != 0 || style & 0x30 == 0x30 {
                return Err(r.invalid(format!("Stlm {style:#04x} is reserved")));
            }
            ordered.push((z, style, r));
        }
        ordered.sort_by_key(|(z, ..)| *z);
        let mut entries = Vec::new();
        let implicit = ordered.first().is_some_and(|(_, style, _)| style & 0x30 == 0);
        for (index, (z, style, mut r)) in ordered.into_iter().enumerate() {
            if usize::from(z) != index {
                return Err(r.invalid(format!("Ztlm {z} where {index} was due")));
            }
            if (style & 0x30 == 0) != implicit {
                return Err(r.invalid("segments with and without tile numbers are mixed"));
            }
            while !r.is_empty() {
                let at = r.clone();
                let tile = match style & 0x30 {
                    // One tile-part per tile, in the order of the tiles.
                    0 => u16::try_from(entries.len()).ok(),
                    0x10 => Some(u16::from(r.u8()?)),
                    _ => Some(r.u16()?),
                };
                let Some(tile) = tile.filter(|tile| *tile != u16::MAX) else {
                    return Err(at.invalid("more than 65535 tiles"));
                };
                let length = if style & 0x40 == 0 { u32::from(r.u16()?) } else { r.u32()? };
                if length != 0 && length < MIN_TILE_PART {
                    return Err(at.invalid(format!("Ptlm {length} of tile {tile} is shorter than SOT and SOD")));
                }
                entries.push(TlmEntry { tile, length });
            }
        }
        if entries.is_empty() {
            return Err(Error::invalid(Marker::TLM, 0, "no entries"));
        }
        Ok(TlmTable { entries })
    }

    /// Writes the table as marker segments: tile numbers in one byte where they fit, lengths in two bytes where all
    /// fit, entries spread over segments only when one is full.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there are more entries than 256 segments hold.
    pub fn write(&self) -> Result<Vec<u8>> {
        let wide_tile = self.entries.iter().any(|e| e.tile > NARROW_TILE);
        let wide_length = self.entries.iter().any(|e| e.length > NARROW_LENGTH);
        let size = 1 + usize::from(wide_tile) + if wide_length { 4 } else { 2 };
        let style = if wide_tile { 0x20u8 } else { 0x10 } | if wide_length { 0x40 } else { 0 };
        let per_segment = (usize::from(u16::MAX) - 4) / size;
        let mut out = Vec::with_capacity(6 + self.entries.len() * size);
        for (index, chunk) in self.entries.chunks(per_segment).enumerate() {
            let (Ok(z), Ok(length)) = (u8::try_from(index), u16::try_from(4 + chunk.len() * size)) else {
                let reason = format!("{} tile-parts are more than 256 TLM segments hold", self.entries.len());
                return Err(Error::invalid(Marker::TLM, out.len() as u64, reason));
            };
            out.extend(Marker::TLM.bytes());
            out.extend(length.to_be_bytes());
            out.extend([z, style]);
            for entry in chunk {
                let tile = entry.tile.to_be_bytes();
                out.extend(if wide_tile { &tile[..] } else { &tile[1..] });
                let length = entry.length.to_be_bytes();
                out.extend(if wide_length { &length[..] } else { &length[2..] });
            }
        }
        Ok(out)
    }

    /// Byte range of every tile, in the order of tile numbers.
    ///
    /// `first_sot` is the file offset of the first tile-part, `end` the exclusive end of the codestream (of the file
    /// where that is not known), `tiles` the number of tiles of the grid. A last tile-part of unknown length (0)
    /// runs to `end`, so its range may hold the EOC marker, which the decoder knows to leave out.
    ///
    /// # Errors
    /// [`Error::Tile`] names the tile that is missing, outside the grid, scattered over the file or beyond `end`.
    /// Offsets in these errors are file offsets.
    pub fn tile_spans(&self, first_sot: u64, end: u64, tiles: u32) -> Result<Vec<TileSpan>> {
        let tlm = Marker::TLM;
        if tiles == 0 || tiles > u32::from(u16::MAX) {
            return Err(Error::invalid(tlm, first_sot, format!("a grid of {tiles} tiles")));
        }
        let mut spans: Vec<Option<TileSpan>> = vec![None; tiles as usize];
        let mut offset = first_sot;
        let mut previous = None;
        for (index, entry) in self.entries.iter().enumerate() {
            let tile = u32::from(entry.tile);
            let room = end.saturating_sub(offset);
            let length = match u64::from(entry.length) {
                0 if index + 1 < self.entries.len() => {
                    return Err(Error::tile(tlm, offset, tile, "length 0 though more tile-parts follow"));
                }
                0 => room,
                n => n,
            };
            if length > room || length < u64::from(MIN_TILE_PART) {
                let reason = format!("a tile-part of {length} bytes does not fit in front of byte {end}");
                return Err(Error::tile(tlm, offset, tile, reason));
            }
            let Some(span) = spans.get_mut(usize::from(entry.tile)) else {
                return Err(Error::tile(tlm, offset, tile, format!("outside a grid of {tiles} tiles")));
            };
            match span {
                None => *span = Some(TileSpan { offset, length }),
                Some(known) if previous == Some(entry.tile) => known.length += length,
                Some(known) => {
                    let reason =
                        format!("its tile-parts at bytes {} and {offset} do not follow each other", known.offset);
                    return Err(Error::tile(tlm, offset, tile, reason));
                }
            }
            previous = Some(entry.tile);
            offset += length;
        }
        let mut out = Vec::with_capacity(spans.len());
        for (tile, span) in (0u32..).zip(spans) {
            out.push(span.ok_or_else(|| Error::tile(tlm, first_sot, tile, "no tile-part is listed"))?);
        }
        Ok(out)
    }
}

/// Largest tile number written in one byte (table A.34).
const NARROW_TILE: u16 = 254;
/// Largest length written in two bytes, as public index files have it.
const NARROW_LENGTH: u32 = 65534;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

    use super::*;
    use proptest::prelude::*;

    fn table(entries: &[(u16, u32)]) -> TlmTable {
        TlmTable { entries: entries.iter().map(|&(tile, length)| TlmEntry { tile, length }).collect() }
    }

    fn segment(z: u8, style: u8, entries: &[u8]) -> Vec<u8> {
        let mut out = vec![0xFF, 0x55];
        out.extend((4 + entries.len() as u16).to_be_bytes());
        out.extend([z, style]);
        out.extend_from_slice(entries);
        out
    }

    #[test]
    fn all_sizes_of_numbers_are_read() {
        let expected = table(&[(0, 20), (1, 300)]);
        for (style, bytes) in [
            (0x00, vec![0, 20, 1, 44]),
            (0x10, vec![0, 0, 20, 1, 1, 44]),
            (0x20, vec![0, 0, 0, 20, 0, 1, 1, 44]),
            (0x40, vec![0, 0, 0, 20, 0, 0, 1, 44]),
            (0x50, vec![0, 0, 0, 0, 20, 1, 0, 0, 1, 44]),
            (0x60, vec![0, 0, 0, 0, 0, 20, 0, 1, 0, 0, 1, 44]),
        ] {
            assert_eq!(TlmTable::parse(&segment(0, style, &bytes)).unwrap(), expected, "Stlm {style:#x}");
        }
    }

    #[test]
    fn segments_are_put_in_order() {
        let first = segment(0, 0x10, &[4, 0, 20]);
        let second = segment(1, 0x50, &[5, 0, 0, 0, 30]);
        let both = [second.clone(), first.clone()].concat();
        assert_eq!(TlmTable::parse(&both).unwrap(), table(&[(4, 20), (5, 30)]));
        let error = TlmTable::parse(&second).unwrap_err().to_string();
        assert!(error.contains("Ztlm 1 where 0 was due"), "{error}");
        TlmTable::parse(&[first.clone(), first].concat()).unwrap_err();
        // Tiles without numbers count on over segments.
        let counted = [segment(0, 0, &[0, 20]), segment(1, 0, &[0, 30])].concat();
        assert_eq!(TlmTable::parse(&counted).unwrap(), table(&[(0, 20), (1, 30)]));
    }

    #[test]
    fn what_is_not_a_table_is_refused() {
        for bad in [
            vec![],
            segment(0, 0x10, &[]),
            segment(0, 0x10, &[1, 0]),
            segment(0, 0x30, &[0, 20]),
            segment(0, 0x80, &[0, 20]),
            segment(0, 0x00, &[0, 13]),
            vec![0xFF, 0x55, 0, 1],
            vec![0xFF, 0x64, 0, 2],
            segment(0, 0, &[0, 20])[..7].to_vec(),
        ] {
            TlmTable::parse(&bad).unwrap_err();
        }
    }

    #[test]
    fn tile_parts_become_one_range_per_tile() {
        let spans = table(&[(1, 20), (0, 30), (0, 40), (2, 0)]).tile_spans(100, 250, 3).unwrap();
        let span = |offset, length| TileSpan { offset, length };
        assert_eq!(spans, [span(120, 70), span(100, 20), span(190, 60)]);
    }

    #[test]
    fn what_is_no_range_is_refused_by_name() {
        for (entries, tiles, words) in [
            (vec![(0, 20), (1, 20), (0, 20)], 2, "tile 0 "),
            (vec![(0, 20)], 2, "tile 1 "),
            (vec![(0, 20), (7, 20)], 2, "tile 7 "),
            (vec![(0, 0), (1, 20)], 2, "tile 0 "),
            (vec![(0, 20), (1, 131)], 2, "tile 1 "),
            (vec![(0, 150), (1, 0)], 2, "tile 1 "),
            (vec![(0, 20)], 0, "0 tiles"),
            (vec![(0, 20)], 65536, "65536 tiles"),
        ] {
            let error = table(&entries).tile_spans(100, 250, tiles).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        table(&[(0, 20)]).tile_spans(u64::MAX - 5, u64::MAX, 1).unwrap_err();
        table(&[(0, 20)]).tile_spans(300, 250, 1).unwrap_err();
    }

    #[test]
    fn a_full_segment_is_followed_by_another() {
        let entries: Vec<(u16, u32)> = (0..65535).map(|t| (t, 70_000 + u32::from(t))).collect();
        let bytes = table(&entries).write().unwrap();
        assert_eq!(bytes[2..6], [0xFF, 0xFA, 0, 0x60], "10921 entries of 6 bytes");
        assert_eq!(TlmTable::parse(&bytes).unwrap(), table(&entries));
        assert_eq!(table(&[(254, 65534)]).write().unwrap(), segment(0, 0x10, &[254, 255, 254]));
        assert_eq!(table(&[(255, 65535)]).write().unwrap(), segment(0, 0x60, &[0, 255, 0, 0, 255, 255]));
        let too_many = TlmTable { entries: vec![TlmEntry { tile: 300, length: 70_000 }; 256 * 10_921 + 1] };
        too_many.write().unwrap_err();
    }

    proptest! {
        #[test]
        fn written_tables_read_the_same(entries in prop::collection::vec((0u16..65535, prop_oneof![Just(0), 14u32..70_000, any::<u32>().prop_map(|n| n.max(14))]), 1..200)) {
            let table = table(&entries);
            prop_assert_eq!(TlmTable::parse(&table.write().unwrap()).unwrap(), table);
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..80), first in any::<u64>(), end in any::<u64>(), tiles in 0u32..70_000) {
            if bytes.len() > 6 {
                bytes[..4].copy_from_slice(&[0xFF, 0x55, 0, 0]);
                bytes[3] = (bytes.len() - 2) as u8;
                bytes[4] = 0;
                bytes[5] &= 0x70;
            }
            let spans = TlmTable::parse(&bytes).and_then(|table| table.tile_spans(first, end, tiles));
            if let Ok(spans) = spans {
                prop_assert!(spans.iter().all(|s| s.offset >= first && s.offset + s.length <= end));
            }
        }
    }
}
