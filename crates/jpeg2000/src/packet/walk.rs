//! Packet headers, one after the other (ISO/IEC 15444-1, clause B.10).

use super::bits::{Bits, TagTree};
use super::layout::{BlockGrid, Layout, Packet};
use crate::error::{Error, Result};
use crate::header::MainHeader;
use crate::marker::Marker;
use crate::segment::cod::Coding;
use std::collections::BTreeMap;

/// Code-block style: selective arithmetic coding bypass (table A.19).
const BYPASS: u8 = 0x01;
/// Code-block style: termination on each coding pass.
const TERMINATE_ALL: u8 = 0x04;

/// What one packet turned out to be.
pub(super) struct Seen {
    /// Position behind the packet.
    pub(super) end: usize,
    /// Whether it contributes to any code-block.
    pub(super) any_block: bool,
}

/// What one packet contributes to one code-block.
#[cfg_attr(not(feature = "decode"), allow(dead_code))]
pub(super) struct Found {
    /// Subband of the resolution, in the order of the packet header.
    pub(super) band: usize,
    /// Column and row of the code-block in the subband's coordinates.
    pub(super) place: (u64, u64),
    /// Bit-planes that are coded (Mb less the missing ones).
    pub(super) planes: u32,
    /// Coding passes of this packet.
    pub(super) passes: u32,
    /// Where its bytes begin, counted in the walker's body, and how many there are.
    pub(super) start: usize,
    pub(super) length: usize,
}

/// State of one code-block over the layers.
#[derive(Clone, Copy)]
struct Block {
    included: bool,
    zero_planes: u32,
    passes: u32,
    length_bits: u32,
    /// Passes in, and room of, the codeword segment under way.
    segment: (u32, u32),
}

/// Code-blocks of a precinct in one subband.
struct Band {
    grid: BlockGrid,
    inclusion: TagTree,
    zero_planes: TagTree,
    blocks: Vec<Block>,
}

/// Walks the packets of one tile.
pub(super) struct Walker<'a> {
    layout: &'a Layout,
    header: &'a MainHeader,
    body: &'a [u8],
    /// Offset of `body[0]`, for errors.
    base: u64,
    /// Precincts whose first packet was seen and that have layers to come.
    state: BTreeMap<(usize, u64), Vec<Band>>,
    /// What the last packet held, if that is asked for.
    found: Option<Vec<Found>>,
}

impl<'a> Walker<'a> {
    pub(super) fn new(layout: &'a Layout, header: &'a MainHeader, body: &'a [u8], base: u64) -> Self {
        Walker { layout, header, body, base, state: BTreeMap::new(), found: None }
    }

    /// As [`Walker::new`], to know more of each packet and be as strict as OpenJPEG: SOP stands where COD tells of it.
    #[cfg(feature = "decode")]
    pub(super) fn finding(layout: &'a Layout, header: &'a MainHeader, body: &'a [u8], base: u64) -> Self {
        Walker { found: Some(Vec::new()), ..Walker::new(layout, header, body, base) }
    }

    /// What the last packet contributed.
    #[cfg(feature = "decode")]
    pub(super) fn found(&self) -> &[Found] {
        self.found.as_deref().unwrap_or_default()
    }

    /// Offset of the body's first byte.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Goes on in other bytes of the tile, which stand at `base`.
    #[cfg(feature = "decode")]
    pub(super) fn turn_to(&mut self, body: &'a [u8], base: u64) {
        (self.body, self.base) = (body, base);
    }

    /// Reads the packet at `start`.
    pub(super) fn packet(&mut self, packet: Packet, start: usize) -> Result<Seen> {
        let resolution = &self.layout.resolutions[packet.slot];
        let coding = self.header.coding(resolution.component);
        let start = self.skip_sop(start)?;
        let mut bits = Bits::new(self.body, start, self.base);
        let mut length: u64 = 0;
        let mut any_block = false;
        if let Some(found) = &mut self.found {
            found.clear();
        }
        if bits.bit()? == 1 {
            let key = (packet.slot, packet.precinct);
            let mut bands = self.state.remove(&key).unwrap_or_else(|| {
                let grids = resolution.blocks(packet.precinct);
                grids.into_iter().map(Band::new).collect()
            });
            for (index, band) in bands.iter_mut().enumerate() {
                let (layer, any) = (u32::from(packet.layer), &mut any_block);
                let mut found = self.found.as_mut().map(|found| (index, found));
                length += band.read(layer, coding, &mut bits, any, length, found.as_mut())?;
            }
            if packet.layer + 1 < self.header.cod().layers {
                self.state.insert(key, bands);
            }
        }
        let body = self.skip_eph(bits.finish()?)?;
        let room = (self.body.len() - body) as u64;
        if length > room {
            let offset = self.base + body as u64;
            return Err(Error::Truncated { part: Marker::SOD.into(), offset, needed: length, available: room });
        }
        // Not above `room`, which came from a usize.
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        for found in self.found.iter_mut().flatten() {
            found.start += body;
        }
        Ok(Seen { end: body + length, any_block })
    }

    fn skip_sop(&self, start: usize) -> Result<usize> {
        let sop = Marker::SOP.bytes();
        if !self.header.cod().sop {
            return Ok(start);
        }
        if self.body.get(start..start + 2) != Some(&sop[..]) {
            if self.found.is_some() {
                return Err(Error::Missing { part: Marker::SOP.into(), offset: self.base + start as u64 });
            }
            return Ok(start);
        }
        match self.body.get(start + 2..start + 6) {
            Some(&[0, 4, ..]) => Ok(start + 6),
            _ => Err(Error::invalid(Marker::SOP, self.base + start as u64, "its length is not 4")),
        }
    }

