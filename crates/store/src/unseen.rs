//! What a run could not see: the answer of source, index or catalogue could not be had.
//!
//! Nothing wrong is written then, and what is stored stays right; but whether it is still all that there is, nobody knows.

use std::fmt;

use s2ice_manifest::source::budget::{BudgetError, Fault};
use s2ice_manifest::source::location::SourceError;
use s2ice_manifest::source::stac_file::StacLoadError;
use s2ice_manifest::source::tlm_parquet::IndexError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a run looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// The product files.
    Source,
    /// The index files.
    Index,
    /// The STAC items.
    Catalogue,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "the source",
            Self::Index => "the index",
            Self::Catalogue => "the catalogue",
        })
    }
}

/// Why it could not be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Access was refused, or there is nothing to ask for it with.
    Denied,
    /// There was no answer: no connection, silence, or a server that fails.
    NoAnswer,
    /// A limit is used up, or the server asks to wait for longer than is waited.
    Limit,
    /// The answer is not all that there is.
    Incomplete,
}

/// Something that a run could not see, or not in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unseen {
    /// What.
    pub input: Input,
    /// Why, for programs.
    pub cause: Cause,
    /// Why, in a sentence.
    pub reason: String,
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.cause == Cause::Incomplete { "not seen in full" } else { "not seen" };
        write!(f, "{} was {how}: {}", self.input, self.reason)
    }
}

impl Unseen {
    /// Of files that were asked for; `None` where there was an answer.
    pub fn of(input: Input, error: &SourceError) -> Option<Self> {
        error.is_unseen().then(|| Self { input, cause: cause(error), reason: error.to_string() })
    }

    /// Of an index; `None` where something is wrong with it.
    pub fn of_index(error: &IndexError) -> Option<Self> {
        let IndexError::Source(source) = error else { return None };
        Some(Self { reason: error.to_string(), ..Self::of(Input::Index, source)? })
    }

    /// Of a catalogue; likewise.
    pub fn of_catalogue(error: &StacLoadError) -> Option<Self> {
        let cause = match error {
            StacLoadError::Unreachable { .. } => Cause::NoAnswer,
            StacLoadError::Status { status, .. } => match Fault::of(*status)? {
                Fault::Denied(_) => Cause::Denied,
                Fault::Busy(_) => Cause::Limit,
                _ => Cause::NoAnswer,
            },
            StacLoadError::WaitTooLong { .. } => Cause::Limit,
            StacLoadError::Budget(budget) => of_budget(budget),
            StacLoadError::Source(error) if error.is_unseen() => cause(error),
            _ => return None,
        };
        Some(Self { input: Input::Catalogue, cause, reason: error.to_string() })
    }

    /// The catalogue did not answer in full.
    pub fn incomplete(reason: &str) -> Self {
        Self { input: Input::Catalogue, cause: Cause::Incomplete, reason: reason.to_owned() }
    }
}

fn cause(error: &SourceError) -> Cause {
    match error {
        SourceError::Denied { .. } | SourceError::NoCredentials { .. } => Cause::Denied,
        SourceError::Budget(budget) => of_budget(budget),
        _ => Cause::NoAnswer,
    }
}

fn of_budget(error: &BudgetError) -> Cause {
    match error {
        BudgetError::LeftAlone { last: Fault::Denied(_), .. } => Cause::Denied,
        BudgetError::LeftAlone { .. } | BudgetError::GivenUp { .. } => Cause::NoAnswer,
        _ => Cause::Limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_is_told_from_what_is_one() {
        let url = || "s3://eodata/x".to_owned();
        let denied = SourceError::Denied { url: url(), detail: "403".to_owned() };
        let missing = SourceError::Missing { url: url() };
        assert_eq!(Unseen::of(Input::Source, &denied).map(|unseen| unseen.cause), Some(Cause::Denied));
        assert_eq!(Unseen::of(Input::Source, &missing), None);
        let found = Unseen::of_index(&IndexError::Source(denied));
        assert!(found.is_some_and(|unseen| unseen.reason.starts_with("the index: ")));
        assert_eq!(Unseen::of_index(&IndexError::Source(missing)), None);
        for (status, is_unseen) in [(400, false), (401, true), (404, false), (429, true), (503, true), (520, true)] {
            let error = StacLoadError::Status { url: url(), status, hint: "", detail: String::new() };
            assert_eq!(Unseen::of_catalogue(&error).is_some(), is_unseen, "{status}");
        }
    }
}
