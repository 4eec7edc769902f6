//! The MQ arithmetic decoder (ISO/IEC 15444-1, annex C), without branches on what it decodes.
// Numbers of few bits, masked where they are made.
#![allow(clippy::cast_possible_truncation)]

use alloc::vec::Vec;
use core::hint::select_unpredictable;

/// Contexts of one code-block (tables D.1 to D.5): 19 are in use. The state of each is `Qe << 16 | index << 1 | MPS`.
pub(super) type States = [u32; 32];

/// Context of run-length decisions (clause D.3.4).
pub(super) const RUN: usize = 17;
/// Context of uniform decisions.
pub(super) const UNIFORM: usize = 18;

/// Table C.2: Qe, next index after an MPS, next index after an LPS, and whether the MPS switches then.
const TABLE: [(u16, u8, u8, bool); 47] = [
    (0x5601, 1, 1, true),
    (0x3401, 2, 6, false),
    (0x1801, 3, 9, false),
    (0x0AC1, 4, 12, false),
    (0x0521, 5, 29, false),
    (0x0221, 38, 33, false),
    (0x5601, 7, 6, true),
    (0x5401, 8, 14, false),
    (0x4801, 9, 14, false),
    (0x3801, 10, 14, false),
    (0x3001, 11, 17, false),
    (0x2401, 12, 18, false),
    (0x1C01, 13, 20, false),
    (0x1601, 29, 21, false),
    (0x5601, 15, 14, true),
    (0x5401, 16, 14, false),
    (0x5101, 17, 15, false),
    (0x4801, 18, 16, false),
    (0x3801, 19, 17, false),
    (0x3401, 20, 18, false),
    (0x3001, 21, 19, false),
    (0x2801, 22, 19, false),
    (0x2401, 23, 20, false),
    (0x2201, 24, 21, false),
    (0x1C01, 25, 22, false),
    (0x1801, 26, 23, false),
    (0x1601, 27, 24, false),
    (0x1401, 28, 25, false),
    (0x1201, 29, 26, false),
    (0x1101, 30, 27, false),
    (0x0AC1, 31, 28, false),
    (0x09C1, 32, 29, false),
    (0x08A1, 33, 30, false),
    (0x0521, 34, 31, false),
    (0x0441, 35, 32, false),
    (0x02A1, 36, 33, false),
    (0x0221, 37, 34, false),
    (0x0141, 38, 35, false),
    (0x0111, 39, 36, false),
    (0x0085, 40, 37, false),
    (0x0049, 41, 38, false),
    (0x0025, 42, 39, false),
    (0x0015, 43, 40, false),
    (0x0009, 44, 41, false),
    (0x0005, 45, 42, false),
    (0x0001, 45, 43, false),
    (0x5601, 46, 46, false),
];

/// The state of a context that is at `index` of table C.2 with this MPS.
const fn state(index: u8, mps: u32) -> u32 {
    (TABLE[index as usize].0 as u32) << 16 | (index as u32) << 1 | mps
}

/// By `index << 1 | MPS`: the state after an MPS in the low half, that after an LPS in the high half.
static NEXT: [u64; 128] = {
    let mut next = [0; 128];
    let mut at = 0;
    while at < 94 {
        let (_, after_mps, after_lps, switch) = TABLE[at >> 1];
        let mps = (at & 1) as u32;
        let flipped = if switch { 1 - mps } else { mps };
        next[at] = state(after_mps, mps) as u64 | (state(after_lps, flipped) as u64) << 32;
        at += 1;
    }
    next
};

/// The contexts at the start of a code-block (table D.7).
pub(super) const INITIAL: States = {
    let mut states = [state(0, 0); 32];
    states[0] = state(4, 0);
    states[RUN] = state(3, 0);
    states[UNIFORM] = state(46, 0);
    states
};

/// Bytes of ones behind the end of a stream: at least as many as one look-ahead takes, twice.
const PADDING: usize = 16;

/// Writes the codeword segment without its stuffed bits: a plain run of bits, first one highest, and then ones.
///
/// The byte behind an FF gives 7 bits, and its highest bit is added to what stands before (clause C.3.4). The data end at
/// their end or at a marker, whichever comes first.
pub(super) fn unstuff<'a>(pieces: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    out.clear();
    // The lowest `held` bits of `bits` are not written yet.
    let (mut bits, mut held, mut last) = (0u64, 0u32, 0u8);
    'all: for piece in pieces {
        for &byte in piece {
            if last == 0xFF {
                if byte > 0x8F {
                    break 'all;
                }
                if byte & 0x80 != 0 {
                    carry(out, &mut bits, held);
                }
                bits = bits << 7 | u64::from(byte & 0x7F);
                held += 7;
            } else {
                bits = bits << 8 | u64::from(byte);
                held += 8;
            }
            last = byte;
            if held >= 32 {
                held -= 32;
                let [.., a, b, c, d] = (bits >> held).to_be_bytes();
                out.extend_from_slice(&[a, b, c, d]);
            }
        }
    }
    while held >= 8 {
        held -= 8;
        out.push((bits >> held).to_le_bytes()[0]);
    }
    if held > 0 {
        out.push((bits << (8 - held)).to_le_bytes()[0] | 0xFF >> held);
    }
    out.extend_from_slice(&[0xFF; PADDING]);
}

/// Adds 1 to the bits so far, of which the lowest `held` are in `bits`.
#[cold]
fn carry(out: &mut [u8], bits: &mut u64, held: u32) {
    let all = (1u64 << held) - 1;
    let own = *bits & all;
    *bits = own.wrapping_add(1) & all;
    if own == all {
        for byte in out.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }
}

