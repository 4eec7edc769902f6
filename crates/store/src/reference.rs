//! How a raster's tiles are written as virtual references: where they point and what readers check them against.

use chrono::{DateTime, Utc};
use icechunk::format::manifest::{
    Checksum, SecondsSinceEpoch, VirtualChunkLocation, VirtualChunkRef, VirtualReferenceError,
};
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::chunk::Chunk;
use s2ice_manifest::manifest::{Placement, RasterFile};
use s2ice_manifest::source::location::Listed;
use s2ice_manifest::source::version::same_etag;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::held::{HeldReference, absolute};

/// What is written beside each reference so that a reader notices a changed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumPolicy {
    /// The ETag wherever it is known, else the modification time; that first on local disks and web servers.
    #[default]
    Etag,
    /// The modification time: no bytes newer than this.
    Modified,
    /// Nothing: a changed file is read without notice.
    None,
}

/// What decides of the references to a file.
#[derive(Debug, Clone)]
pub struct Referencing {
    /// The container behind them.
    pub container: VirtualChunkContainer,
    /// What readers check.
    pub checksum: ChecksumPolicy,
    /// True for locations relative to the container, which readers before Icechunk 2 do not know.
    pub relative: bool,
}

impl Referencing {
    /// Where the references to a file point; `path` is below the source, percent-encoded.
    ///
    /// # Errors
    /// Icechunk refuses the path.
    pub fn location(&self, path: &str) -> Result<VirtualChunkLocation, VirtualReferenceError> {
        match self.container.name() {
            Some(name) if self.relative => VirtualChunkLocation::from_vcc_path(name, path),
            _ => VirtualChunkLocation::from_url(&format!("{}{path}", self.container.url_prefix())),
        }
    }

    /// What a reader checks a file against.
    pub fn checksum(&self, raster: &RasterFile) -> Option<Checksum> {
        let modified = || seconds(raster.last_modified?).map(Checksum::LastModified);
        let etag = || raster.etag.as_ref().map(|etag| Checksum::ETag(icechunk::storage::ETag(etag.to_string())));
        // Icechunk takes the quotes off an ETag before it compares or sends it. S3 takes it so; the ETags of local files
        // have quotes and would never match, and a strict web server refuses it (RFC 9110, 13.1.1): both are told by
        // the modification time.
        let scheme = self.container.url_prefix().split(':').next();
        match self.checksum {
            ChecksumPolicy::Etag if scheme == Some("file") => modified(),
            ChecksumPolicy::Etag if matches!(scheme, Some("http" | "https")) => modified().or_else(etag),
            ChecksumPolicy::Etag => etag().or_else(modified),
            ChecksumPolicy::Modified => modified(),
            ChecksumPolicy::None => None,
        }
    }

    /// Fingerprint of the references to a file.
    ///
    /// # Errors
    /// As [`Referencing::location`].
    pub fn fingerprint(&self, raster: &RasterFile) -> Result<i64, VirtualReferenceError> {
        let placement_facts = (raster.asset.name(), raster.header.fingerprint.as_str());
        let ranges = raster.chunks().filter_map(|(row, column, chunk)| match chunk {
            Chunk::Range(range) => Some((row, column, range.offset(), range.length())),
            Chunk::Missing => None,
        });
        let (location, checksum) = (self.location(&raster.path)?, self.checksum(raster));
        let prefix = |name: &str| (self.container.name() == Some(name)).then(|| self.container.url_prefix().to_owned());
        Ok(fingerprint(placement_facts, Some((absolute(location.url(), prefix), checksum.as_ref())), ranges))
    }
}

/// A time as references hold it. HTTP dates have whole seconds: rounded up, or the file itself would count as newer.
fn seconds(time: DateTime<Utc>) -> Option<SecondsSinceEpoch> {
    u32::try_from(time.timestamp() + i64::from(time.timestamp_subsec_nanos() > 0)).ok().map(SecondsSinceEpoch)
}

/// True where a file is not the one that a reference was made of, an older one included; readers notice newer ones only.
pub(crate) fn is_another_version(reference: &VirtualChunkRef, file: &Listed) -> bool {
    match (&reference.checksum, &file.etag, file.last_modified) {
        (Some(Checksum::ETag(then)), Some(now), _) => !same_etag(&then.0, now),
        (Some(Checksum::LastModified(then)), _, Some(now)) => seconds(now).is_some_and(|now| now != *then),
        _ => false,
    }
}

/// Fingerprint of references that a store holds: that of the file which they were written from. `prefix` gives that of a
/// container.
pub(crate) fn held_fingerprint(
    raster: &Placement,
    held: &[HeldReference],
    prefix: impl Fn(&str) -> Option<String>,
) -> i64 {
    let asset = raster.asset().name();
    let first = held.first().map(|h| (absolute(h.reference.location.url(), prefix), h.reference.checksum.as_ref()));
    let ranges = held.iter().map(|h| (h.row, h.column, h.reference.offset, h.reference.length));
    fingerprint((asset, raster.header().fingerprint.as_str()), first, ranges)
}

fn fingerprint(
    (asset, header): (String, &str),
    file: Option<(String, Option<&Checksum>)>,
    ranges: impl Iterator<Item = (u32, u32, u64, u64)>,
) -> i64 {
    let mut bytes = format!("{asset}\n{header}\n").into_bytes();
    let mut any = false;
    for (row, column, offset, length) in ranges {
        bytes.extend(row.to_le_bytes());
        bytes.extend(column.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        any = true;
    }
    // A raster of nothing but nodata has no reference that could tell its file.
    if let (Some((location, checksum)), true) = (file, any) {
        bytes.extend(format!("{location}\n{checksum:?}").into_bytes());
    }
    let digest = Sha256::digest(&bytes);
    digest.first_chunk::<8>().map_or(0, |head| i64::from_le_bytes(*head))
}
