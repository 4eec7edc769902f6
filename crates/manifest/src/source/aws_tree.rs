//! The rasters of a product in Amazon's layout, where no folder of the files bears the product's name.
//!
//! `tiles/33/T/VN/2024/5/1` has a folder for each product of the tile and day, called 0, 1 and so on. Which product has
//! which number follows from no name; it is proven by what lies there: the granule's metadata in the folder must be that
//! of the granule that the product's own metadata names (see [`super::safe_xml::check_belongs`]).

use std::collections::BTreeMap;

use crate::ids::Level;
use crate::product::ProductId;

use super::location::{Listed, Source, SourceError};
use super::memory::Memory;
use super::mirror::{aws_day, aws_folder};
use super::safe_tree::{FileState, FoundRaster, is_jp2};
use super::safe_xml::{MetadataError, read_metadata};

/// Most JP2 files of one tile and day.
const LIST_LIMIT: usize = 10_000;

/// Why a product's files cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is nothing.
    #[error("no files lie in {folder}, where Amazon's layout has the products of that tile and day")]
    Nothing {
        /// The folder of the day.
        folder: String,
    },
    /// No folder of the day is proven to be the product's.
    #[error("none of the folders of that tile and day is proven to be of the product ({reasons})")]
    NotProven {
        /// Each folder with the reason.
        reasons: String,
    },
}

/// Finds the rasters of a product and reads its metadata, which go to the memory. `named` are addresses below the source
/// that a catalogue gives, which say where to look first, and what there is where the source cannot be listed.
///
/// One listing and two reads as a rule.
///
/// # Errors
/// [`AwsError`].
pub async fn find_product(
    source: &Source,
    memory: &Memory,
    product: ProductId,
    named: &[String],
) -> Result<Vec<FoundRaster>, AwsError> {
    let of_tile = |path: &&String| aws_folder(path).is_some_and(|folder| folder.is_of(product));
    let named: Vec<&String> = named.iter().filter(of_tile).collect();
    let day = aws_day(product);
    let listed = match source.list_where(&day, LIST_LIMIT, is_jp2).await {
        Ok(listed) => listed,
        Err(SourceError::CannotList { .. } | SourceError::Denied { .. }) if !named.is_empty() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut folders: BTreeMap<(bool, u16, String), Vec<FoundRaster>> = BTreeMap::new();
    let mut add = |path: String, listed: Option<FileState>| {
        let Some(folder) = aws_folder(&path) else { return };
        if !is_raster(folder.inside, product.level()) {
            return;
        }
        let first = named.iter().any(|path| aws_folder(path).is_some_and(|named| named.tile == folder.tile));
        let key = (!first, folder.number, folder.tile.to_owned());
        if let Some(raster) = FoundRaster::named(path, product) {
            folders.entry(key).or_default().push(FoundRaster { listed, ..raster });
        }
    };
    if listed.is_empty() {
        let mut paths = named.clone();
        paths.sort();
        paths.dedup();
        paths.into_iter().for_each(|path| add(path.clone(), None));
    }
    for Listed { path, size, etag, last_modified } in listed {
        add(path, Some(FileState { size, etag, last_modified }));
    }
    if folders.is_empty() {
        return Err(AwsError::Nothing { folder: source.url_of(&day)? });
    }
    let mut reasons = Vec::new();
    for ((_, number, _), rasters) in folders {
        let Some(first) = rasters.first() else { continue };
        match read_metadata(source, product, &first.path).await {
            Ok(metadata) => {
                memory.put_product(&source.cache_prefix(), product, metadata);
                return Ok(rasters);
            }
            Err(MetadataError::Source(error)) if !matches!(error, SourceError::Missing { .. }) => {
                return Err(error.into());
            }
            Err(error) => reasons.push(format!("{number}: {error}")),
        }
    }
    Err(AwsError::NotProven { reasons: reasons.join("; ") })
}

/// Whether a file of a tile's folder is a raster of the product at full size: there are previews of the same name.
fn is_raster(inside: &str, level: Level) -> bool {
    match inside.split_once('/') {
        None => level == Level::L1C,
        Some(("qi", file)) => file.starts_with("MSK_"),
        Some(("R10m" | "R20m" | "R60m", file)) => level == Level::L2A && !file.contains('/'),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_no_rasters() {
        for (inside, l1c, l2a) in [
            ("B02.jp2", true, false),
            ("R10m/B02.jp2", false, true),
            ("R60m/SCL.jp2", false, true),
            ("preview/B02.jp2", false, false),
            ("preview.jp2", true, false),
            ("qi/MSK_DETFOO_B02.jp2", true, true),
            ("qi/T33TVN_20240501T100601_PVI.jp2", false, false),
            ("R10m/x/B02.jp2", false, false),
        ] {
            assert_eq!((is_raster(inside, Level::L1C), is_raster(inside, Level::L2A)), (l1c, l2a), "{inside}");
        }
    }
}