/// Registers A and C (clause C.3.1), their 16 bits of the standard at the top; below those of C is what comes next.
#[derive(Clone, Copy, Default)]
pub(super) struct Mq {
    a: u64,
    c: u64,
    /// Bits of look-ahead below the upper 16 of `c`; 16 at least between decisions.
    ahead: u32,
    /// Byte of the stream from which to refill.
    at: usize,
}

impl Mq {
    /// INITDEC (clause C.3.5) at the start of a stream that [`unstuff`] wrote.
    pub(super) fn new(stream: &[u8]) -> Mq {
        Mq { a: 0x8000 << 48, c: word(stream, 0) >> 1, ahead: 41, at: 7 }
    }

    /// Appends to the look-ahead. Beyond the end there are ones, without end.
    #[inline(always)]
    fn refill(&mut self, stream: &[u8]) {
        let at = self.at.min(stream.len().saturating_sub(8));
        self.c |= word(stream, at) >> (16 + self.ahead);
        let bytes = (48 - self.ahead) >> 3;
        self.at = at + bytes as usize;
        self.ahead += bytes * 8;
    }

    /// DECODE (clause C.3.2): one decision, 0 or 1.
    #[inline(always)]
    pub(super) fn decode(&mut self, states: &mut States, context: usize, stream: &[u8]) -> u64 {
        self.step(&mut states[context & 31], stream)
    }

    /// The same by the state of its context.
    #[inline(always)]
    pub(super) fn step(&mut self, context: &mut u32, stream: &[u8]) -> u64 {
        let state = *context;
        let next = NEXT[(state & 127) as usize];
        let qe = u64::from(state >> 16) << 48;
        let rest = self.a - qe;
        let low = self.c < qe;
        let lps = low ^ (rest < qe);
        let a = select_unpredictable(low, qe, rest);
        self.c -= select_unpredictable(low, 0, qe);
        let shift = a.leading_zeros();
        let after = (next >> (u32::from(lps) * 32)) & 0xFFFF_FFFF;
        // Contexts move on where A and C are renormalized.
        *context = select_unpredictable(shift == 0, u64::from(state), after) as u32;
        self.a = a << (shift & 63);
        self.c <<= shift & 63;
        self.ahead -= shift;
        if self.ahead < 16 {
            self.refill(stream);
        }
        u64::from(state & 1) ^ u64::from(lps)
    }
}

/// The 8 bytes at `at`, which are there in every stream of [`unstuff`].
#[inline(always)]
fn word(stream: &[u8], at: usize) -> u64 {
    match stream[at..].first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn unstuffed(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![1, 2, 3];
        unstuff([bytes].into_iter(), &mut out);
        let end = out.len() - PADDING;
        assert!(out[end..].iter().all(|byte| *byte == 0xFF));
        out.truncate(end);
        out
    }

    #[test]
    fn stuffed_bits_are_left_out_and_carries_added() {
        assert!(unstuffed(&[]).is_empty());
        assert_eq!(unstuffed(&[1, 2, 3, 4, 5]), [1, 2, 3, 4, 5]);
        // 1111_1111 then 000_0001, and a one to fill up.
        assert_eq!(unstuffed(&[0xFF, 0x01]), [0xFF, 0x03]);
        // The carry turns 12 FF into 13 00.
        assert_eq!(unstuffed(&[0x12, 0xFF, 0x81]), [0x13, 0x00, 0x03]);
        let mut long = vec![0x12, 0x34, 0xFE];
        long.extend([0x7F; 5]);
        long.extend([0xFF, 0x80]);
        let plain = unstuffed(&long);
        assert_eq!(plain[..9], [0x12, 0x34, 0xFE, 0x7F, 0x7F, 0x7F, 0x7F, 0x80, 0x00]);
        // A marker ends the data, FF and all.
        assert_eq!(unstuffed(&[7, 0xFF, 0x90, 5]), [7, 0xFF]);
    }

    #[test]
    fn the_sequence_of_the_standards_test_is_decoded() {
        // Clause H.2 of ISO/IEC 14492, to which annex C refers for its test sequence.
        let coded = [
            0x84, 0xC7, 0x3B, 0xFC, 0xE1, 0xA1, 0x43, 0x04, 0x02, 0x20, 0x00, 0x00, 0x41, 0x0D, 0xBB, 0x86, 0xF4, 0x31,
            0x7F, 0xFF, 0x88, 0xFF, 0x37, 0x47, 0x1A, 0xDB, 0x6A, 0xDF, 0xFF, 0xAC,
        ];
        let plain = [
            0x00, 0x02, 0x00, 0x51, 0x00, 0x00, 0x00, 0xC0, 0x03, 0x52, 0x87, 0x2A, 0xAA, 0xAA, 0xAA, 0xAA, 0x82, 0xC0,
            0x20, 0x00, 0xFC, 0xD7, 0x9E, 0xF6, 0xBF, 0x7F, 0xED, 0x90, 0x4F, 0x46, 0xA3, 0xBF,
        ];
        let mut stream = Vec::new();
        unstuff([&coded[..]].into_iter(), &mut stream);
        let mut mq = Mq::new(&stream);
        let mut states = [state(0, 0); 32];
        for expected in plain {
            let byte = (0..8).fold(0, |byte, _| byte << 1 | mq.decode(&mut states, 0, &stream));
            assert_eq!(byte, expected);
        }
    }
}
