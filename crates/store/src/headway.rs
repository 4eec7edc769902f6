//! How far the search of a catalogue got.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a run of a store got with its catalogue, as whoever schedules runs remembers it. It may be further than what the
/// store itself says, which is written with news only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Headway {
    /// SHA-256 of the question.
    pub query: String,
    /// The state of the store that came of it.
    pub snapshot: String,
    /// What changed until then is in that state, or among the items that the memory keeps.
    #[schemars(with = "String")]
    pub until: DateTime<Utc>,
    /// How many items it keeps: with fewer of them it says nothing.
    pub kept: usize,
}
