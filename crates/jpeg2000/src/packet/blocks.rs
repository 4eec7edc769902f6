//! The code-blocks that a part of a tile is decoded from: where in the subbands they lie, and where their bytes are.

use super::layout::{Layout, Packet, Resolution};
use super::support::{Support, supports};
use super::walk::{Found, Walker};
use super::{Walked, walk_with};
use crate::error::{Error, Result};
use crate::grid::{Rect, Window};
use crate::header::MainHeader;
use crate::marker::Marker;
use core::ops::Range;

/// Most bit-planes of a code-block that are decoded, as in OpenJPEG.
pub(crate) const MAX_PLANES: u32 = 30;

/// What a subband is (clause B.5): low (L) or high-pass (H), horizontally and then vertically.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ll,
    Hl,
    Lh,
    Hh,
}

/// What of a tile is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// Resolutions to leave out.
    pub(crate) reduce: u8,
    /// Rows and columns of the (reduced) tile; what lies beyond the tile does not count.
    pub(crate) window: &'a Window,
}

/// The wanted code-blocks of a tile.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Subbands of the wanted resolutions: by component, then by resolution, then HL, LH, HH.
    pub(crate) subbands: Vec<Subband>,
    /// First subband of each slot of the layout, `None` for those that are not wanted.
    slots: Vec<Option<usize>>,
    coded: Vec<Coded>,
}

/// A subband, in its own coordinates.
#[derive(Debug)]
pub(crate) struct Subband {
    pub(crate) component: u16,
    pub(crate) resolution: u8,
    pub(crate) kind: Kind,
    /// All of its rows and columns.
    pub(crate) extent: [Range<u32>; 2],
    /// The wanted ones.
    pub(crate) wanted: [Range<u32>; 2],
    /// log2 of the height and width of code-blocks.
    pub(crate) block: [u32; 2],
    /// First row and column of code-blocks that have wanted samples, and how many columns of them.
    first: [u32; 2],
    columns: u32,
    /// Row by row, the index of each in [`Blocks::coded`] plus 1; 0 for one without coding passes.
    heads: Vec<u32>,
}

/// What a packet contributes to a code-block; the first one tells of all of them.
#[derive(Debug, Clone, Copy)]
struct Coded {
    start: u32,
    length: u32,
    /// The contribution of the next layer, and (for the first) of the last one, plus 1.
    next: u32,
    last: u32,
    planes: u8,
    passes: u8,
}

/// A code-block: bit-planes and passes in all, and the first of its contributions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) planes: u32,
    pub(crate) passes: u32,
    head: u32,
}

impl Subband {
    fn new(of: &Resolution, band: usize, support: &Support) -> Subband {
        let [x0, y0, x1, y1] = of.bands[band].rect;
        // Coordinates are those of a tile or smaller.
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let extent = [narrow(y0)..narrow(y1), narrow(x0)..narrow(x1)];
        let clip = |support: &Range<u64>, extent: &Range<u32>| {
            let start = narrow(support.start).clamp(extent.start, extent.end);
            start..narrow(support.end).clamp(start, extent.end)
        };
        let wanted = [clip(&support[0], &extent[0]), clip(&support[1], &extent[1])];
        let block = [of.block.1, of.block.0];
        let cells = |axis: usize| {
            let range: &Range<u32> = &wanted[axis];
            let first = range.start >> block[axis];
            (first, if range.is_empty() { 0 } else { ((range.end - 1) >> block[axis]) + 1 - first })
        };
        let ((top, rows), (left, columns)) = (cells(0), cells(1));
        let kind = match (of.resolution, band) {
            (0, _) => Kind::Ll,
            (_, 0) => Kind::Hl,
            (_, 1) => Kind::Lh,
            _ => Kind::Hh,
        };
        // No more than the code-blocks of the tile, of which there are at most `MAX_BLOCKS`.
        let heads = vec![0; rows as usize * columns as usize];
        let (component, resolution) = (of.component, of.resolution);
        Subband { component, resolution, kind, extent, wanted, block, first: [top, left], columns, heads }
    }

    /// Where a code-block stands in `heads`.
    fn place(&self, row: u64, column: u64) -> Option<usize> {
        let row = row.checked_sub(self.first[0].into())?;
        let column = column.checked_sub(self.first[1].into()).filter(|c| *c < self.columns.into())?;
        usize::try_from(row * u64::from(self.columns) + column).ok().filter(|at| *at < self.heads.len())
    }
}

