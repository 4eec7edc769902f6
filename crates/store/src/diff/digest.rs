//! Fingerprints of many things that do not depend on their order, so that comparing them needs no memory for each.

use std::hash::{DefaultHasher, Hash, Hasher};

/// 128 bits of a thing. Two passes of the standard library's keyed-by-zero SipHash: enough to tell a store from another
/// one, not to guard against somebody who looks for a collision.
pub(super) fn fingerprint(thing: &impl Hash) -> u128 {
    let pass = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(salt);
        thing.hash(&mut hasher);
        u128::from(hasher.finish())
    };
    pass(1) << 64 | pass(2)
}

/// A set of things: how many, and the sum of their fingerprints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digest {
    /// How many.
    pub(super) count: u64,
    sum: u128,
}

impl Digest {
    /// Adds a thing.
    pub(super) fn add(&mut self, thing: &impl Hash) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(fingerprint(thing));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_contents_do() {
        let of = |things: &[(u32, &str)]| {
            let mut digest = Digest::default();
            things.iter().for_each(|thing| digest.add(thing));
            digest
        };
        assert_eq!(of(&[(1, "a"), (2, "b")]), of(&[(2, "b"), (1, "a")]));
        assert_ne!(of(&[(1, "a"), (2, "b")]), of(&[(1, "b"), (2, "a")]));
        assert_ne!(of(&[(1, "a")]), of(&[(1, "a"), (1, "a")]));
    }
}
