//! Housekeeping of all stores of a file: one kind of work for each, and one report of all.

use std::future::Future;
use std::sync::Arc;

use futures::{StreamExt, stream};
use s2ice_store::report::REPORT_VERSION;
use s2ice_store::target::Target;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::Instrument;

use crate::config::{RunConfig, TileEntry};
use crate::memory::place;
use crate::{tile::Outcome, told};

/// The report of a kind of work with one store, and how those of many are told.
pub trait StoreReport: Serialize + DeserializeOwned {
    /// What its `kind` says.
    const KIND: &'static str;

    /// All of them for people.
    fn render(report: &FleetReport<Self>) -> String;
}

/// What became of the stores of a file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "FleetReport", rename = "Fleet{R}")]
pub struct FleetReport<R> {
    /// The kind of the stores' reports, with `.fleet`.
    pub kind: String,
    /// Version of this report.
    pub version: u32,
    /// The configuration file.
    pub config: String,
    /// The reports of the stores, in the order of the file.
    pub stores: Vec<R>,
    /// Tiles that have no store yet.
    pub unbuilt: usize,
    /// Stores where it failed.
    pub failed: Vec<Failed>,
}

/// A store where it failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Failed {
    /// MGRS tile.
    pub tile: String,
    /// Processing level.
    pub level: String,
    /// Address of the store.
    pub store: String,
    /// Why.
    pub error: String,
}

/// What became of one store.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended<R> {
    /// Its report.
    Done(R),
    /// The tile has no store yet.
    Unbuilt,
    /// Why it failed.
    Failed(String),
}

/// Does `work` with the stores of the tiles at `chosen`, as many at a time as the file says; what fails with one is told and
/// takes nothing from the others.
pub async fn each<R, F>(
    config: &RunConfig,
    chosen: &[usize],
    work: impl Fn(Arc<Target>) -> F,
    ended: &dyn Fn(),
) -> FleetReport<R>
where
    R: StoreReport,
    F: Future<Output = s2ice_store::Result<R>>,
{
    let work = &work;
    let results: Vec<_> = stream::iter(chosen.iter().filter_map(|number| config.tiles.get(*number)))
        .map(|entry| async move {
            let outcome = one(entry, work).await;
            ended();
            (entry, outcome)
        })
        .buffered(config.run.jobs.get())
        .collect()
        .await;
    FleetReport::of(config, results)
}

/// Does `work` with the store of a tile.
pub async fn one<R, F>(entry: &TileEntry, work: impl Fn(Arc<Target>) -> F) -> Ended<R>
where
    F: Future<Output = s2ice_store::Result<R>>,
{
    let outcome = async {
        match place(entry).await? {
            Some(target) => work(Arc::new(target)).await,
            None => Err(s2ice_store::Error::NoStore { url: entry.store.clone() }),
        }
    };
    let span = told::tile(&entry.settings.tile, &entry.settings.level);
    match outcome.instrument(span).await {
        Ok(report) => Ended::Done(report),
        Err(s2ice_store::Error::NoStore { .. }) => Ended::Unbuilt,
        Err(error) => Ended::Failed(error.to_string()),
    }
}

/// Tells a failure in the log, too.
fn failed(entry: &TileEntry, error: String) -> Failed {
    let (tile, level) = (entry.settings.tile.to_string(), entry.settings.level.to_string());
    told::tile(&tile, &level).in_scope(|| {
        tracing::error!(target: told::OUTCOME, outcome = Outcome::Failed.name(), "failed: {error}");
    });
    Failed { tile, level, store: entry.store.clone(), error }
}

impl<R: StoreReport> FleetReport<R> {
    /// Of what became of the stores, in the order of the file.
    pub(crate) fn of(config: &RunConfig, results: Vec<(&TileEntry, Ended<R>)>) -> Self {
        let mut report = Self {
            kind: format!("{}.fleet", R::KIND),
            version: REPORT_VERSION,
            config: config.path.display().to_string(),
            stores: Vec::with_capacity(results.len()),
            unbuilt: 0,
            failed: Vec::new(),
        };
        for (entry, outcome) in results {
            match outcome {
                Ended::Done(one) => report.stores.push(one),
                Ended::Unbuilt => report.unbuilt += 1,
                Ended::Failed(error) => report.failed.push(failed(entry, error)),
            }
        }
        report
    }

    /// Why it is no success, where it is none.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let all = self.stores.len() + self.failed.len();
        let count = self.failed.len();
        (count > 0).then(|| format!("{count} of {} failed", crate::text::count(all, "store")))
    }
}
