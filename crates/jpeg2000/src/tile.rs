//! Tile-parts, and from a chunk to a codestream that decodes on its own.

use crate::error::{Error, Result};
use crate::grid::Rect;
use crate::header::MainHeader;
use crate::marker::Marker;
use crate::packet;
use crate::segment::sot::{SOT_BYTES, Sot};
use crate::tile_part::{TilePartHeader, rect_in};
use std::borrow::Cow;

/// A chunk taken apart and found complete.
#[derive(Debug, Clone)]
pub struct Chunk<'a> {
    /// Tile number.
    pub tile: u16,
    /// Where the tile lies on the reference grid.
    pub rect: Rect,
    /// Whether any code-block above the lowest resolution has data.
    pub detail: bool,
    /// Headers with what follows SOD.
    parts: Vec<(TilePartHeader, &'a [u8], &'a [u8])>,
    /// Packets of higher resolutions that a prefix leaves out.
    missing_packets: u64,
    /// The resolution that the packets may end with, where these are a prefix or can be one.
    last: Option<u8>,
}

impl<'a> Chunk<'a> {
    /// Takes a chunk apart: whole tile-parts of one tile, or (where `reduce` is above 0) a prefix of the only one that ends
    /// with the last packet of what is left.
    ///
    /// The packets are walked to prove that exactly what is needed is there; code-blocks are not looked into.
    ///
    /// # Errors
    /// [`Error::Tile`] for a tile outside the grid, lengths that do not add up, tile-parts of another tile or out of
    /// order; everything that packet headers give away.
    pub fn parse(header: &MainHeader, chunk: &'a [u8], reduce: u8) -> Result<Chunk<'a>> {
        let (mut out, cut) = Self::split(header, chunk, reduce)?;
        let body = out.body();
        let walked = packet::walk(header, out.rect, &body, out.base(), out.last)?;
        out.check(&walked, body.len(), cut)?;
        Ok(out)
    }

    /// As [`Chunk::parse`], and the code-blocks of what `scope` asks for, whose places count in the bytes that come with them.
    ///
    /// # Errors
    /// As [`Chunk::parse`], and what stands against decoding the code-blocks.
    #[cfg(feature = "decode")]
    pub(crate) fn blocks(
        header: &MainHeader,
        chunk: &'a [u8],
        scope: packet::blocks::Scope<'_>,
    ) -> Result<(Chunk<'a>, Cow<'a, [u8]>, packet::blocks::Blocks)> {
        let (mut out, cut) = Self::split(header, chunk, scope.reduce)?;
        let body = out.body();
        let (walked, blocks) = packet::blocks::walk(header, out.rect, &body, out.base(), out.last, scope)?;
        out.check(&walked, body.len(), cut)?;
        Ok((out, body, blocks))
    }

    /// The code-blocks of what `scope` asks for of a chunk that was parsed, and the bytes that their places count in.
    ///
    /// # Errors
    /// What stands against decoding the code-blocks.
    #[cfg(feature = "decode")]
    pub(crate) fn blocks_of(
        &self,
        header: &MainHeader,
        scope: packet::blocks::Scope<'_>,
    ) -> Result<(packet::blocks::Blocks, Cow<'a, [u8]>)> {
        let body = self.body();
        let (_, blocks) = packet::blocks::walk(header, self.rect, &body, self.base(), self.last, scope)?;
        Ok((blocks, body))
    }

    /// The tile-parts, and whether the only one is cut.
    fn split(header: &MainHeader, chunk: &'a [u8], reduce: u8) -> Result<(Chunk<'a>, bool)> {
        let grid = header.grid()?;
        let tile = Sot::parse(chunk)?.tile;
        let rect = rect_in(&grid, tile, 0)?;
        let fail = |at: usize, reason: String| Err(Error::tile(Marker::SOT, at as u64, u32::from(tile), reason));
        let mut parts: Vec<(TilePartHeader, &[u8], &[u8])> = Vec::new();
        let mut pos = 0;
        let mut cut = false;
        while pos < chunk.len() {
            let rest = &chunk[pos..];
            // A last tile-part of unknown length in TLM brings the EOC along.
            if !parts.is_empty() && rest == Marker::EOC.bytes() {
                break;
            }
            let part = TilePartHeader::parse(rest, pos as u64)?;
            let sot = part.sot;
            if sot.tile != tile {
                return fail(pos, format!("a tile-part of tile {} follows", sot.tile));
            }
            if usize::from(sot.tpsot) != parts.len() {
                return fail(pos, format!("tile-part {} where {} was due", sot.tpsot, parts.len()));
            }
            let psot = usize::try_from(sot.psot).unwrap_or(usize::MAX);
            let length = match psot {
                // To the end of the codestream: packets cannot hold EOC, so a trailing one is not theirs.
                0 => rest.len() - if rest.ends_with(&Marker::EOC.bytes()) { 2 } else { 0 },
                n if n <= rest.len() => n,
                _ if reduce > 0 && parts.is_empty() => {
                    cut = true;
                    rest.len()
                }
                n => return fail(pos, format!("Psot is {n} but {} bytes are there", rest.len())),
            };
            let Some(body) = rest.get(part.length..length) else {
                return fail(pos, format!("Psot {length} ends inside the tile-part header"));
            };
            let head = &rest[..part.length];
            pos += if psot == 0 { rest.len() } else { length };
            parts.push((part, head, body));
        }
        for (part, ..) in &parts {
            let told = usize::from(part.sot.tnsot);
            if told != 0 && told != parts.len() {
                let at = usize::try_from(part.offset).unwrap_or(0);
                return fail(at, format!("{} tile-parts where TNsot tells {told}", parts.len()));
            }
        }
        if cut {
            packet::sorted_by_resolution(header)?;
        }
        let open = parts.last().is_some_and(|(part, ..)| part.sot.psot == 0);
        let last = header.min_levels().checked_sub(reduce).filter(|_| reduce > 0 && (cut || open));
        Ok((Chunk { tile, rect, detail: false, parts, missing_packets: 0, last }, cut))
    }

    /// Offset of the first packet in the chunk.
    fn base(&self) -> u64 {
        self.parts.first().map_or(0, |(part, ..)| part.length as u64)
    }

    /// The packets, tile-parts joined.
    fn body(&self) -> Cow<'a, [u8]> {
        match self.parts.as_slice() {
            [(_, _, body)] => Cow::Borrowed(*body),
            parts => Cow::Owned(parts.iter().flat_map(|(_, _, body)| body.iter().copied()).collect()),
        }
    }

