//! What may be asked of a host: connections at a time, requests per second, bytes per day, and how long it wants to be
//! left alone.
//!
//! A [`Ledger`] holds one [`Budget`] per origin (scheme, host, port). Whoever shares the ledger shares the budgets:
//! all sources of one process that lie on one host, and the catalogue's client. Requests enter a budget one by one, at
//! the place where they really go out, so that repeated attempts count as well. A host that does not answer is left alone
//! for a while by all of them (`Circuit`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use super::budget_error::{BudgetError, Fault, LONGEST_WAIT};
use super::circuit::{Circuit, bucket, folder};
pub use super::shares::Grant;
use super::shares::{Parties, Party, Shares};

/// Connections to a host of which nothing else is known.
pub const CONNECTIONS: usize = 8;

/// Hosts with rules of their own: name, connections, requests per second.
const HOSTS: [(&str, Option<usize>, Option<f64>); 3] = [
    ("eodata.dataspace.copernicus.eu", Some(4), None),
    ("stac.dataspace.copernicus.eu", Some(4), Some(5.0)),
    ("catalogue.dataspace.copernicus.eu", Some(4), Some(5.0)),
];

/// A day, from the first byte that is counted in it.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Limits that somebody asked for; what is `None` is as usual for the host.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Limits {
    /// Requests at a time.
    pub connections: Option<usize>,
    /// Requests per second, evenly spaced.
    pub requests_per_second: Option<f64>,
    /// Bytes of responses in 24 hours.
    pub bytes_per_day: Option<u64>,
}

impl Limits {
    /// The usual limits of a host.
    fn usual(host: &str) -> Self {
        let own = HOSTS.iter().find(|(name, ..)| name.eq_ignore_ascii_case(host));
        let (connections, requests_per_second) = own.map_or((None, None), |(_, n, rate)| (*n, *rate));
        Self { connections: connections.or(Some(CONNECTIONS)), requests_per_second, bytes_per_day: None }
    }

    /// The lower one of each limit.
    fn stricter(self, other: Self) -> Self {
        fn lower<T: PartialOrd>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(if b < a { b } else { a }),
                (a, b) => a.or(b),
            }
        }
        Self {
            connections: lower(self.connections, other.connections),
            requests_per_second: lower(self.requests_per_second, other.requests_per_second),
            bytes_per_day: lower(self.bytes_per_day, other.bytes_per_day),
        }
    }

    fn or(self, usual: Self) -> Self {
        Self {
            connections: self.connections.or(usual.connections),
            requests_per_second: self.requests_per_second.or(usual.requests_per_second),
            bytes_per_day: self.bytes_per_day.or(usual.bytes_per_day),
        }
    }
}

/// The budgets of all hosts that a process speaks to. Clones are one ledger; a default one is a new one.
#[derive(Clone, Default)]
pub struct Ledger {
    pub(super) budgets: Arc<Mutex<BTreeMap<String, Arc<Budget>>>>,
    parties: Arc<Parties>,
    party: Arc<Party>,
    /// True where budgets are shared with other processes.
    pub(super) is_shared: bool,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ledger")
    }
}

/// A ledger is no setting: options that differ in it alone are the same options.
impl PartialEq for Ledger {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Ledger {}

impl Ledger {
    /// The same budgets for one more who asks, such as a tile of a run: connections are shared out among those who are
    /// there.
    #[must_use]
    pub fn share(&self) -> Self {
        let (budgets, parties) = (Arc::clone(&self.budgets), Arc::clone(&self.parties));
        let party = Arc::new(Party::join(&parties));
        Self { budgets, parties, party, is_shared: self.is_shared }
    }

    /// Whose requests are counted here.
    #[must_use]
    pub fn party(&self) -> &Arc<Party> {
        &self.party
    }

    /// How long whoever has this share waited for a connection, having none: others held them all.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.party.waited()
    }

    /// The budget of an origin (`https://host` or `https://host:port`). Where several ask for limits, the lowest holds.
    pub fn budget(&self, origin: &str, limits: Limits) -> Arc<Budget> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = match budgets.get(origin) {
            Some(budget) => Arc::clone(budget),
            None => {
                let budget = Arc::new(Budget::new(origin.to_owned()));
                budget.state().grant = self.is_shared.then(Grant::default);
                budgets.insert(origin.to_owned(), Arc::clone(&budget));
                budget
            }
        };
        budget.state().asked(limits);
        budget
    }
}

