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
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::facts::{product_metadata, product_with_angles};
use s2ice_manifest::source::location::{Source, SourceUrl};
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::source::versions::product_versions;

use super::difference::is_another;
use super::sample::TURNS;
use super::wanted::wanted_angles;
use super::{BuildSettings, HeaderPolicy, MemoryPlace};
use crate::angles::fingerprint;
use crate::commit::Loaded;
use crate::error::Result;
use crate::held::HeldStore;
use crate::holdings::Holdings;
use crate::reference::is_another_version;
use crate::target::Target;

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
    /// Of the share whose turn it is in a full run, the products that are not what they were, and the last one of it; that
    /// one where nothing could be looked at, which keeps its turn, is none.
    ///
    /// # Errors
    /// What the store holds cannot be read. A source that lists nothing tells nothing.
    pub async fn in_turn(&self, loaded: &mut Loaded, memory: &Memory) -> Result<(Others, Option<ProductId>)> {
        if !self.settings.full || self.settings.memory == MemoryPlace::Nowhere {
            return Ok((Others::default(), None));
        }
        let share = share(memory, self.held);
        let last = share.last().copied();
        let seen = self.at(loaded, share, &BTreeSet::new()).await?;
        let last = last.filter(|_| seen.iter().any(|(_, seen)| seen.is_ok()));
        Ok((Others::of(seen.into_iter().filter(|(_, seen)| seen.is_ok())), last))
    }

    /// Of products whose items changed, those that are not what they were, or that cannot be looked at. What items of
    /// GeoTIFFs say is asked for anyway.
    ///
    /// # Errors
    /// What the store holds cannot be read.
    pub async fn announced(&self, loaded: &mut Loaded, products: Vec<ProductId>) -> Result<Others> {
        if self.settings.source_kind != SourceKind::Jp2 {
            return Ok(Others::default());
        }
        Ok(Others::of(self.at(loaded, products, &wanted_angles(self.settings)?).await?))
    }

    /// In what products are not what they were; the reason where that cannot be seen.
    async fn at(
        &self,
        loaded: &mut Loaded,
        products: Vec<ProductId>,
        angles: &BTreeSet<AngleArray>,
    ) -> Result<Vec<(ProductId, std::result::Result<Seen, String>)>> {
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
                Ok(seen) if seen.is_other() => tracing::info!(product = %id, "the product is not what it was"),
                Ok(_) => {}
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
    ) -> Result<(ProductId, std::result::Result<Seen, String>)> {
        let mut known: Vec<Known> = Vec::new();
        for raster in self.held.rasters(id) {
            let Some(first) = store.first(&raster).await? else { continue };
            let address = store.address(&first);
            let path = address.strip_prefix(&source.url().prefix()).and_then(SourceUrl::decoded_path);
            known.extend(path.map(|path| Known { asset: raster.asset, path, first }));
        }
        let Some(Known { path: anchor, .. }) = known.first() else { return Ok((id, Ok(Seen::default()))) };
        let metadata = self.compare_metadata(source, store, id, anchor, angles).await;
        let seen = match (metadata, compare_files(source, &known).await) {
            (Ok(metadata), Ok(files)) => Ok(Seen { metadata, files }),
            // What the files tell is worth something by itself.
            (Err(_), Ok(files)) if !files.is_empty() => Ok(Seen { metadata: false, files }),
            (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
        };
        Ok((id, seen))
    }

    /// Whether the XML of a product says something else than the store has of it.
    async fn compare_metadata(
        &self,
        source: &Source,
        store: &HeldStore,
        id: ProductId,
        anchor: &str,
        angles: &BTreeSet<AngleArray>,
    ) -> Looked<bool> {
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

/// Products that are not what they were.
#[derive(Debug, Default)]
pub struct Others {
    /// They themselves, and those that could not be looked at although their items changed.
    pub products: BTreeSet<ProductId>,
    /// Those of their rasters whose files are proven to be others.
    pub files: BTreeSet<(ProductId, Asset)>,
}

impl Others {
    fn of(seen: impl IntoIterator<Item = (ProductId, std::result::Result<Seen, String>)>) -> Self {
        let mut out = Self::default();
        for (id, seen) in seen {
            if seen.as_ref().map_or(true, Seen::is_other) {
                out.products.insert(id);
            }
            out.files.extend(seen.into_iter().flat_map(|seen| seen.files).map(|asset| (id, asset)));
        }
        out
    }
}

/// What a look at a product told.
#[derive(Debug, Default)]
struct Seen {
    /// Whether its XML says something else.
    metadata: bool,
    /// The rasters whose files are others.
    files: Vec<Asset>,
}

impl Seen {
    fn is_other(&self) -> bool {
        self.metadata || !self.files.is_empty()
    }
}

/// A raster of the store: where its file lies, and one of its references.
struct Known {
    asset: Asset,
    path: String,
    first: VirtualChunkRef,
}

/// What a look tells, or why it tells nothing.
type Looked<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The rasters whose files are others than those that references were made of.
async fn compare_files(source: &Source, known: &[Known]) -> Looked<Vec<Asset>> {
    let paths: Vec<&str> = known.iter().map(|known| known.path.as_str()).collect();
    let files = product_versions(source, &paths).await?.unwrap_or_default();
    let is_other = |known: &&Known| files.get(&known.path).is_some_and(|file| is_another_version(&known.first, file));
    Ok(known.iter().filter(is_other).map(|known| known.asset).collect())
}

/// The products whose turn it is: those behind the last one that was looked at.
fn share(memory: &Memory, held: &Holdings) -> Vec<ProductId> {
    let all: Vec<ProductId> = held.ids().collect();
    let behind: Option<ProductId> = memory.looked_at().and_then(|last| last.parse().ok());
    let start = all.partition_point(|id| behind.is_some_and(|last| *id <= last));
    let count = all.len().div_ceil(TURNS);
    (0..count).filter_map(|number| all.get((start + number) % all.len()).copied()).collect()
}
