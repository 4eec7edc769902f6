//! The version of a file: what tells one state of it from another.

use chrono::{DateTime, Utc};

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    /// ETag of a response.
    pub etag: Option<&'a str>,
    /// Last-Modified of that response.
    pub last_modified: Option<DateTime<Utc>>,
}

impl Version<'_> {
    /// By what two versions show that they are not the same: the ETag, or where not both have one the modification time (to
    /// the millisecond, as an index holds it). `None` where nothing tells them apart.
    #[must_use]
    pub fn differs(self, other: Version<'_>) -> Option<&'static str> {
        if let (Some(mine), Some(other)) = (self.etag, other.etag) {
            return (!same_etag(mine, other)).then_some("ETag");
        }
        let milliseconds = |time: DateTime<Utc>| time.timestamp_millis();
        let (mine, other) = (self.last_modified.map(milliseconds)?, other.last_modified.map(milliseconds)?);
        (mine != other).then_some("modification time")
    }
}

/// Whether two ETags are the same; indexes of other writers may leave out the quotes.
#[must_use]
pub fn same_etag(a: &str, b: &str) -> bool {
    a.trim_matches('"') == b.trim_matches('"')
}
