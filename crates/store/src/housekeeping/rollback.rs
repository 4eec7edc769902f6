//! The way back: `main` moved to a state that was published before.

use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt};
use icechunk::Repository;
use icechunk::format::SnapshotId;
use s2ice_manifest::source::location::SourceUrl;

use super::published::{Published, published, tag_names};
use super::report::{PublishedReport, RollbackReport, StateReport};
use super::state::{self, State};
use super::{refs, time_text};
use crate::error::{Error, Result, icechunk_error};
use crate::patience::timely;
use crate::plan::LAYOUT_VERSION;
use crate::report::REPORT_VERSION;
use crate::target::Target;

/// States read at a time.
const CONCURRENT_STATES: usize = 8;

/// Tags named to an operator who asked for one that is not there.
const TAGS_NAMED: usize = 5;

/// Which state `main` shall point to.
#[derive(Debug, Clone, Copy)]
pub enum To<'a> {
    /// The last published one before the present one.
    Before,
    /// That of a tag; its beginning `published/` may be left out.
    Tag(&'a str),
    /// The one that was published last by this time.
    At(DateTime<Utc>),
}

/// Moves `main` to another state. Takes the lock of a local store. A dry run does all but the move. `clock` is this
/// host's, which must be near the store's.
///
/// # Errors
/// [`Error::NoStore`]; [`Error::Rollback`] where there is no such state, or it is not one of this store;
/// [`Error::Conflict`] where another writer moved `main` meanwhile; [`Error::Locked`]; [`Error::Clock`] and
/// [`Error::Future`]; [`Error::Icechunk`].
pub async fn rollback(
    target: &Target,
    to: To<'_>,
    dry_run: bool,
    clock: fn() -> DateTime<Utc>,
) -> Result<RollbackReport> {
    let url = target.url();
    let repository = refs::open(target).await?;
    let _lock = if dry_run { None } else { Some(target.lock()?) };
    refs::clock(&repository, target, clock, dry_run).await?;
    let main = refs::main(&repository, url).await?;
    let states = published(&repository, url).await?;
    let (name, snapshot) = match to {
        To::Tag(tag) => named(&repository, url, tag, &states).await?,
        To::Before => before(&repository, url, &main, &states).await?,
        To::At(time) => at(url, time, &states)?,
    };
    // A state that cannot be understood is a reason to leave it.
    let from = state::read(&repository, url, &main).await.ok();
    let to = state::read(&repository, url, &snapshot).await?;
    let stamp = from.as_ref().and_then(|state| state.stamp.as_ref()).map(|stamp| (&stamp.tile, &stamp.level));
    if let Some(detail) = refusal(&to, stamp) {
        return Err(Error::Rollback { url: url.to_string(), detail: format!("the state of {name} {detail}") });
    }
    let moved = snapshot != main;
    if moved && !dry_run {
        match timely(|| repository.reset_branch("main", &snapshot, Some(&main))).await {
            Err(error) if refs::is_moved(&error) => return Err(Error::Conflict { url: url.to_string() }),
            moved => moved.map_err(|error| icechunk_error("moving branch main", url, &error))?,
        }
    }
    let tag_of = |id: &SnapshotId| states.iter().rfind(|state| state.snapshot == *id);
    let report = |tag: Option<String>, id: &SnapshotId, state: Option<&State>, main: bool| StateReport {
        published: tag_of(id).map(|state| time_text(state.time)),
        tag: tag.or_else(|| tag_of(id).map(|state| state.tag.clone())),
        snapshot: id.to_string(),
        time_steps: state.and_then(|state| state.time_steps),
        main,
    };
    Ok(RollbackReport {
        kind: "s2ice.rollback".to_owned(),
        version: REPORT_VERSION,
        store: url.to_string(),
        dry_run,
        moved: moved && !dry_run,
        from: report(None, &main, from.as_ref(), dry_run || !moved),
        to: report(Some(name), &snapshot, Some(&to), !dry_run || !moved),
    })
}

/// The published states of a store, oldest first.
///
/// # Errors
/// [`Error::NoStore`], [`Error::Icechunk`].
pub async fn list(target: &Target) -> Result<PublishedReport> {
    let url = target.url();
    let repository = refs::open(target).await?;
    let main = refs::main(&repository, url).await?;
    let states = published(&repository, url).await?;
    let states: Vec<_> = states.into_iter().map(|state| listed(&repository, url, &main, state).boxed()).collect();
    let states = futures::stream::iter(states).buffered(CONCURRENT_STATES).collect().await;
    Ok(PublishedReport { kind: "s2ice.published".to_owned(), version: REPORT_VERSION, store: url.to_string(), states })
}

