//! `s2ice plan`: what a first build takes, and a year of runs.

use std::time::Duration;

use s2ice_fleet::config::RunConfig;
use s2ice_fleet::plan::{Account, Cost, PlanReport, plan};
use s2ice_fleet::text;

use super::summarise;
use crate::args::{Global, PlanArgs};
use crate::exit::Failure;
use crate::progress::TileBar;
use crate::settings;

/// Tiles that could not be read and are told of.
const LISTED: usize = 10;

/// Runs the command.
pub async fn run(args: PlanArgs, global: &Global, run: String) -> Result<(), Failure> {
    let config = RunConfig::read(&args.config, &settings::occasion(&run)).map_err(Failure::Usage)?;
    let chosen = super::run::choose(&config, &args.tile, None)?;
    let bar = TileBar::new(chosen.len().min(args.sample.get()), "reading tiles", global.shows_progress());
    let latency = Duration::from_millis(args.latency_ms.into());
    let report = plan(&config, &chosen, args.sample.get(), latency, &|| bar.ended()).await;
    bar.finish();
    summarise(&report, global, render)?;
    match (report.read, report.failed.first_key_value()) {
        (0, Some((tile, reason))) => Err(Failure::Fault(format!("no tile could be read; {tile}: {reason}"))),
        _ => Ok(()),
    }
}

fn render(report: &PlanReport) -> String {
    let number = text::number;
    let survey = &report.survey;
    let rows = [
        ("tiles", format!("{}, of which {} were read", number(report.tiles as u64), number(report.read as u64))),
        ("products", format!("{}, {} of them in no index", number(survey.products), number(survey.unindexed))),
        (
            "rasters",
            format!("{}, {} with their header in the index", number(survey.rasters), number(survey.with_headers)),
        ),
        ("tiles to be walked", number(survey.walked)),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let mut out = format!("{}\n{}\n", report.config, text::table(&rows, &[]));
    let head = ["first build, headers from", "requests", "bytes", "days", "requests later"].map(str::to_owned).to_vec();
    let cost = |cost: &Cost| {
        let from = match cost.headers.as_str() {
            "read" => "every file",
            "sample" => "some files of each product",
            _ => "the index, else the file",
        };
        let later = number(cost.later_requests);
        vec![from.to_owned(), number(cost.requests), text::bytes(cost.bytes), format!("{:.1}", cost.days), later]
    };
    let costs: Vec<Vec<String>> = std::iter::once(head).chain(report.first_build.iter().map(cost)).collect();
    out += &text::table(&costs, &[1, 2, 3, 4]);
    for account in &report.accounts {
        out += &format!("{}\n", limits(account, report.latency_seconds));
    }
    let year = &report.year;
    let rows = [
        ("products", number(year.products)),
        ("to the source", format!("{} requests, {}", number(year.source_requests), text::bytes(year.source_bytes))),
        ("to the catalogue", format!("{} requests at most", number(year.catalogue_requests))),
        ("to the stores", format!("{} requests", number(year.store_requests))),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    out += &format!("\na year, a run a day\n{}", text::table(&rows, &[]));
    for (tile, reason) in report.failed.iter().take(LISTED) {
        out += &format!("{tile} could not be read: {reason}\n");
    }
    if report.failed.len() > LISTED {
        out += &format!("and {} more: see --json\n", number((report.failed.len() - LISTED) as u64));
    }
    out
}

fn limits(account: &Account, latency: f64) -> String {
    let mut limits = Vec::new();
    limits.extend(account.connections.map(|n| format!("{n} connections, {latency} s for a request")));
    limits.extend(account.requests_per_second.map(|rate| format!("{rate} requests per second")));
    limits.extend(account.bytes_per_day.map(|bytes| format!("{} a day", text::bytes(bytes))));
    format!("one account at {}: {}", account.origin, limits.join(", "))
}
