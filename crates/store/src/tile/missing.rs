//! Products of the catalogue that the index lacks: their files are found at the source and indexed on the fly.
//!
//! A file that carries TLM (baseline 05.12 and later) tells everything in one request; older ones are walked. What is
//! learned goes to the memory of facts, so that the rest of the build asks the file for nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::ids::Level;
use s2ice_manifest::product::ProductId;
use s2ice_manifest::raster::{Asset, Quantity};
use s2ice_manifest::source::aws_tree::find_product;
use s2ice_manifest::source::indexer::{IndexOptions, index_file};
use s2ice_manifest::source::jp2_header::READ_AHEAD;
use s2ice_manifest::source::location::{Source, SourceError};
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::source::mirror::Layout;
use s2ice_manifest::source::safe_tree::{FoundRaster, find_rasters};
use s2ice_manifest::stac::StacItem;
use s2ice_manifest::tlm::{IndexRow, TileIndex};

use super::BuildSettings;
use super::trouble::Trouble;
use crate::error::Result;
use crate::progress::{Phase, Progress};
use crate::report::IndexedReport;

/// What was learned of products without index rows.
#[derive(Debug, Default)]
pub struct Missing {
    /// Rows of each product of which at least one raster can be referenced.
    pub rows: BTreeMap<ProductId, Vec<IndexRow>>,
    /// Rasters that cannot.
    pub refused: Vec<Refusal>,
    /// Products whose files were not found, or that are left for later, with the reason.
    pub left: BTreeMap<ProductId, String>,
    /// True where products are left because of the limit.
    pub backlog: bool,
    /// In numbers.
    pub report: IndexedReport,
}

/// Indexes products, new ones before those that the store holds in part, the oldest first, as many as the settings allow in
/// one run. `wanted` says which rasters the store takes; where the rows are written to an index, all rasters are indexed.
///
/// # Errors
/// The source cannot be used at all, or the memory cannot be written.
pub async fn index_missing(
    settings: &BuildSettings,
    memory: &Memory,
    source: &Source,
    mut items: Vec<&StacItem>,
    held: &BTreeSet<ProductId>,
    wanted: impl Fn(Asset) -> bool,
    progress: &dyn Progress,
) -> Result<Missing> {
    let mut out = Missing::default();
    let before = source.stats().requests();
    items.sort_by_key(|item| (held.contains(&item.product), item.product.datatake_start(), item.product));
    let limit = settings.index_missing_limit.min(items.len());
    for item in items.split_off(limit) {
        out.backlog = true;
        let reason = format!("left for a later run: {limit} products were indexed (--index-missing-limit)");
        out.left.insert(item.product, reason);
    }
    let parallel = settings.source_options.at_once() * 2;
    let layout = settings.source_options.layout.unwrap_or_default();
    let places = Places { source, memory, layout, depth: AtomicUsize::new(usize::MAX) };
    // Collected first: a stream over borrowed items is not `Send` enough for callers that hand the build to a thread.
    let asked: Vec<_> = items.iter().map(|item| places.files(item)).collect();
    let found: Vec<_> = futures::stream::iter(asked).buffered(parallel).collect().await;
    let mut rasters = Vec::new();
    for (item, found) in items.iter().zip(found) {
        match found {
            Ok(mut files) => {
                if settings.write_index.is_none() {
                    files.retain(|raster| wanted(raster.asset));
                    only_best(&mut files, settings.resolutions);
                }
                if files.is_empty() {
                    out.left.insert(item.product, "none of its files is a raster that is asked for".to_owned());
                }
                rasters.extend(files);
            }
            Err(Trouble::Fatal(error)) => return Err(error),
            Err(Trouble::Silent(error)) => drop(out.left.insert(item.product, error.to_string())),
            Err(Trouble::Refused(_, reason)) => drop(out.left.insert(item.product, reason)),
        }
    }
    progress.begin(Phase::Files, Some(rasters.len() as u64));
    let job = Job { settings, memory, source };
    let mut answers = futures::stream::iter(rasters)
        .map(|raster| async {
            let answer = job.row(&raster).await;
            progress.advance(1);
            (raster, answer)
        })
        .buffered(parallel);
    while let Some((raster, answer)) = answers.next().await {
        match answer {
            Ok((row, origin)) => {
                out.report.rasters += 1;
                match origin {
                    Origin::Walked => out.report.walked += 1,
                    Origin::Native => out.report.native += 1,
                    Origin::Cache => {}
                }
                out.rows.entry(raster.product).or_default().push(row);
            }
            Err(trouble) => out.refused.push(trouble.of_raster(raster.product, raster.asset)?),
        }
    }
    drop(answers);
    progress.end();
    out.report.products = out.rows.len();
    out.report.requests = source.stats().requests() - before;
    Ok(out)
}