async fn listed(repository: &Repository, url: &SourceUrl, main: &SnapshotId, state: Published) -> StateReport {
    let held = state::read(repository, url, &state.snapshot).await.ok();
    StateReport {
        published: Some(time_text(state.time)),
        tag: Some(state.tag),
        time_steps: held.and_then(|held| held.time_steps),
        main: state.snapshot == *main,
        snapshot: state.snapshot.to_string(),
    }
}

/// The snapshot of a tag, whose name may lack `published/`.
async fn named(
    repository: &Repository,
    url: &SourceUrl,
    tag: &str,
    states: &[Published],
) -> Result<(String, SnapshotId)> {
    let names = tag_names(tag);
    let mut found = refs::tags(repository, url, |name| names.iter().any(|wanted| wanted == name)).await?;
    found.sort_by_key(|(name, _)| names.iter().position(|wanted| wanted == name));
    if let Some(first) = found.into_iter().next() {
        return Ok(first);
    }
    let newest: Vec<&str> = states.iter().rev().take(TAGS_NAMED).map(|state| state.tag.as_str()).collect();
    let known = match newest.as_slice() {
        [] => "it has no published state".to_owned(),
        [only] => format!("its published state is {only}"),
        _ => format!("its newest published states are {}", newest.join(", ")),
    };
    Err(Error::Rollback { url: url.to_string(), detail: format!("it has no tag {tag}; {known}") })
}

/// The last published state before that of `main`.
async fn before(
    repository: &Repository,
    url: &SourceUrl,
    main: &SnapshotId,
    states: &[Published],
) -> Result<(String, SnapshotId)> {
    let time = match states.iter().rfind(|state| state.snapshot == *main) {
        Some(state) => state.time,
        // Not published by a run: what was published before it was made.
        None => {
            let main = repository.lookup_snapshot(main).await;
            main.map_err(|error| icechunk_error("reading branch main", url, &error))?.flushed_at
        }
    };
    let earlier = states.iter().rfind(|state| state.time < time && state.snapshot != *main);
    earlier.map(|state| (state.tag.clone(), state.snapshot.clone())).ok_or_else(|| Error::Rollback {
        url: url.to_string(),
        detail: "no earlier state was published, or `s2ice gc` removed it".to_owned(),
    })
}

/// The state that was published last by a time.
fn at(url: &SourceUrl, time: DateTime<Utc>, states: &[Published]) -> Result<(String, SnapshotId)> {
    let found = states.iter().rfind(|state| state.time <= time);
    found.map(|state| (state.tag.clone(), state.snapshot.clone())).ok_or_else(|| Error::Rollback {
        url: url.to_string(),
        detail: format!("nothing was published by {}, or `s2ice gc` removed it", time_text(time)),
    })
}

