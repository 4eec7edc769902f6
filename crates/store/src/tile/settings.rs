//! Resolved settings of a build.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use s2ice_manifest::decide::OnMismatch;
use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::ids::{Level, MgrsTile, NameError};
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::location::SourceOptions;
use s2ice_manifest::stac::Interval;
use serde::{Deserialize, Serialize};

use crate::options::Spec;
use crate::reference::ChecksumPolicy;

/// Where main headers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeaderPolicy {
    /// One ranged request per raster to the file itself, or the cache of such requests.
    #[default]
    Read,
    /// From the index where it has them with an ETag, else from the file.
    Index,
    /// From the index or the known Sentinel-2 header classes, without touching the source.
    Assume,
}

/// Where what is learned of the source is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(from = "String", into = "String")]
pub enum MemoryPlace {
    /// Beside the store.
    #[default]
    Store,
    /// Nowhere.
    Nowhere,
    /// A file or object of this address.
    At(String),
}

impl From<String> for MemoryPlace {
    fn from(text: String) -> Self {
        match text.as_str() {
            "store" => Self::Store,
            "none" => Self::Nowhere,
            _ => Self::At(text),
        }
    }
}

impl From<MemoryPlace> for String {
    fn from(place: MemoryPlace) -> Self {
        match place {
            MemoryPlace::Store => "store".to_owned(),
            MemoryPlace::Nowhere => "none".to_owned(),
            MemoryPlace::At(address) => address,
        }
    }
}

/// Products whose files are to be asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recheck {
    /// Every product.
    All,
    /// One product.
    Product(ProductId),
}

impl std::str::FromStr for Recheck {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::Product) }
    }
}

/// Everything a build needs; nothing is read from the environment any more, credentials excepted.
#[derive(Debug, Clone)]
pub struct BuildSettings {
    /// MGRS tile.
    pub tile: MgrsTile,
    /// Processing level.
    pub level: Level,
    /// What kind of files the source has.
    pub source_kind: SourceKind,
    /// Index files or URLs.
    pub index: Vec<String>,
    /// Index products of the catalogue that the index lacks.
    pub index_missing: bool,
    /// Most products that are so indexed in one run.
    pub index_missing_limit: usize,
    /// Index file to which their rows are added; where it is there already, it is read as an index too.
    pub write_index: Option<PathBuf>,
    /// STAC input.
    pub stac: Option<String>,
    /// Collection of a STAC API.
    pub collection: Option<String>,
    /// Interval of time.
    pub datetime: Option<Interval>,
    /// Greatest cloud cover, percent.
    pub max_cloud_cover: Option<f64>,
    /// Globs of array paths; empty for all.
    pub arrays: Vec<String>,
    /// Take the sun and viewing angles of the products' XML.
    pub angles: bool,
    /// Which copies of a raster to take.
    pub resolutions: Resolutions,
    /// What becomes of what does not fit the store's offset or an array's header.
    pub on_mismatch: OnMismatch,
    /// Where main headers come from.
    pub headers: HeaderPolicy,
    /// Where what is learned of the source is remembered.
    pub memory: MemoryPlace,
    /// Prefix of the product files.
    pub source: String,
    /// How to reach them.
    pub source_options: SourceOptions,
    /// Address of the store.
    pub store: Option<String>,
    /// How to reach the store.
    pub store_options: SourceOptions,
    /// Checksums of references.
    pub checksum: ChecksumPolicy,
    /// Format of a new repository.
    pub spec: Spec,
    /// Name of the virtual chunk container.
    pub container: Option<String>,
    /// Take away what the inputs no longer have.
    pub prune: bool,
    /// Greatest part of a store's products that may be pruned, percent.
    pub prune_limit: u8,
    /// Let a later processing take the place of an earlier one though it lacks rasters that the earlier one has.
    pub accept_incomplete: bool,
    /// Products whose files are asked again, whatever was known of them.
    pub recheck: Vec<Recheck>,
    /// Ask the catalogue for everything, not only for what changed since the last run.
    pub full: bool,
    /// How far before the last change seen the catalogue is asked again.
    pub overlap: Duration,
    /// How long to wait for another process that writes the same local store.
    pub lock_wait: Duration,
    /// The clock.
    pub clock: fn() -> DateTime<Utc>,
    /// Work everything out, write nothing.
    pub dry_run: bool,
    /// Name that no other run has.
    pub run: String,
    /// Writer and version.
    pub writer: String,
}

impl BuildSettings {
    /// True for a product whose files are to be asked again.
    pub(super) fn rechecks(&self, id: ProductId) -> bool {
        self.recheck.iter().any(|recheck| matches!(recheck, Recheck::All) || *recheck == Recheck::Product(id))
    }
}

/// Some days of a tile. Walking old products costs some thousand requests each.
pub const INDEX_MISSING_LIMIT: usize = 20;

/// Half a store: more than a provider withdraws, less than a catalogue that answers in part.
pub const PRUNE_LIMIT: u8 = 50;

/// A day: catalogues make items visible some time after they date them.
pub const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// Long enough for a run that is about to end.
pub const LOCK_WAIT: Duration = Duration::from_secs(60);

/// The settings of `s2ice manifest`: a table holds one store's references, and has no place for values.
pub(super) fn one_store(settings: &BuildSettings) -> BuildSettings {
    BuildSettings { on_mismatch: OnMismatch::Refuse, angles: false, ..settings.clone() }
}
