//! After assembly: what is remembered of each time step, and which rasters turn out to be in the store as they are.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::Assembly;
use s2ice_manifest::manifest::{HeldRaster, Placement};
use s2ice_manifest::product::ProductId;

use super::fingerprint::{Salt, content};
use crate::commit::Loaded;
use crate::error::Result;
use crate::layout::time::StepFacts;
use crate::state::StoreState;
use crate::target::Target;

/// What the facts of a run are made of.
pub struct Known<'a> {
    /// Where the store is; `None` without one.
    pub target: Option<&'a Target>,
    /// See [`content`].
    pub salt: &'a Salt,
    /// Fingerprints of the index rows of the input's products.
    pub inputs: &'a BTreeMap<ProductId, i64>,
    /// When the catalogue last changed the item of a product.
    pub updated: &'a BTreeMap<ProductId, String>,
}

/// Works out the facts of every step. Rasters that the store holds with the same references are marked as held, so that
/// nothing is written for them.
///
/// # Errors
/// References that the store holds cannot be read.
pub async fn settle(assembly: &mut Assembly, loaded: &mut Loaded, known: &Known<'_>) -> Result<Vec<StepFacts>> {
    let state = loaded.state.clone();
    let held = state.as_ref().map(|state| state.products()).unwrap_or_default();
    let refused: BTreeSet<String> = assembly.refused.iter().map(|refusal| refusal.product.clone()).collect();
    let mut facts = Vec::with_capacity(assembly.steps.len());
    for (number, step) in assembly.steps.clone().iter().enumerate() {
        let before = state.as_deref().zip(held.get(&step.id).copied());
        let mut fact = match before.filter(|(state, from)| is_untouched(assembly, number, state, *from)) {
            Some((state, from)) => state.facts[from].clone(),
            None => {
                let rasters: Vec<&Placement> = assembly.manifests.iter().filter_map(|m| m.at(number)).collect();
                let fingerprint = content(known.salt, &rasters);
                match before.filter(|(state, from)| state.facts[*from].content == fingerprint) {
                    Some((state, from)) => {
                        hold(assembly, number, state, from);
                        state.facts[from].clone()
                    }
                    None => StepFacts {
                        updated: before.and_then(|(state, from)| state.facts[from].updated.clone()),
                        verified: rasters.iter().all(|raster| raster.verified()),
                        inputs: 0,
                        content: fingerprint,
                        bytes: bytes(&rasters, loaded, known.target).await?,
                    },
                }
            }
        };
        if refused.contains(&step.id.to_string()) {
            fact.inputs = 0;
        } else if let Some(inputs) = known.inputs.get(&step.id) {
            fact.inputs = *inputs;
        }
        if let Some(updated) = known.updated.get(&step.id) {
            fact.updated = Some(updated.clone());
        }
        facts.push(fact);
    }
    Ok(facts)
}

/// True where a step is what the store has of that product, no more and no less.
fn is_untouched(assembly: &Assembly, number: usize, state: &StoreState, from: usize) -> bool {
    let mut rasters = assembly.manifests.iter().filter_map(|m| m.at(number));
    rasters.all(|raster| raster.held().is_some_and(|held| usize::try_from(held.step) == Ok(from)))
        && assembly.manifests.iter().filter(|m| m.at(number).is_some()).count() == state.rasters(from).count()
}

/// Marks the rasters of a step as those of the store.
fn hold(assembly: &mut Assembly, number: usize, state: &StoreState, from: usize) {
    let held: BTreeMap<_, HeldRaster> = state.rasters(from).map(|raster| (raster.asset, raster)).collect();
    for manifest in &mut assembly.manifests {
        let raster = held.get(&manifest.asset);
        if let (Some(slot @ Some(_)), Some(raster)) = (manifest.rasters.get_mut(number), raster) {
            *slot = Some(Placement::Held(raster.clone()));
        }
    }
}

/// Bytes of a step's references; those of rasters taken over from the store are read back.
async fn bytes(rasters: &[&Placement], loaded: &mut Loaded, target: Option<&Target>) -> Result<u64> {
    let mut total = 0_u64;
    for raster in rasters {
        let bytes = match raster {
            Placement::File(file) => file.referenced_bytes(),
            Placement::Held(raster) => {
                let Some(target) = target else { continue };
                let Some(store) = loaded.held(target).await? else { continue };
                store.bytes(raster.asset, usize::try_from(raster.step).unwrap_or(usize::MAX)).await?
            }
        };
        total = total.saturating_add(bytes);
    }
    Ok(total)
}
