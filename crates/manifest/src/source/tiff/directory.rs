//! What has to hold before async-tiff is given a directory (IFD) to read.
//!
//! Its reader stops the process at unknown types, texts without an end and impossible counts, and reserves memory by
//! numbers of the file. So every entry is looked at first: types, counts and places of the tags that s2ice needs are
//! checked against the size of the file, and async-tiff reads those tags alone, from bytes that are there already.

use std::ops::Range;

use super::pieces::Pieces;

/// Bytes read where a part is wanted that was not read with the others.
const READ: u64 = 16 * 1024;

/// Entries of a directory; GDAL writes about twenty.
const MAX_ENTRIES: u64 = 256;

/// Values of one tag: a granule in tiles of 64 pixels has 29,584 tiles.
const MAX_VALUES: u64 = 65_536;

/// SHORT, LONG, LONG8, DOUBLE, ASCII (TIFF 6.0, section 2; BigTIFF).
const TYPES: [(u16, u64); 5] = [(3, 2), (4, 4), (16, 8), (12, 8), (2, 1)];

/// Tags that are read.
pub mod tag {
    #![allow(missing_docs)]
    pub const NEW_SUBFILE_TYPE: u16 = 254;
    pub const IMAGE_WIDTH: u16 = 256;
    pub const IMAGE_LENGTH: u16 = 257;
    pub const BITS_PER_SAMPLE: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const ORIENTATION: u16 = 274;
    pub const SAMPLES_PER_PIXEL: u16 = 277;
    pub const PLANAR_CONFIGURATION: u16 = 284;
    pub const PREDICTOR: u16 = 317;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_LENGTH: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTE_COUNTS: u16 = 325;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const MODEL_PIXEL_SCALE: u16 = 33_550;
    pub const MODEL_TIEPOINT: u16 = 33_922;
    pub const MODEL_TRANSFORMATION: u16 = 34_264;
    pub const GEO_KEY_DIRECTORY: u16 = 34_735;
    pub const GDAL_NODATA: u16 = 42_113;

    pub const READ: [u16; 22] = [
        NEW_SUBFILE_TYPE,
        IMAGE_WIDTH,
        IMAGE_LENGTH,
        BITS_PER_SAMPLE,
        COMPRESSION,
        PHOTOMETRIC,
        FILL_ORDER,
        STRIP_OFFSETS,
        ORIENTATION,
        SAMPLES_PER_PIXEL,
        PLANAR_CONFIGURATION,
        PREDICTOR,
        TILE_WIDTH,
        TILE_LENGTH,
        TILE_OFFSETS,
        TILE_BYTE_COUNTS,
        SAMPLE_FORMAT,
        MODEL_PIXEL_SCALE,
        MODEL_TIEPOINT,
        MODEL_TRANSFORMATION,
        GEO_KEY_DIRECTORY,
        GDAL_NODATA,
    ];
}

/// The first directory of a file, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Offset of the directory.
    pub offset: u64,
    /// True for 64-bit offsets.
    pub big: bool,
    /// True where numbers begin with their most significant byte.
    pub big_endian: bool,
    /// Places of the entries that are read.
    pub entries: Vec<u64>,
}

/// What looking at a file gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Everything is there.
    Done(Directory),
    /// These bytes of the file are needed.
    Need(Range<u64>),
}

/// Looks at header and first directory of a file of `size` bytes, of which `pieces` were read.
///
/// # Errors
/// What is wrong, and where.
pub fn look(pieces: &Pieces, size: u64) -> Result<Look, String> {
    match (Looker { pieces, size, big: false, big_endian: false }).look() {
        Ok(directory) => Ok(Look::Done(directory)),
        Err(Stop::Need(range)) => Ok(Look::Need(range)),
        Err(Stop::Wrong(reason)) => Err(reason),
    }
}

enum Stop {
    Need(Range<u64>),
    Wrong(String),
}

fn wrong<T>(reason: String) -> Result<T, Stop> {
    Err(Stop::Wrong(reason))
}

