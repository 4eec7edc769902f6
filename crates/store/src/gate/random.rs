//! Choices that differ from run to run, and are the same when a run is looked at again.

use sha2::{Digest, Sha256};

/// Numbers that follow from a name.
pub(super) struct Random(u64);

impl Random {
    /// The same numbers for the same name, which is that of the run.
    pub(super) fn new(name: &str) -> Self {
        let digest = Sha256::digest(name.as_bytes());
        Self(digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }

    /// The next number (SplitMix64 of Steele, Lea and Flood, 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number below `end`; 0 where that is 0. A few choices of many things do not notice that `%` prefers small numbers.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end as u64).max(1)).unwrap_or_default()
    }

    /// Brings `count` things to the front, each as likely as any other.
    pub(super) fn draw<T>(&mut self, things: &mut [T], count: usize) {
        for place in 0..count.min(things.len()) {
            let other = place + self.below(things.len() - place);
            things.swap(place, other);
        }
    }

    /// Puts things in any order.
    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        self.draw(things, things.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_decides() {
        let drawn = |name: &str| {
            let mut things: Vec<usize> = (0..50).collect();
            Random::new(name).shuffle(&mut things);
            things
        };
        assert_eq!(drawn("a"), drawn("a"));
        assert_ne!(drawn("a"), drawn("b"));
        let mut sorted = drawn("a");
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..50));
    }
}
