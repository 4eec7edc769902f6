//! `s2ice status`: how far behind the tiles of a configuration file are.

use std::fmt::Write;
use std::ops::Not;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use s2ice_store::duration::Span;
use s2ice_store::info::info;
use s2ice_store::report::{InfoReport, REPORT_VERSION};
use s2ice_store::runs::{LastRun, read_last_run};
use schemars::JsonSchema;
use serde::Serialize;

use super::run::choose;
use super::{print, print_json};
use crate::args::{Global, StatusArgs};
use crate::exit::Failure;
use crate::{clock, settings};
use s2ice_fleet::config::{RunConfig, TileEntry};
use s2ice_fleet::memory::place;
use s2ice_fleet::text;

/// Tiles that are listed one by one.
const LISTED: usize = 50;

/// Stores read at a time.
const READ_AT_ONCE: usize = 8;

/// How long reading a store's metadata may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Report of `s2ice status`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusReport {
    /// Always `s2ice.status`.
    kind: &'static str,
    /// Version of this report.
    version: u32,
    /// The configuration file.
    config: String,
    /// When it was read, RFC 3339: what lags are counted from.
    time: String,
    /// The tiles, in the order of the file.
    tiles: Vec<TileStatus>,
}

/// What can be said of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It was read.
    Ok,
    /// There is none.
    NoStore,
    /// It could not be read.
    Unreadable,
}

/// One tile.
#[derive(Debug, Serialize, JsonSchema)]
struct TileStatus {
    /// MGRS tile.
    tile: String,
    /// Processing level.
    level: String,
    /// Address of the store.
    store: String,
    /// What can be said of the store.
    state: State,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What readers of the store see.
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<Published>,
    /// Seconds since the sensing time of the newest product.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_seconds: Option<u64>,
    /// True where that is more than was asked for.
    #[serde(skip_serializing_if = "Not::not")]
    lags: bool,
    /// Seconds since a run last succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    success_age_seconds: Option<u64>,
    /// What the last run left; absent where `s2ice run` never refreshed the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<LastRun>,
}

/// The state of branch `main`.
#[derive(Debug, Serialize, JsonSchema)]
struct Published {
    /// Snapshot.
    snapshot: String,
    /// When it was made, RFC 3339.
    time: String,
    /// Newest tag of a published state.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// Products, those of eras included.
    products: u64,
    /// Names of its eras.
    eras: Vec<String>,
    /// Sensing time of the newest, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_product: Option<String>,
    /// References.
    references: u64,
}

impl TileStatus {
    /// True where its last run was no success.
    fn has_failed(&self) -> bool {
        self.last_run.as_ref().is_some_and(|last| !last.is_well())
    }

    /// True where nobody need look at the tile.
    fn is_well(&self) -> bool {
        self.state == State::Ok && !self.lags && !self.has_failed()
    }
}

/// Runs the command.
pub async fn run(args: StatusArgs, global: &Global) -> Result<(), Failure> {
    let config = RunConfig::read(&args.config, &settings::occasion("status")).map_err(Failure::Usage)?;
    let chosen = choose(&config, &args.tile, None)?;
    let now = clock::now();
    let tiles = stream::iter(chosen.iter().filter_map(|number| config.tiles.get(*number)))
        .map(|entry| status(entry, now, args.max_lag))
        .buffered(READ_AT_ONCE)
        .collect()
        .await;
    let report = StatusReport {
        kind: "s2ice.status",
        version: REPORT_VERSION,
        config: config.path.display().to_string(),
        time: clock::text(now),
        tiles,
    };
    if global.json {
        print_json(&report)?;
    } else if !global.quiet {
        print(&render(&report, now, global.verbose > 0))?;
    }
    let unwell = report.tiles.iter().filter(|tile| !tile.is_well()).count();
    if unwell == 0 {
        return Ok(());
    }
    let verb = if unwell == 1 { "needs" } else { "need" };
    Err(Failure::Fault(format!("{unwell} of {} {verb} attention", text::count(report.tiles.len(), "tile"))))
}

