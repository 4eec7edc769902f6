//! Asking for what is known of a GeoTIFF: the memory first, the source only where it must.

use std::sync::Arc;

use super::facts::FactsError;
use super::jp2_header::FileError;
use super::location::Source;
use super::memory::Memory;
use super::tiff::{OffsetTally, TiffRecord, ask_offset, read_tiff};

/// What a file is asked for.
#[derive(Debug, Clone, Copy)]
pub struct TiffRequest<'a> {
    /// Path below the source.
    pub path: &'a str,
    /// Size by its item, where that says: a record of another size is not believed.
    pub size: Option<u64>,
    /// When its item last changed: the file may have changed with it, so what is remembered from before is not believed.
    pub item: Option<&'a str>,
}

/// Tables of a file: remembered, or read now and remembered.
///
/// # Errors
/// [`FactsError::File`].
pub async fn tiff_record(
    source: &Source,
    memory: &Memory,
    request: TiffRequest<'_>,
) -> Result<Arc<TiffRecord>, FactsError> {
    let TiffRequest { path, size, item } = request;
    let key = source.cache_key(path).map_err(FileError::from)?;
    if let Some(known) = memory.tiff(&key)
        && size.is_none_or(|size| size == known.size)
        && known.item.as_deref() == item
        && source.is_unchanged(path, known.etag.as_deref()).await
    {
        return Ok(known);
    }
    let record = read_tiff(source, path).await?;
    Ok(memory.put_tiff(&key, TiffRecord { item: item.map(str::to_owned), ..record }))
}

/// What the pixels of a band say of an offset: remembered, or looked at now and remembered. One request, or two where the
/// first finds too little.
///
/// # Errors
/// As [`tiff_record`].
pub async fn tiff_offset(
    source: &Source,
    memory: &Memory,
    request: TiffRequest<'_>,
    add_offset: i32,
) -> Result<OffsetTally, FactsError> {
    let record = tiff_record(source, memory, request).await?;
    if let Some(known) = record.offset.filter(|known| known.add_offset == add_offset) {
        return Ok(known);
    }
    let tally = ask_offset(source, request.path, &record, add_offset).await?;
    let key = source.cache_key(request.path).map_err(FileError::from)?;
    memory.put_tiff(&key, TiffRecord { offset: Some(tally), ..TiffRecord::clone(&record) });
    Ok(tally)
}
