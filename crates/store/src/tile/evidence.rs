//! Evidence: what products and files themselves say. What cannot be proven is refused by name.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use s2ice_manifest::assemble::{ProductRecord, Refusal, RefusalKind};
use s2ice_manifest::decide::{Policy, Resolutions};
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use s2ice_manifest::ids::Resolution;
use s2ice_manifest::manifest::{Placement, RasterFile};
use s2ice_manifest::product::{ProductId, ProductMetadata, precedence, same_datastrip};
use s2ice_manifest::raster::Quantity;
use s2ice_manifest::tlm::IndexRow;

use super::BuildSettings;
use super::inputs::{Gathered, Share};
use super::prejudged::{Prejudged, Why};
use super::trouble::{Silence, Trouble, whole, without_angles};
use crate::error::Result;
use crate::holdings::Holdings;
use crate::progress::{Phase, Progress};

/// Angles of a product, by array.
pub type Angles = BTreeMap<AngleArray, AnglePlacement>;

/// What is read of a product: metadata and, where they are wanted and can be read, angles.
pub type ReadProduct = (ProductMetadata, std::result::Result<Angles, Trouble>);

/// A kind of source that says what its products and files are.
#[async_trait]
pub trait Reader: Send + Sync {
    /// Metadata and angles of a product.
    async fn read_product(&self, product: &Gathered) -> std::result::Result<ReadProduct, Trouble>;

    /// A file, proven to be what its row says.
    async fn read_raster(&self, row: &IndexRow) -> std::result::Result<RasterFile, Trouble>;

    /// What only several rasters of a product tell of it: nothing, as a rule.
    async fn judge(&self, _product: &ProductRecord) -> std::result::Result<(), Trouble> {
        Ok(())
    }

    /// Answers that were remembered.
    fn remembered(&self) -> u64;
}

/// Products with everything that a decision needs.
pub struct Evidence {
    /// Products with at least one usable raster, here or in the store.
    pub products: Vec<ProductRecord>,
    /// Products that were not asked for their rasters, since others stand in their place.
    pub prejudged: Vec<Prejudged>,
    /// What was left out so far.
    pub refused: Vec<Refusal>,
    /// True where only the item of a product tells whether it is admitted, and none is at hand.
    pub lacks_items: bool,
    /// Products that their own pixels contradict; they are among these.
    pub contradicted: BTreeMap<ProductId, Refusal>,
    /// Answers that were remembered.
    pub from_cache: u64,
}

/// Asks for what is not known yet and checks everything.
///
/// Of several processings of an acquisition the first by precedence is asked for its rasters first, another one only where
/// that does not have them all; of several copies of a raster the best one first, another only where it was refused for good.
pub async fn evidence(
    settings: &BuildSettings,
    reader: &dyn Reader,
    held: &Holdings,
    products: Vec<Gathered>,
    policy: &Policy,
    exempt: &BTreeSet<ProductId>,
    progress: &dyn Progress,
) -> Result<Evidence> {
    let job = Job { settings, reader, held, resolutions: policy.resolutions, silence: Silence::default() };
    let (mut refused, mut prejudged, mut contradicted) = (Vec::new(), Vec::new(), BTreeMap::new());
    let (mut waiting, lacks_items) = job.metadata(products, &mut refused, progress).await?;
    let mut products: Vec<ProductRecord> = Vec::with_capacity(waiting.len());
    waiting.sort_by_key(|asked| std::cmp::Reverse(precedence(asked.product.id)));
    while !waiting.is_empty() {
        let (mut now, mut later): (Vec<Asked>, Vec<Asked>) = (Vec::new(), Vec::new());
        for asked in waiting {
            let (id, quantities) = (asked.product.id, asked.product.main_quantities());
            let start = asked.metadata.datastrip_start();
            // What is pruned takes nobody's place.
            let start = start.filter(|_| !exempt.contains(&id));
            let standing = start.filter(|_| !settings.prune).and_then(|start| held.supersedes(id, start, &quantities));
            let given = || {
                products.iter().find(|other| supersedes(other, policy, id, start, &quantities)).map(|other| other.id)
            };
            match standing.or_else(given) {
                Some(by) => prejudged.push(Prejudged { product: id, by, why: Why::Has(quantities) }),
                None if now.iter().any(|other| other.is_same_acquisition(id, start)) => later.push(asked),
                None => now.push(asked),
            }
        }
        let resolved = job.rasters(now, &mut refused, progress).await?;
        products.extend(job.believed(resolved, &mut contradicted).await?);
        waiting = later;
    }
    refused.extend(contradicted.values().cloned());
    Ok(Evidence { products, prejudged, refused, lacks_items, contradicted, from_cache: reader.remembered() })
}

