//! Stores that grow: whatever the order of arrival and however the work is cut into runs, the store is the one that a
//! single run over everything would have made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use s2ice_manifest::decide::OnMismatch;
use s2ice_manifest::header_class::assumed_header;
use s2ice_manifest::ids::Level;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::index_writer::write_index;
use s2ice_manifest::source::location::{SourceOptions, SourceUrl};
use s2ice_manifest::tlm::{IndexRow, TileIndex};
use s2ice_store::diff::{DiffOptions, diff};
use s2ice_store::progress::Silent;
use s2ice_store::report::BuildReport;
use s2ice_store::target::Target;
use s2ice_store::tile::{BuildSettings, Occasion, build};

const TILE: &str = "33TVN";
const ASSETS: [&str; 4] = ["B09_60m", "B01_60m", "SCL_60m", "B01_20m"];

/// A processing of one half of a datatake.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Version {
    day: u32,
    half: u32,
    baseline: u32,
    generation: u32,
    /// Which of [`ASSETS`] it has, as bits; bit 7 gives its SCL another header.
    rasters: u32,
}

impl Version {
    fn date(&self) -> chrono::NaiveDate {
        chrono::NaiveDate::from_ymd_opt(2020, 1, 1).unwrap() + chrono::Days::new(u64::from(self.day))
    }

    fn id(&self) -> String {
        let day = self.date().format("%Y%m%d");
        let generation = self.generation * 10 + self.half;
        format!(
            "S2A_MSIL2A_{day}T100601_N{:04}_R022_T{TILE}_2025{:02}01T0000{generation:02}",
            self.baseline,
            1 + self.generation
        )
    }

    fn rows(&self) -> Vec<IndexRow> {
        let has = |bit: usize| self.rasters >> bit & 1 == 1;
        ASSETS
            .iter()
            .enumerate()
            .filter(|(bit, _)| *bit == 0 || has(*bit))
            .map(|(bit, name)| self.row(bit, name))
            .collect()
    }

    fn row(&self, bit: usize, name: &str) -> IndexRow {
        let asset: Asset = name.parse().unwrap();
        let mut header = assumed_header(asset, Level::L2A).unwrap();
        if bit == 2 && self.rasters >> 7 & 1 == 1 {
            // Other exponents: decodable, and other numbers. 0x5c is QCD; its first exponent follows length and style.
            let at = header.windows(2).position(|pair| pair == [0xff, 0x5c]).unwrap();
            header[at + 5] ^= 8;
        }
        let tiles = if bit == 3 { 81 } else { 100 };
        let first_sot = header.len() as u64 + 100;
        let length = |tile: u32| 200 + tile + self.day * 7 + self.baseline + self.half * 1000;
        let size = first_sot + (0..tiles).map(|tile| u64::from(length(tile))).sum::<u64>() + 2;
        let mut table = vec![0xff, 0x55];
        table.extend((4 + 5 * tiles as u16).to_be_bytes());
        table.extend([0, 0x50]);
        for tile in 0..tiles {
            table.push(tile as u8);
            table.extend(length(tile).to_be_bytes());
        }
        let mut cell = size.to_be_bytes().to_vec();
        cell.extend(first_sot.to_be_bytes());
        cell.extend((table.len() as u32).to_be_bytes());
        cell.extend(table);
        IndexRow {
            product: self.id().parse().unwrap(),
            asset,
            path: format!("/{}.SAFE/GRANULE/X/IMG_DATA/T{TILE}_20200101T100601_{name}.jp2", self.id()),
            index: TileIndex::from_cell(&cell),
            main_header: Some(header.into()),
            etag: Some(format!("\"{}-{bit}\"", self.id())),
            last_modified: chrono::DateTime::from_timestamp(1_600_000_000, 0),
            nodata: self.day.is_multiple_of(3).then(|| vec![1, 5]),
        }
    }

    fn item(&self) -> serde_json::Value {
        let start = self.date().format("%Y%m%d");
        let id = self.id();
        let strip = format!("S2A_OPER_MSI_L2A_DS_2BPS_20250101T000000_S{start}T1006{:02}_N05.10", self.half * 20);
        serde_json::json!({
            "type": "Feature", "stac_version": "1.0.0", "id": id, "geometry": null, "links": [], "assets": {},
            "properties": {
                "datetime": format!("{}T10:06:01Z", self.date()),
                "updated": format!("2025-{:02}-01T00:00:00Z", 1 + self.generation),
                "eopf:datastrip_id": strip, "eo:cloud_cover": self.day % 100,
            },
        })
    }
}

struct Place {
    folder: tempfile::TempDir,
    runs: u32,
    on_mismatch: OnMismatch,
}

impl Place {
    fn new(on_mismatch: OnMismatch) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), runs: 0, on_mismatch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&mut self, store: &str, versions: &[Version]) -> BuildSettings {
        self.runs += 1;
        let rows: Vec<IndexRow> = versions.iter().flat_map(Version::rows).collect();
        let items: Vec<String> = versions.iter().map(|version| version.item().to_string()).collect();
        let (index, stac) = (self.path("index.parquet"), self.path("items.ndjson"));
        write_index(&index, &rows, false).unwrap();
        std::fs::write(&stac, items.join("\n")).unwrap();
        let run = format!("{}-{}", self.runs, std::process::id());
        BuildSettings { on_mismatch: self.on_mismatch, ..settings(&self.path(store), &index, &stac, run) }
    }

    async fn run(&mut self, store: &str, versions: &[Version]) -> BuildReport {
        let settings = self.settings(store, versions);
        build(&settings, &Silent).await.unwrap()
    }

    /// What two stores differ in, their eras included.
    async fn differ(&self, left: &str, right: &str) -> Vec<String> {
        let left = target(&self.path(left)).await;
        let right = target(&self.path(right)).await;
        let report = diff(&left, &right, &DiffOptions::default()).await.unwrap();
        if report.is_same() { Vec::new() } else { vec![serde_json::to_string_pretty(&report).unwrap()] }
    }
}

