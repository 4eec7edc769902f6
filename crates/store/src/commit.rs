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
use icechunk::repository::{RepositoryError, RepositoryErrorKind, VersionInfo};
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

use crate::config::{self, MANIFEST_SPLIT};
use crate::error::{Error, Result, one_line};
use crate::plan::{ArrayReferences, LAYOUT_VERSION, STAMP, StorePlan, StoreStamp};
use crate::progress::{Phase, Progress};
use crate::target::Target;
use crate::unfinished::Unfinished;

/// What is written beside each reference so that a reader notices a changed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChecksumPolicy {
    /// The ETag wherever it is known; the modification time of local files.
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

/// What a place holds.
enum Existing {
    Nothing,
    Repository(Box<Repository>),
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

async fn existing(target: &Target, tile: MgrsTile, level: Level) -> Result<Existing> {
    let failed = |error: RepositoryError| icechunk_error("opening the store", target.url(), &error);
    target.probe().await?;
    let storage = target.storage();
    if !Repository::exists(Arc::clone(&storage), None).await.map_err(failed)? {
        if let Some(root) = target.url().local_root() {
            let occupied = match std::fs::read_dir(&root) {
                Ok(mut entries) => entries.next().is_some(),
                Err(error) => error.kind() != std::io::ErrorKind::NotFound,
            };
            if occupied {
                return Err(Error::Occupied { url: target.url().to_string() });
            }
        }
        return Ok(Existing::Nothing);
    }
    let repository = Repository::open(storage).execute().await.map_err(failed)?;
    let stamp = read_stamp(&repository, target.url()).await?;
    let url = target.url().to_string();
    match stamp {
        Found::Empty => {}
        Found::Foreign => return Err(Error::Foreign { url }),
        Found::Stamp(stamp) if stamp.layout > LAYOUT_VERSION => {
            return Err(Error::Newer { url, writer: stamp.writer, found: stamp.layout, known: LAYOUT_VERSION });
        }
        Found::Stamp(stamp) => {
            let (found, wanted) = (format!("{} {}", stamp.tile, stamp.level), format!("{tile} {level}"));
            if found != wanted {
                return Err(Error::OtherTile { url, found, wanted });
            }
        }
    }
    Ok(Existing::Repository(Box::new(repository)))
}

/// What the root of `main` says.
pub(crate) enum Found {
    /// No root group: a repository that was made and never written.
    Empty,
    /// Written by another tool.
    Foreign,
    /// Ours.
    Stamp(Box<StoreStamp>),
}

pub(crate) async fn read_stamp(repository: &Repository, url: &SourceUrl) -> Result<Found> {
    let version = VersionInfo::BranchTipRef("main".to_owned());
    let session = repository
        .readonly_session(&version)
        .await
        .map_err(|error| icechunk_error("opening branch main", url, &error))?;
    let Ok(root) = session.get_group(&Path::root()).await else {
        let mut nodes = session
            .list_nodes(&Path::root())
            .await
            .map_err(|error| icechunk_error("listing the store", url, &error))?;
        return Ok(if nodes.next().is_some() { Found::Foreign } else { Found::Empty });
    };
    let document: serde_json::Value = serde_json::from_slice(&root.user_data)
        .map_err(|error| Error::Damaged { url: url.to_string(), detail: error.to_string() })?;
    match document.get("attributes").and_then(|attributes| attributes.get(STAMP)) {
        None => Ok(Found::Foreign),
        Some(stamp) => serde_json::from_value(stamp.clone())
            .map(|stamp| Found::Stamp(Box::new(stamp)))
            .map_err(|error| Error::Damaged { url: url.to_string(), detail: error.to_string() }),
    }
}

async fn create(target: &Target, options: &WriteOptions) -> Result<Repository> {
    let spec = match options.spec {
        Spec::V1 => SpecVersionBin::V1,
        Spec::V2 => SpecVersionBin::V2,
    };
    let persisted = config::repository(options.container.clone())?;
    let created = Repository::create(target.storage()).spec_version(spec).config(persisted).execute().await;
    let repository = created.map_err(|error| match error.kind {
        RepositoryErrorKind::ParentDirectoryNotClean => Error::Occupied { url: target.url().to_string() },
        _ => icechunk_error("creating the store", target.url(), &error),
    })?;
    for_writing(repository, target.url()).await
}

/// Opens an existing repository for writing; its containers are completed by this run's.
async fn adopt(target: &Target, repository: Repository, options: &WriteOptions) -> Result<Repository> {
    let failed = |error: RepositoryError| icechunk_error("updating the configuration", target.url(), &error);
    let mut wanted = config::repository(options.container.clone())?;
    let mut containers = repository.config().virtual_chunk_containers.clone().unwrap_or_default();
    containers.retain(|_, container| container.name() != options.container.name());
    containers.extend(wanted.virtual_chunk_containers.take().unwrap_or_default());
    wanted.virtual_chunk_containers = Some(containers);
    let changed = wanted.virtual_chunk_containers != repository.config().virtual_chunk_containers
        || wanted.manifest != repository.config().manifest;
    let repository = repository.reopen(Some(wanted), None).await.map_err(failed)?;
    if changed {
        repository.save_config().await.map_err(failed)?;
    }
    for_writing(repository, target.url()).await
}

async fn for_writing(repository: Repository, url: &SourceUrl) -> Result<Repository> {
    let runtime = config::for_writing(repository.config().clone());
    repository.reopen(Some(runtime), None).await.map_err(|error| icechunk_error("opening the store", url, &error))
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
        deleted.map_err(|e| self.failed("deleting the run's branch", &e))?;
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
            ChecksumPolicy::Etag if !local => {
                raster.etag.as_ref().map(|etag| Checksum::ETag(icechunk::storage::ETag(etag.to_string())))
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

pub(crate) fn icechunk_error(what: &'static str, url: &SourceUrl, error: &(dyn std::error::Error + 'static)) -> Error {
    Error::Icechunk { what, url: url.to_string(), detail: one_line(error) }
}
