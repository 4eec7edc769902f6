//! What only a look at the source tells: products that are not what they were although no index row announced it.
//!
//! Looked at are the products whose items changed, and in a full run a share of the store's products, the next ones in turn.
//! Those are asked again whose files are not those that the references were made of, or whose XML tells something else than
//! the store has. Angles are looked at where an item changed: nearly all bytes of an XML are theirs. The references themselves
//! tell where the files are.

use std::collections::BTreeSet;

use futures::{FutureExt as _, StreamExt as _, stream};
use icechunk::format::manifest::VirtualChunkRef;
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::geometry::{AngleArray, AnglePlacement};
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::facts::{product_metadata, product_with_angles};
use s2ice_manifest::source::location::{Source, SourceError, SourceUrl};
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::source::versions::product_versions;

use super::difference::is_another;
use super::wanted::wanted_angles;
use super::{BuildSettings, HeaderPolicy, MemoryPlace};
use crate::angles::fingerprint;
use crate::commit::Loaded;
use crate::error::Result;
use crate::held::HeldStore;
use crate::holdings::Holdings;
use crate::reference::is_another_version;
use crate::target::Target;

/// So many full runs look at every product once.
const TURNS: usize = 8;

/// Where to look.
pub struct Look<'a> {
    /// What is asked for.
    pub settings: &'a BuildSettings,
    /// What the store holds.
    pub held: &'a Holdings,
    /// Where the files are.
    pub source: Option<&'a Source>,
    /// Where the store is.
    pub target: Option<&'a Target>,
}

