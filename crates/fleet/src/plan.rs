//! What it takes to build the stores of a file for the first time, and to keep them for a year: foreseen from some of its
//! tiles, whose index and catalogue are read. Nothing is asked of the source.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use s2ice_manifest::source::budget::{Ledger, Limits};
use s2ice_manifest::source::budget_grant::Demand;
use s2ice_manifest::source::jp2_header::FIRST_READ;
use s2ice_manifest::source::location::{Source, SourceUrl};
use s2ice_store::report::REPORT_VERSION;
use s2ice_store::tile::{Survey, survey};
use schemars::JsonSchema;
use serde::Serialize;
use tracing::Instrument;

use crate::config::{RunConfig, TileEntry};
use crate::told::{self, Steps};

/// Requests for the two XML files of a product.
const XML_REQUESTS: u64 = 2;

/// Bytes of a product's XML, `MTD_MSIL2A.xml`: 52 to 55 kB in real ones.
const PRODUCT_XML: u64 = 54_000;

/// Bytes that are read of a granule's XML where its angles are not wanted.
const GRANULE_START: u64 = 4 * 1024;

/// Bytes of the whole of one: 100 kB at the edge of a swath to 630 kB, half a megabyte as a rule.
const GRANULE_XML: u64 = 500_000;

/// Bytes of a listing of a product's folder: some hundred files, 400 bytes of XML each.
const LISTING: u64 = 45_000;

/// Bytes of a tile-part's header, at most, and what a request brings along.
const TILE_HEADER: u64 = 512;

/// Requests of a search for one tile, and of a run without news to the store.
const SEARCH_REQUESTS: u64 = 3;
const STORE_REQUESTS: u64 = 5;

/// What is foreseen.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "PlanReport")]
pub struct PlanReport {
    /// Always `s2ice.plan`.
    pub kind: String,
    /// Version of this report.
    pub version: u32,
    /// The configuration file.
    pub config: String,
    /// Tiles to be built.
    pub tiles: usize,
    /// Tiles whose index and catalogue were read; the rest is taken to be like them.
    pub read: usize,
    /// Tiles that could not be read, with the reason.
    pub failed: BTreeMap<String, String>,
    /// What is in these tiles, as if all had been read.
    pub survey: Survey,
    /// How long a request is taken to take, seconds.
    pub latency_seconds: f64,
    /// The account with each source: its limits.
    pub accounts: Vec<Account>,
    /// The first build, by where main headers come from.
    pub first_build: Vec<Cost>,
    /// A year of the same tiles, with a run a day.
    pub year: Year,
}

/// What a source allows.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Account {
    /// Scheme, host and port.
    pub origin: String,
    /// Requests at a time.
    pub connections: Option<usize>,
    /// Requests per second.
    pub requests_per_second: Option<f64>,
    /// Bytes in a day.
    pub bytes_per_day: Option<u64>,
}

/// What something takes.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Cost {
    /// `read`: from every file; `sample`: from one file of each class of a product, and a listing of its folder; `index`: from
    /// the index where it has them (`s2ice index` writes them), the tile-part header that proves it being read, else from the file.
    pub headers: String,
    /// Requests to the sources.
    pub requests: u64,
    /// Bytes received from there.
    pub bytes: u64,
    /// Days with one account at each source.
    pub days: f64,
    /// Requests of the runs that follow, until every main header was read from its own file.
    pub later_requests: u64,
}

/// A year of daily runs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Year {
    /// Products that come.
    pub products: u64,
    /// Requests to the sources for them.
    pub source_requests: u64,
    /// Bytes received from there.
    pub source_bytes: u64,
    /// Requests to catalogues, if each tile asks for itself.
    pub catalogue_requests: u64,
    /// Requests to the stores.
    pub store_requests: u64,
}

/// Foresees what the tiles at `chosen` take, from as many of them as `sample` says, spread evenly over the file.
pub async fn plan(
    config: &RunConfig,
    chosen: &[usize],
    sample: usize,
    latency: Duration,
    ended: &dyn Fn(),
) -> PlanReport {
    let step = chosen.len().div_ceil(sample.max(1)).max(1);
    let entries: Vec<Arc<TileEntry>> =
        chosen.iter().step_by(step).filter_map(|number| config.tiles.get(*number)).cloned().map(Arc::new).collect();
    let results: Vec<_> = stream::iter(&entries)
        .map(|entry| async move {
            let span = told::tile(&entry.settings.tile, &entry.settings.level);
            let found = survey(&entry.settings, &Steps).instrument(span).await;
            ended();
            (entry.name(), found)
        })
        .buffered(config.run.jobs.get())
        .collect()
        .await;
    let (mut sum, mut read, mut failed) = (Survey::default(), 0, BTreeMap::new());
    for (name, found) in results {
        match found {
            Ok(found) => {
                add(&mut sum, &found);
                read += 1;
            }
            Err(error) => {
                failed.insert(name, error.to_string());
            }
        }
    }
    let accounts = accounts(&entries);
    let survey = scaled(&sum, chosen.len(), read);
    let cost = |headers: &str, read: u64, proven: u64, listings: u64, later_requests: u64| {
        let requests = survey.products * XML_REQUESTS + listings + read + proven + survey.walked;
        let bytes = survey.products * xml_bytes(&survey)
            + listings * LISTING
            + read * FIRST_READ
            + (proven + survey.walked) * TILE_HEADER;
        let days = days(requests, bytes, &accounts, latency);
        Cost { headers: headers.to_owned(), requests, bytes, days, later_requests }
    };
    // Products none of whose rasters stands for another are not listed, nor asked again.
    let (listings, later) = match survey.rasters > survey.sampled {
        true => (survey.products, survey.products * XML_REQUESTS + survey.rasters),
        false => (0, 0),
    };
    let first_build = vec![
        cost("read", survey.rasters, 0, 0, 0),
        cost("sample", survey.sampled, 0, listings, later),
        cost("index", survey.rasters.saturating_sub(survey.with_headers), survey.with_headers, 0, 0),
    ];
    let year = year(&survey, chosen.len());
    PlanReport {
        kind: "s2ice.plan".to_owned(),
        version: REPORT_VERSION,
        config: config.path.display().to_string(),
        tiles: chosen.len(),
        read,
        failed,
        survey,
        latency_seconds: latency.as_secs_f64(),
        accounts,
        first_build,
        year,
    }
}

