//! Products of the catalogue that the index lacks: their files are found at the source and indexed on the fly.
//!
//! A file that carries TLM (baseline 05.12 and later) tells everything in one request; older ones are walked. What is
//! learned goes to the memory of facts, so that the rest of the build asks the file for nothing more. Of several copies of a
//! raster the best one is indexed; the others are rows that leave all to their files, which are asked where they are needed.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::product::ProductId;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::indexer::{IndexOptions, index_file};
use s2ice_manifest::source::jp2_header::READ_AHEAD;
use s2ice_manifest::source::location::Source;
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::source::safe_tree::FoundRaster;
use s2ice_manifest::stac::StacItem;
use s2ice_manifest::tlm::{IndexRow, TileIndex};

use super::BuildSettings;
use super::trouble::{Silence, Trouble, whole};
use super::wanted::Wanted;
use super::whereabouts::Whereabouts;
use crate::error::Result;
use crate::progress::{Phase, Progress};
use crate::report::IndexedReport;

/// So many products of which nothing can be had are enough for a run: the source gives nothing now.
const IN_VAIN: usize = 100;

/// A product that is to be indexed.
pub struct Asked<'a> {
    /// Its item.
    pub item: &'a StacItem,
    /// True where the operator orders it, or its files are others by now: no limit holds it up.
    pub ordered: bool,
    /// True where the store holds it, or some of it.
    pub held: bool,
    /// When something of it was refused last.
    pub tried: Option<DateTime<Utc>>,
}

/// What was learned of products without index rows.
#[derive(Debug, Default)]
pub struct Missing {
    /// Rows of each product of which at least one raster can be referenced.
    pub rows: BTreeMap<ProductId, Vec<IndexRow>>,
    /// Rasters that cannot.
    pub refused: Vec<Refusal>,
    /// Products whose files were not found.
    pub unfound: Vec<Refusal>,
    /// Products whose folder could not be listed: there may be more of them.
    pub unlisted: BTreeSet<ProductId>,
    /// Products that are left for a later run, with the reason.
    pub later: BTreeMap<ProductId, String>,
    /// True where some of these were never asked for.
    pub backlog: bool,
    /// Files that items name and that are not there: what the store holds of them is no longer there either.
    pub lacking: Vec<Refusal>,
    /// In numbers.
    pub report: IndexedReport,
}

/// Indexes products. What is ordered comes first; then as many as the settings allow in one run: those that were never tried
/// before those that were refused, new ones before those that the store holds, the oldest first. Products of which nothing can
/// be had are none of that number. Where the rows are written to an index, all rasters are indexed, else those that are
/// wanted, in these `resolutions`.
///
/// # Errors
/// The source cannot be used at all.
pub async fn index_missing(
    settings: &BuildSettings,
    memory: &Memory,
    source: &Source,
    asked: Vec<Asked<'_>>,
    wanted: &Wanted,
    resolutions: Resolutions,
    progress: &dyn Progress,
) -> Result<Missing> {
    let layout = settings.source_options.layout.unwrap_or_default();
    let job = Job {
        settings,
        memory,
        source,
        wanted,
        resolutions,
        whereabouts: Whereabouts::new(source, memory, layout),
        silence: Silence::default(),
        progress,
    };
    let before = source.stats().requests();
    let (ordered, mut rest): (Vec<_>, Vec<_>) = asked.into_iter().partition(|asked| asked.ordered);
    let mut out = Missing::default();
    job.index(ordered.iter().map(|asked| asked.item).collect(), &mut out).await?;
    let ordered = out.rows.len();
    rest.sort_by_key(|asked| (asked.tried, asked.held, asked.item.product.datatake_start(), asked.item.product));
    let limit = settings.index_missing_limit;
    let (mut done, mut vain, mut again) = (0, 0, 0);
    while done < limit && vain < IN_VAIN && again < limit && !rest.is_empty() {
        let mut batch: Vec<Asked<'_>> = rest.drain(..rest.len().min(limit - done)).collect();
        let new = batch.iter().filter(|asked| asked.tried.is_none()).count();
        rest.splice(0..0, batch.drain(batch.len().min(new + limit - again)..).collect::<Vec<_>>());
        again += batch.len() - new;
        job.index(batch.iter().map(|asked| asked.item).collect(), &mut out).await?;
        let sum = done + vain + batch.len();
        done = out.rows.len() - ordered;
        vain = sum - done;
    }
    for Asked { item, tried, .. } in rest {
        out.backlog |= tried.is_none();
        let reason = if done >= limit || again >= limit {
            format!("left for a later run: {limit} products were indexed (--index-missing-limit)")
        } else {
            format!("left for a later run: of {vain} products before it nothing could be indexed")
        };
        out.later.insert(item.product, reason);
    }
    out.report.products = out.rows.len();
    out.report.requests = source.stats().requests() - before;
    Ok(out)
}

struct Job<'a> {
    settings: &'a BuildSettings,
    memory: &'a Memory,
    source: &'a Source,
    wanted: &'a Wanted,
    resolutions: Resolutions,
    whereabouts: Whereabouts<'a>,
    silence: Silence,
    progress: &'a dyn Progress,
}

enum Origin {
    Native,
    Walked,
    Cache,
}

