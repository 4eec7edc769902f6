//! After assembly: what is remembered of each time step, and which rasters turn out to be in the store as they are.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::{Assembly, Refusal, RefusalKind};
use s2ice_manifest::era::Era;
use s2ice_manifest::geometry::AnglePlacement;
use s2ice_manifest::manifest::{HeldRaster, Placement};
use s2ice_manifest::product::ProductId;

use crate::angles::fingerprint;
use crate::commit::Loaded;
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::layout::time::StepFacts;
use crate::reference::{Referencing, held_fingerprint};
use crate::state::TreeState;
use crate::target::Target;

/// What the facts of a run are made of.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Where the store is; `None` without one.
    pub target: Option<&'a Target>,
    /// What the store holds.
    pub held: &'a Holdings,
    /// How references are written.
    pub referencing: &'a Referencing,
    /// What was left out of the input.
    pub refused: &'a [Refusal],
    /// Products of which something was kept that could not be read this time.
    pub behind: &'a BTreeSet<ProductId>,
    /// Fingerprints of the index rows of the input's products.
    pub inputs: &'a BTreeMap<ProductId, i64>,
    /// When the catalogue last changed the item of a product.
    pub updated: &'a BTreeMap<ProductId, String>,
    /// Products of the store that are not what they were, or may be, and could not be asked: all of them is to be asked for
    /// until they tell.
    pub in_doubt: &'a BTreeSet<ProductId>,
}

/// Works out the facts of every step. Rasters that the store holds with the same references are marked as held, so that
/// nothing is written for them.
///
/// # Errors
/// References that the store holds cannot be read.
pub async fn settle(
    assembly: &mut Assembly,
    era: Option<&Era>,
    loaded: &mut Loaded,
    known: &Known<'_>,
) -> Result<Vec<StepFacts>> {
    let state = loaded.state.clone();
    let state = state.as_ref().and_then(|state| state.tree(era));
    let held = state.map(TreeState::products).unwrap_or_default();
    let refused: BTreeSet<String> = known.refused.iter().map(|refusal| refusal.product.clone()).collect();
    let of_filters = known.refused.iter().filter(|refusal| refusal.kind == RefusalKind::Filtered);
    let filtered: BTreeSet<&str> = of_filters.map(|refusal| refusal.product.as_str()).collect();
    if let Some(state) = state {
        prefer_own(assembly, state);
    }
    let mut facts = Vec::with_capacity(assembly.steps.len());
    for (number, step) in assembly.steps.clone().iter().enumerate() {
        let before = state.zip(held.get(&step.id).copied());
        let untouched = before.filter(|(state, from)| is_untouched(assembly, number, state, *from));
        let (mut fact, is_new) = match untouched {
            Some((state, from)) => (state.facts[from].clone(), false),
            None => {
                let rasters: Vec<&Placement> = assembly.manifests.iter().filter_map(|m| m.at(number)).collect();
                let (content, bytes) = measure(&rasters, loaded, known).await?;
                let headers = rasters.iter().map(|raster| raster.trust()).min().unwrap_or_default();
                let content = content.wrapping_add(measure_angles(assembly, number, loaded, known).await?);
                match before.filter(|(state, from)| state.facts[*from].content == content) {
                    // What was known before of the same references is no less certain now.
                    Some((state, from)) => {
                        let before = &state.facts[from];
                        hold(assembly, number, state, from);
                        (StepFacts { headers: headers.max(before.headers), ..before.clone() }, false)
                    }
                    None => {
                        let updated = known.held.updated(step.id);
                        (StepFacts { updated, headers, content, bytes, ..StepFacts::default() }, true)
                    }
                }
            }
        };
        // The store keeps one word for all rasters of a step.
        assembly
            .manifests
            .iter_mut()
            .filter_map(|m| m.rasters.get_mut(number)?.as_mut())
            .for_each(|raster| raster.set_trust(fact.headers));
        let given = known.inputs.get(&step.id).copied();
        let name = step.id.to_string();
        let is_refused = refused.contains(&name);
        (fact.inputs, fact.partial) = match (given, is_refused) {
            _ if known.in_doubt.contains(&step.id) => (0, true),
            // What its XML says now is not what the store has: it is asked again, also by a run that prunes.
            _ if filtered.contains(name.as_str()) => (0, fact.partial),
            (Some(given), refused) if (is_new || !refused) && !known.behind.contains(&step.id) => (given, refused),
            // What the store holds was not made of these rows: they differ from the remembered ones and come again.
            _ => (known.held.inputs(step.id), known.held.is_partial(step.id) || (is_new && is_refused)),
        };
        if let Some(updated) = known.updated.get(&step.id) {
            fact.updated = Some(updated.clone());
        }
        facts.push(fact);
    }
    Ok(facts)
}

