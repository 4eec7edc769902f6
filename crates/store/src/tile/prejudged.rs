//! Products that are not asked for, since others stand in their place, and whether these still do when all is decided.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::Refusal;
use s2ice_manifest::decide::Decision;
use s2ice_manifest::product::ProductId;
use s2ice_manifest::raster::{Asset, Quantity};

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
    /// It counts less, but has these rasters and the product does not.
    Lacks(Vec<Asset>),
}

impl Prejudged {
    /// As the report says it.
    pub fn refusal(&self) -> Refusal {
        Refusal::superseded(self.product, self.by)
    }
}

/// Which product each one gave way to, before the decision or in it.
pub fn superseded(prejudged: &[Prejudged], decision: &Decision) -> BTreeMap<ProductId, ProductId> {
    let before = prejudged.iter().filter(|of| matches!(of.why, Why::Has(_))).map(|of| (of.product, of.by));
    before.chain(decision.superseded.iter().copied()).collect()
}

/// The products that were not asked for on account of what does not stand, or not whole enough, after the decision.
pub fn wrongly(prejudged: &[Prejudged], decision: &Decision) -> BTreeSet<ProductId> {
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
        Why::Lacks(lacks) => stays.get(&prejudged.by).is_some_and(|rasters| {
            lacks.iter().any(|lacking| rasters.iter().any(|raster| raster.quantity == lacking.quantity))
        }),
    };
    prejudged.iter().filter(|prejudged| !holds(prejudged)).map(|prejudged| prejudged.product).collect()
}
