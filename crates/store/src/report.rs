//! Versioned reports: what a run did and what it left out, for programs. JSON Schemas stand in schemas/.

mod info;

use std::collections::BTreeMap;

use s2ice_manifest::assemble::{Refusal, RefusalKind};
use s2ice_manifest::decide::{self, Leaving, Placed};
use s2ice_manifest::era::Era;
use s2ice_manifest::geometry::AngleArray;
use s2ice_manifest::source::tlm_parquet::IndexReadReport;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::info::{Commit, Container, InfoArray, InfoEra, InfoReport};

use crate::gate::GateReport;
use crate::headway::Headway;
use crate::plan::AngleReferences;
use crate::unseen::Unseen;

/// Version of the reports below; raised when a field changes its meaning or goes away.
pub const REPORT_VERSION: u32 = 1;

/// Report of `s2ice build`, `s2ice manifest` and of their dry runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BuildReport {
    /// Always `s2ice.build`.
    pub kind: String,
    /// Version of this report.
    pub version: u32,
    /// Name of the run: the log names it too, and the commit as `s2ice:run`.
    pub run: String,
    /// MGRS tile.
    pub tile: String,
    /// Processing level.
    pub level: String,
    /// Address of the store or of the manifest file; absent in a dry run without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Prefix of the product files.
    pub source: String,
    /// Virtual chunk container that stands for the source.
    pub container: String,
    /// True where nothing was written.
    pub dry_run: bool,
    /// What changed, or in a dry run would change, told in products.
    pub changes: Changes,
    /// What was committed; absent in a dry run and where the store held everything already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed: Option<Committed>,
    /// What was checked before that; absent where nothing was committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateReport>,
    /// Tag of the state that was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// How the catalogue was asked; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<CatalogueReport>,
    /// Branches of killed runs that were removed.
    pub cleaned: Vec<String>,
    /// How often the store was compared and written: more than once where another writer was faster.
    pub attempts: u32,
    /// The time axis of the main tree; those of the eras are in `eras`, as is all that follows.
    pub times: Times,
    /// Its arrays.
    pub arrays: Vec<ArrayReport>,
    /// Its arrays of sun and viewing angles, whose values are in the store.
    pub angles: Vec<AngleReport>,
    /// References of its arrays.
    pub references: u64,
    /// Bytes they stand for.
    pub referenced_bytes: u64,
    /// How products came to be in the store or not.
    pub products: ProductsReport,
    /// Rows of the index.
    pub index: IndexReadReport,
    /// What was indexed on the fly; absent where that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indexed: Option<IndexedReport>,
    /// The catalogue; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stac: Option<StacReport>,
    /// The eras, in which products of another offset and rasters of another main header stand.
    pub eras: Vec<EraReport>,
    /// Products and rasters left out, with the reason.
    pub refused: Vec<Refusal>,
    /// How many were left out for each kind of reason.
    pub refused_counts: BTreeMap<RefusalKind, usize>,
    /// What of source, index and catalogue could not be seen; empty where all was. Else the run is stale: the store may lack
    /// what is new.
    pub unseen: Vec<Unseen>,
    /// Later processings that have less than what stands in their place, and therefore wait.
    pub incomplete: Vec<Incomplete>,
    /// Products and rasters that leave the store, each with its reason.
    pub leaving: Vec<Left>,
    /// Requests to the source and bytes received from it.
    pub source_use: SourceUse,
    /// How far the catalogue is dealt with, for whoever schedules runs.
    #[serde(skip)]
    pub headway: Option<Headway>,
}

/// What a run changes on the time axis. Lists hold product names in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Changes {
    /// New products after all others.
    pub appended: Vec<String>,
    /// New products between others.
    pub inserted: Vec<String>,
    /// Products that gave way to a later processing of the same acquisition.
    pub replaced: Vec<Replaced>,
    /// Products of the store whose rasters or metadata changed.
    pub updated: Vec<String>,
    /// Products that are in the store no longer.
    pub removed: Vec<String>,
    /// Products that came from, or went to, another era.
    pub moved: Vec<String>,
    /// Number of products that stay as they are.
    pub unchanged: usize,
    /// Number of products that stay although the inputs do not have them, or not this time.
    pub kept: usize,
}

