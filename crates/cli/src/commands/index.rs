//! `s2ice index`: where each tile of each raster lies.

use s2ice_manifest::source::index_run::{IndexRun, run_index};
use s2ice_manifest::source::indexer::{self, IndexOptions, IndexProgress};
use s2ice_manifest::source::location::{Source, SourceUrl};
use s2ice_manifest::source::mirror;
use s2ice_manifest::source::safe_tree::LeftOut;
use s2ice_store::progress::{Phase, Progress};
use s2ice_store::report::REPORT_VERSION;
use schemars::JsonSchema;
use serde::Serialize;

use super::summarise;
use crate::args::{Global, IndexArgs};
use crate::exit::Failure;
use crate::progress::Bars;
use crate::settings;
use s2ice_fleet::text;

/// How many names of a list the summary shows.
const SHOWN: usize = 10;

/// Report of `s2ice index`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IndexReport {
    /// Always `s2ice.index`.
    kind: String,
    /// Version of this report.
    version: u32,
    /// Name of the run.
    run: String,
    /// Prefix of the product files.
    source: String,
    /// The index written.
    output: String,
    /// True where nothing was written.
    dry_run: bool,
    /// What was indexed and what was not.
    #[serde(flatten)]
    found: indexer::IndexReport,
}

/// Draws the indexer's progress.
struct Watched<'a>(&'a Bars);

impl IndexProgress for Watched<'_> {
    fn found(&self, files: usize) {
        self.0.begin(Phase::Files, Some(files as u64));
    }
    fn file_done(&self, _: &str) {
        self.0.advance(1);
    }
}

/// Runs the command.
pub async fn run(args: IndexArgs, global: &Global, name: String) -> Result<(), Failure> {
    let url = args.source.source.as_deref().ok_or_else(|| {
        Failure::usage("--source is missing: name the folder or bucket in which the product folders lie")
    })?;
    let mut options = settings::options("source", &args.source)?;
    let url = SourceUrl::parse(&mirror::address(url, &mut options)).map_err(Failure::usage)?;
    let files_at_once = options.at_once();
    let source = Source::open(&url, &options)?;
    let paths = if args.paths.is_empty() { vec![String::new()] } else { args.paths };
    let bars = Bars::new(global.shows_progress());
    let options = IndexOptions { public_style: args.public_style, files_at_once, ..IndexOptions::default() };
    let run = IndexRun {
        paths,
        output: args.output,
        options,
        resume: !args.no_resume,
        update: args.update,
        dry_run: args.dry_run,
    };
    let indexed = run_index(&source, &run, &Watched(&bars)).await;
    bars.end();
    let found = indexed.map_err(Failure::fault)?;
    if found.indexed == 0 && !run.dry_run {
        let first = |what: &str, list: &[LeftOut]| {
            list.first().map(|first| format!("; {} {what}, the first: {}: {}", list.len(), first.path, first.reason))
        };
        let why = first("refused", &found.refused).or_else(|| first("skipped", &found.skipped)).unwrap_or_default();
        return Err(Failure::fault(format!("no raster below {url} can be indexed{why}")));
    }
    let report = IndexReport {
        kind: "s2ice.index".to_owned(),
        version: REPORT_VERSION,
        run: name,
        source: url.prefix(),
        output: run.output.display().to_string(),
        dry_run: run.dry_run,
        found,
    };
    summarise(&report, global, render)
}

fn render(report: &IndexReport) -> String {
    let found = &report.found;
    if report.dry_run {
        return would_read(report);
    }
    let mut rows = vec![
        ("rasters", format!("{} of {}", text::number(found.indexed), text::count(count(found.products), "product"))),
        ("tile lengths", format!("{} from TLM, {} by walking the tile-parts", found.with_tlm, found.walked)),
        ("tiles", format!("{}, {} proven to be nodata", text::number(found.tiles), text::number(found.nodata_tiles))),
        ("source", format!("{} requests, {} received", text::number(found.requests), text::bytes(found.bytes))),
    ];
    if found.taken_over > 0 {
        rows.push(("taken over", format!("{} that an interrupted run had read", text::number(found.taken_over))));
    }
    if found.kept + found.gone > 0 {
        let (kept, gone) = (text::number(found.kept), text::number(found.gone));
        rows.push(("rows before", format!("{kept} kept, {gone} left out, their files are gone")));
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let mut out = format!("{} indexes {}\n{}", report.output, report.source, text::table(&rows, &[]));
    for (title, list) in [("refused", &found.refused), ("not in the layout", &found.skipped)] {
        if list.is_empty() {
            continue;
        }
        out += &format!("\n{title}: {}\n", list.len());
        for entry in list.iter().take(SHOWN) {
            out += &format!("  {}: {}\n", entry.path, entry.reason);
        }
        if list.len() > SHOWN {
            out += &format!("  ... and {} more (see --json)\n", list.len() - SHOWN);
        }
    }
    out
}

fn would_read(report: &IndexReport) -> String {
    let found = &report.found;
    let mut out = format!(
        "{} would index {}\n{} to read, {} read by an interrupted run, {} unchanged since the index, {} gone\n",
        report.output,
        report.source,
        text::count(found.would_read.len(), "file"),
        text::number(found.taken_over),
        text::number(found.kept),
        text::number(found.gone)
    );
    for path in found.would_read.iter().take(SHOWN) {
        out += &format!("  {path}\n");
    }
    if found.would_read.len() > SHOWN {
        out += &format!("  ... and {} more (see --json)\n", found.would_read.len() - SHOWN);
    }
    out
}

fn count(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
