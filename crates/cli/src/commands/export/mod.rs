//! `s2ice export`: a store written out in forms that other readers know.

mod manifest;

use s2ice_store::export::{Cube, Selection};
use s2ice_store::report::REPORT_VERSION;
use schemars::JsonSchema;
use serde::Serialize;

use super::{store, summarise};
use crate::args::{ExportCommand, ExportedArgs, Global};
use crate::exit::Failure;
use crate::text;

/// Report of `s2ice export`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ExportReport {
    /// Always `s2ice.export`.
    kind: String,
    /// Version of this report.
    version: u32,
    /// Name of the run.
    run: String,
    /// Form that was written, such as `manifest`.
    form: String,
    /// Address of the store.
    store: String,
    /// Snapshot that was written out.
    snapshot: String,
    /// What was written.
    output: String,
    /// References written.
    references: u64,
}

/// Runs the command.
pub async fn run(command: ExportCommand, global: &Global, run: String) -> Result<(), Failure> {
    match command {
        ExportCommand::Manifest(args) => manifest::run(args, global, run).await,
    }
}

/// Opens what is to be written out.
async fn open(args: &ExportedArgs) -> Result<(Cube, Selection), Failure> {
    let interval = args.datetime.as_deref().map(str::parse).transpose();
    let datetime = interval.map_err(|error| Failure::usage(format!("--datetime: {error}")))?;
    let target = store(&args.store, &args.store_options).await?;
    let cube = Cube::open(&target, args.at.as_deref()).await?;
    Ok((cube, Selection { arrays: args.arrays.clone(), datetime }))
}

/// Tells what was written.
fn tell(cube: &Cube, form: &str, output: String, references: u64, run: String, global: &Global) -> Result<(), Failure> {
    let report = ExportReport {
        kind: "s2ice.export".to_owned(),
        version: REPORT_VERSION,
        run,
        form: form.to_owned(),
        store: cube.url.clone(),
        snapshot: cube.state.snapshot.to_string(),
        output,
        references,
    };
    summarise(&report, global, render)
}

fn render(report: &ExportReport) -> String {
    let references = text::number(report.references);
    format!("{}: {references} references of {}, state {}\n", report.output, report.store, report.snapshot)
}
