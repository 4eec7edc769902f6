//! What is not asked for this time, since it was refused lately, and what the next runs shall know of this one's refusals.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::decide::{Incomplete, OnMismatch};
use s2ice_manifest::product::ProductId;
use s2ice_manifest::raster::Quantity;
use s2ice_manifest::source::memory::{Due, Memory, Remembered};

use super::fingerprint::number_of_settings;
use super::inputs::Gathered;
use super::prejudged::{Prejudged, Why};
use super::{Bearing, BuildSettings};
use crate::holdings::Holdings;
use crate::layout::geometry;

/// Fingerprint of what a refusal depends on beside the rows: filters and policies; and what is asked of a product of which
/// there are no rows.
fn policy(settings: &BuildSettings) -> i64 {
    number_of_settings(settings, Bearing::Refusals)
}

/// What is waited with, as the last run found it.
#[derive(Debug, Default)]
pub struct Waiting {
    /// What is left out.
    pub refused: Vec<Refusal>,
    /// Products that others stand in the place of.
    pub prejudged: Vec<Prejudged>,
}

/// Takes out of the products that are to be asked for what would be refused again, and says so. What the operator orders to
/// be looked at again is forgotten first.
pub fn hold_back(
    settings: &BuildSettings,
    memory: &Memory,
    held: &Holdings,
    inputs: &BTreeMap<ProductId, i64>,
    asked: Vec<Gathered>,
    rechecks: impl Fn(ProductId) -> bool,
    exempt: &BTreeSet<ProductId>,
) -> (Vec<Gathered>, Waiting) {
    let policy = policy(settings);
    let (mut now, mut out) = (Vec::with_capacity(asked.len()), Waiting::default());
    let refused = &mut out.refused;
    for mut product in asked {
        let id = product.id;
        if rechecks(id) {
            memory.forget_product(id);
            now.push(product);
            continue;
        }
        let fingerprint = inputs.get(&id).copied().unwrap_or_default() ^ policy;
        let stands = |by: ProductId| held.contains(by) && !exempt.contains(&id);
        let due = |raster: Option<&str>| memory.due(id, raster, fingerprint, stands);
        if let Due::Wait(known) = due(None) {
            if let Some(by) = known.by {
                let why = Why::remembered(known.refusal.kind, known.has, || product.main_quantities());
                out.prejudged.push(Prejudged { product: id, by, why });
            } else {
                refused.push(known.refusal);
            }
            continue;
        }
        let before = product.rows.len();
        let mut out_of_reach: BTreeSet<Quantity> = BTreeSet::new();
        product.rows.retain(|row| match due(Some(&row.asset.name())) {
            Due::Ask => true,
            Due::Wait(known) => {
                if known.refusal.kind == RefusalKind::Source {
                    out_of_reach.insert(row.asset.quantity);
                }
                refused.push(known.refusal);
                false
            }
        });
        // Another copy does not stand in for one that is out of reach for now.
        product.rows.retain(|row| !out_of_reach.contains(&row.asset.quantity));
        if !product.rows.is_empty() {
            now.push(product);
        } else if let Due::Wait(known) = due(Some(geometry::RASTER)) {
            refused.push(known.refusal);
        } else if before == 0 {
            now.push(product);
        }
    }
    (now, out)
}

/// True for a product of which nothing need be asked: all that is `known` of it waits. `inputs` is the fingerprint that it was
/// refused with.
pub fn waits(
    settings: &BuildSettings,
    known: &[Remembered],
    held: &Holdings,
    id: ProductId,
    inputs: i64,
    exempt: &BTreeSet<ProductId>,
) -> bool {
    if known.is_empty() {
        return false;
    }
    let (fingerprint, now) = (inputs ^ policy(settings), (settings.occasion.clock)());
    let stands = |by: ProductId| held.contains(by) && !exempt.contains(&id);
    known.iter().all(|known| known.waits(fingerprint, now, stands))
}

/// Remembers the refusals of a run, and forgets those of what is not refused any more. `asked` gives the fingerprints of the
/// products that it looked at. What a source refused that answered nothing at all is asked for by the next run: that has
/// then seen as little, and shall know it.
#[allow(clippy::too_many_arguments)]
pub fn remember(
    settings: &BuildSettings,
    memory: &Memory,
    held: &Holdings,
    asked: impl Fn(ProductId) -> Option<i64>,
    refused: &[Refusal],
    incomplete: &[Incomplete],
    superseded: &BTreeMap<ProductId, ProductId>,
    is_seen: bool,
) {
    let policy = policy(settings);
    let names: BTreeSet<(&str, Option<&str>)> =
        refused.iter().map(|refusal| (refusal.product.as_str(), refusal.raster.as_deref())).collect();
    let given = |product: &str| product.parse().is_ok_and(|id: ProductId| asked(id).is_some());
    memory.settle(given, |product, raster| names.contains(&(product, raster)));
    // Who is refused for the sake of others comes in where these leave.
    let is_for_others = |kind| {
        settings.on_mismatch == OnMismatch::Refuse
            && matches!(kind, RefusalKind::Radiometry | RefusalKind::HeaderProfile)
    };
    let is_passing = |refusal: &&Refusal| refusal.kind == RefusalKind::Source || is_for_others(refusal.kind);
    let passing: BTreeSet<&str> = refused.iter().filter(is_passing).map(|refusal| refusal.product.as_str()).collect();
    for refusal in refused {
        let Ok(id) = refusal.product.parse::<ProductId>() else { continue };
        let Some(fingerprint) = asked(id) else { continue };
        let by = match refusal.kind {
            // It follows from what is refused of its rasters.
            RefusalKind::Empty => continue,
            kind if is_for_others(kind) => continue,
            RefusalKind::Source if !is_seen => continue,
            RefusalKind::Superseded => match superseded.get(&id) {
                Some(by) => Some((*by, BTreeSet::new())),
                None => continue,
            },
            // Where a part of it is out for now, it may be whole by the next run; and of one that stood until now the
            // inputs may give less than what it had.
            RefusalKind::Incomplete if passing.contains(refusal.product.as_str()) || held.contains(id) => continue,
            RefusalKind::Incomplete => match incomplete.iter().find(|incomplete| incomplete.product == id) {
                Some(incomplete) => Some((incomplete.stays, incomplete.has.clone())),
                None => continue,
            },
            _ => None,
        };
        memory.refuse(refusal, fingerprint ^ policy, by);
    }
}
