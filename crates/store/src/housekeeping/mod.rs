//! What keeps a store in order over years: tags of published states, the way back to one of them, and the removal of what
//! nobody needs any more.

mod collect;
mod foresee;
mod gc;
mod promote;
mod published;
mod redate;
mod refs;
mod release;
mod repair;
pub mod report;
mod rollback;
mod stale;
mod state;
mod sweep;

pub use gc::{GcOptions, gc};
pub(crate) use promote::promote;
pub(crate) use published::is_tagged;
pub(crate) use published::of_info;
pub(crate) use published::tag_names;
pub use published::{Published, published, published_at, tag_published};
pub(crate) use refs::{last_update, tags};
pub use repair::repair;
pub use rollback::{To, list, rollback};
pub(crate) use stale::{has_stale_branches, remove_stale_branches};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// Nothing younger than this goes, by the store's clock: no object, and no branch of a run. A reader that opened a store stays
/// on its state for at most this long: what `main`, a branch or a tag left less than this ago is still there.
pub const GRACE: TimeDelta = TimeDelta::days(1);

fn time_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
pub(crate) mod testing;
