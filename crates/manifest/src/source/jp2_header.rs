//! Reading the head of a JP2 file: main header, TLM, size, ETag and modification time, in one request as a rule.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use s2ice_jpeg2000::{
    CodecConfig, Error as CodestreamError, FileHead, MainHeader, Scan, Sot, TileCodec, TlmTable, scan_file_head,
};

use s2ice_jpeg2000::segment::sot::SOT_BYTES;

use crate::proof::SeenSot;
use crate::tlm::IndexEntry;

use super::location::{Fetched, Source, SourceError};

/// First read: boxes, main header and TLM of a Sentinel-2 file fit in it several times.
pub const FIRST_READ: u64 = 16 * 1024;

/// First read where the tiles are wanted too: the longest TLM of a file fits in it, or the first small tile-parts.
pub const READ_AHEAD: u64 = 64 * 1024;

/// Most bytes in front of the first tile-part.
const MAX_HEAD: u64 = 4 * 1024 * 1024;

/// A JP2 file that cannot be read or referenced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The bytes are not what can be referenced.
    #[error("{path}: {source}")]
    Codestream {
        /// Path below the source.
        path: String,
        /// What is wrong, and where.
        source: CodestreamError,
    },
    /// The file is not one whose tiles can be found.
    #[error("{path}: {reason}")]
    Refused {
        /// Path below the source.
        path: String,
        /// Why.
        reason: String,
    },
    /// Size, ETag or modification time changed between two requests.
    #[error("{path} changed while it was read")]
    Changed {
        /// Path below the source.
        path: String,
    },
}

impl FileError {
    /// The error without the file's path in front, for lists that name it already.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Source(error) => error.to_string(),
            Self::Codestream { source, .. } => source.to_string(),
            Self::Refused { reason, .. } => reason.clone(),
            Self::Changed { .. } => "it changed while it was read".to_owned(),
        }
    }
}

/// What the head of a file tells.
#[derive(Debug, Clone)]
pub struct FileFacts {
    /// Offsets and main header.
    pub head: FileHead,
    /// Size of the file, bytes.
    pub file_size: u64,
    /// ETag of the response.
    pub etag: Option<String>,
    /// Last-Modified of the response.
    pub last_modified: Option<DateTime<Utc>>,
    /// Tile-part lengths, where the file carries TLM.
    pub index: Option<IndexEntry>,
    /// The header of the first tile-part; `None` where the bytes that were read end in front of it.
    pub first_sot: Option<SeenSot>,
    /// The first bytes of the file, as far as they were read.
    pub(super) prefix: Bytes,
}

impl FileFacts {
    /// Exclusive end of the codestream.
    pub(super) fn codestream_end(&self) -> u64 {
        self.head.codestream_end.unwrap_or(self.file_size)
    }

    /// Refuses an answer that is not of the same file.
    pub(super) fn check_same(&self, path: &str, later: &Fetched) -> Result<(), FileError> {
        if later.size == self.file_size && later.etag == self.etag && later.last_modified == self.last_modified {
            return Ok(());
        }
        Err(FileError::Changed { path: path.to_owned() })
    }
}

/// Reads the head of a file. One request unless its boxes or main header are unusually long.
///
/// # Errors
/// [`FileError`]: the source's, damage in boxes or main header, or a TLM that contradicts the file.
pub async fn read_head(source: &Source, path: &str) -> Result<FileFacts, FileError> {
    read_head_ahead(source, path, FIRST_READ).await
}

/// As [`read_head`], with so many bytes in the first request.
///
/// # Errors
/// As [`read_head`].
pub async fn read_head_ahead(source: &Source, path: &str, first_read: u64) -> Result<FileFacts, FileError> {
    let wrong = |source| FileError::Codestream { path: path.to_owned(), source };
    let mut fetched = source.get_range(path, 0..first_read.max(1)).await?;
    let head = loop {
        match scan_file_head(&fetched.bytes, Some(fetched.size)).map_err(wrong)? {
            Scan::Done(head) => break head,
            Scan::NeedMore { up_to } if up_to > MAX_HEAD => {
                let reason = format!("its first tile-part does not begin within {MAX_HEAD} bytes");
                return Err(FileError::Refused { path: path.to_owned(), reason });
            }
            Scan::NeedMore { up_to } => fetched = extend(source, path, fetched, up_to).await?,
        }
    };
    let Fetched { bytes, etag, last_modified, size } = fetched;
    let first_sot = first_sot(&head, &bytes).map_err(wrong)?;
    let mut facts = FileFacts { head, file_size: size, etag, last_modified, index: None, first_sot, prefix: bytes };
    if let Some(tlm) = facts.head.header.tlm() {
        facts.index = Some(own_index(&facts, tlm.clone(), path)?);
    }
    Ok(facts)
}

