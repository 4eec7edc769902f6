#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use futures::TryStreamExt;
use icechunk::format::SnapshotId;
use icechunk::repository::VersionInfo;

use super::*;
use crate::housekeeping::testing::{Store, open, read};
use crate::housekeeping::{To, list, rollback};
use crate::options::Spec;

type At = (GcOptions, DateTime<Utc>);

/// A gc that happens at a time by the store's clock.
fn options(keep_published: usize, now: DateTime<Utc>) -> At {
    (GcOptions { keep_published, older_than: TimeDelta::days(30), dry_run: false, clock: Utc::now }, now)
}

fn dry((options, now): At) -> At {
    (GcOptions { dry_run: true, ..options }, now)
}

async fn gc(target: &Target, (options, now): At) -> Result<GcReport> {
    let repository = refs::open(target).await?;
    let _lock = if options.dry_run { None } else { Some(target.lock()?) };
    gc_repository(&repository, target.url(), !options.dry_run, options, &StoreClock::telling(now)).await
}

/// When everything a test made is older than the options ask for.
fn later() -> DateTime<Utc> {
    Utc::now() + TimeDelta::days(40)
}

fn version(snapshot: &SnapshotId) -> VersionInfo {
    VersionInfo::SnapshotId(snapshot.clone())
}

