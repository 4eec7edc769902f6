//! What a build is asked for: one type, from which the options of the command, the configuration file, its schema and
//! documentation, and the keywords of Python follow.
//!
//! Each field says with `x-bears-on` what has to be looked at again where its value is another one ([`Bearing`]).

mod check;
mod classes;
mod values;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use s2ice_manifest::decide::OnMismatch;
use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::product::ProductId;
use s2ice_manifest::source::budget::Ledger;
use s2ice_manifest::source::changes::Heard;
use s2ice_manifest::source::location::{SourceOptions, SourceUrl};
use s2ice_manifest::source::mirror;
use s2ice_manifest::source::stac_address::StacAddress;
use s2ice_manifest::source::stac_file::StacOptions;
use s2ice_manifest::stac::Interval;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::check::{Wrong, without_value};
pub use self::classes::{Bearing, definition, schema};
pub use self::values::{HeaderPolicy, MemoryPlace, Recheck};
use crate::duration::Span;
use crate::headway::Headway;
use crate::layout::overview::Overviews;
use crate::options::Spec;
use crate::reference::ChecksumPolicy;

/// Everything a build needs; nothing is read from the environment any more, credentials excepted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "s2ice configuration")]
pub struct BuildSettings {
    /// MGRS tile, such as 29UNU.
    #[schemars(extend("x-bears-on" = ["question"]))]
    pub tile: MgrsTile,

    /// Processing level: L2A or L1C.
    #[serde(default = "values::level")]
    #[schemars(extend("x-bears-on" = ["question"]))]
    pub level: Level,

    /// What the source has: jp2 for SAFE products and a TLM index, cog for GeoTIFFs that the items of `stac` name.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = ["question"]))]
    pub source_kind: SourceKind,

    /// TLM index, Parquet: files or URLs.
    #[serde(default, deserialize_with = "values::one_or_many")]
    #[schemars(extend("x-bears-on" = ["question"]))]
    pub index: Vec<String>,

    /// How to reach the index; without this, as the source where both lie in one bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-bears-on" = []))]
    pub index_options: Option<SourceOptions>,

    /// Index products of the catalogue that the index lacks: one request per raster where it carries TLM (baseline 05.12 and
    /// later), about one per JPEG 2000 tile where not. No `index` is needed then.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = ["question"]))]
    pub index_missing: bool,

    /// Most products that `index-missing` indexes in one run, the oldest first. Walking old ones costs some thousand
    /// requests each.
    #[serde(default = "values::index_missing_limit")]
    #[schemars(extend("x-bears-on" = ["outcome"]))]
    pub index_missing_limit: usize,

    /// Add the rows that `index-missing` makes to this index file, which is read as an index too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-bears-on" = ["outcome"]))]
    pub write_index: Option<PathBuf>,

    /// STAC items that choose the products: an API's address, an ItemCollection, item or ndjson file, a folder, or a
    /// stac-geoparquet file. Without it every product of the index is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-bears-on" = ["question"]))]
    pub stac: Option<StacAddress>,

    /// How to treat the catalogue: headers, rate and limits.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = []))]
    pub stac_options: StacOptions,

    /// Collection of the items of `stac`; without one, an API's usual one for the level, and any in files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-bears-on" = ["question"]))]
    pub collection: Option<String>,

    /// Interval of time: A/B with dates or times, `..` for an open end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-bears-on" = ["question", "refusals"]))]
    pub datetime: Option<Interval>,

    /// Leave out products cloudier than this, percent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "values::percent")]
    #[schemars(range(min = 0, max = 100), extend("x-bears-on" = ["question", "refusals"]))]
    pub max_cloud_cover: Option<f64>,

    /// Only arrays whose path matches, such as '/measurements/**' or '**/scl'.
    #[serde(default, deserialize_with = "values::one_or_many")]
    #[schemars(extend("x-bears-on" = ["question", "refusals"]))]
    pub arrays: Vec<String>,

