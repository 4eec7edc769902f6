//! How those who share a host's connections get along: each has its share, and nobody who waits for an answer keeps the
//! others from asking.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::circuit::Circuit;

/// Somebody who asks: a tile of a run, as a rule.
#[derive(Debug, Default)]
pub struct Party {
    number: u64,
    all: Arc<Parties>,
    turn: Mutex<Turn>,
}

/// All who ask.
#[derive(Debug, Default)]
pub(super) struct Parties {
    last: AtomicU64,
    living: AtomicUsize,
}

/// Connections held and waited for, and the time in which the one was true and the other was not.
#[derive(Debug, Default)]
struct Turn {
    held: usize,
    waiting: usize,
    since: Option<Instant>,
    waited: Duration,
}

impl Turn {
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        change(self);
        let now = Instant::now();
        match (self.waiting > 0 && self.held == 0, self.since) {
            (true, None) => self.since = Some(now),
            (false, Some(since)) => {
                self.waited += now - since;
                self.since = None;
            }
            _ => {}
        }
    }
}

impl Party {
    /// One more among those who ask.
    pub(super) fn join(all: &Arc<Parties>) -> Self {
        all.living.fetch_add(1, Ordering::Relaxed);
        let number = all.last.fetch_add(1, Ordering::Relaxed) + 1;
        Self { number, all: Arc::clone(all), turn: Mutex::default() }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long it waited for a connection, having none: others held them all.
    pub(super) fn waited(&self) -> Duration {
        let turn = self.turn();
        turn.waited + turn.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(super) fn takes(&self) {
        self.turn().change(|turn| turn.held += 1);
    }

    pub(super) fn gives_back(&self) {
        self.turn().change(|turn| turn.held -= 1);
    }

    /// Waits until the answer is dropped.
    pub(super) fn waits(&self) -> Waiting<'_> {
        self.turn().change(|turn| turn.waiting += 1);
        Waiting(self)
    }

    fn is_alone(&self) -> bool {
        self.all.living.load(Ordering::Relaxed) <= 1
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        if self.number > 0 {
            self.all.living.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What a process may use of a shared budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grant {
    /// Connections at a time; of requests per second it may send the same part of all.
    pub connections: usize,
    /// Bytes that it may have received in all, where there is a limit to them.
    pub bytes: Option<u64>,
    /// True where no more will be granted: the bytes of the day are used up.
    pub is_last: bool,
}

/// Somebody waits for a connection.
pub(super) struct Waiting<'a>(&'a Party);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.turn().change(|turn| turn.waiting -= 1);
    }
}

/// What one party has of a host.
#[derive(Debug, Default)]
pub(super) struct Share {
    held: usize,
    waiting: usize,
    /// Answers since it was silent last: who gets none needs no further connection.
    answers: usize,
    /// Its own failures: what it asks for may be dead while the host is not.
    pub(super) circuit: Circuit,
}

impl Share {
    pub(super) fn answered(&mut self) {
        self.answers = self.answers.saturating_add(1);
        self.circuit.answered();
    }

    pub(super) fn was_silent(&mut self) {
        self.answers = 0;
    }
}

/// The connections of a host.
#[derive(Debug, Default)]
pub(super) struct Shares {
    in_use: usize,
    parties: BTreeMap<u64, Share>,
}

impl Shares {
    pub(super) fn of(&mut self, party: &Party) -> &mut Share {
        self.parties.entry(party.number).or_default()
    }

    pub(super) fn get(&self, party: &Party) -> Option<&Share> {
        self.parties.get(&party.number)
    }

    /// Takes one of `total` connections, where there is one for this party.
    pub(super) fn take(&mut self, party: &Party, total: usize) -> bool {
        let fair = self.fair(party, total);
        if self.in_use >= total || self.of(party).held >= fair {
            return false;
        }
        self.in_use += 1;
        self.of(party).held += 1;
        party.takes();
        true
    }

    /// How many a party may have: all where it is alone, else as many as the others who want some, one less than all so that
    /// whoever comes finds one, and one more than it got answers.
    fn fair(&mut self, party: &Party, total: usize) -> usize {
        if party.is_alone() {
            return total;
        }
        let asks = |share: &Share| share.held + share.waiting > 0;
        let others = self.parties.iter().filter(|(number, share)| **number != party.number && asks(share)).count();
        let bound = total.div_ceil(others + 1).min(total - 1).min(self.of(party).answers.saturating_add(1));
        bound.max(1)
    }

    /// Connections in use.
    pub(super) fn in_use(&self) -> usize {
        self.in_use
    }

    /// Requests that wait for one.
    pub(super) fn waiting(&self) -> usize {
        self.parties.values().map(|share| share.waiting).sum()
    }

    pub(super) fn give_back(&mut self, party: &Party) {
        self.in_use -= 1;
        self.of(party).held -= 1;
        party.gives_back();
        self.tidy(party);
    }

    pub(super) fn waits(&mut self, party: &Party, waits: bool) {
        let share = self.of(party);
        share.waiting = if waits { share.waiting + 1 } else { share.waiting.saturating_sub(1) };
    }

    /// Who is gone leaves nothing behind: of thousands of tiles a few are there at a time.
    fn tidy(&mut self, party: &Party) {
        const MANY: usize = 64;
        if self.parties.len() > MANY {
            self.parties.retain(|number, share| *number == party.number || share.held + share.waiting > 0);
        }
    }
}
