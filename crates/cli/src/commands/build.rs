//! `s2ice build`: the store of a tile.

use std::fmt::Write;

use s2ice_store::report::{BuildReport, CatalogueReport, EraReport};
use tracing::Instrument;

use super::summarise;
use crate::args::{BuildArgs, Global};
use crate::exit::Failure;
use crate::progress::Bars;
use crate::settings;
use s2ice_fleet::text;
use s2ice_fleet::told;

/// How many entries of a list of products the summary shows; the JSON report has all.
const SHOWN: usize = 10;

/// Runs the command.
pub async fn run(args: BuildArgs, global: &Global, run: String) -> Result<(), Failure> {
    let settings = settings::build(&args, args.selection.config.as_deref(), &run)?;
    let bars = Bars::new(global.shows_progress());
    let span = told::tile(&settings.tile, &settings.level);
    let report = s2ice_store::tile::build(&settings, &bars).instrument(span).await?;
    summarise(&report, global, render)?;
    Failure::unless_seen(&report.unseen)
}

/// What changed, in words.
fn changes(report: &BuildReport) -> String {
    let changes = &report.changes;
    let mut out = match &report.committed {
        Some(committed) if committed.created => {
            format!("new store of {}", text::count(report.products.stored, "product"))
        }
        None if !report.dry_run => "none, the store holds all of it already".to_owned(),
        _ => changes.sentence(),
    };
    if changes.kept > 0 {
        let stay = text::count(changes.kept, "product");
        let _ = write!(out, "; {stay} not among the inputs this time, kept");
    }
    out
}

/// How the catalogue was asked, in words.
fn searched(catalogue: &CatalogueReport) -> String {
    let mut out = match &catalogue.since {
        Some(since) => format!("asked for what changed since {since}"),
        None => "read in full".to_owned(),
    };
    if let Some(watermark) = &catalogue.watermark {
        let _ = write!(out, ", dealt with up to {watermark}");
    }
    if catalogue.pending > 0 {
        let _ = write!(out, ", {} to be tried again", text::count(catalogue.pending, "product"));
    }
    out
}

/// An era, in words.
fn render_era(era: &EraReport) -> String {
    let mut out = format!("era {0} at /eras/{0}\n", era.era);
    let times = match (&era.times.first, &era.times.last) {
        (Some(first), Some(last)) => format!("{}, {first} to {last}", era.times.count),
        _ => "none any more".to_owned(),
    };
    let changes = if era.changes.is_empty() { "none".to_owned() } else { era.changes.sentence() };
    let mut rows = vec![
        ("times", times),
        ("references", format!("{} to {}", text::number(era.references), text::bytes(era.referenced_bytes))),
        ("changes", changes),
    ];
    rows.extend(era.differs.iter().take(SHOWN).map(|what| ("differs", what.clone())));
    if era.differs.len() > SHOWN {
        rows.push(("differs", format!("... and {} more (see --json)", era.differs.len() - SHOWN)));
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    out += &text::table(&rows, &[]);
    out
}

/// What is summarised.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Store,
    Manifest,
}

/// The summary of a store for people.
fn render(report: &BuildReport) -> String {
    summary(report, Made::Store)
}

/// The summary of a manifest for people.
pub fn render_manifest(report: &BuildReport) -> String {
    summary(report, Made::Manifest)
}

