//! Eight columns by four rows of a code-block in one word, and what is asked of such words.
//!
//! A word has ten fields of 6 bits: the column to the left, the eight columns, the column to the right. A field has the row
//! above in its lowest bit, the four rows of the stripe, and the row below. So the 3 x 3 samples around each of the 32 are
//! in one word, and counting bits from the lowest is the order of the scan (clause D.1).
// Numbers of few bits, masked where they are made.
#![allow(clippy::cast_possible_truncation)]

/// The four rows of the eight columns.
pub(super) const OWN: u64 = rows(4) & columns(8);
/// The first row of the eight columns.
pub(super) const FIRST_ROW: u64 = rows(1) & columns(8);
/// The column to the left, its rows above and below as well.
pub(super) const LEFT: u64 = 0x3F;
/// The column to the right.
pub(super) const RIGHT: u64 = LEFT << 54;
/// The row above, of all columns.
pub(super) const ABOVE: u64 = rows(1) >> 1;
/// The row below, of all columns.
pub(super) const BELOW: u64 = ABOVE << 5;
/// From a sample: those of its neighbours that the scan meets after it.
pub(super) const LATER: u64 = 1 << 1 | 1 << 5 | 1 << 6 | 1 << 7;
/// From a sample of the first row: the three columns around it. Shift by the sample's place less 7.
pub(super) const AROUND_COLUMN: u64 = 0x3_FFFF;

/// The first `count` rows of the stripe, of all ten fields.
pub(super) const fn rows(count: u32) -> u64 {
    let field = ((1u64 << count) - 1) << 1;
    let mut out = 0;
    let mut at = 0;
    while at < 60 {
        out |= field << at;
        at += 6;
    }
    out
}

/// The first `count` of the eight columns, all their rows.
pub(super) const fn columns(count: u32) -> u64 {
    ((1u64 << (6 * count)) - 1) << 6
}

/// Whether each sample or any of its neighbours is in `word`; right for the word's own 32 samples.
#[inline(always)]
pub(super) fn around(word: u64) -> u64 {
    let high = word | word << 1 | word >> 1;
    high | high << 6 | high >> 6
}

/// Whether any neighbour of each sample is in `word`; right for the word's own 32 samples.
#[inline(always)]
pub(super) fn beside(word: u64) -> u64 {
    let upright = word << 1 | word >> 1;
    let high = word | upright;
    upright | high << 6 | high >> 6
}

/// Bits gathered from a word and put back into it: with instructions of their own, or without.
pub(super) trait Machine: Copy {
    /// The 3 x 3 bits around the sample at `at`, as the zero coding contexts want them.
    fn nine(word: u64, at: u32) -> usize;
    /// Left, upper, lower and right neighbour of the sample at `at`.
    fn cross(word: u64, at: u32) -> usize;
    /// Row `row` of the stripe, the first column lowest.
    fn row(word: u64, row: u32) -> u8;
    /// Writes a byte for each of `members`: `base`, one more where `one` has it, and again where `two` has it. Writes up to 7
    /// bytes beyond that; returns how many count.
    fn list(members: u64, base: u8, one: u64, two: u64, out: &mut [u8; 40]) -> usize;
    /// The members whose byte, 0 or 1, is 1.
    fn chosen(members: u64, bytes: &[u8; 40]) -> u64;
}

