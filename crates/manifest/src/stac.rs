//! A narrow view of a STAC item: which Sentinel-2 product it stands for, and what it says of that product.
//!
//! The join key between catalogues and the TLM index is the product name. Providers keep it in different places, and
//! most item ids that look like a name are not one (`S2A_33TWM_20230818_0_L2A`, or a name without its baseline):
//!
//! | provider | product name |
//! |---|---|
//! | CDSE | the item id, in the legacy catalogue with `.SAFE` |
//! | Earth Search, Planetary Computer | `s2:product_uri` with `.SAFE` |
//! | Sinergise (`sentinel-s2-l2a`) | `s2:product_title` or `sentinel2:product_title` |
//! | anything else | the SAFE name inside an asset's href |

mod cog;
mod completeness;
pub(crate) mod exact;
mod interval;
mod load;
#[cfg(feature = "io")]
mod pages;
mod query;
mod reader;
mod sensing;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use cog::{CogFile, CogProblem, Cogs, UNSHIFTED};
pub use completeness::Completeness;
pub use interval::{Interval, IntervalError};
pub use load::{LoadNote, Refused, Rejected, Seen, StacLoad, StacLoader};
#[cfg(feature = "io")]
pub(crate) use pages::{SavedPages, item_key, links, shortfall, stated_matches};
pub use query::{Rejection, StacQuery};
#[cfg(feature = "io")]
pub(crate) use reader::PROPERTIES;
use reader::{DATASTRIP_FIELDS, Reader};
pub use sensing::{KnownTime, TimeVerdict, possible};

use crate::ids::{Baseline, Level, MgrsTile};
use crate::product::ProductId;

/// Why an item cannot be used. Every variant names the item and the field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "error")]
pub enum StacError {
    /// Not a GeoJSON Feature with an id.
    #[error("not a STAC item: {problem}")]
    NotAnItem {
        /// What is wrong or missing.
        problem: String,
    },
    /// No place that is known to hold the product name does.
    #[error(
        "item {item:?} has no Sentinel-2 product name: not in its id, s2:product_uri, s2:product_title, or the SAFE folder \
         of an asset"
    )]
    NoProductName {
        /// Item id.
        item: String,
    },
    /// Two places name different products.
    #[error("item {item:?} names two products: {product} in {field}, {other} in {other_field}")]
    TwoProducts {
        /// Item id.
        item: String,
        /// Where the first name stands.
        field: String,
        /// First product.
        product: Box<ProductId>,
        /// Where the second name stands.
        other_field: String,
        /// Second product.
        other: Box<ProductId>,
    },
    /// A field is absent, of the wrong type or not understood.
    #[error("item {item:?}: {field} {problem}")]
    Field {
        /// Item id.
        item: String,
        /// Field, for an asset as `asset.field`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The stated tile is not the tile of the product name.
    #[error("item {item:?}: {field} says tile {stated}, its product name says {named}")]
    Tile {
        /// Item id.
        item: String,
        /// Field that disagrees.
        field: String,
        /// Tile in the field.
        stated: MgrsTile,
        /// Tile in the name.
        named: MgrsTile,
    },
    /// The stated projection is not that of the tile.
    #[error("item {item:?}: {field} says {stated}, but tile {tile} lies at {expected}")]
    Geocoding {
        /// Item id.
        item: String,
        /// Field that disagrees.
        field: String,
        /// What it says.
        stated: String,
        /// The tile.
        tile: MgrsTile,
        /// What the tiling grid says.
        expected: String,
    },
}

/// Something odd in an item that does not make it useless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "note")]
pub enum StacNote {
    /// The stated processing baseline is not that of the product name, which counts.
    #[error("{field} says baseline {stated:?}, the product name says {named}")]
    Baseline {
        /// Field that disagrees.
        field: String,
        /// What it says.
        stated: String,
        /// Baseline in the name.
        named: Baseline,
    },
}

