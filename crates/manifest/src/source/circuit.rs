//! When a host is left alone: after failures in a row, until one request shows that it answers again.
//!
//! A file that is dead by itself says nothing of its host: failures count by the folders (products) that they concern, and
//! any answer in between begins the count anew.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::budget_error::{BudgetError, Fault};

/// How long a host is left alone at first; doubled each time that it still does not answer.
const FIRST_PAUSE: Duration = Duration::from_secs(30);

/// Longest time between two looks at it.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Failures that are older than this do not belong to the present ones.
const FORGET: Duration = Duration::from_secs(180);

/// Folders that are counted at most.
const COUNTED: usize = 1000;

impl Fault {
    /// So many folders and so many seconds without an answer mean that there will be none.
    fn enough(self) -> &'static [(usize, u64)] {
        match self {
            Self::Unreachable => &[(1, 1)],
            Self::Silent => &[(4, 0), (2, 45)],
            Self::Failing(_) => &[(2, 15)],
            Self::Busy(_) => &[(2, 120)],
            // Keys are wrong for all or for none; that a prefix is closed says little of the others.
            Self::Denied(401) => &[(4, 0)],
            Self::Denied(_) => &[(100, 0)],
        }
    }

    /// After so long a time the files of one folder are given up, where nothing else is asked.
    fn patience(self) -> Option<Duration> {
        match self {
            Self::Silent => Some(Duration::from_secs(45)),
            Self::Failing(_) => Some(Duration::from_secs(30)),
            Self::Busy(_) => Some(Duration::from_secs(120)),
            Self::Unreachable | Self::Denied(_) => None,
        }
    }
}

/// Failures without an answer in between.
#[derive(Debug)]
struct Row {
    since: Instant,
    latest: Instant,
    failures: u32,
    folders: BTreeSet<String>,
    last: Fault,
}

impl Row {
    fn is_enough(&self) -> bool {
        let lasts = self.latest - self.since;
        self.last
            .enough()
            .iter()
            .any(|(folders, seconds)| self.folders.len() >= *folders && lasts >= Duration::from_secs(*seconds))
    }
}

/// A host that is left alone.
#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
    failures: u32,
    last: Fault,
    /// The request that looks whether it answers again.
    probe: Option<u64>,
}

/// What is known of the failures of one host, or of a part of it.
#[derive(Debug, Default)]
pub struct Circuit {
    row: Option<Row>,
    open: Option<Open>,
}

impl Circuit {
    /// Whether a request for something in this folder may go out.
    ///
    /// # Errors
    /// [`BudgetError::LeftAlone`] and [`BudgetError::GivenUp`].
    pub fn check(&self, scope: &str, folder: &str, now: Instant) -> Result<(), BudgetError> {
        if let Some(Open { until, failures, last, probe, pause }) = &self.open {
            let waits = if probe.is_some() { *pause } else { until.saturating_duration_since(now) };
            if waits.is_zero() {
                return Ok(());
            }
            let (scope, failures, last) = (scope.to_owned(), *failures, *last);
            return Err(BudgetError::LeftAlone { scope, failures, last, wait: waits });
        }
        match &self.row {
            Some(Row { since, latest, folders, last, .. })
                if now - *latest < FORGET
                    && folders.len() == 1
                    && folders.contains(folder)
                    && last.patience().is_some_and(|patience| *latest - *since >= patience) =>
            {
                Err(BudgetError::GivenUp { scope: scope.to_owned(), time: now - *since, last: *last })
            }
            _ => Ok(()),
        }
    }

    /// A request goes out: where the host is left alone, it is the one that looks.
    pub fn passes(&mut self, request: u64) {
        if let Some(open) = &mut self.open {
            open.probe.get_or_insert(request);
        }
    }

    /// The request will tell nothing.
    pub fn gone(&mut self, request: u64) {
        if let Some(open) = self.open.as_mut().filter(|open| open.probe == Some(request)) {
            open.probe = None;
        }
    }

    /// There was an answer.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// A request that began at `started` failed; true where the host is left alone from now on.
    pub fn failed(&mut self, fault: Fault, request: u64, folder: &str, started: Instant, now: Instant) -> bool {
        if let Some(open) = &mut self.open {
            // Those that were under way when it was closed tell nothing new.
            if open.probe == Some(request) {
                open.pause = (open.pause * 2).min(LONGEST_PAUSE);
                (open.probe, open.until, open.last) = (None, now + open.pause, fault);
                open.failures = open.failures.saturating_add(1);
            }
            return false;
        }
        let row = self.row.take().filter(|row| now - row.latest < FORGET);
        let new = || Row { since: started, latest: now, failures: 0, folders: BTreeSet::new(), last: fault };
        let mut row = row.unwrap_or_else(new);
        (row.since, row.latest, row.last) = (row.since.min(started), now, fault);
        row.failures = row.failures.saturating_add(1);
        if row.folders.len() < COUNTED {
            row.folders.insert(folder.to_owned());
        }
        let is_enough = row.is_enough();
        if is_enough {
            let (failures, last) = (row.failures, row.last);
            self.open = Some(Open { until: now + FIRST_PAUSE, pause: FIRST_PAUSE, failures, last, probe: None });
        } else {
            self.row = Some(row);
        }
        is_enough
    }
}

/// The bucket of a request, where the host has several: the first part of its path.
pub fn bucket(path: &str) -> &str {
    path.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default()
}

/// The folder that a request is about: of the product, where its path or query names one.
pub fn folder(path: &str) -> String {
    let plain = path.replace("%2F", "/").replace("%2f", "/");
    if let Some(product) = plain.split(['/', '?', '&', '=']).find(|part| part.ends_with(".SAFE")) {
        return product.to_owned();
    }
    if plain.contains('?') {
        return plain;
    }
    let mut parts: Vec<&str> = plain.split('/').collect();
    parts.pop();
    // Amazon's copy has a folder for each resolution, and one for the masks.
    while parts.last().is_some_and(|part| matches!(*part, "R10m" | "R20m" | "R60m" | "qi")) {
        parts.pop();
    }
    parts.join("/")
}

#[cfg(test)]
#[path = "circuit_tests.rs"]
mod tests;
