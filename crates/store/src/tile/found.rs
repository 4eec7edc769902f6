//! What is there: of the input what has to be asked about, what products and files say, and what the store has.

use std::collections::{BTreeMap, BTreeSet};

use s2ice_manifest::assemble::{ProductRecord, Refusal};
use s2ice_manifest::decide::{Leaving, Policy, Resolutions};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::geometry::AngleArray;
use s2ice_manifest::product::{ProductId, ProductMetadata};
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::memory::Memory;

use super::cog_reader::CogReader;
use super::difference::{Choice, Merged, difference};
use super::doubt::Answers;
use super::evidence::{Evidence, Reader, evidence, not_admitted};
use super::fingerprint::Salt;
use super::inputs::{Aside, Gathered};
use super::jp2::SafeReader;
use super::places::Places;
use super::prejudged::Prejudged;
use super::sample::{self, Samples};
use super::waiting::hold_back;
use super::wanted::{Wanted, wanted_angles};
use super::{BuildSettings, HeaderPolicy, nothing};
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::progress::Progress;

/// What a build works on.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// What is asked for.
    pub settings: &'a BuildSettings,
    /// What is remembered of the source.
    pub memory: &'a Memory,
    /// Where the files are.
    pub places: &'a Places,
    /// What the store holds.
    pub held: &'a Holdings,
    /// What the operator chooses.
    pub policy: Policy,
    /// Arrays of angles that are wanted.
    pub angles: &'a BTreeSet<AngleArray>,
    /// Products that are asked for although others stand in their place.
    pub exempt: &'a BTreeSet<ProductId>,
    /// Products that are not what they were: all of them is asked for, whatever is known.
    pub replaced: &'a BTreeSet<ProductId>,
    /// Rasters whose files are proven to be others than those that the store was made of.
    pub other_files: &'a BTreeSet<(ProductId, Asset)>,
    /// Whom to tell.
    pub progress: &'a dyn Progress,
}

/// The products of store and input, with what is known of those that are not among them.
pub struct Found {
    /// Candidates of the decision.
    pub records: Vec<ProductRecord>,
    /// What leaves whatever is decided.
    pub leaving: Vec<Leaving>,
    /// Which products told something.
    pub answers: Answers,
    /// What was left out so far.
    pub refused: Vec<Refusal>,
    /// What was not asked for on account of another product.
    pub prejudged: Vec<Prejudged>,
    /// Products that were made anew in their place, of which all is to be asked for.
    pub remade: BTreeSet<ProductId>,
    /// True where only the item of a product tells whether it is admitted, and none is at hand.
    pub lacks_items: bool,
    /// Fingerprint of the rows of every product of the input.
    pub inputs: BTreeMap<ProductId, i64>,
    /// Answers that were remembered.
    pub from_cache: u64,
}

/// What is asked of each product, its main headers as `headers` says.
///
/// # Errors
/// A glob of `--arrays` is none, or no array of the level can match it.
pub fn question(
    settings: &BuildSettings,
    places: &Places,
    resolutions: Resolutions,
    headers: HeaderPolicy,
) -> Result<Salt> {
    let (wanted, angles) = (Wanted::of(settings)?, wanted_angles(settings)?);
    let settings = &BuildSettings { headers, ..settings.clone() };
    let salt = Salt::new(settings, &places.name, &places.url.prefix(), resolutions, &angles);
    Ok(salt.of(&wanted, settings.source_options.layout))
}

/// Asks about what is new, changed or to be looked at again.
///
/// # Errors
/// The source does not answer, or nothing of a whole input can be used.
pub async fn find(job: Job<'_>, products: Vec<Gathered>, aside: Aside) -> Result<Found> {
    let Job { settings, memory, places, held, policy, angles, exempt, replaced, other_files, progress } = job;
    let rechecks = |id: ProductId| settings.rechecks(id) || replaced.contains(&id) || held.is_in_doubt(id);
    let (resolutions, prune) = (policy.resolutions, settings.prune);
    let salt = |headers| question(settings, places, resolutions, headers);
    let better = match settings.headers {
        HeaderPolicy::Assume => {
            vec![salt(HeaderPolicy::Read)?, salt(HeaderPolicy::Index)?, salt(HeaderPolicy::Sample)?]
        }
        HeaderPolicy::Sample => vec![salt(HeaderPolicy::Read)?, salt(HeaderPolicy::Index)?],
        HeaderPolicy::Read | HeaderPolicy::Index => Vec::new(),
    };
    let salt = salt(settings.headers)?;
    let admits = |product: &Gathered, metadata: &ProductMetadata| not_admitted(settings, product, metadata, true);
    let (wanted, why_not) = (&Wanted::of(settings)?, &aside.why_not);
    let choice = Choice { salt: &salt, better: &better, prune, resolutions, wanted, angles, other_files, why_not };
    let due = sample::due(settings, memory, held, &products);
    let is_asked = |id: ProductId| rechecks(id) || due.contains(&id);
    let mut split = difference(held, products, &choice, is_asked, exempt, admits);
    for (id, inputs) in aside.present {
        split.inputs.entry(id).or_insert(inputs);
    }
    let changed = std::mem::take(&mut split.changed);
    let (changed, waiting) = hold_back(settings, memory, held, &split.inputs, changed, rechecks, exempt);

    let reader: Box<dyn Reader> = match (settings.source_kind, places.source.as_ref()) {
        (SourceKind::Cog, Some(source)) => Box::new(CogReader::new(settings, memory, source, &changed)),
        (SourceKind::Cog, None) => return Err(Error::Request("the source is not open".to_owned())),
        (SourceKind::Jp2, source) => {
            let samples = Samples::of(settings, held, &changed);
            Box::new(SafeReader::new(settings, angles, &places.url, source, memory, samples))
        }
    };
    let evidence = evidence(settings, reader.as_ref(), held, changed, &policy, exempt, progress).await?;
    drop(reader);

    let Evidence { products: resolved, mut prejudged, mut refused, lacks_items, contradicted, from_cache } = evidence;
    prejudged.append(&mut split.prejudged);
    refused.extend(split.refused.iter().cloned());
    refused.extend(aside.refused);
    refused.extend(waiting.refused);
    if split.lost_all(&resolved, held) {
        return Err(nothing(&refused));
    }
    let remade = split.remade(held, &resolved);
    let gave = resolved.iter().filter(|record| !record.rasters.is_empty()).map(|record| record.id).collect();
    let told = resolved.iter().map(|record| record.id).collect();
    let Merged { records, leaving, behind } = split.merge(held, resolved, &refused, &contradicted, &choice);
    prejudged.extend(waiting.prejudged);
    prejudged.extend(aside.prejudged);
    let answers = Answers { resolved: told, gave, unchanged: split.unchanged, behind };
    let inputs = split.inputs;
    Ok(Found { records, leaving, answers, refused, prejudged, remade, lacks_items, inputs, from_cache })
}
