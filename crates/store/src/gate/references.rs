//! Whether the references at the time steps that a run changed are those of the plan.

use std::collections::HashMap;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use icechunk::format::ChunkIndices;
use icechunk::format::manifest::{ChunkPayload, VirtualChunkRef};
use icechunk::format::snapshot::NodeSnapshot;
use s2ice_manifest::chunk::indices;
use s2ice_manifest::manifest::{HeldRaster, Placement, RasterFile};

use super::differs;
use super::random::Random;
use crate::config::MANIFEST_SPLIT;
use crate::error::Result;
use crate::plan::{ArrayReferences, TreePlan};
use crate::update::{Operation, operation};
use crate::view::{ArrayReader, View};
use crate::window::Windows;

/// Time steps of an array that are compared at most.
const STEPS: usize = 8;

/// Of many changed steps, those compared lie in this many windows: each has a manifest, which is read as a whole.
const WINDOWS: usize = 2;

/// Arrays compared at a time.
const CONCURRENT: usize = 12;

/// What a run did at a time step.
enum Change<'a> {
    Written(&'a RasterFile),
    /// Where the store had the raster.
    Moved(&'a HeldRaster),
    Cleared,
}

/// Compares up to [`STEPS`] changed time steps of each array, and returns how many references these have.
///
/// # Errors
/// [`crate::Error::Gate`], [`crate::Error::Icechunk`].
pub(super) async fn compare(windows: &Windows, tip: &View) -> Result<u64> {
    let mut random = Random::new(&windows.options.run);
    let mut work = Vec::new();
    for (number, tree) in windows.plan.trees.iter().enumerate() {
        for array in &tree.arrays {
            let chosen = choose(changes(windows, number, tree, array), &mut random);
            if let Some(node) = tip.nodes.get(array.path.trim_start_matches('/')).filter(|_| !chosen.is_empty()) {
                work.push(compare_array(windows, tip, tree, array, node, chosen).boxed());
            }
        }
    }
    let compared: Vec<u64> = stream::iter(work).buffer_unordered(CONCURRENT).try_collect().await?;
    Ok(compared.into_iter().sum())
}

/// The time steps of an array at which the run changed references.
fn changes<'a>(
    windows: &'a Windows,
    number: usize,
    tree: &'a TreePlan,
    array: &'a ArrayReferences,
) -> Vec<(usize, Change<'a>)> {
    let era = tree.era.as_ref();
    let anew = windows.update.anew.contains(&array.path);
    let held = windows.state.as_ref().and_then(|state| state.tree(era)?.arrays.get(&array.manifest.asset));
    let held = held.filter(|_| !anew);
    let steps = windows.update.windows.iter().filter(|window| window.tree == number);
    steps
        .flat_map(|window| window.steps.clone())
        .filter_map(|step| {
            let there = held.is_some_and(|held| held.present.get(step) == Some(&true));
            let change = match operation(array.manifest.at(step), era, step, there, anew) {
                Operation::Keep | Operation::Nothing => return None,
                Operation::Clear => Change::Cleared,
                Operation::Write(Placement::File(raster)) => Change::Written(raster),
                Operation::Write(Placement::Held(raster)) => Change::Moved(raster),
            };
            Some((step, change))
        })
        .collect()
}

/// Up to [`STEPS`] of the changed steps, in their order: all, or the same share of each of [`WINDOWS`] windows.
pub(super) fn choose<T>(mut changes: Vec<(usize, T)>, random: &mut Random) -> Vec<(usize, T)> {
    if changes.len() <= STEPS {
        return changes;
    }
    let window = |step: usize| step / MANIFEST_SPLIT as usize;
    let mut windows: Vec<usize> = changes.iter().map(|(step, _)| window(*step)).collect();
    windows.dedup();
    random.shuffle(&mut windows);
    // Where a window has few changes, those after it in the list make up for it.
    let order: HashMap<usize, usize> = windows.into_iter().enumerate().map(|(order, window)| (window, order)).collect();
    random.shuffle(&mut changes);
    let mut taken: HashMap<usize, usize> = HashMap::new();
    changes.sort_by_cached_key(|(step, _)| {
        let window = window(*step);
        let before = taken.entry(window).or_default();
        *before += 1;
        (*before > STEPS / WINDOWS, order.get(&window).copied())
    });
    changes.truncate(STEPS);
    changes.sort_by_key(|(step, _)| *step);
    changes
}

