//! `s2ice export manifest`.

use s2ice_store::export;

use super::{open, report, tell};
use crate::args::{Global, ManifestExportArgs};
use crate::exit::Failure;
use crate::progress::Bars;

/// Writer that the table names.
const WRITER: &str = concat!("s2ice ", env!("CARGO_PKG_VERSION"));

/// Runs the command.
pub async fn run(args: ManifestExportArgs, global: &Global, run: String) -> Result<(), Failure> {
    let (cube, selection) = open(&args.exported).await?;
    let bars = Bars::new(global.shows_progress());
    let references = export::manifest::write(&cube, &selection, &args.output, WRITER, &bars).await?;
    tell(&report(&cube, "manifest", args.output.display().to_string(), references, run), global)
}
