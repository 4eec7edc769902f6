//! From the first byte of a JP2 file or raw codestream to its first tile-part.

use crate::boxes::{self, BoxType, SIGNATURE_BOX};
use crate::error::{Error, Result, Scan};
use crate::header::{MainHeader, next_segment};
use crate::marker::Marker;
use crate::segment::sot::SOT_BYTES;

/// What lies in front of the tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHead {
    /// File offset of SOC.
    pub codestream: u64,
    /// File offset of the first SOT.
    pub first_sot: u64,
    /// Exclusive file offset of the codestream's end, where its box tells; `None` means the end of the file.
    pub codestream_end: Option<u64>,
    /// SOC to the byte in front of the first SOT.
    pub header_bytes: Vec<u8>,
    /// The same, parsed.
    pub header: MainHeader,
}

/// Reads the head of a file from a prefix of it.
///
/// Boxes in front of the codestream are skipped without a look inside, but a prefix must reach beyond them. Call again
/// with a longer prefix on [`Scan::NeedMore`]. `file_size`, where known, bounds what may be asked for.
///
/// # Errors
/// [`Error::NotJpeg2000`] when neither a JP2 signature nor SOC comes first; [`Error::Truncated`] when the file is known to
/// end too early; [`Error::Missing`] when no codestream box can follow; everything [`MainHeader::parse`] refuses.
pub fn scan_file_head(prefix: &[u8], file_size: Option<u64>) -> Result<Scan<FileHead>> {
    let scan = match find_codestream(prefix, file_size)? {
        Scan::Done((start, end)) => scan_main_header(prefix, start, end)?,
        Scan::NeedMore { up_to } => Scan::NeedMore { up_to },
    };
    let Scan::NeedMore { up_to } = scan else { return Ok(scan) };
    let available = prefix.len() as u64;
    match file_size {
        Some(size) if up_to > size => Err(Error::Truncated {
            part: Marker::SOT.into(),
            offset: available.min(size),
            needed: up_to - available.min(size),
            available: size.saturating_sub(available),
        }),
        _ => Ok(Scan::NeedMore { up_to }),
    }
}

/// Offset of SOC and the exclusive end of the codestream.
fn find_codestream(prefix: &[u8], file_size: Option<u64>) -> Result<Scan<(u64, Option<u64>)>> {
    let same = |expected: &[u8]| prefix.iter().zip(expected).all(|(a, b)| a == b);
    let raw = [Marker::SOC.bytes(), Marker::SIZ.bytes()].concat();
    if !same(&raw) && !same(&SIGNATURE_BOX) {
        return Err(Error::NotJpeg2000 { part: BoxType::SIGNATURE.into(), offset: 0 });
    }
    if prefix.len() < SIGNATURE_BOX.len() {
        return Ok(Scan::NeedMore { up_to: SIGNATURE_BOX.len() as u64 });
    }
    if same(&raw) {
        return Ok(Scan::Done((0, None)));
    }
    let mut start = SIGNATURE_BOX.len() as u64;
    loop {
        let header = match boxes::box_header(prefix, start)? {
            Scan::Done(header) => header,
            Scan::NeedMore { up_to } => {
                if file_size == Some(start) {
                    return Err(Error::Missing { part: BoxType::CODESTREAM.into(), offset: start });
                }
                return Ok(Scan::NeedMore { up_to });
            }
        };
        if let (Some(end), Some(size)) = (header.end, file_size)
            && end > size
        {
            return Err(Error::invalid(header.kind, start, format!("it ends at byte {end}, beyond the file's {size}")));
        }
        if header.kind == BoxType::CODESTREAM {
            return Ok(Scan::Done((header.payload, header.end)));
        }
        match header.end {
            Some(end) => start = end,
            // A box to the end of the file leaves no room for the codestream.
            None => return Err(Error::Missing { part: BoxType::CODESTREAM.into(), offset: start }),
        }
    }
}

fn scan_main_header(prefix: &[u8], codestream: u64, end: Option<u64>) -> Result<Scan<FileHead>> {
    let start = usize::try_from(codestream).unwrap_or(usize::MAX);
    let Some(mut bytes) = prefix.get(start..).filter(|b| b.len() >= 2) else {
        return Ok(Scan::NeedMore { up_to: codestream.saturating_add(2) });
    };
    if let Some(room) = end.and_then(|end| usize::try_from(end.saturating_sub(codestream)).ok())
        && room < bytes.len()
    {
        bytes = &bytes[..room];
    }
    if bytes.get(..2) != Some(&Marker::SOC.bytes()[..]) {
        return Err(Error::Missing { part: Marker::SOC.into(), offset: codestream });
    }
    let mut pos = 2;
    loop {
        match next_segment(bytes, pos, codestream)? {
            Scan::Done(Some(segment)) => pos = segment.whole.end,
            Scan::Done(None) => break,
            Scan::NeedMore { up_to } => {
                if let Some(end) = end.filter(|end| up_to > *end) {
                    let offset = codestream + pos as u64;
                    let (needed, available) = (up_to - offset, end.saturating_sub(offset));
                    return Err(Error::Truncated { part: BoxType::CODESTREAM.into(), offset, needed, available });
                }
                // At least a tile-part header follows any segment, so ask for that much more at once.
                let enough = codestream + (pos + SOT_BYTES) as u64;
                return Ok(Scan::NeedMore { up_to: up_to.max(enough).min(end.unwrap_or(u64::MAX)) });
            }
        }
    }
    let header_bytes = bytes[..pos].to_vec();
    let header = MainHeader::parse_at(&header_bytes, codestream)?;
    let first_sot = codestream + pos as u64;
    Ok(Scan::Done(FileHead { codestream, first_sot, codestream_end: end, header_bytes, header }))
}
