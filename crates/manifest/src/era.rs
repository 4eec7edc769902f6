//! Eras: what cannot stand in one array goes to a sibling store of the same tile instead of being lost.
//!
//! One array has one main header and one scale; a DataTree has one time axis. So products of another radiometric offset,
//! and rasters of another header profile, form stores of their own, each a full tree. Which of them a raster belongs to is
//! a function of the *set* of products, so stores that grew are those that were built at once.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::assemble::{
    Assembly, ProductRecord, Radiometry, Refusal, RefusalKind, Resolutions, drop_superseded, lay_out,
    select_resolutions,
};
use crate::header_class::{HeaderOrigin, header_origin};
use crate::ids::{Level, NameError};
use crate::manifest::Placement;
use crate::product::{MetadataSource, ProductId};
use crate::profile::HeaderProfile;
use crate::raster::Asset;

/// What tells eras of further header profiles, with the number of the profile behind.
const PROFILE: &str = "-profile-";

/// Longest name of an era.
const LONGEST: usize = 64;

/// What becomes of products and rasters that do not fit the store's radiometry or an array's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMismatch {
    /// Another offset and headers of the ground segment go to an era; unknown encoders are refused.
    #[default]
    Auto,
    /// Everything goes to an era, unknown encoders included.
    Era,
    /// Everything is refused. What an era holds already stays there.
    Refuse,
}

/// Name of an era: its radiometric offset, and a number where it is not the first header profile of that offset, such as
/// `offset-0`, `offset-1000-profile-2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Era(String);

impl Era {
    fn new(radiometry: Radiometry, rank: usize) -> Self {
        let Radiometry { add_offset, quantification } = radiometry;
        let sign = if add_offset > 0 { "plus-" } else { "" };
        let mut name = format!("offset-{sign}{}", add_offset.unsigned_abs());
        if quantification.to_bits() != 10_000_f64.to_bits() {
            name += &format!("-per-{quantification}");
        }
        if rank > 0 {
            name += &format!("{PROFILE}{}", rank + 1);
        }
        Self(name)
    }

