//! Many code-blocks, some of them side by side.

use super::block::{Lane, Shape};
use super::words::Machine;
use crate::packet::blocks::{Block, Blocks};

/// Code-blocks decoded side by side.
const LANES: usize = 4;

/// The memory in which code-blocks are decoded.
pub(super) type Lanes = [Lane; LANES];

/// What code-blocks are decoded from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) blocks: &'a Blocks,
    pub(super) body: &'a [u8],
}

/// A code-block and where its samples go: the number of the output, the place of the first there and the length of a row.
pub(super) struct Job {
    pub(super) shape: Shape,
    pub(super) block: Block,
    pub(super) output: usize,
    pub(super) at: usize,
    pub(super) stride: usize,
}

/// Where samples go.
pub(super) trait Outputs {
    /// The samples of an output by its number.
    fn output(&mut self, index: usize) -> &mut [i32];
}

/// Decodes all jobs.
///
/// Refinement passes take their decisions one after the other, and each waits for the one before: those of several code-blocks
/// are decoded side by side. The other passes gain nothing from that, nor do small code-blocks.
#[inline(always)]
pub(super) fn decode<M: Machine>(lanes: &mut Lanes, source: Source<'_>, jobs: &[Job], outputs: &mut dyn Outputs) {
    if jobs.iter().all(|job| job.shape.width <= 8) {
        // No closure: what one calls need not be built for the processor.
        for job in jobs {
            alone::<M>(&mut lanes[0], source, job, outputs);
        }
        return;
    }
    let mut jobs = jobs.iter();
    let mut current: [Option<&Job>; LANES] = [None; LANES];
    loop {
        let mut counts = [0; LANES];
        let mut any = false;
        for ((lane, current), count) in lanes.iter_mut().zip(&mut current).zip(&mut counts) {
            if current.is_none() {
                *current = begin::<M>(lane, source, &mut jobs, outputs);
            }
            if current.is_some() {
                any = true;
                lane.significance::<M>();
                if lane.left() > 0 {
                    *count = lane.list::<M>();
                }
            }
        }
        if !any {
            return;
        }
        refine(lanes, &counts);
        for (lane, current) in lanes.iter_mut().zip(&mut current) {
            let Some(job) = current else { continue };
            if lane.left() > 0 {
                lane.place::<M>();
            }
            if lane.left() > 0 {
                lane.cleanup::<M>();
            }
            if lane.left() == 0 {
                lane.finish::<M>(&mut outputs.output(job.output)[job.at..], job.stride);
                *current = None;
            }
        }
    }
}

/// Decodes a small code-block.
#[inline(always)]
fn alone<M: Machine>(lane: &mut Lane, source: Source<'_>, job: &Job, outputs: &mut dyn Outputs) {
    lane.start(job.shape, source.blocks.pieces(job.block, source.body));
    lane.cleanup::<M>();
    while lane.left() > 0 {
        lane.significance::<M>();
        if lane.left() > 0 {
            lane.refinement();
        }
        if lane.left() > 0 {
            lane.cleanup::<M>();
        }
    }
    lane.finish::<M>(&mut outputs.output(job.output)[job.at..], job.stride);
}

/// Starts the next code-block that has more than one pass; finishes those before it.
#[inline(always)]
fn begin<'j, M: Machine>(
    lane: &mut Lane,
    source: Source<'_>,
    jobs: &mut core::slice::Iter<'j, Job>,
    outputs: &mut dyn Outputs,
) -> Option<&'j Job> {
    for job in jobs.by_ref() {
        lane.start(job.shape, source.blocks.pieces(job.block, source.body));
        lane.cleanup::<M>();
        if lane.left() > 0 {
            return Some(job);
        }
        lane.finish::<M>(&mut outputs.output(job.output)[job.at..], job.stride);
    }
    None
}

/// Decodes the lists of all lanes: all four while there are four, then the three longer ones, and so on.
#[inline(always)]
fn refine(lanes: &mut Lanes, counts: &[usize; LANES]) {
    let mut counts = counts.iter();
    let mut lanes = lanes.each_mut().map(|lane| (counts.next().copied().unwrap_or(0), lane));
    lanes.sort_unstable_by_key(|(count, _)| core::cmp::Reverse(*count));
    let [(a, w), (b, x), (c, y), (d, z)] = lanes;
    Lane::refine([&mut *w, &mut *x, &mut *y, z], 0, d);
    Lane::refine([&mut *w, &mut *x, y], d, c);
    Lane::refine([&mut *w, x], c, b);
    w.refine_alone(b, a);
}
