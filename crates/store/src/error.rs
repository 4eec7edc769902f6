//! What can go wrong between a plan and a store, each as one sentence.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use icechunk::ops::gc::GCError;
use icechunk::repository::RepositoryError;
use icechunk::session::SessionError;
use s2ice_manifest::source::location::{SourceError, SourceUrl};
use s2ice_manifest::source::stac_file::StacLoadError;
use s2ice_manifest::source::tlm_parquet::IndexError;

use crate::patience::{TOLERANCE, Untimely, span};
use crate::unseen::{Input, Unseen};

/// A store that cannot be opened, written or understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of a store or source cannot be used.
    #[error(transparent)]
    Location(#[from] SourceError),
    /// The place is taken by something that is no Icechunk repository.
    #[error("{url} holds something else than an Icechunk repository: name an empty or new place for the store")]
    Occupied {
        /// The store.
        url: String,
    },
    /// There is nothing to read.
    #[error("there is no store at {url}: check the address; `s2ice build` makes one")]
    NoStore {
        /// The store.
        url: String,
    },
    /// A store without the state that was asked for.
    #[error("{url} has no tag, branch or snapshot {at:?}: `s2ice info --json` lists its tags and branches")]
    NoState {
        /// The store.
        url: String,
        /// What was asked for.
        at: String,
    },
    /// An Icechunk repository of another writer.
    #[error("{url} is an Icechunk repository that s2ice did not write: name another place for the store")]
    Foreign {
        /// The store.
        url: String,
    },
    /// A store of something else.
    #[error("{url} is the store of {}, not of {wanted}: name another place for the store", shown(found))]
    OtherTile {
        /// The store.
        url: String,
        /// Tile and level of the store.
        found: String,
        /// Tile and level asked for.
        wanted: String,
    },
    /// A layout newer than this program.
    #[error(
        "{url} was written by {} with layout version {found}, this program knows {known}: upgrade s2ice",
        shown(writer)
    )]
    Newer {
        /// The store.
        url: String,
        /// Its writer.
        writer: String,
        /// Its layout version.
        found: u64,
        /// The newest known here.
        known: u64,
    },
    /// A layout older than what can be updated.
    #[error(
        "{url} was written by {} with layout version {found}, which this program (version {known}) does not know any \
         more: build the store anew in another place",
        shown(writer)
    )]
    Older {
        /// The store.
        url: String,
        /// Its writer.
        writer: String,
        /// Its layout version.
        found: u64,
        /// The version written here.
        known: u64,
    },
    /// Another process holds the lock of a local store.
    #[error("another s2ice process is writing {path}: wait for it to end (its lock is {lock})")]
    Locked {
        /// The store.
        path: String,
        /// The lock file.
        lock: String,
    },
    /// This host's clock is not the store's, by which times are judged.
    #[error(
        "the clock of this host is {differs} that of {url}: nothing was written; set it right (NTP), then try again"
    )]
    Clock {
        /// The store.
        url: String,
        /// By how much and in which direction.
        differs: String,
    },
    /// A host with a wrong clock wrote the store; Icechunk takes no change that is dated earlier than the last.
    #[error(
        "the last change of {url} is dated {time}, {ahead} in the future, and until then nothing can be written: \
         `s2ice repair {url}` tells more and releases it"
    )]
    Future {
        /// The store.
        url: String,
        /// The date of its last change.
        time: String,
        /// How far that is away.
        ahead: String,
    },
    /// `main` moved while this run was writing.
    #[error("{url} was changed by another writer during this run, which was therefore not published: run it again")]
    Conflict {
        /// The store.
        url: String,
    },
    /// What a run wrote, or what it refers to, is not as planned.
    #[error("nothing was published at {url}: {detail}")]
    Gate {
        /// The store.
        url: String,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// `main` cannot be moved back.
    #[error("{url} cannot be rolled back: {detail}")]
    Rollback {
        /// The store.
        url: String,
        /// Why.
        detail: String,
    },
    /// Icechunk refused references.
    #[error("Icechunk refused {count} references of {array}")]
    RefusedReferences {
        /// The array.
        array: String,
        /// How many.
        count: usize,
    },
    /// Icechunk or its storage failed.
    #[error("{what} failed at {url}: {detail}")]
    Icechunk {
        /// What was being done.
        what: &'static str,
        /// The store.
        url: String,
        /// The cause in one line.
        detail: String,
    },
    /// A local file could not be read or written.
    #[error("{what} {path} failed: {source}")]
    File {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Encoding a coordinate failed.
    #[error("compressing a coordinate failed: {0}")]
    Encode(std::io::Error),
    /// The inputs leave nothing to store, or too little of what is there.
    #[error("{0}")]
    Nothing(String),
    /// The request contradicts itself or the inputs.
    #[error("{0}")]
    Request(String),
    /// The answer of source, index or catalogue could not be had: the store stays as it is, and may lack what is new.
    #[error("{}", .0.reason)]
    Unseen(Unseen),
    /// An input could not be read.
    #[error("{0}")]
    Input(String),
    /// The stamp or metadata of a store is damaged.
    #[error("the metadata of {url} cannot be understood: {}", shown(detail))]
    Damaged {
        /// The store.
        url: String,
        /// What is wrong.
        detail: String,
    },
}

impl Error {
    /// A store whose last change is dated in the future.
    pub(crate) fn future(url: String, last: DateTime<Utc>, ahead: TimeDelta) -> Self {
        Self::Future { url, time: last.to_rfc3339_opts(SecondsFormat::Secs, true), ahead: span(ahead) }
    }

    /// Of reading the source.
    pub(crate) fn of_source(error: SourceError) -> Self {
        Unseen::of(Input::Source, &error).map_or_else(|| error.into(), Self::Unseen)
    }

    /// Of reading an index.
    pub(crate) fn of_index(error: &IndexError) -> Self {
        Unseen::of_index(error).map_or_else(|| Self::Input(error.to_string()), Self::Unseen)
    }

    /// Of asking a catalogue.
    pub(crate) fn of_catalogue(error: &StacLoadError) -> Self {
        Unseen::of_catalogue(error).map_or_else(|| Self::Input(error.to_string()), Self::Unseen)
    }
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of Icechunk or its storage while doing something to a store.
pub(crate) fn icechunk_error(what: &'static str, url: &SourceUrl, error: &(dyn std::error::Error + 'static)) -> Error {
    match ahead(error).filter(|(_, ahead)| *ahead > TOLERANCE * 2) {
        Some((last, ahead)) => Error::future(url.to_string(), last, ahead),
        None => Error::Icechunk { what, url: url.to_string(), detail: one_line(error) },
    }
}

/// As [`icechunk_error`], for a store that may have no address.
pub(crate) fn failure(what: &'static str, name: &str, error: &(dyn std::error::Error + 'static)) -> Error {
    Error::Icechunk { what, url: name.to_owned(), detail: one_line(error) }
}

