//! What only a look at the source's folders tells: files that are others by now although nothing announced it, or only the
//! catalogue did.
//!
//! Looked at are the products whose items changed, and in a full run a share of the store's products, the next ones in turn.
//! Those are asked again whose files are not those that the references were made of, or whose XML tells another offset or
//! time.

use std::collections::BTreeSet;

use futures::{FutureExt as _, StreamExt as _, stream};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::manifest::HeldRaster;
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::facts::product_metadata;
use s2ice_manifest::source::location::{Listed, Source, SourceError};
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::source::versions::product_versions;

use super::difference::is_remade;
use super::inputs::Gathered;
use super::{BuildSettings, HeaderPolicy, MemoryPlace};
use crate::commit::Loaded;
use crate::error::Result;
use crate::holdings::Holdings;
use crate::reference::is_another_version;
use crate::target::Target;

/// So many full runs look at every product once.
const TURNS: usize = 8;

/// Where to look, and for what.
pub struct Look<'a> {
    /// What is asked for.
    pub settings: &'a BuildSettings,
    /// Whose turn it is.
    pub memory: &'a Memory,
    /// What the store holds.
    pub held: &'a Holdings,
    /// Where the files are.
    pub source: Option<&'a Source>,
    /// Where the store is.
    pub target: Option<&'a Target>,
}

/// What was seen.
#[derive(Default)]
pub struct Looked {
    /// Products that are not what they were, or could not be looked at although the catalogue says that they changed.
    pub others: BTreeSet<ProductId>,
    /// The last product that was looked at in its turn.
    pub looked_up_to: Option<String>,
}

impl Look<'_> {
    /// Looks at those of the products whose turn it is or whose items changed.
    ///
    /// # Errors
    /// What the store holds cannot be read. A source that lists nothing tells nothing.
    pub async fn at(&self, loaded: &mut Loaded, products: &[Gathered]) -> Result<Looked> {
        let Self { settings, memory, held, source, target } = *self;
        let mut out = Looked::default();
        let (Some(source), Some(target)) = (source, target) else { return Ok(out) };
        if settings.headers == HeaderPolicy::Assume {
            return Ok(out);
        }
        let mut asked: Vec<(&Gathered, bool)> = Vec::new();
        if settings.full && settings.memory != MemoryPlace::Nowhere {
            asked.extend(share(memory, held, products).into_iter().map(|product| (product, false)));
            out.looked_up_to = asked.last().map(|(product, _)| product.id.to_string());
        }
        if settings.source_kind.is_jp2() {
            let changed = products.iter().filter(|product| is_announced(held, product));
            asked.extend(changed.map(|product| (product, true)));
        }
        if asked.is_empty() {
            return Ok(out);
        }
        let Some(store) = loaded.held(target).await? else { return Ok(Looked::default()) };
        let asked: Vec<_> = asked
            .into_iter()
            .map(|(product, is_announced)| {
                async move { (product.id, is_announced, self.seen(source, product).await) }.boxed()
            })
            .collect();
        let mut seen = stream::iter(asked).buffered(settings.source_options.at_once());
        while let Some((product, is_announced, seen)) = seen.next().await {
            match seen {
                Ok(Seen::Remade) => {
                    tracing::info!(%product, "the product was made anew in its place");
                    out.others.insert(product);
                }
                Ok(Seen::Files(files)) => {
                    for (raster, file) in files {
                        let first = store.first(&raster).await?;
                        if first.is_some_and(|first| is_another_version(&first, &file)) {
                            tracing::info!(%product, raster = %raster.asset, "the file is another one by now");
                            out.others.insert(product);
                        }
                    }
                }
                Err(reason) => {
                    tracing::debug!(%product, reason, "not looked at");
                    out.others.extend(is_announced.then_some(product));
                }
            }
        }
        Ok(out)
    }

    /// What product and files are now; the reason where neither tells.
    async fn seen(&self, source: &Source, product: &Gathered) -> std::result::Result<Seen, String> {
        // What the store holds is nothing to remember.
        let nowhere = Memory::new(self.settings.clock);
        if let (SourceKind::Jp2, Some(held)) = (self.settings.source_kind, self.held.metadata(product.id)) {
            let now = product_metadata(source, &nowhere, product.id, &product.anchor).await;
            if is_remade(&now.map_err(|error| error.to_string())?, held) {
                return Ok(Seen::Remade);
            }
        }
        let paths: Vec<&str> = product.rows.iter().map(|row| row.path.as_str()).collect();
        let mut files = match product_versions(source, &paths).await {
            Ok(files) => files.unwrap_or_default(),
            Err(SourceError::CannotList { .. }) => return Ok(Seen::Files(Vec::new())),
            Err(error) => return Err(error.to_string()),
        };
        let pairs = self.held.rasters(product.id).into_iter().filter_map(|raster| {
            let row = product.rows.iter().find(|row| row.asset == raster.asset)?;
            Some((raster, files.remove(&row.path)?))
        });
        Ok(Seen::Files(pairs.collect()))
    }
}

/// What a look tells of a product.
enum Seen {
    /// Its XML tells another offset or time.
    Remade,
    /// The rasters that the store holds, with what the source lists of their files.
    Files(Vec<(HeldRaster, Listed)>),
}

/// True where the catalogue changed the item of a product since the store last saw it.
fn is_announced(held: &Holdings, product: &Gathered) -> bool {
    let (before, now) = (held.updated(product.id), product.updated());
    before.is_some() && now.is_some() && before != now
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
