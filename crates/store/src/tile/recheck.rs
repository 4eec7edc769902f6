//! What only a look at the source's folders tells: files that are others by now although nothing announced it.
//!
//! A full run lists the folders of a share of the store's products, the next ones in turn, and has those asked again whose
//! files are not those that the references were made of. The references themselves tell where the files are.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _, stream};
use icechunk::format::manifest::VirtualChunkRef;
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::location::{Source, SourceUrl};
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::source::versions::product_versions;

use super::BuildSettings;
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
) -> Result<BTreeSet<ProductId>> {
    let Some(store) = store else { return Ok(BTreeSet::new()) };
    let share = share(memory, held);
    let last = share.last().map(ToString::to_string);
    let asked: Vec<_> = share.into_iter().map(|id| is_replaced(source, &store, held, id).boxed()).collect();
    let mut answers = stream::iter(asked).buffered(settings.source_options.at_once());
    let mut out = BTreeSet::new();
    while let Some(answer) = answers.next().await {
        out.extend(answer?);
    }
    if let Some(last) = last {
        memory.looked_up_to(last);
    }
    Ok(out)
}

/// The products whose turn it is: those behind the last one that was looked at.
fn share(memory: &Memory, held: &Holdings) -> Vec<ProductId> {
    let all: Vec<ProductId> = held.ids().collect();
    let behind: Option<ProductId> = memory.looked_at().and_then(|last| last.parse().ok());
    let start = all.partition_point(|id| behind.is_some_and(|last| *id <= last));
    let count = all.len().div_ceil(TURNS);
    (0..count).filter_map(|number| all.get((start + number) % all.len()).copied()).collect()
}

/// The product, where the source lists other files of it than the store refers to.
async fn is_replaced(source: &Source, store: &HeldStore, held: &Holdings, id: ProductId) -> Result<Option<ProductId>> {
    let mut known: Vec<(String, VirtualChunkRef)> = Vec::new();
    for raster in held.rasters(id) {
        let Some(first) = store.first(&raster).await? else { continue };
        let address = store.address(&first);
        let path = address.strip_prefix(&source.url().prefix()).and_then(SourceUrl::decoded_path);
        known.extend(path.map(|path| (path, first)));
    }
    let paths: Vec<&str> = known.iter().map(|(path, _)| path.as_str()).collect();
    let files = match product_versions(source, &paths).await {
        Ok(files) => files.unwrap_or_default(),
        Err(error) => {
            tracing::debug!(product = %id, %error, "not looked at");
            return Ok(None);
        }
    };
    let other = known.iter().find(|(path, first)| files.get(path).is_some_and(|file| is_another_version(first, file)));
    if let Some((path, _)) = other {
        tracing::info!(product = %id, path, "the file is another one by now");
    }
    Ok(other.map(|_| id))
}
