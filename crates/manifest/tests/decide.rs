//! The rules of the decision, each by a table.
#![allow(clippy::unwrap_used)]

mod decide_support;

use decide_support::*;
use s2ice_manifest::assemble::{ProductRecord, RefusalKind};
use s2ice_manifest::decide::{Decision, Leaving, LeavingReason, OnMismatch, Policy, Resolutions, Standing, decide};
use s2ice_manifest::manifest::Placement;

fn fresh(products: &[ProductRecord], on_mismatch: OnMismatch) -> Decision {
    decide(products.to_vec(), &Standing::default(), &Policy { on_mismatch, ..Policy::default() })
}

/// Then the same with these on top.
fn next(before: &Decision, products: &[ProductRecord], policy: &Policy) -> Decision {
    let standing = stand(before);
    let decision = decide(merged(products, &standing), &standing, policy);
    decision.account(&standing, &[]).unwrap();
    decision
}

/// Products of the main tree by name.
fn main(decision: &Decision) -> Vec<String> {
    decision.parts.iter().take(1).flat_map(|p| &p.assembly.steps).map(|step| step.id.to_string()).collect()
}

fn kinds(decision: &Decision) -> Vec<(String, Option<String>, RefusalKind)> {
    decision.refused.iter().map(|r| (r.product.clone(), r.raster.clone(), r.kind)).collect()
}

#[test]
fn what_has_no_raster_is_refused() {
    let mut odd = product(&name(2, 510, 1), None, -1000, &["B01_60m"]);
    odd.metadata.quantification = 1e-300;
    let found = fresh(&[product(&name(1, 510, 1), None, -1000, &[]), odd], OnMismatch::Auto);
    let expected = [(name(1, 510, 1), None, RefusalKind::Empty), (name(2, 510, 1), None, RefusalKind::Radiometry)];
    assert_eq!(kinds(&found), expected);
    assert!(found.parts.is_empty());
}

#[test]
fn the_best_copy_is_the_best_admissible_one() {
    for (given, best) in [
        (["B01_20m", "B01_60m", "SCL_60m"].as_slice(), ["B01_60m", "SCL_60m"].as_slice()),
        (&["B02_60m", "B02_20m"], &["B02_20m"]),
        (&["B01_20m", "?B01_60m"], &["B01_20m"]),
    ] {
        let found = fresh(&[product(&name(1, 510, 1), None, -1000, given)], OnMismatch::Auto);
        let taken: Vec<String> = found.parts[0].assembly.manifests.iter().map(|m| m.asset.name()).collect();
        assert_eq!(taken, best);
    }
    let before = fresh(&[product(&name(1, 510, 1), None, -1000, &["B01_20m"])], OnMismatch::Auto);
    let after = next(&before, &[product(&name(1, 510, 1), None, -1000, &["B01_20m", "B01_60m"])], &Policy::default());
    assert_eq!(after.leaving[0].reason, LeavingReason::BetterCopy { by: "B01_60m".parse().unwrap() });
    let all = Policy { resolutions: Resolutions::All, ..Policy::default() };
    let products = [product(&name(1, 510, 1), None, -1000, &["B01_20m", "B01_60m"])];
    assert_eq!(next(&before, &products, &all).parts[0].assembly.manifests.len(), 2);
}

