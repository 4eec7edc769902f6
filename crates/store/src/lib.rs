//! From chunk manifests to Icechunk repositories in the EOPF layout.

pub mod angles;
pub mod clock;
pub mod commit;
pub mod config;
pub mod diff;
mod draft;
pub mod duration;
pub mod error;
pub mod export;
pub mod gate;
pub mod headway;
mod held;
mod holdings;
pub mod housekeeping;
pub mod info;
pub mod layout;
pub mod options;
mod patience;
pub mod plan;
pub mod preview;
pub mod progress;
pub mod publish;
pub mod reached;
pub mod reference;
pub mod report;
mod repository;
pub mod runs;
pub mod state;
pub mod target;
pub mod tile;
mod unfinished;
pub mod unseen;
pub mod update;
mod view;
mod window;
pub mod writer;
#[cfg(feature = "zarrs")]
pub mod zarrs_codec;

pub use error::{Error, Result};
