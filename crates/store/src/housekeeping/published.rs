//! Tags of published states: `published/20261120T184818123Z`.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use icechunk::Repository;
use icechunk::format::repo_info::RepoInfo;
use icechunk::format::{IcechunkFormatErrorKind, IcechunkResult, SnapshotId};
use icechunk::refs::RefErrorKind;
use icechunk::repository::RepositoryErrorKind;
use s2ice_manifest::source::location::SourceUrl;

use super::refs;
use crate::error::{Result, icechunk_error};
use crate::patience::timely;

const NAME: &str = "published";
const TIME: &str = "%Y%m%dT%H%M%S%3fZ";

/// Names tried before giving up; each further one means a writer that published in the same millisecond.
const ATTEMPTS: usize = 1000;

/// A state that readers of `main` were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Name of the tag.
    pub tag: String,
    /// When it was published, which the name says.
    pub time: DateTime<Utc>,
    /// Its snapshot.
    pub snapshot: SnapshotId,
}

/// Tags a snapshot that `main` was moved to, and returns the tag. A snapshot that has such a tag keeps it. Times increase
/// from one tag to the next, even where the clock does not.
///
/// # Errors
/// [`crate::Error::Icechunk`].
pub async fn tag_published(
    repository: &Repository,
    url: &SourceUrl,
    snapshot: &SnapshotId,
    now: DateTime<Utc>,
) -> Result<String> {
    let known = published(repository, url).await?;
    if let Some(same) = known.iter().rfind(|state| state.snapshot == *snapshot) {
        return Ok(same.tag.clone());
    }
    let mut time = known.last().map_or(now, |newest| now.max(newest.time + TimeDelta::milliseconds(1)));
    let mut attempt = 1;
    loop {
        let tag = name(time, refs::has_repo_info(repository));
        match timely(|| repository.create_tag(&tag, snapshot)).await {
            Ok(()) => return Ok(tag),
            Err(error) if attempt < ATTEMPTS && is_taken(&error.kind) => {
                time += TimeDelta::milliseconds(1);
                attempt += 1;
            }
            Err(error) => return Err(icechunk_error("tagging the published state", url, &error)),
        }
    }
}

/// Whether a snapshot has such a tag in what was read of a repository.
pub(crate) fn is_tagged(info: &RepoInfo, snapshot: &SnapshotId) -> bool {
    info.tags().is_ok_and(|mut tags| tags.any(|(name, id)| id == *snapshot && published_at(name).is_some()))
}

/// The names that a tag may be meant by: its own, or without the beginning that those of published states have.
pub(crate) fn tag_names(text: &str) -> [String; 3] {
    [text.to_owned(), format!("{NAME}/{text}"), format!("{NAME}-{text}")]
}

/// The published states, oldest first.
///
/// # Errors
/// [`crate::Error::Icechunk`].
pub async fn published(repository: &Repository, url: &SourceUrl) -> Result<Vec<Published>> {
    Ok(of_tags(refs::tags(repository, url, |name| published_at(name).is_some()).await?))
}

/// The published states in what was read of a repository, oldest first.
pub(crate) fn of_info(info: &RepoInfo) -> IcechunkResult<Vec<Published>> {
    Ok(of_tags(info.tags()?.map(|(name, snapshot)| (name.to_owned(), snapshot))))
}

/// The published states among tags, oldest first.
pub(super) fn of_tags(tags: impl IntoIterator<Item = (String, SnapshotId)>) -> Vec<Published> {
    let state = |(tag, snapshot): (String, SnapshotId)| Some(Published { time: published_at(&tag)?, tag, snapshot });
    let mut states: Vec<Published> = tags.into_iter().filter_map(state).collect();
    states.sort_by(|a, b| (a.time, &a.tag).cmp(&(b.time, &b.tag)));
    states
}

/// Spec 1 keeps each tag in a file of its name, which can have no `/`.
pub(super) fn name(time: DateTime<Utc>, slash: bool) -> String {
    format!("{NAME}{}{}", if slash { '/' } else { '-' }, time.format(TIME))
}

/// The time in the name of a published state's tag; other tags are the operator's own.
pub fn published_at(tag: &str) -> Option<DateTime<Utc>> {
    let text = tag.strip_prefix(NAME)?.strip_prefix(['/', '-'])?;
    let time = NaiveDateTime::parse_from_str(text, TIME).ok()?.and_utc();
    (time.format(TIME).to_string() == text).then_some(time)
}

/// True where the name is a tag's, or was one's: Icechunk gives out no name twice.
fn is_taken(error: &RepositoryErrorKind) -> bool {
    matches!(
        error,
        RepositoryErrorKind::Ref(RefErrorKind::TagAlreadyExists(_))
            | RepositoryErrorKind::FormatError(
                IcechunkFormatErrorKind::TagAlreadyExists { .. } | IcechunkFormatErrorKind::TagPreviouslyDeleted { .. }
            )
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::housekeeping::testing::Store;
    use crate::options::Spec;

    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_795_200_498_123 + milliseconds).unwrap()
    }

    #[test]
    fn names_carry_their_time() {
        for (slash, expected) in [(true, "published/20261120T184818123Z"), (false, "published-20261120T184818123Z")] {
            assert_eq!(name(at(0), slash), expected);
            assert_eq!(published_at(expected), Some(at(0)));
        }
        for other in ["published", "published/", "published/v1", "published/20261120T184818Z", "v1"] {
            assert_eq!(published_at(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_state_has_one_tag_and_times_increase() {
        for (spec, separator) in [(Spec::V2, '/'), (Spec::V1, '-')] {
            let store = Store::new(spec).await;
            let (repository, url) = (&store.repository, store.target.url());
            let (first, second) = (store.commit(1).await, store.commit(2).await);
            repository.create_tag("mine", &first).await.unwrap();
            let expected = format!("published{separator}20261120T184818123Z");
            assert_eq!(tag_published(repository, url, &first, at(0)).await.unwrap(), expected);
            assert_eq!(tag_published(repository, url, &first, at(60_000)).await.unwrap(), expected);
            // A clock that stands, or was put back.
            let later = tag_published(repository, url, &second, at(-5_000)).await.unwrap();
            assert_eq!(later, format!("published{separator}20261120T184818124Z"));
            let third = store.commit(3).await;
            repository.delete_tag(&later).await.unwrap();
            let next = tag_published(repository, url, &third, at(0)).await.unwrap();
            assert_eq!(next, format!("published{separator}20261120T184818125Z"), "a deleted name is not used again");
            let states = published(repository, url).await.unwrap();
            let states: Vec<_> = states.iter().map(|s| (s.tag.as_str(), s.time, &s.snapshot)).collect();
            assert_eq!(states, [(expected.as_str(), at(0), &first), (next.as_str(), at(2), &third)]);
        }
    }
}
