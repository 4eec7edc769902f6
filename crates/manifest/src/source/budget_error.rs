//! Why a request is not sent, and how those before it came to nothing.

use std::fmt;
use std::time::Duration;

/// Longest time that a server may ask to be left alone before it is an error.
pub const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// How a request came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection.
    Unreachable,
    /// No answer in time.
    Silent,
    /// The server fails, with this status.
    Failing(u16),
    /// The server asks to wait, with this status.
    Busy(u16),
    /// Access was refused, with this status.
    Denied(u16),
}

impl Fault {
    /// What a status tells of the host; `None` for those that answer the question. 501 and 505 say that it was a wrong one.
    #[must_use]
    pub const fn of(status: u16) -> Option<Self> {
        match status {
            401 | 403 => Some(Self::Denied(status)),
            408 | 500 | 502..=504 | 507..=599 => Some(Self::Failing(status)),
            429 => Some(Self::Busy(status)),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("cannot connect"),
            Self::Silent => f.write_str("no answer in time"),
            Self::Failing(status) | Self::Busy(status) | Self::Denied(status) => write!(f, "status {status}"),
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
    /// It failed so often that it is not asked for a while.
    #[error("{scope} failed {failures} times in a row (last: {last}): it is left alone for another {} s", 
        .wait.as_secs_f64().ceil())]
    LeftAlone {
        /// Scheme, host and port; with the bucket where access to that was refused.
        scope: String,
        /// Failures without an answer in between.
        failures: u32,
        /// The last of them.
        last: Fault,
        /// Until it is asked again.
        wait: Duration,
    },
    /// The files of one folder, where nothing else was asked for.
    #[error("{scope} answered nothing for {} s (last: {last}): it is given up for now", .time.as_secs())]
    GivenUp {
        /// Scheme, host and port.
        scope: String,
        /// Since the first failure.
        time: Duration,
        /// The last failure.
        last: Fault,
    },
}

/// Rounded up, so that it is not too early to try again then.
fn hours_and_minutes(time: Duration) -> String {
    let minutes = time.as_secs().div_ceil(60);
    format!("{} h {} min", minutes / 60, minutes % 60)
}