    /// Take the sun and viewing angles (/conditions/geometry), for which the whole MTD_TL.xml of every product is read, some
    /// 0.5 MB each, instead of its first kilobytes.
    #[serde(default = "values::yes")]
    #[schemars(extend("x-bears-on" = ["references", "refusals"]))]
    pub angles: bool,

    /// Which copies of a raster to take.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = ["question", "references", "refusals"]))]
    pub resolutions: Resolutions,

    /// Write overviews of the rasters, factors such as 2 and 4, for readers that are not s2ice's: arrays of coarser pixels in
    /// groups like `r10m_x2`, of the files' own resolutions. Classes have none. A store keeps those that it has unless
    /// others are asked for; `none` takes them away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-bears-on" = ["outcome"]))]
    pub overviews: Option<Overviews>,

    /// What becomes of products with another radiometric offset, and of rasters with another main header, than the store's.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = ["question", "refusals"]))]
    pub on_mismatch: OnMismatch,

    /// Where main headers come from.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = ["question", "references", "refusals"]))]
    pub headers: HeaderPolicy,

    /// Where what is learned of the source is remembered between runs: a file or an object; 'store' for beside the
    /// store, 'none' for nowhere.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = []))]
    pub memory: MemoryPlace,

    /// How to reach the memory; without this, as the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-bears-on" = []))]
    pub memory_options: Option<SourceOptions>,

    /// Prefix of the product files: a folder, file://, s3://bucket/prefix, gs://, az:// or https://, or the name of a mirror:
    /// cdse, gcs, aws-l2a or aws-l1c.
    #[schemars(extend("x-bears-on" = ["question", "references", "refusals"]))]
    pub source: String,

    /// How to reach the product files.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = ["outcome"]))]
    pub source_options: SourceOptions,

    /// Address of the store: a folder, s3://bucket/prefix, gs:// or az://.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-bears-on" = ["outcome"]))]
    pub store: Option<String>,

    /// How to reach the store.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = []))]
    pub store_options: SourceOptions,

    /// What readers check a reference's file against.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = ["question", "references", "refusals"]))]
    pub checksum: ChecksumPolicy,

    /// Icechunk format of a new store: 1 is read by every version, 2 needs Icechunk 2.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = []))]
    pub spec: Spec,

    /// Name of the virtual chunk container, by which readers re-point the store to a mirror; by default the bucket's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-bears-on" = ["question", "references", "refusals"]))]
    pub container: Option<String>,

    /// Take away products and rasters that the inputs no longer have; otherwise they stay.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = []))]
    pub prune: bool,

    /// Refuse to prune more than this part of the store's products, percent.
    #[serde(default = "values::prune_limit", deserialize_with = "values::whole_percent")]
    #[schemars(range(max = 100), extend("x-bears-on" = []))]
    pub prune_limit: u8,

    /// Let a later processing take the place of an earlier one though it lacks rasters that the earlier one has.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = ["refusals"]))]
    pub accept_incomplete: bool,

    /// Ask the files of every product (`all`), or of these, again, whatever was known of them.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = [], "x-file" = false))]
    pub recheck: Vec<Recheck>,

    /// Ask the STAC API for every item, not only for what changed since the last run.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = []))]
    pub full: bool,

    /// How far before the last change seen the STAC API is asked again: catalogues make items visible some time after they
    /// date them.
    #[serde(default = "values::overlap")]
    #[schemars(extend("x-bears-on" = ["outcome"]))]
    pub overlap: Span,

    /// How long to wait for another s2ice that writes the same local store.
    #[serde(default = "values::lock_wait")]
    #[schemars(extend("x-bears-on" = []))]
    pub lock_wait: Span,

    /// Work everything out, write nothing.
    #[serde(default)]
    #[schemars(extend("x-bears-on" = [], "x-file" = false))]
    pub dry_run: bool,

    /// The run that is made of these settings.
    #[serde(skip)]
    pub occasion: Occasion,

    /// What whoever schedules runs knows of this one.
    #[serde(skip)]
    pub scheduled: Scheduled,
}

