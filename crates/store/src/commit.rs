//! Makes a store hold what a plan says: aligned windows of time steps on a branch of the run's own, then one step of
//! `main`.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::snapshot::SnapshotProperties;
use icechunk::format::{Path, SnapshotId};
use icechunk::session::Session;
use icechunk::virtual_chunks::VirtualChunkContainer;
use icechunk::{Repository, Store};
use s2ice_manifest::ids::{Level, MgrsTile};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use crate::error::{Error, Result, icechunk_error, one_line};
use crate::gate::{self, GateOptions, GateReport};
use crate::held::HeldStore;
use crate::housekeeping::{is_moved, remove_stale_branches, tag_published};
use crate::plan::{Node, StorePlan};
use crate::progress::{Phase, Progress};
use crate::reference::Referencing;
use crate::repository::{Existing, adopt, create, existing};
use crate::state::{self, StoreState};
use crate::target::Target;
use crate::unfinished::Unfinished;
use crate::update::update;
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
    /// Message of the commit that is published.
    pub message: String,
    /// The clock, for the tag of the published state.
    pub clock: fn() -> DateTime<Utc>,
    /// What is checked before the state is published.
    pub gate: GateOptions,
}

impl WriteOptions {
    /// How references are written to a repository whose format knows `relative` locations.
    pub(crate) fn referencing(&self, relative: bool) -> Referencing {
        Referencing { container: self.container.clone(), checksum: self.checksum, relative }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Snapshot that `main` points to now.
    pub snapshot: String,
    /// References written from files.
    pub references: u64,
    /// References moved to another time step.
    pub moved: u64,
    /// Commits on the run's branch.
    pub commits: u64,
    /// True where the repository is new.
    pub created: bool,
    /// The tag of the published state; absent where tagging failed, which the next run makes up for.
    pub tag: Option<String>,
    /// What was checked before.
    pub gate: GateReport,
}

/// What is at the place of a store.
#[derive(Default)]
pub struct Loaded {
    repository: Option<Repository>,
    /// What `main` points to; absent where there is no repository.
    main: Option<SnapshotId>,
    /// What it holds; absent where nothing was published yet.
    pub state: Option<Arc<StoreState>>,
    held: Option<Arc<HeldStore>>,
}

impl Loaded {
    /// True where the repository knows locations relative to a container; a new one is of the format `spec`.
    pub fn knows_relative(&self, spec: Spec) -> bool {
        let known = self.repository.as_ref().map(|repository| repository.spec_version() >= SpecVersionBin::V2);
        known.unwrap_or(spec == Spec::V2)
    }

    /// The references that the store holds, opened when first asked for.
    pub(crate) async fn held(&mut self, target: &Target) -> Result<Option<Arc<HeldStore>>> {
        if let (None, Some(state), Some(repository)) = (&self.held, &self.state, &self.repository) {
            self.held = Some(Arc::new(HeldStore::open(target, repository, Arc::clone(state)).await?));
        }
        Ok(self.held.clone())
    }

