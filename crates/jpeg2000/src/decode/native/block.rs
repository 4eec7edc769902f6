//! The bit-planes of one code-block (ISO/IEC 15444-1, annex D).
// Numbers of few bits, masked where they are made.
#![allow(clippy::cast_possible_truncation)]

mod coefficients;

use super::contexts::{SIGN, ZeroCoding, zero_coding_of};
use super::mq::{INITIAL, Mq, RUN, States, UNIFORM, unstuff};
use super::words::{
    ABOVE, AROUND_COLUMN, BELOW, FIRST_ROW, LATER, LEFT, Machine, OWN, RIGHT, around, beside, columns, rows,
};
use crate::packet::blocks::Kind;
use alloc::vec::Vec;

/// Most samples of a code-block (clause A.6.1).
const MAX_SAMPLES: usize = 4096;

/// First magnitude refinement context (table D.4).
const REFINEMENT: u8 = 14;

/// A code-block to be decoded: 1 to 4096 samples, and at most `3 * planes - 2` passes of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) kind: Kind,
    /// Bit-planes from the first coded one down, 1 to 30.
    pub(super) planes: u32,
    /// Coding passes, 1 at least.
    pub(super) passes: u32,
}

/// What a lane does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Significance,
    Refinement,
    Cleanup,
}

/// Works on one code-block after the other, in the same memory.
///
/// Words stand row by row with one word between the rows, and a row of them above and below: neighbours of the words at the
/// edge are written and never asked for.
pub(super) struct Lane {
    mq: Mq,
    states: States,
    stream: Vec<u8>,
    shape: Shape,
    zero_coding: &'static ZeroCoding,
    /// Words side by side, and stripes.
    wide: usize,
    high: usize,
    /// Which samples have been significant, are negative, were visited in this significance pass, were refined before.
    significant: Vec<u64>,
    negative: Vec<u64>,
    visited: Vec<u64>,
    refined: Vec<u64>,
    /// Magnitude bits by plane, the lowest first, each as many words as `significant`.
    planes: Vec<u64>,
    /// Contexts of a refinement pass, and then its decisions.
    pub(super) list: Vec<u8>,
    /// Bit-plane under way, the last pass done and how many are left.
    plane: u32,
    done: Pass,
    left: u32,
}

impl Lane {
    pub(super) fn new() -> Lane {
        Lane {
            mq: Mq::default(),
            states: INITIAL,
            stream: Vec::new(),
            shape: Shape { width: 0, height: 0, kind: Kind::Ll, planes: 1, passes: 0 },
            zero_coding: zero_coding_of(Kind::Ll),
            wide: 0,
            high: 0,
            significant: Vec::new(),
            negative: Vec::new(),
            visited: Vec::new(),
            refined: Vec::new(),
            planes: Vec::new(),
            list: Vec::new(),
            plane: 0,
            done: Pass::Cleanup,
            left: 0,
        }
    }

