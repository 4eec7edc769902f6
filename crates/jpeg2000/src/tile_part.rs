//! The header of a tile-part: SOT up to SOD.

use crate::error::{Error, Result, Scan};
use crate::grid::{Rect, TileGrid};
use crate::header::MainHeader;
use crate::marker::Marker;
use crate::segment::plt::Plt;
use crate::segment::sot::{SOT_BYTES, Sot};

/// The header of one tile-part, SOT to SOD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TilePartHeader {
    /// Start of tile-part.
    pub sot: Sot,
    /// Offset of SOT in what was given.
    pub offset: u64,
    /// Bytes from SOT to the end of SOD.
    pub length: usize,
    /// Packet lengths of all PLT segments in their order, if there are any.
    pub plt: Option<Vec<u32>>,
}

impl TilePartHeader {
    /// Reads a tile-part header from a prefix of the tile-part; `offset` is where it stands.
    ///
    /// # Errors
    /// Markers a tile-part header may not have, and those refused knowingly: COD, COC, QCD, QCC, RGN and POC (the codec
    /// configuration would not describe the tile) and PPT (packet headers away from their packets).
    pub fn scan(bytes: &[u8], offset: u64) -> Result<Scan<TilePartHeader>> {
        if bytes.len() < SOT_BYTES {
            return Ok(Scan::NeedMore { up_to: SOT_BYTES as u64 + 2 });
        }
        let sot = Sot::parse_at(bytes, offset)?;
        let mut pos = SOT_BYTES;
        let mut plts: Vec<Plt> = Vec::new();
        loop {
            let at = offset.saturating_add(pos as u64);
            let Some(&[a, b]) = bytes.get(pos..pos + 2) else {
                return Ok(Scan::NeedMore { up_to: pos as u64 + 2 });
            };
            let marker = Marker(u16::from_be_bytes([a, b]));
            match marker {
                Marker::SOD => break,
                Marker::PLT | Marker::COM => {}
                Marker::COD | Marker::COC | Marker::QCD | Marker::QCC | Marker::RGN | Marker::POC => {
                    let reason = "in a tile-part header; coding parameters must be those of the main header";
                    return Err(Error::unsupported(marker, at, reason));
                }
                Marker::PPT => return Err(Error::unsupported(marker, at, "packed packet headers")),
                _ => return Err(Error::UnexpectedMarker { part: marker.into(), offset: at }),
            }
            let Some(&[a, b]) = bytes.get(pos + 2..pos + 4) else {
                return Ok(Scan::NeedMore { up_to: pos as u64 + 4 });
            };
            let length = usize::from(u16::from_be_bytes([a, b]));
            if length < 2 {
                return Err(Error::invalid(marker, at, format!("segment length {length}")));
            }
            let end = pos + 2 + length;
            if sot.psot != 0 && end as u64 + 2 > u64::from(sot.psot) {
                return Err(Error::invalid(marker, at, "it ends beyond its tile-part"));
            }
            let Some(body) = bytes.get(pos + 4..end) else {
                return Ok(Scan::NeedMore { up_to: end as u64 + 2 });
            };
            if marker == Marker::PLT {
                plts.push(Plt::parse(body, at.saturating_add(4))?);
            }
            pos = end;
        }
        let length = pos + 2;
        plts.sort_by_key(|p| p.index);
        if let Some(at) = plts.iter().enumerate().position(|(i, p)| usize::from(p.index) != i) {
            return Err(Error::invalid(Marker::PLT, offset, format!("Zplt {} where {at} was due", plts[at].index)));
        }
        let plt = (!plts.is_empty()).then(|| plts.into_iter().flat_map(|p| p.lengths).collect());
        Ok(Scan::Done(TilePartHeader { sot, offset, length, plt }))
    }

    /// As [`TilePartHeader::scan`], where a cut header is an error.
    ///
    /// # Errors
    /// See [`TilePartHeader::scan`], and [`Error::Truncated`].
    pub fn parse(bytes: &[u8], offset: u64) -> Result<TilePartHeader> {
        match Self::scan(bytes, offset)? {
            Scan::Done(header) => Ok(header),
            Scan::NeedMore { up_to } => {
                Err(Error::Truncated { part: Marker::SOT.into(), offset, needed: up_to, available: bytes.len() as u64 })
            }
        }
    }
}

/// Rectangle of tile `tile` on the reference grid; outside the grid it is an error at `offset`.
pub(crate) fn tile_rect(header: &MainHeader, tile: u16, offset: u64) -> Result<Rect> {
    rect_in(&header.grid()?, tile, offset)
}

pub(crate) fn rect_in(grid: &TileGrid, tile: u16, offset: u64) -> Result<Rect> {
    grid.tile_rect(u32::from(tile)).ok_or_else(|| {
        let reason = format!("outside the grid of {} x {} tiles", grid.columns(), grid.rows());
        Error::tile(Marker::SOT, offset, u32::from(tile), reason)
    })
}