/// Shifts and masks alone: any processor.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Machine for Portable {
    #[inline(always)]
    fn nine(word: u64, at: u32) -> usize {
        let near = word >> (at - 7);
        (near & 7 | near >> 3 & 7 << 3 | near >> 6 & 7 << 6) as usize
    }

    #[inline(always)]
    fn cross(word: u64, at: u32) -> usize {
        let near = word >> (at - 6);
        (near & 1 | near >> 4 & 2 | near >> 5 & 4 | near >> 9 & 8) as usize
    }

    #[inline(always)]
    fn row(word: u64, row: u32) -> u8 {
        // Bits 0, 6, 12 and 18 meet in bits 15 to 18 of the product, and nothing else does.
        let four = |bits: u64| (bits & 0x4_1041).wrapping_mul(1 << 15 | 1 << 10 | 1 << 5 | 1) >> 15 & 15;
        let bits = word >> (7 + row);
        (four(bits) | four(bits >> 24) << 4).to_le_bytes()[0]
    }

    #[inline(always)]
    fn list(members: u64, base: u8, one: u64, two: u64, out: &mut [u8; 40]) -> usize {
        let (mut left, mut count) = (members, 0);
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            out[count & 31] = base + ((one >> at & 1) + (two >> at & 1)) as u8;
            count += 1;
        }
        count
    }

    #[inline(always)]
    fn chosen(members: u64, bytes: &[u8; 40]) -> u64 {
        let (mut left, mut count, mut out) = (members, 0, 0);
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            out |= u64::from(bytes[count & 31]) << at;
            count += 1;
        }
        out
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::Bmi2;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use super::Machine;
    use core::arch::x86_64::{_pdep_u64, _pext_u64};

    /// PEXT and PDEP of x86-64. Methods may be called where the processor has BMI2 only, which `kernels` sees to: nothing
    /// else makes use of this type.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Bmi2;

    /// The lowest bit of each byte.
    const ONES: u64 = 0x0101_0101_0101_0101;

    #[inline(always)]
    fn gather(word: u64, mask: u64) -> u64 {
        // SAFETY: the instruction needs BMI2 and nothing else; see the type.
        unsafe { _pext_u64(word, mask) }
    }

    #[inline(always)]
    fn scatter(bits: u64, mask: u64) -> u64 {
        // SAFETY: as in `gather`.
        unsafe { _pdep_u64(bits, mask) }
    }

    impl Machine for Bmi2 {
        #[inline(always)]
        fn nine(word: u64, at: u32) -> usize {
            gather(word >> (at - 7), 7 | 7 << 6 | 7 << 12) as usize
        }

        #[inline(always)]
        fn cross(word: u64, at: u32) -> usize {
            gather(word >> (at - 6), 1 | 1 << 5 | 1 << 7 | 1 << 12) as usize
        }

        #[inline(always)]
        fn row(word: u64, row: u32) -> u8 {
            gather(word, super::FIRST_ROW << row) as u8
        }

        #[inline(always)]
        fn list(members: u64, base: u8, one: u64, two: u64, out: &mut [u8; 40]) -> usize {
            let (mut one, mut two) = (gather(one, members), gather(two, members));
            let count = members.count_ones() as usize;
            let mut at = 0;
            while at < count {
                let bytes = scatter(one & 0xFF, ONES) + scatter(two & 0xFF, ONES) + ONES * u64::from(base);
                out[at & 31..][..8].copy_from_slice(&bytes.to_le_bytes());
                (one, two, at) = (one >> 8, two >> 8, at + 8);
            }
            count
        }

        #[inline(always)]
        fn chosen(members: u64, bytes: &[u8; 40]) -> u64 {
            let count = members.count_ones() as usize;
            let (mut bits, mut at) = (0, 0);
            while at < count {
                let eight = bytes[at & 31..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
                bits |= gather(eight, ONES) << at;
                at += 8;
            }
            scatter(bits, members)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The place of a sample, -1..=8 across and -1..=4 down.
    fn place(x: i32, y: i32) -> u32 {
        u32::try_from(6 * (x + 1) + y + 1).unwrap_or(63)
    }

    fn check<M: Machine>(word: u64, members: u64, one: u64, two: u64) {
        let bit = |x, y| (word >> place(x, y) & 1) as usize;
        for (x, y) in (0..8).flat_map(|x| (0..4).map(move |y| (x, y))) {
            let around = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 0), (0, 1), (1, -1), (1, 0), (1, 1)];
            let nine = around.iter().rev().fold(0, |n, (dx, dy)| n << 1 | bit(x + dx, y + dy));
            assert_eq!(M::nine(word, place(x, y)), nine);
            let cross = [(-1, 0), (0, -1), (0, 1), (1, 0)];
            let four = cross.iter().rev().fold(0, |n, (dx, dy)| n << 1 | bit(x + dx, y + dy));
            assert_eq!(M::cross(word, place(x, y)), four);
            let own = 1 << place(x, y);
            assert_eq!(super::around(word) & own != 0, nine != 0);
            assert_eq!(beside(word) & own != 0, nine & !16 != 0);
        }
        for y in 0..4 {
            let row = (0..8).fold(0, |n, x| n | bit(x, y) << x);
            assert_eq!(usize::from(M::row(word, y.unsigned_abs())), row);
        }
        let mut out = [0; 40];
        let count = M::list(members, 14, one, two, &mut out);
        assert_eq!(count, members.count_ones() as usize);
        let places = (0..64).filter(|at| members >> at & 1 == 1);
        assert!(places.zip(out).all(|(at, byte)| u64::from(byte) == 14 + (one >> at & 1) + (two >> at & 1)));
        let mut bytes = [0; 40];
        M::list(members, 0, one, 0, &mut bytes);
        bytes[count..].fill(1);
        assert_eq!(M::chosen(members, &bytes), one & members);
    }

    proptest! {
        #[test]
        fn words_give_what_their_samples_hold(word: u64, members: u64, one: u64, two: u64) {
            let word = word >> 4;
            check::<Portable>(word, members & OWN, one, two);
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("bmi2") {
                check::<Bmi2>(word, members & OWN, one, two);
            }
        }
    }
}
