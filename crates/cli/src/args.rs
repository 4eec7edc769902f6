//! Command-line arguments: clap types only. What they mean is worked out in `settings`; what those that are settings mean to
//! people is taken from there, too (`help`).

mod export;
mod help;
mod places;
mod preview;
mod publish;

use std::num::NonZeroUsize;
use std::ops::Not;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand};
use s2ice_fleet::shard::Shard;
use s2ice_store::duration::Span;
use s2ice_store::tile::Recheck;
use serde::Serialize;

pub use self::export::{
    ExportCommand, ExportedArgs, GdalExportArgs, IndexExportArgs, KerchunkArgs, ManifestExportArgs,
};
pub use self::help::command;
pub use self::places::{InputArgs, SourceArgs, StoreArgs};
pub use self::preview::PreviewArgs;
pub use self::publish::PublishArgs;

/// Sentinel-2 archives as Icechunk stores, without copying a pixel.
#[derive(Debug, Parser)]
#[command(name = "s2ice", version, propagate_version = true, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 done, 1 the input or the world is at fault, 2 a mistake in the command line or the \
                  configuration file, 3 stale: source, index or catalogue could not be seen (build, manifest, run). Of diff: 0 the same, 1 different, 2 not compared."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
}

/// Forms of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines to read.
    Text,
    /// A JSON document on each line.
    Json,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Say less: no progress, no summary; errors only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: -v for steps, -vv for requests, -vvv for everything (or set S2ICE_LOG).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print the report as JSON on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// What the log on standard error is for: people, or machines.
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value = "text", env = "S2ICE_LOG_FORMAT")]
    pub log_format: LogFormat,
}

impl Global {
    /// True where bars are drawn, if standard error is a terminal.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && self.log_format == LogFormat::Text
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Index SAFE folders or JPEG 2000 files: where each tile of each raster lies.
    Index(IndexArgs),
    /// Write the references of a tile as Parquet: those that the main tree of a new store would have.
    Manifest(Box<ManifestArgs>),
    /// Build the store of a tile: one Icechunk repository whose chunks are references into the product files.
    Build(Box<BuildArgs>),
    /// Tell what is in a store: times, arrays, references, containers, last commit.
    Info(InfoArgs),
    /// Make a picture of a store: of a date, of the clearest one, or of all as an animation.
    Preview(Box<PreviewArgs>),
    /// Refresh every tile of a configuration file, each apart from the others.
    Run(RunArgs),
    /// Foresee what the first build of a configuration file's tiles takes, and a year of runs: requests, bytes, days.
    Plan(PlanArgs),
    /// Tell how far behind the tiles of a configuration file are, and how their last runs ended.
    Status(StatusArgs),
    /// Move a store's readers back to a state that was published before.
    Rollback(RollbackArgs),
    /// Remove what nobody needs any more: branches of killed runs, old states and history, and their objects.
    Gc(GcArgs),
    /// Tell why a store cannot be written after a host with a wrong clock wrote it, and release it.
    Repair(RepairArgs),
    /// Compare two stores, or two states of one: exit code 0 where no reader can tell them apart, 1 where one can, 2 where
    /// they could not be compared.
    Diff(DiffArgs),
    /// Make stores public: a catalogue that people and programs find them in, and copies of those that lie on this machine.
    Publish(PublishArgs),
    /// Write a store out in forms that other readers know.
    #[command(subcommand)]
    Export(ExportCommand),
    /// Print what a shell needs to complete commands and options.
    #[command(after_help = "For example: s2ice completions bash > /etc/bash_completion.d/s2ice")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write those of all commands to a folder.
    #[command(after_help = "For example: s2ice man | man -l -, or s2ice man /usr/local/share/man/man1")]
    Man {
        /// Folder to write to.
        folder: Option<PathBuf>,
    },
    /// Write the JSON Schemas of reports, configuration file, codec and index.
    #[command(hide = true)]
    Schemas {
        /// Folder to write to.
        folder: PathBuf,
        /// Also write the generated tables of the documentation below this folder.
        #[arg(long)]
        docs: Option<PathBuf>,
        /// Also write the keywords of Python's `build` to this file.
        #[arg(long)]
        python: Option<PathBuf>,
    },
}

