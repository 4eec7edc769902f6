//! Reports of `s2ice rollback` and `s2ice gc`, for programs. JSON Schemas stand in schemas/.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One state of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StateReport {
    /// The tag by which it was asked for, else that of its publication; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// When it was published, RFC 3339; absent where it has no tag of a publication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<String>,
    /// Snapshot.
    pub snapshot: String,
    /// Time steps; absent where the state cannot be understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_steps: Option<u64>,
    /// True for the state that `main` points to.
    pub main: bool,
}

/// Report of `s2ice rollback --list`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PublishedReport {
    /// Always `s2ice.published`.
    pub kind: String,
    /// Version of this report.
    pub version: u32,
    /// Address of the store.
    pub store: String,
    /// The published states, oldest first.
    pub states: Vec<StateReport>,
}

/// Report of `s2ice rollback`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RollbackReport {
    /// Always `s2ice.rollback`.
    pub kind: String,
    /// Version of this report.
    pub version: u32,
    /// Address of the store.
    pub store: String,
    /// True where nothing was written.
    pub dry_run: bool,
    /// False where `main` was at that state already.
    pub moved: bool,
    /// The state that `main` pointed to.
    pub from: StateReport,
    /// The state that `main` points to now (in a dry run: would point to).
    pub to: StateReport,
}

/// Report of `s2ice repair`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RepairReport {
    /// Always `s2ice.repair`.
    pub kind: String,
    /// Version of this report.
    pub version: u32,
    /// Address of the store.
    pub store: String,
    /// The store's present time, RFC 3339.
    pub store_time: String,
    /// How far this host's clock is ahead of the store's, seconds; negative where it is behind.
    pub clock_ahead_seconds: i64,
    /// True where nothing was changed.
    pub dry_run: bool,
    /// Until when nothing can be written, RFC 3339: the date of something in the future. Absent where the store takes changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<String>,
    /// True where it takes changes again.
    pub released: bool,
    /// Changes on record that are (were) dated in the future.
    pub changes: u64,
    /// Snapshots that are (were).
    pub snapshots: Vec<String>,
    /// Tags of published states that are named by a time in the future; they stay.
    pub tags: Vec<String>,
    /// Branches of runs that nobody works on; the next run or gc deletes them.
    pub branches: Vec<String>,
}

/// Report of `s2ice gc`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GcReport {
    /// Always `s2ice.gc`.
    pub kind: String,
    /// Version of this report.
    pub version: u32,
    /// Address of the store.
    pub store: String,
    /// True where nothing was changed and all figures are what would have been removed.
    pub dry_run: bool,
    /// Branches of killed runs that were deleted.
    pub branches: Vec<String>,
    /// Tags of published states that were deleted.
    pub tags: Vec<String>,
    /// Published states that are left.
    pub published: usize,
    /// Snapshots that were taken out of the history.
    pub released_snapshots: u64,
    /// Objects that nothing points to.
    pub collected: Collected,
    /// Former versions of the repository's own files (`overwritten/`).
    pub overwritten: Removed,
    /// Objects that could not be deleted and are left to the next gc.
    pub failed_objects: u64,
    /// First reasons for that.
    pub failures: Vec<String>,
    /// Why the history stayed and nothing was collected this time; absent where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postponed: Option<String>,
}

/// Objects that nothing points to, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Collected {
    /// Snapshots.
    pub snapshots: u64,
    /// Transaction logs.
    pub transaction_logs: u64,
    /// Manifests.
    pub manifests: u64,
    /// Chunks of the store's own.
    pub chunks: u64,
    /// Bytes of all of these.
    pub bytes: u64,
}

/// Objects of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}
