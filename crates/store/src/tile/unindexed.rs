//! Which of the products that the index lacks are indexed on the fly, and what counts of the others.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::{FutureExt as _, StreamExt as _, stream};
use s2ice_manifest::assemble::Refusal;
use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::product::{ProductId, datastrip_start};
use s2ice_manifest::raster::{Asset, Quantity};
use s2ice_manifest::source::facts::product_metadata;
use s2ice_manifest::source::location::Source;
use s2ice_manifest::source::memory::{Memory, Remembered};
use s2ice_manifest::stac::StacItem;

use super::evidence::not_admitted;
use super::fingerprint::Salt;
use super::inputs::{Aside, Gathered};
use super::missing::{Asked, Missing, index_missing};
use super::prejudged::{Prejudged, Why, start_of};
use super::waiting::waits;
use super::wanted::Wanted;
use super::whereabouts::Whereabouts;
use super::{BuildSettings, Recheck};
use crate::error::Result;
use crate::holdings::Holdings;
use crate::progress::Progress;

/// How files are asked that the index does not have.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    /// What is known of files.
    pub memory: &'a Memory,
    /// The files themselves; `None` where they are not to be asked.
    pub source: Option<&'a Source>,
    /// What the store holds.
    pub held: &'a Holdings,
    /// Products that are asked for although others stand in their place.
    pub exempt: &'a BTreeSet<ProductId>,
    /// Products whose files are others by now.
    pub replaced: &'a BTreeSet<ProductId>,
    /// What is asked of each product.
    pub question: &'a Salt,
    /// Which copies of a raster are taken.
    pub resolutions: Resolutions,
}

/// What came of the products that the index lacks.
#[derive(Default)]
pub struct Unindexed {
    /// What was learned of them.
    pub learned: Missing,
    /// Products of the store of which nothing is asked.
    pub unasked: Vec<Gathered>,
    /// What is not resolved of them.
    pub aside: Aside,
    /// Those that count as products without index rows, with the reason.
    pub left: BTreeMap<ProductId, String>,
}

/// Indexes those products that are new, due, ordered, or made by another question. `items` are those of all that the index
/// lacks, in whole or in part; `indexed` tells of which of them it has something.
///
/// # Errors
/// The source cannot be used at all.
pub async fn index(
    settings: &BuildSettings,
    reach: Reach<'_>,
    source: &Source,
    items: &[StacItem],
    indexed: impl Fn(ProductId) -> bool,
    wanted: &Wanted,
    progress: &dyn Progress,
) -> Result<Unindexed> {
    let Reach { memory, held, exempt, replaced, .. } = reach;
    let mut out = Unindexed::default();
    let mut asked = Vec::new();
    let mut known: BTreeMap<ProductId, (i64, Vec<Remembered>)> = BTreeMap::new();
    for item in items {
        let id = item.product;
        let inputs = memory.inputs_of(item);
        let refusals = memory.refusals(id);
        let paths = item.images.iter().map(String::as_str);
        let superseded = reach.superseded(settings, item, wanted, start_of(item, paths));
        // An order for all is one to look again: what is new comes in its turn.
        let again = superseded.is_none() && (held.contains(id) || !refusals.is_empty());
        let named = settings.recheck.contains(&Recheck::Product(id));
        let ordered = named || replaced.contains(&id) || held.is_in_doubt(id) || (again && settings.rechecks(id));
        if ordered {
            memory.forget_product(id);
        } else if let Some(by) = superseded {
            let why = Why::Has(main_quantities(item, wanted));
            out.aside.prejudged.push(Prejudged { product: id, by, why });
            out.aside.present.insert(id, inputs.unwrap_or_default());
            continue;
        } else if let Some(product) = reach.as_it_is(settings, item, wanted) {
            // Of what the index has, its rows tell.
            out.unasked.extend(Some(product).filter(|_| !indexed(id)));
            continue;
        } else if let Some(inputs) = inputs.filter(|inputs| waits(settings, &refusals, held, id, *inputs, exempt)) {
            if indexed(id) {
                // What the index has of it is waited with like that of any other; there may be files that it lacks.
                let of_files =
                    refusals.into_iter().filter(|known| known.by.is_none() && known.refusal.raster.is_some());
                out.aside.refused.extend(of_files.map(|known| known.refusal));
            } else {
                out.wait(item, reach, wanted, inputs, refusals);
            }
            continue;
        }
        let tried = refusals.iter().map(|known| known.last).max().filter(|_| !ordered && inputs.is_some());
        if let (Some(inputs), Some(_)) = (inputs, tried) {
            known.insert(id, (inputs, refusals));
        }
        asked.push(Asked { item, ordered, held: held.contains(id), tried });
    }
    let asked = reach.without_superseded(settings, source, asked, wanted, &mut out.aside).await;
    let names: Vec<&StacItem> = asked.iter().map(|asked| asked.item).collect();
    out.learned = index_missing(settings, memory, source, asked, wanted, reach.resolutions, progress).await?;
    for item in names {
        let id = item.product;
        if out.learned.rows.contains_key(&id) {
            continue;
        }
        let later = out.learned.later.remove(&id);
        let waiting = known.remove(&id).filter(|_| later.is_some());
        out.aside.later.extend(waiting.as_ref().map(|_| id));
        match waiting {
            _ if indexed(id) => drop(out.aside.present.insert(id, held.inputs(id))),
            Some((inputs, refusals)) => out.wait(item, reach, wanted, inputs, refusals),
            None => out.stays(item, reach, wanted, held.inputs(id)),
        }
        let Some(reason) = later else {
            out.tell_of_none(id, held.contains(id));
            continue;
        };
        let why = out.left.remove(&id).map(|why| format!("; {why}")).unwrap_or_default();
        out.left.insert(id, format!("{reason}{why}"));
    }
    out.aside.refused.append(&mut out.learned.refused);
    Ok(out)
}

