//! From chunk manifests to Icechunk repositories in the EOPF layout.

pub mod info;
pub mod layout;
pub mod plan;
pub mod commit;
pub mod config;
pub mod error;
pub mod progress;
pub mod report;
pub mod target;

pub use error::{Error, Result};
