//! `s2ice gc`: what nobody needs any more goes, in one pass that no reader of the last day notices.
//!
//! The history is shortened first, in one change: what is let go of is older than a day, and neither `main`, a branch nor a tag
//! of the operator's own led a reader to it for as long. A published state is as old as the time since the next one was published. Then every object goes that nothing points to and that is older
//! than the same time. So the tag of a published state is good for readers until it is due, and not for the day after.
//!
//! Icechunk deletes the transaction log of a collected snapshot, unless a snapshot that is left spans its changes since the
//! history was shortened (spec 2): differences of states need these, so they stay, a few kilobytes for each build.

use chrono::{DateTime, TimeDelta, Utc};
use icechunk::Repository;
use s2ice_manifest::source::location::SourceUrl;

use super::collect::{Roots, collect};
use super::foresee::foresee;
use super::published::published;
use super::release::{Policy, release};
use super::report::{Collected, GcReport};
use super::stale::{Locked, remove_stale_branches, stale_branches};
use super::sweep::sweep;
use super::{GRACE, refs, state};
use crate::clock::StoreClock;
use crate::error::{Error, Result};
use crate::patience::TOLERANCE;
use crate::plan::LAYOUT_VERSION;
use crate::report::REPORT_VERSION;
use crate::target::Target;

/// What a gc may remove.
#[derive(Debug, Clone, Copy)]
pub struct GcOptions {
    /// Published states that stay however old they are: the newest.
    pub keep_published: usize,
    /// Nothing younger than this is touched; at least [`GRACE`].
    pub older_than: TimeDelta,
    /// Change nothing.
    pub dry_run: bool,
    /// This host's clock, which must be near the store's.
    pub clock: fn() -> DateTime<Utc>,
}

/// Removes branches of killed runs, published states beyond those to keep, history, and objects that nothing points to.
/// Takes the lock of a local store; on an object store it may run beside a build. What `main`, another branch or a tag of
/// the operator's own points to always stays.
///
/// # Errors
/// [`Error::NoStore`], [`Error::Foreign`], [`Error::Newer`], [`Error::Locked`], [`Error::Clock`], [`Error::Future`],
/// [`Error::Icechunk`].
pub async fn gc(target: &Target, options: GcOptions) -> Result<GcReport> {
    let url = target.url();
    let repository = refs::open(target).await?;
    let lock = if options.dry_run { None } else { Some(target.lock()?) };
    // Whoever holds the lock of a local store knows that no other run is at work.
    let alone = lock.is_some() && url.local_root().is_some();
    let clock = refs::clock(&repository, target, options.clock, options.dry_run).await?;
    gc_repository(&repository, url, alone, options, &clock).await
}

async fn gc_repository(
    repository: &Repository,
    url: &SourceUrl,
    alone: bool,
    options: GcOptions,
    clock: &StoreClock,
) -> Result<GcReport> {
    check(repository, url, &refs::main(repository, url).await?).await?;
    let (now, dry_run) = (clock.now(), options.dry_run);
    let cutoff = now.checked_sub_signed(options.older_than.max(GRACE)).unwrap_or(DateTime::<Utc>::MIN_UTC);
    let branches = match dry_run {
        true => stale_branches(repository, url, alone, clock, Locked::Borne).await?,
        false => remove_stale_branches(repository, url, alone, clock).await?,
    };
    let mut report = GcReport {
        kind: "s2ice.gc".to_owned(),
        version: REPORT_VERSION,
        store: url.to_string(),
        dry_run,
        branches,
        tags: Vec::new(),
        published: published(repository, url).await?.len(),
        released_snapshots: 0,
        collected: Collected::default(),
        overwritten: sweep(repository, url, cutoff, dry_run).await?,
        failed_objects: 0,
        failures: Vec::new(),
        postponed: None,
    };
    // Changes are dated by the clocks of the hosts that made them.
    let in_use = now - GRACE - TOLERANCE;
    let roots = match Roots::since(repository, url, in_use).await? {
        Roots::Known(roots) => roots,
        // The history of spec 1 does not tell what readers of the last day may be on.
        Roots::Unknown => {
            report.postponed = Some(
                "the store changed less than a day ago, and a repository of spec 1 does not tell what readers may still be \
                 on: run gc a day after the last build"
                    .to_owned(),
            );
            return Ok(report);
        }
    };
    let gone = report.branches.clone();
    let mut policy = Policy { keep_published: options.keep_published, cutoff, in_use, roots, gone };
    let history = release(repository, url, &mut policy, clock, dry_run).await?;
    report.published -= history.tags.len().min(report.published);
    report.released_snapshots = history.released;
    if dry_run {
        report.collected = foresee(repository, url, &history, cutoff).await?;
    } else {
        let mut roots = policy.roots;
        roots.retain(|root| history.snapshots.iter().any(|snapshot| snapshot.id == *root));
        let summary = collect(repository, url, roots, cutoff).await?;
        report.collected = Collected {
            snapshots: summary.snapshots_deleted,
            transaction_logs: summary.transaction_logs_deleted,
            manifests: summary.manifests_deleted,
            chunks: summary.chunks_deleted,
            bytes: summary.bytes_deleted,
        };
        report.failed_objects = summary.objects_failed_to_delete;
        report.failures = summary.delete_errors;
    }
    report.tags = history.tags;
    Ok(report)
}

/// Refuses what is no store of this program's.
async fn check(repository: &Repository, url: &SourceUrl, main: &icechunk::format::SnapshotId) -> Result<()> {
    let state = state::read(repository, url, main).await?;
    let url = url.to_string();
    match state.stamp {
        _ if state.empty => Err(Error::NoStore { url }),
        None => Err(Error::Foreign { url }),
        Some(stamp) if stamp.layout > LAYOUT_VERSION => {
            Err(Error::Newer { url, writer: stamp.writer, found: stamp.layout, known: LAYOUT_VERSION })
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
