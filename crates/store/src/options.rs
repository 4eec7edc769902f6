//! How a store is written.

use std::collections::BTreeMap;

use icechunk::virtual_chunks::VirtualChunkContainer;
use serde::{Deserialize, Serialize};

use crate::clock::StoreClock;
use crate::reference::{ChecksumPolicy, Referencing};

/// Version of the Icechunk format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum Spec {
    /// Read by every version of Icechunk.
    V1,
    /// Needs readers with Icechunk 2.0 or newer.
    #[default]
    V2,
}

impl schemars::JsonSchema for Spec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Spec".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": 2 })
    }
}

impl TryFrom<u8> for Spec {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        match number {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            other => Err(format!("{other} is unknown, 1 or 2")),
        }
    }
}

impl From<Spec> for u8 {
    fn from(spec: Spec) -> Self {
        match spec {
            Spec::V1 => 1,
            Spec::V2 => 2,
        }
    }
}

/// How to write.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Checksums of references.
    pub checksum: ChecksumPolicy,
    /// Format of a new repository.
    pub spec: Spec,
    /// Name that no other run has; the branch is named by it.
    pub run: String,
    /// The container behind the references.
    pub container: VirtualChunkContainer,
    /// Concurrent requests of a commit.
    pub concurrency: usize,
    /// Message of the commit that is published.
    pub message: String,
    /// The store's clock, for the tag of the published state.
    pub clock: StoreClock,
    /// Number of references that each array shall have, by path. Arrays that are not there are not counted.
    pub references: BTreeMap<String, u64>,
}

impl WriteOptions {
    /// How references are written to a repository whose format knows `relative` locations.
    pub(crate) fn referencing(&self, relative: bool) -> Referencing {
        Referencing { container: self.container.clone(), checksum: self.checksum, relative }
    }
}
