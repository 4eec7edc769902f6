//! What a host with a wrong clock dated in the future, brought back to the present. No tag, no branch and no node changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use icechunk::Repository;
use icechunk::format::repo_info::{RepoInfo, UpdateInfo, UpdateType};
use icechunk::format::snapshot::{Snapshot, SnapshotInfo};
use icechunk::format::{IcechunkFormatError, IcechunkResult, SnapshotId};
use icechunk::repository::RepositoryResult;

/// Times of whole microseconds: what Icechunk keeps.
const STEP: TimeDelta = TimeDelta::microseconds(1);

/// How many updates are kept in the present object: all that are there.
const ALL: u16 = u16::MAX;

/// New times for those that lie after `now`, newest first; their order stays.
fn earlier(times: impl IntoIterator<Item = DateTime<Utc>>, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let mut latest = now;
    let new = times.into_iter().map(|time| {
        let time = time.min(latest);
        latest = time - STEP;
        time
    });
    new.collect()
}

/// The changes that are dated after `now`, newest first.
pub(super) fn updates_after(info: &RepoInfo, now: DateTime<Utc>) -> IcechunkResult<Vec<DateTime<Utc>>> {
    let mut times = Vec::new();
    for update in info.latest_updates()? {
        let (_, time, _) = update?;
        if time > now {
            times.push(time);
        }
    }
    Ok(times)
}

/// New times of the snapshots that are dated after `now`.
pub(super) fn snapshots_after(
    snapshots: impl IntoIterator<Item = SnapshotInfo>,
    now: DateTime<Utc>,
) -> BTreeMap<SnapshotId, DateTime<Utc>> {
    let mut late: Vec<SnapshotInfo> = snapshots.into_iter().filter(|snapshot| snapshot.flushed_at > now).collect();
    late.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.flushed_at));
    let times = earlier(late.iter().map(|snapshot| snapshot.flushed_at), now);
    late.into_iter().map(|snapshot| snapshot.id).zip(times).collect()
}

/// The object of spec 2 with other times: the same changes, branches, tags and snapshots.
pub(super) fn redate(
    info: &RepoInfo,
    now: DateTime<Utc>,
    snapshots: &BTreeMap<SnapshotId, DateTime<Utc>>,
) -> IcechunkResult<RepoInfo> {
    let updates: Vec<(UpdateType, DateTime<Utc>, Option<&str>)> =
        info.latest_updates()?.collect::<IcechunkResult<_>>()?;
    let times = earlier(updates.iter().map(|(_, time, _)| *time), now);
    let mut updates = updates.into_iter().zip(times).map(|((update, _, copy), time)| (update, time, copy));
    // The newest stands by itself and has no copy; that of the second one is given beside the list.
    let (newest, update_time) =
        updates.next().map_or((UpdateType::MetadataChangedUpdate, now), |(u, time, _)| (u, time));
    let mut copy = None;
    let previous: Vec<_> = updates
        .enumerate()
        .map(|(place, (update, time, path))| {
            if place == 0 {
                copy = path;
            }
            Ok((update, time, path.filter(|_| place > 0)))
        })
        .collect();
    let all = info.all_snapshots()?.collect::<IcechunkResult<Vec<SnapshotInfo>>>()?;
    let all = all.into_iter().map(|snapshot| SnapshotInfo {
        flushed_at: snapshots.get(&snapshot.id).copied().unwrap_or(snapshot.flushed_at),
        ..snapshot
    });
    RepoInfo::new(
        info.spec_version()?,
        info.tags()?,
        info.branches()?,
        info.deleted_tags()?,
        all,
        &info.metadata()?,
        UpdateInfo { update_type: newest, update_time, previous_updates: previous },
        copy,
        ALL,
        info.repo_before_updates()?,
        info.config_bytes_raw()?.as_deref(),
        info.enabled_feature_flags()?,
        info.disabled_feature_flags()?,
        &info.status()?,
    )
}

/// Writes a snapshot in its place, with another time: commits that follow it are compared with that.
#[expect(deprecated, reason = "spec 1 keeps the parent in the snapshot")]
pub(super) async fn rewrite(repository: &Repository, id: &SnapshotId, time: DateTime<Utc>) -> RepositoryResult<()> {
    let assets = repository.asset_manager();
    let held = assets.fetch_snapshot(id).await?;
    let format = |error: IcechunkFormatError| {
        icechunk::repository::RepositoryError::capture(icechunk::repository::RepositoryErrorKind::FormatError(
            error.kind,
        ))
    };
    let made = || {
        Snapshot::from_iter(
            Some(held.id()),
            held.parent_id(),
            repository.spec_version(),
            &held.message(),
            Some(held.metadata()?),
            held.manifest_files().collect::<IcechunkResult<_>>()?,
            Some(time),
            held.iter(),
        )
    };
    assets.write_snapshot(Arc::new(made().map_err(format)?)).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_future_moves_and_the_order_stays() {
        let now = DateTime::from_timestamp_micros(1_795_200_498_123_456).unwrap();
        let at = |seconds: i64| now + TimeDelta::seconds(seconds);
        assert_eq!(earlier([at(-1), at(-5)], now), [at(-1), at(-5)]);
        let moved = earlier([at(9), at(8), at(0), at(-1)], now);
        assert_eq!(moved, [now, now - STEP, now - STEP * 2, at(-1)]);
    }
}
