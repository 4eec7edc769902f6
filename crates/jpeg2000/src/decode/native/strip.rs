//! One row of code-blocks of a subband, decoded when its first row is asked for.

use super::block::Shape;
use super::kernels::Kernels;
use super::lanes::{Job, Lanes, Outputs, Source};
use crate::packet::blocks::Subband;
use alloc::vec::Vec;
use core::ops::Range;

/// Rows of one subband, from one edge of code-blocks to the next.
pub(super) struct Strip<'a> {
    subband: &'a Subband,
    /// Columns of the code-blocks with wanted samples.
    columns: Range<u32>,
    /// Rows that are decoded.
    rows: Range<u32>,
    /// Their samples: a place to spare, the columns, another place to spare.
    samples: Vec<i32>,
    /// Whether all of them are 0.
    zero: bool,
}

impl<'a> Strip<'a> {
    pub(super) fn new(subband: &'a Subband) -> Strip<'a> {
        let columns = widened(&subband.wanted[1], subband.block[1], &subband.extent[1]);
        Strip { subband, columns, rows: 0..0, samples: Vec::new(), zero: true }
    }

    fn stride(&self) -> usize {
        self.columns.len() + 2
    }

    /// Makes room for the row of code-blocks that holds `row`, and adds its code-blocks to the worker's jobs.
    pub(super) fn turn_to(&mut self, row: u32, output: usize, worker: &mut Worker<'_>) {
        let Subband { extent, block: [high, wide], kind, .. } = self.subband;
        if !extent[0].contains(&row) || self.rows.contains(&row) {
            return;
        }
        self.rows = widened(&(row..row + 1), *high, &extent[0]);
        let before = worker.jobs.len();
        let stride = self.stride();
        let cells = if self.columns.is_empty() {
            0..0
        } else {
            self.columns.start >> wide..((self.columns.end - 1) >> wide) + 1
        };
        let count = cells.len();
        for column in cells {
            let Some(block) = worker.source.blocks.block(self.subband, row >> high, column) else { continue };
            let x = widened(&(column << wide..(column << wide) + 1), *wide, &extent[1]);
            let shape = Shape {
                width: x.len(),
                height: self.rows.len(),
                kind: *kind,
                planes: block.planes,
                passes: block.passes,
            };
            worker.jobs.push(Job { shape, block, output, at: 1 + (x.start - self.columns.start) as usize, stride });
        }
        let found = worker.jobs.len() - before;
        let length = self.rows.len() * stride;
        if self.samples.len() != length || (!self.zero && found < count) {
            self.samples.clear();
            self.samples.resize(length, 0);
        }
        self.zero = found == 0;
    }

    /// Repeats the second sample from either edge beyond it, as the transform of high-pass samples mirrors (clause F.3.3).
    pub(super) fn mirror(&mut self) {
        let stride = self.stride();
        if self.zero || self.columns.is_empty() {
            return;
        }
        for row in self.samples.chunks_exact_mut(stride) {
            row[0] = row[1];
            row[stride - 1] = row[stride - 2];
        }
    }

    /// Whether all samples of the decoded rows are 0.
    pub(super) fn zero(&self) -> bool {
        self.zero
    }

    /// The samples of a decoded row from column `from` on, up to the place to spare behind the last.
    ///
    /// Column `from` is at least one before the first.
    pub(super) fn row(&self, row: u32, from: i64) -> &[i32] {
        let start = usize::try_from(from + 1 - i64::from(self.columns.start)).unwrap_or(0);
        let line = row.checked_sub(self.rows.start).map_or(0, |line| line as usize) * self.stride();
        self.samples.get(line + start..line + self.stride()).unwrap_or_default()
    }
}

/// `range` up to the edges of cells of 2^`exp`, inside `extent`.
fn widened(range: &Range<u32>, exp: u32, extent: &Range<u32>) -> Range<u32> {
    if range.is_empty() {
        return 0..0;
    }
    let start = range.start >> exp << exp;
    let end = (u64::from((range.end - 1) >> exp) + 1) << exp;
    start.max(extent.start)..u32::try_from(end).unwrap_or(u32::MAX).min(extent.end)
}

impl Outputs for &mut [Strip<'_>] {
    fn output(&mut self, index: usize) -> &mut [i32] {
        &mut self[index].samples
    }
}

/// What decodes code-blocks: the memory for it, and the build that runs.
pub(super) struct Worker<'a> {
    pub(super) kernels: Kernels,
    pub(super) lanes: &'a mut Lanes,
    pub(super) source: Source<'a>,
    /// Code-blocks to be decoded next.
    pub(super) jobs: Vec<Job>,
}

impl Worker<'_> {
    /// Decodes the jobs into the strips that they number.
    pub(super) fn decode(&mut self, mut strips: &mut [Strip<'_>]) {
        self.kernels.decode(self.lanes, self.source, &self.jobs, &mut strips);
        self.jobs.clear();
    }
}