/// Why `main` cannot point to this state.
fn refusal(to: &State, main: Option<(&String, &String)>) -> Option<String> {
    let Some(stamp) = &to.stamp else { return Some("was not written by s2ice".to_owned()) };
    if stamp.layout > LAYOUT_VERSION {
        let (writer, found) = (&stamp.writer, stamp.layout);
        return Some(format!(
            "was written by {writer} with layout version {found}, this program knows {LAYOUT_VERSION}: upgrade s2ice"
        ));
    }
    let (tile, level) = main.filter(|is| *is != (&stamp.tile, &stamp.level))?;
    Some(format!("is of {} {}, the store of {tile} {level}", stamp.tile, stamp.level))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;
    use crate::housekeeping::tag_published;
    use crate::housekeeping::testing::{Store, stamp};
    use crate::options::Spec;

    #[tokio::test]
    async fn it_goes_back_state_by_state_and_forward_by_name() {
        for spec in [Spec::V2, Spec::V1] {
            let store = Store::new(spec).await;
            let tags = store.publish(3).await;
            let dry = rollback(&store.target, To::Before, true, Utc::now).await.unwrap();
            assert!(!dry.moved && dry.from.main && !dry.to.main && store.main().await == tags[2].1);

            let report = rollback(&store.target, To::Before, false, Utc::now).await.unwrap();
            assert!(report.moved && !report.from.main && report.to.main);
            assert_eq!((report.from.tag.as_ref(), report.from.time_steps), (Some(&tags[2].0), Some(3)));
            assert_eq!((report.to.tag.as_ref(), report.to.time_steps), (Some(&tags[1].0), Some(2)));
            assert_eq!(store.main().await, tags[1].1);

            rollback(&store.target, To::Before, false, Utc::now).await.unwrap();
            assert_eq!(store.main().await, tags[0].1);
            let error = rollback(&store.target, To::Before, false, Utc::now).await.unwrap_err().to_string();
            assert!(error.contains("no earlier state"), "{error}");

            let short = tags[2].0.strip_prefix("published").unwrap().get(1..).unwrap();
            rollback(&store.target, To::Tag(short), false, Utc::now).await.unwrap();
            assert_eq!(store.main().await, tags[2].1);
            let again = rollback(&store.target, To::Tag(&tags[2].0), false, Utc::now).await.unwrap();
            assert!(!again.moved && again.to.main);
        }
    }

    #[tokio::test]
    async fn a_state_no_run_published_goes_back_to_what_was_published_before_it() {
        let store = Store::new(Spec::V2).await;
        let tags = store.publish(2).await;
        store.commit(9).await;
        rollback(&store.target, To::Before, false, Utc::now).await.unwrap();
        assert_eq!(store.main().await, tags[1].1);
        // Publishing goes on after a rollback; another tag of the same state is no earlier one.
        rollback(&store.target, To::Tag(&tags[0].0), false, Utc::now).await.unwrap();
        let later = store.commit(4).await;
        let now = Utc::now() + TimeDelta::seconds(1);
        tag_published(&store.repository, store.target.url(), &later, now).await.unwrap();
        store.repository.create_tag("published/20200101T000000000Z", &later).await.unwrap();
        rollback(&store.target, To::Before, false, Utc::now).await.unwrap();
        assert_eq!(store.main().await, tags[1].1);
    }

    #[tokio::test]
    async fn the_list_marks_main() {
        let store = Store::new(Spec::V2).await;
        let tags = store.publish(3).await;
        rollback(&store.target, To::Before, false, Utc::now).await.unwrap();
        let listed = list(&store.target).await.unwrap().states;
        let listed: Vec<_> = listed.iter().map(|s| (s.tag.as_ref().unwrap(), s.time_steps, s.main)).collect();
        assert_eq!(listed, [(&tags[0].0, Some(1), false), (&tags[1].0, Some(2), true), (&tags[2].0, Some(3), false)]);
    }

    #[tokio::test]
    async fn unknown_and_foreign_states_are_refused() {
        let store = Store::new(Spec::V2).await;
        let tags = store.publish(7).await;
        let with = |key: &str, value: serde_json::Value| {
            let mut stamp = stamp();
            stamp[key] = value;
            Some(stamp)
        };
        for (tag, stamp) in
            [("foreign", None), ("newer", with("layout", json!(99))), ("other", with("tile", json!("29UNU")))]
        {
            store.repository.create_branch(tag, &tags[0].1).await.unwrap();
            let snapshot = store.commit_stamped(tag, 1, stamp).await;
            store.repository.create_tag(tag, &snapshot).await.unwrap();
        }
        for (tag, expected) in [
            ("foreign", "the state of foreign was not written by s2ice"),
            ("newer", "layout version 99, this program knows"),
            ("other", "the state of other is of 29UNU L2A, the store of 33TVN L2A"),
            (
                "20200101T000000000Z",
                &format!("has no tag 20200101T000000000Z; its newest published states are {}, ", tags[6].0),
            ),
        ] {
            let error = rollback(&store.target, To::Tag(tag), false, Utc::now).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(error.matches("published/").count() <= TAGS_NAMED);
            assert_eq!(store.main().await, tags[6].1);
        }
    }

    #[tokio::test]
    async fn it_waits_for_no_lock_and_needs_a_store() {
        let store = Store::new(Spec::V2).await;
        store.publish(2).await;
        let _lock = store.target.lock().unwrap();
        assert!(matches!(rollback(&store.target, To::Before, false, Utc::now).await, Err(Error::Locked { .. })));
        rollback(&store.target, To::Before, true, Utc::now).await.unwrap();
        let nothing = SourceUrl::parse(store.folder.path().join("none").to_str().unwrap()).unwrap();
        let nothing = Target::open(nothing, Default::default()).await.unwrap();
        assert!(matches!(rollback(&nothing, To::Before, false, Utc::now).await, Err(Error::NoStore { .. })));
    }
}
