//! `s2ice rollback`: `main` back to a state that was published before.

use std::sync::Arc;

use s2ice_fleet::housekeeping::{steps, tag};
use s2ice_store::housekeeping::report::{PublishedReport, RollbackReport};
use s2ice_store::housekeeping::{To, list, rollback};
use s2ice_store::target::Target;

use super::cluster::Driven;
use super::{OfRun, print, print_json, summarise};
use crate::args::{Global, RollbackArgs};
use crate::clock;
use crate::exit::Failure;
use s2ice_fleet::text;

/// Runs the command.
pub async fn run(args: RollbackArgs, global: &Global, run: String) -> Result<(), Failure> {
    let to = match (args.tag.as_deref(), args.at) {
        (Some(tag), _) => To::Tag(tag),
        (None, Some(time)) => To::At(time),
        (None, None) => To::Before,
    };
    if let Some(stores) = super::fleet(&args.store, &args.of_file, &run)? {
        let Some(at) = args.at.filter(|_| !args.list) else {
            return Err(Failure::usage(
                "the stores of a file have states of their own: give --at TIME, and each goes back to the one that was \
                 published then",
            ));
        };
        if let Some(scheduler) = &args.of_file.scheduler {
            let config = args.store.as_ref();
            let driven = Driven { command: "rollback", config, scheduler, tiles: &args.of_file.tile };
            return driven.run(&[("--at", at.to_rfc3339())], &[(args.dry_run, "--dry-run")], global);
        }
        let work = |target: Arc<Target>| async move { rollback(&target, to, args.dry_run, clock::now).await };
        return super::each(stores, work, (global, &run)).await;
    }
    let target = super::store(&args.store, &args.store_options).await?;
    if args.list {
        let report = list(&target).await?;
        target.clock(clock::now).warn(target.url());
        return if global.json { print_json(&report) } else { print(&render_list(&report)) };
    }
    let report = rollback(&target, to, args.dry_run, clock::now).await?;
    summarise(&OfRun::new(&report, &run), global, |told| render(told.report))
}

fn render(report: &RollbackReport) -> String {
    let outcome = match (report.moved, report.dry_run) {
        _ if report.from.snapshot == report.to.snapshot => "main is at this state already",
        (true, _) => "main was moved; the next build will again make the store hold what its inputs say",
        (false, _) => "main would be moved; nothing was written",
    };
    let rows: Vec<Vec<String>> =
        [("main was", &report.from), (if report.dry_run { "would be" } else { "main is" }, &report.to)]
            .into_iter()
            .map(|(name, state)| vec![name.to_owned(), tag(state), steps(state), state.snapshot.clone()])
            .collect();
    format!("{}: {outcome}\n{}", report.store, text::table(&rows, &[]))
}

fn render_list(report: &PublishedReport) -> String {
    if report.states.is_empty() {
        return format!("{} has no published states\n", report.store);
    }
    let rows: Vec<Vec<String>> = report
        .states
        .iter()
        .map(|state| {
            let published = state.published.clone().unwrap_or_default();
            let mark = if state.main { "main" } else { "" };
            vec![tag(state), published, steps(state), state.snapshot.clone(), mark.to_owned()]
        })
        .collect();
    text::table(&rows, &[])
}

#[cfg(test)]
mod tests {
    use s2ice_store::housekeeping::report::StateReport;

    use super::*;

    fn state(tag: Option<&str>, steps: u64, main: bool) -> StateReport {
        StateReport {
            tag: tag.map(str::to_owned),
            published: tag.map(|_| "2026-11-20T18:48:18.123Z".to_owned()),
            snapshot: format!("SNAPSHOT{steps}"),
            time_steps: Some(steps),
            main,
        }
    }

    #[test]
    fn both_states_are_told() {
        let mut report = RollbackReport {
            kind: "s2ice.rollback".to_owned(),
            version: 1,
            store: "/stores/33TVN".to_owned(),
            dry_run: false,
            moved: true,
            from: state(None, 12, false),
            to: state(Some("published/20261120T184818123Z"), 1, true),
        };
        assert_eq!(
            render(&report),
            "/stores/33TVN: main was moved; the next build will again make the store hold what its inputs say\n  \
             main was  (no tag)                       12 time steps  SNAPSHOT12\n  \
             main is   published/20261120T184818123Z  1 time step    SNAPSHOT1\n"
        );
        (report.dry_run, report.moved) = (true, false);
        assert!(render(&report).contains("nothing was written"));
    }

    #[test]
    fn the_list_marks_main() {
        let states = vec![state(Some("published/20261120T184818123Z"), 1, true)];
        let report = PublishedReport { kind: String::new(), version: 1, store: "s".to_owned(), states };
        let line = "  published/20261120T184818123Z  2026-11-20T18:48:18.123Z  1 time step  SNAPSHOT1  main\n";
        assert_eq!(render_list(&report), line);
    }
}
