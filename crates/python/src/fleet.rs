//! Runs over many tiles for Python: an engine of tasks calls [`Worker`] for each tile, and whoever drives it keeps the
//! [`FleetRun`]. What became of a tile travels as JSON.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use s2ice_fleet::config::{RunConfig, TileEntry};
use s2ice_fleet::housekeeping::Housekeeping;
use s2ice_fleet::refresh::{Asked, Given, Refresh};
use s2ice_fleet::run::{End, Options, Run};
use s2ice_fleet::supervise::stop;
use s2ice_fleet::text;
use s2ice_fleet::tile::{TileReport, Word};
use s2ice_manifest::source::budget::{CONNECTIONS, Grant, Ledger};
use s2ice_manifest::source::budget_grant::Demand;
use s2ice_store::tile::Occasion;
use serde::Deserialize;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::build::raise;

/// What is asked of a run, as Python gives it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wish {
    full: bool,
    prune: bool,
    dry_run: bool,
    resume: bool,
    deadline: Option<String>,
}

impl Wish {
    fn read(py: Python<'_>, json: &str) -> PyResult<Self> {
        serde_json::from_str(json).map_err(|error| raise(py, "RequestError", &error.to_string()))
    }

    fn asked(&self) -> Asked {
        Asked { full: self.full, prune: self.prune, dry_run: self.dry_run }
    }
}

/// Now, in whole milliseconds, as reports tell times.
pub(crate) fn now() -> DateTime<Utc> {
    let now = Utc::now();
    DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now)
}

