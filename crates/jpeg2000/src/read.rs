//! A checked big-endian cursor that knows where its bytes stand.

use crate::error::{Error, Part, Result};

/// Reads numbers from a slice; every failure names the part and the absolute offset.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    pos: usize,
    base: u64,
    part: Part,
}

impl<'a> Reader<'a> {
    /// `base` is the offset of `bytes[0]` in what the caller was given.
    pub(crate) fn new(bytes: &'a [u8], base: u64, part: impl Into<Part>) -> Self {
        Reader { bytes, pos: 0, base, part: part.into() }
    }

    /// Absolute offset of the next byte.
    pub(crate) fn offset(&self) -> u64 {
        self.base.saturating_add(self.pos as u64)
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.pos
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let Some(taken) = rest.get(..n) else {
            return Err(Error::Truncated {
                part: self.part,
                offset: self.offset(),
                needed: n as u64,
                available: rest.len() as u64,
            });
        };
        self.pos += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// A component index: one byte below 257 components, else two (e.g. table A.23).
    pub(crate) fn component(&mut self, components: u16) -> Result<u16> {
        if components < 257 { Ok(u16::from(self.u8()?)) } else { self.u16() }
    }

    /// Refuses bytes left over at the end of a segment.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        Err(self.invalid(format!("{} bytes too many", self.remaining())))
    }

    pub(crate) fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::invalid(self.part, self.offset(), reason)
    }

    pub(crate) fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::unsupported(self.part, self.offset(), reason)
    }
}
