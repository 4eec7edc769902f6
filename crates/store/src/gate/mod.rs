//! The publish gate: before `main` moves, what a run wrote on its branch is read back as a reader would see it and compared
//! with the plan, and some of the bytes it refers to are looked at where they lie.

mod angles;
mod bytes;
mod columns;
mod random;
mod references;
mod sample;
mod structure;
#[cfg(test)]
mod tests;
mod tiff_tile;
mod tip;

use std::collections::BTreeMap;

use icechunk::format::SnapshotId;
use s2ice_manifest::source::location::Source;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::window::Windows;

/// What the gate is given beside the plan.
#[derive(Debug, Clone, Default)]
pub struct GateOptions {
    /// Number of references that each array shall have, by path. Arrays that are not there are not counted.
    pub references: BTreeMap<String, u64>,
    /// Where bytes are looked at; `None` where the source is not to be asked.
    pub source: Option<Source>,
    /// How many references are looked at there; 0 for none.
    pub sample: usize,
}

/// What was checked before a state was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GateReport {
    /// Groups and arrays compared with the plan.
    pub nodes: usize,
    /// References compared with the plan one by one; all of them were counted.
    pub references_compared: u64,
    /// Chunks of angles compared with the plan one by one; all of them were counted.
    pub angles_compared: u64,
    /// References whose bytes were looked at in the source.
    pub sampled: usize,
    /// Why no bytes were looked at; absent where they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// Compares the tip of a run's branch with the plan, and samples the bytes its references stand for.
///
/// # Errors
/// [`Error::Gate`] where something is not as planned; [`Error::Icechunk`] and [`Error::Location`] where store or source
/// cannot be read.
pub(crate) async fn check(windows: &Windows, tip: &SnapshotId) -> Result<GateReport> {
    let (compared, sampled) = futures::try_join!(structure::check(windows, tip), bytes::check(windows))?;
    let (sampled, skipped) = match sampled {
        bytes::Outcome::Looked(sampled) => (sampled, None),
        bytes::Outcome::Skipped(why) => (0, Some(why.to_owned())),
    };
    Ok(GateReport {
        nodes: compared.nodes,
        references_compared: compared.references,
        angles_compared: compared.angles,
        sampled,
        skipped,
    })
}

/// The branch does not hold what was planned.
fn differs(windows: &Windows, what: &str) -> Error {
    let detail = format!("what this run wrote is not what it planned ({what}): run it again");
    Error::Gate { url: windows.url.to_string(), detail }
}
