//! Second half of a build's input: metadata of every product and main header of every raster, from cache, index or
//! the file itself; what cannot be proven is refused by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use s2ice_manifest::assemble::{ProductRecord, Refusal, RefusalKind};
use s2ice_manifest::geometry::{AngleArray, AngleChunks, AnglePlacement};
use s2ice_manifest::header_class::assumed_header;
use s2ice_manifest::manifest::{RasterFile, TileTable};
use s2ice_manifest::product::ProductMetadata;
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::source::cache::FactCache;
use s2ice_manifest::source::facts::{FactsError, FileRequest, file_record, product_metadata, product_with_angles};
use s2ice_manifest::source::jp2_header::check_decodable;
use s2ice_manifest::source::location::{Source, SourceUrl};
use s2ice_manifest::source::tlm_parquet::Conflict;
use s2ice_manifest::tlm::{IndexRow, TileIndex};

use super::facts::{Facts, nodata, spans};
use super::gather::{Gathered, Reach};
use super::trouble::{Trouble, whole, without_angles};
use super::{BuildSettings, HeaderPolicy};
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::progress::{Phase, Progress};

/// Products with everything that assembly needs.
pub struct Resolved {
    /// Products with at least one usable raster.
    pub products: Vec<ProductRecord>,
    /// What was left out so far.
    pub refused: Vec<Refusal>,
    /// Facts taken from the cache file.
    pub from_cache: u64,
}

/// Asks for what is not known yet and checks everything.
pub async fn resolve(
    settings: &BuildSettings,
    Reach { cache, source }: Reach<'_>,
    source_url: &SourceUrl,
    held: &Holdings,
    products: Vec<Gathered>,
    angles: &BTreeSet<AngleArray>,
    progress: &dyn Progress,
) -> Result<Resolved> {
    let job = Job {
        settings,
        angles,
        source_url,
        source: source.filter(|_| settings.headers != HeaderPolicy::Assume),
        cache,
        headers: Mutex::default(),
        from_cache: Default::default(),
    };
    let mut refused = Vec::new();
    let mut products = job.metadata(products, &mut refused, progress).await?;
    // What is pruned takes nobody's place.
    if !settings.prune {
        products.retain(|(product, metadata, _)| match loses(held, product, metadata) {
            Some(refusal) => {
                refused.push(refusal);
                false
            }
            None => true,
        });
    }
    let products = job.rasters(products, &mut refused, progress).await?;
    let from_cache = job.from_cache.load(std::sync::atomic::Ordering::Relaxed);
    Ok(Resolved { products, refused, from_cache })
}

/// Rows that contradict each other, as refusals.
pub fn conflict(conflict: &Conflict) -> Refusal {
    Refusal {
        product: conflict.product.clone(),
        raster: Some(conflict.raster.clone()),
        kind: RefusalKind::Index,
        reason: format!("its index rows contradict each other: {}", conflict.reason),
    }
}

/// The file that remembers headers and metadata, or a memory for this run alone.
pub fn open_cache(settings: &BuildSettings) -> Result<FactCache> {
    let Some(path) = settings.cache.as_ref().filter(|_| settings.headers != HeaderPolicy::Assume) else {
        return Ok(FactCache::in_memory());
    };
    let cache = FactCache::open(path).map_err(|error| Error::Input(error.to_string()))?;
    for problem in cache.problems() {
        tracing::warn!("{}, line {}: {}; passed over", path.display(), problem.line, problem.reason);
    }
    Ok(cache)
}

/// Angles of a product, by array.
type Angles = BTreeMap<AngleArray, AnglePlacement>;

/// A product with what its metadata tell.
type Asked = (Gathered, ProductMetadata, Angles);

type Headers = HashMap<Vec<u8>, std::result::Result<Arc<HeaderProfile>, String>>;

struct Job<'a> {
    settings: &'a BuildSettings,
    /// The arrays of angles that are wanted.
    angles: &'a BTreeSet<AngleArray>,
    source_url: &'a SourceUrl,
    source: Option<&'a Source>,
    cache: &'a FactCache,
    headers: Mutex<Headers>,
    from_cache: std::sync::atomic::AtomicU64,
}

