//! What comes in: what index and catalogue say of products.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, Utc};
use s2ice_manifest::assemble::Refusal;
use s2ice_manifest::product::{ProductId, ProductMetadata};
use s2ice_manifest::raster::{Asset, Quantity};
use s2ice_manifest::source::tlm_parquet::IndexReadReport;
use s2ice_manifest::stac::{Seen, StacItem};
use s2ice_manifest::tlm::IndexRow;

use super::prejudged::Prejudged;
use super::wanted::Wanted;
use crate::error::Error;
use crate::holdings::Holdings;
use crate::report::{IndexedReport, ProductsReport, StacReport};
use crate::unseen::Unseen;

/// A product with its rows and its item.
pub struct Gathered {
    /// Product name.
    pub id: ProductId,
    /// The rows of the rasters that are wanted, each raster at most once.
    pub rows: Vec<IndexRow>,
    /// Path of any raster of the product below the source: its metadata lie beside it.
    pub anchor: String,
    /// Its item; `None` without a catalogue.
    pub item: Option<StacItem>,
    /// What its item alone states, for GeoTIFFs.
    pub stated: Option<Stated>,
    /// How much of it is asked for.
    pub share: Share,
    /// Rasters that it has and that cannot be told of this time: they are there, whatever is refused of them.
    pub unread: BTreeSet<Asset>,
}

/// How much of a product is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    All,
    /// What the store lacks: what it has stands for the same rows.
    Rest,
    /// Nothing: the store has it, and its rows, of this fingerprint, are not looked at this time.
    Nothing(i64),
}

impl Gathered {
    /// A product of the store that nothing is asked of.
    pub fn unasked(item: &StacItem, held: &Holdings, wanted: &Wanted, inputs: i64) -> Self {
        let there = held.rasters(item.product).into_iter().map(|raster| raster.asset);
        Self {
            id: item.product,
            rows: Vec::new(),
            anchor: String::new(),
            item: Some(item.clone()),
            stated: None,
            share: Share::Nothing(inputs),
            unread: there.filter(|asset| wanted.admits(*asset)).collect(),
        }
    }

    /// Reflectance and what belongs to it, which a later processing must have to take the place of an earlier one.
    pub fn main_quantities(&self) -> BTreeSet<Quantity> {
        self.rows.iter().map(|row| row.asset.quantity).filter(|quantity| quantity.is_main()).collect()
    }
}

/// What index and catalogue gave.
#[derive(Default)]
pub struct Inputs {
    /// Products to resolve, by name.
    pub products: Vec<Gathered>,
    /// Rows of the index.
    pub index: IndexReadReport,
    /// The catalogue.
    pub stac: Option<StacReport>,
    /// Matched and unmatched products.
    pub counts: ProductsReport,
    /// How the catalogue was asked; absent without one.
    pub catalogue: Option<CatalogueLoad>,
    /// What was indexed on the fly; absent where that was not asked for.
    pub indexed: Option<IndexedReport>,
    /// What is left out of them, and why.
    pub aside: Aside,
    /// Products whose files were not found; the report counts them among those without index rows.
    pub unfound: Vec<Refusal>,
}

/// What the inputs have and a run does not resolve.
#[derive(Debug, Default)]
pub struct Aside {
    /// Products that are there, with the fingerprint that they count with: what is not asked for this time, and what cannot be
    /// used.
    pub present: BTreeMap<ProductId, i64>,
    /// Those of them that are due and left for a later run: what is remembered of them stays as it is.
    pub later: BTreeSet<ProductId>,
    /// What is refused.
    pub refused: Vec<Refusal>,
    /// What others stand in the place of.
    pub prejudged: Vec<Prejudged>,
    /// Why products are not among the inputs, where index or catalogue tells.
    pub why_not: BTreeMap<ProductId, String>,
}

/// What a run needs to know of the catalogue's answer.
#[derive(Debug, Default)]
pub struct CatalogueLoad {
    /// The time since which changes were asked for.
    pub since: Option<DateTime<Utc>>,
    /// True where the answer is of what changed since then only.
    pub incremental: bool,
    /// All that it showed.
    pub seen: Seen,
    /// Newest change seen.
    pub latest_change: Option<DateTime<Utc>>,
    /// When the item of each product last changed.
    pub changed: BTreeMap<ProductId, DateTime<Utc>>,
    /// The same as a store remembers it, where the item says so itself.
    pub updated: BTreeMap<ProductId, String>,
    /// Products that neither the index nor the store has.
    pub without_index: Vec<ProductId>,
    /// Items of the products whose files nothing else tells.
    pub items: BTreeMap<ProductId, StacItem>,
    /// True where a limit kept products from being indexed.
    pub backlog: bool,
    /// Why there may be more than it answered; empty for a complete answer.
    pub incomplete: Vec<String>,
}

impl CatalogueLoad {
    /// True where the answer is whole, or has the item of this product: one that was only kept may be withdrawn by now.
    pub fn shows(&self, id: ProductId) -> bool {
        !self.incremental || self.seen.contains_key(&id.to_string())
    }

    /// True where an item that was kept tells of this product, and the answer does not.
    pub fn only_remembers(&self, id: ProductId) -> bool {
        !self.shows(id) && self.items.contains_key(&id)
    }

    /// When the items say that they last changed.
    pub fn updated_of(items: &[StacItem]) -> BTreeMap<ProductId, String> {
        let text = |updated: DateTime<Utc>| updated.to_rfc3339_opts(SecondsFormat::Millis, true);
        items.iter().filter_map(|item| Some((item.product, text(item.updated?)))).collect()
    }
}

/// There is nothing to store in the input, as far as it was seen.
pub fn nothing_in(catalogue: Option<&CatalogueLoad>, reason: String) -> Error {
    match catalogue.and_then(|load| load.incomplete.first()) {
        Some(gap) => Error::Unseen(Unseen::incomplete(&format!("{reason}; {gap}"))),
        None => Error::Nothing(reason),
    }
}

/// What a store that is there already means for the input.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// The time since which changes are asked for; `None` for everything.
    pub since: Option<DateTime<Utc>>,
    /// Items that are known without asking.
    pub kept: Vec<StacItem>,
    /// True where an input without any product is no error: there is a store, and nothing is pruned.
    pub may_be_empty: bool,
    /// The products in it.
    pub held: BTreeSet<ProductId>,
    /// Those of them of which something was refused.
    pub partial: BTreeSet<ProductId>,
}

/// What an item states of its product: there is nothing else that could be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Stated {
    /// Sensing time, offset and the like.
    pub metadata: ProductMetadata,
    /// When the item last changed.
    pub changed: Option<String>,
    /// Sizes of its files in bytes, where it states them.
    pub sizes: BTreeMap<Asset, u64>,
    /// True where nothing but the pixels could speak against its offset.
    pub unshifted: bool,
}
