//! How a command ends.

use std::process::ExitCode;

use s2ice_manifest::source::location::SourceError;
use s2ice_store::unseen::Unseen;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The input or the world is at fault: exit code 1.
    Fault(String),
    /// The command line or configuration is wrong: exit code 2, as clap's.
    Usage(String),
    /// Source, index or catalogue could not be seen, or not in full: exit code 3.
    Stale(String),
    /// The command's own output tells what is at fault: exit code 1 without a sentence.
    Told,
}

impl Failure {
    /// A fault with the error's own sentence.
    pub fn fault(error: impl ToString) -> Self {
        Self::Fault(error.to_string())
    }

    /// A mistake in the request.
    pub fn usage(error: impl ToString) -> Self {
        Self::Usage(error.to_string())
    }

    /// The failure of a build that has not seen everything; nothing where it has.
    ///
    /// # Errors
    /// What it has not seen.
    pub fn unless_seen(unseen: &[Unseen]) -> Result<(), Self> {
        let told: Vec<String> = unseen.iter().map(ToString::to_string).collect();
        if told.is_empty() { Ok(()) } else { Err(Self::Stale(told.join("; "))) }
    }

    /// The sentence, where there is something left to say.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Fault(text) | Self::Usage(text) | Self::Stale(text) => Some(text),
            Self::Told => None,
        }
    }

    /// The same, a fault with exit code 2: that of `s2ice diff`, of which 1 says that two stores differ.
    pub fn or_trouble(self) -> Self {
        match self {
            Self::Fault(text) => Self::Usage(text),
            other => other,
        }
    }

    /// The code.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Fault(_) | Self::Told => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            Self::Stale(_) => ExitCode::from(3),
        }
    }
}

impl From<s2ice_store::Error> for Failure {
    fn from(error: s2ice_store::Error) -> Self {
        match error {
            s2ice_store::Error::Location(error) => error.into(),
            s2ice_store::Error::Request(_) => Self::usage(error),
            s2ice_store::Error::Unseen(_) => Self::Stale(error.to_string()),
            _ => Self::fault(error),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::BadUrl { .. } | SourceError::BadOptions { .. } => Self::usage(error),
            _ => Self::fault(error),
        }
    }
}
