//! Takes old states out of the history: tags of published states, and snapshots that no branch or tag points to.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt, TryStreamExt};
use icechunk::Repository;
use icechunk::format::repo_info::{RepoInfo, UpdateInfo, UpdateType};
use icechunk::format::snapshot::SnapshotInfo;
use icechunk::format::{IcechunkResult, SnapshotId};
use icechunk::ops::gc::{ExpiredRefAction, expire};
use icechunk::repository::{RepositoryError, RepositoryErrorKind, VersionInfo};
use s2ice_manifest::source::location::SourceUrl;

use super::collect::{beside_writers, left_since};
use super::published::{Published, of_tags, published};
use super::refs;
use crate::clock::StoreClock;
use crate::error::{Result, icechunk_error};

/// What may be let go of.
pub(super) struct Policy {
    /// Published states that stay however old they are: the newest.
    pub(super) keep_published: usize,
    /// What was made or left after this stays.
    pub(super) cutoff: DateTime<Utc>,
    /// What was in use after this stays.
    pub(super) in_use: DateTime<Utc>,
    /// What is known to have been.
    pub(super) roots: HashSet<SnapshotId>,
    /// Branches that count as deleted: of a dry run.
    pub(super) gone: Vec<String>,
}

impl Policy {
    /// The published states that are let go of, newest first. A state is as old as the next one, in whose favour it was left:
    /// so there is a way back from what was published lately, however long nothing was before.
    fn surplus<'a>(&self, states: &'a [Published], main: &SnapshotId) -> impl Iterator<Item = &'a Published> {
        let left = |place: usize| states.get(place + 1).map_or(DateTime::<Utc>::MAX_UTC, |next| next.time);
        let old = states.iter().enumerate().rev().skip(self.keep_published);
        let old = old.filter(move |(place, _)| left(*place) < self.cutoff).map(|(_, state)| state);
        old.filter(move |state| state.snapshot != *main && !self.roots.contains(&state.snapshot))
    }
}

/// A history and what was taken out of it.
#[derive(Default)]
pub(super) struct Shortened {
    /// Tags of published states.
    pub(super) tags: Vec<String>,
    /// How many snapshots.
    pub(super) released: u64,
    /// The snapshots that are left.
    pub(super) snapshots: Vec<SnapshotInfo>,
    /// Those of branches, tags and readers.
    pub(super) tips: HashSet<SnapshotId>,
}

/// Lets go of what the policy admits; nothing is written where that is nothing. In a repository of spec 2 all of it goes in
/// one change.
pub(super) async fn release(
    repository: &Repository,
    url: &SourceUrl,
    policy: &mut Policy,
    clock: &StoreClock,
    dry_run: bool,
) -> Result<Shortened> {
    if !refs::has_repo_info(repository) {
        return release_by_file(repository, url, policy, dry_run).await;
    }
    let failed = |error| icechunk_error("reading the history", url, &error);
    let info = refs::repo_info(repository, url).await?;
    let mut shortened = shorten(&info, policy).map_err(failed)?;
    if dry_run || (shortened.released == 0 && shortened.tags.is_empty()) {
        return Ok(shortened);
    }
    let retries = repository.config().repo_update_retries();
    let updates = repository.config().num_updates_per_repo_info_file();
    let change = |info: Arc<RepoInfo>, backup: &str, _| {
        let format = |error: icechunk::format::IcechunkFormatError| {
            RepositoryError::capture(RepositoryErrorKind::FormatError(error.kind))
        };
        policy.roots.extend(left_since(&info, policy.in_use).map_err(format)?);
        shortened = shorten(&info, policy).map_err(format)?;
        write(&info, &shortened, clock.host(), backup, updates).map(Arc::new).map_err(format)
    };
    match repository.asset_manager().update_repo_info(retries, change).await {
        Ok(_) => Ok(shortened),
        Err(error) => Err(icechunk_error("shortening the history", url, &error)),
    }
}

/// The history without old states. Each snapshot that is left has the next one that is left for its parent, and knows the
/// transaction logs between the two: differences of states need these.
fn shorten(info: &RepoInfo, policy: &Policy) -> IcechunkResult<Shortened> {
    let main = info.resolve_branch("main")?;
    let states = of_tags(info.tags()?.map(|(name, snapshot)| (name.to_owned(), snapshot)));
    let tags: Vec<String> = policy.surplus(&states, &main).map(|state| state.tag.clone()).collect();
    let branches = info.branches()?.filter(|(name, _)| !policy.gone.iter().any(|gone| gone == name));
    let pointed = info.tags()?.filter(|(name, _)| !tags.iter().any(|gone| gone == name)).chain(branches);
    let mut tips: HashSet<SnapshotId> = pointed.map(|(_, tip)| tip).collect();
    tips.extend(policy.roots.iter().cloned());

    let all: Vec<SnapshotInfo> = info.all_snapshots()?.collect::<IcechunkResult<_>>()?;
    let is_old = |s: &&SnapshotInfo| s.flushed_at < policy.cutoff && s.parent_id.is_some() && !tips.contains(&s.id);
    let gone: HashSet<SnapshotId> = all.iter().filter(is_old).map(|snapshot| snapshot.id.clone()).collect();
    let mut snapshots = Vec::with_capacity(all.len() - gone.len());
    for mut snapshot in all {
        if gone.contains(&snapshot.id) {
            continue;
        }
        if snapshot.parent_id.as_ref().is_some_and(|parent| gone.contains(parent)) {
            let mut between = Vec::new();
            for ancestor in info.ancestry(&snapshot.id)?.skip(1) {
                let ancestor = ancestor?;
                if !gone.contains(&ancestor.id) {
                    snapshot.parent_id = Some(ancestor.id);
                    break;
                }
                between.push(ancestor);
            }
            // Oldest first, each with what it knew of before.
            let mut logs = Vec::new();
            for ancestor in between.into_iter().rev() {
                logs.extend(ancestor.pruned_ancestor_tx_logs);
                logs.push(ancestor.id);
            }
            logs.append(&mut snapshot.pruned_ancestor_tx_logs);
            snapshot.pruned_ancestor_tx_logs = logs;
        }
        snapshots.push(snapshot);
    }
    Ok(Shortened { tags, released: gone.len() as u64, snapshots, tips })
}

