//! What is told in the log while tiles are refreshed.

use std::fmt::Display;

use s2ice_store::progress::{Phase, Progress};
use tracing::Span;

/// What became of a tile or of the command, and which tile is worked on: no filter takes these away.
pub const OUTCOME: &str = "s2ice::outcome";

/// The span of all that is done for a tile. Its level keeps it where only errors are told.
pub fn tile(tile: &impl Display, processing_level: &impl Display) -> Span {
    tracing::error_span!(target: OUTCOME, "tile", %tile, %processing_level)
}

/// Tells of phases in the log only: of many tiles at once none has a bar.
pub struct Steps;

impl Progress for Steps {
    fn begin(&self, phase: Phase, total: Option<u64>) {
        tracing::info!(total, "{}", phase.label());
    }
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}
