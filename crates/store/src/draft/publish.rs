//! A draft becomes a snapshot, and the tip of a branch.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::repo_info::UpdateType;
use icechunk::format::snapshot::{NodeData, Snapshot, SnapshotInfo, SnapshotProperties};
use icechunk::format::{ManifestId, SnapshotId};
use icechunk::refs::update_branch;
use icechunk::repository::{RepositoryError, RepositoryErrorKind};

use super::Draft;
use crate::clock::StoreClock;
use crate::error::{Error, Result};
use crate::housekeeping::last_update;

/// Longest time that the clock of the object store and that of this host may differ, seconds: as Icechunk has it.
const DRIFT: i64 = 600;

const WHAT: &str = "committing";

/// The store's time, but later than another one: Icechunk wants times that increase.
fn later(before: DateTime<Utc>, clock: &StoreClock) -> DateTime<Utc> {
    clock.now().max(before.checked_add_signed(TimeDelta::milliseconds(1)).unwrap_or(before))
}

impl Draft {
    /// Writes the snapshot and its log, and moves `branch` from the parent to it.
    ///
    /// # Errors
    /// [`Error::Icechunk`], also where the branch is not at the parent any more or the clocks of host and store differ.
    pub(crate) async fn commit(
        self,
        branch: &str,
        message: &str,
        properties: SnapshotProperties,
        clock: &StoreClock,
    ) -> Result<SnapshotId> {
        let Self { repository, url, parent, nodes, mut files, log } = self;
        let failed = |error: &(dyn std::error::Error + 'static)| crate::error::icechunk_error(WHAT, &url, error);
        let refused = |detail: String| Error::Icechunk { what: WHAT, url: url.to_string(), detail };
        let manager = repository.asset_manager();
        let version = repository.spec_version();
        let is_old = version < SpecVersionBin::V2;

        let mut used: HashSet<&ManifestId> = HashSet::new();
        for node in nodes.values() {
            if let NodeData::Array { manifests, .. } = &node.node_data {
                used.extend(manifests.iter().map(|manifest| &manifest.object_id));
            }
        }
        files.retain(|id, _| used.contains(id));
        if files.len() != used.len() {
            return Err(Error::Damaged { url: url.to_string(), detail: "a manifest is not listed".to_owned() });
        }
        // The newer format keeps the parent elsewhere.
        let parent_id = is_old.then(|| parent.id());
        let mut nodes: Vec<_> = nodes.into_values().map(|node| (node.path.to_string(), node)).collect();
        nodes.sort_by(|a, b| a.0.cmp(&b.0));
        let nodes = nodes.into_iter().map(|(_, node)| Ok(node));
        let files = files.into_values().collect();
        // Later than the state before, whatever clock dated that: the store's own is at most a minute behind.
        let made = later(parent.flushed_at().map_err(|error| failed(&error))?, clock);
        let snapshot =
            Snapshot::from_iter(None, parent_id, version, message, Some(properties), files, Some(made), nodes);
        let snapshot = Arc::new(snapshot.map_err(|error| failed(&error))?);

        let (id, parent) = (snapshot.id(), parent.id());
        let log = Arc::new(log.finish(&id));
        let writing = async {
            manager.write_snapshot(Arc::clone(&snapshot)).await?;
            manager.get_snapshot_last_modified(&id).await
        };
        let (stored, ()) = futures::try_join!(writing, manager.write_transaction_log(id.clone(), log))
            .map_err(|error| failed(&error))?;
        if (stored - made).num_seconds().abs() > DRIFT {
            return Err(refused(format!("the clock says {made}, and that of the object store {stored}")));
        }
        if is_old {
            let context = repository.storage_context();
            let storage = repository.storage().as_ref();
            let moved = update_branch(storage, &context, branch, id.clone(), Some(&parent)).await;
            return moved.map(|_| id).map_err(|error| failed(&error));
        }
        let updates = repository.config().num_updates_per_repo_info_file();
        let change = |info: Arc<icechunk::format::repo_info::RepoInfo>, backup: &str, _| {
            let format = |error: icechunk::format::IcechunkFormatError| {
                RepositoryError::capture(RepositoryErrorKind::FormatError(error.kind))
            };
            let actual = info.resolve_branch(branch).map_err(format)?;
            if actual != parent {
                let (expected_parent, actual_parent) = (Some(parent.clone()), Some(actual));
                return Err(RepositoryError::capture(RepositoryErrorKind::Conflict { expected_parent, actual_parent }));
            }
            let entry = SnapshotInfo::from_snapshot_file(&snapshot).map_err(format)?;
            let entry = SnapshotInfo { parent_id: Some(parent.clone()), ..entry };
            let update = UpdateType::NewCommitUpdate { branch: branch.to_owned(), new_snap_id: id.clone() };
            let time = Some(later(last_update(&info).map_err(format)?, clock));
            let changed = info.add_snapshot(version, entry, Some(branch), update, time, backup, updates);
            Ok(Arc::new(changed.map_err(format)?))
        };
        let retries = repository.config().repo_update_retries();
        manager.update_repo_info(retries, change).await.map_err(|error| failed(&error))?;
        Ok(id)
    }
}
