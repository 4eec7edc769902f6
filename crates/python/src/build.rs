//! `build` and `info` for Python: requests and reports travel as JSON text, so that their one description is the Rust
//! type and its schema.

use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::Utc;
use pyo3::prelude::*;
use s2ice_manifest::source::budget::Ledger;
use s2ice_manifest::source::location::{SourceError, SourceOptions, SourceUrl};
use s2ice_store::Error;
use s2ice_store::target::Target;
use s2ice_store::tile::{BuildSettings, Occasion, Wrong};
use s2ice_store::unseen::Cause;
use serde::Serialize;
use serde_json::Value;

use crate::run::{Counter, run};

/// One for the interpreter: calls from several threads share the limits of a host, and nothing else could hand it on.
static LEDGER: LazyLock<Ledger> = LazyLock::new(Ledger::default);

/// The settings of a request, whose keys are Python's: with underscores, but for names that are not ours.
fn settings(request: &str) -> Result<BuildSettings, String> {
    let document: Value = serde_json::from_str(request).map_err(text)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let occasion = Occasion {
        clock: Utc::now,
        run: format!("{}-{}", now.as_millis(), std::process::id()),
        writer: format!("s2ice {}", env!("CARGO_PKG_VERSION")),
    };
    let mut settings = BuildSettings::read(dashed(document), occasion).map_err(|wrong| {
        match wrong {
            Wrong::Missing { key, hint } => Wrong::Missing { key: underscored(&key), hint },
            Wrong::Bad { key, reason } => Wrong::Bad { key: underscored(&key), reason },
        }
        .to_string()
    })?;
    settings.share(&LEDGER.share());
    Ok(settings)
}

fn underscored(key: &str) -> String {
    key.replace('-', "_")
}

/// The names of the configuration file.
fn dashed(value: Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object
                .into_iter()
                .map(|(key, value)| match key.as_str() {
                    // Names of others.
                    "extra" | "headers" if value.is_object() => (key, value),
                    _ => (key.replace('_', "-"), dashed(value)),
                })
                .collect(),
        ),
        other => other,
    }
}

/// Builds the store of a tile. `request` and the result are JSON; `progress` is called with (phase, done, total).
#[pyfunction]
#[pyo3(signature = (request, progress = None))]
pub(crate) fn build(py: Python<'_>, request: &str, progress: Option<Py<PyAny>>) -> PyResult<String> {
    let settings = settings(request).map_err(|reason| raise(py, "RequestError", &reason))?;
    let counter = Arc::new(Counter::default());
    let work = s2ice_store::tile::build(&settings, counter.as_ref());
    answer(py, run(py, &counter, progress.as_ref(), work)?)
}

/// What is in a store, as JSON; `options` are the store's, as JSON.
#[pyfunction]
pub(crate) fn info(py: Python<'_>, store: &str, options: &str) -> PyResult<String> {
    let options = self::options(py, options)?;
    let url = SourceUrl::parse(store).map_err(|e| raise(py, "SourceError", &e.to_string()))?;
    let work = async {
        let target = Target::open(url, options).await?;
        s2ice_store::info::info(&target).await
    };
    answer(py, run(py, &Arc::new(Counter::default()), None, work)?)
}

/// The options of a place, given as JSON.
pub(crate) fn options(py: Python<'_>, text: &str) -> PyResult<SourceOptions> {
    let options = serde_json::from_str(text).map(dashed).and_then(serde_json::from_value);
    options.map_err(|e| raise(py, "RequestError", &e.to_string()))
}

pub(crate) fn answer(py: Python<'_>, outcome: s2ice_store::Result<impl Serialize>) -> PyResult<String> {
    let report = outcome.map_err(|error| raise(py, class(&error), &error.to_string()))?;
    serde_json::to_string(&report).map_err(|e| raise(py, "S2iceError", &e.to_string()))
}

/// The Python class of an error.
fn class(error: &Error) -> &'static str {
    match error {
        Error::NoStore { .. } => "StoreNotFoundError",
        Error::NoState { .. } => "RefNotFoundError",
        Error::Unseen(unseen) if unseen.cause == Cause::Denied => "CredentialsError",
        Error::Unseen(_) => "SourceError",
        Error::Location(SourceError::Denied { .. } | SourceError::NoCredentials { .. }) => "CredentialsError",
        Error::Location(_) => "SourceError",
        Error::Request(_) => "RequestError",
        _ => "S2iceError",
    }
}

/// An exception of `s2ice.errors`.
pub(crate) fn raise(py: Python<'_>, class: &str, reason: &str) -> PyErr {
    let exception = py.import("s2ice.errors").and_then(|m| m.getattr(class)?.call1((reason,)));
    exception.map_or_else(|error| error, PyErr::from_value)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