/// Which products and rasters. What each option means, its values and its default stand in [`s2ice_store::tile::BuildSettings`].
#[derive(Debug, Clone, Default, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SelectionArgs {
    /// Configuration file (TOML) with options by their long names; the command line wins.
    #[arg(short, long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    #[arg(long)]
    pub tile: Option<String>,
    #[arg(long)]
    pub level: Option<String>,
    #[arg(long, value_name = "KIND")]
    pub source_kind: Option<String>,
    #[arg(long, value_name = "FILE")]
    pub index: Vec<String>,
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    pub index_missing: bool,
    #[arg(long, value_name = "N")]
    pub index_missing_limit: Option<usize>,
    #[arg(long, value_name = "FILE.parquet")]
    pub write_index: Option<PathBuf>,
    #[arg(long, value_name = "WHERE")]
    pub stac: Option<String>,
    #[arg(long, value_name = "ID")]
    pub collection: Option<String>,
    #[arg(long, value_name = "A/B")]
    pub datetime: Option<String>,
    #[arg(long, value_name = "PERCENT")]
    pub max_cloud_cover: Option<f64>,
    #[arg(long, value_name = "GLOB")]
    pub arrays: Vec<String>,
    /// Leave out the sun and viewing angles (/conditions/geometry), for which the whole MTD_TL.xml of every product is
    /// read, some 0.5 MB each, instead of its first kilobytes.
    #[arg(long)]
    #[serde(rename = "angles", skip_serializing_if = "Not::not", serialize_with = "no")]
    pub no_angles: bool,
    #[arg(long)]
    pub resolutions: Option<String>,
    #[arg(long)]
    pub headers: Option<String>,
    #[arg(long, value_name = "PLACE")]
    pub memory: Option<String>,
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    pub dry_run: bool,
}

fn no<S: serde::Serializer>(given: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(!given)
}

/// `s2ice index`.
#[derive(Debug, Args)]
pub struct IndexArgs {
    /// SAFE folders, folders of them, or .jp2 files, relative to the source [default: everything below it].
    pub paths: Vec<String>,
    /// Index to write.
    #[arg(short, long, value_name = "INDEX.parquet")]
    pub output: PathBuf,
    /// Write the four public columns only, and leave the cell of files that carry TLM empty, as the public index does.
    #[arg(long)]
    pub public_style: bool,
    /// Read only files that are new or changed since the index that is there: by size and ETag or modification time. Rows
    /// of files elsewhere stay.
    #[arg(long, visible_alias = "skip-indexed", conflicts_with = "public_style")]
    pub update: bool,
    /// Begin anew; otherwise what an interrupted run has read is taken over.
    #[arg(long)]
    pub no_resume: bool,
    /// Tell which files would be read, read none of them, write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How to reach the product files.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// `s2ice manifest`.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ManifestArgs {
    /// Which products and rasters.
    #[command(flatten)]
    #[serde(flatten)]
    pub selection: SelectionArgs,
    /// Manifest to write.
    #[arg(short, long, value_name = "M.parquet")]
    #[serde(skip)]
    pub output: Option<PathBuf>,
    /// How to reach the product files.
    #[command(flatten)]
    #[serde(flatten)]
    pub source: SourceArgs,
    /// How to reach index, catalogue and memory.
    #[command(flatten)]
    #[serde(flatten)]
    pub inputs: InputArgs,
}