fn summary(report: &BuildReport, made: Made) -> String {
    let mut out = String::new();
    let (what, verb) = match (made, report.dry_run) {
        (Made::Store, false) => ("the store", "holds"),
        (Made::Store, true) => ("the store", "would hold"),
        (Made::Manifest, false) => ("the manifest", "has the references of"),
        (Made::Manifest, true) => ("the manifest", "would have the references of"),
    };
    let target = report.target.as_deref().unwrap_or(what);
    let _ = writeln!(out, "{target} {verb} Sentinel-2 {} of {}", report.level, report.tile);
    let times = match (&report.times.first, &report.times.last) {
        (Some(first), Some(last)) => format!("{}, {first} to {last}", report.times.count),
        _ => "none".to_owned(),
    };
    let products = &report.products;
    let mut rows = vec![
        ("times", times),
        ("references", format!("{} to {}", text::number(report.references), text::bytes(report.referenced_bytes))),
        (
            "products",
            format!(
                "{} in the index, {} matched, {} {}",
                products.in_index,
                products.matched,
                products.stored,
                if made == Made::Store { "stored" } else { "taken" }
            ),
        ),
        (
            "source",
            format!(
                "{} requests, {} received, {} known from earlier runs",
                text::number(report.source_use.requests),
                text::bytes(report.source_use.bytes),
                text::count(usize::try_from(report.source_use.from_cache).unwrap_or(usize::MAX), "file")
            ),
        ),
    ];
    if report.index.duplicates > 0 {
        rows.push((
            "duplicates",
            format!(
                "{} of the index repeat another, taken once",
                text::count(usize::try_from(report.index.duplicates).unwrap_or(usize::MAX), "row")
            ),
        ));
    }
    if let Some(indexed) = &report.indexed {
        let mut text = format!(
            "{} of {}: {} by TLM, {} by walking, {} requests",
            text::count(indexed.rasters, "raster"),
            text::count(indexed.products, "product"),
            indexed.native,
            indexed.walked,
            text::number(indexed.requests)
        );
        if let Some(rows) = indexed.index_rows {
            let _ = write!(text, "; the index written has {} rows", text::number(rows));
        }
        rows.push(("indexed", text));
    }
    if made == Made::Store {
        rows.push(("changes", changes(report)));
    }
    if let Some(catalogue) = &report.catalogue {
        rows.push(("catalogue", searched(catalogue)));
    }
    if let Some(gate) = &report.gate {
        let references = text::number(gate.references_compared);
        rows.push(("checked", format!("{}, {references} references", text::count(gate.nodes, "node"))));
    }
    if let Some(committed) = &report.committed {
        let commits = text::count(usize::try_from(committed.commits).unwrap_or(usize::MAX), "commit");
        let moved = match committed.references_moved {
            0 => String::new(),
            moved => format!(", {} moved", text::number(moved)),
        };
        let written = text::number(committed.references_written);
        rows.push(("written", format!("{written} references{moved} in {commits}")));
        let tag = report.published.as_deref().unwrap_or("not tagged yet");
        rows.push(("snapshot", format!("{} ({tag})", committed.snapshot)));
    }
    if !report.cleaned.is_empty() {
        rows.push(("cleaned up", format!("{} of runs that were killed", text::count(report.cleaned.len(), "branch"))));
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    out += &text::table(&rows, &[]);

    let mut arrays = vec![["array", "shape", "present", "references", "header"].map(str::to_owned).to_vec()];
    arrays.extend(report.arrays.iter().map(|a| {
        vec![a.path.clone(), text::shape(&a.shape), a.present.to_string(), text::number(a.references), a.header.clone()]
    }));
    let _ = write!(out, "\n{}", text::table(&arrays, &[2, 3]));

    for era in &report.eras {
        let _ = write!(out, "\n{}", render_era(era));
    }

    let mut list = |title: String, entries: Vec<String>| {
        if entries.is_empty() {
            return;
        }
        let _ = writeln!(out, "\n{title}");
        for entry in entries.iter().take(SHOWN) {
            let _ = writeln!(out, "  {entry}");
        }
        if entries.len() > SHOWN {
            let _ = writeln!(out, "  ... and {} more (see --json)", entries.len() - SHOWN);
        }
    };
    let unmatched = |entries: &[s2ice_store::report::Unmatched]| -> Vec<String> {
        entries.iter().map(|u| format!("{}: {}", u.product, u.reason)).collect()
    };
    let refused: Vec<String> = report
        .refused
        .iter()
        .map(|r| match &r.raster {
            Some(raster) => format!("{} {raster}: {}", r.product, r.reason),
            None => format!("{}: {}", r.product, r.reason),
        })
        .collect();
    list(format!("left out: {}", refused.len()), refused);
    let rows = &report.index.rejected_rows;
    let rejected = rows.iter().map(|r| format!("{}, row {}: {}", r.file, r.row, r.reason)).collect();
    list(format!("index rows not understood: {}", report.index.rejected), rejected);
    if let Some(stac) = &report.stac {
        list(format!("STAC items not understood: {}", stac.refused.len()), stac.refused.clone());
        list("the answer of the catalogue is incomplete".to_owned(), stac.incomplete.clone());
        list("notes on the catalogue".to_owned(), stac.notes.clone());
    }
    list(
        format!("in the catalogue but not in the index: {}", products.without_index.len()),
        unmatched(&products.without_index),
    );
    list(
        format!("in the index but not taken: {}", products.without_product.len()),
        unmatched(&products.without_product),
    );
    if products.inferred > 0 {
        let inferred = text::count(products.inferred, "product");
        list(
            format!("main headers of some files inferred from others of the same product: {inferred}"),
            vec!["the next runs read them, a share in each; --headers read reads all of them now".to_owned()],
        );
    }
    if products.metadata_from_name > 0 {
        list(
            format!(
                "sensing time and offset derived from the name (unverified): {}",
                text::count(products.metadata_from_name, "product")
            ),
            vec!["use --headers read to take them from the products' own XML".to_owned()],
        );
    }
    out
}
