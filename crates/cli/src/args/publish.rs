//! Arguments of `s2ice publish`.

use std::ops::Not;

use clap::Args;
use serde::Serialize;

use super::{StoreArgs, no};

/// `s2ice publish`.
#[derive(Debug, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
#[command(after_help = "For example: s2ice publish stores/33TVN --out s3://public/sentinel2 \
                        --base-url https://public.s3.amazonaws.com/sentinel2\n\n\
                        A store on this machine is copied into the publication; one on object storage is named where it \
                        lies. Only what changed is written, and nothing that s2ice did not publish is written over.")]
pub struct PublishArgs {
    /// Addresses of stores, or a configuration file (TOML) of `s2ice run`, whose stores are meant.
    #[arg(required = true, value_name = "STORE|CONFIG")]
    #[serde(skip)]
    pub stores: Vec<String>,
    /// Folder or bucket to publish in.
    #[arg(long, value_name = "DIR|URL")]
    pub out: Option<String>,
    /// Address at which others reach that folder or bucket.
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// Title of the catalogue [default: Sentinel-2 as time series].
    #[arg(long)]
    pub title: Option<String>,
    /// Who publishes: named as host in the catalogue.
    #[arg(long, value_name = "NAME")]
    pub publisher: Option<String>,
    /// Home page of who publishes.
    #[arg(long, value_name = "URL")]
    pub publisher_url: Option<String>,
    /// Where others reach the product files of copied stores, where not at the address that the stores name.
    #[arg(long, value_name = "URL")]
    #[serde(rename = "source-url")]
    pub source_url: Option<String>,
    /// What maps show behind the tiles: the address of its pictures with {z}, {x} and {y} [default: the land, drawn].
    #[arg(long, value_name = "URL")]
    pub map_tiles: Option<String>,
    /// What is said of who made it.
    #[arg(long, value_name = "TEXT")]
    pub map_attribution: Option<String>,
    /// Deepest zoom that it has [default: 18].
    #[arg(long, value_name = "N")]
    pub map_max_zoom: Option<u8>,
    /// Make no pictures of stores, for which the bands B04, B03 and B02 of one product are read.
    #[arg(long)]
    #[serde(rename = "preview", skip_serializing_if = "Not::not", serialize_with = "no")]
    pub no_preview: bool,
    /// Take stores that are not named out of the publication.
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    pub prune: bool,
    /// Look through the place first, and write again what was lost there: files that are gone or of another size, those of copies
    /// too.
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    pub restore: bool,
    /// Do not look afterwards what a stranger meets at the base URL.
    #[arg(long)]
    #[serde(skip_serializing_if = "Not::not")]
    pub no_look: bool,
    /// An option of the place to publish in, such as endpoint=https://host or profile=public, or setting of its client
    /// (repeatable).
    #[arg(long, value_name = "KEY=VALUE")]
    pub out_option: Vec<String>,
    /// An option of the product files' place, such as anonymous=true or region=eu-central-1 (repeatable).
    #[arg(long, value_name = "KEY=VALUE")]
    pub source_option: Vec<String>,
    /// How to reach the stores.
    #[command(flatten)]
    #[serde(skip)]
    pub store_options: StoreArgs,
}
