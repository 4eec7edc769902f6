//! Rule 4: which processing of an acquisition counts; none takes the place of one that has more.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::copies::Resolutions;
use super::leaving::{Leaving, LeavingReason};
use super::{Decision, Policy, Standing};
use crate::assemble::{Refusal, RefusalKind};
use crate::product::{ProductId, precedence};
use crate::raster::Asset;

/// A product that would count more than another of its acquisition, but has less.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incomplete {
    /// Its name.
    pub product: ProductId,
    /// What it has.
    pub has: BTreeSet<Asset>,
    /// Rasters that the other one has.
    pub lacks: Vec<Asset>,
    /// The other one, which stays.
    pub stays: ProductId,
}

impl Incomplete {
    /// Beside one that stays and has `rasters`.
    #[must_use]
    pub fn beside(
        (stays, rasters): (ProductId, &BTreeSet<Asset>),
        product: ProductId,
        has: BTreeSet<Asset>,
        resolutions: Resolutions,
    ) -> Self {
        let lacks = lacking(&has, rasters, resolutions).collect();
        Self { product, has, lacks, stays }
    }

    /// As the report says it.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let Self { product, lacks, stays, .. } = self;
        let lacks: Vec<String> = lacks.iter().map(ToString::to_string).collect();
        let lacks = lacks.join(", ");
        Refusal {
            product: product.to_string(),
            raster: None,
            kind: RefusalKind::Incomplete,
            reason: format!(
                "it lacks {lacks} of {stays}, which stays until then (--accept-incomplete takes it as it is)"
            ),
        }
    }
}

/// Which products stand, and which give way to which.
pub(super) struct Choice {
    pub(super) kept: BTreeSet<ProductId>,
    superseded: Vec<(ProductId, ProductId)>,
    incomplete: Vec<Incomplete>,
}

/// True where a product with the rasters `more` can take the place of one with the rasters `less`: it has every band, SCL,
/// AOT and WVP of it. A missing mask, probability or quick-look holds nothing back.
#[must_use]
pub fn covers(more: &BTreeSet<Asset>, less: &BTreeSet<Asset>, resolutions: Resolutions) -> bool {
    lacking(more, less, resolutions).next().is_none()
}

fn lacking<'a>(
    own: &'a BTreeSet<Asset>,
    other: &'a BTreeSet<Asset>,
    resolutions: Resolutions,
) -> impl Iterator<Item = Asset> + 'a {
    let has = move |asset: &Asset| match resolutions {
        Resolutions::All => own.contains(asset),
        Resolutions::Best => own.iter().any(|own| own.quantity == asset.quantity),
    };
    other.iter().copied().filter(move |asset| asset.quantity.is_main() && !has(asset))
}

/// Chooses one product of each acquisition.
pub(super) fn choose(
    groups: Vec<Vec<ProductId>>,
    wanted: &BTreeMap<ProductId, BTreeSet<Asset>>,
    standing: &Standing,
    policy: &Policy,
) -> Choice {
    let none = BTreeSet::new();
    let rasters = |id: ProductId| wanted.get(&id).unwrap_or(&none);
    let mut out = Choice { kept: BTreeSet::new(), superseded: Vec::new(), incomplete: Vec::new() };
    for group in groups {
        let Some(winner) = winner(&group, rasters, standing, policy) else { continue };
        out.kept.insert(winner);
        for id in group.into_iter().filter(|id| *id != winner) {
            if precedence(id) < precedence(winner) {
                out.superseded.push((id, winner));
            } else {
                let (stays, has) = ((winner, rasters(winner)), rasters(id).clone());
                out.incomplete.push(Incomplete::beside(stays, id, has, policy.resolutions));
            }
        }
    }
    out
}

fn winner<'a>(
    group: &[ProductId],
    rasters: impl Fn(ProductId) -> &'a BTreeSet<Asset>,
    standing: &Standing,
    policy: &Policy,
) -> Option<ProductId> {
    let group = || group.iter().copied();
    if policy.accept_incomplete {
        return group().max_by_key(|id| precedence(*id));
    }
    let covers = |more, less| covers(rasters(more), rasters(less), policy.resolutions);
    // A strict order: where two have the same, precedence tells.
    let dominates = |x: ProductId, y: ProductId| covers(x, y) && (!covers(y, x) || precedence(x) > precedence(y));
    let is_dominated = |id: ProductId| group().any(|other| dominates(other, id));
    let held = group().filter(|id| standing.products.contains_key(id)).max_by_key(|id| precedence(*id));
    match held {
        Some(held) if !is_dominated(held) => Some(held),
        _ => {
            let mains = |id: ProductId| rasters(id).iter().filter(|asset| asset.quantity.is_main()).count();
            let can = |id: &ProductId| !is_dominated(*id) && held.is_none_or(|held| covers(*id, held));
            group().filter(can).max_by_key(|id| (mains(*id), precedence(*id)))
        }
    }
}

impl Choice {
    /// Names what gives way, and what of that leaves the store.
    pub(super) fn report(self, standing: &Standing, found: &mut Decision) {
        let given_way = self.superseded.iter().copied();
        let given_way =
            given_way.chain(self.incomplete.iter().map(|incomplete| (incomplete.product, incomplete.stays)));
        for (product, by) in given_way.filter(|(product, _)| standing.products.contains_key(product)) {
            found.leaving.push(Leaving { product, raster: None, reason: LeavingReason::Superseded { by } });
        }
        found.refused.extend(self.superseded.iter().map(|(product, by)| Refusal::superseded(*product, *by)));
        found.superseded = self.superseded;
        found.refused.extend(self.incomplete.iter().map(Incomplete::refusal));
        found.incomplete = self.incomplete;
        found.incomplete.sort_by_key(|incomplete| incomplete.product);
    }
}
