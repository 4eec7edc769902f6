//! The clock: the only place that looks at it.

use std::time::SystemTime;

use chrono::{DateTime, Utc};
pub use s2ice_fleet::clock::text;

/// Now, in whole milliseconds, as reports tell times.
pub fn now() -> DateTime<Utc> {
    let now: DateTime<Utc> = SystemTime::now().into();
    DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now)
}
