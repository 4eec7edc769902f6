//! Errors that always carry a place: a byte offset and the name of a marker, box or configuration field.

use crate::box_type::BoxType;
use crate::marker::Marker;
use std::fmt;

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The named part of a file that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// A codestream marker or its segment.
    Marker(Marker),
    /// A JP2 box.
    Box(BoxType),
    /// A field of the codec configuration, or an argument of a call.
    Field(&'static str),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Marker(marker) => marker.fmt(f),
            Part::Box(kind) => write!(f, "box {kind}"),
            Part::Field(name) => write!(f, "field {name}"),
        }
    }
}

impl From<Marker> for Part {
    fn from(marker: Marker) -> Self {
        Part::Marker(marker)
    }
}

impl From<BoxType> for Part {
    fn from(kind: BoxType) -> Self {
        Part::Box(kind)
    }
}

/// What is wrong with the bytes, and where.
///
/// `offset` counts from the start of what was given: the file for [`crate::scan_file_head`], else the slice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end before the part does.
    #[error("{part} at byte {offset} needs {needed} bytes but only {available} are there")]
    Truncated {
        /// Part that is cut off.
        part: Part,
        /// Where the missing bytes should begin.
        offset: u64,
        /// Bytes needed from there.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// A value the standard does not allow, or that contradicts another one.
    #[error("{part} at byte {offset} is not valid: {reason}")]
    Invalid {
        /// Part that holds the value.
        part: Part,
        /// Where it is.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// Legal, but refused knowingly because it could not be proven to decode right.
    #[error("{part} at byte {offset} is not supported: {reason}")]
    Unsupported {
        /// Part that asks for it.
        part: Part,
        /// Where it is.
        offset: u64,
        /// What is asked for.
        reason: String,
    },
    /// A required part is not there.
    #[error("{part} is missing: none before byte {offset}")]
    Missing {
        /// The part that is missing.
        part: Part,
        /// Where the search ended.
        offset: u64,
    },
    /// A marker that this place of a codestream cannot have.
    #[error("unexpected {part} at byte {offset}")]
    UnexpectedMarker {
        /// The marker found.
        part: Part,
        /// Where it is.
        offset: u64,
    },
    /// The bytes are neither a JP2 file nor a codestream.
    #[error("neither a JP2 {part} nor a codestream starts at byte {offset}")]
    NotJpeg2000 {
        /// The box expected.
        part: Part,
        /// Where it was expected.
        offset: u64,
    },
    /// The tile-parts of one tile cannot be addressed as one byte range.
    #[error("tile {tile} ({part} at byte {offset}): {reason}")]
    Tile {
        /// Where the tile is listed: TLM or SOT.
        part: Part,
        /// Where its entry or tile-part is.
        offset: u64,
        /// Tile number (Isot).
        tile: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// Lower resolutions are not a prefix of the tile-part.
    #[error("{part} at byte {offset}: lower resolutions are no prefix of a tile-part: {reason}")]
    NotPrefixable {
        /// COD, or the segment that overrides it.
        part: Part,
        /// Where it is.
        offset: u64,
        /// Names the progression order or what else stands against it.
        reason: String,
    },
    /// The decoder refused the tile.
    #[error("tile {tile} ({part} at byte {offset}) cannot be decoded: {reason}")]
    Decode {
        /// Always SOT.
        part: Part,
        /// Start of the tile-part in the chunk.
        offset: u64,
        /// Tile number (Isot).
        tile: u32,
        /// The decoder's own words.
        reason: String,
    },
}

impl Error {
    /// Byte offset of the trouble, from the start of what was given.
    #[must_use]
    pub fn offset(&self) -> u64 {
        match self {
            Error::Truncated { offset, .. }
            | Error::Invalid { offset, .. }
            | Error::Unsupported { offset, .. }
            | Error::Missing { offset, .. }
            | Error::UnexpectedMarker { offset, .. }
            | Error::NotJpeg2000 { offset, .. }
            | Error::Tile { offset, .. }
            | Error::NotPrefixable { offset, .. }
            | Error::Decode { offset, .. } => *offset,
        }
    }

    pub(crate) fn invalid(part: impl Into<Part>, offset: u64, reason: impl Into<String>) -> Self {
        Error::Invalid { part: part.into(), offset, reason: reason.into() }
    }

    pub(crate) fn unsupported(part: impl Into<Part>, offset: u64, reason: impl Into<String>) -> Self {
        Error::Unsupported { part: part.into(), offset, reason: reason.into() }
    }

    pub(crate) fn tile(part: impl Into<Part>, offset: u64, tile: u32, reason: impl Into<String>) -> Self {
        Error::Tile { part: part.into(), offset, tile, reason: reason.into() }
    }
}

/// Outcome of reading a growing prefix of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scan<T> {
    /// The prefix held everything.
    Done(T),
    /// Call again with more.
    NeedMore {
        /// Bytes of prefix needed at least; always more than were given.
        up_to: u64,
    },
}
