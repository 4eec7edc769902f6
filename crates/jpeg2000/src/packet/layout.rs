//! Which packets a tile has, and in which order (ISO/IEC 15444-1, clauses B.5 to B.9 and B.12).

use crate::error::{Error, Result};
use crate::grid::Rect;
use crate::header::MainHeader;
use crate::marker::Marker;
use crate::segment::cod::{Coding, Progression};
use crate::segment::qcd::{Qcd, Quantization};

/// Most packets a tile may have. Guards against headers that ask for a precinct per sample.
pub(super) const MAX_PACKETS: u64 = 1 << 20;

/// Most code-blocks a tile may have: as many as 2^28 samples make where they are of 16 x 16. A packet of one byte may open a
/// precinct of any number of them, and the walk remembers each.
pub(super) const MAX_BLOCKS: u64 = 1 << 20;

/// One resolution of one tile-component.
pub(super) struct Resolution {
    pub(super) component: u16,
    pub(super) resolution: u8,
    /// Its rectangle in its own coordinates.
    rect: [u64; 4],
    /// log2 of the precinct size.
    pp: (u32, u32),
    /// Precincts side by side and above each other.
    wide: u64,
    high: u64,
    /// log2 of the code-block size in its subbands.
    pub(super) block: (u32, u32),
    pub(super) bands: Vec<Band>,
    /// Reference grid units per sample: log2 of the scale, and the component's sampling.
    scale: (u32, u64, u64),
    /// Left and upper edge of the tile on the reference grid.
    tile: (u64, u64),
}

/// One subband: its rectangle, and the most bit-planes it may have.
#[derive(Clone, Copy)]
pub(super) struct Band {
    pub(super) rect: [u64; 4],
    bit_planes: u32,
}

/// Code-blocks of one precinct in one subband.
pub(super) struct BlockGrid {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Column and row of the first one; they count from the origin of the subband's coordinates.
    pub(super) first: (u64, u64),
    /// Most bit-planes (Mb, equation E-2).
    pub(super) bit_planes: u32,
}

/// One packet: index of the resolution in [`Layout::resolutions`], precinct and layer.
#[derive(Clone, Copy)]
pub(super) struct Packet {
    pub(super) slot: usize,
    pub(super) precinct: u64,
    pub(super) layer: u16,
}

/// The packets of a tile.
pub(super) struct Layout {
    /// Those that have packets.
    pub(super) resolutions: Vec<Resolution>,
    packets: u64,
    layers: u16,
    progression: Progression,
}

impl Resolution {
    fn new(header: &MainHeader, of: &OfComponent<'_>, tile: Rect, resolution: u8) -> Resolution {
        let OfComponent { component, coding, .. } = *of;
        let (dx, dy) = header.siz().components.get(usize::from(component)).map_or((1, 1), |c| (c.dx, c.dy));
        let (dx, dy) = (u64::from(dx).max(1), u64::from(dy).max(1));
        let on_component = [
            u64::from(tile.x0).div_ceil(dx),
            u64::from(tile.y0).div_ceil(dy),
            u64::from(tile.x1).div_ceil(dx),
            u64::from(tile.y1).div_ceil(dy),
        ];
        let up = u32::from(coding.levels - resolution);
        let rect = on_component.map(|n| n.div_ceil(1 << up));
        let (ppx, ppy) = coding.precinct_exp(resolution);
        let pp = (u32::from(ppx), u32::from(ppy));
        let (mut wide, high) = (cells(rect[0], rect[2], pp.0), cells(rect[1], rect[3], pp.1));
        if high == 0 {
            wide = 0;
        }
        let halved = u32::from(resolution > 0);
        let block = (
            u32::from(coding.block_width_exp).min(pp.0.saturating_sub(halved)),
            u32::from(coding.block_height_exp).min(pp.1.saturating_sub(halved)),
        );
        // Offsets (xob, yob) of the subbands, table B.1.
        let kinds: &[(u64, u64)] = if resolution == 0 { &[(0, 0)] } else { &[(1, 0), (0, 1), (1, 1)] };
        let depth = up + halved;
        let bands = kinds.iter().enumerate().map(|(index, &(xob, yob))| {
            let edge = |n: u64, ob: u64| {
                // ceil((n - 2^(nb-1) * ob) / 2^nb), equation B-15; nothing lies left of 0.
                let shift = if depth == 0 { 0 } else { ob << (depth - 1) };
                n.saturating_sub(shift).div_ceil(1 << depth)
            };
            let [x0, y0, x1, y1] = on_component;
            Band {
                rect: [edge(x0, xob), edge(y0, yob), edge(x1, xob), edge(y1, yob)],
                bit_planes: of.bit_planes(resolution, index),
            }
        });
        let bands = bands.collect();
        Resolution {
            component,
            resolution,
            rect,
            pp,
            wide,
            high,
            block,
            bands,
            scale: (up, dx, dy),
            tile: (tile.x0.into(), tile.y0.into()),
        }
    }

