//! `s2ice repair`: a store that a host with a wrong clock wrote.

use s2ice_store::housekeeping::repair;
use s2ice_store::housekeeping::report::RepairReport;

use super::{OfRun, summarise};
use crate::args::{Global, RepairArgs};
use crate::clock;
use crate::exit::Failure;
use s2ice_fleet::text;

/// Runs the command.
pub async fn run(args: RepairArgs, global: &Global, run: String) -> Result<(), Failure> {
    let target = super::store(&args.store, &args.store_options).await?;
    let report = repair(&target, args.apply, clock::now).await?;
    summarise(&OfRun::new(&report, &run), global, |told| render(told.report))
}

fn render(report: &RepairReport) -> String {
    let outcome = match &report.locked_until {
        None => "takes changes; there is nothing to repair".to_owned(),
        Some(until) if report.released => format!("takes changes again; it would have taken none until {until}"),
        Some(until) => format!("takes no change until {until}; `s2ice repair {} --apply` releases it", report.store),
    };
    let rows = [
        ("time of the store", report.store_time.clone()),
        ("this host", format!("{} s ahead", report.clock_ahead_seconds)),
        (
            "from the future",
            format!(
                "{}, {}",
                text::count(usize::try_from(report.changes).unwrap_or(usize::MAX), "change"),
                text::count(report.snapshots.len(), "snapshot")
            ),
        ),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    let named = |name: &'static str, names: &[String]| -> Vec<Vec<String>> {
        names.iter().map(|value| vec![name.to_owned(), value.clone()]).collect()
    };
    let more = [named("named by the future", &report.tags), named("abandoned", &report.branches)].concat();
    let rows: Vec<Vec<String>> = rows.chain(more).collect();
    format!("{}: {outcome}\n{}", report.store, text::table(&rows, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_and_what_to_do_are_told() {
        let mut report = RepairReport {
            kind: "s2ice.repair".to_owned(),
            version: 1,
            store: "s3://stores/33TVN".to_owned(),
            store_time: "2026-11-20T18:48:18.123Z".to_owned(),
            clock_ahead_seconds: -1,
            dry_run: true,
            locked_until: Some("2026-11-20T21:48:18.000Z".to_owned()),
            released: false,
            changes: 2,
            snapshots: Vec::new(),
            tags: Vec::new(),
            branches: vec!["s2ice-1-1".to_owned()],
        };
        assert_eq!(
            render(&report),
            "s3://stores/33TVN: takes no change until 2026-11-20T21:48:18.000Z; `s2ice repair s3://stores/33TVN --apply` \
             releases it\n  \
             time of the store  2026-11-20T18:48:18.123Z\n  \
             this host          -1 s ahead\n  \
             from the future    2 changes, 0 snapshots\n  \
             abandoned          s2ice-1-1\n"
        );
        (report.released, report.dry_run) = (true, false);
        assert!(render(&report).contains("takes changes again"));
        report.locked_until = None;
        assert!(render(&report).contains("nothing to repair"));
    }
}
