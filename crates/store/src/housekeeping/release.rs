//! Takes old snapshots out of the history of branches and tags.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{FutureExt, TryStreamExt};
use icechunk::Repository;
use icechunk::format::repo_info::RepoInfo;
use icechunk::format::snapshot::SnapshotInfo;
use icechunk::format::{IcechunkResult, SnapshotId};
use icechunk::ops::gc::{ExpiredRefAction, expire};
use icechunk::repository::VersionInfo;
use s2ice_manifest::source::location::SourceUrl;

use super::collect::beside_writers;
use super::refs;
use crate::error::{Result, icechunk_error};

/// Releases snapshots made before `cutoff` that no branch or tag points to; how many there are. The tags and branches in
/// `gone` count as deleted. Nothing is written where there are none.
pub(super) async fn release(
    repository: &Repository,
    url: &SourceUrl,
    cutoff: DateTime<Utc>,
    gone: (&[String], &[String]),
    dry_run: bool,
) -> Result<u64> {
    let expired = if refs::has_repo_info(repository) {
        let info = refs::repo_info(repository, url).await?;
        expired(&info, cutoff, gone).map_err(|error| icechunk_error("reading the history", url, &error))?
    } else {
        expired_of_files(repository, url, cutoff, gone).await?
    };
    if expired > 0 && !dry_run {
        let settings = repository.config();
        let released = beside_writers(|| {
            let assets = Arc::clone(repository.asset_manager());
            let (keep, retries) = (ExpiredRefAction::Ignore, Some(settings.repo_update_retries()));
            expire(assets, cutoff, keep, keep, retries, settings.num_updates_per_repo_info_file()).boxed()
        });
        released.await.map_err(|error| icechunk_error("shortening the history", url, &error))?;
    }
    Ok(expired)
}

/// Icechunk keeps the first snapshot and what a branch or tag points to.
fn expired(info: &RepoInfo, cutoff: DateTime<Utc>, gone: (&[String], &[String])) -> IcechunkResult<u64> {
    let is_gone = |names: &[String], name: &str| names.iter().any(|gone| gone == name);
    let tags = info.tags()?.filter(|(name, _)| !is_gone(gone.0, name));
    let branches = info.branches()?.filter(|(name, _)| !is_gone(gone.1, name));
    let tips: HashSet<SnapshotId> = tags.chain(branches).map(|(_, tip)| tip).collect();
    let mut count = 0;
    for snapshot in info.all_snapshots()? {
        let snapshot = snapshot?;
        let old = snapshot.flushed_at < cutoff && snapshot.parent_id.is_some();
        count += u64::from(old && !tips.contains(&snapshot.id));
    }
    Ok(count)
}

/// As [`expired`] for spec 1, where a snapshot knows its parent and nothing knows all snapshots.
async fn expired_of_files(
    repository: &Repository,
    url: &SourceUrl,
    cutoff: DateTime<Utc>,
    gone: (&[String], &[String]),
) -> Result<u64> {
    let failed = |error| icechunk_error("reading the history", url, &error);
    let tags = refs::tags(repository, url, |name| !gone.0.iter().any(|gone| gone == name)).await?;
    let mut tips: HashSet<SnapshotId> = tags.into_iter().map(|(_, tip)| tip).collect();
    for branch in refs::branches(repository, url, "").await? {
        if !gone.1.contains(&branch.name) {
            tips.insert(repository.lookup_branch(&branch.name).await.map_err(failed)?);
        }
    }
    let mut old = HashSet::new();
    for tip in &tips {
        let history = repository.ancestry(&VersionInfo::SnapshotId(tip.clone())).await.map_err(failed)?;
        let history: Vec<SnapshotInfo> = history.try_collect().await.map_err(failed)?;
        let between = history.iter().skip(1).filter(|snapshot| snapshot.parent_id.is_some());
        old.extend(between.filter(|s| s.flushed_at < cutoff && !tips.contains(&s.id)).map(|s| s.id.clone()));
    }
    Ok(old.len().try_into().unwrap_or(u64::MAX))
}