/// The time of the store's last change and how far it is ahead of this host, where that is what Icechunk complains of.
fn ahead(error: &(dyn std::error::Error + 'static)) -> Option<(DateTime<Utc>, TimeDelta)> {
    let repository = error.downcast_ref::<RepositoryError>().and_then(Untimely::ahead);
    let session = || error.downcast_ref::<SessionError>().and_then(Untimely::ahead);
    repository.or_else(session).or_else(|| error.downcast_ref::<GCError>().and_then(Untimely::ahead))
}

/// Foreign text as it may stand in a sentence: without control characters, and not without end.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 300;
    let mut out = String::new();
    for (count, letter) in text.chars().enumerate() {
        match letter {
            _ if count == MOST => return out + "...",
            letter if letter.is_control() => out.extend(letter.escape_default()),
            letter => out.push(letter),
        }
    }
    out
}

/// The causes of an error in one line, without Icechunk's backtrace of spans.
pub(crate) fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let line = line.trim_start_matches("x ").trim_start_matches("\u{d7} ").to_owned();
        if !line.is_empty() && !parts.iter().any(|part| part.contains(&line)) {
            parts.push(line);
        }
        next = error.source();
    }
    let text = parts.join(": ");
    storage_answer(&text).unwrap_or(text)
}

/// An object store's refusal without the client's account of its attempts: `the storage answered 403 Forbidden
/// (AccessDenied)`.
fn storage_answer(text: &str) -> Option<String> {
    let (_, answer) = text.split_once("Server returned non-2xx status code: ")?;
    let status = answer.split(':').next()?.trim();
    let code = answer.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    let code = code.filter(|code| code.len() <= 64).map(|code| format!(" ({code})")).unwrap_or_default();
    Some(format!("the storage answered {status}{code}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn foreign_text_is_shown_without_control_characters_and_end() {
        let told = |detail: &str| Error::Damaged { url: "/s".to_owned(), detail: detail.to_owned() }.to_string();
        assert!(told("a\u{1b}[31m\nb").ends_with(": a\\u{1b}[31m\\nb"));
        assert!(told(&"x".repeat(5000)).len() < 400);
    }

    #[test]
    fn an_answer_of_the_storage_is_told_in_short() {
        let error = std::io::Error::other(
            "object store error Generic S3 error: Error performing PUT http://h/b/k in 15.8ms - Server returned non-2xx \
             status code: 403 Forbidden: <?xml?><Error><Code>AccessDenied</Code><Message>no</Message></Error>",
        );
        assert_eq!(one_line(&error), "the storage answered 403 Forbidden (AccessDenied)");
        assert_eq!(one_line(&std::io::Error::other("disk full\nat line 3")), "disk full");
    }
}
