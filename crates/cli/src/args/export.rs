//! Arguments of `s2ice export`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::StoreArgs;

/// What a store is written out as.
#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// Write its references as a Parquet table, one row per chunk.
    Manifest(ManifestExportArgs),
    /// Write files that GDAL, QGIS and rasterio open: a VRT per product and group, reading by a table of the tiles.
    Gdal(GdalExportArgs),
}

/// Which part of a store is written out.
#[derive(Debug, Args)]
pub struct ExportedArgs {
    /// Address of the store.
    pub store: String,
    /// State of the store: a tag (`published/` may be left out), branch or snapshot id [default: main].
    #[arg(long, value_name = "REF")]
    pub at: Option<String>,
    /// Only arrays whose path matches, such as '/measurements/reflectance/r10m/*' (repeatable).
    #[arg(long, value_name = "GLOB")]
    pub arrays: Vec<String>,
    /// Only what was sensed then: an interval of dates or RFC 3339 times, `..` for an open end.
    #[arg(long, value_name = "A/B")]
    pub datetime: Option<String>,
    /// How to reach the store.
    #[command(flatten)]
    pub store_options: StoreArgs,
}

/// `s2ice export manifest`.
#[derive(Debug, Args)]
pub struct ManifestExportArgs {
    /// Which part of which store.
    #[command(flatten)]
    pub exported: ExportedArgs,
    /// Table to write.
    #[arg(short, long, value_name = "M.parquet")]
    pub output: PathBuf,
}

/// `s2ice export gdal`.
#[derive(Debug, Args)]
pub struct GdalExportArgs {
    /// Which part of which store.
    #[command(flatten)]
    pub exported: ExportedArgs,
    /// Folder to write to: a new or empty one, or one that was written so before.
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
}
