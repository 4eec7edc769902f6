//! Writes a plan: aligned windows of time steps on a branch of the run's own, then one step of `main`.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use icechunk::Store;
use icechunk::format::SnapshotId;
use icechunk::format::snapshot::SnapshotProperties;
use icechunk::repository::{RepositoryError, RepositoryErrorKind};
use icechunk::session::Session;
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::ids::{Level, MgrsTile};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use crate::config::MANIFEST_SPLIT;
use crate::error::{Error, Result, icechunk_error, one_line};
use crate::plan::StorePlan;
use crate::progress::{Phase, Progress};
use crate::repository::{Existing, adopt, create, existing};
use crate::target::Target;
use crate::unfinished::Unfinished;
use crate::window::{Filled, Windows};

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
    plan: StorePlan,
    options: WriteOptions,
    progress: &dyn Progress,
) -> Result<Written> {
    let (repository, created) = match existing(target, plan.tile, plan.level).await? {
        Existing::Nothing => (create(target, &options).await?, true),
        Existing::Repository(repository) => (adopt(target, *repository, &options).await?, false),
    };
    let main = repository
        .lookup_branch("main")
        .await
        .map_err(|error| icechunk_error("reading branch main", target.url(), &error))?;
    let branch = format!("s2ice-{}", options.run);
    let unfinished = Unfinished::new(target, branch.clone(), created.then(|| main.clone()));
    let windows = Windows {
        repository: Arc::new(repository),
        url: target.url().clone(),
        branch,
        plan: Arc::new(plan),
        options: Arc::new(options),
    };
    let writer = Writer { windows, main, progress };
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
    windows: Windows,
    /// What `main` pointed to when the run began.
    main: SnapshotId,
    progress: &'a dyn Progress,
}

impl Writer<'_> {
    async fn run(&self) -> Result<Written> {
        let Windows { branch, repository, .. } = &self.windows;
        let branched = repository.create_branch(branch, &self.main).await;
        branched.map_err(|e| self.windows.failed("creating the run's branch", &e))?;
        let outcome = self.write_branch().await;
        let outcome = match outcome {
            Ok(written) => self.promote(&self.main, &written).await.map(|()| written),
            Err(error) => Err(error),
        };
        // The branch has served its purpose, or is of no use; either way only gc would miss it.
        let deleted = repository.delete_branch(branch).await;
        let (snapshot, written) = outcome?;
        if let Err(error) = deleted {
            let detail = one_line(&error);
            tracing::warn!("the store is published, but the run's branch {branch} could not be deleted: {detail}");
        }
        Ok(Written { snapshot: snapshot.to_string(), ..written })
    }

    /// Commits window after window; the next one is prepared meanwhile.
    async fn write_branch(&self) -> Result<(SnapshotId, Written)> {
        let mut total =
            Written { snapshot: String::new(), references: 0, referenced_bytes: 0, commits: 0, created: false };
        let plan = &self.windows.plan;
        self.progress.begin(Phase::References, Some(plan.references()));
        let steps = plan.steps.len();
        let length = MANIFEST_SPLIT as usize;
        let window = |start: usize| start..steps.min(start + length);

        let mut session = self.windows.session().await?;
        session.clear().await.map_err(|e| self.windows.failed("clearing the run's branch", &e))?;
        let session = self.write_nodes(session).await?;
        let mut filled = self.windows.fill(session, window(0)).await?;
        let mut start = 0;
        loop {
            // The arrays are on the branch after the first commit: only then can a window be prepared ahead.
            let following = Some(start + length).filter(|next| start > 0 && *next < steps);
            let ahead = following.map(|next| Ahead(tokio::spawn(self.windows.clone().prepare(window(next)))));
            total.references += filled.references;
            total.referenced_bytes += filled.bytes;
            let tip = self.commit(filled.session, window(start), &total).await?;
            total.commits += 1;
            self.progress.advance(filled.references);
            start += length;
            if start >= steps {
                self.progress.end();
                return Ok((tip, total));
            }
            filled = match ahead {
                None => self.windows.clone().prepare(window(start)).await?,
                Some(ahead) => self.rebase(ahead.finish().await?).await?,
            };
        }
    }

    /// Moves prepared references to a session on the tip of the branch, which a commit has moved meanwhile.
    async fn rebase(&self, filled: Filled) -> Result<Filled> {
        let mut session = self.windows.session().await?;
        session.merge(filled.session).await.map_err(|e| self.windows.failed("joining references", &e))?;
        Ok(Filled { session, ..filled })
    }

    async fn write_nodes(&self, session: Session) -> Result<Session> {
        let shared = Arc::new(RwLock::new(session));
        let store = Store::from_session(Arc::clone(&shared)).await;
        for node in &self.windows.plan.nodes {
            let document =
                serde_json::to_vec(&node.document).map_err(|e| self.windows.failed("writing metadata", &e))?;
            let written = store.set(&node.key(), Bytes::from(document)).await;
            written.map_err(|e| self.windows.failed("writing metadata", &e))?;
        }
        for (key, bytes) in &self.windows.plan.chunks {
            let written = store.set(key, Bytes::from(bytes.clone())).await;
            written.map_err(|e| self.windows.failed("writing a coordinate", &e))?;
        }
        drop(store);
        self.windows.reclaim(shared)
    }

    async fn commit(&self, mut session: Session, steps: Range<usize>, total: &Written) -> Result<SnapshotId> {
        let plan = &self.windows.plan;
        let Range { start, end } = steps;
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
        let commit = session.commit(message).properties(properties).allow_empty(true);
        let commit = commit.max_concurrent_nodes(self.windows.options.concurrency);
        commit.execute().await.map_err(|e| self.windows.failed("committing", &e))
    }

    /// The one step that readers see.
    async fn promote(&self, main: &SnapshotId, written: &(SnapshotId, Written)) -> Result<()> {
        match self.windows.repository.reset_branch("main", &written.0, Some(main)).await {
            Ok(()) => Ok(()),
            Err(RepositoryError { kind: RepositoryErrorKind::Conflict { .. }, .. }) => {
                Err(Error::Conflict { url: self.windows.url.to_string() })
            }
            Err(error) => Err(self.windows.failed("moving branch main", &error)),
        }
    }
}

/// A window under preparation; given up where the run ends before it is needed.
struct Ahead(JoinHandle<Result<Filled>>);

impl Ahead {
    async fn finish(mut self) -> Result<Filled> {
        (&mut self.0).await.map_err(|error| Error::Input(format!("preparing references failed: {error}")))?
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}
