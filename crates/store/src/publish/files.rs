//! What is told of files in several places: names, and the fingerprint of bytes.

use sha2::{Digest, Sha256};

/// The catalog of everything.
pub(super) const CATALOG: &str = "catalog.json";

/// The table of all stores.
pub(super) const TABLE: &str = "tiles.parquet";

/// What the map of the front page draws.
pub(super) const MAP: &str = "tiles.json";

/// SHA-256 in hexadecimal digits.
pub(super) fn fingerprint(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
