//! JP2 boxes (ISO/IEC 15444-1, clause I.4).

pub use crate::box_type::BoxType;
use crate::error::{Error, Result, Scan};
use crate::read::Reader;

/// The signature box as it opens every JP2 file (clause I.5.1).
pub const SIGNATURE_BOX: [u8; 12] = *b"\0\0\0\x0CjP  \x0D\x0A\x87\x0A";

/// Where a box lies. Superboxes are not entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxHeader {
    /// TBox.
    pub kind: BoxType,
    /// Offset of LBox in the file.
    pub start: u64,
    /// Offset of the contents.
    pub payload: u64,
    /// Exclusive end; `None` where LBox is 0 (to the end of the file).
    pub end: Option<u64>,
}

/// Reads the header of the box at `start` from a prefix of the file.
///
/// # Errors
/// [`Error::Invalid`] for a length shorter than the box header or one that overflows.
pub fn box_header(prefix: &[u8], start: u64) -> Result<Scan<BoxHeader>> {
    let at = usize::try_from(start).unwrap_or(usize::MAX);
    let bytes = prefix.get(at..).unwrap_or_default();
    if bytes.len() < 8 {
        return Ok(Scan::NeedMore { up_to: start.saturating_add(8) });
    }
    let mut reader = Reader::new(bytes, start, BoxType(*b"????"));
    let short = reader.u32()?;
    let mut name = [0; 4];
    name.copy_from_slice(reader.take(4)?);
    let kind = BoxType(name);
    let (length, header) = match short {
        0 => (None, 8),
        1 if bytes.len() < 16 => return Ok(Scan::NeedMore { up_to: start.saturating_add(16) }),
        1 => {
            let high = u64::from(reader.u32()?);
            let low = u64::from(reader.u32()?);
            (Some(high << 32 | low), 16)
        }
        n => (Some(u64::from(n)), 8),
    };
    let end = match length {
        None => None,
        Some(n) if n < header => {
            return Err(Error::invalid(kind, start, format!("length {n} is shorter than the box header")));
        }
        Some(n) => {
            Some(start.checked_add(n).ok_or_else(|| Error::invalid(kind, start, format!("length {n} overflows")))?)
        }
    };
    Ok(Scan::Done(BoxHeader { kind, start, payload: start.saturating_add(header), end }))
}
