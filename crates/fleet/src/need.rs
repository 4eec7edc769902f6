//! Which tiles come first: those that have no store yet, then those of which nothing was seen for longest.
//!
//! A run that has a deadline leaves the others to the next one, where they are the first.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use s2ice_store::runs::LastRun;
use tracing::Instrument;

use crate::config::TileEntry;
use crate::{memory, told};

/// Sidecars read at a time.
const READ_AT_ONCE: usize = 32;

/// How much a tile is in need; the least is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    /// When a run last succeeded; never comes first.
    seen: Option<DateTime<Utc>>,
    /// When one last ended: a tile that always fails stands behind those that nobody tried.
    tried: Option<DateTime<Utc>>,
}

impl Need {
    fn of(last: Option<&LastRun>) -> Self {
        Self { seen: last.and_then(|last| last.last_success), tried: last.map(|last| last.ended) }
    }
}

/// Tiles, given by their place in the file, sorted by need; equal ones stay in the order of the file. What their last runs left
/// is handed to `known`.
pub async fn sorted(
    entries: &[Arc<TileEntry>],
    due: &[usize],
    mut known: impl FnMut(usize, Option<LastRun>),
) -> Vec<usize> {
    let mut found = stream::iter(due.to_vec())
        .map(|number| async move {
            let entry = &entries[number];
            let span = told::tile(&entry.settings.tile, &entry.settings.level);
            (number, memory::recall(entry).instrument(span).await)
        })
        .buffer_unordered(READ_AT_ONCE);
    let mut needs: Vec<(Need, usize)> = Vec::with_capacity(due.len());
    while let Some((number, last)) = found.next().await {
        needs.push((Need::of(last.as_ref()), number));
        known(number, last);
    }
    needs.sort_unstable();
    needs.into_iter().map(|(_, number)| number).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_was_never_seen_is_first_and_who_was_tried_last_behind() {
        let time = |hour: u32| format!("2026-06-01T{hour:02}:00:00Z").parse::<DateTime<Utc>>().unwrap();
        let last = |tried, seen: Option<u32>| LastRun {
            last_success: seen.map(time),
            ..LastRun::new("1", "33TVN", "L2A", time(tried), time(tried))
        };
        let found = [Some(last(9, Some(9))), Some(last(8, None)), None, Some(last(9, Some(3))), Some(last(4, Some(4)))];
        let mut needs: Vec<(Need, usize)> = found.iter().map(|last| Need::of(last.as_ref())).zip(0..).collect();
        needs.sort_unstable();
        assert_eq!(needs.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [2, 1, 3, 4, 0]);
    }
}
