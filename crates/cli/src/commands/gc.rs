//! `s2ice gc`: removes what nobody needs any more.

use std::sync::Arc;

use s2ice_store::housekeeping::report::{Collected, GcReport};
use s2ice_store::housekeeping::{GcOptions, gc};
use s2ice_store::target::Target;

use super::cluster::Driven;
use super::{OfRun, summarise};
use crate::args::{GcArgs, Global};
use crate::clock;
use crate::exit::Failure;
use s2ice_fleet::text;

/// Runs the command.
pub async fn run(args: GcArgs, global: &Global, run: String) -> Result<(), Failure> {
    let options = GcOptions {
        keep_published: args.keep_published,
        older_than: args.older_than,
        dry_run: args.dry_run,
        clock: clock::now,
    };
    if let Some(stores) = super::fleet(&args.store, &args.of_file, &run)? {
        if let Some(scheduler) = &args.of_file.scheduler {
            let older_than = format!("{}s", args.older_than.num_seconds());
            let keep_published = args.keep_published.to_string();
            let words = [("--older-than", older_than), ("--keep-published", keep_published)];
            let driven = Driven { command: "gc", config: args.store.as_ref(), scheduler, tiles: &args.of_file.tile };
            return driven.run(&words, &[(args.dry_run, "--dry-run")], global);
        }
        let work = |target: Arc<Target>| async move { gc(&target, options).await };
        return super::each(stores, work, (global, &run)).await;
    }
    let target = super::store(&args.store, &args.store_options).await?;
    let report = gc(&target, options).await?;
    summarise(&OfRun::new(&report, &run), global, |told| render(told.report))?;
    match report.failures.first().filter(|_| report.failed_objects > 0) {
        Some(reason) => Err(Failure::fault(format!(
            "{} objects of {} could not be deleted and are left to the next gc: {reason}",
            text::number(report.failed_objects),
            report.store
        ))),
        None => Ok(()),
    }
}

fn render(report: &GcReport) -> String {
    let Collected { snapshots, transaction_logs, manifests, chunks, bytes } = report.collected;
    let collected =
        [(snapshots, "snapshot"), (transaction_logs, "transaction log"), (manifests, "manifest"), (chunks, "chunk")];
    let collected: Vec<String> =
        collected.into_iter().filter(|(n, _)| *n > 0).map(|(n, noun)| text::count(size(n), noun)).collect();
    let collected = match &report.postponed {
        Some(reason) => format!("nothing: {reason}"),
        None if collected.is_empty() => "nothing".to_owned(),
        None => format!("{}, {}", collected.join(", "), text::bytes(bytes)),
    };
    let former = report.overwritten;
    let rows = [
        ("killed runs", text::number(report.branches.len() as u64)),
        ("published states", format!("{} let go of, {} left", report.tags.len(), report.published)),
        ("history", format!("{} let go of", text::count(size(report.released_snapshots), "snapshot"))),
        ("collected", collected),
        ("former versions", format!("{}, {}", text::count(size(former.objects), "file"), text::bytes(former.bytes))),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let outcome = if report.dry_run { "would be removed; nothing was changed" } else { "removed" };
    format!("{}: {outcome}\n{}", report.store, text::table(&rows, &[]))
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use s2ice_store::housekeeping::report::Removed;

    use super::*;

    #[test]
    fn every_kind_is_told() {
        let report = GcReport {
            kind: "s2ice.gc".to_owned(),
            version: 1,
            store: "s3://stores/33TVN".to_owned(),
            dry_run: true,
            branches: vec!["s2ice-1-1".to_owned()],
            tags: vec!["published/20261120T184818123Z".to_owned()],
            published: 10,
            released_snapshots: 3,
            collected: Collected { snapshots: 2, transaction_logs: 0, manifests: 1, chunks: 40, bytes: 12_345 },
            overwritten: Removed { objects: 7, bytes: 999 },
            failed_objects: 0,
            failures: Vec::new(),
            postponed: None,
        };
        assert_eq!(
            render(&report),
            "s3://stores/33TVN: would be removed; nothing was changed\n  \
             killed runs       1\n  \
             published states  1 let go of, 10 left\n  \
             history           3 snapshots let go of\n  \
             collected         2 snapshots, 1 manifest, 40 chunks, 12.3 kB\n  \
             former versions   7 files, 999 B\n"
        );
    }
}