impl Job<'_> {
    fn parallel(&self) -> usize {
        // The source bounds its own connections; a few waiting requests keep them busy.
        self.settings.source_options.at_once() * 2
    }

    fn count_cached(&self) {
        self.from_cache.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    async fn metadata(
        &self,
        products: Vec<Gathered>,
        refused: &mut Vec<Refusal>,
        progress: &dyn Progress,
    ) -> Result<Vec<Asked>> {
        progress.begin(Phase::Metadata, Some(products.len() as u64));
        let mut out = Vec::with_capacity(products.len());
        let mut answers = futures::stream::iter(products)
            .map(|product| async move {
                let answer = self.metadata_of(&product).await;
                progress.advance(1);
                (product, answer)
            })
            .buffered(self.parallel());
        while let Some((product, answer)) = answers.next().await {
            match answer {
                Ok((metadata, angles)) => match self.too_cloudy(&product, &metadata) {
                    None => {
                        let angles = match angles {
                            Ok(angles) => angles,
                            Err(Trouble::Refused(kind, reason)) => {
                                refused.push(without_angles(product.id, kind, reason));
                                Angles::new()
                            }
                            Err(Trouble::Fatal(error)) => return Err(error),
                        };
                        out.push((product, metadata, angles));
                    }
                    Some(reason) => refused.push(whole(product.id, RefusalKind::Filtered, reason)),
                },
                Err(Trouble::Refused(kind, reason)) => refused.push(whole(product.id, kind, reason)),
                Err(Trouble::Fatal(error)) => return Err(error),
            }
        }
        progress.end();
        Ok(out)
    }

    /// Metadata and, where they are wanted and can be read, angles.
    async fn metadata_of(
        &self,
        product: &Gathered,
    ) -> std::result::Result<(ProductMetadata, std::result::Result<Angles, Trouble>), Trouble> {
        let named = || (from_name(product), Ok(Angles::new()));
        let Some(source) = self.source else { return Ok(named()) };
        let Some(row) = product.rows.first() else { return Ok(named()) };
        if self.cache.product(&source.cache_prefix(), product.id).is_some() {
            self.count_cached();
        }
        if self.angles.is_empty() {
            return Ok((product_metadata(source, self.cache, product.id, &row.path).await?, Ok(Angles::new())));
        }
        let (metadata, chunks) = product_with_angles(source, self.cache, product.id, &row.path).await?;
        let wanted = |chunks: Arc<AngleChunks>| {
            let chunks = chunks.iter().filter(|(array, _)| self.angles.contains(array));
            chunks.map(|(array, bytes)| (*array, AnglePlacement::New(Arc::clone(bytes)))).collect()
        };
        Ok((metadata, chunks.map(wanted).map_err(|error| FactsError::from(error).into())))
    }

    fn too_cloudy(&self, product: &Gathered, metadata: &ProductMetadata) -> Option<String> {
        too_cloudy(self.settings, product, metadata.cloud_cover)
    }

    async fn rasters(
        &self,
        products: Vec<Asked>,
        refused: &mut Vec<Refusal>,
        progress: &dyn Progress,
    ) -> Result<Vec<ProductRecord>> {
        let total: usize = products.iter().map(|(product, ..)| product.rows.len()).sum();
        progress.begin(Phase::Headers, Some(total as u64));
        let mut records: Vec<ProductRecord> = Vec::with_capacity(products.len());
        let mut rows = Vec::with_capacity(total);
        for (product, metadata, angles) in products {
            let rasters = Vec::with_capacity(product.rows.len());
            records.push(ProductRecord { id: product.id, metadata, rasters, angles });
            rows.extend(product.rows.into_iter().map(|row| (records.len() - 1, row)));
        }
        let mut answers = futures::stream::iter(rows)
            .map(|(record, row)| async move {
                let answer = self.raster(&row).await;
                progress.advance(1);
                (record, row, answer)
            })
            .buffered(self.parallel());
        while let Some((record, row, answer)) = answers.next().await {
            match answer {
                Ok(raster) => records[record].rasters.push(raster.into()),
                Err(trouble) => refused.push(trouble.of_raster(row.product, row.asset)?),
            }
        }
        progress.end();
        records.retain(|record| {
            let keep = !record.rasters.is_empty();
            if !keep {
                refused.push(whole(
                    record.id,
                    RefusalKind::Empty,
                    "no raster of this product can be referenced".to_owned(),
                ));
            }
            keep
        });
        Ok(records)
    }

    async fn raster(&self, row: &IndexRow) -> std::result::Result<RasterFile, Trouble> {
        let path = self
            .source_url
            .encoded_path(&row.path)
            .map_err(|error| Trouble::Refused(RefusalKind::Index, error.to_string()))?;
        let facts = self.facts(row).await?;
        let header = self.header(&facts.main_header)?;
        if let Some(misfit) = header.misfit(row.asset) {
            return Err(Trouble::Refused(RefusalKind::Header, misfit));
        }
        let tiles = u32::try_from(header.tiles())
            .map_err(|_| Trouble::Refused(RefusalKind::Header, format!("{} tiles are too many", header.tiles())))?;
        let (spans, file_size) = spans(row, &facts, tiles)?;
        let nodata = nodata(row, &facts, &spans);
        let raster = RasterFile {
            asset: row.asset,
            path: path.into(),
            file_size,
            etag: facts.etag.map(Into::into),
            last_modified: facts.last_modified,
            header,
            verified: facts.verified,
            tiles: TileTable::new(&spans),
            nodata,
        };
        raster.validate().map_err(|error| Trouble::Refused(RefusalKind::Ranges, error.to_string()))?;
        Ok(raster)
    }

    /// What is known of the file: from the cache, from the index, from the file, or assumed.
    async fn facts(&self, row: &IndexRow) -> std::result::Result<Facts, Trouble> {
        let policy = self.settings.headers;
        let from_index = || {
            let header = row.main_header.as_deref()?;
            Some(Facts::of_row(row, header.to_vec(), policy != HeaderPolicy::Assume))
        };
        if policy == HeaderPolicy::Assume {
            return match from_index() {
                Some(facts) => Ok(facts),
                None => self.assumed(row),
            };
        }
        if policy == HeaderPolicy::Index
            && row.etag.is_some()
            && row.index != TileIndex::InFile
            && let Some(facts) = from_index()
        {
            return Ok(facts);
        }
        let Some(source) = self.source else { return self.assumed(row) };
        let head = row.head().map_err(|error| Trouble::Refused(RefusalKind::Index, error.source.to_string()))?;
        let request = FileRequest {
            path: &row.path,
            asset: row.asset,
            size: head.map(|(size, _)| size),
            first_sot: head.map(|(_, offset)| offset),
            etag: row.etag.as_deref(),
            last_modified: row.last_modified,
            index: row.index == TileIndex::InFile,
        };
        let known = source.cache_key(&row.path).ok().and_then(|key| self.cache.file(&key));
        let record = file_record(source, self.cache, request).await?;
        if known.is_some_and(|known| Arc::ptr_eq(&known, &record)) {
            self.count_cached();
        }
        Ok(Facts::from(record.as_ref()))
    }

    fn assumed(&self, row: &IndexRow) -> std::result::Result<Facts, Trouble> {
        let main_header = assumed_header(row.asset, self.settings.level).ok_or_else(|| {
            let reason = "no main header is known for this kind of raster: use --headers read".to_owned();
            Trouble::Refused(RefusalKind::Index, reason)
        })?;
        Ok(Facts::of_row(row, main_header, false))
    }

    /// Parses a main header once per distinct header.
    fn header(&self, bytes: &[u8]) -> std::result::Result<Arc<HeaderProfile>, Trouble> {
        let mut known = self.headers.lock().unwrap_or_else(PoisonError::into_inner);
        let parsed = match known.get(bytes) {
            Some(parsed) => parsed.clone(),
            None => {
                let parsed = HeaderProfile::parse(bytes).and_then(|profile| {
                    check_decodable(bytes)?;
                    Ok(Arc::new(profile))
                });
                let parsed = parsed.map_err(|error| error.to_string());
                known.insert(bytes.to_vec(), parsed.clone());
                parsed
            }
        };
        parsed.map_err(|reason| Trouble::Refused(RefusalKind::Header, reason))
    }
}

/// Why the cloud cover keeps a product out, where it does. With a catalogue that was decided by the search.
pub fn too_cloudy(settings: &BuildSettings, product: &Gathered, cloud_cover: Option<f64>) -> Option<String> {
    let max = settings.max_cloud_cover.filter(|_| product.item.is_none())?;
    match cloud_cover {
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

/// Why a product that is not in the store cannot get in, as far as its metadata tell: its rasters are not asked for then.
pub(super) fn loses(held: &Holdings, product: &Gathered, metadata: &ProductMetadata) -> Option<Refusal> {
    if held.contains(product.id) {
        return None;
    }
    let later = held.later_processing(product.id, metadata.datastrip_start()?)?;
    Some(Refusal::superseded(product.id, later))
}

/// What name and item tell of a product whose XML is not read.
fn from_name(product: &Gathered) -> ProductMetadata {
    let mut metadata = ProductMetadata::from_name(product.id);
    if let Some(item) = &product.item {
        metadata.datastrip_id.clone_from(&item.datastrip_id);
        metadata.cloud_cover = item.cloud_cover;
    }
    metadata
}
