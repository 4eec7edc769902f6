//! `s2ice export index`.

use s2ice_store::export;

use super::{ExportReport, open, report, tell};
use crate::args::{Global, IndexExportArgs};
use crate::exit::Failure;
use crate::progress::Bars;

/// Runs the command.
pub async fn run(args: IndexExportArgs, global: &Global, run: String) -> Result<(), Failure> {
    let (cube, selection) = open(&args.exported).await?;
    let bars = Bars::new(global.shows_progress());
    let container = args.container.as_deref();
    let written = export::index::write(&cube, &selection, container, &args.output, &bars).await?;
    let told = report(&cube, "index", args.output.display().to_string(), written.references, run);
    tell(&ExportReport { rows: Some(written.rows), left_out: written.left_out, ..told }, global)
}
