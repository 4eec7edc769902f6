//! From the cells of a row to an [`IndexRow`], refusing what contradicts itself.

use crate::ids::Resolution;
use crate::index_columns::{ASSET, BAND_ID, ETAG, INDEX, LAST_MODIFIED, MAIN_HEADER, NODATA, PATH, RESOLUTION};
use crate::product::ProductId;
use crate::raster::Asset;
use crate::tlm::{IndexRow, TileIndex};

use super::columns::Columns;
use super::report::{Fault, RowFault};

pub(super) fn read(columns: &Columns, at: usize, product: ProductId) -> Result<IndexRow, Fault> {
    let absent = |what: &str| (RowFault::NoValue, format!("{what} is null or empty"));
    let text = |name: &str| columns.text(name, at).filter(|text| !text.is_empty()).ok_or_else(|| absent(name));
    let (path, band_id) = (text(PATH)?, text(BAND_ID)?);
    if let Some(other) = ProductId::find_in(path)
        && other != product
    {
        return Err((RowFault::Contradiction, format!("path {path} is of another product than {product}")));
    }
    let asset = which_raster(columns.text(ASSET, at), path, band_id)?;
    if !asset.exists_at(product.level()) {
        return Err((RowFault::NoRaster, format!("products of level {} have no {asset}", product.level())));
    }
    if let Some(metres) = columns.u16(RESOLUTION, at)
        && Resolution::from_metres(u64::from(metres)) != Some(asset.resolution)
    {
        return Err((RowFault::Contradiction, format!("resolution {metres} contradicts raster {asset}")));
    }
    let index = TileIndex::from_cell(columns.binary(INDEX, at).unwrap_or_default());
    let main_header: Option<Box<[u8]>> = columns.binary(MAIN_HEADER, at).filter(|b| !b.is_empty()).map(Box::from);
    Ok(IndexRow {
        product,
        asset,
        path: path.to_owned(),
        index,
        main_header,
        etag: columns.text(ETAG, at).filter(|etag| !etag.is_empty()).map(str::to_owned),
        last_modified: columns.time(LAST_MODIFIED, at),
        nodata: columns.list(NODATA, at).and_then(|tiles| tiles.into_iter().collect()),
    })
}

/// The raster by our own column, else by the file's name, else by its band at its home resolution; refused where these
/// contradict each other.
fn which_raster(asset: Option<&str>, path: &str, band_id: &str) -> Result<Asset, Fault> {
    let contradiction = |reason: String| Err((RowFault::Contradiction, reason));
    let unknown = |reason: String| (RowFault::NoRaster, reason);
    let by_path = Asset::of_path(path);
    let by_column: Option<Asset> =
        asset.map(|name| name.parse().map_err(|e| unknown(format!("asset {e}")))).transpose()?;
    if let (Some(a), Some(b)) = (by_column, by_path)
        && a != b
    {
        return contradiction(format!("asset {a} contradicts path {path}"));
    }
    let asset = match by_column.or(by_path) {
        Some(asset) => asset,
        None => {
            let by_band = band_id.parse();
            by_band.map_err(|_| unknown(format!("neither path {path} nor band_id {band_id:?} names a raster")))?
        }
    };
    if asset.band_id() != band_id && asset.name() != band_id {
        return contradiction(format!("band_id {band_id:?} contradicts raster {asset} of path {path}"));
    }
    Ok(asset)
}

/// Completes a row with what another one of the same raster knows.
///
/// # Errors
/// In what they contradict each other.
pub(super) fn merge(row: &mut IndexRow, other: &IndexRow) -> Result<(), String> {
    if row.path != other.path {
        return Err(format!("paths {} and {}", row.path, other.path));
    }
    if row.index != other.index {
        return Err(format!("different index bytes for {}", row.path));
    }
    fill(&mut row.main_header, &other.main_header, "main headers", &row.path)?;
    fill(&mut row.etag, &other.etag, "ETags", &row.path)?;
    fill(&mut row.last_modified, &other.last_modified, "modification times", &row.path)?;
    fill(&mut row.nodata, &other.nodata, "lists of nodata tiles", &row.path)
}

fn fill<T: Clone + PartialEq>(mine: &mut Option<T>, other: &Option<T>, what: &str, path: &str) -> Result<(), String> {
    match (mine.as_ref(), other) {
        (Some(a), Some(b)) if a != b => return Err(format!("different {what} for {path}")),
        (None, Some(value)) => *mine = Some(value.clone()),
        _ => {}
    }
    Ok(())
}
