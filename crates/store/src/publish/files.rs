//! Names of files of a publication that are told in several places.

/// The catalog of everything.
pub(super) const CATALOG: &str = "catalog.json";

/// The table of all stores.
pub(super) const TABLE: &str = "tiles.parquet";

/// What the map of the front page draws.
pub(super) const MAP: &str = "tiles.json";