/// True where a product that was resolved is a later processing of the same acquisition, and surely has all that one could
/// have.
fn supersedes(
    product: &ProductRecord,
    policy: &Policy,
    id: ProductId,
    start: Option<DateTime<Utc>>,
    quantities: &BTreeSet<Quantity>,
) -> bool {
    let has = |quantity: &Quantity| {
        let is = |raster: &&Placement| raster.asset().quantity == *quantity;
        product.rasters.iter().filter(is).any(|raster| policy.surely_admits(product, raster))
    };
    product.id != id
        && product.id.datatake() == id.datatake()
        && same_datastrip(product.metadata.datastrip_start(), start)
        && precedence(product.id) > precedence(id)
        && quantities.iter().all(has)
}

/// A product with what its metadata tell.
struct Asked {
    product: Gathered,
    metadata: ProductMetadata,
    angles: Angles,
}

impl Asked {
    fn is_same_acquisition(&self, id: ProductId, start: Option<DateTime<Utc>>) -> bool {
        self.product.id.datatake() == id.datatake() && same_datastrip(self.metadata.datastrip_start(), start)
    }
}

/// Copies of one raster of a product, in the order in which they are asked for.
struct Copies {
    /// Number of the product's record.
    record: usize,
    rows: Vec<IndexRow>,
}

struct Job<'a> {
    settings: &'a BuildSettings,
    reader: &'a dyn Reader,
    held: &'a Holdings,
    resolutions: Resolutions,
    silence: Silence,
}