/// Of each quantity the copy that the store would take: at its home resolution, else the finest.
fn only_best(files: &mut Vec<FoundRaster>, resolutions: Resolutions) {
    if resolutions == Resolutions::All {
        return;
    }
    let mut best: BTreeMap<Quantity, Asset> = BTreeMap::new();
    let rank = |asset: Asset| (asset.resolution != asset.home(), asset.resolution);
    for raster in files.iter() {
        let entry = best.entry(raster.asset.quantity).or_insert(raster.asset);
        if rank(raster.asset) < rank(*entry) {
            *entry = raster.asset;
        }
    }
    files.retain(|raster| best.get(&raster.asset.quantity) == Some(&raster.asset));
}

struct Job<'a> {
    settings: &'a BuildSettings,
    memory: &'a Memory,
    source: &'a Source,
}

enum Origin {
    Native,
    Walked,
    Cache,
}

impl Job<'_> {
    async fn row(&self, raster: &FoundRaster) -> std::result::Result<(IndexRow, Origin), Trouble> {
        let key = self.source.cache_key(&raster.path)?;
        // An index that others shall use also has what the memory does not keep (prefix lengths).
        if self.settings.write_index.is_none()
            && let Some(known) = self.memory.file(&key)
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
                prefixes: None,
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

/// Where the files of a product lie below the source.
struct Places<'a> {
    source: &'a Source,
    memory: &'a Memory,
    layout: Layout,
    /// How many leading segments of a foreign address were left out where a product was found last: mirrors keep one
    /// layout for all.
    depth: AtomicUsize,
}

