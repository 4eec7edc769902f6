//! What the attributes of a store say of itself: their names, and the stamp of the root group.

use std::collections::BTreeMap;

use s2ice_manifest::decide::{Accepted, Resolutions};
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::era::{Era, Radiometry};
use s2ice_manifest::manifest::{ChunkManifest, HeaderTrust};
use s2ice_manifest::product::MetadataSource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Desired, PlanContext};
use crate::layout::codecs;
use crate::layout::overview::Overviews;

/// Version of the store layout; raised when a reader or writer of the old one could go wrong.
pub const LAYOUT_VERSION: u64 = 4;

/// Name of the attribute of the root group that belongs to s2ice.
pub const STAMP: &str = "s2ice";

/// Attributes of each array of references, flat so that readers can save them: its raster.
pub const ASSET: &str = "s2ice:asset";

/// How the least certain main header of its files is known: `verified`, `inferred` or `assumed`.
pub const HEADER: &str = "s2ice:header";

/// The fingerprint of its main header.
pub const PROFILE: &str = "s2ice:profile";

/// The raster that an array of references says it is of.
pub(crate) fn asset_of(document: &Value) -> Option<&str> {
    document.get("attributes")?.get(ASSET)?.as_str()
}

/// Keys of it that say how a store came to be and nothing of what is in it: a difference in these alone is none.
pub(crate) const BOOKKEEPING: [&str; 2] = ["writer", "catalogue"];

/// What a node's document has under that attribute.
pub fn stamp_of(document: &Value) -> Option<&Value> {
    document.get("attributes")?.get(STAMP)
}

/// What a root's document has there, where s2ice wrote it: every layout has its number.
pub(crate) fn root_stamp(document: &Value) -> Option<&Value> {
    stamp_of(document).filter(|stamp| stamp.get("layout").is_some_and(Value::is_u64))
}

/// As [`stamp_of`], to be changed.
pub(crate) fn stamp_of_mut(document: &mut Value) -> Option<&mut Value> {
    document.get_mut("attributes")?.get_mut(STAMP)
}

/// What the root group says of the store, under the attribute `s2ice`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StoreStamp {
    /// Layout version.
    pub layout: u64,
    /// Writer and its version.
    pub writer: String,
    /// MGRS tile.
    pub tile: String,
    /// Processing level.
    pub level: String,
    /// What kind of files the store refers to; it is of one kind.
    #[serde(default, skip_serializing_if = "SourceKind::is_jp2")]
    pub source_kind: SourceKind,
    /// Name of the codec that readers get with s2ice.
    pub codec: String,
    /// How a reader gets the codec.
    pub install: String,
    /// Virtual chunk container and the source it stood for when the store was written.
    pub sources: BTreeMap<String, String>,
    /// `verified` where every main header was read from its own file; `inferred` where some were read from another file of
    /// their product; else `assumed`.
    pub headers: String,
    /// `product` where every product's XML was read, `item` where the catalogue's items told everything, else `name`.
    pub metadata: String,
    /// Offset and scale that the reflectance of all products of the main tree shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radiometry: Option<Radiometry>,
    /// Which copies of a raster the store takes.
    #[serde(default)]
    pub resolutions: Resolutions,
    /// The overviews that stand beside the arrays of rasters, by factor.
    #[serde(default, skip_serializing_if = "Overviews::is_empty")]
    pub overviews: Overviews,
    /// Up to when the catalogue was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<CatalogueStamp>,
    /// By offset and raster, the header profiles (SHA-256) in use, in the order in which they were accepted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, BTreeMap<String, Vec<String>>>")]
    pub accepted: Accepted,
    /// The eras of the tile, each a full tree at `/eras/<name>`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub eras: BTreeMap<Era, EraStamp>,
}

/// What the root says of an era.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct EraStamp {
    /// What its products and rasters differ in from those of the main tree.
    pub differs: Vec<String>,
    /// Offset and scale that the reflectance of its products shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radiometry: Option<Radiometry>,
}

/// Up to when a catalogue was read, so that the next run asks for what changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CatalogueStamp {
    /// SHA-256 of what was asked; another question starts anew.
    pub query: String,
    /// Newest change that was seen and dealt with, RFC 3339.
    pub watermark: String,
}

/// The stamp of a store that holds these trees.
pub(super) fn stamp(context: &PlanContext, trees: &[Desired]) -> StoreStamp {
    let manifests = || trees.iter().flat_map(|tree| &tree.assembly.manifests);
    let steps = || trees.iter().flat_map(|tree| &tree.assembly.steps);
    let trust = manifests().map(ChunkManifest::trust).min().unwrap_or(HeaderTrust::Verified);
    let source_kind = manifests().next().map_or(SourceKind::Jp2, |manifest| manifest.header.encoding.kind());
    let all_from = |source| steps().all(|step| step.metadata.source == source);
    let metadata = [MetadataSource::Product, MetadataSource::Item].into_iter().find(|source| all_from(*source));
    let mut sources = context.sources.clone();
    sources.insert(context.container.clone(), context.source_url.clone());
    let main = trees.iter().find(|tree| tree.era.is_none());
    let eras = trees.iter().filter_map(|tree| {
        let stamp = EraStamp { differs: tree.differs.clone(), radiometry: tree.assembly.radiometry };
        Some((tree.era.clone()?, stamp))
    });
    StoreStamp {
        layout: LAYOUT_VERSION,
        writer: context.writer.clone(),
        tile: context.tile.to_string(),
        level: context.level.to_string(),
        source_kind,
        codec: codecs::own_codec(source_kind).to_owned(),
        install: "pip install s2ice, then s2ice.open(URL)".to_owned(),
        sources,
        headers: trust.name().to_owned(),
        metadata: metadata.unwrap_or(MetadataSource::Name).to_string(),
        radiometry: main.and_then(|tree| tree.assembly.radiometry),
        resolutions: context.resolutions,
        overviews: context.overviews.clone(),
        catalogue: context.catalogue.clone(),
        accepted: context.accepted.clone(),
        eras: eras.collect(),
    }
}
