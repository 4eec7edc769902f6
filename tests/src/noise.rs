//! Value noise in integers: a hash on a lattice, interpolated in fixed point. The same on every machine.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)] // hashing keeps low bits

/// A hash of a lattice point, equally likely everywhere in 0..2^32.
#[must_use]
pub fn hash(seed: u64, x: i64, y: i64) -> u32 {
    let mut h = seed ^ (x as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (y as u64).wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    for _ in 0..2 {
        h ^= h >> 31;
        h = h.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    }
    (h >> 32) as u32
}

/// Adds a row of fractal noise to `out`: `out[i]` is the value at (`x0 + i`, `y)`. Each octave is a lattice of spacing
/// `2^shift` and amplitude `65280 >> down`.
pub fn add_row(seed: u64, octaves: &[(u32, u32)], x0: i64, y: i64, out: &mut [i32]) {
    for &(shift, down) in octaves {
        let seed = seed.wrapping_add(u64::from(shift) << 56);
        let size = 1usize << shift;
        let weights: Vec<i32> = (0..size).map(|at| ease(at as i64, shift)).collect();
        let ly = y >> shift;
        let wy = weights[(y - (ly << shift)) as usize];
        let column = |lx: i64| {
            let (a, b) = ((hash(seed, lx, ly) & 255) as i32, (hash(seed, lx, ly + 1) & 255) as i32);
            (a << 8) + (((b - a) * wy) >> (ONE - 8))
        };
        let mut at = 0;
        let mut lx = x0 >> shift;
        let mut left = column(lx);
        while at < out.len() {
            let right = column(lx + 1);
            let start = (x0 + at as i64 - (lx << shift)) as usize;
            let run = (out.len() - at).min(size - start);
            for (value, weight) in out[at..at + run].iter_mut().zip(&weights[start..]) {
                *value += (left + (((right - left) * weight) >> ONE)) >> down;
            }
            at += run;
            lx += 1;
            left = right;
        }
    }
}

/// Bits of the weights.
const ONE: u32 = 14;

/// The smooth step 3t^2 - 2t^3 of t = `at` / 2^`shift`, from 0 to 2^14.
fn ease(at: i64, shift: u32) -> i32 {
    let t = (at << ONE) >> shift;
    ((t * t * ((3 << ONE) - 2 * t)) >> (2 * ONE)) as i32
}

/// 0 up to `from`, 256 from `to` on, straight in between.
#[must_use]
pub fn ramp(at: i64, from: i64, to: i64) -> i64 {
    ((at - from) * 256 / (to - from).max(1)).clamp(0, 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_does_not_depend_on_where_it_starts() {
        let octaves = [(7, 1), (4, 2)];
        let mut whole = vec![0; 500];
        add_row(7, &octaves, -130, 12, &mut whole);
        let mut part = vec![0; 90];
        add_row(7, &octaves, -130 + 201, 12, &mut part);
        assert_eq!(part, whole[201..291]);
        assert!(whole.iter().any(|&v| v != whole[0]));
        assert!(whole.iter().all(|&v| (0..=65280).contains(&v)));
    }

    #[test]
    fn the_hash_is_pinned() {
        // Another value here would silently change every sample product.
        // From the same arithmetic in Python.
        assert_eq!([hash(1, 2, 3), hash(1, 3, 2), hash(0, -1, 0)], [3_731_310_919, 2_308_593_564, 1_047_993_629]);
    }
}
