//! The store's own clock: the times that its service or file system gives. It decides about branches, gc and rollback; this
//! host's clock only has to be near it.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use s2ice_manifest::source::location::{Heard, SourceUrl};

use crate::error::{Error, Result};
use crate::patience::{TOLERANCE, span};

/// A store's clock, and how this host's differs.
#[derive(Debug, Clone, Copy)]
pub struct StoreClock {
    heard: Heard,
    host: fn() -> DateTime<Utc>,
}

impl StoreClock {
    /// The clock of a store that told its time; the host's where it told none.
    pub fn new(heard: Option<Heard>, host: fn() -> DateTime<Utc>) -> Self {
        Self { heard: heard.unwrap_or_else(|| Heard { time: host(), at: Instant::now() }), host }
    }

    /// A clock that tells a time now, and goes on from there as this host's does.
    #[cfg(test)]
    pub(crate) fn telling(time: DateTime<Utc>) -> Self {
        Self { heard: Heard { time, at: Instant::now() }, host: Utc::now }
    }

    /// The store's time.
    pub fn now(&self) -> DateTime<Utc> {
        let since = TimeDelta::from_std(self.heard.at.elapsed()).unwrap_or_default();
        self.heard.time.checked_add_signed(since).unwrap_or(self.heard.time)
    }

    /// This host's time, by which Icechunk dates a change.
    pub(crate) fn host(&self) -> DateTime<Utc> {
        (self.host)()
    }

    /// How far this host is ahead; negative where it is behind.
    pub fn skew(&self) -> TimeDelta {
        self.host() - self.now()
    }

    /// Refuses a host that is more than [`TOLERANCE`] off.
    pub(crate) fn check(&self, url: &SourceUrl) -> Result<()> {
        match self.difference() {
            Some(differs) => Err(Error::Clock { url: url.to_string(), differs }),
            None => Ok(()),
        }
    }

    /// Tells a reader that its host is more than `TOLERANCE` off.
    pub fn warn(&self, url: &SourceUrl) {
        if let Some(differs) = self.difference() {
            tracing::warn!("the clock of this host is {differs} that of {url}: set it right (NTP)");
        }
    }

    fn difference(&self) -> Option<String> {
        let skew = self.skew();
        let direction = if skew > TimeDelta::zero() { "ahead of" } else { "behind" };
        (skew.abs() > TOLERANCE).then(|| format!("{} {direction}", span(skew)))
    }

    /// Refuses a store of which something is dated more than [`TOLERANCE`] in the future: Icechunk takes no change before.
    pub(crate) fn check_past(&self, last: DateTime<Utc>, url: &SourceUrl) -> Result<()> {
        let ahead = last - self.now();
        if ahead > TOLERANCE { Err(Error::future(url.to_string(), last, ahead)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn clock(ahead: TimeDelta) -> StoreClock {
        StoreClock { heard: Heard { time: Utc::now() - ahead, at: Instant::now() }, host: Utc::now }
    }

    #[test]
    fn a_minute_is_borne() {
        let url = SourceUrl::parse("s3://stores/33TVN").unwrap();
        for seconds in [-59, -1, 0, 1, 59] {
            clock(TimeDelta::seconds(seconds)).check(&url).unwrap();
        }
        for (seconds, expected) in
            [(61, "61 s ahead of that of"), (-70, "70 s behind that of"), (3 * 3600, "3 h ahead of that of")]
        {
            let skewed = clock(TimeDelta::seconds(seconds) + TimeDelta::milliseconds(seconds.signum() * 300));
            let text = skewed.check(&url).unwrap_err().to_string();
            assert!(text.contains(expected) && text.contains("NTP"), "{text}");
        }
    }

    #[test]
    fn only_the_future_locks() {
        let url = SourceUrl::parse("s3://stores/33TVN").unwrap();
        // Whatever this host believes.
        let clock = clock(TimeDelta::days(3));
        clock.check_past(clock.now() + TimeDelta::seconds(59), &url).unwrap();
        let text = clock.check_past(clock.now() + TimeDelta::seconds(10_801), &url).unwrap_err().to_string();
        assert!(text.contains("3 h in the future") && text.contains("s2ice repair s3://stores/33TVN"), "{text}");
    }
}
