//! Command-line arguments: clap types only. What they mean is worked out in `settings`.

mod choices;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use s2ice_manifest::source::mirror::Layout;
use s2ice_store::tile::Recheck;

pub use self::choices::{ChecksumArg, HeadersArg, OnMismatchArg, ResolutionsArg};
use crate::duration::Span;

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
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Index SAFE folders or JPEG 2000 files: where each tile of each raster lies.
    Index(IndexArgs),
    /// Write the references of a tile as Parquet: those that the main tree of a new store would have.
    Manifest(ManifestArgs),
    /// Build the store of a tile: one Icechunk repository whose chunks are references into the product files.
    Build(BuildArgs),
    /// Tell what is in a store: times, arrays, references, containers, last commit.
    Info(InfoArgs),
    /// Refresh every tile of a configuration file, each apart from the others.
    Run(RunArgs),
    /// Tell how far behind the tiles of a configuration file are, and how their last runs ended.
    Status(StatusArgs),
    /// Move a store's readers back to a state that was published before.
    Rollback(RollbackArgs),
    /// Remove what nobody needs any more: branches of killed runs, old states and history, and their objects.
    Gc(GcArgs),
    /// Compare two stores, or two states of one: exit code 0 where no reader can tell them apart, 1 where one can, 2 where
    /// they could not be compared.
    Diff(DiffArgs),
    /// Write the JSON Schemas of reports, configuration file, codec and index.
    #[command(hide = true)]
    Schemas {
        /// Folder to write to.
        folder: PathBuf,
        /// Also write the generated tables of the documentation below this folder.
        #[arg(long)]
        docs: Option<PathBuf>,
    },
}

/// How to reach the product files.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Source options")]
pub struct SourceArgs {
    /// Prefix of the product files: a folder, file://, s3://bucket/prefix, gs://, az:// or https://, or the name of a
    /// mirror: cdse, gcs, aws-l2a or aws-l1c.
    #[arg(long, value_name = "URL")]
    pub source: Option<String>,
    /// Service address of the source, such as https://eodata.dataspace.copernicus.eu.
    #[arg(long, value_name = "URL")]
    pub source_endpoint: Option<String>,
    /// Region of the source's bucket.
    #[arg(long, value_name = "NAME")]
    pub source_region: Option<String>,
    /// Read the source without credentials.
    #[arg(long)]
    pub source_anonymous: bool,
    /// Pay for the requests to a requester-pays bucket.
    #[arg(long)]
    pub source_requester_pays: bool,
    /// How the source arranges products, where not as the index says: cdse, gcs or aws [default: that of the mirror].
    #[arg(long, value_name = "LAYOUT")]
    pub source_layout: Option<Layout>,
    /// A further setting of the source's client, such as aws_access_key_id=... (repeatable).
    #[arg(long, value_name = "KEY=VALUE")]
    pub source_option: Vec<String>,
    /// Requests to the source's host at a time [default: 8, for the Copernicus Data Space 4].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub connections: Option<u16>,
    /// Requests per second to the source's host [default: no limit].
    #[arg(long, value_name = "N")]
    pub requests_per_second: Option<f64>,
    /// Bytes to read from the source's host in 24 hours; then the command fails [default: no limit].
    #[arg(long, value_name = "BYTES")]
    pub bytes_per_day: Option<u64>,
}

/// How to reach the store.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Store options")]
pub struct StoreArgs {
    /// Service address of the store.
    #[arg(long, value_name = "URL")]
    pub store_endpoint: Option<String>,
    /// Region of the store's bucket.
    #[arg(long, value_name = "NAME")]
    pub store_region: Option<String>,
    /// Read the store without credentials.
    #[arg(long)]
    pub store_anonymous: bool,
    /// A further setting of the store's client (repeatable).
    #[arg(long, value_name = "KEY=VALUE")]
    pub store_option: Vec<String>,
}

