//! Deletes objects that nothing points to, and finds out what readers of the last day may still be on.

use std::collections::HashSet;
use std::num::{NonZeroU16, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use icechunk::Repository;
use icechunk::format::repo_info::{RepoInfo, UpdateType};
use icechunk::format::{IcechunkResult, SNAPSHOTS_FILE_PATH, SnapshotId};
use icechunk::ops::gc::{GCConfig, GCError, GCResult, GCSummary, garbage_collect};
use icechunk::repository::{RepositoryError, RepositoryErrorKind};
use s2ice_manifest::source::location::SourceUrl;

use super::refs;
use super::stale::RUN;
use crate::error::{Result, icechunk_error};
use crate::patience::Patience;

/// Memory for manifests that are being read, compressed and decoded.
const MANIFEST_BYTES: (NonZeroUsize, NonZeroUsize) =
    (NonZeroUsize::new(64 << 20).unwrap(), NonZeroUsize::new(256 << 20).unwrap());

/// Snapshots in memory, and requests at a time for manifests and for deletions.
pub(super) const CONCURRENT: NonZeroU16 = NonZeroU16::new(16).unwrap();

/// Failed deletions in a row after which a kind of objects is left to the next gc.
const FAILURES: NonZeroU16 = NonZeroU16::new(3).unwrap();

/// Attempts at a change of the whole repository, a minute and a half in all.
const ATTEMPTS: usize = 15;

/// Some storages give times in whole seconds.
pub(super) const CLOCK_STEP: TimeDelta = TimeDelta::seconds(1);

/// What readers that opened the store within a period may be on, beside what branches and tags point to.
#[derive(Debug)]
pub(super) enum Roots {
    /// These snapshots and their history.
    Known(HashSet<SnapshotId>),
    /// Anything.
    Unknown,
}

impl Roots {
    /// What readers since a time may be on.
    pub(super) async fn since(repository: &Repository, url: &SourceUrl, since: DateTime<Utc>) -> Result<Self> {
        if !refs::has_repo_info(repository) {
            let quiet = is_quiet(repository, url, since - CLOCK_STEP).await?;
            return Ok(if quiet { Self::Known(HashSet::new()) } else { Self::Unknown });
        }
        let failed = |error| icechunk_error("reading the log of changes", url, &error);
        let (updates, info, _) = repository.ops_log().await.map_err(failed)?;
        let mut updates = std::pin::pin!(updates);
        let mut roots = HashSet::new();
        while let Some((time, update, _)) = updates.try_next().await.map_err(failed)? {
            if time < since {
                break;
            }
            roots.extend(left(&info, update));
        }
        // What is not on record any more was let go of by a gc, and nobody was on it for a day before.
        roots.retain(|snapshot| info.find_snapshot(snapshot).is_ok());
        Ok(Self::Known(roots))
    }
}

/// As [`Roots::since`], from what stands in the present object alone: the last thousand changes.
pub(super) fn left_since(info: &RepoInfo, since: DateTime<Utc>) -> IcechunkResult<HashSet<SnapshotId>> {
    let mut roots = HashSet::new();
    for update in info.latest_updates()? {
        let (update, time, _) = update?;
        if time < since {
            break;
        }
        roots.extend(left(info, update));
    }
    Ok(roots)
}

/// The snapshot that a branch or tag does not point to any more since a change.
fn left(info: &RepoInfo, update: UpdateType) -> Option<SnapshotId> {
    match update {
        UpdateType::TagDeletedUpdate { previous_snap_id, .. } => Some(previous_snap_id),
        // Nobody reads the branch of a run.
        UpdateType::BranchDeletedUpdate { name, .. } | UpdateType::BranchResetUpdate { name, .. }
            if name.starts_with(RUN) =>
        {
            None
        }
        UpdateType::BranchDeletedUpdate { previous_snap_id, .. }
        | UpdateType::BranchResetUpdate { previous_snap_id, .. }
        | UpdateType::CommitAmendedUpdate { previous_snap_id, .. } => Some(previous_snap_id),
        UpdateType::NewCommitUpdate { branch, new_snap_id } if !branch.starts_with(RUN) => {
            info.find_snapshot(&new_snap_id).ok().and_then(|commit| commit.parent_id)
        }
        _ => None,
    }
}

/// True where no branch, tag or snapshot of a repository of spec 1 changed since a time.
async fn is_quiet(repository: &Repository, url: &SourceUrl, since: DateTime<Utc>) -> Result<bool> {
    if refs::files(repository, url).await?.values().any(|file| file.created_at >= since) {
        return Ok(false);
    }
    let failed = |error| icechunk_error("listing snapshots", url, &error);
    let context = repository.storage_context();
    let snapshots = repository.storage().list_objects(&context, SNAPSHOTS_FILE_PATH).await.map_err(failed)?;
    let young = snapshots.try_filter(|file| std::future::ready(file.created_at >= since)).next().await;
    young.transpose().map(|young| young.is_none()).map_err(failed)
}

/// How objects made before `cutoff` are deleted.
pub(super) fn config(roots: HashSet<SnapshotId>, cutoff: DateTime<Utc>, dry_run: bool) -> GCConfig {
    GCConfig::clean_all(
        cutoff,
        cutoff,
        Some(roots),
        CONCURRENT,
        MANIFEST_BYTES.0,
        MANIFEST_BYTES.1,
        CONCURRENT,
        CONCURRENT,
        FAILURES,
        None,
        dry_run,
    )
}

/// Deletes objects made before `cutoff` that neither a branch, a tag nor one of `roots` needs.
pub(super) async fn collect(
    repository: &Repository,
    url: &SourceUrl,
    roots: HashSet<SnapshotId>,
    cutoff: DateTime<Utc>,
) -> Result<GCSummary> {
    let config = config(roots, cutoff, false);
    let settings = repository.config();
    let collected = beside_writers(|| {
        let assets = Arc::clone(repository.asset_manager());
        let retries = Some(settings.repo_update_retries());
        garbage_collect(assets, &config, retries, settings.num_updates_per_repo_info_file()).boxed()
    });
    collected.await.map_err(|error| icechunk_error("deleting what nothing points to", url, &error))
}

/// Does again what another writer's change made void, or dated too early. Icechunk means to, and gives up at the first such
/// change.
pub(super) async fn beside_writers<'a, T>(work: impl Fn() -> BoxFuture<'a, GCResult<T>>) -> GCResult<T> {
    let (mut pause, patience) = (Duration::from_millis(100), Patience::new());
    for _ in 1..ATTEMPTS {
        match work().await {
            Err(GCError::Repository(RepositoryError {
                kind: RepositoryErrorKind::RepoUpdateAttemptsLimit(_) | RepositoryErrorKind::RepoInfoUpdated,
                ..
            })) => tokio::time::sleep(pause).await,
            Err(error) if patience.outlasts(&error).await => {}
            outcome => return outcome,
        }
        pause = (pause * 2).min(Duration::from_secs(10));
    }
    work().await
}