impl Job<'_> {
    fn parallel(&self) -> usize {
        // The source bounds its own connections; a few waiting requests keep them busy.
        self.settings.source_options.at_once() * 2
    }

    /// The products that are admitted, with their metadata, and whether the items of others would be needed to tell.
    async fn metadata(
        &self,
        products: Vec<Gathered>,
        refused: &mut Vec<Refusal>,
        progress: &dyn Progress,
    ) -> Result<(Vec<Asked>, bool)> {
        progress.begin(Phase::Metadata, Some(products.len() as u64));
        let (mut out, mut lacks_items) = (Vec::with_capacity(products.len()), false);
        let mut answers = futures::stream::iter(products)
            .map(|product| async move {
                let answer = self.silence.bear(product.id, self.reader.read_product(&product).await);
                progress.advance(1);
                (product, answer)
            })
            .buffered(self.parallel());
        while let Some((product, answer)) = answers.next().await {
            match answer {
                Ok((metadata, angles)) => match self.not_admitted(&product, &metadata, &mut lacks_items) {
                    None => {
                        let angles = match angles {
                            Ok(angles) => angles,
                            Err(Trouble::Refused(kind, reason)) => {
                                refused.push(without_angles(product.id, kind, reason));
                                Angles::new()
                            }
                            Err(Trouble::Silent(error) | Trouble::Fatal(error)) => return Err(error),
                        };
                        out.push(Asked { product, metadata, angles });
                    }
                    Some(reason) => refused.push(whole(product.id, RefusalKind::Filtered, reason)),
                },
                Err(Trouble::Refused(kind, reason)) => refused.push(whole(product.id, kind, reason)),
                Err(Trouble::Silent(error) | Trouble::Fatal(error)) => return Err(error),
            }
        }
        progress.end();
        Ok((out, lacks_items))
    }

    /// What keeps a product out; where its item would have to tell and is not at hand, what the store holds is admitted.
    fn not_admitted(&self, product: &Gathered, metadata: &ProductMetadata, lacks_items: &mut bool) -> Option<String> {
        let reason = not_admitted(self.settings, product, metadata, false)?;
        if product.item.is_none() && self.settings.stac.is_some() {
            *lacks_items = true;
            return not_admitted(self.settings, product, metadata, self.held.contains(product.id));
        }
        Some(reason)
    }

    async fn rasters(
        &self,
        products: Vec<Asked>,
        refused: &mut Vec<Refusal>,
        progress: &dyn Progress,
    ) -> Result<Vec<ProductRecord>> {
        let mut records: Vec<ProductRecord> = Vec::with_capacity(products.len());
        let mut copies: Vec<Copies> = Vec::new();
        let mut rest = BTreeSet::new();
        for Asked { product, metadata, angles } in products {
            rest.extend((product.share == Share::Rest).then_some(product.id));
            records.push(ProductRecord { id: product.id, metadata, rasters: Vec::new(), angles });
            copies.extend(self.copies(records.len() - 1, product.rows));
        }
        progress.begin(Phase::Headers, Some(copies.len() as u64));
        let mut answers = futures::stream::iter(copies)
            .map(|copies| async move {
                let answer = self.best(&copies).await;
                progress.advance(1);
                (copies.record, answer)
            })
            .buffered(self.parallel());
        while let Some((record, answer)) = answers.next().await {
            let (raster, left_out) = answer?;
            records[record].rasters.extend(raster.map(Placement::from));
            refused.extend(left_out);
        }
        drop(answers);
        progress.end();
        records.retain(|record| {
            // The store has others of it.
            let is_empty = record.rasters.is_empty() && !rest.contains(&record.id);
            if is_empty {
                refused.push(whole(
                    record.id,
                    RefusalKind::Empty,
                    "no raster of this product can be referenced".to_owned(),
                ));
            }
            // What its metadata say bears on what the store holds of it.
            !is_empty || self.held.contains(record.id)
        });
        Ok(records)
    }

    /// The products that nothing contradicts.
    async fn believed(
        &self,
        records: Vec<ProductRecord>,
        contradicted: &mut BTreeMap<ProductId, Refusal>,
    ) -> Result<Vec<ProductRecord>> {
        let judged = |record: ProductRecord| async move {
            let verdict = self.silence.bear(record.id, self.reader.judge(&record).await);
            (record, verdict)
        };
        let mut verdicts = futures::stream::iter(records).map(judged).buffered(self.parallel());
        let mut believed = Vec::new();
        while let Some((record, verdict)) = verdicts.next().await {
            match verdict {
                Ok(()) => believed.push(record),
                Err(Trouble::Refused(kind, reason)) => {
                    contradicted.insert(record.id, whole(record.id, kind, reason));
                }
                Err(Trouble::Silent(error) | Trouble::Fatal(error)) => return Err(error),
            }
        }
        Ok(believed)
    }

    /// The rows of a product by what they show, the best copy first; each by itself where all copies are wanted.
    fn copies(&self, record: usize, rows: Vec<IndexRow>) -> Vec<Copies> {
        let mut groups: BTreeMap<(Quantity, Option<Resolution>), Vec<IndexRow>> = BTreeMap::new();
        for row in rows {
            let alone = (self.resolutions == Resolutions::All).then_some(row.asset.resolution);
            groups.entry((row.asset.quantity, alone)).or_default().push(row);
        }
        let best_first = |mut rows: Vec<IndexRow>| {
            rows.sort_by_key(|row| row.asset.worth());
            Copies { record, rows }
        };
        groups.into_values().map(best_first).collect()
    }

    /// The best copy that can be referenced, and those that cannot. A copy that is out of reach for now is waited for.
    async fn best(&self, copies: &Copies) -> Result<(Option<RasterFile>, Vec<Refusal>)> {
        let mut refused = Vec::new();
        for row in &copies.rows {
            match self.silence.bear(row.product, self.reader.read_raster(row).await) {
                Ok(raster) => return Ok((Some(raster), refused)),
                Err(trouble) => {
                    let refusal = trouble.of_raster(row.product, row.asset)?;
                    let passing = refusal.kind == RefusalKind::Source;
                    refused.push(refusal);
                    if passing {
                        break;
                    }
                }
            }
        }
        Ok((None, refused))
    }
}

/// Why sensing time or cloud cover keep a product out, where they do. A cover that the item states was judged already, as
/// was that of what the store holds where an answer about changes does not show its item again.
pub fn not_admitted(
    settings: &BuildSettings,
    product: &Gathered,
    metadata: &ProductMetadata,
    is_held: bool,
) -> Option<String> {
    let sensed = DateTime::from_timestamp_micros(metadata.sensing_time_us);
    if let (Some(interval), Some(sensed)) = (settings.datetime, sensed)
        && !interval.contains(sensed)
    {
        return Some(format!("its time {sensed} lies outside the interval"));
    }
    let is_judged = match &product.item {
        Some(item) => item.cloud_cover.is_some(),
        None => settings.stac.is_some() && is_held,
    };
    let max = settings.max_cloud_cover.filter(|_| !is_judged)?;
    match metadata.cloud_cover {
        // A store keeps it with single precision.
        Some(percent) if single(percent) <= single(max) => None,
        Some(percent) => Some(format!("its cloud cover is {percent} %")),
        None => Some("its cloud cover is unknown".to_owned()),
    }
}

#[allow(clippy::cast_possible_truncation)]
fn single(percent: f64) -> f32 {
    percent as f32
}