/// Which products and rasters.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectionArgs {
    /// Configuration file (TOML) with options by their long names; the command line wins.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// MGRS tile, such as 29UNU.
    #[arg(long)]
    pub tile: Option<String>,
    /// Processing level: L2A or L1C [default: L2A].
    #[arg(long)]
    pub level: Option<String>,
    /// What the source has: jp2 for SAFE products and a TLM index, cog for GeoTIFFs that the items of --stac name
    /// [default: jp2].
    #[arg(long, value_name = "jp2|cog")]
    pub source_kind: Option<String>,
    /// TLM index, Parquet: a file or an URL (repeatable).
    #[arg(long, value_name = "FILE")]
    pub index: Vec<String>,
    /// Index products of the catalogue that the index lacks: one request per raster where it carries TLM (baseline 05.12
    /// and later), about one per JPEG 2000 tile where not. No --index is needed then.
    #[arg(long)]
    pub index_missing: bool,
    /// Most products that --index-missing indexes in one run, the oldest first [default: 20].
    #[arg(long, value_name = "N")]
    pub index_missing_limit: Option<usize>,
    /// Add the rows that --index-missing makes to this index file, which is read as an index too.
    #[arg(long, value_name = "FILE.parquet")]
    pub write_index: Option<PathBuf>,
    /// STAC items that choose the products: an API's address, an ItemCollection, item or ndjson file, a folder, or a
    /// stac-geoparquet file. Without it every product of the index is taken.
    #[arg(long, value_name = "WHERE")]
    pub stac: Option<String>,
    /// Collection of the items of --stac [default: an API's usual one for the level; any in files].
    #[arg(long, value_name = "ID")]
    pub collection: Option<String>,
    /// Interval of time: A/B with dates or times, `..` for an open end.
    #[arg(long, value_name = "A/B")]
    pub datetime: Option<String>,
    /// Leave out products cloudier than this, percent.
    #[arg(long, value_name = "PERCENT")]
    pub max_cloud_cover: Option<f64>,
    /// Only arrays whose path matches, such as '/measurements/**' or '**/scl' (repeatable).
    #[arg(long, value_name = "GLOB")]
    pub arrays: Vec<String>,
    /// Leave out the sun and viewing angles (/conditions/geometry), for which the whole MTD_TL.xml of every product is
    /// read, some 0.5 MB each, instead of its first kilobytes.
    #[arg(long)]
    pub no_angles: bool,
    /// Which copies of a raster to take [default: best].
    #[arg(long, value_enum)]
    pub resolutions: Option<ResolutionsArg>,
    /// Where main headers come from [default: read].
    #[arg(long, value_enum)]
    pub headers: Option<HeadersArg>,
    /// Where what is learned of the source is remembered between runs: a file or an object [default: beside the store];
    /// `none` for nowhere.
    #[arg(long, value_name = "PLACE")]
    pub memory: Option<String>,
    /// Work everything out, write nothing.
    #[arg(long)]
    pub dry_run: bool,
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
#[derive(Debug, Args)]
pub struct ManifestArgs {
    /// Which products and rasters.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Manifest to write.
    #[arg(short, long, value_name = "M.parquet")]
    pub output: Option<PathBuf>,
    /// How to reach the product files.
    #[command(flatten)]
    pub source: SourceArgs,
}

/// `s2ice build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Which products and rasters.
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Address of the store: a folder, s3://bucket/prefix, gs:// or az://.
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// What readers check a reference's file against [default: etag].
    #[arg(long, value_enum)]
    pub checksum: Option<ChecksumArg>,
    /// Icechunk format: 1 is read by every version, 2 needs Icechunk 2 [default: 2].
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub spec: Option<u8>,
    /// Name of the virtual chunk container, by which readers re-point the store to a mirror [default: the bucket].
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// What becomes of products with another radiometric offset, and of rasters with another main header, than the store's
    /// [default: auto].
    #[arg(long, value_enum)]
    pub on_mismatch: Option<OnMismatchArg>,
    /// How a store that is there already is brought up to date.
    #[command(flatten)]
    pub update: UpdateArgs,
    /// How to reach the product files.
    #[command(flatten)]
    pub source: SourceArgs,
    /// How to reach the store.
    #[command(flatten)]
    pub store_options: StoreArgs,
}

/// How a store that is there already is brought up to date.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Update options")]
pub struct UpdateArgs {
    /// Take away products and rasters that the inputs no longer have; otherwise they stay.
    #[arg(long)]
    pub prune: bool,
    /// Refuse to prune more than this part of the store's products, percent [default: 50].
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub prune_limit: Option<u8>,
    /// Let a later processing take the place of an earlier one though it lacks rasters that the earlier one has.
    #[arg(long)]
    pub accept_incomplete: bool,
    /// Ask the files of every product again, or of PRODUCT only (repeatable), whatever was known of them.
    #[arg(long, value_name = "PRODUCT", num_args = 0..=1, default_missing_value = "all")]
    pub recheck: Vec<Recheck>,
    /// Ask the STAC API for every item, not only for what changed since the last run.
    #[arg(long)]
    pub full: bool,
    /// How far before the last change seen the STAC API is asked again [default: 1d].
    #[arg(long, value_name = "TIME")]
    pub overlap: Option<Span>,
    /// How long to wait for another s2ice that writes the same local store [default: 1m].
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
    /// Address of the store.
    pub store: String,
    /// Tag of the state; `published/` may be left out [default: the state published before the present one].
    pub tag: Option<String>,
    /// List the published states instead.
    #[arg(long, conflicts_with_all = ["tag", "dry_run"])]
    pub list: bool,
    /// Check the state and tell what would happen, move nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How to reach the store.
    #[command(flatten)]
    pub store_options: StoreArgs,
}

/// `s2ice gc`.
#[derive(Debug, Args)]
#[command(
    after_help = "What a branch, a tag of your own or a reader that opened the store within the last hour may need \
                        is never removed. States and history that a gc lets go of are therefore collected by a later gc, \
                        an hour or more after it. A build may be at work on an object store meanwhile, not on a local one."
)]
pub struct GcArgs {
    /// Address of the store.
    pub store: String,
    /// Published states that stay however old they are: the newest, and the one that main points to.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub keep_published: usize,
    /// Leave everything younger than this: a number with m, h, d or w; at least an hour.
    #[arg(long, value_name = "AGE", default_value = "30d", value_parser = crate::commands::gc::age)]
    pub older_than: chrono::TimeDelta,
    /// Tell what would be removed, change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How to reach the store.
    #[command(flatten)]
    pub store_options: StoreArgs,
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
    #[arg(long, conflicts_with_all = ["jobs", "full", "prune", "dry_run", "resume"])]
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
}
