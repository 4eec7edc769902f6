//! The bits of a packet header, copied from one to another, and the tag trees among them (ISO/IEC 15444-1, B.10.1 and
//! B.10.2).

use std::io;

use crate::invalid;

/// Reads one packet header and writes another; after a byte FF both leave out the highest bit of the next.
pub(super) struct Copier<'a> {
    from: &'a [u8],
    at: usize,
    last: u8,
    left: u32,
    to: Vec<u8>,
    next: u8,
    room: u32,
}

impl<'a> Copier<'a> {
    pub(super) fn new(from: &'a [u8]) -> Self {
        Self { from, at: 0, last: 0, left: 0, to: Vec::with_capacity(from.len() + 16), next: 0, room: 8 }
    }

    fn byte(&mut self) -> io::Result<()> {
        let byte = self.from.get(self.at).ok_or_else(|| invalid("a packet header that does not end".into()))?;
        self.left = if self.last == 0xff { 7 } else { 8 };
        self.last = *byte;
        self.at += 1;
        Ok(())
    }

    fn read(&mut self) -> io::Result<bool> {
        if self.left == 0 {
            self.byte()?;
        }
        self.left -= 1;
        Ok(self.last >> self.left & 1 == 1)
    }

    fn write(&mut self, bit: bool) {
        self.room -= 1;
        self.next |= u8::from(bit) << self.room;
        if self.room == 0 {
            self.end_byte();
        }
    }

    fn end_byte(&mut self) {
        self.to.push(self.next);
        self.room = if self.next == 0xff { 7 } else { 8 };
        self.next = 0;
    }

    /// Copies a bit.
    pub(super) fn bit(&mut self) -> io::Result<bool> {
        let bit = self.read()?;
        self.write(bit);
        Ok(bit)
    }

    /// Copies a number of up to 32 bits.
    pub(super) fn number(&mut self, bits: u32) -> io::Result<u32> {
        (0..bits).try_fold(0, |value, _| Ok(value << 1 | u32::from(self.bit()?)))
    }

    /// Copies zeros up to a one and tells how many: those missing of `old` bit-planes, written as those missing of `new`.
    fn missing(&mut self, [old, new]: [u32; 2]) -> io::Result<u32> {
        let mut count = 0u32;
        while !self.read()? {
            count += 1;
        }
        if count + new < old {
            let lack = old - new - count;
            return Err(invalid(format!(
                "the pixels need {lack} bit-planes more than the ground segment's header has"
            )));
        }
        (0..count + new - old).for_each(|_| self.write(false));
        self.write(true);
        Ok(count)
    }

    /// Bytes that were read, and the header that was written, both whole.
    pub(super) fn finish(mut self) -> io::Result<(usize, Vec<u8>)> {
        if self.last == 0xff {
            self.byte()?;
        }
        if self.room < 8 {
            self.end_byte();
        }
        Ok((self.at, self.to))
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
    /// Width and first node of each level, leaves first.
    levels: Vec<(usize, usize)>,
    nodes: Vec<Node>,
}

impl TagTree {
    pub(super) fn new(mut width: usize, mut height: usize) -> Self {
        let (mut levels, mut total) = (Vec::new(), 0);
        loop {
            levels.push((width, total));
            total += width * height;
            if width * height <= 1 {
                return Self { levels, nodes: vec![Node::default(); total] };
            }
            (width, height) = (width.div_ceil(2), height.div_ceil(2));
        }
    }

    /// Copies the root, once, with what is missing of the new number of bit-planes instead of the old. All values of the
    /// tree change by as much, since every other node is coded by what it is above its parent.
    pub(super) fn root(&mut self, planes: [u32; 2], bits: &mut Copier<'_>) -> io::Result<()> {
        if let Some(root) = self.nodes.last_mut().filter(|root| !root.known) {
            *root = Node { low: bits.missing(planes)?, known: true };
        }
        Ok(())
    }

    /// Copies what tells whether the leaf's value is below `bound`; the (old) value if so.
    pub(super) fn below(&mut self, x: usize, y: usize, bound: u32, bits: &mut Copier<'_>) -> io::Result<Option<u32>> {
        let (mut low, mut known) = (0, false);
        for (level, &(width, first)) in self.levels.iter().enumerate().rev() {
            let node = &mut self.nodes[first + (y >> level) * width + (x >> level)];
            low = node.low.max(low);
            while low < bound && !node.known {
                if bits.bit()? {
                    node.known = true;
                } else {
                    low += 1;
                }
            }
            node.low = low;
            known = node.known;
        }
        Ok((known && low < bound).then_some(low))
    }
}
