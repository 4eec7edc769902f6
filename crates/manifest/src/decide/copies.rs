//! Rule 2: the best copy of each quantity, among the admissible ones only.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Standing;
use super::leaving::{Leaving, LeavingReason};
use crate::assemble::ProductRecord;
use crate::manifest::Placement;
use crate::product::ProductId;
use crate::raster::{Asset, Quantity};

/// Which copies of a raster to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resolutions {
    /// Each quantity at home, and where a product has none there, at the finest resolution it has.
    #[default]
    Best,
    /// Every copy (R10m, R20m, R60m).
    All,
}

/// For every quantity its copies, the best first. Where only the best is wanted, the source is asked for the first, and for
/// the next only once that was refused for good.
#[must_use]
pub fn ask_order(assets: impl IntoIterator<Item = Asset>) -> BTreeMap<Quantity, Vec<Asset>> {
    let mut out: BTreeMap<Quantity, Vec<Asset>> = BTreeMap::new();
    for asset in assets {
        out.entry(asset.quantity).or_default().push(asset);
    }
    for copies in out.values_mut() {
        copies.sort_by_key(|asset| asset.worth());
        copies.dedup();
    }
    out
}

/// The rasters that are wanted of each product.
pub(super) fn best(
    records: &BTreeMap<ProductId, ProductRecord>,
    resolutions: Resolutions,
) -> BTreeMap<ProductId, BTreeSet<Asset>> {
    let wanted = |record: &ProductRecord| {
        let assets = record.rasters.iter().map(Placement::asset);
        match resolutions {
            Resolutions::All => assets.collect(),
            Resolutions::Best => ask_order(assets).values().filter_map(|copies| copies.first().copied()).collect(),
        }
    };
    records.iter().map(|(id, record)| (*id, wanted(record))).collect()
}

/// The standing copies of kept products that a better one makes needless.
pub(super) fn leaving(
    wanted: &BTreeMap<ProductId, BTreeSet<Asset>>,
    records: &BTreeMap<ProductId, ProductRecord>,
    standing: &Standing,
    kept: &BTreeSet<ProductId>,
    leaving: &mut Vec<Leaving>,
) {
    for product in kept {
        let (Some(record), Some(wanted)) = (records.get(product), wanted.get(product)) else { continue };
        for asset in record.rasters.iter().map(Placement::asset) {
            let better = wanted.iter().find(|better| better.quantity == asset.quantity);
            if let Some(by) = better.filter(|_| !wanted.contains(&asset) && standing.raster(*product, asset).is_some())
            {
                let reason = LeavingReason::BetterCopy { by: *by };
                leaving.push(Leaving { product: *product, raster: Some(asset), reason });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn home_comes_first_then_the_finest() {
        for (given, order) in [
            (["B01_20m", "B01_60m", "B01_10m"].as_slice(), ["B01_60m", "B01_10m", "B01_20m"].as_slice()),
            (&["B02_60m", "B02_20m"], &["B02_20m", "B02_60m"]),
            (&["SCL_60m", "SCL_20m", "SCL_60m"], &["SCL_20m", "SCL_60m"]),
            (&["MSK_CLDPRB_60m"], &["MSK_CLDPRB_60m"]),
        ] {
            let asked = ask_order(given.iter().map(|name| name.parse().unwrap()));
            let names: Vec<String> = asked.into_values().flatten().map(Asset::name).collect();
            assert_eq!(names, order);
        }
        assert_eq!(ask_order(["B02_10m", "SCL_20m"].map(|name| name.parse().unwrap())).len(), 2);
    }
}