impl Look<'_> {
    /// Of the share whose turn it is in a full run, the products that are not what they were.
    ///
    /// # Errors
    /// What the store holds cannot be read. A source that lists nothing tells nothing.
    pub async fn in_turn(&self, loaded: &mut Loaded, memory: &Memory) -> Result<BTreeSet<ProductId>> {
        if !self.settings.full || self.settings.memory == MemoryPlace::Nowhere {
            return Ok(BTreeSet::new());
        }
        let share = share(memory, self.held);
        let last = share.last().map(ToString::to_string);
        let seen = self.at(loaded, share, &BTreeSet::new()).await?;
        // What could not be looked at keeps its turn.
        if let Some(last) = last.filter(|_| seen.iter().any(|(_, seen)| seen.is_ok())) {
            memory.looked_up_to(last);
        }
        Ok(seen.into_iter().filter(|(_, seen)| matches!(seen, Ok(true))).map(|(id, _)| id).collect())
    }

    /// Of products whose items changed, those that are not what they were, or that cannot be looked at. What items of
    /// GeoTIFFs say is asked for anyway.
    ///
    /// # Errors
    /// What the store holds cannot be read.
    pub async fn announced(&self, loaded: &mut Loaded, products: Vec<ProductId>) -> Result<BTreeSet<ProductId>> {
        if self.settings.source_kind != SourceKind::Jp2 {
            return Ok(BTreeSet::new());
        }
        let seen = self.at(loaded, products, &wanted_angles(self.settings)?).await?;
        Ok(seen.into_iter().filter(|(_, seen)| *seen != Ok(false)).map(|(id, _)| id).collect())
    }

    /// Whether products are not what they were; the reason where that cannot be seen.
    async fn at(
        &self,
        loaded: &mut Loaded,
        products: Vec<ProductId>,
        angles: &BTreeSet<AngleArray>,
    ) -> Result<Vec<(ProductId, std::result::Result<bool, String>)>> {
        let (Some(source), Some(target)) = (self.source, self.target) else { return Ok(Vec::new()) };
        if products.is_empty() || self.settings.headers == HeaderPolicy::Assume {
            return Ok(Vec::new());
        }
        let Some(store) = loaded.held(target).await? else { return Ok(Vec::new()) };
        let asked: Vec<_> = products.into_iter().map(|id| self.is_other(source, &store, id, angles).boxed()).collect();
        let mut answers = stream::iter(asked).buffered(self.settings.source_options.at_once());
        let mut out = Vec::new();
        while let Some(answer) = answers.next().await {
            let (id, seen) = answer?;
            match &seen {
                Ok(true) => tracing::info!(product = %id, "the product is not what it was"),
                Ok(false) => {}
                Err(reason) => tracing::debug!(product = %id, reason, "not looked at"),
            }
            out.push((id, seen));
        }
        Ok(out)
    }

    async fn is_other(
        &self,
        source: &Source,
        store: &HeldStore,
        id: ProductId,
        angles: &BTreeSet<AngleArray>,
    ) -> Result<(ProductId, std::result::Result<bool, String>)> {
        let mut known: Vec<(String, VirtualChunkRef)> = Vec::new();
        for raster in self.held.rasters(id) {
            let Some(first) = store.first(&raster).await? else { continue };
            let address = store.address(&first);
            let path = address.strip_prefix(&source.url().prefix()).and_then(SourceUrl::decoded_path);
            known.extend(path.map(|path| (path, first)));
        }
        let Some((anchor, _)) = known.first() else { return Ok((id, Ok(false))) };
        let seen = match self.compare_metadata(source, store, id, anchor, angles).await {
            Ok(false) => compare_files(source, &known).await,
            seen => seen,
        };
        Ok((id, seen.map_err(|error| error.to_string())))
    }

    /// Whether the XML of a product says something else than the store has of it.
    async fn compare_metadata(
        &self,
        source: &Source,
        store: &HeldStore,
        id: ProductId,
        anchor: &str,
        angles: &BTreeSet<AngleArray>,
    ) -> Seen {
        let Some(held) = self.held.metadata(id).filter(|_| self.settings.source_kind == SourceKind::Jp2) else {
            return Ok(false);
        };
        // What the store holds is nothing to remember.
        let nowhere = Memory::new(self.settings.occasion.clock);
        if angles.is_empty() {
            return Ok(is_another(&product_metadata(source, &nowhere, id, anchor).await?, held));
        }
        let (metadata, chunks) = product_with_angles(source, &nowhere, id, anchor).await?;
        if is_another(&metadata, held) {
            return Ok(true);
        }
        let (chunks, there) = (chunks?, self.held.angles(id));
        for array in angles {
            let (Some(AnglePlacement::Held { era, step }), Some(new)) = (there.get(array), chunks.get(array)) else {
                return Ok(true);
            };
            let old = store.angle_bytes(era.as_ref(), *array, *step).await?;
            let of_old = old.map(|old| fingerprint(*array, &old)).transpose()?;
            if of_old != Some(fingerprint(*array, new)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether something is not what it was, or why that cannot be seen.
type Seen = std::result::Result<bool, Box<dyn std::error::Error + Send + Sync>>;

/// Whether files are others than those that references were made of.
async fn compare_files(source: &Source, known: &[(String, VirtualChunkRef)]) -> Seen {
    let paths: Vec<&str> = known.iter().map(|(path, _)| path.as_str()).collect();
    let files = match product_versions(source, &paths).await {
        Err(SourceError::CannotList { .. }) => return Ok(false),
        files => files?.unwrap_or_default(),
    };
    Ok(known.iter().any(|(path, first)| files.get(path).is_some_and(|file| is_another_version(first, file))))
}

/// The products whose turn it is: those behind the last one that was looked at.
fn share(memory: &Memory, held: &Holdings) -> Vec<ProductId> {
    let all: Vec<ProductId> = held.ids().collect();
    let behind: Option<ProductId> = memory.looked_at().and_then(|last| last.parse().ok());
    let start = all.partition_point(|id| behind.is_some_and(|last| *id <= last));
    let count = all.len().div_ceil(TURNS);
    (0..count).filter_map(|number| all.get((start + number) % all.len()).copied()).collect()
}