    pub(super) fn precincts(&self) -> u64 {
        self.wide.saturating_mul(self.high)
    }

    /// Code-blocks of all precincts and subbands: both begin at multiples of code-blocks (clause B.7).
    fn block_count(&self) -> u64 {
        let of = |&Band { rect: [x0, y0, x1, y1], .. }: &Band| {
            cells(x0, x1, self.block.0).saturating_mul(cells(y0, y1, self.block.1))
        };
        self.bands.iter().map(of).fold(0, u64::saturating_add)
    }

    /// Code-blocks of a precinct in each subband, in the order of the packet header.
    pub(super) fn blocks(&self, precinct: u64) -> Vec<BlockGrid> {
        let wide = self.wide.max(1);
        let column = (self.rect[0] >> self.pp.0) + precinct % wide;
        let row = (self.rect[1] >> self.pp.1) + precinct / wide;
        // In a subband above the lowest resolution a precinct is half as large.
        let half = u32::from(self.resolution > 0);
        let span = |index: u64, pp: u32, low: u64, high: u64, block: u32| {
            let exp = pp.saturating_sub(half);
            let (start, end) = ((index << exp).max(low), ((index + 1) << exp).min(high));
            // At most `MAX_BLOCKS`.
            (start >> block, usize::try_from(cells(start, end, block)).unwrap_or(0))
        };
        let grid = |band: &Band| {
            let (left, width) = span(column, self.pp.0, band.rect[0], band.rect[2], self.block.0);
            let (top, height) = span(row, self.pp.1, band.rect[1], band.rect[3], self.block.1);
            let empty = width == 0 || height == 0;
            BlockGrid {
                width: if empty { 0 } else { width },
                height: if empty { 0 } else { height },
                first: (left, top),
                bit_planes: band.bit_planes,
            }
        };
        self.bands.iter().map(grid).collect()
    }

    /// Whether a precinct holds any of these rows and columns, which count in the subbands.
    #[cfg(feature = "decode")]
    pub(super) fn meets(&self, precinct: u64, rows: &std::ops::Range<u64>, columns: &std::ops::Range<u64>) -> bool {
        let wide = self.wide.max(1);
        let half = u32::from(self.resolution > 0);
        let within = |low: u64, pp: u32, index: u64, range: &std::ops::Range<u64>| {
            let (index, exp) = ((low >> pp) + index, pp.saturating_sub(half));
            !range.is_empty() && index << exp < range.end && range.start < (index + 1) << exp
        };
        within(self.rect[1], self.pp.1, precinct / wide, rows)
            && within(self.rect[0], self.pp.0, precinct % wide, columns)
    }

    /// Where on the reference grid a position progression meets the precinct: (y, x).
    fn position(&self, precinct: u64) -> (u64, u64) {
        let wide = self.wide.max(1);
        let (up, dx, dy) = self.scale;
        let first = |low: u64, pp: u32, index: u64, d: u64, edge: u64| {
            // A precinct that begins outside the tile is met at the tile's edge.
            if index == 0 && low & ((1 << pp) - 1) != 0 {
                return edge;
            }
            (((low >> pp) + index) << pp).saturating_mul(d << up)
        };
        (
            first(self.rect[1], self.pp.1, precinct / wide, dy, self.tile.1),
            first(self.rect[0], self.pp.0, precinct % wide, dx, self.tile.0),
        )
    }
}

/// Cells of size 2^`exp` that `low..high` touches.
fn cells(low: u64, high: u64, exp: u32) -> u64 {
    if high > low { high.div_ceil(1 << exp) - (low >> exp) } else { 0 }
}

/// What the main header says about one component.
struct OfComponent<'a> {
    component: u16,
    coding: &'a Coding,
    qcd: &'a Qcd,
    /// Shift of the region of interest.
    shift: u8,
}

