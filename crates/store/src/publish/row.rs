//! What a catalogue tells of a store in one line.

use chrono::{DateTime, Utc};
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::ids::{Level, MgrsTile};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::footprint::Footprint;
use super::subject::Subject;
use crate::error::Result;
use crate::reached::Reached;
use crate::runs::{LastOutcome, LastRun};

/// A date with at most so much cloud counts as clear, percent.
pub const CLEAR: u8 = 20;

/// A store in a catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// Name in the publication, such as `33TVN-L2A`.
    pub id: String,
    /// MGRS tile.
    #[schemars(with = "String")]
    pub tile: MgrsTile,
    /// Processing level.
    #[schemars(with = "String")]
    pub level: Level,
    /// Sensing time of the first date, milliseconds since 1970-01-01; absent where the store is empty.
    pub first_ms: Option<i64>,
    /// Sensing time of the newest date.
    pub newest_ms: Option<i64>,
    /// Products, those of eras included.
    pub products: u64,
    /// Products with at most 20 % of cloud.
    pub clear: u64,
    /// References, those of eras included.
    pub references: u64,
    /// Bytes that they stand for.
    pub referenced_bytes: u64,
    /// Names of its eras.
    pub eras: Vec<String>,
    /// Where readers open it.
    pub store: Reached,
    /// Where its references lead; absent where only the machine that publishes reaches one of these places.
    #[serde(default)]
    pub sources: Option<Vec<Reached>>,
    /// Snapshot of its present state.
    pub snapshot: String,
    /// When that was made, RFC 3339.
    pub changed: String,
    /// How its last scheduled run ended that was not told to stop; absent where none did.
    pub outcome: Option<LastOutcome>,
    /// When a scheduled run last found it in step with its inputs.
    #[schemars(with = "Option<String>")]
    pub last_success: Option<DateTime<Utc>>,
    /// Products and rasters that the last scheduled run left out.
    pub refused: u64,
}

impl Row {
    /// That of a store.
    pub fn of(subject: &Subject) -> Self {
        let steps = || subject.state.trees.values().flat_map(|tree| &tree.steps);
        let covers = steps().filter_map(|step| step.metadata.cloud_cover);
        let mut row = Self {
            id: subject.id.clone(),
            tile: subject.tile,
            level: subject.level,
            first_ms: steps().map(|step| step.time_ms).min(),
            newest_ms: steps().map(|step| step.time_ms).max(),
            products: subject.info.products as u64,
            clear: covers.filter(|cover| *cover <= f64::from(CLEAR)).count() as u64,
            references: subject.info.references,
            referenced_bytes: subject.info.referenced_bytes,
            eras: subject.info.eras.keys().map(ToString::to_string).collect(),
            store: subject.store.clone(),
            sources: subject.public_sources(),
            snapshot: subject.info.last_commit.snapshot.clone(),
            changed: subject.info.last_commit.time.clone(),
            outcome: None,
            last_success: None,
            refused: 0,
        };
        row.tell(subject.last.as_ref());
        row
    }

    /// Tells of a scheduled run.
    pub(super) fn tell(&mut self, last: Option<&LastRun>) {
        self.outcome = last.and_then(|last| last.completed);
        self.last_success = last.and_then(|last| last.last_success);
        self.refused = last.map_or(0, |last| last.refused);
    }

    /// UTM zone by which the catalogue is divided, two digits.
    pub fn zone(&self) -> String {
        format!("{:02}", self.tile.zone())
    }

    /// Where the tile lies.
    ///
    /// # Errors
    /// As [`Footprint::of`].
    pub fn footprint(&self) -> Result<Footprint> {
        Footprint::of(TileGeocoding::of(self.tile))
    }
}
