//! What keeps a store in order over years: tags of published states, the way back to one of them, and the removal of what
//! nobody needs any more.

mod published;
mod refs;
mod stale;

pub use published::{Published, published, tag_published};
pub use stale::remove_stale_branches;

use chrono::TimeDelta;

/// A reader that opened a store stays on its state for at most this long: what the store let go of less than this ago
/// is still there.
pub const READER_GRACE: TimeDelta = TimeDelta::hours(1);

#[cfg(test)]
mod testing;