/// Checks that the codec takes a main header: an array with one that it refuses could not even be opened.
///
/// # Errors
/// What the codec refuses, such as progression order changes or tiles too large to decode.
pub fn check_decodable(main_header: &[u8]) -> Result<(), CodestreamError> {
    let header = MainHeader::parse(main_header)?;
    TileCodec::new(&CodecConfig::from_header(&header, 0)).map(drop)
}

/// The same prefix, longer: at least `up_to` bytes, and then as much again.
async fn extend(source: &Source, path: &str, have: Fetched, up_to: u64) -> Result<Fetched, FileError> {
    let start = have.bytes.len() as u64;
    let more = source.get_range(path, start..up_to.saturating_add(FIRST_READ).min(have.size.max(up_to))).await?;
    if more.size != have.size || more.etag != have.etag || more.last_modified != have.last_modified {
        return Err(FileError::Changed { path: path.to_owned() });
    }
    let bytes: Bytes = [have.bytes, more.bytes].concat().into();
    if (bytes.len() as u64) < up_to.min(have.size) {
        return Err(FileError::Changed { path: path.to_owned() });
    }
    Ok(Fetched { bytes, ..have })
}

fn first_sot(head: &FileHead, prefix: &[u8]) -> Result<Option<SeenSot>, CodestreamError> {
    let offset = head.first_sot;
    let bytes = usize::try_from(offset).ok().and_then(|at| prefix.get(at..)).filter(|b| b.len() >= SOT_BYTES);
    bytes.map(|bytes| Sot::parse_at(bytes, offset).map(|sot| SeenSot { offset, sot })).transpose()
}

/// The file's own TLM as index, after checking it against the codestream's end and the first SOT.
fn own_index(facts: &FileFacts, mut tlm: TlmTable, path: &str) -> Result<IndexEntry, FileError> {
    let refuse = |reason: String| FileError::Refused { path: path.to_owned(), reason };
    let (first_sot, end) = (facts.head.first_sot, facts.codestream_end());
    let listed: u64 = tlm.entries.iter().map(|e| u64::from(e.length)).sum();
    let open_end = tlm.entries.last().is_some_and(|e| e.length == 0);
    let reaches = first_sot.saturating_add(listed);
    // Behind the last tile-part only EOC follows; a table that ends earlier leaves tile-parts out.
    if reaches > end || (!open_end && end - reaches > 2) {
        return Err(refuse(format!("its TLM reaches to byte {reaches}, its codestream to byte {end}")));
    }
    resolve_open_end(&mut tlm, reaches, facts);
    if let (Some(SeenSot { sot, .. }), Some(first)) = (facts.first_sot, tlm.entries.first()) {
        let same_length = sot.psot == first.length || sot.psot == 0 || first.length == 0;
        if sot.tile != first.tile || !same_length {
            return Err(refuse(format!(
                "its TLM begins with tile {} of {} bytes, its first SOT with tile {} of {} bytes",
                first.tile, first.length, sot.tile, sot.psot
            )));
        }
    }
    Ok(IndexEntry { file_size: facts.file_size, first_sot, tlm })
}

/// A last length of 0 ("to the end of the codestream") is given its number where more boxes follow, since an index
/// knows the end of the file only.
pub(super) fn resolve_open_end(tlm: &mut TlmTable, start: u64, facts: &FileFacts) {
    let end = facts.codestream_end();
    if end != facts.file_size
        && let Some(last) = tlm.entries.last_mut().filter(|e| e.length == 0)
        && let Ok(length) = u32::try_from(end.saturating_sub(start))
    {
        last.length = length;
    }
}
