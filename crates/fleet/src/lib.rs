//! Stores of many tiles, kept up to date: the file that names them, one run over them, and what it leaves behind.
//!
//! A [`Run`](run::Run) knows which tiles are due, takes what became of each, and ends with report, metrics and publication;
//! [`Refresh`](refresh::Refresh) brings one tile up to date. Who calls the one for the other is left open: `s2ice run` on one
//! machine, an engine of tasks on many.

mod changes;
pub mod clock;
pub mod config;
pub mod each;
mod files;
pub mod housekeeping;
pub mod journal;
pub mod memory;
mod metrics;
mod need;
pub mod plan;
pub mod publication;
pub mod publishing;
pub mod refresh;
pub mod run;
mod samples;
pub mod settings_file;
pub mod shard;
pub mod summary;
pub mod supervise;
mod template;
pub mod text;
pub mod tile;
pub mod told;
