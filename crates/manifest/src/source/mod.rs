//! Readers.

pub mod location;
