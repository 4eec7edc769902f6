//! A run without news: nothing that was asked has changed, so the last run's answer is given again.
//!
//! The memory holds the question of the last run that left nothing to do, the versions of what answered it, and the state of
//! the store. Where all of these are as they were, no index is read and the store is not looked at any further.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use s2ice_manifest::assemble::Refusal;
use s2ice_manifest::source::memory::Memory;
use s2ice_manifest::source::versions::{IndexVersion, index_versions};
use s2ice_manifest::stac::Seen;
use serde::{Deserialize, Serialize};

use super::catalogue::{Until, after, before, query as question, reached};
use super::fingerprint::of_settings;
use super::inputs::Standing;
use super::search::{catalogue, index_locations};
use super::{Bearing, BuildSettings};
use crate::clock::StoreClock;
use crate::error::Result;
use crate::headway::Headway;
use crate::housekeeping::{has_stale_branches, remove_stale_branches};
use crate::progress::Progress;
use crate::report::{BuildReport, Changes, IndexedReport, SourceUse, Times, Unmatched};
use crate::repository::{Opened, head};
use crate::target::Target;

/// What a run asked, what answered it, and what came of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Settled {
    /// The state of the store.
    snapshot: String,
    /// The question, and the versions of the files that answered it.
    asked: Asked,
    /// What the catalogue answered; absent without one, and where it is a file.
    answer: Option<Answer>,
    /// What was reported.
    report: BuildReport,
}

/// The question of a run, and the versions of the files that answer it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    question: String,
    files: Vec<IndexVersion>,
    /// True where the catalogue is an API that has to be asked.
    api: bool,
}

/// What a catalogue shows since some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    since: DateTime<Utc>,
    /// True where later searches go on from there, too, whatever they see.
    waits: bool,
    seen: Seen,
}

impl Asked {
    /// What this run asks; `None` where something must be asked that has no version.
    pub async fn of(settings: &BuildSettings) -> Option<Self> {
        settings.store.as_ref()?;
        let mut files = index_versions(&index_locations(settings), &settings.reach_index()).await.ok()?;
        let mut api = false;
        if let Some(stac) = &settings.stac {
            match stac.local() {
                Some(path) if path.is_dir() => return None,
                None if stac.is_web() => api = true,
                _ => {
                    let (place, storage) = (stac.to_string(), &settings.stac_options.storage);
                    files.extend(index_versions(&[place], storage).await.ok()?);
                }
            }
        }
        let certain = files.iter().all(|file| file.is_the_same_as(file));
        certain.then(|| Self { question: of_settings(settings, Bearing::Outcome), files, api })
    }
}

impl Settled {
    /// What there is to remember of a run that left nothing to do.
    pub fn of(
        settings: &BuildSettings,
        asked: Asked,
        snapshot: String,
        (seen, until): (Option<&Seen>, Option<Until>),
        report: &BuildReport,
    ) -> Option<Self> {
        let answer = match (asked.api, seen) {
            (false, _) => None,
            (true, None) => return None,
            (true, Some(seen)) => {
                let Until { time, waits } = until?;
                let since = before(settings, time)?;
                let late = |time: &Option<DateTime<Utc>>| time.is_none_or(|time| time.timestamp() >= since.timestamp());
                let seen = seen.iter().filter(|(_, time)| late(time)).map(|(name, time)| (name.clone(), *time));
                Some(Answer { since, waits, seen: seen.collect::<BTreeMap<_, _>>() })
            }
        };
        Some(Self { snapshot, asked, answer, report: quiet(report) })
    }

    /// Takes the place of what is remembered, unless that tells the same.
    pub fn remember(&self, memory: &Memory) {
        if let Some(before) = Self::recall(memory)
            && (&before.snapshot, &before.asked, &before.answer) == (&self.snapshot, &self.asked, &self.answer)
            && left_out(&before.report) == left_out(&self.report)
        {
            return;
        }
        if let Ok(text) = serde_json::to_string(self) {
            memory.settle_for(text);
        }
    }

