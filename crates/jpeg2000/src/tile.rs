//! Tile-parts, and from a chunk to a codestream that decodes on its own.

use crate::error::{Error, Result, Scan};
use crate::grid::{Rect, TileGrid};
use crate::header::MainHeader;
use crate::marker::Marker;
use crate::packet;
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
            let at = offset + pos as u64;
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
                plts.push(Plt::parse(body, at + 4)?);
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

fn rect_in(grid: &TileGrid, tile: u16, offset: u64) -> Result<Rect> {
    grid.tile_rect(u32::from(tile)).ok_or_else(|| {
        let reason = format!("outside the grid of {} x {} tiles", grid.columns(), grid.rows());
        Error::tile(Marker::SOT, offset, u32::from(tile), reason)
    })
}

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
        let mut out = Chunk { tile, rect, detail: false, parts, missing_packets: 0 };
        out.check(header, reduce, cut)?;
        Ok(out)
    }

    fn check(&mut self, header: &MainHeader, reduce: u8, cut: bool) -> Result<()> {
        if cut {
            packet::sorted_by_resolution(header)?;
        }
        let base = self.parts.first().map_or(0, |(part, ..)| part.length as u64);
        let joined: Vec<u8>;
        let body = match self.parts.as_slice() {
            [(_, _, body)] => *body,
            parts => {
                joined = parts.iter().flat_map(|(_, _, body)| body.iter().copied()).collect();
                joined.as_slice()
            }
        };
        let open = self.parts.last().is_some_and(|(part, ..)| part.sot.psot == 0);
        let last = header.min_levels().checked_sub(reduce).filter(|_| reduce > 0 && (cut || open));
        let walked = packet::walk(header, self.rect, body, base, last)?;
        let fail = |reason: String| Err(Error::tile(Marker::SOT, 0, u32::from(self.tile), reason));
        if walked.length != body.len() {
            let what = if cut { "the prefix does not end with a resolution" } else { "bytes follow the last packet" };
            return fail(format!("{what}: packets end {} bytes before it does", body.len() - walked.length));
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
        let mut siz = header.siz().clone();
        let r = self.rect;
        (siz.x0, siz.y0, siz.x1, siz.y1) = (r.x0, r.y0, r.x1, r.y1);
        (siz.tile_x0, siz.tile_y0, siz.tile_width, siz.tile_height) = (r.x0, r.y0, r.width(), r.height());
        let total: usize = self.parts.iter().map(|(_, head, body)| head.len() + body.len()).sum();
        let mut out = Vec::with_capacity(total + 512);
        out.extend(Marker::SOC.bytes());
        for (marker, bytes) in header.segments() {
            if *marker == Marker::SIZ {
                out.extend(siz.write());
            } else {
                out.extend_from_slice(bytes);
            }
        }
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

/// Packets without content, as the header's coding style wants them.
fn empty_packets(header: &MainHeader, count: u64) -> Vec<u8> {
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
