//! SOT: start of tile-part (ISO/IEC 15444-1, clause A.4.2).

use crate::error::{Error, Result};
use crate::marker::Marker;
use crate::read::Reader;

/// Bytes of the SOT marker segment, marker included.
pub const SOT_BYTES: usize = 12;

/// Shortest legal tile-part: SOT and SOD.
pub const MIN_TILE_PART: u32 = 14;

/// SOT as a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sot {
    /// Isot: tile number in raster order.
    pub tile: u16,
    /// Psot: bytes from the first byte of SOT to the end of the tile-part; 0 means to the end of the codestream.
    pub psot: u32,
    /// TPsot: tile-part number within the tile.
    pub tpsot: u8,
    /// TNsot: tile-parts of the tile; 0 means not told here.
    pub tnsot: u8,
}

impl Sot {
    /// Parses SOT from the first 12 bytes of a tile-part, marker included.
    ///
    /// # Errors
    /// [`Error::UnexpectedMarker`] when no SOT is there, [`Error::Truncated`], [`Error::Invalid`] for a wrong Lsot
    /// or a Psot that does not even hold SOT and SOD.
    pub fn parse(bytes: &[u8]) -> Result<Sot> {
        Self::parse_at(bytes, 0)
    }

    /// As [`Sot::parse`], with errors counted from `offset`.
    ///
    /// # Errors
    /// See [`Sot::parse`].
    pub fn parse_at(bytes: &[u8], offset: u64) -> Result<Sot> {
        let mut r = Reader::new(bytes, offset, Marker::SOT);
        let marker = Marker(r.u16()?);
        if marker != Marker::SOT {
            return Err(Error::UnexpectedMarker { part: marker.into(), offset });
        }
        let length = r.u16()?;
        if length != 10 {
            return Err(r.invalid(format!("Lsot is {length}, not 10")));
        }
        let sot = Sot { tile: r.u16()?, psot: r.u32()?, tpsot: r.u8()?, tnsot: r.u8()? };
        if sot.psot != 0 && sot.psot < MIN_TILE_PART {
            return Err(r.invalid(format!("Psot {} is shorter than SOT and SOD", sot.psot)));
        }
        if sot.tile == u16::MAX || sot.tpsot == u8::MAX {
            return Err(r.invalid(format!("Isot {} or TPsot {} is reserved", sot.tile, sot.tpsot)));
        }
        if sot.tnsot != 0 && sot.tpsot >= sot.tnsot {
            return Err(r.invalid(format!("TPsot {} is not below TNsot {}", sot.tpsot, sot.tnsot)));
        }
        Ok(sot)
    }

    /// The whole marker segment, marker included.
    #[must_use]
    pub fn write(&self) -> [u8; SOT_BYTES] {
        let mut out = [0; SOT_BYTES];
        out[..2].copy_from_slice(&Marker::SOT.bytes());
        out[2..4].copy_from_slice(&10u16.to_be_bytes());
        out[4..6].copy_from_slice(&self.tile.to_be_bytes());
        out[6..10].copy_from_slice(&self.psot.to_be_bytes());
        out[10] = self.tpsot;
        out[11] = self.tnsot;
        out
    }
}