impl Blocks {
    /// None yet, of the part of the tile that `scope` asks for.
    pub(super) fn new(layout: &Layout, header: &MainHeader, tile: Rect, scope: Scope<'_>) -> Result<Blocks> {
        let of = |component| supports(header.coding(component).levels, scope.reduce, tile, scope.window);
        let spans: Vec<Vec<Support>> = (0..header.siz().component_count()).map(of).collect();
        let mut subbands = Vec::new();
        let mut slots = Vec::with_capacity(layout.resolutions.len());
        for resolution in &layout.resolutions {
            let support = spans[usize::from(resolution.component)].get(usize::from(resolution.resolution));
            slots.push(support.map(|_| subbands.len()));
            if let Some(support) = support {
                subbands.extend((0..resolution.bands.len()).map(|band| Subband::new(resolution, band, support)));
            }
        }
        Ok(Blocks { subbands, slots, coded: Vec::new() })
    }

    /// Takes what a packet holds, whose bytes begin at `base`.
    ///
    /// # Errors
    /// Code-blocks of more bit-planes than can be decoded, and bytes beyond 4 GiB.
    pub(super) fn add(&mut self, packet: Packet, found: &[Found], base: usize) -> Result<()> {
        let Some(first) = self.slots[packet.slot] else { return Ok(()) };
        for found in found {
            let subband = &mut self.subbands[first + found.band];
            let Some(at) = subband.place(found.place.1, found.place.0) else { continue };
            let offset = (base + found.start) as u64;
            if found.planes > MAX_PLANES {
                let reason = format!("a code-block of {} bit-planes", found.planes);
                return Err(Error::unsupported(Marker::SOD, offset, reason));
            }
            let (Ok(start), Ok(length)) = (u32::try_from(offset), u32::try_from(found.length)) else {
                return Err(Error::unsupported(Marker::SOD, offset, "a tile above 4 GiB"));
            };
            // Below 3 * `MAX_PLANES`, as the walk has checked.
            let (planes, passes) = (found.planes.to_le_bytes()[0], found.passes.to_le_bytes()[0]);
            self.coded.push(Coded { start, length, next: 0, last: 0, planes, passes });
            // As many as there are packets and code-blocks, at most: below 2^32.
            let own = u32::try_from(self.coded.len()).unwrap_or(u32::MAX);
            let head = subband.heads[at];
            if head == 0 {
                subband.heads[at] = own;
                continue;
            }
            let head = &mut self.coded[head as usize - 1];
            head.passes += passes;
            let last = if head.last == 0 { subband.heads[at] } else { head.last };
            head.last = own;
            self.coded[last as usize - 1].next = own;
        }
        Ok(())
    }

    /// The code-block at a row and column of the subband, if it has coding passes.
    pub(crate) fn block(&self, subband: &Subband, row: u32, column: u32) -> Option<Block> {
        let head = subband.heads[subband.place(row.into(), column.into())?];
        let coded = self.coded.get((head as usize).checked_sub(1)?)?;
        Some(Block { planes: coded.planes.into(), passes: coded.passes.into(), head })
    }

    /// The bytes of a code-block, a piece per layer.
    pub(crate) fn pieces<'a>(&self, block: Block, body: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut at = block.head;
        core::iter::from_fn(move || {
            let coded = self.coded.get((at as usize).checked_sub(1)?)?;
            at = coded.next;
            body.get(coded.start as usize..)?.get(..coded.length as usize)
        })
    }
}

/// As [`super::walk`], and the code-blocks of what `scope` asks for.
pub(crate) fn walk(
    header: &MainHeader,
    tile: Rect,
    body: &[u8],
    base: u64,
    last_resolution: Option<u8>,
    scope: Scope<'_>,
) -> Result<(Walked, Blocks)> {
    let layout = Layout::new(header, tile)?;
    let mut blocks = Blocks::new(&layout, header, tile, scope)?;
    let mut walker = Walker::finding(&layout, header, body, base);
    let walked = walk_with(&mut walker, &layout, header, body.len(), last_resolution, |packet, walker| {
        blocks.add(packet, walker.found(), 0)
    })?;
    Ok((walked, blocks))
}
