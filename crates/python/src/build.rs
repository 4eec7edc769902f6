//! `build` and `info` for Python: requests and reports travel as JSON text, so that their one description is the Rust
//! type and its schema.

use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::Utc;
use pyo3::prelude::*;
use s2ice_manifest::decide::OnMismatch;
use s2ice_manifest::decide::Resolutions;
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::source::budget::Ledger;
use s2ice_manifest::source::location::{SourceError, SourceOptions, SourceUrl};
use s2ice_manifest::source::mirror;
use s2ice_store::Error;
use s2ice_store::options::Spec;
use s2ice_store::reference::ChecksumPolicy;
use s2ice_store::target::Target;
use s2ice_store::tile::{
    BuildSettings, HeaderPolicy, INDEX_MISSING_LIMIT, LOCK_WAIT, MemoryPlace, OVERLAP, PRUNE_LIMIT, Recheck,
};
use s2ice_store::unseen::Cause;
use serde::{Deserialize, Serialize};

use crate::run::{Counter, run};

/// One for the interpreter: calls from several threads share the limits of a host, and nothing else could hand it on.
static LEDGER: LazyLock<Ledger> = LazyLock::new(Ledger::default);

/// Arguments of `s2ice.build`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    tile: String,
    level: String,
    source_kind: SourceKind,
    index: Vec<String>,
    stac: Option<String>,
    collection: Option<String>,
    datetime: Option<String>,
    max_cloud_cover: Option<f64>,
    arrays: Vec<String>,
    angles: bool,
    resolutions: Resolutions,
    on_mismatch: OnMismatch,
    headers: HeaderPolicy,
    /// Where what is learned of the source is remembered.
    memory: MemoryPlace,
    source: String,
    source_options: SourceOptions,
    store: Option<String>,
    store_options: SourceOptions,
    checksum: ChecksumPolicy,
    spec: u8,
    container: Option<String>,
    prune: bool,
    accept_incomplete: bool,
    recheck: Vec<String>,
    full: bool,
    dry_run: bool,
}

impl Request {
    fn settings(mut self) -> Result<BuildSettings, String> {
        let tile: MgrsTile = self.tile.parse().map_err(text)?;
        let level: Level = self.level.parse().map_err(text)?;
        if self.index.is_empty() && self.source_kind.is_jp2() {
            return Err("index is missing: give a TLM index, or make one with the command `s2ice index`".to_owned());
        }
        if self.max_cloud_cover.is_some_and(|percent| !(0.0..=100.0).contains(&percent)) {
            return Err("max_cloud_cover is a percentage, 0 to 100".to_owned());
        }
        let spec = match self.spec {
            1 => Spec::V1,
            2 => Spec::V2,
            other => return Err(format!("spec {other} is unknown: 1 or 2")),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let recheck: Result<Vec<Recheck>, _> = self.recheck.iter().map(|text| text.parse()).collect();
        let recheck = recheck.map_err(|e| format!("recheck: {e}"))?;
        Ok(BuildSettings {
            memory: self.memory,
            tile,
            level,
            source_kind: self.source_kind,
            index: self.index,
            index_missing: false,
            index_missing_limit: INDEX_MISSING_LIMIT,
            write_index: None,
            stac: self.stac,
            collection: self.collection,
            datetime: self.datetime.map(|interval| interval.parse()).transpose().map_err(text)?,
            max_cloud_cover: self.max_cloud_cover,
            arrays: self.arrays,
            angles: self.angles,
            resolutions: self.resolutions,
            on_mismatch: self.on_mismatch,
            headers: self.headers,
            source: mirror::address(&self.source, &mut self.source_options),
            source_options: SourceOptions { ledger: LEDGER.share(), ..self.source_options },
            store: self.store,
            store_options: self.store_options,
            checksum: self.checksum,
            spec,
            container: self.container,
            prune: self.prune,
            prune_limit: PRUNE_LIMIT,
            accept_incomplete: self.accept_incomplete,
            recheck,
            full: self.full,
            overlap: OVERLAP,
            lock_wait: LOCK_WAIT,
            clock: Utc::now,
            dry_run: self.dry_run,
            run: format!("{}-{}", now.as_millis(), std::process::id()),
            writer: format!("s2ice {}", env!("CARGO_PKG_VERSION")),
        })
    }
}

/// Builds the store of a tile. `request` and the result are JSON; `progress` is called with (phase, done, total).
#[pyfunction]
#[pyo3(signature = (request, progress = None))]
pub(crate) fn build(py: Python<'_>, request: &str, progress: Option<Py<PyAny>>) -> PyResult<String> {
    let request: Request = serde_json::from_str(request).map_err(|e| raise(py, "RequestError", &e.to_string()))?;
    let settings = request.settings().map_err(|reason| raise(py, "RequestError", &reason))?;
    let counter = Arc::new(Counter::default());
    let work = s2ice_store::tile::build(&settings, counter.as_ref());
    answer(py, run(py, &counter, progress.as_ref(), work)?)
}

/// What is in a store, as JSON; `options` are the store's, as JSON.
#[pyfunction]
pub(crate) fn info(py: Python<'_>, store: &str, options: &str) -> PyResult<String> {
    let options: SourceOptions =
        serde_json::from_str(options).map_err(|e| raise(py, "RequestError", &e.to_string()))?;
    let url = SourceUrl::parse(store).map_err(|e| raise(py, "SourceError", &e.to_string()))?;
    let work = async {
        let target = Target::open(url, options).await?;
        s2ice_store::info::info(&target).await
    };
    answer(py, run(py, &Arc::new(Counter::default()), None, work)?)
}

fn answer(py: Python<'_>, outcome: s2ice_store::Result<impl Serialize>) -> PyResult<String> {
    let report = outcome.map_err(|error| raise(py, class(&error), &error.to_string()))?;
    serde_json::to_string(&report).map_err(|e| raise(py, "S2iceError", &e.to_string()))
}

/// The Python class of an error.
fn class(error: &Error) -> &'static str {
    match error {
        Error::NoStore { .. } => "StoreNotFoundError",
        Error::Unseen(unseen) if unseen.cause == Cause::Denied => "CredentialsError",
        Error::Unseen(_) => "SourceError",
        Error::Location(SourceError::Denied { .. } | SourceError::NoCredentials { .. }) => "CredentialsError",
        Error::Location(_) => "SourceError",
        Error::Request(_) => "RequestError",
        _ => "S2iceError",
    }
}

/// An exception of `s2ice.errors`.
fn raise(py: Python<'_>, class: &str, reason: &str) -> PyErr {
    let exception = py.import("s2ice.errors").and_then(|m| m.getattr(class)?.call1((reason,)));
    exception.map_or_else(|error| error, PyErr::from_value)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
