//! Rule 3: which products are processings of one acquisition.
//!
//! The names of one datatake over one tile have platform, orbit and datatake start in common; its two halves are told
//! apart by the start of their datastrips. Reprocessing moves that start by a second or so, halves are minutes apart.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::assemble::ProductRecord;
use crate::product::{Datatake, ProductId, SAME_DATASTRIP};

/// The products of each acquisition. One whose datastrip is unknown is by itself: nothing is dropped on a guess.
pub(super) fn groups(records: &BTreeMap<ProductId, ProductRecord>) -> Vec<Vec<ProductId>> {
    let mut datatakes: BTreeMap<Datatake, Vec<(DateTime<Utc>, ProductId)>> = BTreeMap::new();
    let mut out: Vec<Vec<ProductId>> = Vec::new();
    for (id, record) in records {
        match record.metadata.datastrip_start() {
            Some(start) => datatakes.entry(id.datatake()).or_default().push((start, *id)),
            None => out.push(vec![*id]),
        }
    }
    for mut products in datatakes.into_values() {
        products.sort();
        let halves = products.chunk_by(|(earlier, _), (later, _)| *later - *earlier <= SAME_DATASTRIP);
        out.extend(halves.map(|half| half.iter().map(|(_, id)| *id).collect()));
    }
    out
}