/// `s2ice build`.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BuildArgs {
    /// Which products and rasters.
    #[command(flatten)]
    #[serde(flatten)]
    pub selection: SelectionArgs,
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    #[arg(long)]
    pub checksum: Option<String>,
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub spec: Option<u8>,
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    #[arg(long)]
    pub on_mismatch: Option<String>,
    #[arg(long, value_name = "FACTORS")]
    pub overviews: Option<String>,
    /// How a store that is there already is brought up to date.
    #[command(flatten)]
    #[serde(flatten)]
    pub update: UpdateArgs,
    /// How to reach the product files.
    #[command(flatten)]
    #[serde(flatten)]
    pub source: SourceArgs,
    /// How to reach index, catalogue and memory.
    #[command(flatten)]
    #[serde(flatten)]
    pub inputs: InputArgs,
    /// How to reach the store.
    #[command(flatten)]
    #[serde(flatten)]
    pub store_options: StoreArgs,
}

/// How a store that is there already is brought up to date.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Update options")]
#[serde(rename_all = "kebab-case")]
pub struct UpdateArgs {
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    pub prune: bool,
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub prune_limit: Option<u8>,
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    pub accept_incomplete: bool,
    /// Ask the files of every product again, or of PRODUCT only (repeatable), whatever was known of them.
    #[arg(long, value_name = "PRODUCT", num_args = 0..=1, default_missing_value = "all")]
    pub recheck: Vec<Recheck>,
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    pub full: bool,
    #[arg(long, value_name = "TIME")]
    pub overlap: Option<Span>,
    #[arg(long, value_name = "TIME")]
    pub lock_wait: Option<Span>,
}

/// `s2ice info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Address of the store.
    pub store: String,
    /// How to reach the store.
    #[command(flatten)]
    pub store_options: StoreArgs,
}

/// `s2ice diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Address of the first store.
    pub left: String,
    /// Address of the second store; it may be the first one's.
    pub right: String,
    /// State of the first store: a tag (`published/` may be left out), branch or snapshot id [default: main].
    #[arg(long, value_name = "REF")]
    pub left_at: Option<String>,
    /// State of the second store, named in the same way [default: main].
    #[arg(long, value_name = "REF")]
    pub right_at: Option<String>,
    /// Compare where references lead below their container only: stores of two mirrors can be the same.
    #[arg(long)]
    pub ignore_sources: bool,
    /// Leave out the checksums of references.
    #[arg(long)]
    pub ignore_checksums: bool,
    /// How to reach the stores.
    #[command(flatten)]
    pub store_options: StoreArgs,
}

/// `s2ice rollback`.
#[derive(Debug, Args)]
#[command(
    after_help = "The next build of the store, such as that of a timer, will again make it hold what its inputs \
                        say: change the inputs or stop the timer as well."
)]
pub struct RollbackArgs {
    /// Address of the store, or the configuration file of `s2ice run` for all of its stores.
    pub store: String,
    /// Tag of the state; `published/` may be left out [default: the state published before the present one].
    pub tag: Option<String>,
    /// The state that was the published one at this time, such as 2026-11-20T18:00:00Z.
    #[arg(long, value_name = "TIME", conflicts_with = "tag")]
    pub at: Option<DateTime<Utc>>,
    /// Which stores of a file, and who does it.
    #[command(flatten)]
    pub of_file: OfFileArgs,
    /// List the published states instead.
    #[arg(long, conflicts_with_all = ["tag", "at", "dry_run"])]
    pub list: bool,
    /// Check the state and tell what would happen, move nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How to reach the store.
    #[command(flatten)]
    pub store_options: StoreArgs,
}

/// `s2ice repair`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --apply nothing is written. What main, branches and tags point to never changes, only dates that \
                        lie in the future. Set the clock of the host right first that wrote them."
)]
pub struct RepairArgs {
    /// Address of the store.
    pub store: String,
    /// Release the store; otherwise only tell what is wrong.
    #[arg(long)]
    pub apply: bool,
    /// How to reach the store.
    #[command(flatten)]
    pub store_options: StoreArgs,
}

