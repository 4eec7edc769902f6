//! The input of a build from GeoTIFFs: the catalogue names products and files, and there is no index to join.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::SecondsFormat;
use s2ice_manifest::assemble::{ProductRecord, Refusal, RefusalKind};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::ids::{Band, Level, Resolution};
use s2ice_manifest::manifest::{Placement, RasterFile, TileTable};
use s2ice_manifest::product::{MetadataSource, ProductId, ProductMetadata};
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::{Asset, Quantity};
use s2ice_manifest::source::cog_href::below;
use s2ice_manifest::source::location::{Source, SourceUrl};
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::source::tiff_facts::{TiffRequest, tiff_offset, tiff_record};
use s2ice_manifest::source::tlm_parquet::IndexReadReport;
use s2ice_manifest::stac::{StacItem, possible};
use s2ice_manifest::tlm::{IndexRow, TileIndex};

use super::evidence::{Angles, ReadProduct, Reader, not_admitted};
use super::inputs::{Aside, CatalogueLoad, Gathered, Inputs, Standing, Stated};
use super::search::catalogue;
use super::trouble::{Trouble, whole};
use super::wanted::Wanted;
use super::{BuildSettings, HeaderPolicy};
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::layout::eopf::array_kind;
use crate::progress::Progress;
use crate::report::ProductsReport;
use crate::state::StoreState;

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
    held: &Holdings,
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
        seen: load.seen_items,
        latest_change: load.latest_change,
        changed: load.items.iter().filter_map(|item| Some((item.product, item.changed()?))).collect(),
        without_index: Vec::new(),
        items: load.items.iter().map(|item| (item.product, item.clone())).collect(),
        backlog: false,
        incomplete: load.completeness.reasons().to_vec(),
    };
    let counts = ProductsReport { matched: load.items.len(), ..ProductsReport::default() };
    let (mut products, mut refused, mut present) = (Vec::new(), Vec::new(), BTreeMap::new());
    let (rejected, not_understood, seen) = (load.rejected, load.refused, load.seen);
    for item in load.items {
        let (id, before) = (item.product, refused.len());
        let Some(product) = product(item, source, &wanted, &mut refused) else {
            // An item that cannot be used is no absence of the product.
            if refused.len() > before {
                present.insert(id, held.inputs(id));
            }
            continue;
        };
        // There is no XML to ask what the item leaves open.
        match product.stated.as_ref().and_then(|stated| not_admitted(settings, &product, &stated.metadata)) {
            Some(reason) => refused.push(whole(product.id, RefusalKind::Filtered, reason)),
            None => products.push(product),
        }
    }
    let is_held = present.keys().any(|id| held.contains(*id));
    if products.is_empty() && !standing.may_be_empty && !is_held {
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
            None => match (rejected.first(), not_understood.first()) {
                (Some(first), _) => format!(
                    "{input} has {} items of tile {}, and the filters admit none of them; {}: {}",
                    rejected.len(),
                    settings.tile,
                    first.product,
                    first.rejection
                ),
                (None, Some(first)) => format!(
                    "{input} has no item of tile {} that can be used: {} were not understood, the first: {}",
                    settings.tile,
                    not_understood.len(),
                    first.error
                ),
                (None, None) => format!("{input} has no item of tile {} ({seen} of others)", settings.tile),
            },
        }));
    }
    let index = IndexReadReport::default();
    Ok(Inputs {
        products,
        index,
        stac,
        counts,
        catalogue: Some(catalogue),
        indexed: None,
        aside: Aside { present, refused, ..Aside::default() },
        unfound: Vec::new(),
    })
}

/// An item as a product with files; `None` where nothing of it can be asked for.
fn product(item: StacItem, source: &SourceUrl, wanted: &Wanted, refused: &mut Vec<Refusal>) -> Option<Gathered> {
    let id = item.product;
    let mut rows = Vec::new();
    let mut sizes = BTreeMap::new();
    let mut unread = BTreeSet::new();
    let mut leave_out = |raster: String, kind: RefusalKind, reason: String| {
        match raster.parse() {
            Ok(asset) => drop(unread.insert(asset)),
            // Any that is wanted may be meant.
            Err(_) => unread.extend(all().filter(|asset| wanted.admits(*asset))),
        }
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
    let anchor = rows.first()?.path.clone();
    match metadata(&item) {
        Ok(metadata) => {
            let changed = item.changed().map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true));
            let stated = Stated { metadata, changed, sizes, unshifted: item.is_unshifted() };
            let (stated, item) = (Some(stated), Some(item));
            Some(Gathered { id, rows, anchor, stated, item, is_rest: false, unread, known: None })
        }
        Err(reason) => {
            refused.push(whole(id, RefusalKind::Metadata, reason));
            None
        }
    }
}

