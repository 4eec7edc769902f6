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
    let order = sequence(&before(&shares), |number| shares[number].era.is_none());
    let main = order.iter().position(|number| shares[*number].era.is_none()).unwrap_or_default();
    if order.iter().skip(main + 1).any(|number| gains(&shares[*number])) {
        shares[order[main]].plan.set_catalogue(watermark.cloned());
    }
    let mut shares: BTreeMap<usize, Share> = shares.into_iter().enumerate().collect();
    order.into_iter().filter_map(|number| shares.remove(&number)).collect()
}

/// The numbers in an order in which none comes before those it waits for; among equals the main store last.
fn sequence(before: &BTreeMap<usize, BTreeSet<usize>>, is_main: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(before.len());
    while order.len() < before.len() {
        let left = before.iter().filter(|(number, _)| !order.contains(number));
        // Two stores that take from each other are the one case without an order.
        let class = |(number, waits): &(&usize, &BTreeSet<usize>)| {
            (!waits.iter().all(|other| order.contains(other)), is_main(**number), **number)
        };
        let Some((next, _)) = left.min_by_key(class) else { break };
        order.push(*next);
    }
    order
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
        for giver in givers(share).iter().filter_map(&of_era) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn order(waits: &[&[usize]]) -> Vec<usize> {
        let before = waits.iter().map(|first| first.iter().copied().collect()).enumerate().collect();
        sequence(&before, |number| number == 0)
    }

    #[test]
    fn receivers_come_first_and_the_main_store_last_among_equals() {
        assert_eq!(order(&[&[], &[], &[]]), [1, 2, 0]);
        // Profile 2 gives to profile 3, the main store to profile 2.
        assert_eq!(order(&[&[1], &[2], &[]]), [2, 1, 0]);
        // A product of era 1 is superseded in the main store; era 2 is new.
        assert_eq!(order(&[&[2], &[0], &[]]), [2, 0, 1]);
        // Each takes from the other: all are written all the same.
        assert_eq!(order(&[&[1], &[0]]), [1, 0]);
    }
}