impl Job<'_> {
    /// Finds the files of these products and indexes them.
    async fn index(&self, items: Vec<&StacItem>, out: &mut Missing) -> Result<()> {
        let parallel = self.settings.source_options.at_once() * 2;
        // Collected first: a stream over borrowed items is not `Send` enough for callers that hand the build to a thread.
        let asked: Vec<_> = items.iter().map(|item| self.whereabouts.files(item)).collect();
        let found: Vec<_> = futures::stream::iter(asked).buffered(parallel).collect().await;
        let (mut rasters, mut others) = (Vec::new(), Vec::new());
        for (item, found) in items.iter().zip(found) {
            let unfound = |reason: String| whole(item.product, RefusalKind::Source, reason);
            match self.silence.bear(item.product, found) {
                Ok(mut files) => {
                    if self.settings.write_index.is_none() {
                        files.retain(|raster| self.wanted.admits(raster.asset));
                    }
                    // Catalogues leave out the masks.
                    if files.iter().any(|raster| raster.listed.is_none()) {
                        out.unlisted.insert(item.product);
                    }
                    let all_are_listed = files.iter().all(|raster| raster.listed.is_some());
                    if all_are_listed && self.whereabouts.knows_folders() {
                        out.lacking.extend(self.not_yet_there(item, &files));
                    }
                    if files.is_empty() {
                        out.unfound.push(unfound("none of its files is a raster that is asked for".to_owned()));
                    }
                    let (best, more) = if self.takes_one() { best_first(files) } else { (files, Vec::new()) };
                    rasters.extend(best);
                    others.extend(more);
                }
                Err(Trouble::Silent(error) | Trouble::Fatal(error)) => return Err(error),
                Err(Trouble::Refused(_, reason)) => out.unfound.push(unfound(reason)),
            }
        }
        self.progress.begin(Phase::Files, Some(rasters.len() as u64));
        let mut answers = futures::stream::iter(rasters)
            .map(|raster| async {
                let answer = self.row(&raster).await;
                self.progress.advance(1);
                (raster, answer)
            })
            .buffered(parallel);
        while let Some((raster, answer)) = answers.next().await {
            match self.silence.bear(raster.product, answer) {
                Ok((row, origin)) => {
                    out.report.rasters += 1;
                    match origin {
                        Origin::Walked => out.report.walked += 1,
                        Origin::Native => out.report.native += 1,
                        Origin::Cache => {}
                    }
                    out.rows.entry(raster.product).or_default().push(row);
                }
                Err(trouble) => {
                    let refusal = trouble.of_raster(raster.product, raster.asset)?;
                    // Another copy does not stand in for one that is out of reach for now.
                    if refusal.kind == RefusalKind::Source {
                        others.retain(|other| !is_copy(other, &raster));
                    }
                    out.refused.push(refusal);
                }
            }
        }
        drop(answers);
        for other in others {
            out.rows.entry(other.product).or_default().push(unread(other));
        }
        self.progress.end();
        Ok(())
    }

    /// True where of several copies of a raster one is taken.
    fn takes_one(&self) -> bool {
        self.settings.write_index.is_none() && self.resolutions == Resolutions::Best
    }

    /// What the item of a product names and its folder does not have, nor a copy that counts more.
    fn not_yet_there(&self, item: &StacItem, files: &[FoundRaster]) -> Vec<Refusal> {
        let named: BTreeSet<Asset> = item.images.iter().filter_map(|href| Asset::of_path(href)).collect();
        let is_wanted = |asset: &Asset| self.wanted.admits(*asset) || self.settings.write_index.is_some();
        let is_there = |asset: &Asset| {
            files.iter().map(|file| file.asset).any(|there| {
                let is_copy = there.quantity == asset.quantity && there.worth() < asset.worth();
                there == *asset || (self.takes_one() && is_copy)
            })
        };
        let lacking = named.into_iter().filter(|asset| is_wanted(asset) && !is_there(asset));
        let refusal = |asset: Asset| Refusal {
            product: item.product.to_string(),
            raster: Some(asset.to_string()),
            kind: RefusalKind::Source,
            reason: "its item names it, and its folder does not have it".to_owned(),
        };
        lacking.map(refusal).collect()
    }

    async fn row(&self, raster: &FoundRaster) -> std::result::Result<(IndexRow, Origin), Trouble> {
        let key = self.source.cache_key(&raster.path)?;
        if let Some(known) = self.memory.file(&key)
            && let Some(cell) = &known.index
            && raster.listed.as_ref().is_none_or(|listed| listed.size == known.size)
            && self.source.is_unchanged(&raster.path, known.etag.as_deref()).await
        {
            let row = IndexRow {
                product: raster.product,
                asset: raster.asset,
                path: raster.path.clone(),
                index: TileIndex::from_cell(cell),
                main_header: Some(known.header.as_ref().into()),
                etag: known.etag.clone(),
                last_modified: known.last_modified,
                nodata: known.nodata.clone(),
            };
            return Ok((row, Origin::Cache));
        }
        let options = IndexOptions { read_ahead: READ_AHEAD, ..IndexOptions::default() };
        let indexed = index_file(self.source, raster, options).await?;
        self.memory.put_file(&key, indexed.record);
        Ok((indexed.row, if indexed.own_tlm { Origin::Native } else { Origin::Walked }))
    }
}

/// True where two rasters show the same.
fn is_copy(one: &FoundRaster, other: &FoundRaster) -> bool {
    (one.product, one.asset.quantity) == (other.product, other.asset.quantity)
}

/// Of each quantity the copy that the store would take, at its home resolution, else the finest; and the other copies.
fn best_first(mut files: Vec<FoundRaster>) -> (Vec<FoundRaster>, Vec<FoundRaster>) {
    files.sort_by_key(|raster| raster.asset.worth());
    let mut seen = BTreeSet::new();
    files.into_iter().partition(|raster| seen.insert(raster.asset.quantity))
}

/// A row that leaves all to the file.
fn unread(raster: FoundRaster) -> IndexRow {
    IndexRow {
        product: raster.product,
        asset: raster.asset,
        path: raster.path,
        index: TileIndex::InFile,
        main_header: None,
        etag: raster.listed.and_then(|listed| listed.etag),
        last_modified: None,
        nodata: None,
    }
}
