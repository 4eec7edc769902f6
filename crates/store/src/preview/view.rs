//! How the rasters of a product are seen at a pixel size: which array, and how many of its resolutions are left out.

use std::collections::BTreeSet;

use s2ice_jpeg2000::MainHeader;
use s2ice_manifest::encoding::Encoding;
use s2ice_manifest::ids::Resolution;
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::{Asset, Quantity};

use super::shown::Shown;
use crate::state::{HeldArray, StoreState, TreeState};

/// Pixel sizes that a picture may have, metres.
pub const SIZES: std::ops::RangeInclusive<u32> = 20..=960;

/// Most halvings of classes, of which every other one is left out: 60 m to 960 m.
const HALVINGS: u8 = 5;

/// An array as a picture shows it.
#[derive(Clone)]
pub(crate) struct View<'a> {
    pub(crate) asset: Asset,
    pub(crate) array: &'a HeldArray,
    pub(super) header: MainHeader,
    /// How often both sides are halved.
    pub(super) halved: u8,
    /// How.
    pub(super) halving: Halving,
}

/// How a raster becomes smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halving {
    /// By the resolutions of JPEG 2000, of which the last ones are left out.
    Reduced,
    /// Of two neighbours the first is taken: a mean of classes means nothing.
    Picked,
}

impl View<'_> {
    /// Resolutions of JPEG 2000 that are left out.
    pub(super) fn reduce(&self) -> u8 {
        match self.halving {
            Halving::Reduced => self.halved,
            Halving::Picked => 0,
        }
    }

    /// Pixels from one that is taken to the next, of those that are decoded.
    pub(super) fn stride(&self) -> u32 {
        match self.halving {
            Halving::Reduced => 1,
            Halving::Picked => 1 << self.halved,
        }
    }
}

/// The arrays of a tree that show a quantity at a pixel size, the fewest bytes first: those that are halved least.
pub(crate) fn views<'a>(tree: &'a TreeState, shown: &Shown, quantity: Quantity, metres: u32) -> Vec<View<'a>> {
    let mut views: Vec<View<'a>> = arrays(tree, quantity)
        .filter_map(|(asset, array)| {
            let (header, halving, most) = halving(shown, &array.header)?;
            let halved = (0..=most).find(|halved| size(asset.resolution, *halved) == metres)?;
            Some(View { asset, array, header, halved, halving })
        })
        .collect();
    views.sort_by_key(|view| view.halved);
    views
}

/// The pixel sizes at which every raster of a picture can be seen, of some product.
pub(crate) fn sizes(state: &StoreState, shown: &Shown) -> BTreeSet<u32> {
    let of = |tree: &TreeState, quantity: Quantity| -> BTreeSet<u32> {
        let each = arrays(tree, quantity).filter_map(|(asset, array)| {
            let (_, _, most) = halving(shown, &array.header)?;
            Some((0..=most).map(move |halved| size(asset.resolution, halved)))
        });
        each.flatten().filter(|metres| SIZES.contains(metres)).collect()
    };
    let of_tree = |tree: &TreeState| {
        let each = shown.quantities().into_iter().map(|quantity| of(tree, quantity));
        each.reduce(|all, one| &all & &one).unwrap_or_default()
    };
    state.trees.values().flat_map(of_tree).collect()
}

fn size(resolution: Resolution, halved: u8) -> u32 {
    u32::from(resolution.metres()) << halved
}

fn arrays(tree: &TreeState, quantity: Quantity) -> impl Iterator<Item = (Asset, &HeldArray)> {
    let assets = Resolution::ALL.map(|resolution| Asset { quantity, resolution });
    assets.into_iter().filter_map(|asset| Some((asset, tree.arrays.get(&asset)?)))
}

/// How an array is made smaller, and how often; `None` where it is no JPEG 2000 that can be read.
fn halving(shown: &Shown, profile: &HeaderProfile) -> Option<(MainHeader, Halving, u8)> {
    let Encoding::Jpeg2000 { codec_header } = &profile.encoding else { return None };
    let header = MainHeader::parse(codec_header).ok()?;
    if shown.is_of_classes() {
        return Some((header, Halving::Picked, HALVINGS));
    }
    // Tiles of each resolution have to stand side by side.
    let regular = |halved: &u8| {
        let side = 1u32.checked_shl(u32::from(*halved)).unwrap_or(0);
        side != 0 && profile.tile.0.is_multiple_of(side) && profile.tile.1.is_multiple_of(side)
    };
    let most = (0..=header.min_levels()).take_while(regular).last()?;
    Some((header, Halving::Reduced, most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::testing::state_of;

    const PRODUCT: &str = "S2A_MSIL2A_20240601T100601_N0510_R022_T33TVN_20240601T120000";

    fn seen(rasters: &[&str], shown: &str) -> Vec<u32> {
        let state = state_of(&[(PRODUCT, -1000, None, rasters)]);
        shown.parse().map(|shown| sizes(&state, &shown).into_iter().collect()).unwrap_or_default()
    }

    #[test]
    fn a_picture_has_the_sizes_of_all_its_bands() {
        assert_eq!(seen(&["B04_60m"], "b04")[..4], [60, 120, 240, 480]);
        assert_eq!(seen(&["B04_20m"], "b04")[..4], [20, 40, 80, 160]);
        assert_eq!(seen(&["B04_10m"], "b04")[..3], [20, 40, 80], "the smallest is 20 m");
        let mixed = seen(&["B04_10m", "B03_20m", "B02_20m", "B02_60m"], "b04,b03,b02");
        assert_eq!(mixed[..4], [20, 40, 80, 160]);
        assert_eq!(seen(&["B04_60m", "B03_20m", "B02_20m"], "b04,b03,b02"), Vec::<u32>::new());
        assert_eq!(seen(&["SCL_20m"], "scl"), [20, 40, 80, 160, 320, 640]);
        assert_eq!(seen(&["B04_20m"], "scl"), Vec::<u32>::new());
    }

    #[test]
    fn the_array_that_is_halved_least_is_read() {
        // A store with all resolutions has a band in several arrays.
        let mut state = state_of(&[(PRODUCT, -1000, None, &["B04_10m", "SCL_20m"])]);
        let coarse = state_of(&[(PRODUCT, -1000, None, &["B04_20m"])]);
        let trees = state.trees.values_mut().zip(coarse.trees.values());
        trees.for_each(|(tree, other)| tree.arrays.extend(other.arrays.clone()));
        let Some(tree) = state.tree(None) else { panic!("the store has a main tree") };
        let named = |shown: &Shown, metres| -> Vec<String> {
            let quantity = shown.quantities()[0];
            let views = views(tree, shown, quantity, metres).into_iter();
            views.map(|v| format!("{} {} {}", v.asset, v.reduce(), v.stride())).collect()
        };
        let red = Shown::Grey(s2ice_manifest::ids::Band::B04);
        assert_eq!(named(&red, 160), ["B04_20m 3 1", "B04_10m 4 1"]);
        assert_eq!(named(&red, 20), ["B04_20m 0 1", "B04_10m 1 1"]);
        assert_eq!(named(&red, 60), Vec::<String>::new());
        assert_eq!(named(&Shown::Classes, 160), ["SCL_20m 0 8"]);
    }
}
