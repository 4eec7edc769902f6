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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

    use super::*;
    use crate::samples;
    use proptest::prelude::*;

    const SOT: [u8; 14] = [0xFF, 0x90, 0, 10, 0, 0, 0, 0, 0, 14, 0, 1, 0xFF, 0x93];

    fn codestream() -> Vec<u8> {
        let tlm = [0xFF, 0x55, 0, 7, 0, 0x10, 0, 0, 14];
        let mut out = samples::header_bytes(&samples::siz(), &[&samples::COD, &tlm, &samples::QCD]);
        out.extend(SOT);
        out.extend([0xFF, 0xD9]);
        out
    }

    fn done(bytes: &[u8]) -> FileHead {
        match scan_file_head(bytes, Some(bytes.len() as u64)).unwrap() {
            Scan::Done(head) => head,
            Scan::NeedMore { up_to } => panic!("asks for {up_to}"),
        }
    }

    #[test]
    fn files_and_bare_codestreams_are_read() {
        let raw = codestream();
        let head = done(&raw);
        assert_eq!((head.codestream, head.codestream_end), (0, None));
        assert_eq!(raw[head.first_sot as usize..][..14], SOT);
        assert_eq!(head.header_bytes, raw[..head.first_sot as usize]);
        let open = samples::jp2(&raw, 0);
        let boxed = done(&open);
        assert_eq!(boxed.header, head.header);
        assert_eq!(boxed.first_sot - boxed.codestream, head.first_sot);
        assert_eq!(boxed.codestream_end, None);
        let mut closed = samples::jp2(&raw, 8 + raw.len() as u32);
        closed.extend(b"\0\0\0\x08free");
        let boxed = done(&closed);
        assert_eq!(boxed.codestream_end, Some(closed.len() as u64 - 8));
    }

    #[test]
    fn a_growing_prefix_is_enough() {
        for file in [codestream(), samples::jp2(&codestream(), 0)] {
            let mut length = 0;
            let head = loop {
                match scan_file_head(&file[..length], None).unwrap() {
                    Scan::Done(head) => break head,
                    Scan::NeedMore { up_to } => {
                        assert!(up_to > length as u64 && up_to <= file.len() as u64);
                        length = up_to as usize;
                    }
                }
            };
            assert_eq!(head, done(&file));
            for cut in 0..head.first_sot as usize + 2 {
                let error = scan_file_head(&file[..cut], Some(cut as u64)).unwrap_err();
                assert!(error.offset() <= cut as u64, "{error}");
            }
        }
    }

    #[test]
    fn what_is_no_file_is_refused_with_a_place() {
        let good = samples::jp2(&codestream(), 0);
        let with = |at: usize, bytes: &[u8]| {
            let mut file = good.clone();
            file[at..at + bytes.len()].copy_from_slice(bytes);
            scan_file_head(&file, Some(file.len() as u64)).unwrap_err().to_string()
        };
        assert!(with(0, b"\x89PNG").contains("neither a JP2 box 'jP  ' nor a codestream"));
        assert!(with(12, &[0, 0, 0, 7]).contains("box 'ftyp' at byte 12"));
        assert!(with(12, &[0, 0, 0, 0]).contains("box 'jp2c' is missing"));
        assert!(with(12, &[0x7F, 0, 0, 0]).contains("beyond the file"));
        assert!(with(40, &[0xFF; 8]).contains("overflows"));
        assert!(with(59, &[0xFF, 0x51]).contains("marker SOC (FF4F) is missing"));
        let small = samples::jp2(&codestream(), 40);
        scan_file_head(&small, Some(small.len() as u64)).unwrap_err();
        scan_file_head(&small, None).unwrap_err();
    }

    #[test]
    fn refused_segments_are_named() {
        for (segment, words) in [
            (&[0xFF, 0x60, 0, 3, 0][..], "PPM (FF60) at byte 75 is not supported: packed packet headers"),
            (&[0xFF, 0x50, 0, 6, 0, 2, 0, 0][..], "CAP (FF50) at byte 75 is not supported: capabilities of Part 15"),
            (&[0xFF, 0x5B, 0, 2][..], "unexpected marker FF5B at byte 75"),
            (&[0xFF, 0x52, 0, 2][..], "COD (FF52) at byte 79 needs 1 bytes but only 0"),
            (&samples::COD[..], "COD (FF52) at byte 75 is not valid: a second one"),
            (&[0xFF, 0x5F, 0, 1][..], "POC (FF5F) at byte 75 is not valid: segment length 1"),
        ] {
            let mut file =
                samples::header_bytes(&samples::siz(), &[&samples::COD, &samples::QCD, &[0xFF, 0x64, 0, 2], segment]);
            file.extend(SOT);
            let error = scan_file_head(&file, Some(file.len() as u64)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let mut siz = samples::siz();
        siz.capabilities = 0x4000;
        let error = MainHeader::parse(&samples::header_bytes(&siz, &[])).unwrap_err().to_string();
        assert!(error.contains("HTJ2K"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), size in any::<u64>(), known in any::<bool>()) {
            let _ = scan_file_head(&bytes, known.then_some(size));
        }

        #[test]
        fn damaged_files_are_read_or_refused(boxed in any::<bool>(), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), keep in any::<prop::sample::Index>()) {
            let mut file = if boxed { samples::jp2(&codestream(), 0) } else { codestream() };
            for (at, value) in hits {
                let at = at.index(file.len());
                file[at] = value;
            }
            let whole = scan_file_head(&file, None);
            let cut = keep.index(file.len());
            match scan_file_head(&file[..cut], None) {
                Ok(Scan::NeedMore { up_to }) => prop_assert!(up_to > cut as u64),
                // What a prefix settles, the file does not unsettle.
                Ok(Scan::Done(head)) => prop_assert_eq!(whole.unwrap(), Scan::Done(head)),
                Err(_) => prop_assert!(whole.is_err()),
            }
            if let Ok(Scan::Done(head)) = scan_file_head(&file, None) {
                let small = head.header.codec_header();
                let again = MainHeader::parse(&small).unwrap();
                prop_assert_eq!(again.profile(), head.header.profile());
                prop_assert!(head.header.grid().is_err() || head.header.geometry().is_ok() || head.header.geometry().is_err());
            }
        }
    }
}
