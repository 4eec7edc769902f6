//! What GeoTIFFs themselves say, beside what their items state.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use s2ice_manifest::assemble::{ProductRecord, RefusalKind};
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::manifest::{HeaderTrust, Placement, RasterFile, TileTable};
use s2ice_manifest::product::ProductId;
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::Quantity;
use s2ice_manifest::source::location::{Source, SourceUrl};
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::source::tiff_facts::{TiffRequest, tiff_offset, tiff_record};
use s2ice_manifest::tlm::IndexRow;

use super::BuildSettings;
use super::evidence::{Angles, ReadProduct, Reader};
use super::inputs::{Gathered, Stated};
use super::trouble::Trouble;
use crate::layout::eopf::array_kind;

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

    fn stated(&self, id: ProductId) -> Result<&Stated, Trouble> {
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
    async fn read_product(&self, product: &Gathered) -> Result<ReadProduct, Trouble> {
        Ok((self.stated(product.id)?.metadata.clone(), Ok(Angles::new())))
    }

    async fn read_raster(&self, row: &IndexRow) -> Result<RasterFile, Trouble> {
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
            trust: HeaderTrust::Verified,
            tiles: TileTable::new(&record.spans()),
            nodata: sparse.into(),
        };
        raster.validate().map_err(|error| refused(RefusalKind::Ranges, error.to_string()))?;
        Ok(raster)
    }

    /// Whether pixels contradict the offset that the item states: those of the coarsest band, of these the bluest.
    async fn judge(&self, record: &ProductRecord) -> Result<(), Trouble> {
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
