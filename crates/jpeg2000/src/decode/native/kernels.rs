//! What takes the time, in two builds: for any processor, and for x86-64 with AVX2, BMI1, BMI2 and LZCNT.

use super::lanes::{self, Job, Lanes, Outputs, Source};
use super::lifting;
use super::words::Portable;

/// Which build runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// For any processor.
    Portable,
    /// For x86-64 with AVX2, BMI1, BMI2 and LZCNT; elsewhere it is the portable one.
    Avx2,
}

/// Proof that the processor has what [`Build::Avx2`] needs.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    #[cfg(target_arch = "x86_64")]
    avx2: bool,
}

/// Runs a function of either build.
macro_rules! run {
    ($kernels:expr, $portable:expr, $avx2:expr) => {{
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        if $kernels.avx2 {
            // SAFETY: `avx2` is true only where the processor was found to have the features that the function is built for.
            return unsafe { $avx2 };
        }
        $portable
    }};
}

impl Kernels {
    /// Those of the build, as far as the processor has what it needs.
    pub(super) fn new(build: Build) -> Kernels {
        #[cfg(target_arch = "x86_64")]
        {
            let has = std::arch::is_x86_feature_detected!("avx2")
                && std::arch::is_x86_feature_detected!("bmi1")
                && std::arch::is_x86_feature_detected!("bmi2")
                && std::arch::is_x86_feature_detected!("lzcnt")
                && std::arch::is_x86_feature_detected!("popcnt");
            Kernels { avx2: has && build == Build::Avx2 }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = build;
            Kernels {}
        }
    }

    /// See [`lifting::horizontal`].
    pub(super) fn horizontal(self, low: &[i32], skipped: usize, high: &[i32], even: &mut [i32], out: &mut [i32]) {
        run!(self, lifting::horizontal(low, skipped, high, even, out), x86::horizontal(low, skipped, high, even, out))
    }

    /// See [`lifting::even`].
    pub(super) fn even(self, row: &mut [i32], above: &[i32], below: &[i32]) {
        run!(self, lifting::even(row, above, below), x86::even(row, above, below))
    }

    /// See [`lifting::odd`].
    pub(super) fn odd(self, out: &mut [i32], high: Option<&[i32]>, above: &[i32], below: &[i32]) {
        run!(self, lifting::odd(out, high, above, below), x86::odd(out, high, above, below))
    }

    /// See [`lifting::level_shift`].
    pub(super) fn level_shift(self, row: &mut [i32], shift: i32, low: i32, high: i32) {
        run!(self, lifting::level_shift(row, shift, low, high), x86::level_shift(row, shift, low, high))
    }

    /// See [`lanes::decode`].
    pub(super) fn decode(self, lanes: &mut Lanes, source: Source<'_>, jobs: &[Job], outputs: &mut dyn Outputs) {
        run!(self, lanes::decode::<Portable>(lanes, source, jobs, outputs), x86::decode(lanes, source, jobs, outputs))
    }
}

/// The functions built for [`Build::Avx2`]. What they call is inlined into them.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::words::Bmi2;
    use super::{Job, Lanes, Outputs, Source, lanes, lifting};

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn horizontal(low: &[i32], skipped: usize, high: &[i32], even: &mut [i32], out: &mut [i32]) {
        lifting::horizontal(low, skipped, high, even, out);
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn even(row: &mut [i32], above: &[i32], below: &[i32]) {
        lifting::even(row, above, below);
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn odd(out: &mut [i32], high: Option<&[i32]>, above: &[i32], below: &[i32]) {
        lifting::odd(out, high, above, below);
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn level_shift(row: &mut [i32], shift: i32, low: i32, high: i32) {
        lifting::level_shift(row, shift, low, high);
    }

    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
    pub(super) fn decode(lanes: &mut Lanes, source: Source<'_>, jobs: &[Job], outputs: &mut dyn Outputs) {
        lanes::decode::<Bmi2>(lanes, source, jobs, outputs);
    }
}