impl Places<'_> {
    /// The rasters of a product: of its folder, if that can be listed, since catalogues leave out the masks; else those
    /// that the item names.
    async fn files(&self, item: &StacItem) -> std::result::Result<Vec<FoundRaster>, Trouble> {
        let prefix = self.source.url().prefix();
        let below: Vec<String> =
            item.images.iter().filter_map(|href| below(href, &prefix)).map(|path| format!("/{path}")).collect();
        if self.layout == Layout::Aws {
            return Ok(find_product(self.source, self.memory, item.product, &below).await?);
        }
        if let Some(folder) = below.iter().find_map(|path| safe_folder(path, item.product)) {
            return match self.list(folder, item.product).await {
                Ok(files) => Ok(files),
                Err(SourceError::CannotList { .. } | SourceError::Denied { .. }) => {
                    let named = |path: String| FoundRaster::named(path, item.product);
                    let mut seen = BTreeSet::new();
                    Ok(below.into_iter().filter_map(named).filter(|raster| seen.insert(raster.asset)).collect())
                }
                Err(error) => Err(error.into()),
            };
        }
        let last = self.depth.load(Ordering::Relaxed);
        let mut candidates = candidates(item);
        // The sort is stable: the usual order otherwise.
        candidates.sort_by_key(|(depth, _)| *depth != last);
        let mut tried = BTreeSet::new();
        for (depth, folder) in &candidates {
            if !tried.insert(folder) {
                continue;
            }
            match self.list(folder, item.product).await {
                Ok(files) if !files.is_empty() => {
                    self.depth.store(*depth, Ordering::Relaxed);
                    return Ok(files);
                }
                Ok(_) | Err(SourceError::Missing { .. } | SourceError::BadPath { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let first = candidates.first().map(|(_, folder)| folder.as_str()).unwrap_or_default();
        let reason = format!("its files were not found below {} (looked for {first} and the like)", self.source.url());
        Err(Trouble::Refused(RefusalKind::Source, reason))
    }

    async fn list(&self, folder: &str, product: ProductId) -> std::result::Result<Vec<FoundRaster>, SourceError> {
        let mut found = find_rasters(self.source, &[folder.to_owned()]).await?.rasters;
        found.retain(|raster| raster.product == product);
        Ok(found)
    }
}

/// The path of an address below the source.
fn below(href: &str, prefix: &str) -> Option<String> {
    let path = match href.strip_prefix(prefix) {
        Some(rest) => s2ice_manifest::source::location::SourceUrl::decoded_path(rest)?,
        // A local path as it stands.
        None => href.strip_prefix(prefix.strip_prefix("file://")?)?.to_owned(),
    };
    (!path.is_empty()).then_some(path)
}

/// A path up to the folder that bears the product's name.
fn safe_folder(path: &str, product: ProductId) -> Option<&str> {
    let name = format!("{product}.SAFE");
    let at = path.find(&name)?;
    path.get(..at + name.len())
}

/// Folders in which a product may lie, each with the number of leading segments left out: as its item places it, as the
/// archives do, and parts of these, since a mirror may begin anywhere.
fn candidates(item: &StacItem) -> Vec<(usize, String)> {
    let product = item.product;
    let name = format!("{product}.SAFE");
    let mut whole: Vec<String> = Vec::new();
    if let Some((_, rest)) = item.images.first().and_then(|href| href.split_once("://"))
        && let Some((_, key)) = rest.split_once('/')
        && let Some(folder) = safe_folder(key, product)
    {
        whole.push(folder.to_owned());
    }
    let day = product.datatake_start().format("%Y/%m/%d");
    whole.push(format!("Sentinel-2/MSI/{}/{day}/{name}", product.level()));
    let tile = product.tile().to_string();
    if let (Some(zone), Some(band), Some(square)) = (tile.get(..2), tile.get(2..3), tile.get(3..)) {
        let level = if product.level() == Level::L2A { "L2/" } else { "" };
        whole.push(format!("{level}tiles/{zone}/{band}/{square}/{name}"));
    }
    let mut out = vec![(usize::MAX - 1, name)];
    for folder in whole {
        let segments: Vec<&str> = folder.split('/').collect();
        out.extend((0..segments.len() - 1).map(|depth| (depth, segments[depth..].join("/"))));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NAME: &str = "S2A_MSIL2A_20240501T100601_N0511_R022_T33TVN_20240501T140000";

    fn item(href: &str) -> StacItem {
        StacItem::from_json(&serde_json::json!({
            "type": "Feature", "id": NAME, "properties": {"datetime": "2024-05-01T10:06:01Z"},
            "assets": {"B02_10m": {"href": href}},
        }))
        .unwrap()
    }

    #[test]
    fn addresses_are_cut_to_paths_below_the_source() {
        let file = format!("2024/05/01/{NAME}.SAFE/GRANULE/g/IMG_DATA/R10m/T33TVN_20240501T100601_B02_10m.jp2");
        let prefix = "s3://eodata/Sentinel-2/MSI/L2A/";
        assert_eq!(below(&format!("{prefix}{file}"), prefix).as_deref(), Some(file.as_str()));
        assert_eq!(below(&format!("s3://other/Sentinel-2/MSI/L2A/{file}"), prefix), None);
        assert_eq!(below("/data/s2/a%20b.jp2", "file:///data/s2/").as_deref(), Some("a%20b.jp2"));
        assert_eq!(below("file:///data/s2/a%20b.jp2", "file:///data/s2/").as_deref(), Some("a b.jp2"));
        assert_eq!(safe_folder(&file, NAME.parse().unwrap()), Some(&*format!("2024/05/01/{NAME}.SAFE")));
    }

    #[test]
    fn a_mirror_may_keep_any_part_of_the_layout() {
        let href = format!("s3://eodata/Sentinel-2/MSI/L2A_N0500/2024/05/01/{NAME}.SAFE/GRANULE/g/x_B02_10m.jp2");
        let folders: Vec<String> = candidates(&item(&href)).into_iter().map(|(_, folder)| folder).collect();
        for folder in [
            format!("{NAME}.SAFE"),
            format!("Sentinel-2/MSI/L2A_N0500/2024/05/01/{NAME}.SAFE"),
            format!("Sentinel-2/MSI/L2A/2024/05/01/{NAME}.SAFE"),
            format!("2024/05/01/{NAME}.SAFE"),
            format!("L2/tiles/33/T/VN/{NAME}.SAFE"),
        ] {
            assert!(folders.contains(&folder), "{folder}: {folders:?}");
        }
        assert_eq!(folders[0], format!("{NAME}.SAFE"));
    }
}
