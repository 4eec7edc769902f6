//! The input of a build from GeoTIFFs: the catalogue names products and files, and there is no index to join.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures::StreamExt as _;
use s2ice_manifest::assemble::{ProductRecord, Refusal, RefusalKind};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::ids::Level;
use s2ice_manifest::manifest::{RasterFile, TileTable};
use s2ice_manifest::product::{MetadataSource, ProductId, ProductMetadata};
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::cache::FactCache;
use s2ice_manifest::source::cog_href::below;
use s2ice_manifest::source::location::{Source, SourceUrl};
use s2ice_manifest::source::tiff::{TiffRequest, tiff_record};
use s2ice_manifest::source::tlm_parquet::IndexReadReport;
use s2ice_manifest::stac::StacItem;
use s2ice_manifest::tlm::{IndexRow, TileIndex};

use super::gather::{CatalogueLoad, Gathered, Inputs, Standing, catalogue};
use super::resolve::{Resolved, loses};
use super::trouble::{Trouble, whole};
use super::wanted::Wanted;
use super::{BuildSettings, HeaderPolicy};
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::layout::eopf::array_kind;
use crate::progress::{Phase, Progress};
use crate::report::ProductsReport;
use crate::state::StoreState;

/// From the start of a datatake to the sensing of its last granule.
const DATATAKE: TimeDelta = TimeDelta::hours(1);

/// What an item states of its product: there is nothing else that could be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Stated {
    /// Sensing time, offset and the like.
    pub metadata: ProductMetadata,
    /// When the item last changed.
    pub changed: Option<String>,
    /// Sizes of its files in bytes, where it states them.
    pub sizes: BTreeMap<Asset, u64>,
}

/// What cannot be asked for together with GeoTIFFs.
pub fn check_request(settings: &BuildSettings) -> Result<()> {
    let wrong = |reason: &str| Err(Error::Request(format!("--source-kind cog: {reason}")));
    if settings.level != Level::L2A {
        return wrong("GeoTIFFs are kept of level L2A only");
    }
    if settings.stac.is_none() {
        return wrong("--stac is missing: it is the catalogue that names products and files");
    }
    if !settings.index.is_empty() || settings.index_missing || settings.write_index.is_some() {
        return wrong("leave out --index, --index-missing and --write-index: GeoTIFFs carry their own tables");
    }
    if settings.headers != HeaderPolicy::Read {
        return wrong("--headers must be read: there is no other place that tells how a GeoTIFF is written");
    }
    if settings.source_options.layout.is_some() {
        return wrong("leave out --source-layout: paths are those of the items");
    }
    Ok(())
}

/// A store is of one kind.
pub fn check_kind(settings: &BuildSettings, held: Option<&StoreState>) -> Result<()> {
    let words = |kind| match kind {
        SourceKind::Jp2 => "JPEG 2000 files",
        SourceKind::Cog => "GeoTIFFs",
    };
    match held {
        Some(state) if state.stamp.source_kind != settings.source_kind => Err(Error::Request(format!(
            "the store refers to {}, and --source-kind {} asks for {}: give the store of the other kind an address of its \
             own",
            words(state.stamp.source_kind),
            settings.source_kind,
            words(settings.source_kind)
        ))),
        _ => Ok(()),
    }
}

/// Reads the catalogue and takes from it the products and their files.
pub async fn gather(
    settings: &BuildSettings,
    standing: Standing,
    source: &SourceUrl,
    progress: &dyn Progress,
) -> Result<Inputs> {
    check_request(settings)?;
    let wanted = Wanted::of(settings)?;
    let (load, stac) = catalogue(settings, &standing, progress).await?;
    let Some(load) = load else { return check_request(settings).map(|()| Inputs::default()) };
    let catalogue = CatalogueLoad {
        since: standing.since,
        incremental: load.incremental,
        latest_change: load.latest_change,
        changed: load.items.iter().filter_map(|item| Some((item.product, item.changed()?))).collect(),
        without_index: Vec::new(),
        backlog: false,
    };
    let counts = ProductsReport { matched: load.items.len(), ..ProductsReport::default() };
    let (mut products, mut refused) = (Vec::new(), Vec::new());
    for item in load.items {
        products.extend(product(item, source, &wanted, &mut refused));
    }
    if products.is_empty() && !standing.may_be_empty {
        let first = refused.first().map(|refusal| match &refusal.raster {
            Some(raster) => format!("{} {raster}: {}", refusal.product, refusal.reason),
            None => format!("{}: {}", refusal.product, refusal.reason),
        });
        let input = stac.as_ref().map(|stac| stac.input.clone()).unwrap_or_default();
        return Err(Error::Nothing(match first {
            Some(first) => format!("nothing can be stored ({} left out): {first}", refused.len()),
            None if counts.matched > 0 => format!(
                "none of the {} items of {input} names a GeoTIFF of the arrays asked for: check --arrays and --collection",
                counts.matched
            ),
            None => format!("{input} has no item of tile {} that the filters admit", settings.tile),
        }));
    }
    let index = IndexReadReport::default();
    Ok(Inputs { products, index, stac, counts, catalogue: Some(catalogue), indexed: None, refused })
}

