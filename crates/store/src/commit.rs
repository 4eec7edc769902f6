//! Writes a plan: aligned windows of time steps on a branch of the run's own, then one step of `main`.

use std::sync::Arc;

use bytes::Bytes;
use icechunk::Repository;
use icechunk::Store;
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::manifest::{
    Checksum, SecondsSinceEpoch, VirtualChunkLocation, VirtualChunkRef, VirtualReferenceError,
};
use icechunk::format::snapshot::SnapshotProperties;
use icechunk::format::{ChunkIndices, Path, SnapshotId};
use icechunk::repository::{RepositoryError, RepositoryErrorKind};
use icechunk::session::Session;
use icechunk::store::SetVirtualRefsResult;
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::chunk::Chunk;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::manifest::RasterFile;
use s2ice_manifest::source::location::SourceUrl;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::RwLock;

use crate::config::MANIFEST_SPLIT;
use crate::error::{Error, Result, icechunk_error, one_line};
use crate::plan::{ArrayReferences, StorePlan};
use crate::progress::{Phase, Progress};
use crate::repository::{Existing, adopt, create, existing};
use crate::target::Target;
use crate::unfinished::Unfinished;

/// What is written beside each reference so that a reader notices a changed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumPolicy {
    /// The ETag wherever it is known, else the modification time; of local files always that.
    #[default]
    Etag,
    /// The modification time: no bytes newer than this.
    Modified,
    /// Nothing: a changed file is read without notice.
    None,
}

/// Version of the Icechunk format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spec {
    /// Read by every version of Icechunk.
    V1,
    /// Needs readers with Icechunk 2.0 or newer.
    #[default]
    V2,
}

/// How to write.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Checksums of references.
    pub checksum: ChecksumPolicy,
    /// Format of a new repository.
    pub spec: Spec,
    /// Name that no other run has; the branch is named by it.
    pub run: String,
    /// The container behind the references.
    pub container: VirtualChunkContainer,
    /// Concurrent requests of a commit.
    pub concurrency: usize,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Snapshot that `main` points to now.
    pub snapshot: String,
    /// References written.
    pub references: u64,
    /// Bytes they stand for.
    pub referenced_bytes: u64,
    /// Commits on the run's branch.
    pub commits: u64,
    /// True where the repository is new.
    pub created: bool,
}

/// Checks that the place can take the store of a tile, without writing.
///
/// # Errors
/// The place cannot be reached or holds something else, another tile's store, or a store of a newer layout.
pub async fn check(target: &Target, tile: MgrsTile, level: Level) -> Result<()> {
    existing(target, tile, level).await.map(drop)
}

/// Writes the plan and moves `main` to it in one step. The caller holds the lock of a local target.
///
/// # Errors
/// As [`check`]; [`Error::Conflict`] where another writer moved `main` meanwhile; [`Error::Icechunk`]. A repository made
/// by this call is removed when it fails.
pub async fn write(
    target: &Target,
    plan: &StorePlan,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<Written> {
    let (repository, created) = match existing(target, plan.tile, plan.level).await? {
        Existing::Nothing => (create(target, options).await?, true),
        Existing::Repository(repository) => (adopt(target, *repository, options).await?, false),
    };
    let main = repository
        .lookup_branch("main")
        .await
        .map_err(|error| icechunk_error("reading branch main", target.url(), &error))?;
    let branch = format!("s2ice-{}", options.run);
    let unfinished = Unfinished::new(target, branch.clone(), created.then(|| main.clone()));
    let writer = Writer { repository, url: target.url(), branch, main, plan, options, progress };
    match writer.run().await {
        Ok(written) => {
            unfinished.done();
            Ok(Written { created, ..written })
        }
        Err(error) => {
            unfinished.remove().await;
            Err(error)
        }
    }
}

struct Writer<'a> {
    repository: Repository,
    url: &'a SourceUrl,
    /// The run's own branch.
    branch: String,
    /// What `main` pointed to when the run began.
    main: SnapshotId,
    plan: &'a StorePlan,
    options: &'a WriteOptions,
    progress: &'a dyn Progress,
}

