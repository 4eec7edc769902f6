//! What is decided about: products with their rasters, what is left out of them, and the tree that they make.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::era::Radiometry;
use crate::geometry::{AngleArray, AnglePlacement};
use crate::manifest::{ChunkManifest, Placement};
use crate::product::{ProductId, ProductMetadata};

/// A product and its rasters, ready to be placed on the time axis.
#[derive(Debug, Clone)]
pub struct ProductRecord {
    /// Name.
    pub id: ProductId,
    /// Sensing time, offset and the like.
    pub metadata: ProductMetadata,
    /// Its rasters, each asset at most once.
    pub rasters: Vec<Placement>,
    /// Its angles, by array; empty where they are not wanted or cannot be read.
    pub angles: BTreeMap<AngleArray, AnglePlacement>,
}

/// Why something was left out of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Refusal {
    /// Product name.
    pub product: String,
    /// Raster name; absent where the whole product is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raster: Option<String>,
    /// Kind of reason, stable for programs.
    pub kind: RefusalKind,
    /// One sentence for people.
    pub reason: String,
}

impl Refusal {
    /// A product gives way to another processing of the same acquisition.
    pub fn superseded(id: ProductId, by: ProductId) -> Self {
        Self {
            product: id.to_string(),
            raster: None,
            kind: RefusalKind::Superseded,
            reason: format!("{by} is another processing of the same acquisition and counts more"),
        }
    }
}

/// Kinds of [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// Another main header than the array's other rasters.
    HeaderProfile,
    /// Another radiometric offset or quantification than the main tree's.
    Radiometry,
    /// Another processing of the same acquisition counts more.
    Superseded,
    /// It would count more than what stands of the same acquisition, but lacks rasters of it.
    Incomplete,
    /// Tile ranges that cannot be right, or where the file has its tiles elsewhere.
    Ranges,
    /// The index row cannot be understood.
    Index,
    /// The main header cannot be read, or cannot be decoded.
    Header,
    /// The source refused or lost the file, or did not answer.
    Source,
    /// The file is not the one that was indexed.
    Changed,
    /// The product's metadata cannot be read or contradicts its name.
    Metadata,
    /// A filter that only the product's metadata could answer.
    Filtered,
    /// The product has no raster left.
    Empty,
}

/// One step of the time axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Milliseconds since 1970-01-01, strictly increasing.
    pub time_ms: i64,
    /// The product of this step.
    pub id: ProductId,
    /// Its metadata.
    pub metadata: ProductMetadata,
}

/// What goes into a tree.
#[derive(Debug, Clone, Default)]
pub struct Assembly {
    /// Time axis.
    pub steps: Vec<Step>,
    /// One manifest per array, by asset.
    pub manifests: Vec<ChunkManifest>,
    /// The angles of each time step, for every array that has any; `None` where the product has none.
    pub angles: BTreeMap<AngleArray, Vec<Option<AnglePlacement>>>,
    /// Offset and scale of the reflectance arrays.
    pub radiometry: Option<Radiometry>,
}

impl Assembly {
    /// The angles of a time step.
    pub fn angles_at(&self, step: usize) -> BTreeMap<AngleArray, &AnglePlacement> {
        self.angles.iter().filter_map(|(array, steps)| Some((*array, steps.get(step)?.as_ref()?))).collect()
    }
}
