//! `s2ice index`: where each tile of each raster lies.
use schemars::JsonSchema;
/// x
#[derive(serde::Serialize, JsonSchema)]
pub struct IndexReport {}
/// Runs
pub async fn run(_args: crate::args::IndexArgs, _global: &crate::args::Global) -> Result<(), crate::exit::Failure> { Ok(()) }
