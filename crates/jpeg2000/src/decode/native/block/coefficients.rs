//! From bit-planes to coefficients.

use super::super::words::{Machine, OWN};
use super::{Lane, Pass};

impl Lane {
    /// Writes the coefficients, row by row into rows of `stride`.
    #[inline(always)]
    pub(in super::super) fn finish<M: Machine>(&mut self, out: &mut [i32], stride: usize) {
        let lowest = self.half();
        let span = self.span();
        for stripe in 0..self.high {
            let start = self.word(stripe);
            for column in 0..self.wide {
                let at = start + column;
                let mut magnitudes = [[0i32; 8]; 4];
                if self.significant[at] & OWN != 0 {
                    for plane in lowest..self.shape.planes {
                        let bits = self.planes[plane as usize * span + at] & OWN;
                        for (row, magnitudes) in (0..).zip(&mut magnitudes) {
                            select(M::row(bits, row), 1 << plane, magnitudes);
                        }
                    }
                }
                let wide = (self.shape.width - 8 * column).min(8);
                let high = (self.shape.height - 4 * stripe).min(4);
                for (row, mut samples) in (0..).zip(magnitudes).take(high) {
                    let mut flip = [0; 8];
                    select(M::row(self.negative[at], row), -1, &mut flip);
                    for (sample, flip) in samples.iter_mut().zip(flip) {
                        *sample = (*sample ^ flip).wrapping_sub(flip);
                    }
                    let out = &mut out[(4 * stripe + row as usize) * stride + 8 * column..];
                    if wide == 8 {
                        out[..8].copy_from_slice(&samples);
                    } else {
                        out[..wide].copy_from_slice(&samples[..wide]);
                    }
                }
            }
        }
    }

    /// Where passes are missing, every significant sample gets half of the last bit that is known of it (clause E.1.1.2, with
    /// r = 1/2 as OpenJPEG has it): a bit in the plane below. Returns the lowest plane that is written.
    fn half(&mut self) -> u32 {
        let (span, plane) = (self.span(), self.plane as usize);
        for stripe in 0..self.high {
            let start = self.word(stripe);
            for at in start..start + self.wide {
                let mut known = self.significant[at] & OWN;
                if self.done == Pass::Significance {
                    // Of those that were significant before, this plane's bit is not known.
                    let old = known & !self.visited[at];
                    self.planes[plane * span + at] |= old;
                    known ^= old;
                }
                if plane > 0 {
                    self.planes[(plane - 1) * span + at] = known;
                }
            }
        }
        self.plane.saturating_sub(1)
    }
}

/// Ors `value` into those of eight numbers whose bit is set.
#[inline(always)]
fn select(bits: u8, value: i32, into: &mut [i32; 8]) {
    for (mask, into) in [1u8, 2, 4, 8, 16, 32, 64, 128].into_iter().zip(into) {
        *into |= if bits & mask == mask { value } else { 0 };
    }
}