    /// True for a store of further header profiles; false for one that differs by its radiometry alone.
    pub fn is_of_profile(&self) -> bool {
        self.0.contains(PROFILE)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Era {
    type Err = NameError;

    /// A name becomes part of an address, so nothing but letters, digits, points and hyphens is let in.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let good = text.len() <= LONGEST && text.starts_with("offset-") && text.chars().all(plain);
        let error = || NameError {
            text: text.chars().take(LONGEST).collect(),
            expected: "the name of an era such as offset-0 or offset-1000-profile-2",
        };
        good.then(|| Self(text.to_owned())).ok_or_else(error)
    }
}

impl TryFrom<String> for Era {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Era> for String {
    fn from(era: Era) -> Self {
        era.0
    }
}

/// Rasters that eras hold, and whether one of these is of further header profiles: what has an era keeps it, whatever the
/// policy is by now.
pub type InEras = BTreeMap<(ProductId, Asset), bool>;

/// A product or raster that stands in an era, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Placed {
    /// Product name.
    pub product: String,
    /// Raster name; absent where all rasters of the product are meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raster: Option<String>,
    /// What differs from the main store.
    pub reason: String,
}

/// One store of a tile: what it shall hold.
#[derive(Debug, Clone)]
pub struct Part {
    /// `None` for the main store.
    pub era: Option<Era>,
    /// Its time axis and manifests.
    pub assembly: Assembly,
    /// What its header profiles and its radiometry differ in from the main store's, one sentence each.
    pub differs: Vec<String>,
    /// Products and rasters that are new in it.
    pub placed: Vec<Placed>,
}

/// The products of a tile, divided.
#[derive(Debug, Clone, Default)]
pub struct Partition {
    /// The main store first, then its eras by name; none without products.
    pub parts: Vec<Part>,
    /// Everything left out.
    pub refused: Vec<Refusal>,
}

/// Divides products between the main store and its eras.
///
/// Reprocessed products give way first. The main store has the lowest offset (the one in use since baseline 04.00). Of the
/// header profiles of an array the known Sentinel-2 class comes first, then other encoders by fingerprint, then that of
/// early 2016; the first stands in the store of its offset, each further one in an era, where `on_mismatch` lets it or an
/// era has it already.
pub fn partition(
    products: Vec<ProductRecord>,
    resolutions: Resolutions,
    on_mismatch: OnMismatch,
    in_eras: &InEras,
) -> Partition {
    let mut refused = Vec::new();
    let products = drop_superseded(products, &mut refused);
    let Some(main) = products.iter().map(|p| Radiometry::of(&p.metadata)).min_by_key(|r| r.key()) else {
        return Partition { parts: Vec::new(), refused };
    };
    let mut groups: BTreeMap<(i32, u64), Vec<ProductRecord>> = BTreeMap::new();
    for mut product in products {
        let own = Radiometry::of(&product.metadata);
        if own.key() != main.key() && on_mismatch == OnMismatch::Refuse {
            let before = product.rasters.len();
            let id = product.id;
            product.rasters.retain(|raster| in_eras.contains_key(&(id, raster.asset())));
            if product.rasters.len() < before {
                refused.push(other_radiometry(&product, main));
            }
            if product.rasters.is_empty() {
                continue;
            }
        }
        select_resolutions(&mut product.rasters, resolutions);
        groups.entry(own.key()).or_default().push(product);
    }
    let mut parts: BTreeMap<Option<Era>, Part> = BTreeMap::new();
    for group in groups.into_values() {
        for part in divide(group, main, on_mismatch, in_eras, &mut refused) {
            parts.insert(part.era.clone(), part);
        }
    }
    Partition { parts: parts.into_values().collect(), refused }
}

/// The stores of one radiometric class: one for each rank of header profiles.
fn divide(
    group: Vec<ProductRecord>,
    main: Radiometry,
    on_mismatch: OnMismatch,
    in_eras: &InEras,
    refused: &mut Vec<Refusal>,
) -> Vec<Part> {
    let Some(own) = group.first().map(|product| Radiometry::of(&product.metadata)) else { return Vec::new() };
    let profiles = profiles(&group, on_mismatch, in_eras);
    let mut ranks: BTreeMap<usize, Vec<ProductRecord>> = BTreeMap::new();
    for product in group {
        let mut shares: BTreeMap<usize, Vec<Placement>> = BTreeMap::new();
        for raster in product.rasters {
            let admitted = profiles.get(&raster.asset()).map(Vec::as_slice).unwrap_or_default();
            let rank = admitted.iter().position(|header| header.fingerprint == raster.header().fingerprint);
            match (rank, admitted.first()) {
                (Some(rank), _) => shares.entry(rank).or_default().push(raster),
                (None, Some(wanted)) => refused.push(other_profile(product.id, &raster, wanted)),
                (None, None) => {}
            }
        }
        if shares.is_empty() {
            refused.push(Refusal {
                product: product.id.to_string(),
                raster: None,
                kind: RefusalKind::Empty,
                reason: "no raster of this product can be referenced".to_owned(),
            });
        }
        for (rank, rasters) in shares {
            let (metadata, angles) = (product.metadata.clone(), product.angles.clone());
            let share = ProductRecord { id: product.id, metadata, rasters, angles };
            ranks.entry(rank).or_default().push(share);
        }
    }
    let shift = (own.key() != main.key()).then(|| radiometry_differs(own, main));
    ranks
        .into_iter()
        .map(|(rank, products)| {
            let era = (rank > 0 || shift.is_some()).then(|| Era::new(own, rank));
            part(era, rank, products, &profiles, shift.as_deref(), own)
        })
        .collect()
}

fn part(
    era: Option<Era>,
    rank: usize,
    mut products: Vec<ProductRecord>,
    profiles: &BTreeMap<Asset, Vec<Arc<HeaderProfile>>>,
    shift: Option<&str>,
    radiometry: Radiometry,
) -> Part {
    let mut headers: BTreeMap<Asset, Arc<HeaderProfile>> = BTreeMap::new();
    let mut placed = Vec::new();
    for product in &mut products {
        let name = product.id.to_string();
        let angles = std::mem::take(&mut product.angles);
        product.angles = angles.into_iter().map(|(array, from)| (array, from.seen_from(era.as_ref()))).collect();
        let mut new = false;
        for raster in &mut product.rasters {
            let asset = raster.asset();
            headers.entry(asset).or_insert_with(|| Arc::clone(raster.header()));
            if let Placement::Held(held) = raster
                && held.era != era
            {
                *raster = Placement::Elsewhere(held.clone());
            }
            if era.is_none() || raster.held().is_some() {
                continue;
            }
            new = true;
            if rank > 0 {
                let reason = header_differs(raster.header(), profiles.get(&asset).and_then(|all| all.first()));
                placed.push(Placed { product: name.clone(), raster: Some(asset.to_string()), reason });
            }
        }
        if let (0, true, Some(reason)) = (rank, new, shift) {
            placed.push(Placed { product: name, raster: None, reason: reason.to_owned() });
        }
    }
    let mut differs: Vec<String> = shift.map(str::to_owned).into_iter().collect();
    if rank > 0 {
        let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (asset, header) in &headers {
            let what = header_differs(header, profiles.get(asset).and_then(|all| all.first()));
            alike.entry(what).or_default().push(asset.to_string());
        }
        differs.extend(alike.into_iter().map(|(what, assets)| format!("{}: {what}", assets.join(", "))));
    }
    placed.sort_by(|a, b| (&a.product, &a.raster).cmp(&(&b.product, &b.raster)));
    Part { era, assembly: lay_out(products, headers, radiometry), differs, placed }
}

/// The header profiles of each array that have a place, in the order of their ranks.
fn profiles(
    group: &[ProductRecord],
    on_mismatch: OnMismatch,
    in_eras: &InEras,
) -> BTreeMap<Asset, Vec<Arc<HeaderProfile>>> {
    struct Seen {
        header: Arc<HeaderProfile>,
        in_era: bool,
    }
    type Key = (HeaderOrigin, String);
    let mut seen: BTreeMap<Asset, BTreeMap<Key, Seen>> = BTreeMap::new();
    for product in group {
        let level: Level = product.id.level();
        for raster in &product.rasters {
            let header = raster.header();
            let key = (header_origin(raster.asset(), level, header), header.fingerprint.clone());
            let new = || Seen { header: Arc::clone(header), in_era: false };
            let entry = seen.entry(raster.asset()).or_default().entry(key).or_insert_with(new);
            // The first profile of another offset is no exception that would have been made for it.
            entry.in_era |= in_eras.get(&(product.id, raster.asset())) == Some(&true);
        }
    }
    seen.into_iter()
        .map(|(asset, found)| {
            let admitted = found.into_iter().enumerate().filter(|(number, ((origin, _), seen))| {
                let admits = match on_mismatch {
                    OnMismatch::Era => true,
                    OnMismatch::Auto => *origin != HeaderOrigin::Unknown,
                    OnMismatch::Refuse => false,
                };
                *number == 0 || seen.in_era || admits
            });
            (asset, admitted.map(|(_, (_, seen))| seen.header).collect())
        })
        .collect()
}

fn radiometry_differs(own: Radiometry, main: Radiometry) -> String {
    format!(
        "radiometric offset {} and quantification {}, where the main store has {} and {}",
        own.add_offset, own.quantification, main.add_offset, main.quantification
    )
}

fn header_differs(own: &HeaderProfile, wanted: Option<&Arc<HeaderProfile>>) -> String {
    let what = wanted.map_or_else(String::new, |wanted| own.difference(wanted));
    format!("its {} differs from the array's: {what}", own.encoding.holder())
}

fn other_radiometry(product: &ProductRecord, main: Radiometry) -> Refusal {
    let source = match product.metadata.source {
        MetadataSource::Product => "",
        MetadataSource::Item => " (of its item)",
        MetadataSource::Name => " (taken from the baseline in its name)",
    };
    let own = Radiometry::of(&product.metadata);
    Refusal {
        product: product.id.to_string(),
        raster: None,
        kind: RefusalKind::Radiometry,
        reason: format!(
            "its radiometric offset {} and quantification {}{source} differ from the store's {} and {}",
            own.add_offset, own.quantification, main.add_offset, main.quantification
        ),
    }
}

fn other_profile(id: ProductId, raster: &Placement, wanted: &Arc<HeaderProfile>) -> Refusal {
    Refusal {
        product: id.to_string(),
        raster: Some(raster.asset().to_string()),
        kind: RefusalKind::HeaderProfile,
        reason: header_differs(raster.header(), Some(wanted)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_say_offset_and_rank_and_are_safe_in_an_address() {
        let era = |add_offset, quantification, rank| Era::new(Radiometry { add_offset, quantification }, rank);
        for (era, name) in [
            (era(0, 10_000.0, 0), "offset-0"),
            (era(-1000, 10_000.0, 1), "offset-1000-profile-2"),
            (era(500, 10_000.0, 0), "offset-plus-500"),
            (era(0, 2500.5, 2), "offset-0-per-2500.5-profile-3"),
        ] {
            assert_eq!(era.name(), name);
            assert_eq!(name.parse::<Era>().unwrap(), era);
        }
        for name in ["", "offset-0/../x", "offset-0 ", "OFFSET-0", "x", &format!("offset-{}", "0".repeat(80))] {
            assert!(name.parse::<Era>().is_err(), "{name}");
        }
    }
}