/// Every raster that there are GeoTIFFs of.
fn all() -> impl Iterator<Item = Asset> {
    let others = [Quantity::Aot, Quantity::Wvp, Quantity::Scl, Quantity::Tci, Quantity::Cld, Quantity::Snw];
    let quantities = Band::ALL.into_iter().map(Quantity::Band).chain(others);
    quantities.flat_map(|quantity| Resolution::ALL.into_iter().map(move |resolution| Asset { quantity, resolution }))
}

fn metadata(item: &StacItem) -> std::result::Result<ProductMetadata, String> {
    let id = item.product;
    if !possible(id).contains(&item.datetime) {
        let start = id.datatake_start();
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

/// Reads products that a catalogue names, with GeoTIFFs.
pub struct CogReader<'a> {
    settings: &'a BuildSettings,
    memory: &'a Memory,
    source: &'a Source,
    /// What the items say.
    stated: BTreeMap<ProductId, Arc<Stated>>,
    /// A handful serve all files.
    profiles: Mutex<HashMap<String, Arc<HeaderProfile>>>,
    from_cache: AtomicU64,
}

impl<'a> CogReader<'a> {
    /// Of the source of these products.
    pub fn new(settings: &'a BuildSettings, memory: &'a Memory, source: &'a Source, products: &[Gathered]) -> Self {
        let stated = products.iter().filter_map(|product| Some((product.id, Arc::new(product.stated.clone()?))));
        let (stated, profiles) = (stated.collect(), Mutex::default());
        Self { settings, memory, source, stated, profiles, from_cache: AtomicU64::new(0) }
    }

    fn stated(&self, id: ProductId) -> std::result::Result<&Stated, Trouble> {
        let nothing = || Trouble::Refused(RefusalKind::Metadata, "its item is not at hand".to_owned());
        self.stated.get(&id).map(Arc::as_ref).ok_or_else(nothing)
    }

    fn profile(&self, profile: HeaderProfile) -> Arc<HeaderProfile> {
        let mut known = self.profiles.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = known.entry(profile.fingerprint.clone());
        Arc::clone(entry.or_insert_with(|| Arc::new(profile)))
    }
}

#[async_trait]
impl Reader for CogReader<'_> {
    async fn read_product(&self, product: &Gathered) -> std::result::Result<ReadProduct, Trouble> {
        Ok((self.stated(product.id)?.metadata.clone(), Ok(Angles::new())))
    }

    async fn read_raster(&self, row: &IndexRow) -> std::result::Result<RasterFile, Trouble> {
        let refused = |kind: RefusalKind, reason: String| Trouble::Refused(kind, reason);
        let stated = self.stated(row.product)?;
        let asset = row.asset;
        let path = self.source.url().encoded_path(&row.path);
        let path = path.map_err(|error| refused(RefusalKind::Source, error.to_string()))?;
        let size = stated.sizes.get(&asset).copied();
        let request = TiffRequest { path: &row.path, size, item: stated.changed.as_deref() };
        let known = self.source.cache_key(&row.path).ok().and_then(|key| self.memory.tiff(&key));
        let record = tiff_record(self.source, self.memory, request).await?;
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

    /// Whether pixels contradict the offset that the item states: those of the coarsest band, of these the bluest.
    async fn judge(&self, record: &ProductRecord) -> std::result::Result<(), Trouble> {
        let stated = self.stated(record.id)?;
        let offset = record.metadata.add_offset;
        let bands = record.rasters.iter().filter_map(Placement::file);
        let bands = bands.filter(|raster| matches!(raster.asset.quantity, Quantity::Band(_)));
        let Some(band) = bands.max_by_key(|band| (band.asset.resolution.metres(), Reverse(band.asset))) else {
            return Ok(());
        };
        let Some(path) = SourceUrl::decoded_path(&band.path).filter(|_| offset != 0) else { return Ok(()) };
        let size = stated.sizes.get(&band.asset).copied();
        let request = TiffRequest { path: &path, size, item: stated.changed.as_deref() };
        let tally = tiff_offset(self.source, self.memory, request, offset).await?;
        let wrong = |reason: String| Trouble::Refused(RefusalKind::Metadata, format!("{}: {reason}", band.asset));
        tally.check(stated.unshifted).map_err(wrong)
    }

    fn remembered(&self) -> u64 {
        self.from_cache.load(Ordering::Relaxed)
    }
}
