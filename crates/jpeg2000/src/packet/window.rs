//! Which packets a window needs: those of the precincts under the support of the 5-3 transform (ISO/IEC 15444-1, annex F).

use super::blocks::{Blocks, Scope};
use super::layout::{Layout, Packet};
use super::support::{Support, supports};
use super::walk::Walker;
use crate::error::{Error, Result, Scan};
use crate::grid::{Rect, Window};
use crate::header::MainHeader;
use crate::marker::Marker;
use crate::segment::sot::{SOT_BYTES, Sot};
use crate::tile::{empty_packets, one_tile_header};
use crate::tile_part::{TilePartHeader, tile_rect};
use std::ops::Range;

/// What a window needs of a chunk that is one tile-part with PLT.
pub(crate) struct Needed {
    pub(crate) tile: u16,
    pub(crate) rect: Rect,
    /// Bytes of the tile-part header.
    pub(crate) head: u64,
    layout: Layout,
    /// Every packet of the tile: what it is, where it lies in the chunk, and whether it is needed.
    packets: Vec<(Packet, Range<u64>, bool)>,
}

/// Bytes of a chunk, and where in it they begin.
pub(crate) type Piece<'a> = (u64, &'a [u8]);

impl Needed {
    /// What `window` (in samples of a chunk that leaves out `reduce` resolutions) needs, told by the first bytes of the chunk.
    ///
    /// `Done(None)` means that only the whole chunk will do: no PLT or one that does not add up, several tile-parts, the 9-7
    /// transform.
    ///
    /// # Errors
    /// Damage in the tile-part header, and tiles outside the grid.
    pub(crate) fn scan(header: &MainHeader, reduce: u8, head: &[u8], window: &Window) -> Result<Scan<Option<Needed>>> {
        let part = match TilePartHeader::scan(head, 0)? {
            Scan::NeedMore { up_to } => return Ok(Scan::NeedMore { up_to }),
            Scan::Done(part) => part,
        };
        let rect = tile_rect(header, part.sot.tile, 0)?;
        let Some(lengths) = part.plt.as_deref().filter(|_| part.sot.tpsot == 0 && part.sot.tnsot <= 1) else {
            return Ok(Scan::Done(None));
        };
        let layout = Layout::new(header, rect)?;
        if !header.reversible() || lengths.len() as u64 != layout.packet_count() {
            return Ok(Scan::Done(None));
        }
        let of = |component| supports(header.coding(component).levels, reduce, rect, window);
        let spans: Vec<Vec<Support>> = (0..header.siz().component_count()).map(of).collect();
        let mut at = part.length as u64;
        let mut packets = Vec::with_capacity(lengths.len());
        for (packet, length) in layout.packets().into_iter().zip(lengths) {
            let place = at..at + u64::from(*length);
            at = place.end;
            let resolution = &layout.resolutions[packet.slot];
            let support = spans[usize::from(resolution.component)].get(usize::from(resolution.resolution));
            let needed = support.is_some_and(|[y, x]| resolution.meets(packet.precinct, y, x));
            packets.push((packet, place, needed));
        }
        // Where Psot is 0 nothing tells that all packets are in this tile-part.
        if at != u64::from(part.sot.psot) {
            return Ok(Scan::Done(None));
        }
        Ok(Scan::Done(Some(Needed { tile: part.sot.tile, rect, head: part.length as u64, layout, packets })))
    }

    /// Bytes of the tile-part.
    pub(crate) fn total(&self) -> u64 {
        self.packets.last().map_or(self.head, |(_, place, _)| place.end)
    }

    /// Bytes up to the first packet that is not needed.
    pub(crate) fn lead(&self) -> u64 {
        self.packets.iter().find(|(.., needed)| !needed).map_or(self.total(), |(_, place, _)| place.start)
    }

    /// The ranges of the chunk to read beside its first `have` bytes. Those with up to `gap` bytes between them are one.
    pub(crate) fn ranges(&self, have: u64, gap: u64) -> Vec<Range<u64>> {
        let mut out: Vec<Range<u64>> = Vec::new();
        for (_, place, _) in self.packets.iter().filter(|(.., needed)| *needed) {
            let start = place.start.max(have);
            // Nor is anything read where PLT tells of a packet without bytes.
            if start >= place.end {
                continue;
            }
            match out.last_mut() {
                Some(last) if start.saturating_sub(last.end) <= gap => last.end = place.end,
                _ => out.push(start..place.end),
            }
        }
        out
    }

