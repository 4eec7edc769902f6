//! A run of bytes in a file.

use serde::{Deserialize, Serialize};

/// `length` bytes from `offset`; never empty, and the end fits in 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ByteRange {
    offset: u64,
    length: u64,
}

impl ByteRange {
    /// `None` for an empty run, or one whose end passes 2^64.
    pub fn new(offset: u64, length: u64) -> Option<Self> {
        (length > 0 && offset.checked_add(length).is_some()).then_some(Self { offset, length })
    }
    /// First byte.
    pub fn offset(self) -> u64 {
        self.offset
    }
    /// How many bytes.
    pub fn length(self) -> u64 {
        self.length
    }
    /// The byte after the last.
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}