    /// Deletes branches of runs that were killed, and tags what a killed run had published.
    ///
    /// # Errors
    /// [`Error::Icechunk`].
    pub async fn clean_up(&self, target: &Target, older_than: DateTime<Utc>) -> Result<Vec<String>> {
        let Some(repository) = &self.repository else { return Ok(Vec::new()) };
        let removed = remove_stale_branches(repository, target.url(), None, older_than).await?;
        if let Some(state) = &self.state {
            tag_published(repository, target.url(), &state.snapshot, state.flushed_at).await?;
        }
        Ok(removed)
    }
}

/// Reads what is at the place of a tile's store, without writing.
///
/// # Errors
/// The place cannot be reached or holds something else, another tile's store, or a store of another layout.
pub async fn load(target: &Target, tile: MgrsTile, level: Level) -> Result<Loaded> {
    match existing(target, tile, level).await? {
        Existing::Nothing => Ok(Loaded::default()),
        Existing::Empty(repository) => {
            let main = repository.lookup_branch("main").await;
            let main = main.map_err(|error| icechunk_error("reading branch main", target.url(), &error))?;
            Ok(Loaded { repository: Some(*repository), main: Some(main), state: None, held: None })
        }
        Existing::Store(repository, stamp) => {
            let state = state::load(&repository, target.url(), *stamp).await?;
            let main = Some(state.snapshot.clone());
            Ok(Loaded { repository: Some(*repository), main, state: Some(Arc::new(state)), held: None })
        }
    }
}

/// Makes a store hold what the plan says and moves `main` to it in one step. The caller holds the lock of a local target.
/// `None` where it does so already.
///
/// # Errors
/// As [`load`]; [`Error::Conflict`] where another writer moved `main` meanwhile; [`Error::Icechunk`]. A local repository
/// made by this call is removed when it fails.
pub async fn write(
    target: &Target,
    mut loaded: Loaded,
    plan: StorePlan,
    options: WriteOptions,
    progress: &dyn Progress,
) -> Result<Option<Written>> {
    let update = update(loaded.state.as_deref(), &plan).map_err(Error::Encode)?;
    if update.is_empty() {
        return Ok(None);
    }
    let held = if update.reads_held { loaded.held(target).await? } else { None };
    let (repository, main, created) = match (loaded.repository, loaded.main) {
        (Some(repository), Some(main)) => (adopt(target, repository, &options).await?, main, false),
        _ => {
            let repository = create(target, &options).await?;
            let main = repository.lookup_branch("main").await;
            let main = main.map_err(|error| icechunk_error("reading branch main", target.url(), &error))?;
            (repository, main, true)
        }
    };
    let branch = format!("s2ice-{}", options.run);
    let unfinished = Unfinished::new(target, branch.clone(), created.then(|| main.clone()));
    let referencing = options.referencing(repository.spec_version() >= SpecVersionBin::V2);
    let windows = Windows {
        referencing: Arc::new(referencing),
        repository: Arc::new(repository),
        url: target.url().clone(),
        branch,
        plan: Arc::new(plan),
        update: Arc::new(update),
        state: loaded.state,
        held,
        options: Arc::new(options),
    };
    let writer = Writer { windows, main, progress };
    match writer.run().await {
        Ok(written) => {
            unfinished.done();
            Ok(Some(Written { created, ..written }))
        }
        Err(error) => {
            unfinished.remove().await;
            Err(error)
        }
    }
}

struct Writer<'a> {
    windows: Windows,
    /// What `main` pointed to when the plan was made.
    main: SnapshotId,
    progress: &'a dyn Progress,
}

/// What the commits of a run's branch amount to.
#[derive(Default)]
struct Total {
    references: u64,
    moved: u64,
    commits: u64,
}