/// What s2ice uses of a STAC item. Read back from its own JSON it has neither files nor oddities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StacItem {
    /// Item id as the provider gives it.
    pub id: String,
    /// Collection id.
    pub collection: Option<String>,
    /// The product that the item stands for.
    pub product: ProductId,
    /// `datetime`, else `start_datetime`, else the datatake start in the name. Which time that is:
    /// [`Self::known_time`].
    pub datetime: DateTime<Utc>,
    /// Cloud cover, percent; `None` where the item states none, or what no percentage can be.
    pub cloud_cover: Option<f64>,
    /// Datastrip identifier.
    pub datastrip_id: Option<String>,
    /// When the item last changed.
    pub updated: Option<DateTime<Utc>>,
    /// When the item was made.
    pub created: Option<DateTime<Utc>>,
    /// When the item was published.
    pub published: Option<DateTime<Utc>>,
    /// The item's own address.
    pub self_href: Option<String>,
    /// `file:size` in bytes of the JPEG 2000 files, by file name (`T32TNT_20200705T101559_AOT_10m.jp2`).
    pub file_sizes: BTreeMap<String, u64>,
    /// Addresses of the JPEG 2000 files.
    #[serde(skip)]
    pub images: Vec<String>,
    /// Its GeoTIFFs.
    #[serde(skip)]
    pub cogs: Cogs,
    /// Whether any field tells where the tile lies; where one does, it agrees with the tiling grid.
    pub geocoding_checked: bool,
    /// Oddities.
    #[serde(skip_deserializing)]
    pub notes: Vec<StacNote>,
}

impl StacItem {
    /// Reads a STAC item (GeoJSON Feature, STAC 0.9 to 1.1).
    ///
    /// # Errors
    /// When it is not an item, no product name is found, or fields contradict the name or the tiling grid.
    pub fn from_json(value: &Value) -> Result<Self, StacError> {
        let reader = Reader::new(value)?;
        let product = reader.product()?;
        reader.check_tile(product)?;
        let geocoding_checked = reader.check_geocoding(product.tile())?;
        Ok(Self {
            product,
            datetime: match reader.time("datetime")? {
                Some(time) => time,
                None => reader.time("start_datetime")?.unwrap_or_else(|| product.datatake_start()),
            },
            cloud_cover: reader.number(&["eo:cloud_cover", "cloudCover"])?.filter(|p| (0.0..=100.0).contains(p)),
            datastrip_id: reader.text(&DATASTRIP_FIELDS)?.map(|(_, id)| id.to_owned()),
            updated: reader.time("updated")?,
            created: reader.time("created")?,
            published: reader.time("published")?,
            collection: reader.root.get("collection").and_then(Value::as_str).map(str::to_owned),
            self_href: reader.self_href(),
            file_sizes: reader.file_sizes()?,
            images: reader.images(),
            cogs: reader.cogs(),
            geocoding_checked,
            notes: reader.notes(product)?,
            id: reader.id,
        })
    }

    /// What the item's `datetime` tells of the granule's sensing time.
    pub fn known_time(&self) -> KnownTime {
        KnownTime::of_item(self.product, self.datetime)
    }

    /// When the item last changed, as far as it tells: `updated`, else `created`, else `published`.
    pub fn changed(&self) -> Option<DateTime<Utc>> {
        self.updated.or(self.created).or(self.published)
    }

    /// True where its collection is known to leave offsets in the numbers as the ground segment writes them.
    pub fn is_unshifted(&self) -> bool {
        self.collection.as_deref() == Some(UNSHIFTED)
    }

    /// MGRS tile of the product.
    pub fn tile(&self) -> MgrsTile {
        self.product.tile()
    }

    /// Processing level of the product.
    pub fn level(&self) -> Level {
        self.product.level()
    }

    /// Processing baseline of the product.
    pub fn baseline(&self) -> Baseline {
        self.product.baseline()
    }
}

/// The tile that a document says it is of, whether or not it is understood as a whole.
#[cfg(feature = "io")]
pub(crate) fn tile_of(value: &Value) -> Option<MgrsTile> {
    let reader = Reader::new(value).ok()?;
    reader.product().map(ProductId::tile).ok().or_else(|| reader.stated_tile())
}

/// A product name inside a path, an URL or a text, whatever surrounds it: `.SAFE`, `.SAFE.zip`, a query.
pub fn product_in(text: &str) -> Option<ProductId> {
    text.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).find_map(|word| word.parse().ok())
}

/// Longest piece of foreign text that is repeated in a message.
const SHOWN: usize = 160;

/// The beginning of a foreign text, to be shown.
fn short(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
#[path = "stac/tests.rs"]
mod tests;