impl Reach<'_> {
    /// What stands in the place of a product whose datastrip starts then. What is pruned takes nobody's place.
    fn superseded(
        &self,
        settings: &BuildSettings,
        item: &StacItem,
        wanted: &Wanted,
        start: Option<DateTime<Utc>>,
    ) -> Option<ProductId> {
        let (id, start, quantities) = (item.product, start?, main_quantities(item, wanted));
        if settings.prune || quantities.is_empty() || self.held.contains(id) || self.exempt.contains(&id) {
            return None;
        }
        self.held.supersedes(id, start, &quantities)
    }

    /// Leaves out those of which the item alone says that others stand in their place, where their XML says so too: to read
    /// it costs less than to index them.
    async fn without_superseded<'a>(
        &self,
        settings: &BuildSettings,
        source: &Source,
        asked: Vec<Asked<'a>>,
        wanted: &Wanted,
        aside: &mut Aside,
    ) -> Vec<Asked<'a>> {
        let layout = settings.source_options.layout.unwrap_or_default();
        let whereabouts = &Whereabouts::new(source, self.memory, layout);
        let judged = asked.into_iter().map(|asked| async move {
            let start = asked.item.datastrip_id.as_deref().and_then(datastrip_start);
            if asked.ordered || self.superseded(settings, asked.item, wanted, start).is_none() {
                return (asked, None);
            }
            let start = self.start_by_xml(source, whereabouts, asked.item).await;
            let by = self.superseded(settings, asked.item, wanted, start);
            (asked, by)
        });
        let judged: Vec<_> = judged.map(|judged| judged.boxed()).collect();
        let mut answers = stream::iter(judged).buffered(settings.source_options.at_once());
        let mut out = Vec::new();
        while let Some((asked, by)) = answers.next().await {
            let item = asked.item;
            let Some(by) = by else {
                out.push(asked);
                continue;
            };
            let why = Why::Has(main_quantities(item, wanted));
            aside.prejudged.push(Prejudged { product: item.product, by, why });
            aside.present.insert(item.product, self.memory.inputs_of(item).unwrap_or_default());
        }
        out
    }

    /// When the datastrip of a product starts, by its XML; nothing where that cannot be read.
    async fn start_by_xml(
        &self,
        source: &Source,
        whereabouts: &Whereabouts<'_>,
        item: &StacItem,
    ) -> Option<DateTime<Utc>> {
        let id = item.product;
        let files = whereabouts.files(item).await.ok()?;
        let metadata = product_metadata(source, self.memory, id, &files.first()?.path).await.ok()?;
        self.memory.put_product(&source.cache_prefix(), id, metadata.clone());
        metadata.datastrip_start()
    }

    /// A product that stands in the store as it is: it was made by this question, or is not admitted any more.
    fn as_it_is(&self, settings: &BuildSettings, item: &StacItem, wanted: &Wanted) -> Option<Gathered> {
        let (id, held) = (item.product, self.held);
        let metadata = held.metadata(id)?;
        let product = Gathered::unasked(item, held, wanted, held.inputs(id));
        let is_whole = !held.is_partial(id) && self.question.asks_the_same(held.inputs(id));
        (is_whole || not_admitted(settings, &product, metadata, true).is_some()).then_some(product)
    }
}