impl<'a> OfComponent<'a> {
    fn new(header: &'a MainHeader, component: u16) -> Self {
        let shift = header.rgn().iter().find(|r| r.component == component).map_or(0, |r| r.shift);
        OfComponent { component, coding: header.coding(component), qcd: header.quantization(component), shift }
    }

    /// Mb: most bit-planes of a subband (equations E-2 and E-5, annex H for regions of interest).
    fn bit_planes(&self, resolution: u8, index: usize) -> u32 {
        let band = if resolution == 0 { 0 } else { 3 * (usize::from(resolution) - 1) + 1 + index };
        let exponent = match &self.qcd.quantization {
            Quantization::None(steps) => steps.get(band).map_or(0, |e| i64::from(*e)),
            Quantization::Expounded(steps) => steps.get(band).map_or(0, |s| i64::from(s >> 11)),
            Quantization::Derived(step) => {
                let levels = i64::from(self.coding.levels);
                let up = levels - i64::from(resolution) + i64::from(resolution > 0);
                i64::from(step >> 11) - levels + up
            }
        };
        // A sum of bytes; where it is negative there are none.
        u32::try_from(exponent + i64::from(self.qcd.guard_bits) - 1 + i64::from(self.shift)).unwrap_or(0)
    }
}

impl Layout {
    /// The layout of a tile whose rectangle on the reference grid is `tile`.
    pub(super) fn new(header: &MainHeader, tile: Rect) -> Result<Layout> {
        if header.poc().is_some() {
            return Err(Error::unsupported(Marker::POC, 0, "progression order changes"));
        }
        let layers = header.cod().layers;
        let refuse = |reason: String| Err(Error::unsupported(Marker::COD, 0, reason));
        let mut resolutions = Vec::new();
        let (mut packets, mut blocks) = (0u64, 0u64);
        for component in 0..header.siz().component_count() {
            let of = OfComponent::new(header, component);
            for resolution in 0..=of.coding.levels {
                let found = Resolution::new(header, &of, tile, resolution);
                // Those without samples have no packets.
                if found.precincts() == 0 {
                    continue;
                }
                packets = packets.saturating_add(found.precincts().saturating_mul(u64::from(layers)));
                if packets > MAX_PACKETS {
                    return refuse(format!("more than {MAX_PACKETS} packets in one tile"));
                }
                blocks = blocks.saturating_add(found.block_count());
                if blocks > MAX_BLOCKS {
                    return refuse(format!("more than {MAX_BLOCKS} code-blocks in one tile"));
                }
                resolutions.push(found);
            }
        }
        Ok(Layout { resolutions, packets, layers, progression: header.cod().progression })
    }

    /// Packets of the tile, at most [`MAX_PACKETS`].
    pub(super) fn packet_count(&self) -> u64 {
        self.packets
    }

    /// Packets of the resolutions up to and including each one.
    pub(super) fn packets_up_to(&self, resolution: u8) -> u64 {
        let wanted = self.resolutions.iter().filter(|r| r.resolution <= resolution);
        wanted.map(Resolution::precincts).sum::<u64>() * u64::from(self.layers)
    }

    /// All packets in the order of the codestream.
    pub(super) fn packets(&self) -> Vec<Packet> {
        let mut packets = Vec::new();
        for (slot, resolution) in self.resolutions.iter().enumerate() {
            for precinct in 0..resolution.precincts() {
                packets.extend((0..self.layers).map(|layer| Packet { slot, precinct, layer }));
            }
        }
        packets.sort_by_cached_key(|p| {
            let slot = &self.resolutions[p.slot];
            let (r, c, l) = (u64::from(slot.resolution), u64::from(slot.component), u64::from(p.layer));
            match self.progression {
                Progression::Lrcp => [l, r, c, p.precinct, 0, 0],
                Progression::Rlcp => [r, l, c, p.precinct, 0, 0],
                Progression::Rpcl => {
                    let (y, x) = slot.position(p.precinct);
                    [r, y, x, c, p.precinct, l]
                }
                Progression::Pcrl => {
                    let (y, x) = slot.position(p.precinct);
                    [y, x, c, r, p.precinct, l]
                }
                Progression::Cprl => {
                    let (y, x) = slot.position(p.precinct);
                    [c, y, x, r, p.precinct, l]
                }
            }
        });
        packets
    }
}