impl Writer<'_> {
    async fn run(&self) -> Result<Written> {
        let branch = &self.branch;
        self.repository
            .create_branch(branch, &self.main)
            .await
            .map_err(|e| self.failed("creating the run's branch", &e))?;
        let outcome = self.write_branch(branch, &self.main).await;
        let outcome = match outcome {
            Ok(written) => self.promote(&self.main, &written).await.map(|()| written),
            Err(error) => Err(error),
        };
        // The branch has served its purpose, or is of no use; either way only gc would miss it.
        let deleted = self.repository.delete_branch(branch).await;
        let (snapshot, written) = outcome?;
        if let Err(error) = deleted {
            let detail = one_line(&error);
            tracing::warn!("the store is published, but the run's branch {branch} could not be deleted: {detail}");
        }
        Ok(Written { snapshot: snapshot.to_string(), ..written })
    }

    async fn write_branch(&self, branch: &str, main: &SnapshotId) -> Result<(SnapshotId, Written)> {
        let mut tip = main.clone();
        let mut total =
            Written { snapshot: String::new(), references: 0, referenced_bytes: 0, commits: 0, created: false };
        self.progress.begin(Phase::References, Some(self.plan.references()));
        let steps = self.plan.steps.len();
        let window = MANIFEST_SPLIT as usize;
        for start in (0..steps.max(1)).step_by(window) {
            let end = steps.min(start + window);
            let mut session = self
                .repository
                .writable_session(branch)
                .await
                .map_err(|e| self.failed("opening the run's branch", &e))?;
            if start == 0 {
                session.clear().await.map_err(|e| self.failed("clearing the run's branch", &e))?;
            }
            let session = Arc::new(RwLock::new(session));
            let store = Store::from_session(Arc::clone(&session)).await;
            if start == 0 {
                self.write_nodes(&store).await?;
            }
            for array in &self.plan.arrays {
                let (count, bytes) = self.write_window(&store, array, start..end).await?;
                total.references += count;
                total.referenced_bytes += bytes;
                self.progress.advance(count);
            }
            tip = self.commit(&session, start, end, &total).await?;
            total.commits += 1;
        }
        self.progress.end();
        Ok((tip, total))
    }

    async fn write_nodes(&self, store: &Store) -> Result<()> {
        for node in &self.plan.nodes {
            let document = serde_json::to_vec(&node.document).unwrap_or_default();
            store.set(&node.key(), Bytes::from(document)).await.map_err(|e| self.failed("writing metadata", &e))?;
        }
        for (key, bytes) in &self.plan.chunks {
            store.set(key, Bytes::from(bytes.clone())).await.map_err(|e| self.failed("writing a coordinate", &e))?;
        }
        Ok(())
    }

    async fn write_window(
        &self,
        store: &Store,
        array: &ArrayReferences,
        steps: std::ops::Range<usize>,
    ) -> Result<(u64, u64)> {
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
            let indices = if has_components { vec![time, 0, row, column] } else { vec![time, row, column] };
            let reference = VirtualChunkRef {
                location: location.clone(),
                offset: range.offset(),
                length: range.length(),
                checksum: checksum.clone(),
            };
            out.push((ChunkIndices(indices), reference));
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
        // Icechunk takes the quotes off an ETag before it compares, and the ETags of local files have quotes: they
        // would never match. A local file is told by its modification time.
        let local = self.options.container.url_prefix().starts_with("file:");
        match self.options.checksum {
            // Web servers may send no ETag.
            ChecksumPolicy::Etag if !local => {
                let etag = raster.etag.as_ref().map(|etag| Checksum::ETag(icechunk::storage::ETag(etag.to_string())));
                etag.or_else(modified)
            }
            ChecksumPolicy::Etag | ChecksumPolicy::Modified => modified(),
            ChecksumPolicy::None => None,
        }
    }

    async fn commit(
        &self,
        session: &Arc<RwLock<Session>>,
        start: usize,
        end: usize,
        total: &Written,
    ) -> Result<SnapshotId> {
        let plan = self.plan;
        let last = end == plan.steps.len();
        let message = if last {
            let count = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
            format!(
                "Build {} {}: {}, {}, {} references",
                plan.tile,
                plan.level,
                count(plan.steps.len(), "product"),
                count(plan.arrays.len(), "array"),
                total.references
            )
        } else {
            format!("Build {} {}: products {} to {end} of {}", plan.tile, plan.level, start + 1, plan.steps.len())
        };
        let time = |step: Option<&s2ice_manifest::assemble::Step>| step.map(|s| s.time_ms);
        let properties: SnapshotProperties = [
            ("s2ice:writer", json!(plan.stamp.writer)),
            ("s2ice:tile", json!(plan.stamp.tile)),
            ("s2ice:level", json!(plan.stamp.level)),
            ("s2ice:products", json!(plan.steps.len())),
            ("s2ice:references", json!(total.references)),
            ("s2ice:referenced_bytes", json!(total.referenced_bytes)),
            ("s2ice:first_time_ms", json!(time(plan.steps.first()))),
            ("s2ice:last_time_ms", json!(time(plan.steps.last()))),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        let mut guard = session.write().await;
        guard
            .commit(message)
            .properties(properties)
            .max_concurrent_nodes(self.options.concurrency)
            .allow_empty(true)
            .execute()
            .await
            .map_err(|e| self.failed("committing", &e))
    }

    /// The one step that readers see.
    async fn promote(&self, main: &SnapshotId, written: &(SnapshotId, Written)) -> Result<()> {
        match self.repository.reset_branch("main", &written.0, Some(main)).await {
            Ok(()) => Ok(()),
            Err(RepositoryError { kind: RepositoryErrorKind::Conflict { .. }, .. }) => {
                Err(Error::Conflict { url: self.url.to_string() })
            }
            Err(error) => Err(self.failed("moving branch main", &error)),
        }
    }

    fn failed(&self, what: &'static str, error: &(dyn std::error::Error + 'static)) -> Error {
        icechunk_error(what, self.url, error)
    }
}
