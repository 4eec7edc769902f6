//! Whether the angles at the time steps that a run changed are those of the plan.

use icechunk::format::ChunkIndices;
use icechunk::format::manifest::ChunkPayload;
use icechunk::format::snapshot::NodeSnapshot;
use s2ice_manifest::geometry::AnglePlacement;
use s2ice_manifest::source::angle_chunks::decode;

use super::differs;
use super::random::Random;
use super::references::choose;
use crate::angles::{AngleOperation, chunk, operations};
use crate::error::Result;
use crate::plan::{AngleReferences, TreePlan};
use crate::view::{ArrayReader, View};
use crate::window::Windows;

/// Counts the chunks of every array of angles, compares some of those that were changed, and returns how many.
///
/// # Errors
/// [`crate::Error::Gate`], [`crate::Error::Icechunk`].
pub(super) async fn compare(windows: &Windows, tip: &View) -> Result<u64> {
    let mut random = Random::new(&windows.options.run);
    let mut compared = 0;
    for tree in &windows.plan.trees {
        for angles in &tree.angles {
            let path = &angles.path;
            let Some(node) = tip.nodes.get(path.trim_start_matches('/')) else { continue };
            let (found, wanted) = (tip.references(node), angles.present() as u64);
            if found != wanted {
                return Err(differs(windows, &format!("{path} has {found} chunks, not {wanted}")));
            }
            let (era, state) = (tree.era.as_ref(), windows.state.as_deref());
            let changes = operations(angles, era, state, windows.update.anew.contains(&angles.path)).collect();
            compared += compare_array(windows, tip, tree, angles, node, choose(changes, &mut random)).await?;
        }
    }
    Ok(compared)
}

async fn compare_array(
    windows: &Windows,
    tip: &View,
    tree: &TreePlan,
    angles: &AngleReferences,
    node: &NodeSnapshot,
    chosen: Vec<(usize, AngleOperation<'_>)>,
) -> Result<u64> {
    let mut reader = ArrayReader::new(tip, node);
    let mut compared = 0;
    for (step, operation) in chosen {
        let chunk = chunk(angles.array, step);
        let found = reader.chunk(&chunk).await?;
        let right = match operation {
            AngleOperation::Write(AnglePlacement::New(bytes)) => {
                same_values(tip, angles, node, &chunk, found, bytes).await?
            }
            AngleOperation::Write(AnglePlacement::Held { era, step }) => {
                found == Some(windows.held_angles(era.as_ref(), angles.array, *step).await?)
            }
            AngleOperation::Clear | AngleOperation::Keep | AngleOperation::Nothing => found.is_none(),
        };
        if !right {
            let product = tree.steps.get(step).map(|s| s.id.to_string()).unwrap_or_default();
            return Err(differs(windows, &format!("{} of {product} has other values", angles.path)));
        }
        compared += 1;
    }
    Ok(compared)
}

/// By value: another version of the compressor may have packed them.
async fn same_values(
    tip: &View,
    angles: &AngleReferences,
    node: &NodeSnapshot,
    chunk: &ChunkIndices,
    found: Option<ChunkPayload>,
    wanted: &[u8],
) -> Result<bool> {
    let Some(payload) = found else { return Ok(false) };
    let found = tip.bytes(node, chunk, payload).await?;
    let wanted = decode(angles.array, wanted).ok();
    Ok(wanted.is_some() && found.and_then(|found| decode(angles.array, &found).ok()) == wanted)
}
