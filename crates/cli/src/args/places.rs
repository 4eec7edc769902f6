//! How places are reached: `--PLACE-KEY` is a key of the settings' table `PLACE-options` (see `settings`).

use std::ops::Not;

use clap::Args;
use s2ice_manifest::source::mirror::Layout;
use serde::Serialize;

/// How to reach the product files.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Source options")]
#[serde(rename_all = "kebab-case")]
pub struct SourceArgs {
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
    #[serde(skip_serializing_if = "Not::not")]
    pub source_anonymous: bool,
    /// Pay for the requests to a requester-pays bucket.
    #[arg(long)]
    #[serde(rename = "source-request-payer", skip_serializing_if = "Not::not")]
    pub source_requester_pays: bool,
    /// How the source arranges products, where not as the index says: cdse, gcs or aws [default: that of the mirror].
    #[arg(long, value_name = "LAYOUT")]
    pub source_layout: Option<Layout>,
    /// A further option of the source, such as profile=cdse, or setting of its client, such as
    /// aws_access_key_id='${CDSE_KEY}' (repeatable).
    #[arg(long, value_name = "KEY=VALUE")]
    pub source_option: Vec<String>,
    /// Requests to the source's host at a time [default: 8, for the Copernicus Data Space 4].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    #[serde(rename = "source-connections")]
    pub connections: Option<u16>,
    /// Requests per second to the source's host [default: no limit].
    #[arg(long, value_name = "N")]
    #[serde(rename = "source-requests-per-second")]
    pub requests_per_second: Option<f64>,
    /// Bytes to read from the source's host in 24 hours; then the run ends as stale [default: no limit].
    #[arg(long, value_name = "BYTES")]
    #[serde(rename = "source-bytes-per-day")]
    pub bytes_per_day: Option<u64>,
}

/// How to reach the store.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Store options")]
#[serde(rename_all = "kebab-case")]
pub struct StoreArgs {
    /// Service address of the store.
    #[arg(long, value_name = "URL")]
    pub store_endpoint: Option<String>,
    /// Region of the store's bucket.
    #[arg(long, value_name = "NAME")]
    pub store_region: Option<String>,
    /// Read the store without credentials.
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    pub store_anonymous: bool,
    /// A further option of the store, such as profile=stores, or setting of its client (repeatable).
    #[arg(long, value_name = "KEY=VALUE")]
    pub store_option: Vec<String>,
}

/// How to reach index, catalogue and memory.
#[derive(Debug, Clone, Default, Args, Serialize)]
#[command(next_help_heading = "Options of index, catalogue and memory")]
#[serde(rename_all = "kebab-case")]
pub struct InputArgs {
    /// An option of the index, such as endpoint=https://host or profile=index, or setting of its client (repeatable).
    #[arg(long, value_name = "KEY=VALUE")]
    pub index_option: Vec<String>,
    /// A header of every request to the catalogue, such as authorization='Bearer ${TOKEN}' (repeatable).
    #[arg(long, value_name = "NAME=VALUE")]
    pub stac_header: Vec<String>,
    /// A further option of the catalogue, such as requests-per-second=2 or max-items=50000 (repeatable).
    #[arg(long, value_name = "KEY=VALUE")]
    pub stac_option: Vec<String>,
    /// An option of the memory's place, as for the index (repeatable).
    #[arg(long, value_name = "KEY=VALUE")]
    pub memory_option: Vec<String>,
}
