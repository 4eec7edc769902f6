//! What may be asked of a host: connections at a time, requests per second, bytes per day, and how long it wants to be
//! left alone.
//!
//! A [`Ledger`] holds one [`Budget`] per origin (scheme, host, port). Whoever shares the ledger shares the budgets:
//! all sources of one process that lie on one host, and the catalogue's client. Requests enter a budget one by one, at
//! the place where they really go out, so that repeated attempts count as well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Connections to a host of which nothing else is known.
pub const CONNECTIONS: usize = 8;

/// Hosts with rules of their own: name, connections, requests per second.
const HOSTS: [(&str, Option<usize>, Option<f64>); 3] = [
    ("eodata.dataspace.copernicus.eu", Some(4), None),
    ("stac.dataspace.copernicus.eu", Some(4), Some(5.0)),
    ("catalogue.dataspace.copernicus.eu", Some(4), Some(5.0)),
];

/// Longest time that a server may ask to be left alone before it is an error.
pub const LONGEST_WAIT: Duration = Duration::from_secs(120);

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

/// A request that must not be sent now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// The day's bytes are used up.
    #[error(
        "the limit of {limit} bytes per day for {origin} is used up (bytes-per-day); it renews in {}",
        hours_and_minutes(*.renews_in)
    )]
    Exhausted {
        /// Scheme, host and port.
        origin: String,
        /// The limit, bytes.
        limit: u64,
        /// Until bytes may be read again.
        renews_in: Duration,
    },
    /// `Retry-After` is beyond patience.
    #[error("{origin} asks to be left alone for {} s, longer than is waited for ({} s): try again later", 
        .wait.as_secs(), LONGEST_WAIT.as_secs())]
    WaitTooLong {
        /// Scheme, host and port.
        origin: String,
        /// What it asks for.
        wait: Duration,
    },
}

/// Rounded up, so that it is not too early to try again then.
fn hours_and_minutes(time: Duration) -> String {
    let minutes = time.as_secs().div_ceil(60);
    format!("{} h {} min", minutes / 60, minutes % 60)
}

/// The budgets of all hosts that a process speaks to. Clones are one ledger; a default one is a new one.
#[derive(Clone, Default)]
pub struct Ledger {
    budgets: Arc<Mutex<BTreeMap<String, Arc<Budget>>>>,
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
    /// The budget of an origin (`https://host` or `https://host:port`). Where several ask for limits, the lowest holds.
    pub fn budget(&self, origin: &str, limits: Limits) -> Arc<Budget> {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = match budgets.get(origin) {
            Some(budget) => Arc::clone(budget),
            None => {
                let budget = Arc::new(Budget::new(origin.to_owned()));
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
    origin: String,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    usual: Limits,
    asked: Limits,
    limits: Limits,
    in_use: usize,
    requests: u64,
    bytes: u64,
    /// When the next request may start, by the rate.
    next_start: Option<Instant>,
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
        let pause = self.limits.requests_per_second.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
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
}

impl Budget {
    fn new(origin: String) -> Self {
        let host = origin.split_once("://").map_or(origin.as_str(), |(_, host)| host);
        let host = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(host, _)| host);
        let usual = Limits::usual(host);
        Self { state: Mutex::new(State { usual, limits: usual, ..State::default() }), origin, freed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
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

    /// Waits until a request may be sent; the permit is held until its response is read.
    ///
    /// # Errors
    /// [`BudgetError`] where waiting would not help soon.
    pub async fn enter(self: &Arc<Self>) -> Result<Permit, BudgetError> {
        let permit = self.connection().await;
        let mut slot = None;
        loop {
            let until = {
                let (mut state, now) = (self.state(), Instant::now());
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
                            return Ok(permit);
                        }
                        start
                    }
                }
            };
            tokio::time::sleep_until(until).await;
        }
    }

    async fn connection(self: &Arc<Self>) -> Permit {
        let mut freed = std::pin::pin!(self.freed.notified());
        loop {
            // Listening begins before looking, so that no release is missed between the two.
            freed.as_mut().enable();
            {
                let mut state = self.state();
                if state.in_use < state.limits.connections.unwrap_or(CONNECTIONS).max(1) {
                    state.in_use += 1;
                    return Permit { budget: Arc::clone(self) };
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

/// One of the connections of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
}

impl Permit {
    /// Counts bytes of the response.
    pub fn received(&self, bytes: u64) {
        let (mut state, now) = (self.budget.state(), Instant::now());
        state.bytes = state.bytes.saturating_add(bytes);
        let (start, so_far) = state.day.filter(|(start, _)| now - *start < DAY).unwrap_or((now, 0));
        state.day = Some((start, so_far.saturating_add(bytes)));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.state().in_use -= 1;
        self.budget.freed.notify_one();
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