/// Everything Icechunk can tell of the states that are left, with empty caches.
async fn assert_whole(store: &Store, states: &[(usize, &SnapshotId)]) {
    let reader = store.reader().await;
    for (steps, snapshot) in states {
        let session = open(&reader, snapshot).await;
        assert_eq!(usize::from(read(session).await.unwrap()), *steps);
        let history = reader.ancestry(&version(snapshot)).await.unwrap();
        let history: Vec<_> = history.try_collect().await.unwrap();
        assert!(history.last().unwrap().parent_id.is_none());
        // Needs the logs of transactions of the whole history, also of what was let go of.
        let first = history.last().unwrap().id.clone();
        let diff = reader.diff(&version(&first), &version(snapshot)).await.unwrap();
        assert!(!diff.updated_chunks.is_empty() || !diff.new_arrays.is_empty());
    }
    for tag in reader.list_tags().await.unwrap() {
        reader.lookup_tag(&tag).await.unwrap();
    }
    if refs::has_repo_info(&reader) {
        let (log, ..) = reader.ops_log().await.unwrap();
        assert!(!log.try_collect::<Vec<_>>().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn old_states_are_let_go_of_and_collected_in_one_pass() {
    for spec in [Spec::V2, Spec::V1] {
        let store = Store::new(spec).await;
        let tags = store.publish(6).await;
        let all: Vec<(usize, &SnapshotId)> = tags.iter().enumerate().map(|(i, (_, id))| (i + 1, id)).collect();
        store.repository.create_tag("mine", all[0].1).await.unwrap();
        let now = later();

        let before = store.files("");
        let foreseen = gc(&store.target, dry(options(3, now))).await.unwrap();
        assert_eq!(store.files(""), before, "a dry run changes nothing");
        let report = gc(&store.target, options(3, now)).await.unwrap();
        let in_name_order: BTreeSet<&String> = report.tags.iter().collect();
        assert_eq!(in_name_order, tags[..3].iter().map(|(tag, _)| tag).collect());
        // The first is the operator's own still.
        assert_eq!((report.published, report.released_snapshots), (3, 2));
        assert_eq!(report.overwritten.objects > 0, spec == Spec::V2);
        assert_eq!(report.postponed, None);
        let same = |r: &GcReport| (r.tags.clone(), r.released_snapshots, r.overwritten, r.collected, r.published);
        assert_eq!(same(&foreseen), same(&report));
        let Collected { snapshots, transaction_logs, manifests, chunks, bytes } = report.collected;
        assert_eq!((snapshots, manifests, chunks), (2, 2, 2));
        // In spec 2 a difference to what is left needs them.
        assert_eq!(transaction_logs, if spec == Spec::V2 { 0 } else { 2 });
        let left: BTreeSet<_> = store.files("").into_keys().collect();
        let own = |path: &std::path::Path| {
            ["overwritten", "refs"].iter().any(|folder| path.to_string_lossy().contains(&format!("/{folder}/")))
        };
        let gone = before.iter().filter(|(path, _)| !left.contains(*path) && !own(path));
        assert_eq!(gone.map(|(_, (size, _))| size).sum::<u64>(), bytes);
        assert_eq!(store.files("snapshots").len(), 5, "four states and the empty one");
        let kept: Vec<_> = [0, 3, 4, 5].iter().map(|i| all[*i]).collect();
        assert_whole(&store, &kept).await;
        let again = gc(&store.target, options(3, now + TimeDelta::hours(25))).await.unwrap();
        assert_eq!((again.collected, again.released_snapshots), (Collected::default(), 0));
        assert_whole(&store, &kept).await;
        // Whoever comes later finds the history that was left, and shortens it further.
        let last = gc(&store.target, options(1, now + TimeDelta::hours(50))).await.unwrap();
        // In spec 1 they were in nobody's history since the first time.
        let released = if spec == Spec::V2 { 2 } else { 0 };
        assert_eq!((last.released_snapshots, last.collected.snapshots), (released, 2));
        assert_whole(&store, &[all[0], all[5]]).await;
    }
}

#[tokio::test]
async fn young_states_and_that_of_main_stay() {
    let store = Store::new(Spec::V2).await;
    let tags = store.publish(4).await;
    // Nothing is old.
    let report = gc(&store.target, options(1, Utc::now() + TimeDelta::days(29))).await.unwrap();
    assert_eq!((report.tags.len(), report.released_snapshots, report.overwritten.objects), (0, 0, 0));
    // Whatever is asked for, a day is the least.
    let (all, now) = options(1, Utc::now() + TimeDelta::hours(23));
    let all = (GcOptions { older_than: TimeDelta::zero(), ..all }, now);
    assert!(gc(&store.target, all).await.unwrap().tags.is_empty());
    rollback(&store.target, To::Tag(&tags[1].0), false, Utc::now).await.unwrap();
    let report = gc(&store.target, options(1, later())).await.unwrap();
    assert_eq!(report.tags, [tags[2].0.clone(), tags[0].0.clone()]);
    assert_eq!(store.main().await, tags[1].1);
}

#[tokio::test]
async fn what_main_or_a_tag_left_within_the_day_stays_however_old_it_is() {
    for leave_by_tag in [false, true] {
        let store = Store::new(Spec::V2).await;
        let base = store.commit(1).await;
        let lost = store.commit(2).await;
        store.repository.create_tag("kept", &base).await.unwrap();
        store.repository.create_tag("lost", &lost).await.unwrap();
        store.repository.reset_branch("main", &base, None).await.unwrap();
        if !leave_by_tag {
            store.repository.reset_branch("main", &lost, None).await.unwrap();
            store.repository.delete_tag("lost").await.unwrap();
        }
        // The objects are old, and nothing but the log of changes tells that they were in use.
        store.age(40);
        let session = open(&store.reader().await, &lost).await;
        if leave_by_tag {
            store.repository.delete_tag("lost").await.unwrap();
        } else {
            store.repository.reset_branch("main", &base, None).await.unwrap();
        }
        let report = gc(&store.target, options(1, Utc::now() + TimeDelta::hours(23))).await.unwrap();
        assert_eq!((report.collected, report.postponed), (Collected::default(), None));
        assert_eq!(read(session).await.unwrap(), 2);
        let report = gc(&store.target, options(1, Utc::now() + TimeDelta::hours(25))).await.unwrap();
        assert_eq!((report.collected.snapshots, report.collected.chunks), (1, 1));
        assert_whole(&store, &[(1, &base)]).await;
    }
}

fn assert_whole_by_files(store: &Store, snapshots: usize) {
    assert_eq!(store.files("snapshots").len(), snapshots);
    assert_eq!(store.files("chunks").len(), snapshots - 1);
}

#[tokio::test]
async fn spec_1_waits_for_a_day_without_changes() {
    let store = Store::new(Spec::V1).await;
    let base = store.commit(1).await;
    store.publish(3).await;
    store.age(40);
    let report = gc(&store.target, options(1, Utc::now())).await.unwrap();
    assert_eq!((report.postponed, report.tags.len()), (None, 0), "the tags are young by name");
    store.repository.reset_branch("main", &base, None).await.unwrap();
    let report = gc(&store.target, options(1, Utc::now())).await.unwrap();
    assert!(report.postponed.unwrap().contains("spec 1"));
    assert_whole_by_files(&store, 5);
}

#[tokio::test]
async fn stores_can_be_worked_on_in_tasks() {
    let store = Store::new(Spec::V2).await;
    let tags = store.publish(2).await;
    let task = tokio::spawn(async move {
        rollback(&store.target, To::Before, false, Utc::now).await.unwrap();
        list(&store.target).await.unwrap();
        gc(&store.target, options(1, later())).await.unwrap()
    });
    assert!(task.await.unwrap().tags.is_empty(), "{tags:?}");
}

#[tokio::test]
async fn a_build_goes_on_beside_it() {
    let store = Store::in_memory().await;
    let url = store.target.url();
    let base = store.commit(1).await;
    let now = Utc::now();
    let branch = format!("s2ice-{}-1", now.timestamp_millis());
    store.repository.create_branch(&branch, &base).await.unwrap();
    store.commit_to(&branch, 2).await;
    let session = store.repository.writable_session(&branch).await.unwrap();
    let clock = StoreClock::telling(now + TimeDelta::hours(23));
    let tight = GcOptions { older_than: TimeDelta::zero(), ..options(1, now).0 };
    let report = gc_repository(&store.repository, url, false, tight, &clock).await.unwrap();
    assert!(report.branches.is_empty() && report.collected == Collected::default());
    drop(session);
    let tip = store.commit_to(&branch, 3).await;
    store.repository.reset_branch("main", &tip, Some(&base)).await.unwrap();
    assert_whole(&store, &[(3, &tip)]).await;
}

#[tokio::test]
async fn branches_of_killed_runs_go_with_what_they_hold() {
    let store = Store::new(Spec::V2).await;
    let base = store.commit(1).await;
    for name in ["s2ice-1-1", "users"] {
        store.repository.create_branch(name, &base).await.unwrap();
        store.commit_to(name, 2).await;
    }
    // A dry run holds no lock, so the run could be at work.
    assert!(gc(&store.target, dry(options(1, Utc::now()))).await.unwrap().branches.is_empty());
    let report = gc(&store.target, options(1, Utc::now())).await.unwrap();
    assert_eq!(report.branches, ["s2ice-1-1"]);
    assert_eq!(report.collected, Collected::default(), "the objects are young");
    let report = gc(&store.target, options(1, later())).await.unwrap();
    assert_eq!((report.collected.snapshots, report.collected.chunks, report.released_snapshots), (1, 1, 1));
    assert_eq!(store.files("snapshots").len(), 3);
}

#[tokio::test]
async fn only_stores_of_this_program_are_touched() {
    let store = Store::new(Spec::V2).await;
    assert!(matches!(gc(&store.target, options(1, later())).await, Err(Error::NoStore { .. })));
    store.commit_stamped("main", 1, None).await;
    assert!(matches!(gc(&store.target, options(1, later())).await, Err(Error::Foreign { .. })));
    store.commit(1).await;
    let lock = store.target.lock().unwrap();
    assert!(matches!(gc(&store.target, options(1, later())).await, Err(Error::Locked { .. })));
    drop(lock);
    gc(&store.target, options(1, later())).await.unwrap();
}
