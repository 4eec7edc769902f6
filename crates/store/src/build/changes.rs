//! What a run changes, told in products.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::{Refusal, RefusalKind, Step};
use s2ice_manifest::manifest::Placement;
use s2ice_manifest::product::{ProductId, precedence};

use crate::commit::Loaded;
use crate::error::Result;
use crate::holdings::Holdings;
use crate::plan::StorePlan;
use crate::report::{Changes, Replaced};
use crate::state::StoreState;
use crate::target::Target;

/// What all stores of the tile hold and shall hold: a product may go from one to another.
pub struct Tile<'a> {
    /// Before the run.
    pub held: &'a Holdings,
    /// After it.
    pub wanted: &'a BTreeSet<ProductId>,
}

/// Compares the time axes of a store and of a plan.
pub fn changes(
    state: Option<&StoreState>,
    plan: &StorePlan,
    in_input: impl Fn(ProductId) -> bool,
    refused: &[Refusal],
    tile: &Tile<'_>,
) -> Changes {
    let wanted: BTreeSet<ProductId> = plan.steps.iter().map(|step| step.id).collect();
    let held = state.map(StoreState::products).unwrap_or_default();
    let last = state.and_then(|s| s.steps.last()).map_or(i64::MIN, |step| step.time_ms);
    let superseded: BTreeSet<&str> = refused
        .iter()
        .filter(|refusal| refusal.kind == RefusalKind::Superseded && refusal.raster.is_none())
        .map(|refusal| refusal.product.as_str())
        .collect();
    let mut out = Changes::default();
    let before = state.map(|state| state.steps.as_slice()).unwrap_or_default();
    for id in before.iter().map(|step| step.id).filter(|id| !wanted.contains(id)) {
        if tile.wanted.contains(&id) {
            out.moved.push(id.to_string());
            continue;
        }
        let by = tile.wanted.iter().copied().filter(|other| other.datatake() == id.datatake());
        match by.max_by_key(|other| precedence(*other)).filter(|_| superseded.contains(id.to_string().as_str())) {
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
                let same =
                    state.facts[*from].content == plan.facts[number].content && same_step(&state.steps[*from], step);
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

/// The cloud cover is kept with single precision.
#[allow(clippy::cast_possible_truncation)]
fn same_step(a: &Step, b: &Step) -> bool {
    let mut a = a.metadata.clone();
    let mut b = b.metadata.clone();
    for metadata in [&mut a, &mut b] {
        metadata.cloud_cover = metadata.cloud_cover.map(|percent| f64::from(percent as f32));
    }
    a == b
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
    let state = loaded.state.clone();
    for array in &plan.arrays {
        let mut count = array.manifest.references();
        for raster in array.manifest.rasters.iter().flatten() {
            let Placement::Elsewhere(raster) = raster else { continue };
            let Some(store) = loaded.elsewhere.get(&raster.era) else { continue };
            let Some(held) = store.array(raster.asset) else { continue };
            let step = usize::try_from(raster.step).unwrap_or(usize::MAX);
            count += store.references(held, step).await?.len() as u64;
        }
        if let Some(held) = state.as_ref().and_then(|state| state.arrays.get(&array.manifest.asset)) {
            let kept: BTreeSet<usize> = array
                .manifest
                .rasters
                .iter()
                .flatten()
                .filter_map(|raster| usize::try_from(raster.held()?.step).ok())
                .collect();
            let mut there = held.references;
            for step in (0..held.present.len()).filter(|step| held.present[*step] && !kept.contains(step)) {
                let Some(target) = target else { break };
                let Some(store) = loaded.held(target).await? else { break };
                there = there.saturating_sub(store.references(held, step).await?.len() as u64);
            }
            count += if kept.is_empty() { 0 } else { there };
        }
        out.insert(array.path.clone(), count);
    }
    Ok(out)
}
