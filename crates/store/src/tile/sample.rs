//! Main headers of a product from a few of its files (`--headers sample`): of each class one file is read, and one listing of
//! the product's folder tells that the others are those that were indexed.
//!
//! A main header is inferred only where nothing speaks against it: the file that was read has the very header that is known
//! of the class, and the other one's first tile-part begins at the same byte. What is inferred is read in later runs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::Arc;

use s2ice_manifest::header_class::assumed_header;
use s2ice_manifest::manifest::HeaderTrust;
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::location::{Listed, Source};
use s2ice_manifest::source::memory::{FileRecord, Memory};
use s2ice_manifest::source::version::Version;
use s2ice_manifest::source::versions::listed_versions;
use s2ice_manifest::tlm::IndexRow;
use tokio::sync::OnceCell;

use super::facts::{Facts, same_header};
use super::inputs::{Gathered, Share};
use super::trouble::Trouble;
use super::{BuildSettings, HeaderPolicy};
use crate::holdings::Holdings;

/// So many runs ask every product of a store once.
pub const TURNS: usize = 8;

/// Products of the input whose headers the store has by inference and whose turn it is to be read: an eighth of the store in
/// each run, those first of which nothing was refused.
pub fn due(settings: &BuildSettings, memory: &Memory, held: &Holdings, products: &[Gathered]) -> BTreeSet<ProductId> {
    if settings.headers != HeaderPolicy::Sample {
        return BTreeSet::new();
    }
    let is_inferred = |product: &&Gathered| {
        !matches!(product.share, Share::Nothing(_)) && held.trust(product.id) == Some(HeaderTrust::Inferred)
    };
    let mut inferred: Vec<ProductId> = products.iter().filter(is_inferred).map(|product| product.id).collect();
    inferred.sort_by_key(|id| (!memory.refusals(*id).is_empty(), *id));
    inferred.truncate(held.len().div_ceil(TURNS));
    inferred.into_iter().collect()
}

/// What was read of one file of a class.
struct Sample {
    /// Its main header, where it is that of the class.
    header: Option<Box<[u8]>>,
    first_sot: u64,
}

/// A product that is new to the store.
#[derive(Default)]
struct Product {
    paths: Vec<String>,
    /// What its folder has of them; `None` where the source does not tell.
    listed: OnceCell<Option<BTreeMap<String, Listed>>>,
    classes: BTreeMap<Class, OnceCell<Sample>>,
}

/// The products of a run of which some files stand for others.
#[derive(Default)]
pub struct Samples(HashMap<ProductId, Product>);

impl Samples {
    /// Of the products that are asked for, those that the store does not have: what it has by inference is read.
    pub fn of(settings: &BuildSettings, held: &Holdings, products: &[Gathered]) -> Self {
        if settings.headers != HeaderPolicy::Sample {
            return Self::default();
        }
        let new = products.iter().filter(|product| !held.contains(product.id));
        let product = |gathered: &Gathered| {
            let classes = gathered.rows.iter().filter_map(class);
            let product = Product {
                paths: gathered.rows.iter().map(|row| row.path.clone()).collect(),
                classes: classes.map(|class| (class, OnceCell::new())).collect(),
                listed: OnceCell::new(),
            };
            (gathered.id, product)
        };
        Self(new.map(product).collect())
    }

    /// The facts of a row's file: read, where it is the first of its class, or inferred from that; `None` where it has to be
    /// read for itself.
    pub async fn facts<F: Future<Output = Result<Arc<FileRecord>, Trouble>>>(
        &self,
        source: &Source,
        row: &IndexRow,
        read: impl FnOnce() -> F,
    ) -> Result<Option<Facts>, Trouble> {
        let (Some(product), Some(class)) = (self.0.get(&row.product), class(row)) else { return Ok(None) };
        let Some(cell) = product.classes.get(&class) else { return Ok(None) };
        let mut own = None;
        let sample = cell.get_or_try_init(|| async {
            let record = read().await?;
            own = Some(Facts::from(record.as_ref()));
            let header = (*record.header == *class.0).then(|| record.header.as_ref().into());
            Ok::<_, Trouble>(Sample { header, first_sot: record.first_sot })
        });
        let sample = sample.await?;
        if own.is_some() {
            return Ok(own);
        }
        let (Some(header), Ok(Some((size, first_sot)))) = (&sample.header, row.head()) else { return Ok(None) };
        let Some(listed) = product.listed(source).await.and_then(|listed| listed.get(&row.path)) else {
            return Ok(None);
        };
        let now = Version { etag: listed.etag.as_deref(), last_modified: listed.last_modified };
        let then = Version { etag: row.etag.as_deref(), last_modified: row.last_modified };
        let is_known = now.etag.is_some() || now.last_modified.is_some();
        let is_the_indexed = listed.size == size && now.differs(then).is_none() && is_known;
        if !is_the_indexed || first_sot != sample.first_sot || !same_header(row, header) {
            return Ok(None);
        }
        let facts = Facts::of_row(row, header.to_vec(), HeaderTrust::Inferred);
        Ok(Some(Facts {
            etag: listed.etag.clone(),
            last_modified: listed.last_modified,
            size: Some(listed.size),
            ..facts
        }))
    }
}

impl Product {
    async fn listed(&self, source: &Source) -> Option<&BTreeMap<String, Listed>> {
        let list = || async {
            let paths: Vec<&str> = self.paths.iter().map(String::as_str).collect();
            // What is wrong with the source is told by whoever reads the files.
            listed_versions(source, &paths).await.unwrap_or_else(|error| {
                tracing::debug!(%error, "not listed");
                None
            })
        };
        self.listed.get_or_init(list).await.as_ref()
    }
}

/// What rasters of a product have in common whose main headers are the same: the header that is known of their kind, and where
/// by the index the first tile-part begins.
pub type Class = (Vec<u8>, u64);

/// The class of a row's raster; `None` where no header is known, or the index does not have its tiles.
pub fn class(row: &IndexRow) -> Option<Class> {
    let (_, first_sot) = row.head().ok()??;
    Some((assumed_header(row.asset, row.product.level())?, first_sot))
}
