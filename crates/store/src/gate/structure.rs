//! Whether the tip of a run's branch is the planned store: nodes, numbers of references, columns, references.

use std::collections::BTreeSet;

use icechunk::format::SnapshotId;
use icechunk::format::snapshot::NodeData;
use serde_json::Value;

use super::{angles, columns, differs, references};
use crate::error::Result;
use crate::update::same;
use crate::view::{View, apart};
use crate::window::Windows;

/// References of manifests that are kept in memory: those of small arrays. What is larger is read once anyway.
const CACHED: u64 = 1 << 12;

/// What was compared.
pub(super) struct Compared {
    pub(super) nodes: usize,
    pub(super) references: u64,
    pub(super) angles: u64,
}

/// Compares the tip with the plan.
///
/// # Errors
/// [`crate::Error::Gate`] names the first thing that is not as planned; [`crate::Error::Icechunk`].
pub(super) async fn check(windows: &Windows, tip: &SnapshotId) -> Result<Compared> {
    // As a reader finds it: nothing is taken from the writer's caches.
    let tip = View::open(apart(&windows.repository, CACHED), tip, &windows.url).await?;
    nodes(windows, &tip)?;
    counts(windows, &tip)?;
    let ((), references, angles) = futures::try_join!(
        columns::compare(windows, &tip),
        references::compare(windows, &tip),
        angles::compare(windows, &tip)
    )?;
    Ok(Compared { nodes: tip.nodes.len(), references, angles })
}

/// Every planned node is there with its document, and no other node is.
fn nodes(windows: &Windows, tip: &View) -> Result<()> {
    for node in &windows.plan.nodes {
        let found = tip.nodes.get(&node.path).and_then(|found| serde_json::from_slice::<Value>(&found.user_data).ok());
        match found {
            Some(document) if same(&document, &node.document) => {}
            Some(_) => return Err(differs(windows, &format!("/{} has other metadata", node.path))),
            None => return Err(differs(windows, &format!("/{} is missing or cannot be read", node.path))),
        }
    }
    let planned: BTreeSet<&str> = windows.plan.nodes.iter().map(|node| node.path.as_str()).collect();
    match tip.nodes.keys().find(|path| !planned.contains(path.as_str())) {
        Some(path) => Err(differs(windows, &format!("/{path} is there and should not be"))),
        None => Ok(()),
    }
}

/// Every data array is as long as the time axis and has as many references as it shall have.
fn counts(windows: &Windows, tip: &View) -> Result<()> {
    let arrays = windows.plan.trees.iter().flat_map(|tree| tree.arrays.iter().map(|array| (tree.steps.len(), array)));
    for (steps, array) in arrays {
        let Some(node) = tip.nodes.get(array.path.trim_start_matches('/')) else { continue };
        let length = match &node.node_data {
            NodeData::Array { shape, .. } => shape.iter().next().map(|time| time.array_length()),
            NodeData::Group => None,
        };
        if length != Some(steps as u64) {
            return Err(differs(windows, &format!("{} does not have {steps} time steps", array.path)));
        }
        let found = tip.references(node);
        let wanted = windows.options.references.get(&array.path).copied().unwrap_or(found);
        if found != wanted {
            return Err(differs(windows, &format!("{} has {found} references, not {wanted}", array.path)));
        }
    }
    Ok(())
}