impl Unindexed {
    /// Nothing comes of a product this time: what the store has of it stays.
    fn stays(&mut self, item: &StacItem, reach: Reach<'_>, wanted: &Wanted, inputs: i64) {
        if reach.held.contains(item.product) {
            self.unasked.push(Gathered::unasked(item, reach.held, wanted, inputs));
        } else {
            self.aside.present.insert(item.product, inputs);
        }
    }

    /// Nothing is asked of a product this time: what was refused of it is refused still.
    fn wait(&mut self, item: &StacItem, reach: Reach<'_>, wanted: &Wanted, inputs: i64, refusals: Vec<Remembered>) {
        let id = item.product;
        self.stays(item, reach, wanted, inputs);
        for Remembered { refusal, by, has, .. } in refusals {
            match by {
                Some(by) => {
                    let why = Why::remembered(refusal.kind, has, || main_quantities(item, wanted));
                    self.aside.prejudged.push(Prejudged { product: id, by, why });
                }
                // Of a product without rows nothing else than its files can have been looked for.
                None if inputs == 0 && refusal.raster.is_none() => self.learned.unfound.push(refusal),
                None => self.aside.refused.push(refusal),
            }
        }
        // What the store holds has a fingerprint.
        if inputs == 0 {
            self.tell_of_none(id, false);
        }
    }

    /// Why a product has no rows at all.
    fn tell_of_none(&mut self, id: ProductId, is_held: bool) {
        let name = id.to_string();
        let is_of = |refusal: &&Refusal| refusal.product == name;
        let unfound = self.learned.unfound.iter().find(is_of).map(|refusal| refusal.reason.clone());
        let mut refused = self.learned.refused.iter().chain(&self.aside.refused).filter(is_of);
        // The references of what the store holds stay.
        let first = refused.next().filter(|_| !is_held).map(|first| {
            let raster = first.raster.as_deref().unwrap_or_default();
            format!("none of its files can be indexed; {raster}: {}", first.reason)
        });
        self.left.extend(unfound.or(first).map(|reason| (id, reason)));
    }
}

/// The rasters that refusals name, by product.
pub fn unread(refused: &[Refusal]) -> BTreeMap<ProductId, BTreeSet<Asset>> {
    let mut out: BTreeMap<ProductId, BTreeSet<Asset>> = BTreeMap::new();
    for refusal in refused {
        let asset = refusal.raster.as_deref().and_then(|raster| raster.parse().ok());
        if let (Ok(id), Some(asset)) = (refusal.product.parse(), asset) {
            out.entry(id).or_default().insert(asset);
        }
    }
    out
}

/// What its item names of reflectance and what belongs to it, as far as it is wanted.
fn main_quantities(item: &StacItem, wanted: &Wanted) -> BTreeSet<Quantity> {
    let assets = item.images.iter().filter_map(|href| Asset::of_path(href)).filter(|asset| wanted.admits(*asset));
    assets.map(|asset| asset.quantity).filter(|quantity| quantity.is_main()).collect()
}
