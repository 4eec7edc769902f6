//! From TLM index rows and STAC items to chunk manifests.
//!
//! Everything outside [`source`] is a pure function of its inputs: no clock, no network, no randomness. The readers
//! behind the feature `io` bring in Parquet tables, STAC documents, JPEG 2000 main headers and SAFE metadata.

pub mod assemble;
pub mod chunk;
pub mod decide;
pub mod encoding;
pub mod era;
pub mod geometry;
pub mod grid;
pub mod header_class;
pub mod ids;
pub mod index_columns;
pub mod join;
pub mod manifest;
pub mod product;
pub mod profile;
pub mod proof;
pub mod range;
pub mod raster;
pub mod stac;
pub mod tlm;
pub mod utm;

#[cfg(test)]
#[path = "../../../tests/support/real_data.rs"]
mod real_data;
#[cfg(feature = "io")]
pub mod source;
