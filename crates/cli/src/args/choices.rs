//! Options with a few named values, and what they stand for.

use clap::ValueEnum;
use s2ice_manifest::decide::OnMismatch;
use s2ice_manifest::decide::Resolutions;
use s2ice_store::reference::ChecksumPolicy;
use s2ice_store::tile::HeaderPolicy;

/// Forms of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines to read.
    Text,
    /// A JSON document on each line.
    Json,
}

/// Copies of a raster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ResolutionsArg {
    /// Each band at its own resolution, or the finest the product has.
    Best,
    /// The R10m, R20m and R60m copies.
    All,
}

/// Ways to treat what does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnMismatchArg {
    /// Era, but rasters of unknown encoders are refused.
    Auto,
    /// They go to eras: groups of the same store, /eras/NAME.
    Era,
    /// They are left out and named in the report.
    Refuse,
}

/// Origins of main headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HeadersArg {
    /// One ranged request per raster to the file itself (or the memory).
    Read,
    /// From the index where it has them, else from the file.
    Index,
    /// From the index or the known Sentinel-2 header classes, without touching the source; marked unverified. Times and
    /// offsets then come from the products' names (the time is the start of the datatake), and there are no angles.
    Assume,
}

/// Checksums of references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChecksumArg {
    /// The ETag wherever it is known, the modification time on local disks and web servers: a changed file is an error
    /// for readers.
    Etag,
    /// The modification time.
    Modified,
    /// Nothing: a changed file is read without notice.
    None,
}

impl From<ResolutionsArg> for Resolutions {
    fn from(arg: ResolutionsArg) -> Self {
        match arg {
            ResolutionsArg::Best => Self::Best,
            ResolutionsArg::All => Self::All,
        }
    }
}

impl From<OnMismatchArg> for OnMismatch {
    fn from(arg: OnMismatchArg) -> Self {
        match arg {
            OnMismatchArg::Auto => Self::Auto,
            OnMismatchArg::Era => Self::Era,
            OnMismatchArg::Refuse => Self::Refuse,
        }
    }
}

impl From<HeadersArg> for HeaderPolicy {
    fn from(arg: HeadersArg) -> Self {
        match arg {
            HeadersArg::Read => Self::Read,
            HeadersArg::Index => Self::Index,
            HeadersArg::Assume => Self::Assume,
        }
    }
}

impl From<ChecksumArg> for ChecksumPolicy {
    fn from(arg: ChecksumArg) -> Self {
        match arg {
            ChecksumArg::Etag => Self::Etag,
            ChecksumArg::Modified => Self::Modified,
            ChecksumArg::None => Self::None,
        }
    }
}
