//! The last scheduled run of a store, remembered in a small file beside the repository, `s2ice/last-run.json`.
//!
//! It says what no snapshot can: when a run last found everything up to date, and why one failed. Nothing of the store
//! depends on it.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use icechunk::Repository;
use object_store::ObjectStoreExt;
use s2ice_manifest::source::location::{Source, SourceError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, icechunk_error, one_line};
use crate::headway::Headway;
use crate::report::REPORT_VERSION;
use crate::target::Target;
use crate::unseen::Unseen;

/// Where the file lies below the store's address. Icechunk knows no such name.
const PATH: &str = "s2ice/last-run.json";

/// What `kind` says.
const KIND: &str = "s2ice.last_run";

/// Largest file that is read, bytes.
const LARGEST: u64 = 1 << 20;

/// How many names of products without index rows are remembered.
pub const NAMES_KEPT: usize = 100;

/// How a run of a tile ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LastOutcome {
    /// A new state was published.
    Updated,
    /// There was nothing to do.
    Unchanged,
    /// Source, index or catalogue could not be seen, or not in full: the store may lack what is new.
    Stale,
    /// It failed.
    Failed,
    /// It was told to stop.
    Interrupted,
    /// A word of a later version.
    #[default]
    #[serde(other)]
    Unknown,
}

impl LastOutcome {
    /// For people, and as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
            Self::Stale => "stale",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Unknown => "unknown",
        }
    }

    /// True where the store then held what the inputs said, all of which was seen.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Updated | Self::Unchanged)
    }
}

/// The line in the report of `s2ice run` that tells all of a tile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reported {
    /// Name of the run that wrote it.
    pub run: String,
    /// When that run of the tile ended.
    #[schemars(with = "String")]
    pub time: DateTime<Utc>,
    /// Fingerprint of what it names as left out.
    pub left_out: String,
}

/// The last run of a tile, and what is known since the last one that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastRun {
    /// Always `s2ice.last_run`.
    pub kind: String,
    /// Version of this file.
    pub version: u32,
    /// Name of the run.
    pub run: String,
    /// MGRS tile.
    pub tile: String,
    /// Processing level.
    pub level: String,
    /// When the run of this tile began.
    #[schemars(with = "String")]
    pub started: DateTime<Utc>,
    /// When it ended.
    #[schemars(with = "String")]
    pub ended: DateTime<Utc>,
    /// How it ended.
    pub outcome: LastOutcome,
    /// How the last run ended that was not told to stop.
    #[serde(default)]
    pub completed: Option<LastOutcome>,
    /// Why it failed, is stale or was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What could not be seen, where it is stale.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<Unseen>,
    /// When a run last succeeded.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub last_success: Option<DateTime<Utc>>,
    /// Successful runs since the catalogue was asked for everything.
    #[serde(default)]
    pub runs_since_full: u32,
    /// Sensing time of the newest product in the store.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub newest_product: Option<DateTime<Utc>>,
    /// Products in the store, those of eras included.
    #[serde(default)]
    pub products: Option<u64>,
    /// References in the store, those of eras included.
    #[serde(default)]
    pub references: Option<u64>,
    /// Products that the last run appended or inserted.
    #[serde(default)]
    pub added: u64,
    /// Products that it replaced by a later processing.
    #[serde(default)]
    pub replaced: u64,
    /// Products that it removed.
    #[serde(default)]
    pub removed: u64,
    /// Products of the catalogue without index rows: the first hundred names.
    #[serde(default)]
    pub missing_index_products: Vec<String>,
    /// How many there are.
    #[serde(default)]
    pub missing_index_count: u64,
    /// Products and rasters left out of the store.
    #[serde(default)]
    pub refused: u64,
    /// Requests of the last run to the source.
    #[serde(default)]
    pub source_requests: u64,
    /// Bytes it received from there.
    #[serde(default)]
    pub source_bytes: u64,
    /// Up to when the catalogue's changes are in the store.
    #[serde(default)]
    pub watermark: Option<String>,
    /// How far the catalogue is dealt with, for the next run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headway: Option<Headway>,
    /// Where the last whole report of the tile is; absent where runs of it write no report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<Reported>,
}

impl LastRun {
    /// The first thing known of a tile: a run that succeeded in nothing yet.
    pub fn new(run: &str, tile: &str, level: &str, started: DateTime<Utc>, ended: DateTime<Utc>) -> Self {
        Self {
            kind: KIND.to_owned(),
            version: REPORT_VERSION,
            run: run.to_owned(),
            tile: tile.to_owned(),
            level: level.to_owned(),
            started,
            ended,
            outcome: LastOutcome::default(),
            completed: None,
            error: None,
            unseen: Vec::new(),
            last_success: None,
            runs_since_full: 0,
            newest_product: None,
            products: None,
            references: None,
            added: 0,
            replaced: 0,
            removed: 0,
            missing_index_products: Vec::new(),
            missing_index_count: 0,
            refused: 0,
            source_requests: 0,
            source_bytes: 0,
            watermark: None,
            headway: None,
            reported: None,
        }
    }

    /// True where the last run that was not told to stop succeeded, or there is none.
    pub fn is_well(&self) -> bool {
        self.completed.is_none_or(LastOutcome::is_success)
    }

    /// Foreign text goes to terminals and label values: no control characters, no endless lists.
    fn tamed(mut self) -> Self {
        let tame = |text: &mut String| text.retain(|c| !c.is_control());
        for text in [&mut self.run, &mut self.tile, &mut self.level] {
            tame(text);
        }
        for text in [&mut self.error, &mut self.watermark].into_iter().flatten() {
            tame(text);
        }
        if let Some(Reported { run, left_out, .. }) = &mut self.reported {
            tame(run);
            tame(left_out);
        }
        self.unseen.iter_mut().for_each(|unseen| tame(&mut unseen.reason));
        self.missing_index_products.truncate(NAMES_KEPT);
        self.missing_index_products.iter_mut().for_each(tame);
        self
    }
}

