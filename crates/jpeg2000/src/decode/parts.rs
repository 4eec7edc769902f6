//! Windows from parts of a chunk: its head, and the packets of the precincts that a window needs.

use super::{Engine, TileCodec, Window};
use crate::error::{Error, Result, Scan};
use crate::marker::Marker;
use crate::packet::window::{Needed, Piece, packet_count};
use std::ops::Range;

/// What to read of a chunk beside its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of the whole chunk.
    pub total: u64,
    /// Bytes of its head, which is all that planning needs.
    pub head: u64,
    /// Bytes up to the first packet that is not needed.
    pub lead: u64,
    /// Ranges to read, in ascending order; none where the first bytes are all that is needed.
    pub ranges: Vec<Range<u64>>,
}

impl TileCodec {
    /// Bytes at the start of a chunk that mostly hold its head, SOT to PLT.
    ///
    /// # Errors
    /// A header that asks for more packets than can be.
    pub fn head_bytes(&self) -> Result<u64> {
        // Lengths of packets take up to 3 bytes below 2 MB. Tiles that cut precincts have some packets more than the first.
        Ok(64 + packet_count(&self.header, 0)? * 4)
    }

    /// What decoding `window` (or the whole chunk at this reduction) needs, told by the first bytes of a chunk.
    ///
    /// Ranges with up to `gap` bytes between them are read as one. `Done(None)` means that only the whole chunk will do.
    ///
    /// # Errors
    /// Damage in the tile-part header, tiles outside the grid, a window outside the chunk.
    pub fn plan(&self, head: &[u8], window: Option<&Window>, gap: u64) -> Result<Scan<Option<Plan>>> {
        let needed = Needed::scan(&self.header, self.reduce, head, &self.window(window)?)?;
        let have = head.len() as u64;
        Ok(match needed {
            Scan::NeedMore { up_to } => Scan::NeedMore { up_to },
            Scan::Done(needed) => Scan::Done(needed.map(|needed| Plan {
                total: needed.total(),
                head: needed.head,
                lead: needed.lead(),
                ranges: needed.ranges(have, gap),
            })),
        })
    }

    /// As [`TileCodec::decode`], from parts of the chunk with their offsets: its first bytes, and the ranges of the plan.
    ///
    /// # Errors
    /// See [`TileCodec::decode`]; [`Error::Truncated`] also where the parts are not all that the window needs.
    pub fn decode_parts(&self, parts: &[Piece<'_>], fill: i64, window: Option<&Window>, out: &mut [u8]) -> Result<()> {
        let window = self.checked(fill, window, out)?;
        let head = parts.iter().find(|(start, _)| *start == 0).map_or(&[][..], |(_, bytes)| bytes);
        let needed = match Needed::scan(&self.header, self.reduce, head, &window)? {
            Scan::Done(Some(needed)) => needed,
            Scan::Done(None) => return Err(Error::unsupported(Marker::SOT, 0, "a tile that is read as a whole only")),
            Scan::NeedMore { up_to: needed } => {
                let available = head.len() as u64;
                return Err(Error::Truncated { part: Marker::SOT.into(), offset: 0, needed, available });
            }
        };
        match &self.engine {
            Engine::Native(native) => {
                let (body, blocks) = needed.blocks(&self.header, parts, self.scope(&window))?;
                self.decode_native(*native, needed.rect, (&blocks, &body), fill, &window, out);
                Ok(())
            }
            Engine::Other(decoder) => {
                let codestream = needed.standalone(&self.header, parts)?;
                self.decode_tile(&**decoder, (needed.tile, needed.rect), &codestream, fill, &window, out)
            }
        }
    }
}