async fn status(entry: &TileEntry, now: DateTime<Utc>, max_lag: Option<Span>) -> TileStatus {
    let mut status = TileStatus {
        tile: entry.settings.tile.to_string(),
        level: entry.settings.level.to_string(),
        store: entry.store.clone(),
        state: State::Unreadable,
        error: None,
        published: None,
        lag_seconds: None,
        lags: false,
        success_age_seconds: None,
        last_run: None,
    };
    let age = |time: DateTime<Utc>| u64::try_from((now - time).num_seconds()).unwrap_or_default();
    match tokio::time::timeout(PATIENCE, read(entry)).await {
        Err(_) => status.error = Some("no answer in time".to_owned()),
        Ok(Ok((found, last))) => {
            status.state = State::Ok;
            let wanted = entry.name();
            let is = format!("{} {}", found.tile, found.level);
            if is != wanted {
                status.state = State::Unreadable;
                status.error = Some(format!("the store is that of {is}, not of {wanted}"));
            }
            let newest = newest(&found).and_then(|time| time.parse().ok());
            status.lag_seconds = newest.map(age);
            // A store without products lags behind everything.
            status.lags = max_lag.is_some_and(|most| status.lag_seconds.is_none_or(|lag| lag > most.0.as_secs()));
            status.published = Some(published(found));
            match last {
                Ok(last) => {
                    status.success_age_seconds = last.as_ref().and_then(|last| last.last_success).map(age);
                    status.last_run = last;
                }
                Err(error) => {
                    status.state = State::Unreadable;
                    status.error = Some(error.to_string());
                }
            }
        }
        Ok(Err(error)) => {
            if matches!(error, s2ice_store::Error::NoStore { .. }) {
                status.state = State::NoStore;
            }
            status.error = Some(error.to_string());
        }
    }
    status
}

/// The store, and what the last run left beside it.
async fn read(entry: &TileEntry) -> s2ice_store::Result<(InfoReport, s2ice_store::Result<Option<LastRun>>)> {
    let Some(target) = place(entry).await? else {
        return Err(s2ice_store::Error::NoStore { url: entry.store.clone() });
    };
    let found = info(&target).await?;
    target.clock(clock::now).warn(target.url());
    Ok((found, read_last_run(&target).await))
}

/// The newest time of all trees.
fn newest(found: &InfoReport) -> Option<String> {
    let times = std::iter::once(&found.times).chain(found.eras.values().map(|era| &era.times));
    times.filter_map(|times| times.last.clone()).max()
}

fn published(found: InfoReport) -> Published {
    Published {
        newest_product: newest(&found),
        tag: found.published,
        snapshot: found.last_commit.snapshot,
        time: found.last_commit.time,
        products: found.products as u64,
        eras: found.eras.into_keys().map(String::from).collect(),
        references: found.references,
    }
}