/// What whoever schedules the runs of many tiles knows, so that each need not ask for it.
#[derive(Debug, Clone, Default)]
pub struct Scheduled {
    /// How far the last run got.
    pub headway: Option<Headway>,
    /// What the catalogue said of the tile when it was asked for all of them.
    pub heard: Option<Heard>,
}

/// What belongs to one run and is no setting.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// The clock.
    pub clock: fn() -> DateTime<Utc>,
    /// Name that no other run has.
    pub run: String,
    /// Writer and version.
    pub writer: String,
}

impl Default for Occasion {
    /// No occasion yet: settings that were read and not begun with.
    fn default() -> Self {
        Self { clock: || DateTime::UNIX_EPOCH, run: String::new(), writer: String::new() }
    }
}

impl BuildSettings {
    /// Reads settings of a document with the names of the configuration file, and checks them without asking anything.
    ///
    /// # Errors
    /// [`Wrong`]: the key concerned and what is wrong.
    pub fn read(document: Value, occasion: Occasion) -> Result<Self, Wrong> {
        for key in ["tile", "source"] {
            if document.get(key).is_none() {
                return Err(Wrong::missing(key));
            }
        }
        let settings: Self = serde_path_to_error::deserialize(document).map_err(|error| {
            let path = error.path().to_string();
            let (key, within) = path.split_once('.').unwrap_or((path.as_str(), ""));
            let reason = without_value(&error.inner().to_string());
            Wrong::bad(key, if within.is_empty() { reason } else { format!("{within}: {reason}") })
        })?;
        settings.begin(occasion)
    }

    /// The settings of a run, with the names of mirrors resolved, checked without asking anything.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn begin(mut self, occasion: Occasion) -> Result<Self, Wrong> {
        self.source = mirror::address(&self.source, &mut self.source_options);
        self.occasion = occasion;
        let ledger = self.source_options.ledger.clone();
        self.share(&ledger);
        self.check()?;
        Ok(self)
    }

    /// Lets all inputs count in one ledger: what lies on one host shares its limits. Store and memory are none of them.
    pub fn share(&mut self, ledger: &Ledger) {
        let inputs = [&mut self.source_options, &mut self.stac_options.storage];
        inputs.into_iter().chain(self.index_options.as_mut()).for_each(|options| options.ledger = ledger.clone());
    }

    /// How the index files are reached: as they say themselves, else as the source where they lie in its bucket.
    #[must_use]
    pub fn reach_index(&self) -> SourceOptions {
        self.index_options.clone().unwrap_or_else(|| {
            let same = self.index.iter().all(|index| is_beside(index, &self.source));
            if same && !self.index.is_empty() { self.source_options.clone() } else { self.own() }
        })
    }

    /// How the memory is reached: as it says itself, else as the store.
    #[must_use]
    pub fn reach_memory(&self) -> SourceOptions {
        self.memory_options.clone().unwrap_or_else(|| match &self.memory {
            MemoryPlace::At(place) if !self.store.as_ref().is_some_and(|store| is_beside(place, store)) => self.own(),
            _ => self.store_options.clone(),
        })
    }

    /// No options, but the ledger of all.
    fn own(&self) -> SourceOptions {
        SourceOptions { ledger: self.source_options.ledger.clone(), ..SourceOptions::default() }
    }

    /// True for a product whose files are to be asked again.
    pub(super) fn rechecks(&self, id: ProductId) -> bool {
        self.recheck.iter().any(|recheck| matches!(recheck, Recheck::All) || *recheck == Recheck::Product(id))
    }
}

/// True where both lie in one bucket, on one host or both on this machine.
fn is_beside(one: &str, other: &str) -> bool {
    let place = |text: &str| SourceUrl::parse(text).ok().map(|url| (url.scheme(), url.authority().to_owned()));
    place(one).is_some_and(|place_of_one| place(other) == Some(place_of_one))
}

/// The settings of `s2ice manifest`: a table holds one store's references, and has no place for values.
pub(super) fn one_store(settings: &BuildSettings) -> BuildSettings {
    BuildSettings { on_mismatch: OnMismatch::Refuse, angles: false, overviews: None, ..settings.clone() }
}
