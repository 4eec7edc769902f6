//! Which product a preview shows.

use std::cmp::Reverse;

use s2ice_manifest::assemble::Step;
use s2ice_manifest::ids::{Band, Resolution};
use s2ice_manifest::product::ProductId;
use s2ice_manifest::raster::{Asset, Quantity};

use crate::state::{HeldArray, StoreState, TreeState};

/// Red, green and blue.
pub(super) const BANDS: [Band; 3] = [Band::B04, Band::B03, Band::B02];

/// How far back from the newest product one is looked for: each season of a year, but no land that has changed since.
const BACK_MS: i64 = 365 * 86_400_000;

/// Where bands are looked for: the fewer bytes they have, the better.
const RESOLUTIONS: [Resolution; 3] = [Resolution::R60, Resolution::R20, Resolution::R10];

/// A product of which a picture can be made.
pub(super) struct Chosen<'a> {
    tree: &'a TreeState,
    index: usize,
    step: &'a Step,
    resolution: Resolution,
}

impl<'a> Chosen<'a> {
    pub(super) fn product(&self) -> ProductId {
        self.step.id
    }

    /// Fingerprint of its references, whatever snapshot they stand in.
    pub(super) fn content(&self) -> i64 {
        self.tree.facts.get(self.index).map_or(0, |facts| facts.content)
    }

    pub(super) fn tree(&self) -> &'a TreeState {
        self.tree
    }

    /// Its place on the time axis.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn step(&self) -> &'a Step {
        self.step
    }

    /// Its bands, red first.
    pub(super) fn arrays(&self) -> impl Iterator<Item = (Asset, &'a HeldArray)> {
        let (tree, resolution) = (self.tree, self.resolution);
        let assets = BANDS.map(|band| Asset { quantity: Quantity::Band(band), resolution });
        assets.into_iter().filter_map(|asset| tree.arrays.get(&asset).map(|array| (asset, array)))
    }

    fn is_whole(&self) -> bool {
        self.arrays().filter(|(_, array)| array.present.get(self.index) == Some(&true)).count() == BANDS.len()
    }

    /// The less the better. Of what is clear alike, the one of most bytes: where the swath ends inside the tile there are none.
    fn order(&self) -> (u64, Reverse<u64>, Reverse<i64>) {
        let cover = self.step.metadata.cloud_cover.filter(|cover| *cover >= 0.0);
        let bytes = self.tree.facts.get(self.index).map_or(0, |facts| facts.bytes);
        // Numbers that are not negative are ordered as their bits are.
        (cover.unwrap_or(f64::INFINITY).to_bits(), Reverse(bytes), Reverse(self.step.time_ms))
    }
}

/// Products that are tried for a picture.
const TRIES: usize = 3;

/// The products to show, the best first: the clearest of the year before the newest product. They follow from the state alone.
pub(super) fn chosen(state: &StoreState) -> Vec<Chosen<'_>> {
    let steps = || {
        let trees = state.trees.values();
        trees.flat_map(|tree| tree.steps.iter().enumerate().map(move |(index, step)| (tree, index, step)))
    };
    let newest = steps().map(|(_, _, step)| step.time_ms).max().unwrap_or_default();
    let recent = steps().filter(|(_, _, step)| newest.saturating_sub(step.time_ms) <= BACK_MS);
    let whole = recent.filter_map(|(tree, index, step)| {
        let at = RESOLUTIONS.into_iter().map(|resolution| Chosen { tree, index, step, resolution });
        at.into_iter().find(Chosen::is_whole)
    });
    let mut whole: Vec<Chosen<'_>> = whole.collect();
    whole.sort_by_key(Chosen::order);
    whole.truncate(TRIES);
    whole
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::publish::stac::testing::state_of;

    const OLD: &str = "S2A_MSIL2A_20230101T100601_N0510_R022_T33TVN_20230101T120000";
    const FIRST: &str = "S2A_MSIL2A_20240601T100601_N0510_R022_T33TVN_20240601T120000";
    const SECOND: &str = "S2B_MSIL2A_20240701T100601_N0510_R022_T33TVN_20240701T120000";
    const ERA: &str = "S2B_MSIL2A_20240801T100601_N0214_R022_T33TVN_20240801T120000";
    const RGB: [&str; 3] = ["B04_60m", "B03_60m", "B02_60m"];

    /// Name, offset, cloud cover and rasters of each product.
    fn choice(products: &[(&str, i32, Option<f64>, &[&str])]) -> Option<String> {
        let state = state_of(products);
        chosen(&state).first().map(|chosen| chosen.product().to_string())
    }

    #[test]
    fn the_clearest_of_a_year_is_shown() {
        let cover = |old, first, second, era| {
            choice(&[
                (OLD, -1000, old, &RGB),
                (FIRST, -1000, first, &RGB),
                (SECOND, -1000, second, &RGB),
                (ERA, 0, era, &RGB),
            ])
            .unwrap()
        };
        assert_eq!(cover(Some(0.0), Some(5.0), Some(4.0), Some(6.0)), SECOND, "the clearest is too old");
        assert_eq!(cover(Some(0.0), Some(5.0), Some(9.0), Some(4.5)), ERA);
        assert_eq!(cover(None, None, Some(99.0), None), SECOND, "what is not known is not clear");
        assert_eq!(cover(None, Some(3.0), Some(3.0), Some(7.0)), SECOND, "alike: the newest");
    }

    #[test]
    fn all_three_bands_are_needed() {
        let products = [(FIRST, -1000, Some(50.0), &RGB[..]), (SECOND, -1000, Some(0.0), &RGB[..2])];
        assert_eq!(choice(&products).unwrap(), FIRST);
        assert_eq!(choice(&products[1..]), None);
        assert_eq!(choice(&[(FIRST, -1000, Some(0.0), &["B04_10m", "B03_10m", "B02_10m"])]).unwrap(), FIRST);
        assert_eq!(choice(&[(FIRST, -1000, Some(0.0), &["B04_10m", "B03_10m", "B02_60m"])]), None);
        assert_eq!(choice(&[]), None);
    }
}