    /// What is remembered, where it can be understood.
    pub fn recall(memory: &Memory) -> Option<Self> {
        serde_json::from_str(&memory.settled()?).ok()
    }

    /// The report of this run, where nothing is new.
    ///
    /// # Errors
    /// The catalogue cannot be read, or the store takes no change.
    pub async fn again(
        self,
        settings: &BuildSettings,
        asked: &Asked,
        memory: &Memory,
        (target, clock): (&Target, &StoreClock),
        progress: &dyn Progress,
    ) -> Result<Option<BuildReport>> {
        let anew = settings.prune || settings.full || !settings.recheck.is_empty();
        if anew || self.asked != *asked || memory.has_due() {
            return Ok(None);
        }
        // What is wrong with the place is told by who opens it.
        let head = head(target).await.ok().flatten();
        let Some(head) = head.filter(|head| head.main.to_string() == self.snapshot) else {
            return Ok(None);
        };
        let mut report = self.report;
        if let Some(Answer { since, waits, seen: known }) = &self.answer {
            // What changed before the last run was looked at by that.
            let question = question(settings).unwrap_or_default();
            let until = reached(settings, &question, &self.snapshot, memory).max(after(settings, *since));
            let since = until.and_then(|until| before(settings, until)).unwrap_or(*since);
            let standing = Standing { since: Some(since), may_be_empty: true, ..Standing::default() };
            let (Some(load), stac) = catalogue(settings, &standing, progress).await? else { return Ok(None) };
            let is_known = |(name, time): (&String, &Option<DateTime<Utc>>)| known.get(name) == Some(time);
            if !load.incremental || !load.completeness.is_complete() || !load.seen_items.iter().all(is_known) {
                return Ok(None);
            }
            report.stac = stac;
            let newest = load.latest_change.map(|time| time.min((settings.occasion.clock)())).filter(|_| !waits);
            report.headway = newest.max(until).map(|until| Headway {
                query: question,
                snapshot: self.snapshot.clone(),
                until,
                kept: memory.kept().len(),
            });
            if let Some(catalogue) = &mut report.catalogue {
                "incremental".clone_into(&mut catalogue.mode);
                catalogue.since = Some(since.to_rfc3339_opts(SecondsFormat::Millis, true));
            }
        }
        if !settings.dry_run {
            let (url, alone) = (target.url(), target.url().local_root().is_some());
            let may_be_stale = head.info.map_or(Ok(true), |info| has_stale_branches(&info, url, alone, clock))?;
            if may_be_stale {
                let Some(Opened { repository, .. }) = Opened::open(target).await? else { return Ok(None) };
                report.cleaned = remove_stale_branches(&repository, url, alone, clock).await?;
            }
        }
        tracing::debug!(snapshot = self.snapshot, "nothing is new");
        report.dry_run = settings.dry_run;
        report.run.clone_from(&settings.occasion.run);
        Ok(Some(report))
    }
}

/// What a report names as not in the store, and why.
fn left_out(report: &BuildReport) -> (&[Refusal], &[Unmatched]) {
    (&report.refused, &report.products.without_index)
}

/// The report of a run that finds what the reported one left.
fn quiet(report: &BuildReport) -> BuildReport {
    let still = |changes: &Changes, times: &Times| Changes {
        unchanged: times.count.saturating_sub(changes.kept),
        kept: changes.kept,
        ..Changes::default()
    };
    let mut out = report.clone();
    (out.committed, out.gate, out.published) = (None, None, None);
    out.cleaned.clear();
    out.leaving.clear();
    out.attempts = 1;
    out.source_use = SourceUse::default();
    out.changes = still(&report.changes, &report.times);
    for era in &mut out.eras {
        era.changes = still(&era.changes, &era.times);
        era.placed.clear();
    }
    if let Some(indexed) = &mut out.indexed {
        *indexed = IndexedReport::default();
    }
    out
}
