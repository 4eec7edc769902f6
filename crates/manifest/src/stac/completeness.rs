//! Whether an answer is all that there is. Silence counts only in a complete one: from an incomplete one products are
//! added and updated, and nothing that it does not show is taken for gone.

use serde::Serialize;

/// Whether an answer is all that there is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Completeness {
    /// Nothing says that anything is missing.
    #[default]
    Complete,
    /// Items are missing, or may be.
    Incomplete {
        /// What is missing and where, one sentence each.
        reasons: Vec<String>,
    },
}

impl Completeness {
    /// True for a complete answer.
    pub fn is_complete(&self) -> bool {
        *self == Self::Complete
    }

    /// Why it is not complete; empty where it is.
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Complete => &[],
            Self::Incomplete { reasons } => reasons,
        }
    }

    /// Adds a reason, once.
    pub fn add(&mut self, reason: String) {
        match self {
            Self::Complete => *self = Self::Incomplete { reasons: vec![reason] },
            Self::Incomplete { reasons } if !reasons.contains(&reason) => reasons.push(reason),
            Self::Incomplete { .. } => {}
        }
    }
}