impl Writer<'_> {
    async fn run(&self) -> Result<Written> {
        let Windows { branch, repository, .. } = &self.windows;
        let branched = repository.create_branch(branch, &self.main).await;
        branched.map_err(|e| self.windows.failed("creating the run's branch", &e))?;
        let outcome = self.write_branch().await;
        let outcome = match outcome {
            Ok((tip, total)) => self.publish(&tip).await.map(|gate| (tip, total, gate)),
            Err(error) => Err(error),
        };
        // The branch has served its purpose, or is of no use; either way only gc would miss it.
        let deleted = repository.delete_branch(branch).await;
        let (snapshot, total, gate) = outcome?;
        if let Err(error) = deleted {
            let detail = one_line(&error);
            tracing::warn!("the store is published, but the run's branch {branch} could not be deleted: {detail}");
        }
        let now = (self.windows.options.clock)();
        let tag = match tag_published(repository, &self.windows.url, &snapshot, now).await {
            Ok(tag) => Some(tag),
            Err(error) => {
                tracing::warn!("the store is published, but not tagged, which the next run makes up for: {error}");
                None
            }
        };
        Ok(Written {
            snapshot: snapshot.to_string(),
            references: total.references,
            moved: total.moved,
            commits: total.commits,
            created: false,
            tag,
            gate,
        })
    }

    /// Commits window after window; the next one is prepared meanwhile.
    async fn write_branch(&self) -> Result<(SnapshotId, Total)> {
        let Windows { plan, update, .. } = &self.windows;
        self.progress.begin(Phase::References, Some(plan.references()));
        let mut total = Total::default();
        let mut session = self.windows.session().await?;
        self.delete_nodes(&mut session).await?;
        let session = self.write_nodes(session, &update.nodes, &update.chunks).await?;
        // Where no reference changes, one commit of an empty window carries the metadata.
        let last = update.windows.len().saturating_sub(1);
        let window = |number: usize| update.windows.get(number).cloned().unwrap_or(0..0);
        let mut filled = self.windows.fill(session, window(0)).await?;
        for number in 0..=last {
            // Arrays are on the branch after the first commit: only then can a window be prepared ahead.
            let following = Some(number + 1).filter(|next| number > 0 && *next <= last);
            let ahead = following.map(|next| Ahead(tokio::spawn(self.windows.clone().prepare(window(next)))));
            total.references += filled.references;
            total.moved += filled.moved;
            let mut session = filled.session;
            if number == last {
                session = self.write_nodes(session, &update.late, &[]).await?;
            }
            let tip = self.commit(session, number, &total).await?;
            total.commits += 1;
            self.progress.advance(filled.references);
            if number == last {
                self.progress.end();
                return Ok((tip, total));
            }
            filled = match ahead {
                None => self.windows.clone().prepare(window(number + 1)).await?,
                Some(ahead) => self.rebase(ahead.finish().await?).await?,
            };
        }
        Err(Error::Damaged { url: self.windows.url.to_string(), detail: "no window was written".to_owned() })
    }

    /// Moves prepared references to a session on the tip of the branch, which a commit has moved meanwhile.
    async fn rebase(&self, filled: Filled) -> Result<Filled> {
        let mut session = self.windows.session().await?;
        session.merge(filled.session).await.map_err(|e| self.windows.failed("joining references", &e))?;
        Ok(Filled { session, ..filled })
    }

    async fn delete_nodes(&self, session: &mut Session) -> Result<()> {
        for node in &self.windows.update.gone {
            let path: Path = format!("/{}", node.path).as_str().try_into().map_err(|_| Error::Damaged {
                url: self.windows.url.to_string(),
                detail: format!("/{} is no path of a node", node.path),
            })?;
            let is_array = node.document.get("node_type").and_then(serde_json::Value::as_str) == Some("array");
            let deleted = if is_array { session.delete_array(path).await } else { session.delete_group(path).await };
            deleted.map_err(|e| self.windows.failed("deleting an array", &e))?;
        }
        Ok(())
    }

    async fn write_nodes(&self, session: Session, nodes: &[Node], chunks: &[(String, Vec<u8>)]) -> Result<Session> {
        let shared = Arc::new(RwLock::new(session));
        let store = Store::from_session(Arc::clone(&shared)).await;
        for node in nodes {
            let document =
                serde_json::to_vec(&node.document).map_err(|e| self.windows.failed("writing metadata", &e))?;
            let written = store.set(&node.key(), Bytes::from(document)).await;
            written.map_err(|e| self.windows.failed("writing metadata", &e))?;
        }
        for (key, bytes) in chunks {
            let written = store.set(key, Bytes::from(bytes.clone())).await;
            written.map_err(|e| self.windows.failed("writing a coordinate", &e))?;
        }
        drop(store);
        self.windows.reclaim(shared)
    }

    async fn commit(&self, mut session: Session, number: usize, total: &Total) -> Result<SnapshotId> {
        let Windows { plan, update, options, .. } = &self.windows;
        let message = match update.windows.get(number) {
            Some(window) if number + 1 < update.windows.len() => {
                format!("Part of {}: products {} to {}", options.run, window.start + 1, window.end)
            }
            _ => options.message.clone(),
        };
        let time = |step: Option<&s2ice_manifest::assemble::Step>| step.map(|s| s.time_ms);
        let properties: SnapshotProperties = [
            ("s2ice:writer", json!(plan.stamp.writer)),
            ("s2ice:run", json!(options.run)),
            ("s2ice:tile", json!(plan.stamp.tile)),
            ("s2ice:level", json!(plan.stamp.level)),
            ("s2ice:products", json!(plan.steps.len())),
            ("s2ice:references_written", json!(total.references)),
            ("s2ice:references_moved", json!(total.moved)),
            ("s2ice:referenced_bytes", json!(plan.referenced_bytes())),
            ("s2ice:first_time_ms", json!(time(plan.steps.first()))),
            ("s2ice:last_time_ms", json!(time(plan.steps.last()))),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        let commit = session.commit(message).properties(properties).allow_empty(true);
        let commit = commit.max_concurrent_nodes(options.concurrency);
        commit.execute().await.map_err(|e| self.windows.failed("committing", &e))
    }

    /// Checks what is on the branch and moves `main` to it.
    async fn publish(&self, tip: &SnapshotId) -> Result<GateReport> {
        let report = gate::check(&self.windows, tip).await?;
        self.promote(tip).await?;
        Ok(report)
    }

    /// The one step that readers see.
    async fn promote(&self, tip: &SnapshotId) -> Result<()> {
        match self.windows.repository.reset_branch("main", tip, Some(&self.main)).await {
            Ok(()) => Ok(()),
            Err(error) if is_moved(&error) => Err(Error::Conflict { url: self.windows.url.to_string() }),
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
