//! What a snapshot holds, as far as rolling back to it needs to know.

use icechunk::Repository;
use icechunk::format::snapshot::NodeData;
use icechunk::format::{Path, SnapshotId};
use icechunk::repository::VersionInfo;
use s2ice_manifest::source::location::SourceUrl;

use crate::error::{Error, Result, icechunk_error};
use crate::plan::{StoreStamp, root_stamp};

/// A state as a store of s2ice tells it.
pub(super) struct State {
    /// What its root says; nothing where s2ice did not write it.
    pub(super) stamp: Option<StoreStamp>,
    /// Length of the main tree's time axis.
    pub(super) time_steps: Option<u64>,
    /// True where nothing was ever written.
    pub(super) empty: bool,
}

/// Reads the root and the time axis of a snapshot, which stand in the snapshot itself: no manifest is read.
pub(super) async fn read(repository: &Repository, url: &SourceUrl, snapshot: &SnapshotId) -> Result<State> {
    let version = VersionInfo::SnapshotId(snapshot.clone());
    let session = repository.readonly_session(&version).await;
    let session = session.map_err(|error| icechunk_error("opening a state", url, &error))?;
    let nodes = session.list_nodes(&Path::root()).await;
    let mut state = State { stamp: None, time_steps: None, empty: true };
    for node in nodes.map_err(|error| icechunk_error("reading a state", url, &error))? {
        let node = node.map_err(|error| icechunk_error("reading a state", url, &error))?;
        state.empty = false;
        match (node.path.as_str(), &node.node_data) {
            ("/", _) => {
                let damaged =
                    |e: serde_json::Error| Error::Damaged { url: url.to_string(), detail: format!("{snapshot}: {e}") };
                let document: serde_json::Value = serde_json::from_slice(&node.user_data).map_err(damaged)?;
                let stamp = root_stamp(&document).cloned();
                state.stamp = stamp.map(serde_json::from_value).transpose().map_err(damaged)?;
            }
            ("/products/time", NodeData::Array { shape, .. }) => {
                state.time_steps = shape.iter().next().map(|dimension| dimension.array_length());
            }
            _ => {}
        }
    }
    Ok(state)
}