/// An item as a product with files; `None` where nothing of it can be asked for.
fn product(item: StacItem, source: &SourceUrl, wanted: &Wanted, refused: &mut Vec<Refusal>) -> Option<Gathered> {
    let id = item.product;
    let mut rows = Vec::new();
    let mut sizes = BTreeMap::new();
    let mut leave_out = |raster: String, kind: RefusalKind, reason: String| {
        refused.push(Refusal { product: id.to_string(), raster: Some(raster), kind, reason });
    };
    for problem in &item.cogs.problems {
        leave_out(problem.raster.clone(), RefusalKind::Metadata, problem.reason.clone());
    }
    for file in item.cogs.files.iter().filter(|file| wanted.admits(file.asset)) {
        let path = match (file.misstated(), below(&file.href, source)) {
            (Some(reason), _) => {
                leave_out(file.asset.to_string(), RefusalKind::Metadata, reason);
                continue;
            }
            (None, Err(reason)) => {
                leave_out(file.asset.to_string(), RefusalKind::Source, reason);
                continue;
            }
            (None, Ok(path)) => path,
        };
        sizes.extend(file.size.map(|size| (file.asset, size)));
        rows.push(IndexRow {
            product: id,
            asset: file.asset,
            path,
            index: TileIndex::InFile,
            main_header: None,
            etag: None,
            last_modified: None,
            prefixes: None,
            nodata: None,
        });
    }
    if rows.is_empty() {
        return None;
    }
    match metadata(&item) {
        Ok(metadata) => {
            let changed = item.changed().map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true));
            Some(Gathered { id, rows, stated: Some(Stated { metadata, changed, sizes }), item: Some(item) })
        }
        Err(reason) => {
            refused.push(whole(id, RefusalKind::Metadata, reason));
            None
        }
    }
}

fn metadata(item: &StacItem) -> std::result::Result<ProductMetadata, String> {
    let id = item.product;
    let start: DateTime<Utc> = id.datatake_start();
    if !(start..start + DATATAKE).contains(&item.datetime) {
        return Err(format!("its item says that it was sensed at {}, its name {start}", item.datetime));
    }
    let (add_offset, quantification) = item.cogs.radiometry(id)?;
    Ok(ProductMetadata {
        sensing_time_us: item.datetime.timestamp_micros(),
        datastrip_id: item.datastrip_id.clone(),
        add_offset,
        quantification,
        cloud_cover: item.cloud_cover,
        source: MetadataSource::Item,
    })
}

