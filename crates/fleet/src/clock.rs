//! Times as reports tell them.

use chrono::{DateTime, SecondsFormat, Utc};

/// RFC 3339 with milliseconds.
#[must_use]
pub fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Seconds between two times; 0 where the clock was set back.
#[must_use]
pub fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).to_std().unwrap_or_default().as_secs_f64()
}