fn write(
    info: &RepoInfo,
    shortened: &Shortened,
    now: DateTime<Utc>,
    backup: &str,
    updates: u16,
) -> IcechunkResult<RepoInfo> {
    let is_left = |(name, _): &(&str, SnapshotId)| !shortened.tags.iter().any(|gone| gone == name);
    // Another host's clock may be ahead by less than matters.
    let time = now.max(refs::last_update(info)? + TimeDelta::microseconds(1));
    let update_type = UpdateType::ExpirationRanUpdate;
    RepoInfo::new(
        info.spec_version()?,
        info.tags()?.filter(is_left),
        info.branches()?,
        info.deleted_tags()?.chain(shortened.tags.iter().map(String::as_str)),
        shortened.snapshots.iter().cloned(),
        &info.metadata()?,
        UpdateInfo { update_type, update_time: time, previous_updates: info.latest_updates()? },
        Some(backup),
        updates,
        info.repo_before_updates()?,
        info.config_bytes_raw()?.as_deref(),
        info.enabled_feature_flags()?,
        info.disabled_feature_flags()?,
        &info.status()?,
    )
}

/// As [`release`] for spec 1, where each tag is a file, a snapshot knows its parent, and nothing knows all snapshots.
async fn release_by_file(
    repository: &Repository,
    url: &SourceUrl,
    policy: &Policy,
    dry_run: bool,
) -> Result<Shortened> {
    let main = refs::main(repository, url).await?;
    let states = published(repository, url).await?;
    let mut tags = Vec::new();
    for state in policy.surplus(&states, &main) {
        if !dry_run {
            match repository.delete_tag(&state.tag).await {
                Ok(()) => {}
                Err(error) if refs::is_gone(&error) => continue,
                Err(error) => return Err(icechunk_error("deleting the tag of a published state", url, &error)),
            }
        }
        tags.push(state.tag.clone());
    }
    let shortened = history_of_files(repository, url, policy, tags).await?;
    if shortened.released > 0 && !dry_run {
        let settings = repository.config();
        let released = beside_writers(|| {
            let assets = Arc::clone(repository.asset_manager());
            let (keep, retries) = (ExpiredRefAction::Ignore, Some(settings.repo_update_retries()));
            expire(assets, policy.cutoff, keep, keep, retries, settings.num_updates_per_repo_info_file()).boxed()
        });
        released.await.map_err(|error| icechunk_error("shortening the history", url, &error))?;
    }
    Ok(shortened)
}

async fn history_of_files(
    repository: &Repository,
    url: &SourceUrl,
    policy: &Policy,
    tags: Vec<String>,
) -> Result<Shortened> {
    let failed = |error| icechunk_error("reading the history", url, &error);
    let left = refs::tags(repository, url, |name| !tags.iter().any(|gone| gone == name)).await?;
    let mut tips: HashSet<SnapshotId> = left.into_iter().map(|(_, tip)| tip).collect();
    for branch in refs::branches(repository, url, "").await? {
        if !policy.gone.contains(&branch.name) {
            tips.insert(repository.lookup_branch(&branch.name).await.map_err(failed)?);
        }
    }
    let (mut seen, mut snapshots, mut released) = (HashSet::new(), Vec::new(), 0);
    for tip in &tips {
        let history = repository.ancestry(&VersionInfo::SnapshotId(tip.clone())).await.map_err(failed)?;
        let history: Vec<SnapshotInfo> = history.try_collect().await.map_err(failed)?;
        for snapshot in history {
            let is_old = snapshot.flushed_at < policy.cutoff && snapshot.parent_id.is_some();
            let goes = is_old && !tips.contains(&snapshot.id);
            if seen.insert(snapshot.id.clone()) {
                released += u64::from(goes);
                if !goes {
                    snapshots.push(snapshot);
                }
            }
        }
    }
    // All of them are needed: there are no parents to be followed any more.
    tips.extend(snapshots.iter().map(|snapshot| snapshot.id.clone()));
    Ok(Shortened { tags, released, snapshots, tips })
}
