//! Products that are not asked for, since others stand in their place, and whether these still do when all is decided.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::decide::{Decision, Incomplete, Resolutions, covers};
use s2ice_manifest::product::{ProductId, datastrip_start, granule_start, same_datastrip};
use s2ice_manifest::raster::{Asset, Quantity};
use s2ice_manifest::stac::StacItem;

/// A product that was not asked for.
#[derive(Debug, Clone)]
pub struct Prejudged {
    /// Its name.
    pub product: ProductId,
    /// What stands in its place.
    pub by: ProductId,
    /// Why that one does.
    pub why: Why,
}

/// Why another product stands.
#[derive(Debug, Clone)]
pub enum Why {
    /// It counts more and has all of these.
    Has(BTreeSet<Quantity>),
    /// It counts less, but has more than the product, which has these.
    Lacks(BTreeSet<Asset>),
}

impl Why {
    /// As a refusal of this kind is remembered, of a product that has these assets, or whose rows name these quantities.
    pub fn remembered(kind: RefusalKind, has: BTreeSet<Asset>, named: impl Fn() -> BTreeSet<Quantity>) -> Self {
        if kind == RefusalKind::Incomplete { Self::Lacks(has) } else { Self::Has(named()) }
    }
}

/// When the datastrip of a product starts, where its item and the folder of its files say the same. What the item alone
/// says is left to the product's XML: the wrong half of a datatake would be dropped for good.
pub fn start_of<'a>(item: &StacItem, paths: impl IntoIterator<Item = &'a str>) -> Option<DateTime<Utc>> {
    let start = datastrip_start(item.datastrip_id.as_deref()?);
    let mut paths = paths.into_iter().peekable();
    paths.peek()?;
    start.filter(|_| paths.all(|path| same_datastrip(granule_start(path), start)))
}

/// What the report says of them, each beside what stands now; what is incomplete comes by itself too.
pub fn told(prejudged: &[Prejudged], decision: &Decision, resolutions: Resolutions) -> (Vec<Refusal>, Vec<Incomplete>) {
    let stays = decision.rasters();
    let (mut refused, mut incomplete) = (Vec::new(), Vec::new());
    for Prejudged { product, by, why } in prejudged {
        match (why, stays.get(by)) {
            (Why::Lacks(has), Some(rasters)) => {
                incomplete.push(Incomplete::beside((*by, rasters), *product, has.clone(), resolutions));
            }
            _ => refused.push(Refusal::superseded(*product, *by)),
        }
    }
    refused.extend(incomplete.iter().map(Incomplete::refusal));
    (refused, incomplete)
}

/// Which product each one gave way to, before the decision or in it.
pub fn superseded(prejudged: &[Prejudged], decision: &Decision) -> BTreeMap<ProductId, ProductId> {
    let before = prejudged.iter().filter(|of| matches!(of.why, Why::Has(_))).map(|of| (of.product, of.by));
    before.chain(decision.superseded.iter().copied()).collect()
}

/// The products that were not asked for on account of what does not stand, or not whole enough, after the decision.
pub fn wrongly(prejudged: &[Prejudged], decision: &Decision, resolutions: Resolutions) -> BTreeSet<ProductId> {
    let stays = decision.rasters();
    let later: BTreeMap<ProductId, ProductId> = decision.superseded.iter().copied().collect();
    let last = |mut id: ProductId| {
        while let Some(by) = later.get(&id) {
            id = *by;
        }
        id
    };
    let holds = |prejudged: &&Prejudged| match &prejudged.why {
        Why::Has(quantities) => stays.get(&last(prejudged.by)).is_some_and(|rasters| {
            quantities.iter().all(|quantity| rasters.iter().any(|raster| raster.quantity == *quantity))
        }),
        Why::Lacks(has) => stays.get(&prejudged.by).is_some_and(|rasters| !covers(has, rasters, resolutions)),
    };
    prejudged.iter().filter(|prejudged| !holds(prejudged)).map(|prejudged| prejudged.product).collect()
}
