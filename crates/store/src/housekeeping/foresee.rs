//! What a gc would collect once it has shortened the history: for a dry run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream};
use icechunk::Repository;
use icechunk::format::SnapshotId;
use icechunk::format::snapshot::SnapshotInfo;
use icechunk::ops::gc::{GCError, GCResult, find_retained, gc_chunks, gc_manifests, gc_snapshots, gc_transaction_logs};
use icechunk::storage::ListInfo;
use s2ice_manifest::source::location::SourceUrl;

use super::collect::{CLOCK_STEP, CONCURRENT, config};
use super::release::Shortened;
use super::report::Collected;
use crate::error::{Result, icechunk_error};

/// Counts the objects made before `cutoff` that a shortened history does not need.
pub(super) async fn foresee(
    repository: &Repository,
    url: &SourceUrl,
    history: &Shortened,
    cutoff: DateTime<Utc>,
) -> Result<Collected> {
    let counted = count(repository, history, cutoff).await;
    counted.map_err(|error| icechunk_error("looking for what nothing points to", url, &error))
}

async fn count(repository: &Repository, history: &Shortened, cutoff: DateTime<Utc>) -> GCResult<Collected> {
    let assets = repository.asset_manager();
    let listed = assets.list_snapshots().await?;
    let listed: HashMap<SnapshotId, (DateTime<Utc>, u64)> =
        listed.map_ok(|file| (file.id, (file.created_at, file.size_bytes))).try_collect().await?;
    let needed = reachable(&history.snapshots, &history.tips);
    let is_young = |id| listed.get(id).is_none_or(|(made, _)| *made + CLOCK_STEP > cutoff);
    let kept = history.snapshots.iter().filter(|snapshot| needed.contains(&snapshot.id) || is_young(&snapshot.id));
    let kept: Vec<&SnapshotInfo> = kept.collect();
    let mut logs: HashSet<SnapshotId> = kept.iter().flat_map(|s| s.pruned_ancestor_tx_logs.iter().cloned()).collect();

    let ids: Vec<SnapshotId> = kept.iter().map(|snapshot| snapshot.id.clone()).collect();
    let fetching = ids.into_iter().map(|id| {
        let assets = Arc::clone(assets);
        async move { assets.fetch_snapshot(&id).await }
    });
    let states = stream::iter(fetching).buffer_unordered(CONCURRENT.get().into());
    let config = config(HashSet::new(), cutoff, true);
    let (chunks, manifests, snapshots) = find_retained(Arc::clone(assets), &config, states).await?;
    logs.extend(snapshots.iter().cloned());

    let files = listed.into_iter().map(|(id, (created_at, size_bytes))| Ok(ListInfo { id, created_at, size_bytes }));
    let snapshots = gc_snapshots(assets, &config, &snapshots, stream::iter(files)).await?;
    let logs = gc_transaction_logs(assets, &config, &logs).await?;
    let manifests = gc_manifests(assets, &config, &manifests).await?;
    let chunks = gc_chunks(assets, &config, &chunks).await?;
    Ok::<_, GCError>(Collected {
        bytes: [&snapshots, &logs, &manifests, &chunks].iter().map(|report| report.deleted_bytes).sum(),
        snapshots: snapshots.deleted_objects,
        transaction_logs: logs.deleted_objects,
        manifests: manifests.deleted_objects,
        chunks: chunks.deleted_objects,
    })
}

/// The snapshots that branches, tags and readers need, with their history.
fn reachable(snapshots: &[SnapshotInfo], tips: &HashSet<SnapshotId>) -> HashSet<SnapshotId> {
    let parents: HashMap<&SnapshotId, Option<&SnapshotId>> =
        snapshots.iter().map(|snapshot| (&snapshot.id, snapshot.parent_id.as_ref())).collect();
    let mut seen = HashSet::new();
    for tip in tips {
        let mut next = Some(tip);
        while let Some(id) = next.filter(|id| seen.insert((*id).clone())) {
            next = parents.get(id).copied().flatten();
        }
    }
    seen
}