fn render(report: &StatusReport, now: DateTime<Utc>, verbose: bool) -> String {
    let head = [
        "tile",
        "",
        "products",
        "newest product",
        "lag",
        "last run",
        "outcome",
        "succeeded",
        "missing",
        "catalogue until",
        "published",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let dash = || "-".to_owned();
    let ago = |time: Option<DateTime<Utc>>| time.map_or_else(dash, |time| format!("{} ago", length(now - time)));
    // Of a fleet, those that somebody has to look at.
    let is_fleet = report.tiles.len() > LISTED;
    let is_shown = |tile: &&TileStatus| !is_fleet || !tile.is_well();
    for tile in report.tiles.iter().filter(is_shown).take(LISTED) {
        let mut row = vec![tile.tile.clone(), tile.level.clone()];
        let (last, published) = (tile.last_run.as_ref(), tile.published.as_ref());
        let Some(published) = published else {
            row.push(if tile.state == State::NoStore { "no store" } else { "unreadable" }.to_owned());
            rows.push(row);
            continue;
        };
        let lag = tile.lag_seconds.and_then(|lag| i64::try_from(lag).ok()).map(chrono::TimeDelta::seconds);
        let eras = match published.eras.len() {
            0 => String::new(),
            several => format!(" ({})", text::count(several, "era")),
        };
        row.push(format!("{}{eras}", text::number(published.products)));
        row.push(minutes(published.newest_product.as_deref()));
        row.push(lag.map_or_else(dash, length));
        row.push(ago(last.map(|last| last.ended)));
        row.push(last.map_or_else(dash, |last| last.outcome.name().to_owned()));
        row.push(ago(last.and_then(|last| last.last_success)));
        row.push(last.map_or_else(dash, |last| text::number(last.missing_index_count)));
        row.push(minutes(last.and_then(|last| last.watermark.as_deref())));
        row.push(published.tag.as_ref().map_or_else(|| minutes(Some(&published.time)), Clone::clone));
        rows.push(row);
    }
    let mut out = if is_fleet { sums(report) } else { String::new() };
    if rows.len() > 1 {
        out += &text::table(&rows, &[4, 8]);
    }
    let mut list = |title: &str, count: u64, entries: Vec<String>| {
        if !entries.is_empty() {
            let _ = writeln!(out, "\n{title}: {}", text::number(count));
            let more = entries.len().saturating_sub(LISTED);
            for entry in entries.into_iter().take(LISTED) {
                let _ = writeln!(out, "  {entry}");
            }
            if more > 0 {
                let _ = writeln!(out, "  ... and {} more: see --json", text::number(more as u64));
            }
        }
    };
    let name = |tile: &TileStatus, sentence: &str| format!("{} {}: {sentence}", tile.tile, tile.level);
    let unread = report.tiles.iter().filter_map(|tile| Some(name(tile, tile.error.as_deref()?)));
    let unread: Vec<String> = unread.collect();
    list("no readable store", unread.len() as u64, unread);
    let failed =
        report.tiles.iter().filter(|tile| tile.error.is_none() && tile.has_failed()).filter_map(|tile| {
            Some(name(tile, tile.last_run.as_ref()?.error.as_deref().unwrap_or("no reason was left")))
        });
    let failed: Vec<String> = failed.collect();
    list("last run without success", failed.len() as u64, failed);
    let lagging = report.tiles.iter().filter(|tile| tile.lags).map(|tile| {
        let newest = tile.published.as_ref().and_then(|published| published.newest_product.as_deref());
        name(
            tile,
            &newest.map_or_else(|| "it has no product".to_owned(), |_| format!("newest product {}", minutes(newest))),
        )
    });
    let lagging: Vec<String> = lagging.collect();
    list("lagging", lagging.len() as u64, lagging);
    for last in report.tiles.iter().filter_map(|tile| tile.last_run.as_ref()).filter(|_| verbose) {
        let mut names = last.missing_index_products.clone();
        let more = last.missing_index_count.saturating_sub(names.len() as u64);
        if more > 0 {
            names.push(format!("... and {} more", text::number(more)));
        }
        let title = format!("{} {}, in the catalogue but not in the index", last.tile, last.level);
        list(&title, last.missing_index_count, names);
    }
    out
}

/// What a fleet comes to: how many are well, and how old the newest products are.
fn sums(report: &StatusReport) -> String {
    let count = |of: fn(&&TileStatus) -> bool| text::number(report.tiles.iter().filter(of).count() as u64);
    let mut lags: Vec<u64> = report.tiles.iter().filter_map(|tile| tile.lag_seconds).collect();
    lags.sort_unstable();
    let lag = |part: usize| {
        let place = lags.get((lags.len() * part / 100).min(lags.len().saturating_sub(1)));
        let seconds = place.and_then(|seconds| i64::try_from(*seconds).ok());
        seconds.map_or_else(|| "-".to_owned(), |seconds| length(chrono::TimeDelta::seconds(seconds)))
    };
    let products: u64 = report.tiles.iter().filter_map(|tile| tile.published.as_ref()).map(|p| p.products).sum();
    let rows = [
        ("tiles", text::number(report.tiles.len() as u64)),
        ("well", count(|tile| tile.is_well())),
        ("without a store", count(|tile| tile.state == State::NoStore)),
        ("unreadable", count(|tile| tile.state == State::Unreadable)),
        ("last run without success", count(|tile| tile.has_failed())),
        ("lagging", count(|tile| tile.lags)),
        ("products", text::number(products)),
        ("lag, median / 95 % / most", format!("{} / {} / {}", lag(50), lag(95), lag(100))),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    text::table(&rows, &[]) + "\n"
}

/// RFC 3339 to the minute.
fn minutes(time: Option<&str>) -> String {
    let parsed = time.and_then(|time| time.parse::<DateTime<Utc>>().ok());
    parsed.map_or_else(|| "-".to_owned(), |time| time.format("%Y-%m-%d %H:%M").to_string())
}

/// A length of time to its first unit of which there are two.
fn length(time: chrono::TimeDelta) -> String {
    let seconds = time.num_seconds().max(0);
    for (name, factor) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds >= 2 * factor {
            return format!("{}{name}", seconds / factor);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use s2ice_store::runs::LastOutcome;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-06-01T12:00:00Z".parse().unwrap()
    }

    fn tile(name: &str, last: Option<LastRun>) -> TileStatus {
        TileStatus {
            tile: name.to_owned(),
            level: "L2A".to_owned(),
            store: format!("s3://stores/{name}"),
            state: State::Ok,
            error: None,
            published: Some(Published {
                snapshot: "ABC".to_owned(),
                time: "2026-06-01T04:00:07Z".to_owned(),
                tag: last.as_ref().map(|_| "published/2026-06-01T04:00:08Z".to_owned()),
                products: 1400,
                eras: Vec::new(),
                newest_product: Some("2026-05-30T10:08:33.598Z".to_owned()),
                references: 9_000_000,
            }),
            lag_seconds: Some(180_000),
            lags: false,
            success_age_seconds: Some(28_800),
            last_run: last,
        }
    }

    fn last(outcome: LastOutcome) -> LastRun {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        LastRun {
            outcome,
            completed: Some(outcome),
            error: (outcome == LastOutcome::Failed).then(|| "cannot connect to read s3://eodata".to_owned()),
            last_success: Some(time("2026-05-28T04:00:09Z")),
            missing_index_products: vec!["S2A_MSIL2A_X".to_owned()],
            missing_index_count: 102,
            watermark: Some("2026-05-31T22:00:00.000Z".to_owned()),
            ..LastRun::new("1", "33TVN", "L2A", time("2026-06-01T03:59:00Z"), time("2026-06-01T11:59:10Z"))
        }
    }

    #[test]
    fn tiles_are_told_in_a_table() {
        let missing = |state, error: &str| TileStatus {
            state,
            error: Some(error.to_owned()),
            published: None,
            ..tile("33UVP", None)
        };
        let report = StatusReport {
            kind: "s2ice.status",
            version: 1,
            config: "/etc/s2ice.toml".to_owned(),
            time: clock::text(now()),
            tiles: vec![
                tile("33TVN", Some(last(LastOutcome::Unchanged))),
                tile("33TWN", Some(last(LastOutcome::Failed))),
                tile("33TXN", None),
                missing(State::NoStore, "there is no store at s3://stores/33UVP"),
                missing(State::Unreadable, "access to s3://stores/33UVP was refused"),
            ],
        };
        let well: Vec<bool> = report.tiles.iter().map(TileStatus::is_well).collect();
        assert_eq!(well, [true, false, true, false, false]);
        insta::assert_snapshot!(render(&report, now(), true));
        assert!(!render(&report, now(), false).contains("S2A_MSIL2A_X"));
    }

    #[test]
    fn lengths_are_rounded_down() {
        let told: Vec<String> =
            [-5, 0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(|s| length(chrono::TimeDelta::seconds(s))).to_vec();
        assert_eq!(told, ["0s", "0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
    }
}