impl BuildReport {
    /// The changes of the main tree and of the eras.
    pub fn all_changes(&self) -> impl Iterator<Item = &Changes> {
        std::iter::once(&self.changes).chain(self.eras.iter().map(|era| &era.changes))
    }

    /// References of the main tree and of the eras.
    pub fn all_references(&self) -> u64 {
        self.references + self.eras.iter().map(|era| era.references).sum::<u64>()
    }

    /// The newest time of the main tree and of the eras, RFC 3339.
    pub fn newest(&self) -> Option<&str> {
        let times = std::iter::once(&self.times).chain(self.eras.iter().map(|era| &era.times));
        times.filter_map(|times| times.last.as_deref()).max()
    }
}

impl Changes {
    /// True where nothing changed.
    pub fn is_empty(&self) -> bool {
        let Self { appended, inserted, replaced, updated, removed, moved, .. } = self;
        let lists = [appended, inserted, updated, removed, moved];
        replaced.is_empty() && lists.iter().all(|list| list.is_empty())
    }

    /// In words: `2 appended, 1 replaced`.
    pub fn sentence(&self) -> String {
        let counts = [
            (self.appended.len(), "appended"),
            (self.inserted.len(), "inserted"),
            (self.replaced.len(), "replaced"),
            (self.updated.len(), "updated"),
            (self.removed.len(), "removed"),
            (self.moved.len(), "moved between eras"),
        ];
        let parts: Vec<String> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if parts.is_empty() { "the same products".to_owned() } else { parts.join(", ") }
    }
}

/// A later processing that has less than what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Incomplete {
    /// Product name.
    pub product: String,
    /// Rasters that it lacks.
    pub lacks: Vec<String>,
    /// The product that stays.
    pub stays: String,
}

impl From<&decide::Incomplete> for Incomplete {
    fn from(found: &decide::Incomplete) -> Self {
        let lacks = found.lacks.iter().map(ToString::to_string).collect();
        Self { product: found.product.to_string(), lacks, stays: found.stays.to_string() }
    }
}

/// What leaves the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Left {
    /// Product name.
    pub product: String,
    /// Raster name; absent where the whole product leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raster: Option<String>,
    /// Why.
    pub reason: String,
}

impl From<&Leaving> for Left {
    fn from(leaving: &Leaving) -> Self {
        let raster = leaving.raster.map(|raster| raster.to_string());
        Self { product: leaving.product.to_string(), raster, reason: leaving.reason.to_string() }
    }
}

/// A product and its later processing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replaced {
    /// The product that was in the store.
    pub product: String,
    /// The product that is there instead.
    pub by: String,
}

/// How a catalogue was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CatalogueReport {
    /// `incremental` where only changes were asked for, else `full`.
    pub mode: String,
    /// The time since which changes were asked for, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Up to when the catalogue is dealt with, RFC 3339; the next run asks from there on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,
    /// Products that a later run may be able to store: without index rows yet, or refused by source or index.
    pub pending: usize,
}

/// An era of the tile: a tree of its own at `/eras/<name>`, with a time axis of its own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EraReport {
    /// Its name.
    pub era: Era,
    /// What its products and rasters differ in from those of the main tree.
    pub differs: Vec<String>,
    /// Products and rasters that are new in it, each with what differs.
    pub placed: Vec<Placed>,
    /// What changed, or in a dry run would change.
    pub changes: Changes,
    /// The time axis.
    pub times: Times,
    /// The arrays.
    pub arrays: Vec<ArrayReport>,
    /// The arrays of angles.
    pub angles: Vec<AngleReport>,
    /// References of all arrays.
    pub references: u64,
    /// Bytes they stand for.
    pub referenced_bytes: u64,
}

/// A commit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Committed {
    /// Snapshot that `main` points to.
    pub snapshot: String,
    /// Commits made on the way.
    pub commits: u64,
    /// True where no state was published there before.
    pub created: bool,
    /// References written from index and files.
    pub references_written: u64,
    /// References moved along the time axis.
    pub references_moved: u64,
}

