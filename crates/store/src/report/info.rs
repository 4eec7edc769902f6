//! Report of `s2ice info`.

use std::collections::BTreeMap;

use s2ice_manifest::era::Era;
use schemars::JsonSchema;
use serde::Serialize;

use super::{AngleReport, Times};

/// Report of `s2ice info`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InfoReport {
    /// Always `s2ice.info`.
    pub kind: String,
    /// Version of this report.
    pub version: u32,
    /// Address of the store.
    pub store: String,
    /// MGRS tile.
    pub tile: String,
    /// Processing level.
    pub level: String,
    /// Layout version.
    pub layout: u64,
    /// Writer.
    pub writer: String,
    /// The eras of the tile, each a full tree at `/eras/<name>`.
    pub eras: BTreeMap<Era, InfoEra>,
    /// Products of all trees; one that has rasters in several counts once.
    pub products: usize,
    /// How main headers are known: `verified`, `inferred` or `assumed`.
    pub headers: String,
    /// `product` or `name`.
    pub metadata: String,
    /// Version of the Icechunk format.
    pub spec: u8,
    /// The time axis of the main tree.
    pub times: Times,
    /// Data arrays, those of eras included.
    pub arrays: Vec<InfoArray>,
    /// The arrays of sun and viewing angles, whose values are in the store.
    pub angles: Vec<AngleReport>,
    /// References of all data arrays.
    pub references: u64,
    /// Bytes they stand for.
    pub referenced_bytes: u64,
    /// Bytes of all manifests of the snapshot.
    pub manifest_bytes: u64,
    /// Virtual chunk containers.
    pub containers: Vec<Container>,
    /// The snapshot of `main`.
    pub last_commit: Commit,
    /// The tag under which it was published; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// Branches.
    pub branches: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
}

/// An era of a store.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InfoEra {
    /// What its products and rasters differ in from those of the main tree.
    pub differs: Vec<String>,
    /// Its time axis.
    pub times: Times,
}

/// One data array of a store.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InfoArray {
    /// Path.
    pub path: String,
    /// Data type.
    pub data_type: String,
    /// Shape.
    pub shape: Vec<u64>,
    /// Chunk shape.
    pub chunks: Vec<u64>,
    /// References.
    pub references: u64,
    /// Time steps with data.
    pub present: usize,
    /// How its main headers are known: `verified`, `inferred` or `assumed`.
    pub header: String,
}

/// A virtual chunk container.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Container {
    /// Name.
    pub name: String,
    /// Prefix it stands for.
    pub url: String,
    /// Service address, where it is not the service's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// A commit of a store.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Commit {
    /// Snapshot.
    pub snapshot: String,
    /// When it was made, RFC 3339.
    pub time: String,
    /// Its message.
    pub message: String,
    /// Name of the run that made it; absent where none of s2ice did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}
