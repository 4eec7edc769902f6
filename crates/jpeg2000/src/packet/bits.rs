//! Bits and tag trees of packet headers (ISO/IEC 15444-1, clauses B.10.1 and B.10.2).

use crate::error::{Error, Result};
use crate::marker::Marker;

/// Reads bits from a packet header, leaving out the bit stuffed after every byte FF.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    pos: usize,
    last: u8,
    left: u32,
    /// Offset of `bytes[0]`, for errors.
    base: u64,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], pos: usize, base: u64) -> Self {
        Bits { bytes, pos, last: 0, left: 0, base }
    }

    fn next_byte(&mut self) -> Result<u8> {
        let offset = self.base + self.pos as u64;
        let Some(&byte) = self.bytes.get(self.pos) else {
            return Err(Error::Truncated { part: Marker::SOD.into(), offset, needed: 1, available: 0 });
        };
        if self.last == 0xFF && byte & 0x80 != 0 {
            return Err(Error::invalid(Marker::SOD, offset, "a marker inside a packet header"));
        }
        self.pos += 1;
        Ok(byte)
    }

    /// Takes the next byte, where none is left.
    #[inline]
    fn refill(&mut self) -> Result<()> {
        if self.left == 0 {
            let byte = self.next_byte()?;
            self.left = if self.last == 0xFF { 7 } else { 8 };
            self.last = byte;
        }
        Ok(())
    }

    #[inline]
    pub(super) fn bit(&mut self) -> Result<u32> {
        self.refill()?;
        self.left -= 1;
        Ok(u32::from(self.last >> self.left) & 1)
    }

    /// Up to 32 bits, first one highest.
    #[inline]
    pub(super) fn bits(&mut self, mut count: u32) -> Result<u32> {
        let mut value = 0;
        while count > 0 {
            self.refill()?;
            let take = count.min(self.left);
            self.left -= take;
            count -= take;
            value = value << take | u32::from(self.last >> self.left) & ((1 << take) - 1);
        }
        Ok(value)
    }

    /// Drops what is left of the last byte and the byte stuffed after FF; returns the position behind the header.
    pub(super) fn finish(mut self) -> Result<usize> {
        if self.last == 0xFF {
            self.next_byte()?;
        }
        Ok(self.pos)
    }

    /// Absolute offset of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.pos as u64
    }
}

/// One node: the value is at least `low`, and exactly that once `known`.
#[derive(Clone, Copy, Default)]
struct Node {
    low: u32,
    known: bool,
}

/// A tag tree over a rectangle of code-blocks.
pub(super) struct TagTree {
    /// (width, offset of the first node) of each level, leaves first.
    levels: Vec<(usize, usize)>,
    nodes: Vec<Node>,
}

impl TagTree {
    pub(super) fn new(width: usize, height: usize) -> Self {
        let (mut w, mut h, mut total) = (width.max(1), height.max(1), 0);
        let mut levels = Vec::new();
        loop {
            levels.push((w, total));
            total += w * h;
            if w == 1 && h == 1 {
                break;
            }
            (w, h) = (w.div_ceil(2), h.div_ceil(2));
        }
        TagTree { levels, nodes: vec![Node::default(); total] }
    }

    /// Reads as much as tells whether the leaf's value is below `threshold`; returns it if so.
    pub(super) fn below(&mut self, x: usize, y: usize, threshold: u32, bits: &mut Bits<'_>) -> Result<Option<u32>> {
        let mut low = 0;
        let mut known = false;
        for (level, &(width, offset)) in self.levels.iter().enumerate().rev() {
            let node = &mut self.nodes[offset + (y >> level) * width + (x >> level)];
            low = node.low.max(low);
            while low < threshold && !node.known {
                if bits.bit()? == 1 {
                    node.known = true;
                } else {
                    low += 1;
                }
            }
            node.low = low;
            known = node.known;
        }
        Ok((known && low < threshold).then_some(low))
    }
}