fn xml_bytes(survey: &Survey) -> u64 {
    PRODUCT_XML + if survey.angles { GRANULE_XML } else { GRANULE_START }
}

fn year(survey: &Survey, tiles: usize) -> Year {
    let (products, runs) = (survey.last_year, 365 * tiles as u64);
    let rasters = (survey.rasters * products).checked_div(survey.products).unwrap_or(0);
    Year {
        products,
        source_requests: products * XML_REQUESTS + rasters,
        source_bytes: products * xml_bytes(survey) + rasters * FIRST_READ,
        catalogue_requests: runs * SEARCH_REQUESTS,
        store_requests: runs * STORE_REQUESTS,
    }
}

fn add(sum: &mut Survey, one: &Survey) {
    let Survey { products, unindexed, last_year, rasters, sampled, with_headers, walked, angles } = *one;
    sum.products += products;
    sum.unindexed += unindexed;
    sum.last_year += last_year;
    sum.rasters += rasters;
    sum.sampled += sampled;
    sum.with_headers += with_headers;
    sum.walked += walked;
    sum.angles |= angles;
}

/// As if all tiles had been read.
fn scaled(sum: &Survey, all: usize, read: usize) -> Survey {
    let scale = |count: u64| {
        let scaled = u128::from(count) * all as u128 / (read.max(1) as u128);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    };
    Survey {
        products: scale(sum.products),
        unindexed: scale(sum.unindexed),
        last_year: scale(sum.last_year),
        rasters: scale(sum.rasters),
        sampled: scale(sum.sampled),
        with_headers: scale(sum.with_headers),
        walked: scale(sum.walked),
        angles: sum.angles,
    }
}

/// The limits of the sources, as whoever reads them keeps to them.
fn accounts(entries: &[Arc<TileEntry>]) -> Vec<Account> {
    let ledger = Ledger::shared();
    for entry in entries {
        let options = &entry.settings.source_options;
        let Ok(url) = SourceUrl::parse(&entry.settings.source) else { continue };
        let Ok(source) = Source::open(&url, options) else { continue };
        if url.local_root().is_none() {
            let service = || format!("{}://{}", url.scheme().name(), url.authority());
            let origin = source.effective().endpoint.clone().unwrap_or_else(service);
            let (connections, requests_per_second) = (options.connections, options.requests_per_second);
            let limits = Limits { connections, requests_per_second, bytes_per_day: options.bytes_per_day };
            ledger.budget(&origin, limits);
        }
    }
    let account = |demand: Demand| {
        let Limits { connections, requests_per_second, bytes_per_day } = demand.limits;
        Account { origin: demand.origin, connections, requests_per_second, bytes_per_day }
    };
    ledger.demands().into_iter().map(account).collect()
}

/// Days that the narrowest limit of one account takes; the source's files are taken to be spread evenly over the accounts.
fn days(requests: u64, bytes: u64, accounts: &[Account], latency: Duration) -> f64 {
    const DAY: f64 = 86_400.0;
    let share = accounts.len().max(1) as f64;
    let (requests, bytes) = (requests as f64 / share, bytes as f64 / share);
    let of = |account: &Account| {
        let by_connections =
            account.connections.map_or(0.0, |n| requests * latency.as_secs_f64() / n.max(1) as f64 / DAY);
        let by_rate = account.requests_per_second.map_or(0.0, |rate| requests / rate / DAY);
        let by_bytes = account.bytes_per_day.map_or(0.0, |limit| bytes / limit.max(1) as f64);
        by_connections.max(by_rate).max(by_bytes)
    };
    accounts.iter().map(of).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        Account { origin: "https://h".to_owned(), connections: Some(4), requests_per_second: None, bytes_per_day: None }
    }

    #[test]
    fn the_narrowest_limit_tells_the_days() {
        let second = Duration::from_secs(1);
        let rounded = |account: Account| (days(864_000, 10_000, &[account], second) * 100.0).round() / 100.0;
        assert_eq!(rounded(account()), 2.5);
        assert_eq!(rounded(Account { requests_per_second: Some(2.0), ..account() }), 5.0);
        assert_eq!(rounded(Account { bytes_per_day: Some(1000), ..account() }), 10.0);
        assert_eq!(days(1, 1, &[], second), 0.0);
        let two = [account(), Account { origin: "https://i".to_owned(), ..account() }];
        assert_eq!((days(864_000, 0, &two, second) * 100.0).round() / 100.0, 1.25);
    }

    #[test]
    fn some_tiles_stand_for_all() {
        let sum = Survey { products: 30, rasters: 301, angles: true, ..Survey::default() };
        let all = scaled(&sum, 100, 3);
        assert_eq!((all.products, all.rasters, all.angles), (1000, 10_033, true));
        assert_eq!(scaled(&Survey::default(), 100, 0).products, 0);
    }
}