struct Looker<'a> {
    pieces: &'a Pieces,
    size: u64,
    big: bool,
    big_endian: bool,
}

impl Looker<'_> {
    fn look(mut self) -> Result<Directory, Stop> {
        let order = self.bytes(0, 2, "its header")?;
        self.big_endian = match &order[..] {
            b"II" => false,
            b"MM" => true,
            _ => return wrong("it is no TIFF: it begins with neither II nor MM".to_owned()),
        };
        let offset = match self.number(2, 2, "its header")? {
            42 => self.number(4, 4, "its header")?,
            43 => {
                self.big = true;
                if (self.number(4, 2, "its header")?, self.number(6, 2, "its header")?) != (8, 0) {
                    return wrong("it is no BigTIFF of 8-byte offsets".to_owned());
                }
                self.number(8, 8, "its header")?
            }
            other => return wrong(format!("it is no TIFF: its version is {other}, not 42 or 43")),
        };
        let (counter, entry) = if self.big { (8, 20) } else { (2, 12) };
        let count = self.number(offset, counter, "its directory")?;
        if count == 0 || count > MAX_ENTRIES {
            return wrong(format!("its directory at byte {offset} has {count} entries, 1 to {MAX_ENTRIES} are read"));
        }
        let first = offset + counter;
        // Also the place of the next directory, so that async-tiff may look at it.
        self.bytes(offset, counter + count * entry, "its directory")?;
        let (mut entries, mut seen) = (Vec::new(), Vec::new());
        for number in 0..count {
            let at = first + number * entry;
            let code = self.tag(at)?;
            if !tag::READ.contains(&code) {
                continue;
            }
            if seen.contains(&code) {
                return wrong(format!("tag {code} stands twice in its directory"));
            }
            seen.push(code);
            self.check(code, at)?;
            entries.push(number);
        }
        Ok(Directory { offset, big: self.big, big_endian: self.big_endian, entries })
    }

    fn tag(&self, at: u64) -> Result<u16, Stop> {
        let code = self.number(at, 2, "its directory")?;
        Ok(u16::try_from(code).unwrap_or_default())
    }

    /// Checks type, count and place of an entry's values.
    fn check(&self, code: u16, at: u64) -> Result<(), Stop> {
        let kind = self.number(at + 2, 2, "its directory")?;
        let Some((_, bytes)) = TYPES.into_iter().find(|(known, _)| u64::from(*known) == kind) else {
            return wrong(format!("tag {code} is of type {kind}, none that it can have"));
        };
        let text = kind == 2;
        if text != (code == tag::GDAL_NODATA) {
            return wrong(format!("tag {code} is of type {kind}, none that it can have"));
        }
        let (count, value, inline) = if self.big {
            (self.number(at + 4, 8, "its directory")?, at + 12, 8)
        } else {
            (self.number(at + 4, 4, "its directory")?, at + 8, 4)
        };
        if count == 0 || count > MAX_VALUES {
            return wrong(format!("tag {code} has {count} values, 1 to {MAX_VALUES} are read"));
        }
        // Both are small: no overflow.
        let length = count * bytes;
        let place = if length <= inline { value } else { self.number(value, inline, "its directory")? };
        let values = self.bytes(place, length, &format!("tag {code}"))?;
        if text && !(values.is_ascii() && values.ends_with(&[0]) && (count > 1 || values[..] == [0])) {
            return wrong(format!("tag {code} is no text"));
        }
        Ok(())
    }

    fn bytes(&self, at: u64, length: u64, what: &str) -> Result<bytes::Bytes, Stop> {
        let end = at.checked_add(length).filter(|end| *end <= self.size);
        let Some(end) = end else {
            return wrong(format!("{what} lies at byte {at}, {length} bytes long; the file has {}", self.size));
        };
        let ahead = at.saturating_add(READ).clamp(end, self.size.max(end));
        self.pieces.get(&(at..end)).ok_or(Stop::Need(at..ahead))
    }

    fn number(&self, at: u64, length: u64, what: &str) -> Result<u64, Stop> {
        let bytes = self.bytes(at, length, what)?;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(if self.big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }
}
