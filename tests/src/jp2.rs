//! The file around a codestream, as in real products: `jP`, `ftyp`, `jp2h`, GML in an `asoc`, and `jp2c` to the end of
//! the file; and the places of the tile-parts in it.

use std::io;

use crate::coding::Coding;
use crate::grid::TileGrid;
use crate::invalid;

/// One tile-part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TilePart {
    /// Tile index in raster order (Isot).
    pub tile: u16,
    /// Offset of its SOT marker in the file.
    pub offset: u64,
    /// Its length from the SOT marker on (Psot).
    pub length: u32,
}

/// Where things lie in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the file.
    pub size: u64,
    /// Offset of SOC.
    pub codestream: u64,
    /// Offset of the first SOT.
    pub first_sot: u64,
    /// Tile-parts in the order of the file.
    pub tile_parts: Vec<TilePart>,
}

impl Layout {
    /// A TLM marker segment (ISO/IEC 15444-1, A.7.1) of the tile-parts, marker included: tile numbers of one byte where
    /// they fit, else of two; lengths of two bytes where they fit, else of four.
    #[must_use]
    pub fn tlm(&self) -> Vec<u8> {
        let wide_tile = self.tile_parts.iter().any(|p| p.tile > 254);
        let wide_length = self.tile_parts.iter().any(|p| p.length > 65_534);
        let mut body = vec![0, if wide_tile { 0x20 } else { 0x10 } | if wide_length { 0x40 } else { 0 }];
        for part in &self.tile_parts {
            body.extend_from_slice(&part.tile.to_be_bytes()[usize::from(!wide_tile)..]);
            body.extend_from_slice(&part.length.to_be_bytes()[if wide_length { 0 } else { 2 }..]);
        }
        // 121 tiles of 7 bytes at most: far below 65535.
        let length = u16::try_from(body.len() + 2).unwrap_or(u16::MAX);
        [&[0xff, 0x55], &length.to_be_bytes()[..], &body].concat()
    }

    /// A row's `index` bytes in the public TLM Parquet layout.
    #[must_use]
    pub fn index(&self) -> Vec<u8> {
        let tlm = self.tlm();
        let length = u32::try_from(tlm.len()).unwrap_or(u32::MAX);
        [&self.size.to_be_bytes()[..], &self.first_sot.to_be_bytes(), &length.to_be_bytes(), &tlm].concat()
    }
}

