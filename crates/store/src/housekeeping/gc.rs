//! `s2ice gc`: what nobody needs any more goes, in two steps that no reader of the last hour notices.
//!
//! A gc first collects objects that nothing pointed to for an hour or longer, and then lets go of branches, tags and history
//! whose time has come: objects of these are left to the next gc. So a reader that opened a state just before it was let go
//! of still finds all of it.
//!
//! Icechunk deletes the transaction log of a collected snapshot, unless a snapshot that is left spans its changes since the
//! history was shortened (spec 2): differences of states need these, so they stay, a few kilobytes for each build.

use chrono::{DateTime, TimeDelta, Utc};
use icechunk::Repository;
use s2ice_manifest::source::location::SourceUrl;

use super::collect::{Roots, collect};
use super::published::{Published, published};
use super::release::release;
use super::report::{Collected, GcReport};
use super::stale::{remove_stale_branches, stale_branches};
use super::sweep::sweep;
use super::{READER_GRACE, refs, state};
use crate::error::{Error, Result, icechunk_error};
use crate::plan::LAYOUT_VERSION;
use crate::report::REPORT_VERSION;
use crate::target::Target;

/// What a gc may remove.
#[derive(Debug, Clone, Copy)]
pub struct GcOptions {
    /// Published states that stay however old they are: the newest.
    pub keep_published: usize,
    /// Nothing younger than this is touched; at least [`READER_GRACE`].
    pub older_than: TimeDelta,
    /// Change nothing.
    pub dry_run: bool,
    /// The present time.
    pub now: DateTime<Utc>,
}

/// Removes branches of killed runs, published states beyond those to keep, history, and objects that nothing points to.
/// Takes the lock of a local store; on an object store it may run beside a build. What `main`, another branch or a tag of
/// the operator's own points to always stays.
///
/// # Errors
/// [`Error::NoStore`], [`Error::Foreign`], [`Error::Newer`], [`Error::Locked`], [`Error::Icechunk`].
pub async fn gc(target: &Target, options: GcOptions) -> Result<GcReport> {
    let url = target.url();
    let repository = refs::open(target).await?;
    let lock = if options.dry_run { None } else { Some(target.lock()?) };
    // Whoever holds the lock of a local store knows that no other run is at work.
    let alone = lock.is_some() && url.local_root().is_some();
    let main = refs::main(&repository, url).await?;
    check(&repository, url, &main).await?;
    gc_repository(&repository, url, alone, options).await
}

async fn gc_repository(repository: &Repository, url: &SourceUrl, alone: bool, options: GcOptions) -> Result<GcReport> {
    let main = refs::main(repository, url).await?;
    check(repository, url, &main).await?;
    let hour_ago = options.now - READER_GRACE;
    let cutoff = cutoff(&options);
    let stale = if alone { DateTime::<Utc>::MAX_UTC } else { hour_ago };
    let branches = match options.dry_run {
        true => stale_branches(repository, url, None, stale).await?,
        false => remove_stale_branches(repository, url, None, stale).await?,
    };
    let mut report = GcReport {
        kind: "s2ice.gc".to_owned(),
        version: REPORT_VERSION,
        store: url.to_string(),
        dry_run: options.dry_run,
        branches,
        tags: Vec::new(),
        published: 0,
        released_snapshots: 0,
        collected: Collected::default(),
        overwritten: sweep(repository, url, cutoff, options.dry_run).await?,
        failed_objects: 0,
        failures: Vec::new(),
        postponed: None,
    };
    let states = published(repository, url).await?;
    report.published = states.len();
    match Roots::since(repository, url, hour_ago).await? {
        // The history of spec 1 does not tell what readers of the last hour may be on.
        Roots::Unknown => {
            report.postponed = Some(
                "the store changed less than an hour ago, and a repository of spec 1 does not tell what readers may still \
                 be on: run gc an hour after the last build"
                    .to_owned(),
            );
            return Ok(report);
        }
        Roots::JustReleased => {
            report.postponed = Some(
                "history was let go of less than an hour ago, and readers may still be on it: run gc later".to_owned(),
            );
        }
        Roots::Known(roots) => {
            let summary = collect(repository, url, roots, cutoff, options.dry_run).await?;
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
    }
    for state in surplus(&states, options.keep_published, cutoff).filter(|state| state.snapshot != main) {
        if !options.dry_run {
            match repository.delete_tag(&state.tag).await {
                Ok(()) => {}
                Err(error) if refs::is_gone(&error) => continue,
                Err(error) => return Err(icechunk_error("deleting the tag of a published state", url, &error)),
            }
        }
        report.tags.push(state.tag.clone());
    }
    report.published -= report.tags.len();
    report.released_snapshots =
        release(repository, url, cutoff, (&report.tags, &report.branches), options.dry_run).await?;
    Ok(report)
}

/// What was made after this is not touched.
fn cutoff(options: &GcOptions) -> DateTime<Utc> {
    let age = options.older_than.max(READER_GRACE);
    options.now.checked_sub_signed(age).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// The published states beyond the newest `keep` that were published before `cutoff`.
fn surplus(states: &[Published], keep: usize, cutoff: DateTime<Utc>) -> impl Iterator<Item = &Published> {
    states.iter().rev().skip(keep).filter(move |state| state.time < cutoff)
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
