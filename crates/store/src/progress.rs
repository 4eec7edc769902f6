//! How long work tells of itself. No terminal code: the command draws, the libraries only count.

/// Receives progress. All methods may be called from any task.
pub trait Progress: Send + Sync {
    /// A phase begins, of `total` steps where that is known.
    fn begin(&self, phase: Phase, total: Option<u64>);
    /// `count` more steps of the phase are done.
    fn advance(&self, count: u64);
    /// The phase ended.
    fn end(&self);
}

/// Phases of long work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the index.
    Index,
    /// Reading STAC items.
    Stac,
    /// Reading product metadata, in products.
    Metadata,
    /// Reading main headers, in rasters.
    Headers,
    /// Writing references, in references.
    References,
    /// Listing and indexing files, in files.
    Files,
    /// Reading the references of a store, in rasters.
    Rasters,
    /// Writing what a store holds of each product.
    Products,
    /// Publishing stores.
    Stores,
    /// Reading what pictures show, in tiles.
    Tiles,
}

impl Phase {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Index => "reading the index",
            Self::Stac => "reading STAC items",
            Self::Metadata => "reading product metadata",
            Self::Headers => "reading main headers",
            Self::References => "writing references",
            Self::Files => "indexing files",
            Self::Rasters => "reading references",
            Self::Products => "writing products",
            Self::Stores => "publishing stores",
            Self::Tiles => "reading tiles",
        }
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Phase, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}
