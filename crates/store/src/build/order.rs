//! In which order the stores of a tile are written: nothing is taken away before it stands where it belongs, and the main
//! store names no era that is not there. So a run that is killed in between has lost nothing.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::era::Era;
use s2ice_manifest::manifest::Placement;

use super::prepare::Share;
use crate::plan::CatalogueStamp;

/// The shares in the order of writing. Where eras come after the main store that gain products, that keeps the watermark it
/// had: if the run were killed between them, the catalogue would not show these again.
pub fn in_order(mut shares: Vec<Share>, watermark: Option<&CatalogueStamp>) -> Vec<Share> {
    let before = before(&shares);
    let mut order: Vec<usize> = Vec::with_capacity(shares.len());
    while order.len() < shares.len() {
        let left = (0..shares.len()).filter(|number| !order.contains(number));
        let free = |number: &usize| before[number].iter().all(|other| order.contains(other));
        // Two stores that take from each other are the one case without an order.
        let class = |number: &usize| (!free(number), shares[*number].era.is_none(), *number);
        let Some(next) = left.min_by_key(class) else { break };
        order.push(next);
    }
    let main = order.iter().position(|number| shares[*number].era.is_none()).unwrap_or_default();
    if order.iter().skip(main + 1).any(|number| gains(&shares[*number])) {
        shares[order[main]].plan.set_catalogue(watermark.cloned());
    }
    let mut shares: BTreeMap<usize, Share> = shares.into_iter().enumerate().collect();
    order.into_iter().filter_map(|number| shares.remove(&number)).collect()
}

/// For each share, those that have to be written first.
fn before(shares: &[Share]) -> BTreeMap<usize, BTreeSet<usize>> {
    let of_era = |era: &Option<Era>| shares.iter().position(|share| share.era == *era);
    let mut out: BTreeMap<usize, BTreeSet<usize>> = (0..shares.len()).map(|number| (number, BTreeSet::new())).collect();
    let mut order = |first: usize, then: usize| {
        if first != then {
            out.entry(then).or_default().insert(first);
        }
    };
    for (number, share) in shares.iter().enumerate() {
        for giver in givers(share).iter().filter_map(|era| of_era(era)) {
            order(number, giver);
        }
        for (other, winner) in shares.iter().enumerate() {
            let holds = |name: &String| winner.plan.steps.iter().any(|step| step.id.to_string() == *name);
            if share.changes.replaced.iter().any(|replaced| holds(&replaced.by)) {
                order(other, number);
            }
        }
        if let (true, Some(main)) = (share.is_new && share.era.is_some(), of_era(&None)) {
            order(number, main);
        }
    }
    out
}

/// The stores from which a share takes rasters or angles over.
fn givers(share: &Share) -> BTreeSet<Option<Era>> {
    let rasters = share.plan.arrays.iter().flat_map(|array| array.manifest.rasters.iter().flatten());
    let rasters = rasters.filter_map(|raster| match raster {
        Placement::Elsewhere(raster) => Some(raster.era.clone()),
        _ => None,
    });
    let angles = share.plan.angles.iter().flat_map(|angles| angles.placements.iter().flatten());
    rasters.chain(angles.filter_map(|placement| placement.giver().cloned())).collect()
}

fn gains(share: &Share) -> bool {
    share.plan.arrays.iter().any(|array| array.manifest.files().next().is_some())
}
