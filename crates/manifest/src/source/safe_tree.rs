//! From the paths an operator names to the rasters of products below them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::MgrsTile;
use crate::product::ProductId;
use crate::raster::Asset;

use super::location::{Listed, Source, SourceError};

/// Most JP2 files that are taken from below one path.
const LIST_LIMIT: usize = 500_000;

/// A raster file of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRaster {
    /// Path below the source with a leading slash, as the index holds it.
    pub path: String,
    /// The product it belongs to.
    pub product: ProductId,
    /// Which raster it is.
    pub asset: Asset,
    /// What the listing said of the file; `None` where it was named and not listed.
    pub listed: Option<FileState>,
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Size, bytes.
    pub size: u64,
    /// ETag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// Modification time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<DateTime<Utc>>,
}

impl FoundRaster {
    /// A raster whose path is known; `None` where its name is none of the layout, or the product has no such raster.
    #[must_use]
    pub fn named(path: String, product: ProductId) -> Option<Self> {
        let asset = Asset::of_path(&path).filter(|asset| asset.exists_at(product.level()))?;
        Some(Self { path, product, asset, listed: None })
    }
}

/// A file that is left out, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LeftOut {
    /// Path below the source.
    pub path: String,
    /// One sentence.
    pub reason: String,
}

/// What lies below the named paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundFiles {
    /// Rasters, by path.
    pub rasters: Vec<FoundRaster>,
    /// JP2 files that are no raster of the layout (PVI).
    pub skipped: Vec<LeftOut>,
    /// JP2 files whose product or place cannot be told, or that contradict each other.
    pub refused: Vec<LeftOut>,
}

/// Finds the rasters below each path: a `.jp2` file, any folder, or the whole source (`""`, `.` or `/`). A path may also
/// be given with the source's address in front.
///
/// # Errors
/// [`SourceError`] where a folder cannot be listed; [`SourceError::Missing`] where it is not there,
/// [`SourceError::NoRaster`] where nothing is below it.
pub async fn find_rasters(source: &Source, paths: &[String]) -> Result<FoundFiles, SourceError> {
    let mut files: BTreeMap<String, Option<FileState>> = BTreeMap::new();
    for path in paths {
        let path = relative(source, path);
        if is_jp2(&path) {
            source.join(&path)?;
            files.entry(format!("/{}", path.trim_start_matches('/'))).or_default();
            continue;
        }
        let listed = source.list_where(&path, LIST_LIMIT, is_jp2).await?;
        if listed.is_empty() {
            let whole = path.is_empty() || path == ".";
            let url = if whole { source.url().to_string() } else { source.url_of(&path)? };
            // Only a folder of a disk can be there and empty.
            let gone = source.url().local_root().is_some_and(|root| !root.join(&path).exists());
            return Err(if gone { SourceError::Missing { url } } else { SourceError::NoRaster { url } });
        }
        files.extend(
            listed.into_iter().map(|Listed { path, size, etag, last_modified }| {
                (path, Some(FileState { size, etag, last_modified }))
            }),
        );
    }
    Ok(sort_out(&source.url().to_string(), files))
}

pub(super) fn is_jp2(path: &str) -> bool {
    path.len() > 4 && path.get(path.len() - 4..).is_some_and(|end| end.eq_ignore_ascii_case(".jp2"))
}

/// The path without the source's own address, and without slashes around it.
pub(super) fn relative(source: &Source, path: &str) -> String {
    let url = source.url();
    let local = url.local_root().map(|root| root.display().to_string());
    for prefix in [Some(url.to_string()), local].into_iter().flatten() {
        let prefix = prefix.trim_end_matches('/');
        match path.strip_prefix(prefix) {
            Some(rest) if !prefix.is_empty() && (rest.is_empty() || rest.starts_with('/')) => {
                return rest.trim_matches('/').to_owned();
            }
            _ => {}
        }
    }
    path.trim_matches('/').to_owned()
}

/// Tells products and rasters from paths alone.
fn sort_out(source_url: &str, files: BTreeMap<String, Option<FileState>>) -> FoundFiles {
    let mut out = FoundFiles::default();
    let mut seen: BTreeMap<(ProductId, Asset), String> = BTreeMap::new();
    for (path, listed) in files {
        let Some(asset) = Asset::of_path(&path) else {
            out.skipped.push(LeftOut { path, reason: "no raster of the store's layout".to_owned() });
            continue;
        };
        match which_product(source_url, &path, asset) {
            Ok(product) => match seen.get(&(product, asset)) {
                Some(first) => {
                    let reason = format!("{first} is the same raster of the same product");
                    out.refused.push(LeftOut { path, reason });
                }
                None => {
                    seen.insert((product, asset), path.clone());
                    out.rasters.push(FoundRaster { path, product, asset, listed });
                }
            },
            Err(reason) => out.refused.push(LeftOut { path, reason }),
        }
    }
    out
}

fn which_product(source_url: &str, path: &str, asset: Asset) -> Result<ProductId, String> {
    let product = ProductId::find_in(path)
        .or_else(|| ProductId::find_in(source_url))
        .ok_or("no folder in its address is a product name (S2A_MSIL2A_..SAFE)")?;
    if !asset.exists_at(product.level()) {
        return Err(format!("products of level {} have no {asset}", product.level()));
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let tile: Option<MgrsTile> = name.split('_').next().and_then(|part| part.strip_prefix('T')?.parse().ok());
    match tile {
        Some(tile) if tile != product.tile() => {
            Err(format!("its name is of tile {tile}, the product of {}", product.tile()))
        }
        _ => Ok(product),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SAFE: &str = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE";

    fn found(url: &str, files: &[&str]) -> FoundFiles {
        sort_out(url, files.iter().map(|f| ((*f).to_owned(), None)).collect())
    }

    #[test]
    fn products_are_told_from_the_path_or_the_source() {
        let file = "GRANULE/L2A_T29UNU_A038058_20221005T115407/IMG_DATA/R20m/T29UNU_20221005T115411_B05_20m.jp2";
        let inside = found("s3://b", &[&format!("/{SAFE}/{file}")]);
        let below = found(&format!("s3://b/x/{SAFE}"), &[&format!("/{file}")]);
        assert_eq!(inside.rasters[0].product, below.rasters[0].product);
        assert_eq!((inside.rasters[0].asset.name(), inside.rasters.len()), ("B05_20m".to_owned(), 1));
    }

    #[test]
    fn what_is_left_out_has_a_reason() {
        let l1c = SAFE.replace("MSIL2A", "MSIL1C");
        let out = found(
            "s3://b",
            &[
                &format!("/{SAFE}/GRANULE/g/QI_DATA/T29UNU_20221005T115411_PVI.jp2"),
                "/other/T29UNU_20221005T115411_B05_20m.jp2",
                &format!("/{SAFE}/T29UPU_20221005T115411_B05_20m.jp2"),
                &format!("/{l1c}/T29UNU_20221005T115411_SCL_20m.jp2"),
                &format!("/{SAFE}/1/T29UNU_20221005T115411_B06_20m.jp2"),
                &format!("/{SAFE}/2/T29UNU_20221005T115411_B06_20m.jp2"),
            ],
        );
        assert_eq!((out.rasters.len(), out.skipped.len(), out.refused.len()), (1, 1, 4), "{out:?}");
        let reasons: Vec<&str> = out.refused.iter().map(|r| r.reason.as_str()).collect();
        for what in
            ["is a product name", "of tile 29UPU, the product of 29UNU", "level L1C have no SCL_20m", "same raster"]
        {
            assert!(reasons.iter().any(|r| r.contains(what)), "{what}: {reasons:?}");
        }
    }
}
