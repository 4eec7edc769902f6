//! `s2ice manifest`: the references that the main tree of a new store would have, as Parquet.

use tracing::Instrument;

use super::summarise;
use crate::args::{Global, ManifestArgs};
use crate::exit::Failure;
use crate::progress::Bars;
use crate::settings;
use s2ice_fleet::told;

/// Runs the command.
pub async fn run(args: ManifestArgs, global: &Global, run: String) -> Result<(), Failure> {
    let settings = settings::build(&args, args.selection.config.as_deref(), &run)?;
    if args.output.is_none() && !settings.dry_run {
        return Err(Failure::usage("--output is missing: name the Parquet file to write, or use --dry-run"));
    }
    let bars = Bars::new(global.shows_progress());
    let span = told::tile(&settings.tile, &settings.level);
    let report = s2ice_store::tile::manifest(&settings, args.output.as_deref(), &bars).instrument(span).await?;
    summarise(&report, global, super::build::render_manifest)?;
    Failure::unless_seen(&report.unseen)
}
