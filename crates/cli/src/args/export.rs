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
    /// Write its references as an index, from which a store can be built elsewhere.
    Index(IndexExportArgs),
    /// Write it as a kerchunk reference set (Zarr format 2), which fsspec and xarray open without Icechunk.
    #[command(
        after_help = "Readers need the Python package s2ice, which has the codec, and those options of fsspec that the \
                      summary names. References have no checksums: a file that is replaced later is not noticed."
    )]
    Kerchunk(KerchunkArgs),
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

/// `s2ice export index`.
#[derive(Debug, Args)]
pub struct IndexExportArgs {
    /// Which part of which store.
    #[command(flatten)]
    pub exported: ExportedArgs,
    /// Container of the store whose files are indexed, where it has several.
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// Table to write.
    #[arg(short, long, value_name = "INDEX.parquet")]
    pub output: PathBuf,
}

/// `s2ice export kerchunk`.
#[derive(Debug, Args)]
pub struct KerchunkArgs {
    /// Which part of which store.
    #[command(flatten)]
    pub exported: ExportedArgs,
    /// Group that becomes the root, such as measurements/reflectance/r10m [default: the whole store, with its eras].
    #[arg(long, value_name = "GROUP", default_value = "", hide_default_value = true)]
    pub group: String,
    /// Reference set to write: one file of JSON, or a folder of Parquet files, as its name ends.
    #[arg(short, long, value_name = "OUT.json|OUT.parquet", required_unless_present = "per_product")]
    pub output: Option<PathBuf>,
    /// Write a reference set of each product into this folder instead, <product>.json.
    #[arg(long, value_name = "FOLDER", conflicts_with = "output")]
    pub per_product: Option<PathBuf>,
}
