//! A budget that several processes share: none of them uses more than it was granted.
//!
//! Who hands out the grants is left open; in a cluster it is a semaphore of the engine. Only limits that a host is known for or
//! that somebody asked for are shared: that nobody opens more than a few connections at a time is good manners of each process.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::{Budget, CONNECTIONS, Grant, Ledger, Limits, State};

/// What a process wants and has of a shared budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// Scheme, host and port.
    pub origin: String,
    /// The limits of all processes together.
    pub limits: Limits,
    /// What was granted.
    pub grant: Grant,
    /// Connections in use.
    pub in_use: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// Requests sent so far.
    pub requests: u64,
    /// Bytes received so far.
    pub bytes: u64,
}

impl Ledger {
    /// A ledger of which nothing may be used but what [`Ledger::grant`] gives, where a limit is known or asked for.
    #[must_use]
    pub fn shared() -> Self {
        let mut ledger = Self::default();
        ledger.is_shared = true;
        ledger
    }

    /// What is wanted of the shared budgets.
    #[must_use]
    pub fn demands(&self) -> Vec<Demand> {
        let budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.values().filter_map(|budget| budget.demand()).collect()
    }

    /// Sets what may be used of a budget.
    pub fn grant(&self, origin: &str, grant: Grant) {
        let budget = self.budgets.lock().unwrap_or_else(PoisonError::into_inner).get(origin).cloned();
        if let Some(budget) = budget {
            budget.state().take(grant, Instant::now());
            budget.freed.notify_waiters();
        }
    }
}

impl Budget {
    fn demand(&self) -> Option<Demand> {
        let state = self.state();
        let grant = state.shared()?;
        Some(Demand {
            origin: self.origin.clone(),
            limits: state.limits,
            grant,
            in_use: state.shares.in_use(),
            waiting: state.shares.waiting(),
            requests: state.requests,
            bytes: state.bytes,
        })
    }
}

impl State {
    /// Takes a grant. Who had none before does not begin with a request in the moment after another's last.
    fn take(&mut self, grant: Grant, now: Instant) {
        let is_first = self.grant.is_none_or(|before| before.connections == 0);
        self.grant = Some(grant);
        let pause = self.rate().and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        if let (true, Some(pause)) = (is_first, pause) {
            self.next_start = self.next_start.max(now.checked_add(pause));
        }
    }

    /// What was granted, where the budget is shared.
    pub(super) fn shared(&self) -> Option<Grant> {
        let is_limited = self.usual != Limits { connections: Some(CONNECTIONS), ..Limits::default() }
            || self.asked != Limits::default();
        self.grant.filter(|_| is_limited)
    }

    /// Connections that may be used.
    pub(super) fn connections(&self) -> usize {
        let all = self.limits.connections.unwrap_or(CONNECTIONS).max(1);
        match self.shared() {
            // A request more than the bytes allow would be one too many.
            Some(grant) if grant.bytes.is_some_and(|bytes| self.bytes >= bytes) => 0,
            Some(grant) => grant.connections.min(all),
            None => all,
        }
    }

    /// Requests per second that may be sent.
    pub(super) fn rate(&self) -> Option<f64> {
        let rate = self.limits.requests_per_second?;
        let all = self.limits.connections.unwrap_or(CONNECTIONS).max(1);
        Some(match self.shared() {
            Some(grant) => rate * grant.connections.clamp(1, all) as f64 / all as f64,
            None => rate,
        })
    }

    /// True where the bytes of all are used up.
    pub(super) fn is_spent(&self) -> bool {
        self.shared().is_some_and(|grant| grant.is_last && grant.bytes.is_some_and(|bytes| self.bytes >= bytes))
    }
}
