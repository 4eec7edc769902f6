//! Metrics of a run in the OpenMetrics text format.
//!
//! The file is read by node_exporter's textfile collector as well, which knows the older Prometheus format only: types
//! that only OpenMetrics has (`info`, `unknown`) are therefore not used.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use chrono::{DateTime, Utc};
use s2ice_manifest::source::whole_file::write_whole;
use s2ice_store::runs::{LastOutcome, LastRun};

use crate::files::is_ours;
use crate::samples::Sample;
use crate::tile::Outcome;

/// How every file of metrics begins.
const BEGINS: &[u8] = b"# TYPE s2ice_";

/// What the metrics are made of.
pub struct Metrics<'a> {
    /// What is known of each tile of the run; nothing of a tile that never had one.
    pub tiles: &'a [LastRun],
    /// What the file says of the others.
    pub others: &'a [Sample],
    /// Tiles of the configuration file.
    pub all: usize,
    /// So many tiles have metrics of their own: those that need attention first.
    pub most: usize,
    /// Tiles of this run by outcome.
    pub outcomes: &'a BTreeMap<Outcome, usize>,
    /// When the run began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub ended: DateTime<Utc>,
}

/// A gauge per tile: name, unit, help, value.
type Gauge = (&'static str, &'static str, &'static str, fn(&LastRun) -> Option<f64>);

const GAUGES: [Gauge; 15] = [
    ("s2ice_tile_success", "", "1 where the last run of the tile that was not told to stop succeeded, else 0.", |t| {
        Some(f64::from(u8::from(t.completed?.is_success())))
    }),
    (
        "s2ice_tile_stale",
        "",
        "1 where that run could not see source, index or catalogue, or not in full, else 0.",
        |t| Some(f64::from(u8::from(t.completed? == LastOutcome::Stale))),
    ),
    ("s2ice_tile_last_success_timestamp_seconds", "seconds", "When a run of the tile last succeeded.", |t| {
        t.last_success.map(timestamp)
    }),
    ("s2ice_tile_last_run_timestamp_seconds", "seconds", "When the last run of the tile ended.", |t| {
        Some(timestamp(t.ended))
    }),
    ("s2ice_tile_duration_seconds", "seconds", "How long the last run of the tile took.", |t| {
        Some(crate::clock::seconds(t.started, t.ended))
    }),
    ("s2ice_tile_products", "", "Products in the store, those of eras included.", |t| t.products.map(float)),
    ("s2ice_tile_references", "", "References in the store, those of eras included.", |t| t.references.map(float)),
    ("s2ice_tile_products_added", "", "Products that the last run added.", |t| Some(float(t.added))),
    ("s2ice_tile_products_replaced", "", "Products that the last run replaced by a later processing.", |t| {
        Some(float(t.replaced))
    }),
    (
        "s2ice_tile_newest_product_timestamp_seconds",
        "seconds",
        "Sensing time of the newest product in the store.",
        |t| t.newest_product.map(timestamp),
    ),
    ("s2ice_tile_missing_index_products", "", "Products of the catalogue without index rows.", |t| {
        t.products.map(|_| float(t.missing_index_count))
    }),
    ("s2ice_tile_refused", "", "Products and rasters left out of the store.", |t| t.products.map(|_| float(t.refused))),
    ("s2ice_tile_runs_since_full", "", "Successful runs since the catalogue was asked for everything.", |t| {
        Some(f64::from(t.runs_since_full))
    }),
    ("s2ice_tile_source_requests", "", "Requests of the last run to the source.", |t| Some(float(t.source_requests))),
    ("s2ice_tile_source_bytes", "bytes", "Bytes that the last run received from the source.", |t| {
        Some(float(t.source_bytes))
    }),
];

/// Sums over all tiles: name, the gauge that is added up, help.
const SUMS: [(&str, &str, &str); 4] = [
    ("s2ice_fleet_products", "s2ice_tile_products", "Products in all stores."),
    ("s2ice_fleet_references", "s2ice_tile_references", "References in all stores."),
    (
        "s2ice_fleet_missing_index_products",
        "s2ice_tile_missing_index_products",
        "Products of the catalogue without index rows, of all tiles.",
    ),
    ("s2ice_fleet_refused", "s2ice_tile_refused", "Products and rasters left out of all stores."),
];

/// How times spread over the tiles: name, the gauge, help.
const SPREADS: [(&str, &str, &str); 2] = [
    (
        "s2ice_fleet_newest_product_timestamp_seconds",
        "s2ice_tile_newest_product_timestamp_seconds",
        "Sensing time of the newest product, of the tile that is furthest behind (0) and further quantiles.",
    ),
    (
        "s2ice_fleet_last_success_timestamp_seconds",
        "s2ice_tile_last_success_timestamp_seconds",
        "When a run of a tile last succeeded, of the tile that is furthest behind (0) and further quantiles.",
    ),
];

impl Metrics<'_> {
    /// The file.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let worst = self.worst();
        for (name, unit, help, value) in GAUGES {
            let samples = worst.iter().filter_map(|last| Some((&last.tile, &last.level, value(last)?)));
            let others = self.others.iter().filter(|other| other.name == name);
            let samples = samples.chain(others.map(|other| (&other.tile, &other.level, other.value)));
            let samples: Vec<(&String, &String, f64)> = samples.collect();
            if samples.is_empty() {
                continue;
            }
            family(&mut out, name, unit, help);
            for (tile, level, value) in samples {
                sample(&mut out, name, &[("tile", tile), ("level", level)], value);
            }
        }
        self.fleet(&mut out);
        family(&mut out, "s2ice_run_tiles", "", "Tiles of the last run by outcome.");
        for outcome in Outcome::ALL {
            let count = self.outcomes.get(&outcome).copied().unwrap_or_default();
            sample(&mut out, "s2ice_run_tiles", &[("outcome", outcome.name())], float(count as u64));
        }
        family(&mut out, "s2ice_run_timestamp_seconds", "seconds", "When the last run ended.");
        sample(&mut out, "s2ice_run_timestamp_seconds", &[], timestamp(self.ended));
        family(&mut out, "s2ice_run_duration_seconds", "seconds", "How long the last run took.");
        sample(&mut out, "s2ice_run_duration_seconds", &[], crate::clock::seconds(self.started, self.ended));
        family(&mut out, "s2ice_build_info", "", "The version of s2ice that wrote this file.");
        sample(&mut out, "s2ice_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        out.push_str("# EOF\n");
        out
    }

    /// The tiles that have metrics of their own, in their order.
    fn worst(&self) -> Vec<&LastRun> {
        let mut worst: Vec<(usize, &LastRun)> = self.tiles.iter().enumerate().collect();
        if worst.len() > self.most {
            let is_well = |last: &LastRun| last.completed.is_some_and(LastOutcome::is_success);
            worst.sort_by_key(|(place, last)| (is_well(last), last.last_success, *place));
            worst.truncate(self.most);
            worst.sort_by_key(|(place, _)| *place);
        }
        worst.into_iter().map(|(_, last)| last).collect()
    }

    /// The values of one gauge, of all tiles.
    fn values(&self, name: &str) -> Vec<f64> {
        let gauge = GAUGES.iter().find(|(gauge, ..)| *gauge == name);
        let tiles = gauge.into_iter().flat_map(|(.., value)| self.tiles.iter().filter_map(value));
        tiles.chain(self.others.iter().filter(|other| other.name == name).map(|other| other.value)).collect()
    }

    /// What all tiles come to.
    fn fleet(&self, out: &mut String) {
        let sum = |name: &str| self.values(name).iter().sum::<f64>();
        let known = self.values("s2ice_tile_success").len();
        let (succeeded, stale) = (sum("s2ice_tile_success"), sum("s2ice_tile_stale"));
        let states = [
            ("succeeded", succeeded),
            ("stale", stale),
            ("failed", float(known as u64) - succeeded - stale),
            ("never_run", float(self.all.saturating_sub(known) as u64)),
        ];
        family(
            out,
            "s2ice_fleet_tiles",
            "",
            "Tiles of the file by how their last run ended that was not told to stop.",
        );
        for (state, count) in states {
            sample(out, "s2ice_fleet_tiles", &[("state", state)], count);
        }
        for (name, of, help) in SUMS {
            family(out, name, "", help);
            sample(out, name, &[], sum(of));
        }
        for (name, of, help) in SPREADS {
            let mut values = self.values(of);
            if values.is_empty() {
                continue;
            }
            values.sort_by(f64::total_cmp);
            family(out, name, "seconds", help);
            for (quantile, part) in [("0", 0), ("0.05", 5), ("0.5", 50)] {
                sample(out, name, &[("quantile", quantile)], values[(values.len() - 1) * part / 100]);
            }
        }
    }

    /// Replaces the file: readers see the old or the new one, never a part.
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)?;
        }
        let may_write = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            file => is_ours(file?, BEGINS)?,
        };
        if !may_write {
            return Err(io::Error::other("it holds something else than metrics of s2ice: name another file"));
        }
        // The name it has until then does not end with .prom: the collector would read it.
        write_whole(path, |sink| sink.write_all(self.text().as_bytes()), |error| error)
    }
}

