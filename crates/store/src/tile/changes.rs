//! What a run changes, told in products.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::Step;
use s2ice_manifest::decide::{Leaving, LeavingReason};
use s2ice_manifest::manifest::Placement;
use s2ice_manifest::product::{ProductId, ProductMetadata};

use crate::commit::Loaded;
use crate::error::Result;
use crate::holdings::Holdings;
use crate::plan::{ArrayReferences, StorePlan, TreePlan};
use crate::report::{Changes, Replaced};
use crate::state::TreeState;
use crate::target::Target;

/// What all trees hold and shall hold: a product may go from one to another.
pub struct Tile<'a> {
    /// Before the run.
    pub held: &'a Holdings,
    /// After it.
    pub wanted: &'a BTreeSet<ProductId>,
}

/// Compares the time axes of a tree of the store and of a plan.
pub fn changes(
    state: Option<&TreeState>,
    plan: &TreePlan,
    in_input: impl Fn(ProductId) -> bool,
    leaving: &[Leaving],
    tile: &Tile<'_>,
) -> Changes {
    let wanted: BTreeSet<ProductId> = plan.steps.iter().map(|step| step.id).collect();
    let held = state.map(TreeState::products).unwrap_or_default();
    let last = state.and_then(|s| s.steps.last()).map_or(i64::MIN, |step| step.time_ms);
    let by: BTreeMap<ProductId, ProductId> = leaving
        .iter()
        .filter(|leaving| leaving.raster.is_none())
        .filter_map(|leaving| match leaving.reason {
            LeavingReason::Superseded { by } => Some((leaving.product, by)),
            _ => None,
        })
        .collect();
    let mut out = Changes::default();
    let before = state.map(|state| state.steps.as_slice()).unwrap_or_default();
    for id in before.iter().map(|step| step.id).filter(|id| !wanted.contains(id)) {
        if tile.wanted.contains(&id) {
            out.moved.push(id.to_string());
            continue;
        }
        match by.get(&id) {
            Some(by) => out.replaced.push(Replaced { product: id.to_string(), by: by.to_string() }),
            None => out.removed.push(id.to_string()),
        }
    }
    let replacing: BTreeSet<String> = out.replaced.iter().map(|r| r.by.clone()).collect();
    for (number, step) in plan.steps.iter().enumerate() {
        let name = step.id.to_string();
        match state.zip(held.get(&step.id)) {
            None if replacing.contains(&name) => {}
            None if tile.held.contains(step.id) => out.moved.push(name),
            None if step.time_ms > last => out.appended.push(name),
            None => out.inserted.push(name),
            Some((state, from)) => {
                let (old, new) = (&state.facts[*from], &plan.facts[number]);
                let same =
                    (old.content, old.headers) == (new.content, new.headers) && same_step(&state.steps[*from], step);
                if !same {
                    out.updated.push(name);
                } else if in_input(step.id) {
                    out.unchanged += 1;
                } else {
                    out.kept += 1;
                }
            }
        }
    }
    out
}

fn same_step(a: &Step, b: &Step) -> bool {
    same_metadata(&a.metadata, &b.metadata)
}

/// True where metadata are the same to a store, which keeps the cloud cover with single precision.
#[allow(clippy::cast_possible_truncation)]
pub fn same_metadata(a: &ProductMetadata, b: &ProductMetadata) -> bool {
    let kept = |metadata: &ProductMetadata| {
        let cloud_cover = metadata.cloud_cover.map(|percent| f64::from(percent as f32));
        ProductMetadata { cloud_cover, ..metadata.clone() }
    };
    kept(a) == kept(b)
}

/// References that each array of the plan will have, those that the store holds included.
///
/// # Errors
/// References that the store holds cannot be read.
pub async fn references(
    loaded: &mut Loaded,
    target: Option<&Target>,
    plan: &StorePlan,
) -> Result<BTreeMap<String, u64>> {
    let mut out = BTreeMap::new();
    for tree in &plan.trees {
        for array in &tree.arrays {
            out.insert(array.path.clone(), count(loaded, target, tree, array).await?);
        }
    }
    Ok(out)
}

/// References of one array: new ones, those it keeps, and those it takes over from other trees.
async fn count(loaded: &mut Loaded, target: Option<&Target>, tree: &TreePlan, array: &ArrayReferences) -> Result<u64> {
    let mut count = array.manifest.references();
    let Some(target) = target else { return Ok(count) };
    let held = array.manifest.rasters.iter().flatten().filter_map(Placement::held);
    let (own, others): (Vec<_>, Vec<_>) = held.partition(|raster| raster.era == tree.era);
    for raster in others {
        if let Some(store) = loaded.held(target).await? {
            count += store.of(raster).await?.len() as u64;
        }
    }
    let state = loaded.state.clone();
    let there = state.as_ref().and_then(|state| state.tree(tree.era.as_ref())?.arrays.get(&array.manifest.asset));
    let Some(there) = there.filter(|_| !own.is_empty()) else { return Ok(count) };
    let kept: BTreeSet<usize> = own.iter().filter_map(|raster| usize::try_from(raster.step).ok()).collect();
    let mut stays = there.references;
    for step in (0..there.present.len()).filter(|step| there.present[*step] && !kept.contains(step)) {
        let Some(store) = loaded.held(target).await? else { break };
        stays = stays.saturating_sub(store.references(there, step).await?.len() as u64);
    }
    Ok(count + stays)
}
