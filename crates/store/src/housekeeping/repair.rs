//! `s2ice repair`: a store that a host with a wrong clock wrote takes changes again.
//!
//! Icechunk refuses a change that is dated earlier than the last one, and a commit that is dated earlier than what it follows.
//! A host whose clock is ahead so locks a store for all others, until its time has come. The dates are brought back to the
//! store's present; what `main`, branches and tags point to stays, and so does every node of every state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use icechunk::Repository;
use icechunk::format::SnapshotId;
use icechunk::format::repo_info::RepoInfo;
use icechunk::format::snapshot::SnapshotInfo;
use icechunk::repository::{RepositoryError, RepositoryErrorKind, VersionInfo};
use s2ice_manifest::source::location::SourceUrl;

use super::published::published_at;
use super::redate::{redate, rewrite, snapshots_after, updates_after};
use super::report::RepairReport;
use super::stale::{Locked, stale_branches};
use super::{refs, time_text};
use crate::clock::StoreClock;
use crate::error::{Result, icechunk_error};
use crate::patience::TOLERANCE;
use crate::report::REPORT_VERSION;
use crate::target::Target;

/// Tells what keeps a store from being written, and mends it where `apply` is given. Takes the lock of a local store then.
/// `clock` is this host's, which must be near the store's.
///
/// # Errors
/// [`crate::Error::NoStore`], [`crate::Error::Locked`], [`crate::Error::Clock`], [`crate::Error::Icechunk`].
pub async fn repair(target: &Target, apply: bool, clock: fn() -> DateTime<Utc>) -> Result<RepairReport> {
    let url = target.url();
    let repository = refs::open(target).await?;
    let lock = if apply { Some(target.lock()?) } else { None };
    let clock = target.clock(clock);
    if apply {
        clock.check(url)?;
    } else {
        clock.warn(url);
    }
    let alone = lock.is_some() && url.local_root().is_some();
    repair_by(&repository, url, apply, alone, &clock).await
}

async fn repair_by(
    repository: &Repository,
    url: &SourceUrl,
    apply: bool,
    alone: bool,
    clock: &StoreClock,
) -> Result<RepairReport> {
    let now = clock.now();
    let found = look(repository, url, now).await?;
    let is_locked = found.last.is_some_and(|last| last > now + TOLERANCE);
    let branches = stale_branches(repository, url, alone, clock, Locked::Borne).await?;
    if apply && is_locked {
        mend(repository, url, &found, now).await?;
    }
    let tags =
        refs::tags(repository, url, |name| published_at(name).is_some_and(|time| time > now + TOLERANCE)).await?;
    Ok(RepairReport {
        kind: "s2ice.repair".to_owned(),
        version: REPORT_VERSION,
        store: url.to_string(),
        store_time: time_text(now),
        clock_ahead_seconds: clock.skew().num_seconds(),
        dry_run: !apply,
        locked_until: found.last.filter(|_| is_locked).map(time_text),
        released: apply && is_locked,
        changes: found.updates,
        snapshots: found.snapshots.keys().map(ToString::to_string).collect(),
        tags: tags.into_iter().map(|(name, _)| name).collect(),
        branches,
    })
}

/// What is dated in the future.
struct Found {
    /// The latest date.
    last: Option<DateTime<Utc>>,
    /// Changes on record.
    updates: u64,
    /// Snapshots, with the dates that they shall have.
    snapshots: BTreeMap<SnapshotId, DateTime<Utc>>,
}

async fn look(repository: &Repository, url: &SourceUrl, now: DateTime<Utc>) -> Result<Found> {
    let format = |error| icechunk_error("reading the history", url, &error);
    let (updates, snapshots) = if refs::has_repo_info(repository) {
        let info = refs::repo_info(repository, url).await?;
        let snapshots = info.all_snapshots().and_then(Iterator::collect).map_err(format)?;
        (updates_after(&info, now).map_err(format)?, snapshots)
    } else {
        (Vec::new(), history_of_files(repository, url).await?)
    };
    let last = updates.iter().copied().chain(snapshots.iter().map(|snapshot| snapshot.flushed_at)).max();
    let last = last.filter(|last| *last > now);
    Ok(Found { last, updates: updates.len() as u64, snapshots: snapshots_after(snapshots, now) })
}

/// The snapshots of spec 1 that a branch or tag leads to.
async fn history_of_files(repository: &Repository, url: &SourceUrl) -> Result<Vec<SnapshotInfo>> {
    let failed = |error| icechunk_error("reading the history", url, &error);
    let mut tips: BTreeSet<SnapshotId> =
        refs::tags(repository, url, |_| true).await?.into_iter().map(|t| t.1).collect();
    for branch in refs::branches(repository, url, "").await? {
        tips.insert(repository.lookup_branch(&branch.name).await.map_err(failed)?);
    }
    let mut found = BTreeMap::new();
    for tip in tips {
        let history = repository.ancestry(&VersionInfo::SnapshotId(tip)).await.map_err(failed)?;
        let history: Vec<SnapshotInfo> = history.try_collect().await.map_err(failed)?;
        found.extend(history.into_iter().map(|snapshot| (snapshot.id.clone(), snapshot)));
    }
    Ok(found.into_values().collect())
}

