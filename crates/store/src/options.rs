//! How a store is written.

use std::collections::BTreeMap;

use icechunk::virtual_chunks::VirtualChunkContainer;

use crate::clock::StoreClock;
use crate::reference::{ChecksumPolicy, Referencing};

/// Version of the Icechunk format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spec {
    /// Read by every version of Icechunk.
    V1,
    /// Needs readers with Icechunk 2.0 or newer.
    #[default]
    V2,
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
