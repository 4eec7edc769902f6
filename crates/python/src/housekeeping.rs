//! Housekeeping of many stores for Python: an engine of tasks calls `Worker.housekeep` for each, and whoever drives it keeps
//! [`FleetHousekeeping`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use s2ice_fleet::config::RunConfig;
use s2ice_fleet::each::Ended;
use s2ice_fleet::housekeeping::Housekeeping;
use serde::de::IgnoredAny;

use crate::build::raise;
use crate::fleet::{lock, now, occasion, secrets};

/// Housekeeping of the stores of a configuration file, of which somebody else does each.
#[pyclass(module = "s2ice._s2ice")]
pub(crate) struct FleetHousekeeping {
    config: RunConfig,
    chosen: Vec<usize>,
    work: Housekeeping,
    ended: Mutex<BTreeMap<usize, String>>,
    text: String,
}

impl FleetHousekeeping {
    fn name(&self, number: usize) -> Option<(usize, String, String)> {
        let settings = &self.config.tiles.get(number)?.settings;
        Some((number, settings.tile.to_string(), settings.level.to_string()))
    }
}

fn wrong(error: &serde_json::Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}

#[pymethods]
impl FleetHousekeeping {
    /// Reads the file, for all of its stores or those of the tiles named; `work` is JSON.
    #[new]
    fn new(py: Python<'_>, path: &str, run: &str, tiles: Vec<String>, work: &str) -> PyResult<Self> {
        let bad = |reason: String| raise(py, "RequestError", &reason);
        let work = Housekeeping::read(work, now).map_err(bad)?;
        let text = s2ice_fleet::settings_file::read_file(Path::new(path)).map_err(bad)?;
        let config = RunConfig::of(Path::new(path), &text, &occasion(run)).map_err(bad)?;
        let chosen = config.choose(&tiles).map_err(bad)?;
        Ok(Self { config, chosen, work, ended: Mutex::default(), text })
    }

    /// The file's text.
    #[getter]
    fn text(&self) -> &str {
        &self.text
    }

    /// Keys that stand in the file itself.
    #[getter]
    fn secrets(&self) -> Vec<String> {
        secrets(&self.config)
    }

    /// The stores: number, tile and level.
    fn due(&self) -> Vec<(usize, String, String)> {
        self.chosen.iter().filter_map(|number| self.name(*number)).collect()
    }

    /// Takes what became of a store: the JSON that a worker gave, or `stopped`; or what else went wrong with it. Returns a line
    /// of the log.
    #[pyo3(signature = (number, word = None, lost = None))]
    fn ended(&self, number: usize, word: Option<&str>, lost: Option<&str>) -> PyResult<Vec<String>> {
        let failed = |reason: &str| serde_json::to_string(&Ended::<()>::Failed(reason.to_owned()));
        let json = match word {
            Some("stopped") => failed("it was told to stop"),
            Some(word) => Ok(word.to_owned()),
            None => failed(lost.unwrap_or("nothing is known of it")),
        };
        let json = json.map_err(|error| wrong(&error))?;
        let what = match serde_json::from_str::<Ended<IgnoredAny>>(&json).map_err(|error| wrong(&error))? {
            Ended::Done(_) => "done".to_owned(),
            Ended::Unbuilt => "not built yet".to_owned(),
            Ended::Failed(reason) => format!("failed: {reason}"),
        };
        lock(&self.ended).insert(number, json);
        Ok(self.name(number).map(|(_, tile, level)| format!("{tile} {level} {what}")).into_iter().collect())
    }

    /// The report as JSON, as a table for people, and what is wrong.
    fn end(&self) -> PyResult<(String, String, Option<String>)> {
        let ended: Vec<_> = lock(&self.ended).iter().map(|(number, json)| (*number, json.clone())).collect();
        let merged = self.work.merge(&self.config, &ended).map_err(|error| wrong(&error))?;
        Ok((merged.json, merged.table, merged.failure))
    }
}