async fn compare_array(
    windows: &Windows,
    tip: &View,
    tree: &TreePlan,
    array: &ArrayReferences,
    node: &NodeSnapshot,
    chosen: Vec<(usize, Change<'_>)>,
) -> Result<u64> {
    let mut reader = ArrayReader::new(tip, node);
    let (rows, columns) = array.manifest.header.grid();
    let mut compared = 0;
    for (step, change) in chosen {
        let time = u32::try_from(step).unwrap_or(u32::MAX);
        let wanted = wanted(windows, array, time, &change).await?;
        for row in 0..rows {
            for column in 0..columns {
                let chunk = ChunkIndices(indices(array.has_components, time, row, column));
                let wanted = wanted.get(&chunk);
                match (reader.chunk(&chunk).await?, wanted) {
                    (None, None) => {}
                    (Some(ChunkPayload::Virtual(found)), Some(wanted)) if found == *wanted => compared += 1,
                    (found, wanted) => {
                        let product = tree.steps.get(step).map(|s| s.id.to_string()).unwrap_or_default();
                        let what = format!(
                            "{} of {product}, row {row}, column {column}, is {}, not {}",
                            array.path,
                            found.as_ref().map_or_else(|| "nothing".to_owned(), payload),
                            wanted.map_or_else(|| "nothing".to_owned(), reference)
                        );
                        return Err(differs(windows, &what));
                    }
                }
            }
        }
    }
    Ok(compared)
}

/// The references that shall stand at a time step.
async fn wanted(
    windows: &Windows,
    array: &ArrayReferences,
    time: u32,
    change: &Change<'_>,
) -> Result<HashMap<ChunkIndices, VirtualChunkRef>> {
    let at = |row, column| ChunkIndices(indices(array.has_components, time, row, column));
    match change {
        Change::Cleared => Ok(HashMap::new()),
        Change::Written(raster) => {
            let mut out = HashMap::new();
            windows.references(raster, array.has_components, time, |chunk, reference| {
                out.insert(chunk, reference);
            })?;
            Ok(out)
        }
        Change::Moved(raster) => {
            let Some(store) = &windows.held else {
                return Err(differs(windows, &format!("the references kept of {} are not at hand", array.path)));
            };
            let references = store.of(raster).await?;
            Ok(references.into_iter().map(|held| (at(held.row, held.column), held.reference)).collect())
        }
    }
}

fn payload(payload: &ChunkPayload) -> String {
    match payload {
        ChunkPayload::Virtual(found) => reference(found),
        _ => "a chunk in the store".to_owned(),
    }
}

fn reference(reference: &VirtualChunkRef) -> String {
    let checksum = if reference.checksum.is_some() { "with" } else { "without" };
    format!("{} bytes at {} of {} {checksum} checksum", reference.length, reference.offset, reference.location.url())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(steps: impl Iterator<Item = usize>, run: &str) -> Vec<usize> {
        let steps = steps.map(|step| (step, ())).collect();
        choose(steps, &mut Random::new(run)).into_iter().map(|(step, ())| step).collect()
    }

    #[test]
    fn few_changes_are_compared_all() {
        assert_eq!(chosen([3, 4, 250].into_iter(), "a"), [3, 4, 250]);
        assert_eq!(chosen((100..108).chain([]), "a").len(), STEPS);
    }

    #[test]
    fn many_changes_are_sampled_in_few_windows() {
        let mut seen = std::collections::BTreeSet::new();
        let length = MANIFEST_SPLIT as usize;
        for run in 0..200 {
            let steps = chosen(0..1400, &run.to_string());
            assert_eq!(steps.len(), STEPS);
            assert!(steps.is_sorted());
            let mut windows: Vec<usize> = steps.iter().map(|step| step / length).collect();
            windows.dedup();
            assert_eq!(windows.len(), WINDOWS, "{steps:?}");
            seen.extend(windows);
        }
        assert_eq!(seen.len(), 1400_usize.div_ceil(length), "every window has its turn");
        // A window with one change does not make the number smaller.
        let steps = chosen((0..40).chain([199]), "a");
        assert_eq!(steps.len(), STEPS);
    }
}
