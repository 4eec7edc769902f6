//! JPEG 2000 files in SAFE folders: metadata of every product and main header of every raster, remembered, from the index or
//! from the file itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::geometry::{AngleArray, AngleChunks, AnglePlacement};
use s2ice_manifest::header_class::assumed_header;
use s2ice_manifest::manifest::{HeaderTrust, RasterFile, TileTable};
use s2ice_manifest::product::ProductMetadata;
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::proof::{Proof, SeenSot, prove};
use s2ice_manifest::source::facts::{FactsError, FileRequest, file_record, product_metadata, product_with_angles};
use s2ice_manifest::source::jp2_header::{FileError, check_decodable};
use s2ice_manifest::source::jp2_proof::ask_tiles;
use s2ice_manifest::source::location::{Source, SourceUrl};
use s2ice_manifest::source::memory::{FileRecord, Memory};
use s2ice_manifest::source::tlm_parquet::Conflict;
use s2ice_manifest::tlm::{IndexRow, TileIndex};

use super::evidence::{Angles, ReadProduct, Reader};
use super::facts::{Facts, nodata, spans};
use super::inputs::Gathered;
use super::sample::Samples;
use super::trouble::Trouble;
use super::{BuildSettings, HeaderPolicy};

/// Rows that contradict each other, as refusals.
pub fn conflict(conflict: &Conflict) -> Refusal {
    Refusal {
        product: conflict.product.clone(),
        raster: Some(conflict.raster.clone()),
        kind: RefusalKind::Index,
        reason: format!("its index rows contradict each other: {}", conflict.reason),
    }
}

type Headers = HashMap<Vec<u8>, Result<Arc<HeaderProfile>, String>>;

/// Reads products of SAFE folders.
pub struct SafeReader<'a> {
    settings: &'a BuildSettings,
    /// The arrays of angles that are wanted.
    angles: &'a BTreeSet<AngleArray>,
    source_url: &'a SourceUrl,
    source: Option<&'a Source>,
    memory: &'a Memory,
    headers: Mutex<Headers>,
    samples: Samples,
    from_cache: AtomicU64,
}

#[async_trait]
impl Reader for SafeReader<'_> {
    async fn read_product(&self, product: &Gathered) -> Result<ReadProduct, Trouble> {
        let Some(source) = self.source else { return Ok((from_name(product), Ok(Angles::new()))) };
        if self.angles.is_empty() {
            return Ok((product_metadata(source, self.memory, product.id, &product.anchor).await?, Ok(Angles::new())));
        }
        let (metadata, chunks) = product_with_angles(source, self.memory, product.id, &product.anchor).await?;
        let wanted = |chunks: Arc<AngleChunks>| {
            let chunks = chunks.iter().filter(|(array, _)| self.angles.contains(array));
            chunks.map(|(array, bytes)| (*array, AnglePlacement::New(Arc::clone(bytes)))).collect()
        };
        Ok((metadata, chunks.map(wanted).map_err(|error| FactsError::from(error).into())))
    }

    async fn read_raster(&self, row: &IndexRow) -> Result<RasterFile, Trouble> {
        let path = self
            .source_url
            .encoded_path(&row.path)
            .map_err(|error| Trouble::Refused(RefusalKind::Index, error.to_string()))?;
        let facts = self.facts(row).await?;
        let sot = facts.sot;
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
            trust: facts.trust,
            tiles: TileTable::new(&spans),
            nodata,
        };
        raster.validate().map_err(|error| Trouble::Refused(RefusalKind::Ranges, error.to_string()))?;
        self.prove(&raster, sot).await?;
        Ok(raster)
    }

    fn remembered(&self) -> u64 {
        self.from_cache.load(Ordering::Relaxed)
    }
}

impl<'a> SafeReader<'a> {
    /// Of a source, which is not asked where headers are assumed; some of its files stand for others.
    pub fn new(
        settings: &'a BuildSettings,
        angles: &'a BTreeSet<AngleArray>,
        source_url: &'a SourceUrl,
        source: Option<&'a Source>,
        memory: &'a Memory,
        samples: Samples,
    ) -> Self {
        let source = source.filter(|_| settings.headers != HeaderPolicy::Assume);
        Self {
            settings,
            angles,
            source_url,
            source,
            memory,
            headers: Mutex::default(),
            samples,
            from_cache: AtomicU64::new(0),
        }
    }

    fn count_cached(&self) {
        self.from_cache.fetch_add(1, Ordering::Relaxed);
    }

    /// What is known of the file: from the memory, from the index, from the file, or assumed.
    async fn facts(&self, row: &IndexRow) -> Result<Facts, Trouble> {
        let policy = self.settings.headers;
        let from_index = || {
            let header = row.main_header.as_deref()?;
            let trust = if policy == HeaderPolicy::Assume { HeaderTrust::Assumed } else { HeaderTrust::Verified };
            Some(Facts::of_row(row, header.to_vec(), trust))
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
        if let Some(facts) = self.samples.facts(source, row, || self.read(source, row)).await? {
            return Ok(facts);
        }
        Ok(Facts::from(self.read(source, row).await?.as_ref()))
    }

    /// The file itself, or what is remembered of it.
    async fn read(&self, source: &Source, row: &IndexRow) -> Result<Arc<FileRecord>, Trouble> {
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
        let known = source.cache_key(&row.path).ok().and_then(|key| self.memory.file(&key));
        let record = file_record(source, self.memory, request).await?;
        if known.is_some_and(|known| Arc::ptr_eq(&known, &record)) {
            self.count_cached();
        }
        Ok(record)
    }

    /// Whether the tiles are where the row says, in their order: by the first tile-part header, as far as that goes, else by
    /// those that are asked for.
    async fn prove(&self, raster: &RasterFile, first: Option<SeenSot>) -> Result<(), Trouble> {
        let Some(source) = self.source else { return Ok(()) };
        let elsewhere =
            |reason: String| Trouble::Refused(RefusalKind::Ranges, format!("{reason}: index the file again"));
        match prove(&raster.tiles, first) {
            Proof::Proven => Ok(()),
            Proof::Wrong(reason) => Err(elsewhere(reason)),
            // What is inferred is proven when it is read.
            Proof::Ask(tiles) if raster.trust == HeaderTrust::Inferred && tiles.len() == 1 => Ok(()),
            Proof::Ask(tiles) => match ask_tiles(source, raster, &tiles).await {
                Ok(()) => Ok(()),
                Err(error @ (FileError::Source(_) | FileError::Changed { .. })) => Err(error.into()),
                Err(FileError::Refused { reason, .. }) => Err(elsewhere(reason)),
                Err(error) => Err(elsewhere(error.to_string())),
            },
        }
    }

    fn assumed(&self, row: &IndexRow) -> Result<Facts, Trouble> {
        let main_header = assumed_header(row.asset, self.settings.level).ok_or_else(|| {
            let reason = "no main header is known for this kind of raster: use --headers read".to_owned();
            Trouble::Refused(RefusalKind::Index, reason)
        })?;
        Ok(Facts::of_row(row, main_header, HeaderTrust::Assumed))
    }

    /// Parses a main header once per distinct header.
    fn header(&self, bytes: &[u8]) -> Result<Arc<HeaderProfile>, Trouble> {
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

/// What name and item tell of a product whose XML is not read.
fn from_name(product: &Gathered) -> ProductMetadata {
    let mut metadata = ProductMetadata::from_name(product.id);
    if let Some(item) = &product.item {
        metadata.datastrip_id.clone_from(&item.datastrip_id);
        metadata.cloud_cover = item.cloud_cover;
    }
    metadata
}
