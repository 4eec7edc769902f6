//! What a snapshot changes in its parent, as its transaction log tells it.

use std::collections::{BTreeMap, BTreeSet};

use icechunk::format::snapshot::{NodeData, NodeSnapshot};
use icechunk::format::transaction_log::TransactionLog;
use icechunk::format::{ChunkIndices, NodeId, SnapshotId};

/// Nodes of either kind.
#[derive(Default)]
struct Nodes {
    groups: BTreeSet<NodeId>,
    arrays: BTreeSet<NodeId>,
}

impl Nodes {
    fn of(&mut self, node: &NodeSnapshot) -> &mut BTreeSet<NodeId> {
        match node.node_data {
            NodeData::Group => &mut self.groups,
            NodeData::Array { .. } => &mut self.arrays,
        }
    }
}

/// The changes so far.
#[derive(Default)]
pub(super) struct Log {
    made: Nodes,
    deleted: Nodes,
    updated: Nodes,
    chunks: BTreeMap<NodeId, Vec<ChunkIndices>>,
}

impl Log {
    pub(super) fn made(&mut self, node: &NodeSnapshot) {
        self.made.of(node).insert(node.id.clone());
    }

    pub(super) fn deleted(&mut self, node: &NodeSnapshot) {
        self.deleted.of(node).insert(node.id.clone());
    }

    /// A node that was made here is new and no more.
    pub(super) fn updated(&mut self, node: &NodeSnapshot) {
        if !self.made.of(node).contains(&node.id) {
            self.updated.of(node).insert(node.id.clone());
        }
    }

    pub(super) fn chunks(&mut self, node: &NodeId, mut chunks: Vec<ChunkIndices>) {
        if !chunks.is_empty() {
            self.chunks.entry(node.clone()).or_default().append(&mut chunks);
        }
    }

    /// The log of a snapshot.
    pub(super) fn finish(self, snapshot: &SnapshotId) -> TransactionLog {
        let chunks = self.chunks.into_iter().map(|(node, mut chunks)| {
            chunks.sort();
            chunks.dedup();
            (node, chunks.into_iter())
        });
        TransactionLog::new_from_parts(
            snapshot,
            self.made.groups.into_iter(),
            self.made.arrays.into_iter(),
            self.deleted.groups.into_iter(),
            self.deleted.arrays.into_iter(),
            self.updated.groups.into_iter(),
            self.updated.arrays.into_iter(),
            chunks.collect::<Vec<_>>().into_iter(),
            std::iter::empty(),
        )
    }
}
