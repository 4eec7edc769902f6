//! The references of one window of time steps, put into a session of its own.
//!
//! A window is prepared while the one before it is committed: both are work for a processor, and there are at least two.

use std::ops::Range;
use std::sync::Arc;

use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::manifest::{
    Checksum, SecondsSinceEpoch, VirtualChunkLocation, VirtualChunkRef, VirtualReferenceError,
};
use icechunk::format::{ChunkIndices, Path};
use icechunk::session::Session;
use icechunk::store::SetVirtualRefsResult;
use icechunk::{Repository, Store};
use s2ice_manifest::chunk::{Chunk, indices};
use s2ice_manifest::manifest::RasterFile;
use s2ice_manifest::source::location::SourceUrl;
use tokio::sync::RwLock;

use crate::commit::{ChecksumPolicy, WriteOptions};
use crate::error::{Error, Result, icechunk_error};
use crate::plan::{ArrayReferences, StorePlan};

/// Fills sessions on the run's branch.
#[derive(Clone)]
pub(crate) struct Windows {
    pub(crate) repository: Arc<Repository>,
    pub(crate) url: SourceUrl,
    /// The run's own branch.
    pub(crate) branch: String,
    pub(crate) plan: Arc<StorePlan>,
    pub(crate) options: Arc<WriteOptions>,
}

/// A session with the references of a window.
pub(crate) struct Filled {
    pub(crate) session: Session,
    /// How many references.
    pub(crate) references: u64,
    /// The bytes they stand for.
    pub(crate) bytes: u64,
}

impl Windows {
    /// A session on the tip of the run's branch.
    pub(crate) async fn session(&self) -> Result<Session> {
        let session = self.repository.writable_session(&self.branch).await;
        session.map_err(|error| self.failed("opening the run's branch", &error))
    }

    /// A new session with the references of these time steps. The arrays must be on the branch.
    pub(crate) async fn prepare(self, steps: Range<usize>) -> Result<Filled> {
        let session = self.session().await?;
        self.fill(session, steps).await
    }

    /// Puts the references of these time steps into a session.
    pub(crate) async fn fill(&self, session: Session, steps: Range<usize>) -> Result<Filled> {
        let shared = Arc::new(RwLock::new(session));
        let store = Store::from_session(Arc::clone(&shared)).await;
        let (mut references, mut bytes) = (0, 0);
        for array in &self.plan.arrays {
            let (count, size) = self.fill_array(&store, array, steps.clone()).await?;
            references += count;
            bytes += size;
        }
        drop(store);
        Ok(Filled { session: self.reclaim(shared)?, references, bytes })
    }

    /// The session back from a store that is done with it.
    pub(crate) fn reclaim(&self, shared: Arc<RwLock<Session>>) -> Result<Session> {
        Arc::into_inner(shared)
            .map(RwLock::into_inner)
            .ok_or_else(|| Error::Damaged { url: self.url.to_string(), detail: "a session is still in use".to_owned() })
    }

    async fn fill_array(&self, store: &Store, array: &ArrayReferences, steps: Range<usize>) -> Result<(u64, u64)> {
        let mut references = Vec::new();
        let mut bytes = 0;
        for step in steps {
            let Some(raster) = array.manifest.rasters.get(step).and_then(Option::as_ref) else { continue };
            let time = u32::try_from(step).unwrap_or(u32::MAX);
            bytes += self.references(raster, array.has_components, time, &mut references)?;
        }
        if references.is_empty() {
            return Ok((0, 0));
        }
        let count = references.len() as u64;
        let path: Path = array.path.as_str().try_into().map_err(|_| Error::Damaged {
            url: self.url.to_string(),
            detail: format!("{} is no path of an array", array.path),
        })?;
        // The prefix of every location was checked when its path was joined to the source; checking each reference
        // again would triple the time.
        match store.set_virtual_refs(&path, false, references).await {
            Ok(SetVirtualRefsResult::Done) => Ok((count, bytes)),
            Ok(SetVirtualRefsResult::FailedRefs(refused)) => {
                Err(Error::RefusedReferences { array: array.path.clone(), count: refused.len() })
            }
            Err(error) => Err(self.failed("writing references", &error)),
        }
    }

    /// Appends the references of one raster; returns the bytes they stand for.
    fn references(
        &self,
        raster: &RasterFile,
        has_components: bool,
        time: u32,
        out: &mut Vec<(ChunkIndices, VirtualChunkRef)>,
    ) -> Result<u64> {
        let location = self.location(&raster.path).map_err(|error| self.failed("naming a reference", &error))?;
        let checksum = self.checksum(raster);
        let mut bytes = 0;
        out.reserve(raster.tiles.len());
        for (row, column, chunk) in raster.chunks() {
            let Chunk::Range(range) = chunk else { continue };
            bytes += range.length();
            let reference = VirtualChunkRef {
                location: location.clone(),
                offset: range.offset(),
                length: range.length(),
                checksum: checksum.clone(),
            };
            out.push((ChunkIndices(indices(has_components, time, row, column)), reference));
        }
        Ok(bytes)
    }

    /// Readers before Icechunk 2 know no locations relative to a container.
    fn location(&self, path: &str) -> std::result::Result<VirtualChunkLocation, VirtualReferenceError> {
        let container = &self.options.container;
        match container.name() {
            Some(name) if self.repository.spec_version() >= SpecVersionBin::V2 => {
                VirtualChunkLocation::from_vcc_path(name, path)
            }
            _ => VirtualChunkLocation::from_url(&format!("{}{path}", container.url_prefix())),
        }
    }

    fn checksum(&self, raster: &RasterFile) -> Option<Checksum> {
        let modified = || {
            let time = raster.last_modified?;
            // HTTP dates have whole seconds: round up, or the file itself would count as newer.
            let seconds = time.timestamp() + i64::from(time.timestamp_subsec_nanos() > 0);
            u32::try_from(seconds).ok().map(|s| Checksum::LastModified(SecondsSinceEpoch(s)))
        };
        let etag = || raster.etag.as_ref().map(|etag| Checksum::ETag(icechunk::storage::ETag(etag.to_string())));
        // Icechunk takes the quotes off an ETag before it compares or sends it. S3 takes it so; the ETags of local files
        // have quotes and would never match, and a strict web server refuses it (RFC 9110, 13.1.1): both are told by
        // the modification time.
        let scheme = self.options.container.url_prefix().split(':').next();
        match self.options.checksum {
            ChecksumPolicy::Etag if scheme == Some("file") => modified(),
            ChecksumPolicy::Etag if matches!(scheme, Some("http" | "https")) => modified().or_else(etag),
            ChecksumPolicy::Etag => etag().or_else(modified),
            ChecksumPolicy::Modified => modified(),
            ChecksumPolicy::None => None,
        }
    }

    pub(crate) fn failed(&self, what: &'static str, error: &(dyn std::error::Error + 'static)) -> Error {
        icechunk_error(what, &self.url, error)
    }
}
