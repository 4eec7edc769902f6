//! The publish gate: before `main` moves, what a run wrote on its branch is read back as a reader would see it and compared
//! with the plan.

mod angles;
mod columns;
mod random;
mod references;
mod structure;
#[cfg(test)]
mod tests;

use icechunk::format::SnapshotId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::window::Windows;

/// What was checked before a state was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GateReport {
    /// Groups and arrays compared with the plan.
    pub nodes: usize,
    /// References compared with the plan one by one; all of them were counted.
    pub references_compared: u64,
    /// Chunks of angles compared with the plan one by one; all of them were counted.
    pub angles_compared: u64,
}

/// Compares the tip of a run's branch with the plan. That the source has what the plan refers to was proven raster by raster
/// when the evidence was taken.
///
/// # Errors
/// [`Error::Gate`] where something is not as planned; [`Error::Icechunk`] where the store cannot be read.
pub(crate) async fn check(windows: &Windows, tip: &SnapshotId) -> Result<GateReport> {
    let structure::Compared { nodes, references, angles } = structure::check(windows, tip).await?;
    Ok(GateReport { nodes, references_compared: references, angles_compared: angles })
}

/// The branch does not hold what was planned.
fn differs(windows: &Windows, what: &str) -> Error {
    let detail = format!("what this run wrote is not what it planned ({what}): run it again");
    Error::Gate { url: windows.url.to_string(), detail }
}
