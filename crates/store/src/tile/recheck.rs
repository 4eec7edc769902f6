//! What only a look at the source's folders tells: files that are others by now although nothing announced it.
//!
//! A full run lists the folders of a share of the store's products, the next ones in turn, and has those asked again whose
//! files are not those that the references were made of.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, stream};
use s2ice_manifest::manifest::HeldRaster;
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::location::{Listed, Source};
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::source::versions::product_versions;

use super::BuildSettings;
use super::inputs::Gathered;
use crate::error::Result;
use crate::held::HeldStore;
use crate::holdings::Holdings;
use crate::reference::is_another_version;

/// So many full runs look at every product once.
const TURNS: usize = 8;

/// The products of this run's share whose files are others by now.
///
/// # Errors
/// What the store holds cannot be read. A source that lists nothing tells nothing.
pub async fn replaced(
    settings: &BuildSettings,
    memory: &Memory,
    held: &Holdings,
    store: Option<Arc<HeldStore>>,
    source: &Source,
    products: &[Gathered],
) -> Result<BTreeSet<ProductId>> {
    let Some(store) = store else { return Ok(BTreeSet::new()) };
    let share = share(memory, held, products);
    let last = share.last().map(|product| product.id.to_string());
    let asked: Vec<_> = share.into_iter().map(|product| listing(source, held, product).boxed()).collect();
    let mut listed = stream::iter(asked).buffered(settings.source_options.at_once());
    let mut out = BTreeSet::new();
    while let Some((product, files)) = listed.next().await {
        for (raster, file) in files {
            let first = store.first(&raster).await?;
            if first.is_some_and(|first| is_another_version(&first, &file)) {
                tracing::info!(%product, raster = %raster.asset, "the file is another one by now");
                out.insert(product);
            }
        }
    }
    if let Some(last) = last {
        memory.looked_up_to(last);
    }
    Ok(out)
}

/// The products whose turn it is: those behind the last one that was looked at.
fn share<'a>(memory: &Memory, held: &Holdings, products: &'a [Gathered]) -> Vec<&'a Gathered> {
    let mut all: Vec<&Gathered> = products.iter().filter(|product| held.contains(product.id)).collect();
    all.sort_by_key(|product| product.id);
    let behind: Option<ProductId> = memory.looked_at().and_then(|last| last.parse().ok());
    let start = all.partition_point(|product| behind.is_some_and(|last| product.id <= last));
    let count = all.len().div_ceil(TURNS);
    (0..count).filter_map(|number| all.get((start + number) % all.len()).copied()).collect()
}

/// The rasters that the store holds of a product, with what the source lists of their files now.
async fn listing(source: &Source, held: &Holdings, product: &Gathered) -> (ProductId, Vec<(HeldRaster, Listed)>) {
    let paths: Vec<&str> = product.rows.iter().map(|row| row.path.as_str()).collect();
    let mut files = match product_versions(source, &paths).await {
        Ok(files) => files.unwrap_or_default(),
        Err(error) => {
            tracing::debug!(product = %product.id, %error, "not looked at");
            return (product.id, Vec::new());
        }
    };
    let pairs = held.rasters(product.id).into_iter().filter_map(|raster| {
        let row = product.rows.iter().find(|row| row.asset == raster.asset)?;
        Some((raster, files.remove(&row.path)?))
    });
    (product.id, pairs.collect())
}