/// A time axis.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Times {
    /// Number of steps.
    pub count: usize,
    /// First, RFC 3339.
    pub first: Option<String>,
    /// Last, RFC 3339.
    pub last: Option<String>,
}

/// One array.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ArrayReport {
    /// Path in the store.
    pub path: String,
    /// Raster it holds.
    pub asset: String,
    /// Shape.
    pub shape: Vec<u64>,
    /// Shape of a chunk: one JPEG 2000 tile at one time.
    pub chunks: Vec<u64>,
    /// Time steps with data.
    pub present: usize,
    /// References.
    pub references: u64,
    /// Chunks left to the fill value because their bytes were decoded and hold nothing but nodata.
    pub nodata_chunks: u64,
    /// How its main headers are known: `verified` where each was read from its own file, `inferred` or `assumed` where not.
    pub header: String,
    /// SHA-256 of the main header all its rasters share.
    pub profile: String,
}

/// An array of angles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AngleReport {
    /// Path in the store.
    pub path: String,
    /// Shape.
    pub shape: Vec<u64>,
    /// Time steps with angles.
    pub present: usize,
}

impl AngleReport {
    /// Of a planned array.
    pub(crate) fn of(angles: &AngleReferences, steps: usize) -> Self {
        Self::new(angles.path.clone(), angles.array, steps, angles.present())
    }

    /// Of an array with angles at `present` of `steps` time steps.
    pub(crate) fn new(path: String, array: AngleArray, steps: usize, present: usize) -> Self {
        let lengths = array.dimensions().iter().map(|(_, length)| *length as u64);
        Self { path, shape: std::iter::once(steps as u64).chain(lengths).collect(), present }
    }
}

/// Products by outcome.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProductsReport {
    /// Products of this tile and level in the index.
    pub in_index: usize,
    /// Products that index and catalogue share (or, without a catalogue, that the filters admit).
    pub matched: usize,
    /// Products in the store, those of eras included; one that has rasters in several trees counts once.
    pub stored: usize,
    /// Products whose sensing time and offset were derived from the name instead of the product's own XML.
    pub metadata_from_name: usize,
    /// Products of the store of which some main headers were read from other files of theirs; later runs read them.
    #[serde(default)]
    pub inferred: usize,
    /// Products of the catalogue without index rows.
    pub without_index: Vec<Unmatched>,
    /// Products of the index that are not taken.
    pub without_product: Vec<Unmatched>,
}

/// A product that only one side has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unmatched {
    /// Product name.
    pub product: String,
    /// Why it is not in the store.
    pub reason: String,
}

/// Products of the catalogue that had no index rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct IndexedReport {
    /// Products of which rows were made.
    pub products: usize,
    /// Rasters in them.
    pub rasters: usize,
    /// Requests to the source for that, listings included.
    pub requests: u64,
    /// Rasters walked from tile-part to tile-part.
    pub walked: usize,
    /// Rasters that carry TLM.
    pub native: usize,
    /// Rows in the index file that was written; absent where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index_rows: Option<u64>,
}

/// Items read from the catalogue.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct StacReport {
    /// Where they came from.
    pub input: String,
    /// Items seen.
    pub seen: usize,
    /// Items that the filters admit.
    pub admitted: usize,
    /// Items that were not understood.
    pub refused: Vec<String>,
    /// Things worth knowing.
    pub notes: Vec<String>,
    /// Why there may be more than the catalogue answered: then nothing is pruned, and the next run asks again.
    pub incomplete: Vec<String>,
}

/// What was asked of the source.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct SourceUse {
    /// Requests.
    pub requests: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Main headers and product metadata taken from the cache file instead.
    pub from_cache: u64,
}

/// RFC 3339 of milliseconds since 1970-01-01.
pub fn rfc3339_ms(milliseconds: i64) -> String {
    chrono::DateTime::from_timestamp_millis(milliseconds)
        .map_or_else(|| milliseconds.to_string(), |t| t.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}