    fn skip_eph(&self, at: usize) -> Result<usize> {
        if !self.header.cod().eph {
            return Ok(at);
        }
        if self.body.get(at..at + 2) == Some(&Marker::EPH.bytes()[..]) {
            return Ok(at + 2);
        }
        Err(Error::Missing { part: Marker::EPH.into(), offset: self.base + at as u64 })
    }
}

impl Band {
    fn new(grid: BlockGrid) -> Self {
        let (w, h) = (grid.width, grid.height);
        let block = Block { included: false, zero_planes: 0, passes: 0, length_bits: 3, segment: (0, 0) };
        Band { inclusion: TagTree::new(w, h), zero_planes: TagTree::new(w, h), blocks: vec![block; w * h], grid }
    }

    /// Reads this subband's share of a packet header; returns the bytes its code-blocks have in the packet's body.
    /// `before` is what subbands before it have.
    fn read(
        &mut self,
        layer: u32,
        coding: &Coding,
        bits: &mut Bits<'_>,
        any: &mut bool,
        before: u64,
        mut found: Option<&mut (usize, &mut Vec<Found>)>,
    ) -> Result<u64> {
        let mut total: u64 = 0;
        for y in 0..self.grid.height {
            for x in 0..self.grid.width {
                let block = &mut self.blocks[y * self.grid.width + x];
                let here = if block.included {
                    bits.bit()? == 1
                } else {
                    self.inclusion.below(x, y, layer + 1, bits)?.is_some()
                };
                if !here {
                    continue;
                }
                *any = true;
                if !block.included {
                    block.included = true;
                    block.zero_planes = zero_planes(&mut self.zero_planes, x, y, self.grid.bit_planes, bits)?;
                }
                let passes = pass_count(bits)?;
                block.passes += passes;
                // More passes than bit-planes hold prove a wrong header or damage (equation E-2, clause D.3).
                let most = (3 * (self.grid.bit_planes - block.zero_planes)).saturating_sub(2);
                if block.passes > most {
                    let reason = format!("{} coding passes where {most} are possible", block.passes);
                    return Err(Error::invalid(Marker::SOD, bits.offset(), reason));
                }
                let length = block.lengths(passes, coding.block_style, bits)?;
                if let Some((band, found)) = &mut found {
                    let (left, top) = self.grid.first;
                    found.push(Found {
                        band: *band,
                        place: (left + x as u64, top + y as u64),
                        planes: self.grid.bit_planes - block.zero_planes,
                        passes,
                        // What does not fit is more than there is, which the packet's end finds out.
                        start: usize::try_from(before + total).unwrap_or(usize::MAX / 2),
                        length: usize::try_from(length).unwrap_or(usize::MAX / 2),
                    });
                }
                total += length;
            }
        }
        Ok(total)
    }
}

impl Block {
    /// Reads the lengths of the codeword segments that `passes` more coding passes make (clause B.10.7).
    fn lengths(&mut self, passes: u32, style: u8, bits: &mut Bits<'_>) -> Result<u64> {
        while bits.bit()? == 1 {
            self.length_bits += 1;
            check_width(self.length_bits, bits)?;
        }
        let mut total = 0;
        let mut left = passes;
        while left > 0 {
            if self.segment.0 == self.segment.1 {
                self.segment = (0, next_segment(self.segment.1, style));
            }
            let take = left.min(self.segment.1 - self.segment.0);
            let width = self.length_bits + take.ilog2();
            check_width(width, bits)?;
            total += u64::from(bits.bits(width)?);
            self.segment.0 += take;
            left -= take;
        }
        Ok(total)
    }
}

/// Lengths have 32 bits at most.
fn check_width(width: u32, bits: &Bits<'_>) -> Result<()> {
    if width <= 32 {
        return Ok(());
    }
    Err(Error::invalid(Marker::SOD, bits.offset(), format!("a length of {width} bits")))
}

/// Coding passes in the segment that follows one of `previous` passes (0 for the first).
fn next_segment(previous: u32, style: u8) -> u32 {
    match previous {
        _ if style & TERMINATE_ALL != 0 => 1,
        _ if style & BYPASS == 0 => u32::MAX,
        0 => 10,
        1 | 10 => 2,
        _ => 1,
    }
}

/// Missing most significant bit-planes of a code-block (clause B.10.5).
fn zero_planes(tree: &mut TagTree, x: usize, y: usize, most: u32, bits: &mut Bits<'_>) -> Result<u32> {
    match tree.below(x, y, most + 1, bits)? {
        Some(planes) => Ok(planes),
        None => Err(Error::invalid(Marker::SOD, bits.offset(), format!("more than {most} missing bit-planes"))),
    }
}

/// Number of coding passes (table B.4).
fn pass_count(bits: &mut Bits<'_>) -> Result<u32> {
    if bits.bit()? == 0 {
        return Ok(1);
    }
    if bits.bit()? == 0 {
        return Ok(2);
    }
    match bits.bits(2)? {
        3 => match bits.bits(5)? {
            31 => Ok(37 + bits.bits(7)?),
            n => Ok(6 + n),
        },
        n => Ok(3 + n),
    }
}