/// The budget of one origin.
#[derive(Debug)]
pub struct Budget {
    pub(super) origin: String,
    state: Mutex<State>,
    pub(super) freed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) usual: Limits,
    pub(super) asked: Limits,
    pub(super) limits: Limits,
    pub(super) shares: Shares,
    /// What may be used of a budget that is shared with other processes.
    pub(super) grant: Option<Grant>,
    /// Failures of the host, and refusals by bucket.
    host: Circuit,
    refused: BTreeMap<String, Circuit>,
    pub(super) requests: u64,
    pub(super) bytes: u64,
    /// When the next request may start, by the rate.
    pub(super) next_start: Option<Instant>,
    /// Until when the server wants no request.
    not_before: Option<Instant>,
    /// Begin of the present day and the bytes received since.
    day: Option<(Instant, u64)>,
}

impl State {
    fn asked(&mut self, limits: Limits) {
        self.asked = self.asked.stricter(limits);
        self.limits = self.asked.or(self.usual);
    }

    /// When the next request may start; the moment is taken.
    fn slot(&mut self, now: Instant) -> Instant {
        let pause = self.rate().and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        let start = self.next_start.map_or(now, |next| next.max(now));
        self.next_start = pause.and_then(|pause| start.checked_add(pause));
        start
    }

    /// What is left of the day whose bytes are used up, and the limit.
    fn exhausted(&self, now: Instant) -> Option<(u64, Duration)> {
        let limit = self.limits.bytes_per_day?;
        let (start, bytes) = self.day.unwrap_or((now, 0));
        let left = DAY.checked_sub(now - start)?;
        (bytes >= limit && !left.is_zero()).then_some((limit, left))
    }

    /// Whether there is any use in asking.
    fn check(&self, origin: &str, party: &Party, about: &About, now: Instant) -> Result<(), BudgetError> {
        self.host.check(origin, &about.folder, now)?;
        if let Some(share) = self.shares.get(party) {
            share.circuit.check(origin, &about.folder, now)?;
        }
        match self.refused.get(&about.bucket) {
            Some(circuit) => circuit.check(&format!("{origin}/{}", about.bucket), &about.folder, now),
            None => Ok(()),
        }
    }

    /// Every circuit that a request concerns.
    fn circuits(&mut self, party: &Party, about: &About) -> impl Iterator<Item = &mut Circuit> {
        let refused = self.refused.get_mut(&about.bucket);
        [&mut self.host, &mut self.shares.of(party).circuit].into_iter().chain(refused)
    }
}

/// What a request is about, as far as failures are counted by it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct About {
    bucket: String,
    folder: String,
}

impl Budget {
    fn new(origin: String) -> Self {
        let host = origin.split_once("://").map_or(origin.as_str(), |(_, host)| host);
        let host = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(host, _)| host);
        let usual = Limits::usual(host);
        Self { state: Mutex::new(State { usual, limits: usual, ..State::default() }), origin, freed: Notify::new() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limits that hold.
    pub fn limits(&self) -> Limits {
        self.state().limits
    }

    /// Requests sent so far, repeated attempts included.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// Bytes received so far.
    pub fn bytes(&self) -> u64 {
        self.state().bytes
    }

    /// Waits until a request for `path` (with its query) may be sent; the permit is held until its response is read.
    ///
    /// # Errors
    /// [`BudgetError`] where waiting would not help soon.
    pub async fn enter(self: &Arc<Self>, party: &Arc<Party>, path: &str) -> Result<Permit, BudgetError> {
        let about = About { bucket: bucket(path).to_owned(), folder: folder(path) };
        let mut permit = self.connection(party, about).await?;
        let mut slot = None;
        loop {
            let until = {
                let (mut state, now) = (self.state(), Instant::now());
                state.check(&self.origin, party, &permit.about, now)?;
                if let Some((limit, renews_in)) = state.exhausted(now) {
                    return Err(BudgetError::Exhausted { origin: self.origin.clone(), limit, renews_in });
                }
                match state.not_before.filter(|until| *until > now) {
                    Some(until) if until - now > LONGEST_WAIT => {
                        return Err(BudgetError::WaitTooLong { origin: self.origin.clone(), wait: until - now });
                    }
                    // Those who waited do not start in one moment, though never before it.
                    Some(until) => until + Duration::from_millis(200).mul_f64(spread(state.requests) - 0.75),
                    None => {
                        let start = *slot.get_or_insert_with(|| state.slot(now));
                        if start <= now {
                            state.requests += 1;
                            (permit.number, permit.started) = (state.requests, now);
                            state.circuits(party, &permit.about).for_each(|circuit| circuit.passes(permit.number));
                            return Ok(permit);
                        }
                        start
                    }
                }
            };
            tokio::time::sleep_until(until).await;
        }
    }

    async fn connection(self: &Arc<Self>, party: &Arc<Party>, about: About) -> Result<Permit, BudgetError> {
        let mut freed = std::pin::pin!(self.freed.notified());
        let mut queued = None;
        loop {
            // Listening begins before looking, so that no release is missed between the two.
            freed.as_mut().enable();
            {
                let (mut state, now) = (self.state(), Instant::now());
                state.check(&self.origin, party, &about, now)?;
                if state.is_spent() {
                    let (origin, limit) = (self.origin.clone(), state.limits.bytes_per_day.unwrap_or_default());
                    return Err(BudgetError::Exhausted { origin, limit, renews_in: DAY });
                }
                let total = state.connections();
                if total > 0 && state.shares.take(party, total) {
                    let (budget, party) = (Arc::clone(self), Arc::clone(party));
                    return Ok(Permit { budget, party, about, number: 0, started: now });
                }
                if queued.is_none() {
                    state.shares.waits(party, true);
                    queued = Some((Queued { budget: self, party }, party.waits()));
                }
            }
            freed.as_mut().await;
            freed.set(self.freed.notified());
        }
    }

    /// Lets no request start within this time: what a response's `Retry-After` asks for.
    pub fn pause(&self, wait: Duration) {
        let mut state = self.state();
        let until = Instant::now() + wait.min(DAY);
        state.not_before = Some(state.not_before.map_or(until, |old| old.max(until)));
        tracing::debug!(origin = self.origin, seconds = wait.as_secs_f64(), "the server asks to be left alone");
    }
}

/// Somebody who wants a connection, counted until dropped.
struct Queued<'a> {
    budget: &'a Budget,
    party: &'a Party,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.budget.state().shares.waits(self.party, false);
    }
}