/// Where several trees have the angles of a product, each keeps its own.
fn prefer_own(assembly: &mut Assembly, state: &TreeState) {
    let held = state.products();
    for (number, step) in assembly.steps.iter().enumerate() {
        let Some(from) = held.get(&step.id) else { continue };
        for (array, own) in state.angles(*from) {
            let slot = assembly.angles.get_mut(&array).and_then(|steps| steps.get_mut(number));
            if let Some(slot @ Some(AnglePlacement::Held { .. })) = slot {
                *slot = Some(own);
            }
        }
    }
}

/// True where a step is what the store has of that product, no more and no less.
fn is_untouched(assembly: &Assembly, number: usize, state: &TreeState, from: usize) -> bool {
    let mut rasters = assembly.manifests.iter().filter_map(|m| m.at(number));
    let angles: BTreeMap<_, _> = assembly.angles_at(number);
    let same_angles = angles.into_iter().eq(state.angles(from).iter().map(|(array, held)| (*array, held)));
    same_angles
        && rasters.all(|raster| {
            raster.held().is_some_and(|held| held.era == state.era && usize::try_from(held.step) == Ok(from))
        })
        && assembly.manifests.iter().filter(|m| m.at(number).is_some()).count() == state.rasters(from).count()
}

/// Fingerprint of a step's angles. As for references, the sum over arrays is the same wherever they come from.
async fn measure_angles(assembly: &Assembly, step: usize, loaded: &mut Loaded, known: &Known<'_>) -> Result<i64> {
    let mut content = 0_i64;
    for (array, placement) in assembly.angles_at(step) {
        let of_chunk = |bytes: &[u8]| {
            let damaged = |error| Error::Input(format!("the angles of {}: {error}", assembly.steps[step].id));
            fingerprint(array, bytes).map_err(damaged)
        };
        content = content.wrapping_add(match placement {
            AnglePlacement::New(bytes) => of_chunk(bytes)?,
            AnglePlacement::Held { era, step } => {
                let Some(target) = known.target else { continue };
                let Some(store) = loaded.held(target).await? else { continue };
                let bytes = store.angle_bytes(era.as_ref(), array, *step).await?;
                let Some(bytes) = bytes else { continue };
                of_chunk(&bytes)?
            }
        });
    }
    Ok(content)
}

/// Marks the rasters and angles of a step as those of the store.
fn hold(assembly: &mut Assembly, number: usize, state: &TreeState, from: usize) {
    let held: BTreeMap<_, HeldRaster> = state.rasters(from).map(|raster| (raster.asset, raster)).collect();
    for manifest in &mut assembly.manifests {
        let raster = held.get(&manifest.asset);
        if let (Some(slot @ Some(_)), Some(raster)) = (manifest.rasters.get_mut(number), raster) {
            *slot = Some(Placement::Held(raster.clone()));
        }
    }
    for (array, held) in state.angles(from) {
        if let Some(slot @ Some(_)) = assembly.angles.get_mut(&array).and_then(|steps| steps.get_mut(number)) {
            *slot = Some(held);
        }
    }
}

/// Fingerprint of a step's references and the bytes they stand for. Those of rasters taken over from the store are read
/// back; the sum over rasters is the same whichever of them were.
async fn measure(rasters: &[&Placement], loaded: &mut Loaded, known: &Known<'_>) -> Result<(i64, u64)> {
    let (mut content, mut bytes) = (0_i64, 0_u64);
    for raster in rasters {
        let (fingerprint, length) = match raster {
            Placement::File(file) => {
                let fingerprint = known.referencing.fingerprint(file);
                (fingerprint.map_err(|error| Error::Input(error.to_string()))?, file.referenced_bytes())
            }
            Placement::Held(held) => {
                let Some(target) = known.target else { continue };
                let Some(store) = loaded.held(target).await? else { continue };
                let references = store.of(held).await?;
                let length = references.iter().map(|found| found.reference.length).fold(0, u64::saturating_add);
                (held_fingerprint(raster, &references, |name| store.prefix(name)), length)
            }
        };
        content = content.wrapping_add(fingerprint);
        bytes = bytes.saturating_add(length);
    }
    Ok((content, bytes))
}