/// Finds the tile-parts of a codestream that starts `at` bytes into its file.
///
/// # Errors
/// `InvalidData` when this is no codestream with Psot everywhere.
pub fn layout(codestream: &[u8], at: u64) -> io::Result<Layout> {
    let broken = |place: usize| move || invalid(format!("no tile-part at byte {place} of the codestream"));
    let short = |p: usize| codestream.get(p..p + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let mut p = 2;
    while short(p).ok_or_else(broken(p))? != 0xff90 {
        p += 2 + usize::from(short(p + 2).ok_or_else(broken(p))?);
    }
    let file_offset = |p: usize| u64::try_from(p).map(|p| p + at).map_err(io::Error::other);
    let mut layout = Layout {
        size: file_offset(codestream.len())?,
        codestream: at,
        first_sot: file_offset(p)?,
        tile_parts: Vec::new(),
    };
    while short(p) == Some(0xff90) {
        let high = short(p + 6).ok_or_else(broken(p))?;
        let length = u32::from(high) << 16 | u32::from(short(p + 8).ok_or_else(broken(p))?);
        let tile = short(p + 4).ok_or_else(broken(p))?;
        layout.tile_parts.push(TilePart { tile, offset: file_offset(p)?, length });
        p += usize::try_from(length).ok().filter(|n| *n >= 14).ok_or_else(broken(p))?;
    }
    if short(p) != Some(0xffd9) || p + 2 != codestream.len() {
        return Err(broken(p)());
    }
    Ok(layout)
}

/// A codestream with a TLM at the end of its main header.
///
/// # Errors
/// See [`layout`].
pub fn with_tlm(codestream: &[u8]) -> io::Result<Vec<u8>> {
    let layout = layout(codestream, 0)?;
    let (header, tiles) = codestream.split_at(usize::try_from(layout.first_sot).map_err(io::Error::other)?);
    Ok([header, &layout.tlm(), tiles].concat())
}

/// The bytes in front of the codestream.
#[must_use]
pub fn boxes(coding: &Coding, grid: &TileGrid, resolution: u32) -> Vec<u8> {
    let colour = coding.components == 3;
    let side = coding.side.to_be_bytes();
    let [.., components] = coding.components.to_be_bytes();
    let [.., depth] = (coding.bits - 1).to_be_bytes();
    let mut ihdr = [side, side].concat();
    ihdr.extend_from_slice(&[0, components, depth, 7, 1, 0]);
    let colr = [1, 0, 0, 0, 0, 0, if colour { 16 } else { 17 }];
    let root =
        [boxed(b"lbl ", b"gml.root-instance", false), boxed(b"xml ", gml(coding, grid, resolution).as_bytes(), false)];
    let data = [boxed(b"lbl ", b"gml.data", false), boxed(b"asoc", &root.concat(), false)];
    let mut out = [
        boxed(b"jP  ", &[0x0d, 0x0a, 0x87, 0x0a], false),
        boxed(b"ftyp", b"jp2 \0\0\0\0jp2 ", false),
        boxed(b"jp2h", &[boxed(b"ihdr", &ihdr, false), boxed(b"colr", &colr, false)].concat(), false),
        // Real single-band files have the long form of the length here, true-colour files the short one.
        boxed(b"asoc", &data.concat(), !colour),
    ]
    .concat();
    if colour {
        let inventory = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Inventory_Metadata>\n\
                         <File_Description>made-up true-colour image</File_Description>\n</Inventory_Metadata>\n";
        out.extend_from_slice(&boxed(b"xml ", inventory.as_bytes(), false));
    }
    out.extend_from_slice(b"\0\0\0\0jp2c"); // LBox 0: to the end of the file
    out
}

fn boxed(kind: &[u8; 4], content: &[u8], long: bool) -> Vec<u8> {
    let length = |header: u32| u32::try_from(content.len()).unwrap_or(u32::MAX - header) + header;
    if long {
        [&1u32.to_be_bytes()[..], kind, &u64::from(length(16)).to_be_bytes(), content].concat()
    } else {
        [&length(8).to_be_bytes()[..], kind, content].concat()
    }
}

/// Where the image lies, in the terms of GML in JPEG 2000.
fn gml(coding: &Coding, grid: &TileGrid, resolution: u32) -> String {
    let (side, r) = (coding.side, i64::from(resolution));
    let crs = format!("urn:ogc:def:crs:EPSG::{}", grid.epsg());
    let (x, y) = (grid.ulx + r / 2, grid.uly - r / 2);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<gml:FeatureCollection xmlns:gml="http://www.opengis.net/gml">
 <gml:boundedBy><gml:Null>withheld</gml:Null></gml:boundedBy>
 <gml:featureMember><gml:FeatureCollection><gml:featureMember>
  <gml:RectifiedGridCoverage dimension="2" gml:id="RGC0001">
   <gml:rectifiedGridDomain><gml:RectifiedGrid dimension="2">
    <gml:limits><gml:GridEnvelope><gml:low>1 1</gml:low><gml:high>{side} {side}</gml:high></gml:GridEnvelope></gml:limits>
    <gml:axisName>x</gml:axisName><gml:axisName>y</gml:axisName>
    <gml:origin><gml:Point gml:id="P0001" srsName="{crs}"><gml:pos>{x} {y}</gml:pos></gml:Point></gml:origin>
    <gml:offsetVector srsName="{crs}">{r} 0</gml:offsetVector>
    <gml:offsetVector srsName="{crs}">0 -{r}</gml:offsetVector>
   </gml:RectifiedGrid></gml:rectifiedGridDomain>
   <gml:rangeSet><gml:File><gml:fileName>gmljp2://codestream/0</gml:fileName>
    <gml:fileStructure>Record Interleaved</gml:fileStructure></gml:File></gml:rangeSet>
  </gml:RectifiedGridCoverage>
 </gml:featureMember></gml:FeatureCollection></gml:featureMember>
</gml:FeatureCollection>
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tlm_takes_the_narrowest_form_that_holds_its_numbers() {
        let part = |tile, length| TilePart { tile, offset: 0, length };
        let tlm = |tile_parts| Layout { size: 9, codestream: 0, first_sot: 7, tile_parts }.tlm();
        assert_eq!(tlm(vec![part(0, 258), part(1, 3)]), [0xff, 0x55, 0, 10, 0, 0x10, 0, 1, 2, 1, 0, 3]);
        assert_eq!(tlm(vec![part(300, 65_535)]), [0xff, 0x55, 0, 10, 0, 0x60, 1, 44, 0, 0, 0xff, 0xff]);
    }

    #[test]
    fn what_is_no_codestream_has_no_layout() {
        for bytes in [&b""[..], b"\xff\x4f", b"\xff\x4f\xff\x90\0\x0a\0\0\0\0\0\x0e\0\x01\xff\x93", &[0; 40]] {
            assert!(layout(bytes, 0).is_err());
        }
    }
}