/// Reads the tables of every file that is not known yet, and checks everything.
pub async fn resolve(
    settings: &BuildSettings,
    cache: &FactCache,
    source: Option<&Source>,
    held: &Holdings,
    mut products: Vec<Gathered>,
    progress: &dyn Progress,
) -> Result<Resolved> {
    let Some(source) = source else { return Err(Error::Request("the source is not open".to_owned())) };
    let mut refused = Vec::new();
    // What is pruned takes nobody's place.
    if !settings.prune {
        products.retain(|product| {
            let refusal = product.stated.as_ref().and_then(|stated| loses(held, product, &stated.metadata));
            let keep = refusal.is_none();
            refused.extend(refusal);
            keep
        });
    }
    let job = Job { settings, cache, source, profiles: Mutex::default(), from_cache: AtomicU64::new(0) };
    let mut records = Vec::with_capacity(products.len());
    let mut rows = Vec::new();
    for product in products {
        let Some(stated) = product.stated else { continue };
        let stated = Arc::new(stated);
        let metadata = stated.metadata.clone();
        records.push(ProductRecord {
            id: product.id,
            metadata,
            rasters: Vec::with_capacity(product.rows.len()),
            angles: BTreeMap::new(),
        });
        rows.extend(product.rows.into_iter().map(|row| (records.len() - 1, row, Arc::clone(&stated))));
    }
    progress.begin(Phase::Headers, Some(rows.len() as u64));
    let asked = &job;
    let mut answers = futures::stream::iter(rows)
        .map(|(record, row, stated)| async move {
            let answer = asked.raster(&row, &stated).await;
            progress.advance(1);
            (record, row, answer)
        })
        // The source bounds its own connections; a few waiting requests keep them busy.
        .buffered(settings.source_options.at_once() * 2);
    while let Some((record, row, answer)) = answers.next().await {
        match answer {
            Ok(raster) => records[record].rasters.push(raster.into()),
            Err(trouble) => refused.push(trouble.of_raster(row.product, row.asset)?),
        }
    }
    drop(answers);
    progress.end();
    let empty = |id: ProductId| whole(id, RefusalKind::Empty, "no raster of this product can be referenced".to_owned());
    refused.extend(records.iter().filter(|record| record.rasters.is_empty()).map(|record| empty(record.id)));
    records.retain(|record| !record.rasters.is_empty());
    Ok(Resolved { products: records, refused, from_cache: job.from_cache.into_inner() })
}

struct Job<'a> {
    settings: &'a BuildSettings,
    cache: &'a FactCache,
    source: &'a Source,
    /// A handful serve all files.
    profiles: Mutex<HashMap<String, Arc<HeaderProfile>>>,
    from_cache: AtomicU64,
}

impl Job<'_> {
    async fn raster(&self, row: &IndexRow, stated: &Stated) -> std::result::Result<RasterFile, Trouble> {
        let refused = |kind: RefusalKind, reason: String| Trouble::Refused(kind, reason);
        let asset = row.asset;
        let path = self.source.url().encoded_path(&row.path);
        let path = path.map_err(|error| refused(RefusalKind::Source, error.to_string()))?;
        let size = stated.sizes.get(&asset).copied();
        let request = TiffRequest { path: &row.path, size, item: stated.changed.as_deref() };
        let known = self.source.cache_key(&row.path).ok().and_then(|key| self.cache.tiff(&key));
        let record = tiff_record(self.source, self.cache, request).await?;
        if known.is_some_and(|known| Arc::ptr_eq(&known, &record)) {
            self.from_cache.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(size) = size.filter(|size| *size != record.size) {
            let reason =
                format!("the file has {} bytes, its item says {size}: one of them is of another state", record.size);
            return Err(refused(RefusalKind::Changed, reason));
        }
        let place = TileGeocoding::of(self.settings.tile);
        if record.place != place {
            let words = |place: TileGeocoding| format!("EPSG:{} ({}, {})", place.epsg, place.ulx, place.uly);
            let reason = format!(
                "its GeoTIFF tags place it at {}, tile {} lies at {}",
                words(record.place),
                self.settings.tile,
                words(place)
            );
            return Err(refused(RefusalKind::Header, reason));
        }
        if record.metres != asset.resolution.metres() {
            let reason = format!("its pixels have {} m, its item says {}", record.metres, asset.resolution);
            return Err(refused(RefusalKind::Header, reason));
        }
        let header = self.profile(record.profile());
        if let Some(misfit) = header.misfit(asset) {
            return Err(refused(RefusalKind::Header, misfit));
        }
        let sparse = record.sparse();
        let fill = array_kind(asset, self.settings.level).map_or(0, |kind| kind.fill);
        if let (Some(tile), true) = (sparse.first(), fill != 0) {
            let reason =
                format!("tile {tile} is not in the file and stands for 0; missing chunks of its array read as {fill}");
            return Err(refused(RefusalKind::Ranges, reason));
        }
        let raster = RasterFile {
            asset,
            path: path.into(),
            file_size: record.size,
            etag: record.etag.as_deref().map(Into::into),
            last_modified: record.last_modified,
            header,
            verified: true,
            tiles: TileTable::new(&record.spans()),
            nodata: sparse.into(),
        };
        raster.validate().map_err(|error| refused(RefusalKind::Ranges, error.to_string()))?;
        Ok(raster)
    }

    fn profile(&self, profile: HeaderProfile) -> Arc<HeaderProfile> {
        let mut known = self.profiles.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(profile.fingerprint.clone());
        Arc::clone(entry.or_insert_with(|| Arc::new(profile)))
    }
}
