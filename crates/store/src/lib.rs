//! From chunk manifests to Icechunk repositories in the EOPF layout.

pub mod layout;
pub mod plan;