/// What housekeeping of all stores of a configuration file takes beside.
#[derive(Debug, Args)]
pub struct OfFileArgs {
    /// Only this tile of the file (repeatable).
    #[arg(long)]
    pub tile: Vec<String>,
    /// Let a dask cluster do it: the address of its scheduler, as for `s2ice run`.
    #[arg(long, value_name = "ADDRESS")]
    pub scheduler: Option<String>,
}

/// `s2ice gc`.
#[derive(Debug, Args)]
#[command(
    after_help = "What a branch, a tag of your own or a reader that opened main within the last day may need is never \
                        removed, nor anything younger than a day by the store's own clock. A build may be at work on an \
                        object store meanwhile, not on a local one."
)]
pub struct GcArgs {
    /// Address of the store, or the configuration file of `s2ice run` for all of its stores.
    pub store: String,
    /// Which stores of a file, and who does it.
    #[command(flatten)]
    pub of_file: OfFileArgs,
    /// Published states that stay however old they are: the newest, and the one that main points to.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub keep_published: usize,
    /// Leave everything younger than this, and what main left within it: a number with m, h, d or w; at least a day.
    #[arg(long, value_name = "AGE", default_value = "30d", value_parser = s2ice_fleet::housekeeping::age)]
    pub older_than: chrono::TimeDelta,
    /// Tell what would be removed, change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How to reach the store.
    #[command(flatten)]
    pub store_options: StoreArgs,
}

/// `s2ice plan`.
#[derive(Debug, Args)]
#[command(
    after_help = "Index and catalogue of some tiles are read, the others are taken to be like them. Nothing is asked \
                        of the source."
)]
pub struct PlanArgs {
    /// Configuration file of `s2ice run`.
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
    /// Only this tile of the file (repeatable).
    #[arg(long)]
    pub tile: Vec<String>,
    /// Tiles to read, spread evenly over the file.
    #[arg(long, value_name = "N", default_value = "20")]
    pub sample: NonZeroUsize,
    /// How long a request to the source takes, in milliseconds; together with its connections that tells the days.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub latency_ms: u32,
}

/// `s2ice run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Configuration file (TOML): settings of every tile, the tiles, and how to run them.
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
    /// Only this tile of the file (repeatable).
    #[arg(long)]
    pub tile: Vec<String>,
    /// Tiles at a time [default: as the file says, else 2].
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Let a dask cluster refresh the tiles: the address of its scheduler, such as tcp://10.0.0.5:8786. Needs Python with
    /// s2ice[fleet] here (S2ICE_PYTHON names it, else python3) and s2ice on the workers.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["jobs", "shard", "check"])]
    pub scheduler: Option<String>,
    /// Only this share of the tiles, such as 0/16 for the first of 16: for arrays of jobs. Nothing is published at the end.
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Begin no tile after this time, such as 6h; those in least need are left to the next run [default: as the file says].
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<Span>,
    /// Ask no catalogue for what changed in all tiles, but take what another run kept in this file (`changes` in [run]).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scheduler", "full"])]
    pub changes: Option<PathBuf>,
    /// Ask every catalogue for everything, not only for what changed.
    #[arg(long)]
    pub full: bool,
    /// Remove from the stores what the inputs no longer have.
    #[arg(long)]
    pub prune: bool,
    /// Work everything out, write nothing: no store, no report, no metrics.
    #[arg(long)]
    pub dry_run: bool,
    /// Leave out the tiles that the run before has done, if that was killed or told to stop.
    #[arg(long)]
    pub resume: bool,
    /// Only check the file and print what it comes to.
    #[arg(long, conflicts_with_all = ["jobs", "deadline", "full", "prune", "dry_run", "resume"])]
    pub check: bool,
}

/// `s2ice status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Configuration file (TOML) of `s2ice run`.
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
    /// Only this tile of the file (repeatable).
    #[arg(long)]
    pub tile: Vec<String>,
    /// Tiles whose newest product is older need attention, such as 10d.
    #[arg(long, value_name = "TIME")]
    pub max_lag: Option<Span>,
}
