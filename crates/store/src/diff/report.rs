//! The report of a comparison, for programs. Its JSON Schema stands in schemas/.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Version of [`DiffReport`]; raised when a field changes its meaning or goes away.
pub const DIFF_REPORT_VERSION: u32 = 1;

/// Report of `s2ice diff`: everything by which a reader can tell two stores apart.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DiffReport {
    /// Always `s2ice.diff`.
    pub kind: String,
    /// Version of this report.
    pub version: u32,
    /// The first store.
    pub left: DiffSide,
    /// The second store.
    pub right: DiffSide,
    /// True where containers were left out of the comparison of references.
    pub ignore_sources: bool,
    /// True where checksums were left out of the comparison of references.
    pub ignore_checksums: bool,
    /// True where no reader can tell the two apart.
    pub same: bool,
    /// Number of entries in all lists below.
    pub differences: usize,
    /// Products of one time axis that the other lacks or has at another time.
    pub products: Vec<ProductDifference>,
    /// Groups and arrays of one store that the other lacks.
    pub nodes: Vec<NodeDifference>,
    /// Values in `zarr.json` that differ. Stores of another tile or level differ here, and nothing else was compared.
    pub metadata: Vec<MetadataDifference>,
    /// Values of coordinates and per-time columns that differ.
    pub columns: Vec<ColumnDifference>,
    /// Rasters whose references differ.
    pub references: Vec<ReferenceDifference>,
}

impl DiffReport {
    /// True where no reader can tell the two apart.
    pub fn is_same(&self) -> bool {
        self.same
    }

    /// Counts what was found.
    pub(super) fn counted(mut self) -> Self {
        self.differences =
            self.products.len() + self.nodes.len() + self.metadata.len() + self.columns.len() + self.references.len();
        self.same = self.differences == 0;
        self
    }
}

/// One of the two stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiffSide {
    /// Address.
    pub store: String,
    /// The snapshot that was compared.
    pub snapshot: String,
    /// MGRS tile.
    pub tile: String,
    /// Processing level.
    pub level: String,
    /// Time steps.
    pub times: usize,
    /// Data arrays.
    pub arrays: usize,
}

/// A product that is not at the same time in both stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProductDifference {
    /// Product name.
    pub product: String,
    /// The era on whose time axis it is; absent for that of the main tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub era: Option<String>,
    /// Its time in the first store, RFC 3339; absent where it is only in the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// Its time in the second store, RFC 3339; absent where it is only in the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<String>,
}

impl ProductDifference {
    /// As it stands in the tree of a path.
    pub(super) fn in_tree(self, tree: &str) -> Self {
        Self { era: tree.strip_prefix("/eras/").map(str::to_owned), ..self }
    }
}

/// Where a group or array is that the other store lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnlyIn {
    /// In the first store.
    Left,
    /// In the second store.
    Right,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// An array whose chunks are references.
    DataArray,
    /// A group.
    Group,
    /// A coordinate or column.
    Array,
}

/// A group or array that only one store has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodeDifference {
    /// Path.
    pub path: String,
    /// What it is.
    pub node: NodeKind,
    /// Which store has it.
    pub only_in: OnlyIn,
}

/// A value of a `zarr.json`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MetadataDifference {
    /// Path of the group or array.
    pub path: String,
    /// JSON pointer into its `zarr.json`.
    pub pointer: String,
    /// Value in the first store; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Value>,
    /// Value in the second store; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<Value>,
}

/// A value of a coordinate or column.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ColumnDifference {
    /// Path of the array.
    pub path: String,
    /// Product whose value differs; absent for arrays that are compared as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Value in the first store; absent where there is more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Value>,
    /// Value in the second store; absent where there is more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<Value>,
}

/// References of one array that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReferenceDifference {
    /// Path of the array.
    pub path: String,
    /// Product whose references differ; absent for arrays that are compared as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// References in the first store.
    pub left: u64,
    /// References in the second store.
    pub right: u64,
    /// The first chunk that differs; looked up for the first few differences only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<ChunkDifference>,
}

/// A chunk whose reference differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChunkDifference {
    /// Indices of the chunk after the time index: row and column, behind the component where there is one.
    pub chunk: Vec<u32>,
    /// Its reference in the first store; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<ReferenceValue>,
    /// Its reference in the second store; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<ReferenceValue>,
}

/// A reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ReferenceValue {
    /// Resolved location, or the path below its container; for a chunk that is no reference, what it is instead.
    pub location: String,
    /// Offset, bytes.
    pub offset: u64,
    /// Length, bytes.
    pub length: u64,
    /// ETag or modification time; absent where there is none or checksums are ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}
