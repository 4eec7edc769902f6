//! One tile of a run: what the last run left, the build in a task of its own, and word for the next run.

use std::sync::Arc;
use std::time::Duration;

use s2ice_manifest::source::changes::Heard;
use s2ice_store::duration::Span;
use s2ice_store::runs::LastRun;
use s2ice_store::tile::{Occasion, Scheduled};

use crate::config::{RunTable, TileEntry};
use crate::memory;
use crate::supervise::{End, Stop, supervise};
use crate::tile::{Ended, Lost, Outcome, Word};
use crate::told::Steps;

/// What the command line asks of every tile.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// Ask the catalogue for everything.
    pub full: bool,
    /// Remove what the inputs no longer have.
    pub prune: bool,
    /// Write nothing.
    pub dry_run: bool,
}

/// How tiles are refreshed.
pub struct Refresh {
    asked: Asked,
    /// Every so many runs the catalogue is asked for everything.
    full_every: u32,
    /// Longest time for a tile.
    limit: Option<Duration>,
    occasion: Occasion,
    /// True where the run writes a line for each tile.
    reports: bool,
    stop: Stop,
}

impl Refresh {
    /// Those of a run, until `stop` is ready.
    #[must_use]
    pub fn new(table: &RunTable, asked: Asked, occasion: &Occasion, stop: Stop) -> Self {
        Self {
            asked,
            full_every: table.full_every.get(),
            limit: table.tile_timeout.map(|span| span.0),
            occasion: occasion.clone(),
            reports: table.report.is_some(),
            stop,
        }
    }

    /// Refreshes one tile: what became of it; `None` where the run was told to stop before it
    /// began. Whatever happens to the tile, this returns.
    pub async fn tile(&self, entry: Arc<TileEntry>, given: Given) -> Option<Word> {
        let now = self.occasion.clock;
        let started = now();
        let recalled = async {
            match given.last {
                Some(last) => *last,
                None => memory::recall(&entry).await,
            }
        };
        let before = tokio::select! {
            biased;
            () = self.stop.clone() => return None,
            before = recalled => before,
        };
        let mut settings = entry.settings.clone();
        let headway = before.as_ref().and_then(|before| before.headway.clone());
        settings.scheduled = Scheduled { headway, heard: given.heard };
        settings.dry_run = self.asked.dry_run;
        settings.prune |= self.asked.prune;
        settings.full |= self.asked.full || is_due(before.as_ref(), self.full_every);
        // Waiting for what other tiles hold is none of its time.
        let ledger = settings.source_options.ledger.share();
        settings.share(&ledger);
        let waited = move || ledger.waited();
        let build = move || async move { s2ice_store::tile::build(&settings, &Steps).await };
        // A host that may not write for its clock does not write this either.
        let mut may_write = !self.asked.dry_run;
        let result = match supervise(build, self.limit, waited, self.stop.clone()).await {
            End::NotBegun => return None,
            End::Done(built) => {
                may_write &= !matches!(built, Err(s2ice_store::Error::Clock { .. }));
                built.map(Box::new).map_err(|error| match error {
                    s2ice_store::Error::Unseen(unseen) => Lost::Unseen(unseen),
                    error => Lost::Failed(error.to_string()),
                })
            }
            End::TimedOut => {
                let limit = Span(self.limit.unwrap_or_default());
                Err(Lost::Failed(format!("it was given up after {limit} (`tile-timeout`); nothing was published")))
            }
            End::Interrupted => Err(Lost::Interrupted("the run was told to stop; nothing was published".to_owned())),
            End::Panicked(text) => Err(Lost::Failed(format!("a bug in s2ice stopped it ({text}); please report it"))),
        };
        let ended = Ended { started, ended: now(), result };
        let has_store = before.is_some() || ended.result.is_ok();
        let last = ended.remember(&entry, &self.occasion.run, before, (self.reports, self.full_every));
        if may_write {
            memory::remember(&entry, &last, has_store, ended.outcome() == Outcome::Interrupted).await;
        }
        Some(Word { tile: ended.report(&entry), build: ended.result.ok(), last })
    }
}

/// What a run knows of a tile before it is refreshed.
#[derive(Debug, Default)]
pub struct Given {
    /// What the last run left; asked for where it is not given.
    pub last: Option<Box<Option<LastRun>>>,
    /// What the catalogue told of it when it was asked for all tiles.
    pub heard: Option<Heard>,
}

impl Asked {
    /// True where the catalogue will be asked for everything.
    pub fn is_whole(self, before: Option<&LastRun>, full_every: u32) -> bool {
        self.full || self.prune || is_due(before, full_every)
    }
}

/// Catalogues change items in place and backfill: now and then nothing is taken for known. A store without word of the
/// last run may be anybody's.
fn is_due(before: Option<&LastRun>, full_every: u32) -> bool {
    before.is_none_or(|before| before.runs_since_full.saturating_add(1) >= full_every)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    #[test]
    fn every_seventh_run_asks_for_everything() {
        let time = DateTime::<Utc>::UNIX_EPOCH;
        let after = |runs| LastRun { runs_since_full: runs, ..LastRun::new("1", "33TVN", "L2A", time, time) };
        assert!(is_due(None, 7));
        let due: Vec<bool> = (0..8).map(|runs| is_due(Some(&after(runs)), 7)).collect();
        assert_eq!(due, [false, false, false, false, false, false, true, true]);
        assert!(is_due(Some(&after(0)), 1));
        assert!(is_due(Some(&after(u32::MAX)), u32::MAX));
    }
}
