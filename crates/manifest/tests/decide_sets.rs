//! The outcome is a function of the set, and nothing that stands is lost to what has less.
#![allow(clippy::unwrap_used)]

mod decide_support;

use std::collections::BTreeSet;

use decide_support::*;
use proptest::prelude::*;
use s2ice_manifest::assemble::ProductRecord;
use s2ice_manifest::decide::{OnMismatch, Policy, Resolutions, Standing, covers, decide};
use s2ice_manifest::raster::Asset;

const RASTERS: [&str; 6] = ["B01_60m", "B09_60m", "SCL_60m", "AOT_60m", "B01_20m", "MSK_CLDPRB_60m"];
const BASELINES: [u32; 5] = [1, 300, 400, 510, 9999];

prop_compose! {
    /// `nested`: the rasters of any two have one in the other, and no encoder is unknown.
    fn any_product(nested: bool)(
        day in 1_u32..4, baseline in 0_usize..5, generated in 1_u32..4, strip in 0_usize..3, offset in 0_usize..3,
        prefix in 1_usize..5, mask in 1_usize..64, header in 0_usize..6,
    ) -> ProductRecord {
        let chosen = RASTERS.iter().enumerate().filter(|(n, _)| if nested { *n < prefix } else { mask >> n & 1 == 1 });
        let mut names: Vec<String> = chosen.map(|(_, name)| (*name).to_owned()).collect();
        match header {
            0 => names[0].insert(0, '~'),
            1 if !nested => names[0].insert(0, '?'),
            _ => {}
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let strip = [None, Some(0), Some(120)][strip];
        product(&name(day, BASELINES[baseline], generated), strip, [-1000, 0, -1100][offset], &names)
    }
}

fn products(nested: bool) -> impl Strategy<Value = Vec<ProductRecord>> {
    prop::collection::vec(any_product(nested), 1..12).prop_map(|mut products| {
        // One name is one product.
        let mut seen = BTreeSet::new();
        products.retain(|product| seen.insert(product.id));
        products
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let mismatch = prop::sample::select(vec![OnMismatch::Auto, OnMismatch::Era, OnMismatch::Refuse]);
    let resolutions = prop::sample::select(vec![Resolutions::Best, Resolutions::All]);
    (mismatch, resolutions, prop::bool::weighted(0.2)).prop_map(|(on_mismatch, resolutions, accept_incomplete)| {
        Policy { resolutions, on_mismatch, accept_incomplete }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Shuffling the candidates changes nothing; each is a step or is refused as a whole; times increase strictly.
    #[test]
    fn candidates_may_come_in_any_order(
        (products, shuffled) in products(false).prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle())),
        policy in any_policy(),
        first in 0_usize..12,
    ) {
        let first = &products[..first.min(products.len())];
        for standing in [Standing::default(), stand(&decide(first.to_vec(), &Standing::default(), &policy))] {
            let found = decide(merged(&products, &standing), &standing, &policy);
            let other = decide(merged(&shuffled, &standing), &standing, &policy);
            prop_assert_eq!(outcome(&found), outcome(&other));
            prop_assert_eq!(&found.refused, &other.refused);
            prop_assert_eq!(&found.accepted, &other.accepted);
            let kept = stand(&found).products;
            for product in &products {
                let name = product.id.to_string();
                let whole = found.refused.iter().filter(|r| r.product == name && r.raster.is_none()).count();
                prop_assert_eq!(whole + usize::from(kept.contains_key(&product.id)), 1, "{}", name);
            }
            for part in &found.parts {
                prop_assert!(part.assembly.steps.windows(2).all(|pair| pair[0].time_ms < pair[1].time_ms));
            }
        }
    }

    /// Where of two processings one has what the other has, a store that grew is one that was built at once.
    #[test]
    fn growing_gives_what_building_at_once_gives(products in products(true)) {
        let policy = Policy::default();
        let mut standing = Standing::default();
        for number in 1..=products.len() {
            let found = decide(merged(&products[..number], &standing), &standing, &policy);
            let fresh = decide(products[..number].to_vec(), &Standing::default(), &policy);
            prop_assert_eq!(outcome(&found), outcome(&fresh));
            standing = stand(&found);
        }
    }

    /// Whatever comes: what stands stays, or gives way to something that has as much, and the reason is named. Deciding
    /// again changes nothing.
    #[test]
    fn nothing_is_lost_to_what_has_less(
        products in products(false),
        policies in prop::collection::vec(any_policy(), 12),
        resolutions in prop::sample::select(vec![Resolutions::Best, Resolutions::All]),
    ) {
        let mut standing = Standing::default();
        for (number, policy) in (1..=products.len()).zip(policies) {
            let policy = Policy { resolutions, accept_incomplete: false, ..policy };
            let found = decide(merged(&products[..number], &standing), &standing, &policy);
            prop_assert!(found.account(&standing, &[]).is_ok(), "{:?}", found.account(&standing, &[]));
            let after = stand(&found);
            for (id, rasters) in &standing.products {
                let had: BTreeSet<Asset> = rasters.keys().copied().collect();
                let has = |id| -> BTreeSet<Asset> {
                    after.products.get(id).map(|r| r.keys().copied().collect()).unwrap_or_default()
                };
                let by = after.products.keys().filter(|other| *other == id || other.datatake() == id.datatake());
                prop_assert!(by.into_iter().any(|other| covers(&has(other), &had, resolutions)), "{}", id);
            }
            let again = decide(merged(&products[..number], &after), &after, &policy);
            prop_assert_eq!(outcome(&again), outcome(&found));
            prop_assert!(again.account(&after, &[]).unwrap().is_empty());
            standing = after;
        }
    }
}
