//! What the pictures of one publication may ask of sources.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::preview::Watch;

/// Pictures made at a time.
const AT_ONCE: usize = 2;

/// Bytes read for all pictures of a publication: several hundred, after which the next publication goes on.
const BYTES: u64 = 4 << 30;

/// A place that gave no answer for so many products in a row is left alone.
const FAILURES: u32 = 4;

/// After so many pictures that were not made, none is tried again of a store that did not change.
const TRIES: u32 = 64;

/// What is left of it.
pub(in crate::publish) struct Limits {
    permits: Semaphore,
    left: AtomicU64,
    failed: AtomicU32,
    /// For each place, how often in a row it gave no answer, and what it said last.
    failures: Mutex<BTreeMap<String, (u32, String)>>,
}

impl Limits {
    /// Those of one publication.
    pub(in crate::publish) fn new() -> Self {
        Self {
            permits: Semaphore::new(AT_ONCE),
            left: AtomicU64::new(BYTES),
            failed: AtomicU32::new(0),
            failures: Mutex::default(),
        }
    }

    /// Waits for its turn; nobody closes the semaphore.
    pub(super) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }

    /// True where another attempt at what failed before is worth the look at its store.
    pub(in crate::publish) fn is_hopeful(&self) -> bool {
        self.left.load(Ordering::Relaxed) > 0 && self.failed.load(Ordering::Relaxed) < TRIES
    }

    /// Counts a picture that was not made.
    pub(super) fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Watch for Limits {
    /// False from then on.
    fn take(&self, bytes: u64) -> bool {
        let taken = |left: u64| left.checked_sub(bytes);
        let is_enough = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok();
        if !is_enough {
            self.left.store(0, Ordering::Relaxed);
        }
        is_enough
    }

    fn left_alone(&self, place: &str) -> Option<String> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(place).filter(|(count, _)| *count >= FAILURES).map(|(_, reason)| reason.clone())
    }

    fn note(&self, place: &str, silence: Option<String>) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match silence {
            None => drop(failures.remove(place)),
            Some(reason) => {
                let entry = failures.entry(place.to_owned()).or_default();
                *entry = (entry.0.saturating_add(1), reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_answers_nobody_is_left_alone() {
        let limits = Limits::new();
        for place in ["a", "b"].into_iter().cycle().take(6) {
            assert_eq!(limits.left_alone(place), None);
            limits.note(place, Some("gone".to_owned()));
        }
        limits.note("b", None);
        for place in ["a", "b"] {
            limits.note(place, Some("still gone".to_owned()));
        }
        assert_eq!(limits.left_alone("a").as_deref(), Some("still gone"));
        assert_eq!(limits.left_alone("b"), None);
    }

    #[test]
    fn bytes_run_out() {
        let limits = Limits::new();
        assert!(limits.take(BYTES - 1));
        assert!(!limits.take(2));
        assert!(!limits.take(1), "who gets nothing ends it for all");
    }

    #[test]
    fn what_failed_is_not_tried_for_ever() {
        let limits = Limits::new();
        (1..TRIES).for_each(|_| limits.failed());
        assert!(limits.is_hopeful());
        limits.failed();
        assert!(!limits.is_hopeful());
        let limits = Limits::new();
        assert!(!limits.take(BYTES + 1));
        assert!(!limits.is_hopeful(), "the next picture would be too much as well");
    }
}