    /// The code-blocks of the needed packets, and these packets one after the other.
    ///
    /// # Errors
    /// As [`Needed::standalone`], and as [`Blocks::add`].
    pub(crate) fn blocks(
        &self,
        header: &MainHeader,
        pieces: &[Piece<'_>],
        scope: Scope<'_>,
    ) -> Result<(Vec<u8>, Blocks)> {
        let mut blocks = Blocks::new(&self.layout, header, self.rect, scope)?;
        let wanted = || self.packets.iter().filter(|(.., needed)| *needed);
        let length: u64 = wanted().map(|(_, place, _)| place.end - place.start).sum();
        let available: u64 = pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let mut body = Vec::with_capacity(usize::try_from(length.min(available)).unwrap_or(0));
        for (_, place, _) in wanted() {
            append(&mut body, pieces, place)?;
        }
        let mut walker = Walker::finding(&self.layout, header, &[], 0);
        let mut start = 0;
        for (packet, place, _) in wanted() {
            let told = usize::try_from(place.end - place.start).unwrap_or(usize::MAX);
            // All of them were appended above.
            let bytes = &body[start..start + told];
            walker.turn_to(bytes, place.start);
            let end = walker.packet(*packet, 0)?.end;
            if end != told {
                let reason = format!("a packet of {end} bytes, PLT tells {told}");
                return Err(Error::invalid(Marker::SOD, place.start, reason));
            }
            blocks.add(*packet, walker.found(), start)?;
            start += told;
        }
        Ok((body, blocks))
    }

    /// The tile as a codestream of its own, in which every packet that is not needed is an empty one.
    ///
    /// # Errors
    /// [`Error::Truncated`] where `pieces` lack bytes of a needed packet; damage that packet headers give away; packets that
    /// have another length than PLT tells.
    pub(crate) fn standalone(&self, header: &MainHeader, pieces: &[Piece<'_>]) -> Result<Vec<u8>> {
        let empty = empty_packets(header, 1);
        let mut body = Vec::new();
        let mut read = Vec::new();
        for (packet, place, needed) in &self.packets {
            let start = body.len();
            if *needed {
                append(&mut body, pieces, place)?;
                read.push((*packet, place.start, start..body.len()));
            } else {
                body.extend_from_slice(&empty);
            }
        }
        let mut walker = Walker::new(&self.layout, header, &[], 0);
        for (packet, offset, at) in read {
            let told = at.len();
            walker.turn_to(&body[at], offset);
            let end = walker.packet(packet, 0)?.end;
            if end != told {
                return Err(Error::invalid(Marker::SOD, offset, format!("a packet of {end} bytes, PLT tells {told}")));
            }
        }
        let mut out = one_tile_header(header, self.rect);
        let psot = u32::try_from(SOT_BYTES + 2 + body.len())
            .map_err(|_| Error::invalid(Marker::SOT, 0, "a tile-part above 4 GiB"))?;
        out.extend(Sot { tile: 0, psot, tpsot: 0, tnsot: 1 }.write());
        out.extend(Marker::SOD.bytes());
        out.extend(body);
        out.extend(Marker::EOC.bytes());
        Ok(out)
    }
}

/// Adds the bytes at `place`, which may run on from one piece to the next.
fn append(out: &mut Vec<u8>, pieces: &[Piece<'_>], place: &Range<u64>) -> Result<()> {
    let mut at = place.start;
    while at < place.end {
        let rest = pieces.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(at.checked_sub(*start)?).ok()?;
            bytes.get(from..).filter(|rest| !rest.is_empty())
        });
        let needed = place.end - at;
        let Some(rest) = rest else {
            return Err(Error::Truncated { part: Marker::SOD.into(), offset: at, needed, available: 0 });
        };
        let taken = &rest[..usize::try_from(needed).map_or(rest.len(), |n| n.min(rest.len()))];
        out.extend_from_slice(taken);
        at += taken.len() as u64;
    }
    Ok(())
}

/// Packets of a tile.
pub(crate) fn packet_count(header: &MainHeader, tile: u16) -> Result<u64> {
    Ok(Layout::new(header, tile_rect(header, tile, 0)?)?.packet_count())
}
