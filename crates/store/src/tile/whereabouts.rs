//! Where the files of a product lie below the source: as its item says, as the archives have it, or part of that.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use s2ice_manifest::assemble::RefusalKind;
use s2ice_manifest::ids::Level;
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::aws_tree::find_product;
use s2ice_manifest::source::location::{Source, SourceError, SourceUrl};
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::source::mirror::Layout;
use s2ice_manifest::source::safe_tree::{FoundRaster, find_rasters};
use s2ice_manifest::stac::StacItem;

use super::trouble::Trouble;

/// Finds the files of products.
pub struct Whereabouts<'a> {
    source: &'a Source,
    memory: &'a Memory,
    layout: Layout,
    /// How many leading segments of a foreign address were left out where a product was found last: mirrors keep one
    /// layout for all.
    depth: AtomicUsize,
}

impl<'a> Whereabouts<'a> {
    /// Of products below a source with this arrangement.
    pub fn new(source: &'a Source, memory: &'a Memory, layout: Layout) -> Self {
        Self { source, memory, layout, depth: AtomicUsize::new(usize::MAX) }
    }

    /// True where a product lies in a folder of its name with all its files.
    pub fn knows_folders(&self) -> bool {
        self.layout != Layout::Aws
    }

    /// The rasters of a product: of its folder, if that can be listed, since catalogues leave out the masks; else those
    /// that the item names.
    pub async fn files(&self, item: &StacItem) -> Result<Vec<FoundRaster>, Trouble> {
        let prefix = self.source.url().prefix();
        let below: Vec<String> =
            item.images.iter().filter_map(|href| below(href, &prefix)).map(|path| format!("/{path}")).collect();
        if self.layout == Layout::Aws {
            return Ok(find_product(self.source, self.memory, item.product, &below).await?);
        }
        if let Some(folder) = below.iter().find_map(|path| safe_folder(path, item.product)) {
            return match self.list(folder, item.product).await {
                Ok(files) => Ok(files),
                Err(SourceError::CannotList { .. } | SourceError::Denied { .. }) => {
                    let named = |path: String| FoundRaster::named(path, item.product);
                    let mut seen = BTreeSet::new();
                    Ok(below.into_iter().filter_map(named).filter(|raster| seen.insert(raster.asset)).collect())
                }
                Err(error) => Err(error.into()),
            };
        }
        let last = self.depth.load(Ordering::Relaxed);
        let mut candidates = candidates(item);
        // The sort is stable: the usual order otherwise.
        candidates.sort_by_key(|(depth, _)| *depth != last);
        let mut tried = BTreeSet::new();
        for (depth, folder) in &candidates {
            if !tried.insert(folder) {
                continue;
            }
            match self.list(folder, item.product).await {
                Ok(files) if !files.is_empty() => {
                    self.depth.store(*depth, Ordering::Relaxed);
                    return Ok(files);
                }
                Ok(_) | Err(SourceError::Missing { .. } | SourceError::BadPath { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let first = candidates.first().map(|(_, folder)| folder.as_str()).unwrap_or_default();
        let reason = format!("its files were not found below {} (looked for {first} and the like)", self.source.url());
        Err(Trouble::Refused(RefusalKind::Source, reason))
    }

    async fn list(&self, folder: &str, product: ProductId) -> Result<Vec<FoundRaster>, SourceError> {
        let found = find_rasters(self.source, &[folder.to_owned()]).await;
        let mut found = found.map_err(no_folder)?.rasters;
        found.retain(|raster| raster.product == product);
        Ok(found)
    }
}

/// On object stores a folder without files is none.
fn no_folder(error: SourceError) -> SourceError {
    match error {
        SourceError::NoRaster { url } => SourceError::Missing { url },
        error => error,
    }
}

/// The path of an address below the source.
fn below(href: &str, prefix: &str) -> Option<String> {
    let path = match href.strip_prefix(prefix) {
        Some(rest) => SourceUrl::decoded_path(rest)?,
        // A local path as it stands.
        None => href.strip_prefix(prefix.strip_prefix("file://")?)?.to_owned(),
    };
    (!path.is_empty()).then_some(path)
}

/// A path up to the folder that bears the product's name.
fn safe_folder(path: &str, product: ProductId) -> Option<&str> {
    let name = format!("{product}.SAFE");
    let at = path.find(&name)?;
    path.get(..at + name.len())
}

/// Folders in which a product may lie, each with the number of leading segments left out: as its item places it, as the
/// archives do, and parts of these, since a mirror may begin anywhere.
fn candidates(item: &StacItem) -> Vec<(usize, String)> {
    let product = item.product;
    let name = format!("{product}.SAFE");
    let mut whole: Vec<String> = Vec::new();
    if let Some((_, rest)) = item.images.first().and_then(|href| href.split_once("://"))
        && let Some((_, key)) = rest.split_once('/')
        && let Some(folder) = safe_folder(key, product)
    {
        whole.push(folder.to_owned());
    }
    let day = product.datatake_start().format("%Y/%m/%d");
    whole.push(format!("Sentinel-2/MSI/{}/{day}/{name}", product.level()));
    let tile = product.tile().to_string();
    if let (Some(zone), Some(band), Some(square)) = (tile.get(..2), tile.get(2..3), tile.get(3..)) {
        let level = if product.level() == Level::L2A { "L2/" } else { "" };
        whole.push(format!("{level}tiles/{zone}/{band}/{square}/{name}"));
    }
    let mut out = vec![(usize::MAX - 1, name)];
    for folder in whole {
        let segments: Vec<&str> = folder.split('/').collect();
        out.extend((0..segments.len() - 1).map(|depth| (depth, segments[depth..].join("/"))));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NAME: &str = "S2A_MSIL2A_20240501T100601_N0511_R022_T33TVN_20240501T140000";

    fn item(href: &str) -> StacItem {
        StacItem::from_json(&serde_json::json!({
            "type": "Feature", "id": NAME, "properties": {"datetime": "2024-05-01T10:06:01Z"},
            "assets": {"B02_10m": {"href": href}},
        }))
        .unwrap()
    }

    #[test]
    fn addresses_are_cut_to_paths_below_the_source() {
        let file = format!("2024/05/01/{NAME}.SAFE/GRANULE/g/IMG_DATA/R10m/T33TVN_20240501T100601_B02_10m.jp2");
        let prefix = "s3://eodata/Sentinel-2/MSI/L2A/";
        assert_eq!(below(&format!("{prefix}{file}"), prefix).as_deref(), Some(file.as_str()));
        assert_eq!(below(&format!("s3://other/Sentinel-2/MSI/L2A/{file}"), prefix), None);
        assert_eq!(below("/data/s2/a%20b.jp2", "file:///data/s2/").as_deref(), Some("a%20b.jp2"));
        assert_eq!(below("file:///data/s2/a%20b.jp2", "file:///data/s2/").as_deref(), Some("a b.jp2"));
        assert_eq!(safe_folder(&file, NAME.parse().unwrap()), Some(&*format!("2024/05/01/{NAME}.SAFE")));
    }

    #[test]
    fn a_mirror_may_keep_any_part_of_the_layout() {
        let href = format!("s3://eodata/Sentinel-2/MSI/L2A_N0500/2024/05/01/{NAME}.SAFE/GRANULE/g/x_B02_10m.jp2");
        let folders: Vec<String> = candidates(&item(&href)).into_iter().map(|(_, folder)| folder).collect();
        for folder in [
            format!("{NAME}.SAFE"),
            format!("Sentinel-2/MSI/L2A_N0500/2024/05/01/{NAME}.SAFE"),
            format!("Sentinel-2/MSI/L2A/2024/05/01/{NAME}.SAFE"),
            format!("2024/05/01/{NAME}.SAFE"),
            format!("L2/tiles/33/T/VN/{NAME}.SAFE"),
        ] {
            assert!(folders.contains(&folder), "{folder}: {folders:?}");
        }
        assert_eq!(folders[0], format!("{NAME}.SAFE"));
    }
}
