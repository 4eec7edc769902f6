//! A published state of a store.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use icechunk::format::SnapshotId;
use serde_json::Value;

use crate::housekeeping::Published;
use crate::info::Standing;

/// A state that readers of a store were given.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Its tag.
    pub tag: String,
    /// When it was published.
    pub time: DateTime<Utc>,
    /// Its snapshot.
    pub snapshot: SnapshotId,
    /// `main` leads to it: it was not rolled back.
    pub stands: bool,
    /// What its commit says; nothing in Icechunk's first format.
    pub told: Option<Told>,
}

/// What the commit of a state says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Products, those of eras included.
    pub products: u64,
    /// First and newest sensing time, milliseconds since 1970-01-01; absent where the store was empty.
    pub times_ms: Option<(i64, i64)>,
}

impl State {
    /// A published state of a store that was read.
    pub(super) fn of(state: Published, lineage: &HashSet<SnapshotId>, standing: &Standing) -> Self {
        let Published { tag, time, snapshot } = state;
        let told = standing.properties(&snapshot).and_then(|properties| {
            let number = |name: &str| properties.get(name).and_then(Value::as_i64);
            let products = u64::try_from(number("s2ice:products")?).ok()?;
            Some(Told { products, times_ms: number("s2ice:first_time_ms").zip(number("s2ice:last_time_ms")) })
        });
        Self { tag, time, stands: lineage.contains(&snapshot), snapshot, told }
    }

    /// Version of what it holds: the time in its tag, which stands in addresses as it is.
    pub fn version(&self) -> &str {
        self.tag.trim_start_matches("published").trim_start_matches(['/', '-'])
    }

    /// Where its collection lies in a publication.
    pub fn path(&self, id: &str) -> String {
        format!("{id}/states/{}.json", self.version())
    }
}
