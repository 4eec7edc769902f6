//! The two buffers that JavaScript and this module share.

/// Where JavaScript writes what it gives, and where it finds what it gets.
pub(crate) struct Buffers {
    pub(crate) input: Vec<u8>,
    pub(crate) output: Vec<u8>,
}

impl Buffers {
    pub(crate) const fn new() -> Self {
        Buffers { input: Vec::new(), output: Vec::new() }
    }

    /// The output from numbers.
    pub(crate) fn tell(&mut self, numbers: impl IntoIterator<Item = u64>) -> Result<(), String> {
        self.output.clear();
        for number in numbers {
            // Offsets in a chunk: Psot has 32 bits.
            let number = u32::try_from(number).map_err(|_| format!("{number} is beyond 4 GiB"))?;
            self.output.extend(number.to_le_bytes());
        }
        Ok(())
    }
}

/// Gives a buffer a length, and an error where the memory for it is not to be had.
pub(crate) fn resize(buffer: &mut Vec<u8>, length: usize) -> Result<(), String> {
    buffer.clear();
    // What a large chunk took is not kept for the small ones after it.
    if buffer.capacity() / 8 > length.max(1 << 17) {
        *buffer = Vec::new();
    }
    buffer.try_reserve_exact(length).map_err(|_| format!("no memory for {length} bytes"))?;
    buffer.resize(length, 0);
    Ok(())
}

/// The numbers at the beginning of a buffer, and what follows them.
pub(crate) fn numbers(bytes: &[u8], count: usize) -> Option<(Vec<u32>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(count.checked_mul(4)?)?;
    let number = |four: &[u8]| four.try_into().map(u32::from_le_bytes).ok();
    Some((head.chunks_exact(4).filter_map(number).collect(), rest))
}