fn timestamp(time: DateTime<Utc>) -> f64 {
    float(u64::try_from(time.timestamp_millis()).unwrap_or_default()) / 1000.0
}

/// Exact up to 2^53: no store has as many of anything.
fn float(value: u64) -> f64 {
    value as f64
}

fn family(out: &mut String, name: &str, unit: &str, help: &str) {
    let _ = writeln!(out, "# TYPE {name} gauge");
    if !unit.is_empty() {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    let _ = writeln!(out, "# HELP {name} {}", escape(help));
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: f64) {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(out, "{name}{labels} {value}");
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn time(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_750_000_000_000 + seconds * 1000 + 250).unwrap()
    }

    fn tiles() -> [LastRun; 2] {
        let failed = LastRun {
            outcome: LastOutcome::Failed,
            completed: Some(LastOutcome::Failed),
            error: Some("no".to_owned()),
            ..LastRun::new("1", "33T\"V\\N\n", "L1C", time(3), time(5))
        };
        let updated = LastRun {
            outcome: LastOutcome::Updated,
            completed: Some(LastOutcome::Updated),
            last_success: Some(time(2)),
            newest_product: Some(time(-86_400)),
            products: Some(1400),
            references: Some(9_000_000_000),
            added: 2,
            replaced: 1,
            missing_index_count: 3,
            refused: 4,
            source_requests: 34,
            source_bytes: 1_000_000,
            ..LastRun::new("1", "33TVN", "L2A", time(0), time(2))
        };
        [updated, failed]
    }

    #[test]
    fn metrics_are_written_as_openmetrics_wants_them() {
        let outcomes = BTreeMap::from([(Outcome::Updated, 1), (Outcome::Failed, 1)]);
        let tiles = tiles();
        let metrics = Metrics {
            tiles: &tiles,
            others: &[],
            all: 3,
            most: 500,
            outcomes: &outcomes,
            started: time(0),
            ended: time(7),
        };
        let text = metrics.text().replace(env!("CARGO_PKG_VERSION"), "[version]");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn of_many_tiles_those_have_metrics_that_need_attention() {
        let [updated, failed] = tiles();
        let old = LastRun { tile: "33TWN".to_owned(), last_success: Some(time(-9)), ..updated.clone() };
        let (tiles, outcomes) = ([updated, failed, old], BTreeMap::new());
        let (started, ended) = (time(0), time(7));
        let metrics = Metrics { tiles: &tiles, others: &[], all: 3, most: 2, outcomes: &outcomes, started, ended };
        let told: Vec<&str> = metrics.worst().iter().map(|last| last.level.as_str()).collect();
        assert_eq!((told, metrics.worst()[1].tile.as_str()), (vec!["L1C", "L2A"], "33TWN"));
        // The sums are of all.
        assert!(metrics.text().contains("\ns2ice_fleet_products 2800\n"));
    }

    #[test]
    fn the_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("textfile/s2ice.prom");
        let outcomes = BTreeMap::new();
        let metrics = Metrics {
            tiles: &[],
            others: &[],
            all: 0,
            most: 500,
            outcomes: &outcomes,
            started: time(0),
            ended: time(1),
        };
        metrics.write(&path).unwrap();
        metrics.write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), metrics.text());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        // A folder stands in the way: told, and nothing stays.
        std::fs::create_dir(folder.path().join("taken")).unwrap();
        metrics.write(&folder.path().join("taken")).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