/// One of the connections of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    party: Arc<Party>,
    about: About,
    number: u64,
    started: Instant,
}

impl Permit {
    /// Counts bytes of the response.
    pub fn received(&self, bytes: u64) {
        let (mut state, now) = (self.budget.state(), Instant::now());
        state.bytes = state.bytes.saturating_add(bytes);
        let (start, so_far) = state.day.filter(|(start, _)| now - *start < DAY).unwrap_or((now, 0));
        state.day = Some((start, so_far.saturating_add(bytes)));
    }

    /// The server answered with this status; `wait` is how long it wants to be left alone.
    pub fn answered(&self, status: u16, wait: Option<Duration>) {
        match (Fault::of(status), wait) {
            (Some(Fault::Failing(503)), Some(wait)) if !wait.is_zero() => self.failed(Fault::Busy(status)),
            (Some(fault), _) => self.failed(fault),
            (None, _) => {
                let state = &mut *self.budget.state();
                state.host.answered();
                state.shares.of(&self.party).answered();
                state.refused.remove(&self.about.bucket);
            }
        }
    }

    /// There was no answer that says anything.
    pub fn failed(&self, fault: Fault) {
        let state = &mut *self.budget.state();
        let About { bucket, folder } = &self.about;
        let now = Instant::now();
        let failed = |circuit: &mut Circuit| circuit.failed(fault, self.number, folder, self.started, now);
        let share = state.shares.of(&self.party);
        let is_closed = match fault {
            Fault::Denied(_) => {
                // The host is there.
                state.host.answered();
                share.answered();
                failed(state.refused.entry(bucket.clone()).or_default())
            }
            _ => {
                if fault == Fault::Silent {
                    share.was_silent();
                }
                let is_closed = failed(&mut share.circuit);
                failed(&mut state.host) || is_closed
            }
        };
        if is_closed {
            let origin = &self.budget.origin;
            tracing::info!("{origin} failed several times in a row (last: {fault}): it is left alone for now");
            // Who waits is told at once.
            self.budget.freed.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let state = &mut *self.budget.state();
        state.circuits(&self.party, &self.about).for_each(|circuit| circuit.gone(self.number));
        state.shares.give_back(&self.party);
        // All of them: the next in turn may have its share already.
        self.budget.freed.notify_waiters();
    }
}

/// A factor from 0.75 to 1.25 for waits, so that they have no common beat: the golden ratio's multiples fill the
/// interval evenly, without chance.
#[must_use]
pub fn spread(number: u64) -> f64 {
    let number = u32::try_from(number % 1_000_003).unwrap_or_default();
    0.75 + 0.5 * (f64::from(number) * 0.618_033_988_75).fract()
}

/// How long a server asks to wait: seconds, or a date to be compared with the response's own `Date`.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?;
    let now = DateTime::parse_from_rfc2822(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some((until - now).to_std().unwrap_or_default())
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
