//! Rule 1: what has no admissible raster competes with nothing.
//!
//! Ranges, headers and metadata were judged where the evidence was gathered; candidates have only what passed. Rules 5 and
//! 6 judge what depends on the other candidates, and what they refuse is taken out here.

use std::collections::BTreeMap;

use super::leaving::{Leaving, LeavingReason};
use super::{Decision, Misfit, Standing};
use crate::assemble::{ProductRecord, Refusal, RefusalKind};
use crate::era::Radiometry;
use crate::manifest::Placement;
use crate::product::ProductId;

/// The candidates that can stand.
pub(super) fn admit(
    candidates: Vec<ProductRecord>,
    standing: &Standing,
    found: &mut Decision,
) -> BTreeMap<ProductId, ProductRecord> {
    let mut records: BTreeMap<_, _> = candidates.into_iter().map(|record| (record.id, record)).collect();
    let odd = records.values().filter(|record| !Radiometry::of(&record.metadata).is_nameable()).map(|record| Misfit {
        product: record.id,
        rasters: record.rasters.iter().map(Placement::asset).collect(),
        refusal: Refusal {
            product: record.id.to_string(),
            raster: None,
            kind: RefusalKind::Radiometry,
            reason: format!("no tree can be named after its {}", Radiometry::of(&record.metadata)),
        },
    });
    let odd: Vec<Misfit> = odd.collect();
    take_out(&mut records, odd, standing, found);
    records
}

/// Takes out rasters that must not stand, and products that have none left. Where the store holds such a raster, its file
/// or its product's metadata is another one by now: with what the store has, it would have kept its place.
pub(super) fn take_out(
    records: &mut BTreeMap<ProductId, ProductRecord>,
    misfits: Vec<Misfit>,
    standing: &Standing,
    found: &mut Decision,
) {
    for Misfit { product, rasters, refusal } in misfits {
        if let Some(record) = records.get_mut(&product) {
            record.rasters.retain(|raster| !rasters.contains(&raster.asset()));
            // One refusal says it all.
            if record.rasters.is_empty() && refusal.raster.is_none() {
                records.remove(&product);
            }
        }
        for asset in rasters.into_iter().filter(|asset| standing.raster(product, *asset).is_some()) {
            let reason = LeavingReason::AnotherFile { why: refusal.reason.clone() };
            found.leaving.push(Leaving { product, raster: Some(asset), reason });
        }
        found.refused.push(refusal);
    }
    let refused = &mut found.refused;
    records.retain(|id, record| {
        if record.rasters.is_empty() {
            refused.push(Refusal {
                product: id.to_string(),
                raster: None,
                kind: RefusalKind::Empty,
                reason: "no raster of this product can be referenced".to_owned(),
            });
        }
        !record.rasters.is_empty()
    });
}