    /// Takes a code-block up: its segment in pieces, one per layer.
    pub(super) fn start<'a>(&mut self, shape: Shape, pieces: impl Iterator<Item = &'a [u8]>) {
        unstuff(pieces, &mut self.stream);
        self.mq = Mq::new(&self.stream);
        self.states = INITIAL;
        self.zero_coding = zero_coding_of(shape.kind);
        (self.wide, self.high) = (shape.width.div_ceil(8), shape.height.div_ceil(4));
        let span = (self.high + 2) * (self.wide + 1) + 1;
        for words in [&mut self.significant, &mut self.negative, &mut self.visited, &mut self.refined] {
            words.clear();
            words.resize(span, 0);
        }
        // Every pass over a plane writes it first, so what other blocks left here does not matter.
        let planes = span * shape.planes as usize;
        if self.planes.len() < planes {
            self.planes.resize(planes, 0);
        }
        // Four lists of a full word run over its end.
        self.list.resize(MAX_SAMPLES + 40, 0);
        self.shape = shape;
        self.plane = shape.planes - 1;
        self.left = shape.passes;
    }

    fn span(&self) -> usize {
        self.significant.len()
    }

    /// The word of a stripe and column.
    fn word(&self, stripe: usize) -> usize {
        (stripe + 1) * (self.wide + 1) + 1
    }

    /// Samples of the words in a stripe: all but the last, and the last one.
    fn members(&self, stripe: usize) -> (u64, u64) {
        let high = (self.shape.height - 4 * stripe).min(4) as u32;
        let wide = (self.shape.width - 8 * (self.wide - 1)) as u32;
        (OWN & rows(high), OWN & rows(high) & columns(wide))
    }

    /// The first pass, or the one that ends a bit-plane (clause D.3.4).
    #[inline(always)]
    pub(super) fn cleanup<M: Machine>(&mut self) {
        let (mut mq, span) = (self.mq, self.span());
        let first = self.plane + 1 == self.shape.planes;
        for stripe in 0..self.high {
            let (inner, last) = self.members(stripe);
            let full = inner == OWN;
            let start = self.word(stripe);
            for at in start..start + self.wide {
                let own = if at + 1 == start + self.wide { last } else { inner };
                let before = self.significant[at];
                let mut left = own & !(before | self.visited[at]);
                let (mut now, mut signs) = (before, self.negative[at]);
                while left != 0 {
                    let mut place = left.trailing_zeros();
                    if full && FIRST_ROW >> place & 1 == 1 && now >> (place - 7) & AROUND_COLUMN == 0 {
                        if mq.decode(&mut self.states, RUN, &self.stream) == 0 {
                            left &= !(0xF << place);
                            continue;
                        }
                        let high = mq.decode(&mut self.states, UNIFORM, &self.stream);
                        let run = (high << 1 | mq.decode(&mut self.states, UNIFORM, &self.stream)) as u32;
                        left &= !(((2 << run) - 1) << place);
                        place += run;
                    } else {
                        left &= left - 1;
                        let context = usize::from(self.zero_coding[M::nine(now, place) & 511]);
                        if mq.decode(&mut self.states, context, &self.stream) == 0 {
                            continue;
                        }
                    }
                    signs |= sign::<M>(&mut mq, &mut self.states, &self.stream, now, signs, place) << place;
                    now |= 1 << place;
                }
                let new = now ^ before;
                let plane = &mut self.planes[self.plane as usize * span + at];
                *plane = if first { new } else { *plane | new };
                if new != 0 {
                    self.spread(at, new, signs);
                }
            }
        }
        self.mq = mq;
        self.done = Pass::Cleanup;
        self.left -= 1;
    }

    /// Goes on to the next bit-plane and visits what has significant neighbours (clause D.3.1).
    #[inline(always)]
    pub(super) fn significance<M: Machine>(&mut self) {
        self.plane -= 1;
        let (mut mq, span) = (self.mq, self.span());
        for stripe in 0..self.high {
            let (inner, last) = self.members(stripe);
            let start = self.word(stripe);
            for at in start..start + self.wide {
                let own = if at + 1 == start + self.wide { last } else { inner };
                let before = self.significant[at];
                let mut left = around(before) & !before & own;
                let (mut now, mut signs, mut visited) = (before, self.negative[at], 0);
                while left != 0 {
                    let place = left.trailing_zeros();
                    let bit = 1 << place;
                    left ^= bit;
                    visited |= bit;
                    let context = usize::from(self.zero_coding[M::nine(now, place) & 511]);
                    if mq.decode(&mut self.states, context, &self.stream) == 0 {
                        continue;
                    }
                    signs |= sign::<M>(&mut mq, &mut self.states, &self.stream, now, signs, place) << place;
                    now |= bit;
                    left |= LATER << place & !now & own;
                }
                let new = now ^ before;
                self.visited[at] = visited;
                self.planes[self.plane as usize * span + at] = new;
                if new != 0 {
                    self.spread(at, new, signs);
                }
            }
        }
        self.mq = mq;
        self.done = Pass::Significance;
        self.left -= 1;
    }

    /// Makes samples significant, in their word and in those around it.
    #[inline(always)]
    fn spread(&mut self, at: usize, new: u64, signs: u64) {
        if self.wide == 1 && self.high == 1 {
            self.significant[at] |= new;
            self.negative[at] |= signs & new;
            return;
        }
        let row = self.wide + 1;
        // The nine words around, of which the outermost are guards where the block ends.
        let words = &mut self.significant[at - row - 1..at + row + 2];
        let (below, above) = (new >> 4 & ABOVE, new << 4 & BELOW);
        words[0] |= above << 48 & RIGHT;
        words[1] |= above;
        words[2] |= above >> 48;
        words[row] |= new << 48 & RIGHT;
        words[row + 1] |= new;
        words[row + 2] |= new >> 48 & LEFT;
        words[2 * row] |= below << 48 & RIGHT;
        words[2 * row + 1] |= below;
        words[2 * row + 2] |= below >> 48;
        let negative = signs & new;
        if negative != 0 {
            let words = &mut self.negative[at - row - 1..at + row + 2];
            words[1] |= negative << 4 & BELOW;
            words[row] |= negative << 48 & RIGHT;
            words[row + 1] |= negative;
            words[row + 2] |= negative >> 48 & LEFT;
            words[2 * row + 1] |= negative >> 4 & ABOVE;
        }
    }

    /// Lists the contexts of the refinement pass (clause D.3.3), all of which are known before it; returns how many.
    #[inline(always)]
    pub(super) fn list<M: Machine>(&mut self) -> usize {
        let mut count = 0;
        for stripe in 0..self.high {
            let start = self.word(stripe);
            for at in start..start + self.wide {
                let significant = self.significant[at];
                let members = significant & !self.visited[at] & OWN;
                if members == 0 {
                    continue;
                }
                let refined = self.refined[at];
                self.refined[at] = refined | members;
                if let Some(out) = self.list[count..].first_chunk_mut() {
                    count += M::list(members, REFINEMENT, beside(significant) | refined, refined, out);
                }
            }
        }
        count
    }

    /// The refinement pass of a small code-block, for which lists do not pay.
    #[inline(always)]
    pub(super) fn refinement(&mut self) {
        let (mut mq, span) = (self.mq, self.span());
        for stripe in 0..self.high {
            let start = self.word(stripe);
            for at in start..start + self.wide {
                let significant = self.significant[at];
                let mut left = significant & !self.visited[at] & OWN;
                let refined = self.refined[at];
                self.refined[at] = refined | left;
                let (one, mut bits) = (beside(significant) | refined, 0);
                while left != 0 {
                    let place = left.trailing_zeros();
                    left &= left - 1;
                    let context = u64::from(REFINEMENT) + (one >> place & 1) + (refined >> place & 1);
                    bits |= mq.decode(&mut self.states, context as usize, &self.stream) << place;
                }
                self.planes[self.plane as usize * span + at] |= bits;
            }
        }
        self.mq = mq;
        self.done = Pass::Refinement;
        self.left -= 1;
    }

    /// Decodes `N` lists side by side, from one place in them to another.
    #[inline(always)]
    pub(super) fn refine<const N: usize>(lanes: [&mut Lane; N], from: usize, to: usize) {
        let mut mqs: [Mq; N] = core::array::from_fn(|lane| lanes[lane].mq);
        let parts =
            lanes.map(|lane| (&mut lane.mq, &mut lane.list[from..to], &mut lane.states, lane.stream.as_slice()));
        let mut parts = parts;
        for at in 0..to - from {
            for (mq, (_, list, states, stream)) in mqs.iter_mut().zip(parts.iter_mut()) {
                let byte = &mut list[at];
                *byte = mq.decode(states, usize::from(*byte), stream) as u8;
            }
        }
        for (mq, (place, ..)) in mqs.into_iter().zip(parts) {
            *place = mq;
        }
    }

    /// Decodes the list from one place to another, nothing beside it. What it waits for is the state of the context: that
    /// stays out of memory as long as the context is the same, as it mostly is.
    #[inline(always)]
    pub(super) fn refine_alone(&mut self, from: usize, to: usize) {
        let (mut mq, mut context, mut state) = (self.mq, 0, self.states[0]);
        for byte in &mut self.list[from..to] {
            let next = usize::from(*byte) & 31;
            if next != context {
                self.states[context] = state;
                (context, state) = (next, self.states[next]);
            }
            *byte = mq.step(&mut state, &self.stream) as u8;
        }
        self.states[context] = state;
        self.mq = mq;
    }

    /// Puts the decisions of the refinement pass where they belong.
    #[inline(always)]
    pub(super) fn place<M: Machine>(&mut self) {
        let (span, mut count) = (self.span(), 0);
        for stripe in 0..self.high {
            let start = self.word(stripe);
            for at in start..start + self.wide {
                let members = self.significant[at] & !self.visited[at] & OWN;
                if members == 0 {
                    continue;
                }
                if let Some(bytes) = self.list[count..].first_chunk() {
                    self.planes[self.plane as usize * span + at] |= M::chosen(members, bytes);
                }
                count += members.count_ones() as usize;
            }
        }
        self.done = Pass::Refinement;
        self.left -= 1;
    }

    /// Coding passes that are still to come.
    pub(super) fn left(&self) -> u32 {
        self.left
    }
}

/// Decodes the sign of the sample at `place` (clause D.3.2): 1 for a negative one.
#[inline(always)]
fn sign<M: Machine>(
    mq: &mut Mq,
    states: &mut States,
    stream: &[u8],
    significant: u64,
    negative: u64,
    place: u32,
) -> u64 {
    let near = M::cross(significant, place) | M::cross(negative, place) << 4;
    let entry = SIGN[near & 255];
    mq.decode(states, usize::from(entry & 31), stream) ^ u64::from(entry >> 7)
}
