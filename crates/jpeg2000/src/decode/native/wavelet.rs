//! The inverse 5-3 transform of one tile-component, row by row (ISO/IEC 15444-1, clauses F.3.1 to F.3.8).
//!
//! Asking for a row of a resolution asks the one below for its next row, and the subbands for theirs, of which only the rows
//! of one row of code-blocks are held.

use super::kernels::Kernels;
use super::strip::{Strip, Worker};
use crate::packet::blocks::Subband;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// One axis of a resolution: all of its samples, and the wanted ones.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) extent: Range<u32>,
    pub(super) wanted: Range<u32>,
}

impl Axis {
    /// Of the resolution below (clause B.5, equation F-5).
    pub(super) fn below(&self) -> Axis {
        let extent = self.extent.start.div_ceil(2)..self.extent.end.div_ceil(2);
        let start = (self.wanted.start / 2).clamp(extent.start, extent.end);
        let end = (self.wanted.end / 2 + 1).clamp(start, extent.end);
        Axis { extent, wanted: start..end }
    }

    /// n of the first and last X(2n) that are needed.
    fn pairs(&self) -> (u32, u32) {
        (self.wanted.start / 2, self.wanted.end / 2)
    }

    /// Whether sample 2n is there.
    fn has_even(&self, n: u32) -> bool {
        n.checked_mul(2).is_some_and(|at| self.extent.contains(&at))
    }

    /// Whether sample 2n + 1 is there.
    fn has_odd(&self, n: u32) -> bool {
        n.checked_mul(2).is_some_and(|at| self.extent.contains(&(at + 1)))
    }
}

/// The rows of a tile-component at the highest resolution that is wanted.
pub(super) struct Component<'a> {
    /// Lowest resolution first; without that of the LL subband.
    levels: Vec<Level<'a>>,
    lowest: Lowest<'a>,
}

/// The LL subband.
struct Lowest<'a> {
    strip: Option<Strip<'a>>,
    columns: Range<u32>,
    row: u32,
}

/// A resolution above the lowest.
struct Level<'a> {
    y: Axis,
    x: Axis,
    /// HL, LH and HH; none where they have no samples.
    strips: Vec<Strip<'a>>,
    /// The row that is asked for next.
    next: u32,
    /// n of X(2n) in `even`, once there is one.
    at: Option<u32>,
    /// X(2n) and X(2n - 2).
    even: Vec<i32>,
    even_before: Vec<i32>,
    /// High-pass rows n and n - 1.
    high: High,
    high_before: High,
    /// X(2n - 1).
    odd: Vec<i32>,
    /// X(2n) of one row.
    scratch: Vec<i32>,
}

/// A row of high-pass samples, transformed horizontally.
struct High {
    row: Vec<i32>,
    zero: bool,
}

impl<'a> Component<'a> {
    /// `axes` are rows and columns of the highest wanted resolution, `levels` the decompositions below it, and `subbands` those
    /// of the component.
    pub(super) fn new(subbands: &'a [Subband], levels: u8, [mut y, mut x]: [Axis; 2]) -> Component<'a> {
        let mut out = Vec::new();
        for resolution in (1..=levels).rev() {
            out.push(Level::new(subbands, resolution, y.clone(), x.clone()));
            (y, x) = (y.below(), x.below());
        }
        out.reverse();
        let strip = subbands.iter().find(|band| band.resolution == 0).map(Strip::new);
        let lowest = Lowest { strip, columns: x.wanted, row: y.wanted.start };
        Component { levels: out, lowest }
    }

    /// The wanted samples of the next row; as many times as there are wanted rows.
    pub(super) fn row(&mut self, worker: &mut Worker<'_>) -> &[i32] {
        row(&mut self.levels, &mut self.lowest, worker)
    }
}

/// The next row of the highest of `levels`.
fn row<'l>(levels: &'l mut [Level<'_>], lowest: &'l mut Lowest<'_>, worker: &mut Worker<'_>) -> &'l [i32] {
    let Some((level, below)) = levels.split_last_mut() else {
        return lowest.row(worker);
    };
    let at = level.next;
    level.next += 1;
    let n = at / 2;
    let kernels = worker.kernels;
    if level.y.extent.len() == 1 && at % 2 == 1 {
        // A single high-pass row is twice the samples (clause F.3.6).
        level.turn_to(n, worker);
        level.high_row(n, kernels);
        level.high.row.iter_mut().for_each(|x| *x /= 2);
        return level.part(&level.high.row);
    }
    if at % 2 == 0 {
        level.advance_to(n, below, lowest, worker);
        return level.part(&level.even);
    }
    if level.at.is_none() {
        level.advance_to(n, below, lowest, worker);
    }
    level.advance_to(n + 1, below, lowest, worker);
    let above = if level.y.has_even(n) { &level.even_before } else { &level.even };
    let under = if level.y.has_even(n + 1) { &level.even } else { &level.even_before };
    let high = Some(level.high_before.row.as_slice()).filter(|_| !level.high_before.zero);
    kernels.odd(&mut level.odd, high, above, under);
    level.part(&level.odd)
}