pub(crate) fn occasion(run: &str) -> Occasion {
    Occasion { clock: now, run: run.to_owned(), writer: format!("s2ice {}", env!("CARGO_PKG_VERSION")) }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keys that stand in the file itself.
pub(crate) fn secrets(config: &RunConfig) -> Vec<String> {
    config.tiles.iter().flat_map(|tile| tile.settings.plain_secrets()).collect()
}

fn runtime() -> PyResult<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// A run over the tiles of a configuration file, of which somebody else refreshes the tiles.
#[pyclass(module = "s2ice._s2ice")]
pub(crate) struct FleetRun {
    run: Mutex<Option<Run>>,
    runtime: Runtime,
    told: Mutex<Vec<String>>,
    secrets: Vec<String>,
    text: String,
}

impl FleetRun {
    fn with<T>(&self, work: impl FnOnce(&mut Run) -> T) -> PyResult<T> {
        let mut run = lock(&self.run);
        let run = run.as_mut().ok_or_else(|| PyValueError::new_err("the run has ended"))?;
        Ok(work(run))
    }
}

#[pymethods]
impl FleetRun {
    /// Reads the file and begins a run named `run` of all its tiles or those named; `wish` is JSON.
    #[new]
    fn new(py: Python<'_>, path: &str, run: &str, tiles: Vec<String>, wish: &str) -> PyResult<Self> {
        let wish = Wish::read(py, wish)?;
        let bad = |reason: &str| raise(py, "RequestError", reason);
        let occasion = occasion(run);
        let text = s2ice_fleet::settings_file::read_file(Path::new(path)).map_err(|reason| bad(&reason))?;
        let mut config = RunConfig::of(Path::new(path), &text, &occasion).map_err(|reason| bad(&reason))?;
        s2ice_fleet::shard::name_files(&mut config.run, None).map_err(|reason| bad(&reason))?;
        let chosen = config.choose(&tiles).map_err(|reason| bad(&reason))?;
        let deadline = wish.deadline.as_deref().map(str::parse).transpose().map_err(|reason: String| bad(&reason))?;
        let options = Options { asked: wish.asked(), resume: wish.resume, is_share: false, deadline };
        let secrets = secrets(&config);
        let told = Mutex::new(Vec::new());
        let run = Run::begin(config, &chosen, options, &occasion, &|tile| tell(&told, tile))
            .map_err(|error| bad(&error.to_string()))?;
        Ok(Self { run: Mutex::new(Some(run)), runtime: runtime()?, told, secrets, text })
    }

    /// The file's text.
    #[getter]
    fn text(&self) -> &str {
        &self.text
    }

    /// Keys that stand in the file itself.
    #[getter]
    fn secrets(&self) -> Vec<String> {
        self.secrets.clone()
    }

    /// The tiles to be refreshed, those in most need first: number, tile and level.
    fn due(&self, py: Python<'_>) -> PyResult<Vec<(usize, String, String)>> {
        py.detach(|| {
            self.with(|run| {
                self.runtime.block_on(run.prepare());
                let name = |number: &usize| {
                    let settings = &run.entry(*number).settings;
                    (*number, settings.tile.to_string(), settings.level.to_string())
                };
                run.due().iter().map(name).collect()
            })
        })
    }

    /// What the catalogue told of a tile when it was asked for all of them, as JSON for `Worker.refresh`.
    fn heard(&self, py: Python<'_>, number: usize) -> PyResult<Option<String>> {
        let heard = py.detach(|| {
            self.with(|run| {
                let (known, entry) = (run.given(number), Arc::clone(run.entry(number)));
                self.runtime.block_on(known.given(&entry)).heard
            })
        })?;
        let json = |heard| serde_json::to_string(&heard).map_err(|error| PyValueError::new_err(error.to_string()));
        heard.map(json).transpose()
    }

    /// After this time no tile shall be begun: seconds since 1970.
    #[getter]
    fn deadline(&self) -> PyResult<Option<f64>> {
        self.with(|run| run.deadline().map(|time| time.timestamp_millis() as f64 / 1e3))
    }

    /// Takes what became of a tile: the JSON that a worker gave, or why it was not begun, `stopped` or `late`; or what else went
    /// wrong with it. Returns a line of the log for each tile that this tells of.
    #[pyo3(signature = (number, word = None, lost = None))]
    fn ended(&self, py: Python<'_>, number: usize, word: Option<&str>, lost: Option<&str>) -> PyResult<Vec<String>> {
        let end = match (word, lost) {
            (Some("stopped"), _) => End::Stopped,
            (Some("late"), _) => End::Late,
            (Some(word), _) => {
                let word: Word =
                    serde_json::from_str(word).map_err(|error| PyValueError::new_err(error.to_string()))?;
                End::Begun(Box::new(word))
            }
            (None, reason) => End::Lost(reason.unwrap_or("nothing is known of it").to_owned()),
        };
        py.detach(|| self.with(|run| run.ended(number, end, &|tile| tell(&self.told, tile))))?;
        Ok(std::mem::take(&mut lock(&self.told)))
    }

    /// Ends the run: the report as JSON, as a table for people, what is wrong, and whether it is merely stale.
    fn end(&self, py: Python<'_>) -> PyResult<(String, String, Option<String>, bool)> {
        let run = lock(&self.run).take().ok_or_else(|| PyValueError::new_err("the run has ended"))?;
        let (report, broken) = py.detach(|| self.runtime.block_on(run.end()));
        let json = serde_json::to_string(&report).map_err(|error| PyValueError::new_err(error.to_string()))?;
        let (wrong, is_stale) = report.verdict(broken);
        Ok((json, s2ice_fleet::summary::render(&report), wrong, is_stale))
    }
}

fn tell(told: &Mutex<Vec<String>>, tile: &TileReport) {
    let name = format!("{} {}", tile.tile, tile.level);
    lock(told).push(format!("{name} {}", s2ice_fleet::summary::what(tile)));
}

/// What works on tiles of one run in this process. Its budgets are shared with other processes: see `demands` and `grant`.
#[pyclass(frozen, module = "s2ice._s2ice")]
pub(crate) struct Worker {
    config: RunConfig,
    occasion: Occasion,
    wish: Wish,
    ledger: Ledger,
    runtime: Runtime,
    stop: watch::Sender<bool>,
}

impl Worker {
    fn entry(&self, number: usize) -> PyResult<&TileEntry> {
        self.config.tiles.get(number).ok_or_else(|| PyValueError::new_err("the file has no such tile"))
    }

    /// Ready when the tiles under way shall stop.
    fn stopped(&self) -> BoxFuture<'static, ()> {
        let mut told = self.stop.subscribe();
        let stopped = async move {
            // Who can tell no more does not tell to stop.
            if told.wait_for(|stops| *stops).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        stopped.boxed()
    }
}

#[pymethods]
impl Worker {
    /// For tiles of the file whose text this is; `shares` where its budgets are granted by somebody.
    #[new]
    fn new(py: Python<'_>, path: &str, text: &str, run: &str, wish: &str, shares: bool) -> PyResult<Self> {
        let occasion = occasion(run);
        let mut config =
            RunConfig::of(Path::new(path), text, &occasion).map_err(|reason| raise(py, "RequestError", &reason))?;
        let ledger = if shares { Ledger::shared() } else { Ledger::default() };
        config.share(&ledger);
        let (wish, runtime) = (Wish::read(py, wish)?, runtime()?);
        Ok(Self { config, occasion, wish, ledger, runtime, stop: watch::channel(false).0 })
    }

    /// Refreshes a tile, of which `heard` is what `FleetRun.heard` gave: JSON for `FleetRun.ended`, or `stopped`.
    #[pyo3(signature = (number, heard = None))]
    fn refresh(&self, py: Python<'_>, number: usize, heard: Option<&str>) -> PyResult<String> {
        let heard = heard.map(serde_json::from_str).transpose().map_err(|e| PyValueError::new_err(e.to_string()))?;
        let given = Given { last: None, heard };
        let entry = self.entry(number)?;
        let refresh = Refresh::new(&self.config.run, self.wish.asked(), &self.occasion, stop(self.stopped()));
        let word = py.detach(|| self.runtime.block_on(refresh.tile(Arc::new(entry.clone()), given)));
        match word {
            Some(word) => serde_json::to_string(&word).map_err(|error| PyValueError::new_err(error.to_string())),
            None => Ok("stopped".to_owned()),
        }
    }

    /// Does housekeeping of a store; `work` is JSON. What became of it: JSON for `FleetHousekeeping.ended`, or `stopped`.
    fn housekeep(&self, py: Python<'_>, number: usize, work: &str) -> PyResult<String> {
        let work = Housekeeping::read(work, now).map_err(|reason| raise(py, "RequestError", &reason))?;
        let entry = self.entry(number)?;
        let done = async {
            match select(pin!(work.one(entry)), self.stopped()).await {
                Either::Left((json, _)) => json,
                Either::Right(_) => Ok("stopped".to_owned()),
            }
        };
        py.detach(|| self.runtime.block_on(done)).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Stops the tiles that are refreshed; their stores stay as they were.
    fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// What is wanted of shared budgets, by origin: limits (connections, requests per second, bytes per day), connections in
    /// use, requests that wait, and bytes received.
    #[allow(clippy::type_complexity)]
    fn demands(&self) -> BTreeMap<String, ((usize, Option<f64>, Option<u64>), usize, usize, u64)> {
        let demand = |demand: Demand| {
            let limits = demand.limits;
            let connections = limits.connections.unwrap_or(CONNECTIONS);
            let limits = (connections, limits.requests_per_second, limits.bytes_per_day);
            (demand.origin, (limits, demand.in_use, demand.waiting, demand.bytes))
        };
        self.ledger.demands().into_iter().map(demand).collect()
    }

    /// Sets what may be used of a shared budget.
    fn grant(&self, origin: &str, connections: usize, received: Option<u64>, is_last: bool) {
        self.ledger.grant(origin, Grant { connections, bytes: received, is_last });
    }

    fn __repr__(&self) -> String {
        format!("Worker({}, {})", self.occasion.run, text::count(self.config.tiles.len(), "tile"))
    }
}
