//! Contexts of code-block samples by their neighbours (ISO/IEC 15444-1, tables D.1 to D.4), worked out when compiled.
// Numbers of few bits, masked where they are made.
#![allow(clippy::cast_possible_truncation)]

use crate::packet::blocks::Kind;

/// Zero coding contexts of one kind of subband, by the significance of the 3 x 3 samples around one: left column, own,
/// right, each from the top; 9 bits, the first lowest.
pub(super) type ZeroCoding = [u8; 512];

/// Sums of the significant horizontal, vertical and diagonal neighbours.
const fn sums(nine: usize) -> (u32, u32, u32) {
    const fn bit(nine: usize, at: u32) -> u32 {
        (nine >> at & 1) as u32
    }
    let h = bit(nine, 1) + bit(nine, 7);
    let v = bit(nine, 3) + bit(nine, 5);
    let d = bit(nine, 0) + bit(nine, 2) + bit(nine, 6) + bit(nine, 8);
    (h, v, d)
}

/// Table D.1, first two columns; for HL horizontal and vertical change places.
const fn by_direction(h: u32, v: u32, d: u32) -> u8 {
    match (h, v, d) {
        (2, _, _) => 8,
        (1, 1.., _) => 7,
        (1, 0, 1..) => 6,
        (1, 0, 0) => 5,
        (0, 2, _) => 4,
        (0, 1, _) => 3,
        (0, 0, 2..) => 2,
        (0, 0, 1) => 1,
        _ => 0,
    }
}

/// Table D.1, last column.
const fn by_diagonal(hv: u32, d: u32) -> u8 {
    match (d, hv) {
        (3.., _) => 8,
        (2, 1..) => 7,
        (2, 0) => 6,
        (1, 2..) => 5,
        (1, 1) => 4,
        (1, 0) => 3,
        (0, 2..) => 2,
        (0, 1) => 1,
        _ => 0,
    }
}

const fn zero_coding(kind: Kind) -> ZeroCoding {
    let mut out = [0; 512];
    let mut nine = 0;
    while nine < 512 {
        let (h, v, d) = sums(nine);
        out[nine] = match kind {
            Kind::Ll | Kind::Lh => by_direction(h, v, d),
            Kind::Hl => by_direction(v, h, d),
            Kind::Hh => by_diagonal(h + v, d),
        };
        nine += 1;
    }
    out
}

static VERTICAL: ZeroCoding = zero_coding(Kind::Lh);
static HORIZONTAL: ZeroCoding = zero_coding(Kind::Hl);
static DIAGONAL: ZeroCoding = zero_coding(Kind::Hh);

/// The contexts of a kind of subband.
pub(super) fn zero_coding_of(kind: Kind) -> &'static ZeroCoding {
    match kind {
        Kind::Ll | Kind::Lh => &VERTICAL,
        Kind::Hl => &HORIZONTAL,
        Kind::Hh => &DIAGONAL,
    }
}

/// Sign contexts (tables D.2 and D.3) with the bit to flip the decision by in bit 7, by the significance of the left, upper,
/// lower and right neighbour (bits 0 to 3) and whether these are negative (bits 4 to 7).
pub(super) static SIGN: [u8; 256] = {
    let mut out = [0; 256];
    let mut at = 0;
    while at < 256 {
        let h = part(at, 0) + part(at, 3);
        let v = part(at, 1) + part(at, 2);
        out[at] = sign(h.signum(), v.signum());
        at += 1;
    }
    out
};

/// 1 for a positive neighbour, -1 for a negative one, 0 for one that is not significant.
const fn part(at: usize, neighbour: usize) -> i32 {
    let significant = (at >> neighbour & 1) as i32;
    let negative = (at >> (neighbour + 4) & 1) as i32;
    significant * (1 - 2 * negative)
}

/// Table D.3 by the horizontal and vertical contributions.
const fn sign(h: i32, v: i32) -> u8 {
    match (h, v) {
        (1, 1) => 13,
        (1, 0) => 12,
        (1, _) => 11,
        (0, 1) => 10,
        (0, 0) => 9,
        (0, _) => 10 | 0x80,
        (_, 1) => 11 | 0x80,
        (_, 0) => 12 | 0x80,
        (_, _) => 13 | 0x80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_those_of_the_tables() {
        // Own significance does not count.
        for kind in [Kind::Ll, Kind::Hl, Kind::Lh, Kind::Hh] {
            let table = zero_coding_of(kind);
            assert!((0..512).all(|nine| table[nine] == table[nine ^ 16] && table[nine] <= 8));
            assert_eq!((table[0], table[0b111_111_111]), (0, 8));
        }
        // One neighbour to the left, one above, two diagonal ones.
        let rows = [(0b000_000_010, [5, 3, 1]), (0b000_001_000, [3, 5, 1]), (0b001_000_001, [2, 2, 6])];
        for (nine, [lh, hl, hh]) in rows {
            let found = [Kind::Lh, Kind::Hl, Kind::Hh].map(|kind| zero_coding_of(kind)[nine]);
            assert_eq!(found, [lh, hl, hh], "{nine:09b}");
        }
    }

    #[test]
    fn signs_of_opposite_neighbours_cancel() {
        assert_eq!(SIGN[0], 9);
        // Left positive and right negative; left negative alone; all four negative.
        assert_eq!((SIGN[0b1000_1001], SIGN[0b0001_0001], SIGN[0xFF]), (9, 12 | 0x80, 13 | 0x80));
    }
}
