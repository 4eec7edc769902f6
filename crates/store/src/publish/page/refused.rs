//! What was left out of a store, in words for readers. The sentences of reports are for operators: they may name places of
//! theirs.

use std::collections::BTreeMap;

use s2ice_manifest::assemble::{Refusal, RefusalKind};
use serde_json::{Value, json};

/// True for what is missing because something is wrong; not for what gave way to a better one, or was not asked for.
pub(super) fn is_told(kind: RefusalKind) -> bool {
    !matches!(kind, RefusalKind::Superseded | RefusalKind::Filtered)
}

/// What a kind means.
pub(super) fn meaning(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::HeaderProfile => "its encoder is not known, or differs from the array's",
        RefusalKind::Radiometry => "its radiometric offset or scale differs",
        RefusalKind::Superseded => "another processing of the same acquisition counts more",
        RefusalKind::Incomplete => "a later processing lacks rasters that the store has",
        RefusalKind::Ranges => "its tiles are not where the index says",
        RefusalKind::Index => "the index cannot be understood there",
        RefusalKind::Header => "its main header cannot be read or decoded",
        RefusalKind::Source => "its file could not be had",
        RefusalKind::Changed => "its file is not the one that was indexed",
        RefusalKind::Metadata => "its metadata cannot be read or contradicts its name",
        RefusalKind::Filtered => "it was not asked for",
        RefusalKind::Empty => "no raster of it is left",
    }
}

/// What was left out, by kind.
pub(super) fn by_kind(refused: &[Refusal]) -> Vec<Value> {
    let mut kinds: BTreeMap<RefusalKind, u64> = BTreeMap::new();
    for refusal in refused.iter().filter(|refusal| is_told(refusal.kind)) {
        *kinds.entry(refusal.kind).or_default() += 1;
    }
    let told = kinds.into_iter().map(|(kind, count)| json!({ "kind": kind, "count": count, "meaning": meaning(kind) }));
    told.collect()
}