    fn check(&mut self, walked: &packet::Walked, length: usize, cut: bool) -> Result<()> {
        let fail = |reason: String| Err(Error::tile(Marker::SOT, 0, u32::from(self.tile), reason));
        if walked.length != length {
            let what = if cut { "the prefix does not end with a resolution" } else { "bytes follow the last packet" };
            return fail(format!("{what}: packets end {} bytes before it does", length - walked.length));
        }
        if cut && walked.missing == 0 {
            return fail("Psot reaches beyond the last packet".into());
        }
        self.missing_packets = walked.missing;
        self.detail = walked.detail;
        Ok(())
    }

    /// Writes the tile as a codestream of one tile that any decoder reads.
    ///
    /// The tile stays in its place: image and tile offsets become the tile's own position, so precincts and code-blocks keep
    /// their alignment, which counts from the origin of the reference grid (clauses B.6 and B.7). The tile's number becomes 0.
    /// Packets that a prefix left out are written as empty ones.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a length does not fit Psot.
    pub fn standalone(&self, header: &MainHeader) -> Result<Vec<u8>> {
        let mut out = one_tile_header(header, self.rect);
        out.reserve(self.parts.iter().map(|(_, head, body)| head.len() + body.len()).sum());
        let count = u8::try_from(self.parts.len()).unwrap_or(0);
        let padding = empty_packets(header, self.missing_packets);
        for (index, (part, head, body)) in self.parts.iter().enumerate() {
            let tail: &[u8] = if index + 1 == self.parts.len() { &padding } else { &[] };
            let psot = u32::try_from(head.len() + body.len() + tail.len())
                .map_err(|_| Error::invalid(Marker::SOT, part.offset, "a tile-part above 4 GiB"))?;
            out.extend(Sot { tile: 0, psot, tpsot: part.sot.tpsot, tnsot: count }.write());
            for bytes in [&head[SOT_BYTES..], body, tail] {
                out.extend_from_slice(bytes);
            }
        }
        out.extend(Marker::EOC.bytes());
        Ok(out)
    }
}

/// The main header of a codestream that has this one tile.
pub(crate) fn one_tile_header(header: &MainHeader, tile: Rect) -> Vec<u8> {
    let mut siz = header.siz().clone();
    (siz.x0, siz.y0, siz.x1, siz.y1) = (tile.x0, tile.y0, tile.x1, tile.y1);
    (siz.tile_x0, siz.tile_y0, siz.tile_width, siz.tile_height) = (tile.x0, tile.y0, tile.width(), tile.height());
    let mut out = Marker::SOC.bytes().to_vec();
    for (marker, bytes) in header.segments() {
        if *marker == Marker::SIZ {
            out.extend(siz.write());
        } else {
            out.extend_from_slice(bytes);
        }
    }
    out
}

/// Packets without content, as the header's coding style wants them.
pub(crate) fn empty_packets(header: &MainHeader, count: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..count {
        if header.cod().sop {
            out.extend(Marker::SOP.bytes());
            out.extend([0, 4, 0, 0]);
        }
        out.push(0);
        if header.cod().eph {
            out.extend(Marker::EPH.bytes());
        }
    }
    out
}