#[test]
fn acquisitions_are_told_apart_by_datastrips() {
    for (first, second, kept) in
        [(Some(0), Some(0), 1), (Some(0), Some(5), 1), (Some(0), Some(6), 2), (None, Some(0), 2), (None, None, 2)]
    {
        let products = [(400, first), (510, second)].map(|(b, s)| product(&name(1, b, 1), s, -1000, &["B01_60m"]));
        let found = fresh(&products, OnMismatch::Auto);
        assert_eq!(main(&found).len(), kept, "{first:?} {second:?}");
        let times: Vec<i64> = found.parts[0].assembly.steps.iter().map(|step| step.time_ms).collect();
        assert!(times.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    }
}

/// Baseline and rasters of two products of one acquisition, the first in the store or not; which stands.
#[test]
fn a_successor_needs_what_the_older_one_has() {
    const ALL: &[&str] = &["B01_60m", "SCL_20m", "MSK_CLDPRB_20m"];
    for (older, newer, accept, held, wins) in [
        ((400, ALL), (510, ALL), false, true, 510),
        ((400, ALL), (510, &ALL[..2]), false, true, 510),
        ((400, ALL), (510, &ALL[..1]), false, true, 400),
        ((400, ALL), (510, &ALL[..1]), false, false, 400),
        ((400, ALL), (510, &ALL[..1]), true, true, 510),
        ((400, ALL), (510, &["?B01_60m", "SCL_20m"]), false, true, 400),
        ((400, &ALL[..1]), (510, &ALL[1..2]), false, true, 400),
        ((400, &ALL[..1]), (510, &ALL[1..2]), false, false, 510),
        ((511, ALL), (9999, ALL), false, true, 511),
        ((9999, ALL), (511, ALL), false, true, 511),
        ((1, ALL), (204, ALL), false, false, 204),
        ((510, &ALL[..1]), (400, ALL), false, true, 400),
    ] {
        let both = [older, newer].map(|(baseline, rasters)| product(&name(1, baseline, 1), Some(0), -1000, rasters));
        let policy = Policy { accept_incomplete: accept, ..Policy::default() };
        let before = if held { fresh(&both[..1], OnMismatch::Auto) } else { Decision::default() };
        let found = next(&before, &both, &policy);
        assert_eq!(main(&found), [name(1, wins, 1)], "{older:?} {newer:?}");
        let named = found.refused.iter().filter(|r| r.raster.is_none()).map(|r| r.kind).collect::<Vec<_>>();
        let incomplete = !found.incomplete.is_empty();
        assert_eq!(named, [if incomplete { RefusalKind::Incomplete } else { RefusalKind::Superseded }]);
        assert!(found.incomplete.iter().all(|i| !i.lacks.is_empty()));
    }
}

#[test]
fn one_odd_offset_never_turns_the_main_tree_over() {
    let days = |offsets: &[i32]| -> Vec<ProductRecord> {
        (1..).zip(offsets).map(|(day, o)| product(&name(day, 510, 1), None, *o, &["B01_60m"])).collect()
    };
    for (offsets, trees) in [
        ([-1000, -1100, -1000].as_slice(), ["main", "offset-1100"].as_slice()),
        (&[0, -1100, 500], &["main", "offset-1100", "offset-plus-500"]),
        (&[0, -1000], &["main", "offset-0"]),
        (&[500, -1100], &["main", "offset-plus-500"]),
    ] {
        let found = fresh(&days(offsets), OnMismatch::Auto);
        assert_eq!(outcome(&found).into_keys().collect::<Vec<_>>(), trees);
        assert!(found.parts[1..].iter().all(|part| !part.placed.is_empty() && !part.differs.is_empty()));
        let refuse = fresh(&days(offsets), OnMismatch::Refuse);
        assert_eq!(refuse.parts.len(), 1);
        assert!(refuse.refused.iter().all(|refusal| refusal.kind == RefusalKind::Radiometry));
    }
    // What stands keeps a place, whatever the policy is by now.
    let refuse = Policy { on_mismatch: OnMismatch::Refuse, ..Policy::default() };
    let found = next(&fresh(&days(&[0]), OnMismatch::Auto), &days(&[0, -1000]), &refuse);
    assert_eq!(outcome(&found).into_keys().collect::<Vec<_>>(), ["main", "offset-0"]);
}

#[test]
fn known_headers_come_first_and_unknown_ones_never_by_themselves() {
    let with = |text: &str, day| product(&name(day, 510, 1), None, -1000, &[text, "SCL_20m"]);
    let all = [with("?B01_60m", 1), with("~B01_60m", 2), with("B01_60m", 3)];
    let ranks = |found: &Decision| -> Vec<Vec<String>> {
        outcome(found)
            .into_values()
            .map(|tree| tree.into_iter().filter(|(_, r)| r.contains("B01_60m")).map(|(name, _)| name).collect())
            .collect()
    };
    let day = |day| name(day, 510, 1);
    let auto = fresh(&all, OnMismatch::Auto);
    assert_eq!(ranks(&auto), [[day(3)], [day(2)]]);
    assert_eq!(kinds(&auto), [(day(1), Some("B01_60m".to_owned()), RefusalKind::HeaderProfile)]);
    assert!(auto.refused[0].reason.contains("--on-mismatch era"), "{}", auto.refused[0].reason);
    assert_eq!(ranks(&fresh(&all, OnMismatch::Era)), [[day(3)], [day(2)], [day(1)]]);
    assert_eq!(ranks(&fresh(&all, OnMismatch::Refuse)), [[day(3)]]);
    assert_eq!(ranks(&fresh(&all[..1], OnMismatch::Auto)), [Vec::<String>::new()], "also where it comes first");
    let let_in = fresh(&all[..1], OnMismatch::Era);
    assert_eq!(ranks(&next(&let_in, &all, &Policy::default())), [[day(3)], [day(2)], [day(1)]], "what stands stays");
}

#[test]
fn of_kinds_without_a_class_the_first_accepted_stays_first() {
    let name = |day| name(day, 510, 1).replace("MSIL2A", "MSIL1C");
    let tci = |day, bits| {
        let mut product = product(&name(day), None, -1000, &[]);
        product.rasters = vec![with("TCI_10m", header(10_980, 256, bits)).into()];
        product
    };
    // Whichever fingerprint is the smaller one, each comes first once.
    for (first, second) in [(8, 7), (7, 8)] {
        let products = [tci(2, first), tci(1, second)];
        let before = fresh(&products[..1], OnMismatch::Auto);
        let after = next(&before, &products, &Policy::default());
        assert_eq!(main(&after), [name(2)]);
        assert_eq!(outcome(&after).into_keys().collect::<Vec<_>>(), ["main", "offset-1000-profile-2"]);
        // Once it is not used any more, the other one moves up.
        let standing = stand(&after);
        let pruned = decide(merged(&products[1..], &standing), &standing, &Policy::default());
        assert_eq!(main(&pruned), [name(1)]);
        let id = name(2).parse().unwrap();
        assert_eq!(pruned.account(&standing, &[]).unwrap_err().product, id, "no rule says why");
        let reason = LeavingReason::Pruned { why: "no item".to_owned() };
        let given = [Leaving { product: id, raster: None, reason }];
        assert_eq!(pruned.account(&standing, &given).unwrap(), given);
    }
}

#[test]
fn a_file_that_was_replaced_by_another_encoder_leaves_with_its_reason() {
    let product = |b01| product(&name(1, 510, 1), None, -1000, &[b01, "SCL_20m"]);
    let standing = stand(&fresh(&[product("B01_60m")], OnMismatch::Auto));
    let found = decide(vec![product("?B01_60m")], &standing, &Policy::default());
    let leaving = found.account(&standing, &[]).unwrap();
    assert!(matches!(leaving.as_slice(), [Leaving { raster: Some(_), reason: LeavingReason::AnotherFile { .. }, .. }]));
    assert!(found.parts[0].assembly.manifests.iter().all(|m| matches!(m.at(0), Some(Placement::File(_)))));
}
