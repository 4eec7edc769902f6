//! `s2ice info`: what is in a store.

use s2ice_store::housekeeping::published_at;
use s2ice_store::report::{InfoEra, InfoReport};

use super::{print, print_json};
use crate::args::{Global, InfoArgs};
use crate::clock;
use crate::exit::Failure;
use s2ice_fleet::text;

/// Published states named, of those there are.
const NEWEST: usize = 3;

/// Runs the command.
pub async fn run(args: InfoArgs, global: &Global) -> Result<(), Failure> {
    let target = super::store(&args.store, &args.store_options).await?;
    // The probe tells the store's time; what is wrong with the place, reading tells as well.
    let (report, _) = futures::join!(s2ice_store::info::info(&target), target.probe());
    let report = report?;
    target.clock(clock::now).warn(target.url());
    if global.json { print_json(&report) } else { print(&render(&report)) }
}

/// What an era differs in, short.
fn summary(era: &InfoEra) -> String {
    match era.differs.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first, more @ ..] => format!("{first}; and {} more", more.len()),
    }
}

fn render(report: &InfoReport) -> String {
    let mut out = format!("Sentinel-2 {} of {} at {}\n", report.level, report.tile, report.store);
    let dash = || "-".to_owned();
    let (first, last) =
        (report.times.first.clone().unwrap_or_else(dash), report.times.last.clone().unwrap_or_else(dash));
    let bytes = text::bytes(report.referenced_bytes);
    let (published, own): (Vec<&String>, Vec<&String>) =
        report.tags.iter().partition(|tag| published_at(tag).is_some());
    let newest: Vec<&str> = published.iter().rev().take(NEWEST).map(|tag| tag.as_str()).collect();
    let run = report.last_commit.run.as_ref().map_or_else(String::new, |run| format!(" by run {run}"));
    let mut rows = vec![
        ("products", text::number(report.products as u64)),
        ("times", format!("{}, {first} to {last}", report.times.count)),
        ("references", format!("{} to {bytes} in the product files", text::number(report.references))),
        ("manifests", text::bytes(report.manifest_bytes)),
        ("main headers", report.headers.clone()),
        (
            "metadata",
            format!(
                "from the {}",
                if report.metadata == "product" { "products' XML" } else { "product names (unverified)" }
            ),
        ),
        ("format", format!("Icechunk spec {}, layout {}, written by {}", report.spec, report.layout, report.writer)),
        (
            "last commit",
            format!(
                "{} at {}{run}: {}",
                report.last_commit.snapshot, report.last_commit.time, report.last_commit.message
            ),
        ),
    ];
    for (name, era) in &report.eras {
        let times = text::count(era.times.count, "time");
        rows.push(("era", format!("{name} at /eras/{name}, {times}: {}", summary(era))));
    }
    if !newest.is_empty() {
        let states = text::count(published.len(), "state");
        rows.push(("published", format!("{states}, the newest {}", newest.join(", "))));
    }
    if !own.is_empty() {
        rows.push(("tags", own.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")));
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    out += &text::table(&rows, &[]);
    out += "\ncontainers\n";
    let containers: Vec<Vec<String>> = report
        .containers
        .iter()
        .map(|c| vec![c.name.clone(), c.url.clone(), c.endpoint.clone().unwrap_or_default()])
        .collect();
    out += &text::table(&containers, &[]);
    out += "\narrays\n";
    let mut arrays =
        vec![["path", "type", "shape", "chunk", "present", "references", "header"].map(str::to_owned).to_vec()];
    arrays.extend(report.arrays.iter().map(|a| {
        vec![
            a.path.clone(),
            a.data_type.clone(),
            text::shape(&a.shape),
            text::shape(&a.chunks),
            a.present.to_string(),
            text::number(a.references),
            a.header.clone(),
        ]
    }));
    out += &text::table(&arrays, &[4, 5]);
    if !report.angles.is_empty() {
        out += "\nangles\n";
        let mut angles = vec![["path", "shape", "present"].map(str::to_owned).to_vec()];
        angles.extend(report.angles.iter().map(|a| vec![a.path.clone(), text::shape(&a.shape), a.present.to_string()]));
        out += &text::table(&angles, &[2]);
    }
    out
}