/// Snapshots first: a repair that is interrupted finds the store locked still, and is begun again.
async fn mend(repository: &Repository, url: &SourceUrl, found: &Found, now: DateTime<Utc>) -> Result<()> {
    let failed = |error| icechunk_error("releasing the store", url, &error);
    for (id, time) in &found.snapshots {
        rewrite(repository, id, *time).await.map_err(failed)?;
    }
    if !refs::has_repo_info(repository) {
        return Ok(());
    }
    let change = |info: Arc<RepoInfo>, _: &str, _| {
        let info = redate(&info, now, &found.snapshots);
        info.map(Arc::new).map_err(|e| RepositoryError::capture(RepositoryErrorKind::FormatError(e.kind)))
    };
    let retries = repository.config().repo_update_retries();
    repository.asset_manager().update_repo_info(retries, change).await.map_err(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::TimeDelta;

    use super::*;
    use crate::error::Error;
    use crate::housekeeping::testing::{Store, open, read};
    use crate::options::Spec;

    /// As a host sees the store whose clock is three hours behind that of the one that wrote it.
    fn behind() -> StoreClock {
        StoreClock::telling(Utc::now() - TimeDelta::hours(3))
    }

    #[tokio::test]
    async fn a_store_from_the_future_is_released_and_nothing_else_changes() {
        for spec in [Spec::V2, Spec::V1] {
            let store = Store::new(spec).await;
            let tags = store.publish(3).await;
            let url = store.target.url();
            let clock = behind();
            store.repository.create_branch("s2ice-1-1", &tags[0].1).await.unwrap();
            let before = store.files("");

            let dry = repair_by(&store.repository, url, false, false, &clock).await.unwrap();
            assert!(dry.dry_run && !dry.released && dry.locked_until.is_some());
            // The first snapshot has no date of its own in spec 2, and is of the same moment in spec 1.
            assert!(dry.snapshots.len() >= 3, "{:?}", dry.snapshots);
            assert_eq!((dry.changes > 0, dry.tags.len()), (spec == Spec::V2, 3));
            assert_eq!(store.files(""), before, "a dry run changes nothing");

            let report = repair_by(&store.repository, url, true, true, &clock).await.unwrap();
            assert!(report.released);
            assert_eq!(report.branches, ["s2ice-1-1"]);
            assert_eq!((report.changes, &report.snapshots), (dry.changes, &dry.snapshots));
            let reader = store.reader().await;
            for (steps, (tag, snapshot)) in tags.iter().enumerate() {
                assert_eq!(reader.lookup_tag(tag).await.unwrap(), *snapshot);
                assert_eq!(usize::from(read(open(&reader, snapshot).await).await.unwrap()), steps + 1);
            }
            assert_eq!(reader.lookup_branch("main").await.unwrap(), tags[2].1);
            let history = reader.ancestry(&VersionInfo::SnapshotId(tags[2].1.clone())).await.unwrap();
            let history: Vec<SnapshotInfo> = history.try_collect().await.unwrap();
            assert!(history.iter().all(|snapshot| snapshot.flushed_at <= clock.now()));
            assert!(history.is_sorted_by(|a, b| a.flushed_at > b.flushed_at));
            if spec == Spec::V2 {
                let (log, ..) = reader.ops_log().await.unwrap();
                let log: Vec<_> = log.try_collect().await.unwrap();
                assert!(log.iter().all(|(time, ..)| *time <= clock.now()) && log.is_sorted_by(|a, b| a.0 > b.0));
            }
            let again = repair_by(&reader, url, true, true, &clock).await.unwrap();
            assert!(!again.released && again.locked_until.is_none() && again.snapshots.is_empty());
            store.commit(4).await;
        }
    }

    #[tokio::test]
    async fn a_sound_store_is_left_alone() {
        let store = Store::new(Spec::V2).await;
        store.publish(2).await;
        let before = store.files("");
        let report = repair(&store.target, true, Utc::now).await.unwrap();
        assert!(!report.released && report.locked_until.is_none() && report.snapshots.is_empty());
        assert_eq!(store.files(""), before);
        let wrong = || Utc::now() + TimeDelta::hours(3);
        let refused = repair(&store.target, true, wrong).await;
        assert!(matches!(refused, Err(Error::Clock { .. })));
        assert_eq!(store.files(""), before);
    }
}