impl Lowest<'_> {
    fn row(&mut self, worker: &mut Worker<'_>) -> &[i32] {
        let Some(strip) = &mut self.strip else { return &[] };
        let at = self.row;
        self.row += 1;
        strip.turn_to(at, 0, worker);
        worker.decode(core::slice::from_mut(strip));
        strip.row(at, self.columns.start.into()).get(..self.columns.len()).unwrap_or_default()
    }
}

impl<'a> Level<'a> {
    fn new(subbands: &'a [Subband], resolution: u8, y: Axis, x: Axis) -> Level<'a> {
        let strips = subbands.iter().filter(|band| band.resolution == resolution).map(Strip::new).collect();
        let (first, last) = x.pairs();
        let evens = (last - first + 1) as usize;
        let row = || vec![0; 2 * evens - 1];
        Level {
            next: y.wanted.start,
            y,
            x,
            strips,
            at: None,
            even: row(),
            even_before: row(),
            high: High { row: row(), zero: true },
            high_before: High { row: row(), zero: true },
            odd: row(),
            scratch: vec![0; evens],
        }
    }

    /// The wanted columns of a row, which begins with an even one.
    fn part<'r>(&self, row: &'r [i32]) -> &'r [i32] {
        let skipped = (self.x.wanted.start % 2) as usize;
        &row[skipped..][..self.x.wanted.len()]
    }

    /// Makes X(2n) where there is one, and the high-pass row n; either follows the one before.
    fn advance_to(&mut self, n: u32, below: &mut [Level<'_>], lowest: &mut Lowest<'_>, worker: &mut Worker<'_>) {
        if self.at.is_some_and(|at| at >= n) {
            return;
        }
        let kernels = worker.kernels;
        // The first even row asks for the high-pass row above it as well.
        if self.at.is_none() && self.y.has_even(n) && n > 0 && self.y.has_odd(n - 1) {
            self.turn_to(n - 1, worker);
            self.high_row(n - 1, kernels);
        }
        self.at = Some(n);
        core::mem::swap(&mut self.high, &mut self.high_before);
        core::mem::swap(&mut self.even, &mut self.even_before);
        self.turn_to(n, worker);
        if self.y.has_odd(n) {
            self.high_row(n, kernels);
        }
        if !self.y.has_even(n) {
            return;
        }
        let low = row(below, lowest, worker);
        let high = self.strips.first();
        horizontal(kernels, &self.x, low, high, n, &mut self.scratch, &mut self.even);
        let above = if n > 0 && self.y.has_odd(n - 1) { &self.high_before } else { &self.high };
        let under = if self.y.has_odd(n) { &self.high } else { &self.high_before };
        if self.y.extent.len() > 1 && !(above.zero && under.zero) {
            kernels.even(&mut self.even, &above.row, &under.row);
        }
    }

    /// Decodes the rows of code-blocks that hold row n of the subbands.
    fn turn_to(&mut self, n: u32, worker: &mut Worker<'_>) {
        for (index, strip) in self.strips.iter_mut().enumerate() {
            strip.turn_to(n, index, worker);
        }
        if worker.jobs.is_empty() {
            return;
        }
        worker.decode(&mut self.strips);
        // LH is low-pass horizontally.
        for (index, strip) in self.strips.iter_mut().enumerate() {
            if index != 1 {
                strip.mirror();
            }
        }
    }

    /// Makes the high-pass row n of LH and HH.
    fn high_row(&mut self, n: u32, kernels: Kernels) {
        let [_, low, high] = self.strips.as_slice() else { return };
        self.high.zero = low.zero() && high.zero();
        if self.high.zero {
            self.high.row.fill(0);
            return;
        }
        let first = self.x.below().wanted.start;
        let low_row = low.row(n, first.into());
        let low_row = low_row.get(..self.x.below().wanted.len()).unwrap_or_default();
        horizontal(kernels, &self.x, low_row, Some(high), n, &mut self.scratch, &mut self.high.row);
    }
}

/// A row of a resolution from its low-pass samples and row `n` of a horizontally high-pass subband.
fn horizontal(
    kernels: Kernels,
    x: &Axis,
    low: &[i32],
    high: Option<&Strip<'_>>,
    n: u32,
    scratch: &mut [i32],
    out: &mut [i32],
) {
    let (first, _) = x.pairs();
    let high = high.map(|strip| strip.row(n, i64::from(first) - 1)).unwrap_or_default();
    if x.extent.len() == 1 {
        // A single sample, which is twice itself where it is high-pass (clause F.3.6).
        let sample = match (low, high) {
            ([low, ..], _) => *low,
            (_, [_, high, ..]) => high / 2,
            _ => 0,
        };
        out.fill(sample);
        return;
    }
    let skipped = usize::from(!x.has_even(first));
    kernels.horizontal(low, skipped, high, scratch, out);
}
