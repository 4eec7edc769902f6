//! What a first build of a tile will ask of its source, told by index and catalogue alone.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use s2ice_manifest::decide::{Resolutions, ask_order};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::header_class::assumed_header;
use s2ice_manifest::product::{Datatake, ProductId, precedence};
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::Asset;
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::tlm::TileIndex;
use schemars::JsonSchema;
use serde::Serialize;

use super::found::question;
use super::gather::gather;
use super::inputs::Standing;
use super::places::Places;
use super::sample::class;
use super::unindexed::Reach;
use super::wanted::{Wanted, wanted_angles};
use super::{BuildSettings, HeaderPolicy};
use crate::commit::Loaded;
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::progress::Progress;

/// Files of this processing baseline and of later ones carry TLM.
const WITH_TLM: u16 = 512;

/// What a product adds to what is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Survey {
    /// Products, of all processings.
    pub products: u64,
    /// Those of them that no index has.
    pub unindexed: u64,
    /// Those of them that were sensed in the year before the newest one.
    pub last_year: u64,
    /// Rasters whose main headers are read: those of the last processing of each acquisition.
    pub rasters: u64,
    /// Those of them that are read where one file stands for others of its class.
    pub sampled: u64,
    /// Those of them whose header and ETag the index has.
    pub with_headers: u64,
    /// JPEG 2000 tiles of those whose tile lengths neither index nor file tells: each is asked for its length.
    pub walked: u64,
    /// True where the whole XML of the granules is read, for the angles.
    pub angles: bool,
}

/// Counts what a build of an empty store will ask of the source. Index and catalogue are read; the source is not asked.
///
/// # Errors
/// Index or catalogue cannot be read, or give nothing; GeoTIFFs, of which each is a matter of its own.
pub async fn survey(settings: &BuildSettings, progress: &dyn Progress) -> Result<Survey> {
    if settings.source_kind == SourceKind::Cog {
        return Err(Error::Request(
            "what GeoTIFFs take cannot be foreseen: their tables are as long as they are".to_owned(),
        ));
    }
    let settings = &BuildSettings { full: true, ..settings.clone() };
    let (held, memory) = (Holdings::new(None), Memory::new(settings.occasion.clock));
    let places = Places::open(settings, &Loaded::default())?;
    let (resolutions, nothing) = (settings.resolutions, BTreeSet::new());
    let question = &question(settings, &places, resolutions, HeaderPolicy::Read)?;
    let reach = Reach {
        memory: &memory,
        source: None,
        held: &held,
        exempt: &nothing,
        replaced: &nothing,
        question,
        resolutions,
    };
    let standing = Standing { may_be_empty: true, ..Standing::default() };
    let inputs = gather(settings, standing, reach, progress).await?;
    let wanted = Wanted::of(settings)?;

    let mut survey = Survey { angles: !wanted_angles(settings)?.is_empty(), ..Survey::default() };
    // Another processing is asked for its rasters only where the last one lacks some.
    let mut last: BTreeMap<Datatake, (ProductId, Counts)> = BTreeMap::new();
    let mut take = |id: ProductId, counts: Counts| {
        let known = last.entry(id.datatake()).or_insert((id, counts));
        if precedence(known.0) < precedence(id) {
            *known = (id, counts);
        }
    };
    let mut sensed = Vec::new();
    for product in &inputs.products {
        sensed.push(product.id.datatake_start());
        let first = first_copies(product.rows.iter().map(|row| row.asset), resolutions);
        let rows = product.rows.iter().filter(|row| first.contains(&row.asset));
        let mut counts = Counts { rasters: first.len() as u64, ..Counts::default() };
        let mut classes = BTreeSet::new();
        for row in rows {
            counts.with_headers += u64::from(row.main_header.is_some() && row.etag.is_some());
            counts.sampled += u64::from(class(row).is_none_or(|class| classes.insert(class)));
            let is_walked = row.index == TileIndex::InFile && product.id.baseline().number() < WITH_TLM;
            counts.walked += if is_walked { tiles(row.asset, product.id) } else { 0 };
        }
        take(product.id, counts);
    }
    if settings.index_missing {
        for id in inputs.catalogue.iter().flat_map(|load| load.without_index.iter().copied()) {
            sensed.push(id.datatake_start());
            survey.unindexed += 1;
            let first = first_copies(wanted.assets().filter(|asset| asset.exists_at(id.level())), resolutions);
            let walked = |asset: &Asset| if id.baseline().number() < WITH_TLM { tiles(*asset, id) } else { 0 };
            let counts = Counts {
                rasters: first.len() as u64,
                sampled: first.len() as u64,
                walked: first.iter().map(walked).sum(),
                ..Counts::default()
            };
            take(id, counts);
        }
    }
    survey.products = sensed.len() as u64;
    survey.last_year = in_last_year(&sensed);
    for (_, counts) in last.values() {
        survey.rasters += counts.rasters;
        survey.sampled += counts.sampled;
        survey.with_headers += counts.with_headers;
        survey.walked += counts.walked;
    }
    Ok(survey)
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    rasters: u64,
    sampled: u64,
    with_headers: u64,
    walked: u64,
}

/// The rasters that are asked for where none is refused.
fn first_copies(assets: impl Iterator<Item = Asset>, resolutions: Resolutions) -> BTreeSet<Asset> {
    match resolutions {
        Resolutions::All => assets.collect(),
        Resolutions::Best => ask_order(assets).into_values().filter_map(|copies| copies.into_iter().next()).collect(),
    }
}

/// Tiles of a raster as the ground segment makes it.
fn tiles(asset: Asset, id: ProductId) -> u64 {
    let header = assumed_header(asset, id.level()).and_then(|header| HeaderProfile::parse(&header).ok());
    header.map_or(1, |header| header.tiles())
}

fn in_last_year(sensed: &[DateTime<Utc>]) -> u64 {
    let Some(newest) = sensed.iter().max() else { return 0 };
    sensed.iter().filter(|time| **time > *newest - TimeDelta::days(365)).count() as u64
}
