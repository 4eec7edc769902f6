//! `s2ice gc`: removes what nobody needs any more.

use std::sync::Arc;

use chrono::TimeDelta;
use s2ice_fleet::each::FleetReport;
use s2ice_store::duration::Span;
use s2ice_store::housekeeping::report::{Collected, GcReport};
use s2ice_store::housekeeping::{GRACE, GcOptions, gc};
use s2ice_store::target::Target;

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
    if let Some(stores) = super::fleet(&args.store, &args.tile, &run)? {
        let work = |target: Arc<Target>| async move { gc(&target, options).await };
        return super::each(stores, "s2ice.gc", work, (global, &run), render_all).await;
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

/// Reads an age: a length of time, or weeks such as `4w`.
///
/// # Errors
/// Anything else, and what is shorter than a day.
pub fn age(text: &str) -> Result<TimeDelta, String> {
    let days = text.strip_suffix('w').and_then(|weeks| weeks.parse::<u32>().ok()).map(|weeks| u64::from(weeks) * 7);
    let Span(age) = days.map_or_else(|| text.to_owned(), |days| format!("{days}d")).parse()?;
    let age = TimeDelta::from_std(age).map_err(|_| format!("{text} is longer than any store is old"))?;
    if age < GRACE {
        return Err("a reader or a build may need what is younger than a day: give 1d or more".to_owned());
    }
    Ok(age)
}

/// All stores of a file: the sums, and which were not done.
fn render_all(report: &FleetReport<GcReport>) -> String {
    let sum = |of: fn(&GcReport) -> u64| text::number(report.stores.iter().map(of).sum());
    let collected = |of: fn(&Collected) -> u64| report.stores.iter().map(|store| of(&store.collected)).sum::<u64>();
    let objects = collected(|c| c.snapshots + c.transaction_logs + c.manifests + c.chunks);
    let bytes: u64 = report.stores.iter().map(|store| store.collected.bytes + store.overwritten.bytes).sum();
    let postponed = report.stores.iter().filter(|store| store.postponed.is_some()).count();
    let rows = [
        ("stores", text::number(report.stores.len() as u64)),
        ("not built yet", text::number(report.unbuilt as u64)),
        ("killed runs", sum(|store| store.branches.len() as u64)),
        (
            "published states",
            format!("{} let go of, {} left", sum(|s| s.tags.len() as u64), sum(|s| s.published as u64)),
        ),
        ("history", format!("{} snapshots let go of", sum(|store| store.released_snapshots))),
        ("collected", format!("{} objects", text::number(objects))),
        ("former versions", format!("{} files", sum(|store| store.overwritten.objects))),
        ("freed", text::bytes(bytes)),
        ("postponed", text::count(postponed, "store")),
        ("left to the next gc", format!("{} objects", sum(|store| store.failed_objects))),
    ];
    let is_dry = report.stores.iter().any(|store| store.dry_run);
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let outcome = if is_dry { "would be removed; nothing was changed" } else { "removed" };
    format!("{}: {outcome}\n{}", report.config, text::table(&rows, &[]))
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
    fn ages_have_a_unit() {
        for (text, minutes) in [("1441m", 1441), ("36h", 2160), ("30d", 43_200), ("4w", 40_320), ("1d", 1440)] {
            assert_eq!(age(text).unwrap(), TimeDelta::minutes(minutes), "{text}");
        }
        for text in ["0d", "59m", "23h", "", "w", "30", "-1w", "1.5w", "3y", "213503982334601d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }

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
