//! Asking for a file's or a product's facts: the memory first, the source only where it must.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::geometry::AngleChunks;
use crate::product::{ProductId, ProductMetadata};
use crate::raster::Asset;
use crate::tlm::IndexBytesError;

use super::angle_chunks::encode;
use super::blocking::blocking;
use super::jp2_header::{FileError, FileFacts, read_head};
use super::jp2_walk::walk;
use super::location::Source;
use super::memory::{FileRecord, FirstSot, Memory};
use super::safe_xml::{GranuleFile, MetadataError, read_granule_file, read_metadata, read_metadata_and_granule};
use super::version::Version;

/// What a file is asked for.
#[derive(Debug, Clone, Copy)]
pub struct FileRequest<'a> {
    /// Path below the source.
    pub path: &'a str,
    /// Which raster it is.
    pub asset: Asset,
    /// Size by the index, where it says: a record of another size is not believed.
    pub size: Option<u64>,
    /// Offset of the first SOT by the index; a record with another one is not believed either.
    pub first_sot: Option<u64>,
    /// ETag by the index: a record with another one is older or newer than the index, so the file itself is asked.
    pub etag: Option<&'a str>,
    /// Modification time by the index, which stands in where ETags are unknown.
    pub last_modified: Option<DateTime<Utc>>,
    /// Tile lengths are needed: from the file's TLM, else by walking it.
    pub index: bool,
}

/// A failure of the source, the file or the memory.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The file cannot be read or referenced.
    #[error(transparent)]
    File(#[from] FileError),
    /// The product's metadata cannot be used.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl FileRequest<'_> {
    /// Whether a record answers the request and does not contradict what the index says of the file.
    fn is_answered_by(&self, known: &FileRecord) -> bool {
        let indexed = Version { etag: self.etag, last_modified: self.last_modified };
        indexed.differs(known.version()).is_none()
            && self.size.is_none_or(|size| size == known.size)
            && self.first_sot.is_none_or(|offset| offset == known.first_sot)
            && (known.index.is_some() || !self.index)
    }
}

/// Facts of a file: remembered, or read now and remembered.
///
/// # Errors
/// [`FactsError::File`].
pub async fn file_record(
    source: &Source,
    memory: &Memory,
    request: FileRequest<'_>,
) -> Result<Arc<FileRecord>, FactsError> {
    let key = source.cache_key(request.path).map_err(FileError::from)?;
    if let Some(known) = memory.file(&key)
        && request.is_answered_by(&known)
        && source.is_unchanged(request.path, known.etag.as_deref()).await
    {
        return Ok(known);
    }
    let facts = read_head(source, request.path).await?;
    let record = record_of(source, &facts, request).await?;
    Ok(memory.put_file(&key, record))
}

async fn record_of(source: &Source, facts: &FileFacts, request: FileRequest<'_>) -> Result<FileRecord, FileError> {
    let (mut entry, mut nodata) = (facts.index.clone(), None);
    if entry.is_none() && request.index {
        let walked = walk(source, request.path, facts, request.asset.zero_is_nodata()).await?;
        (entry, nodata) = (Some(walked.entry), walked.nodata);
    }
    let unwritable = |e: IndexBytesError| FileError::Refused { path: request.path.to_owned(), reason: e.to_string() };
    Ok(FileRecord {
        size: facts.file_size,
        etag: facts.etag.clone(),
        last_modified: facts.last_modified,
        first_sot: facts.head.first_sot,
        sot: facts.first_sot.map(|seen| FirstSot::from(seen.sot)),
        header: facts.head.header.codec_header().into(),
        index: entry.map(|e| e.write()).transpose().map_err(unwritable)?.map(Arc::from),
        nodata,
    })
}

/// Metadata of a product, as read in this run. `raster_path` is the path of any of its rasters.
///
/// # Errors
/// [`FactsError::Metadata`].
pub async fn product_metadata(
    source: &Source,
    memory: &Memory,
    product: ProductId,
    raster_path: &str,
) -> Result<ProductMetadata, FactsError> {
    match memory.product(&source.cache_prefix(), product) {
        Some(known) => Ok(known),
        None => Ok(read_metadata(source, product, raster_path).await?),
    }
}

/// Metadata and angles of a product. Angles that cannot be read are an answer of their own, since everything else of the
/// product can be used without them.
///
/// # Errors
/// As [`product_metadata`].
pub async fn product_with_angles(
    source: &Source,
    memory: &Memory,
    product: ProductId,
    raster_path: &str,
) -> Result<(ProductMetadata, Result<Arc<AngleChunks>, MetadataError>), FactsError> {
    let (metadata, file) = match memory.product(&source.cache_prefix(), product) {
        Some(known) => (known, read_granule_file(source, product, raster_path).await),
        None => read_metadata_and_granule(source, product, raster_path).await?,
    };
    let angles = match file {
        Ok(file) => chunks(file, product).await.map(Arc::new),
        Err(error) => Err(error),
    };
    Ok((metadata, angles))
}

/// Parsing and compressing take some milliseconds of a processor, which other products' requests shall not wait for.
async fn chunks(file: GranuleFile, product: ProductId) -> Result<AngleChunks, MetadataError> {
    let path = file.path().to_owned();
    let failed = move |reason: String| MetadataError::Contradiction { path, reason };
    let work = blocking(move || file.angles(product).map(|angles| encode(&angles)));
    match work.await {
        Ok(Ok(Ok(chunks))) => Ok(chunks),
        Ok(Ok(Err(error))) => Err(failed(format!("its angles cannot be compressed: {error}"))),
        Ok(Err(error)) => Err(error),
        Err(error) => Err(failed(format!("reading its angles was given up: {error}"))),
    }
}