/// Reads what the last run left; `None` where no run did.
///
/// # Errors
/// [`Error::Location`] where the place cannot be read, [`Error::Damaged`] where the file is not one of ours.
pub async fn read_last_run(target: &Target) -> Result<Option<LastRun>> {
    if target.url().local_root().is_some_and(|root| !root.is_dir()) {
        return Ok(None);
    }
    let fetched = match open(target)?.get_all(PATH, LARGEST).await {
        Ok(fetched) => fetched,
        Err(SourceError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let damaged =
        |detail: String| Error::Damaged { url: target.url().to_string(), detail: format!("{PATH}: {detail}") };
    let found: LastRun = serde_json::from_slice(&fetched.bytes).map_err(|error| damaged(error.to_string()))?;
    if found.kind != KIND || found.version > REPORT_VERSION {
        return Err(damaged("it was written by another program or a later version".to_owned()));
    }
    Ok(Some(found.tamed()))
}

/// Replaces what the last run left; false where there is no store yet, for which nothing is written: a place without a
/// repository stays empty. Whether there is one is looked at unless it `is_known`.
///
/// # Errors
/// [`Error::Icechunk`] where the place cannot be read or written, [`Error::Location`] for its address.
pub async fn write_last_run(target: &Target, run: &LastRun, is_known: bool) -> Result<bool> {
    const WHAT: &str = "remembering the run";
    let failed = |error: &(dyn std::error::Error + 'static)| icechunk_error(WHAT, target.url(), error);
    // Looking for a repository would make the folder.
    if target.url().local_root().is_some_and(|root| !root.is_dir()) {
        return Ok(false);
    }
    if !is_known && !Repository::exists(target.storage(), None).await.map_err(|error| failed(&error))? {
        return Ok(false);
    }
    let source = open(target)?;
    let text = serde_json::to_vec_pretty(run).map_err(|error| failed(&error))?;
    // Local files are written beside and renamed, others appear whole anyway.
    let written = Arc::clone(source.store()).put(&source.join(PATH)?, Bytes::from(text).into()).await;
    written.map_err(|error| Error::Icechunk { what: WHAT, url: target.url().to_string(), detail: one_line(&error) })?;
    Ok(true)
}

fn open(target: &Target) -> Result<Source> {
    Ok(Source::open(target.url(), target.options())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use s2ice_manifest::source::location::{SourceOptions, SourceUrl};

    use super::*;

    async fn target(folder: &Path) -> Target {
        let url = SourceUrl::parse(folder.to_str().unwrap()).unwrap();
        Target::open(url, SourceOptions::default()).await.unwrap()
    }

    fn run() -> LastRun {
        let time = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
        LastRun::new("run-1", "33TVN", "L2A", time, time)
    }

    #[tokio::test]
    async fn a_run_is_remembered_beside_a_store_only() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("33TVN");
        let target = target(&place).await;
        assert_eq!(read_last_run(&target).await.unwrap(), None);
        assert!(!write_last_run(&target, &run(), false).await.unwrap());
        assert!(!place.exists() || std::fs::read_dir(&place).unwrap().next().is_none(), "the place is not occupied");

        Repository::create(target.storage()).execute().await.unwrap();
        assert_eq!(read_last_run(&target).await.unwrap(), None);
        for products in [1, 2] {
            let last = LastRun { products: Some(products), ..run() };
            assert!(write_last_run(&target, &last, false).await.unwrap());
            assert_eq!(read_last_run(&target).await.unwrap(), Some(last));
        }
        let names: Vec<_> = std::fs::read_dir(place.join("s2ice")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["last-run.json"], "no half-written file stays");
        Repository::open(target.storage()).execute().await.unwrap();
    }

    #[tokio::test]
    async fn foreign_files_are_read_with_care() {
        let folder = tempfile::tempdir().unwrap();
        let target = target(folder.path()).await;
        std::fs::create_dir(folder.path().join("s2ice")).unwrap();
        let write = |text: &str| std::fs::write(folder.path().join(PATH), text).unwrap();
        let text = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = serde_json::to_value(run()).unwrap();
            change(&mut value);
            value.to_string()
        };

        write(&text(&|value| {
            value["outcome"] = "postponed".into();
            value["mood"] = "good".into();
            value["error"] = "\u{1b}[31mred\n".into();
            value["missing_index_products"] = vec!["x\u{7}"; 500].into();
            value.as_object_mut().unwrap().remove("refused");
        }));
        let found = read_last_run(&target).await.unwrap().unwrap();
        assert_eq!(found.outcome, LastOutcome::Unknown);
        assert_eq!(found.error.as_deref(), Some("[31mred"));
        assert_eq!((found.missing_index_products.len(), found.missing_index_products[0].as_str()), (NAMES_KEPT, "x"));

        for bad in [
            " ".to_owned(),
            "[1]".to_owned(),
            text(&|value| value["kind"] = "other".into()),
            text(&|value| value["version"] = 2.into()),
            text(&|value| value["started"] = "yesterday".into()),
            text(&|value| value["refused"] = (-1).into()),
        ] {
            write(&bad);
            assert!(matches!(read_last_run(&target).await, Err(Error::Damaged { .. })), "{bad}");
        }
        write(&" ".repeat((1 << 20) + 1));
        assert!(matches!(read_last_run(&target).await, Err(Error::Location(SourceError::TooLarge { .. }))));
    }
}