async fn target(path: &Path) -> Target {
    Target::open(SourceUrl::parse(path.to_str().unwrap()).unwrap(), SourceOptions::default()).await.unwrap()
}

fn settings(store: &Path, index: &Path, stac: &Path, run: String) -> BuildSettings {
    let document = serde_json::json!({
        "tile": TILE, "index": index, "stac": stac, "store": store, "source": "/nonexistent/archive", "container": "archive",
        "on-mismatch": "refuse", "headers": "assume", "memory": "none", "prune-limit": 100, "overlap": "0s", "lock-wait": "0s",
    });
    let occasion = Occasion { clock: chrono::Utc::now, run, writer: "s2ice test".to_owned() };
    BuildSettings::read(document, occasion).unwrap()
}

/// Of several processings of one half, a later one has what an earlier one has, or less: where each has something that the
/// other lacks, the one that stands stays. With `offsets` they have several radiometric offsets.
fn versions(foreign: bool, offsets: bool) -> impl Strategy<Value = Vec<Version>> {
    let baselines = if offsets { vec![300_u32, 400, 509, 510, 511] } else { vec![400_u32, 509, 510, 511] };
    let version = (0..5_u32, 0..2_u32, prop::sample::select(baselines), 0..3_u32, 0..8_u32, any::<bool>());
    let version = version.prop_map(move |(day, half, baseline, generation, low, other)| {
        // 0, 1, 3 or 7: each has what the one before has.
        let nested = (1_u32 << (low % 4)) - 1;
        let rasters = nested << 1 | u32::from(foreign && other) << 7;
        Version { day, half, baseline, generation, rasters }
    });
    prop::collection::vec(version, 1..9).prop_map(|mut all| {
        // One name is one product.
        all.sort();
        all.dedup_by_key(|version| version.id());
        all
    })
}

/// An order of arrival, cut into runs; some products arrive again.
fn arrivals(foreign: bool, offsets: bool) -> impl Strategy<Value = (Vec<Version>, Vec<Vec<Version>>)> {
    versions(foreign, offsets).prop_flat_map(|all| {
        let again = prop::collection::vec(0..all.len(), 0..3);
        (Just(all.clone()), Just(all).prop_shuffle(), again, prop::collection::vec(any::<bool>(), 12)).prop_map(
            |(all, mut order, again, cuts)| {
                order.extend(again.into_iter().map(|i| all[i].clone()));
                let mut runs: Vec<Vec<Version>> = vec![Vec::new()];
                for (version, cut) in order.into_iter().zip(cuts) {
                    if cut && runs.last().is_some_and(|run| !run.is_empty()) {
                        runs.push(Vec::new());
                    }
                    let last = runs.len() - 1;
                    if !runs[last].contains(&version) {
                        runs[last].push(version);
                    }
                }
                let taken: Vec<Version> = runs.iter().flatten().cloned().collect();
                let all = all.into_iter().filter(|version| taken.contains(version)).collect();
                (all, runs)
            },
        )
    })
}

fn check(
    all: &[Version],
    runs: &[Vec<Version>],
    cumulative: bool,
    on_mismatch: OnMismatch,
) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut place = Place::new(on_mismatch);
        place.run("fresh", all).await;
        let mut seen: Vec<Version> = Vec::new();
        for run in runs {
            seen.extend(run.iter().filter(|version| !seen.contains(version)).cloned().collect::<Vec<_>>());
            let report = place.run("grown", if cumulative { &seen } else { run }).await;
            prop_assert_eq!(report.attempts, 1);
        }
        prop_assert_eq!(place.differ("grown", "fresh").await, Vec::<String>::new());
        // Once more: nothing to do.
        let again = place.run("grown", if cumulative { all } else { &runs[0] }).await;
        prop_assert!(again.committed.is_none(), "{:?}", again.changes);
        Ok(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 60, ..ProptestConfig::default() })]

    /// Each run is given its new products only.
    #[test]
    fn arrival_by_arrival_gives_the_fresh_store((all, runs) in arrivals(false, false)) {
        check(&all, &runs, false, OnMismatch::Refuse)?;
    }

    /// Each run is given everything known so far; some rasters have headers that do not fit.
    #[test]
    fn growing_inputs_give_the_fresh_store((all, runs) in arrivals(true, false)) {
        check(&all, &runs, true, OnMismatch::Refuse)?;
    }

    /// With eras nothing is lost, so runs of new products only give the fresh stores even where offsets and headers do not
    /// fit: products go from one store of the tile to another.
    #[test]
    fn eras_grow_to_the_fresh_stores((all, runs) in arrivals(true, true)) {
        check(&all, &runs, false, OnMismatch::Era)?;
    }

    /// Unknown encoders are refused, other offsets are not.
    #[test]
    fn eras_of_growing_inputs_are_the_fresh_ones((all, runs) in arrivals(true, true)) {
        check(&all, &runs, true, OnMismatch::Auto)?;
    }
}
