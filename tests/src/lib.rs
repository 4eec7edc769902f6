//! Sample Sentinel-2 products: small in bytes, full in geometry, the same on every machine.
//!
//! [`write_products`] makes L2A and L1C SAFE folders whose JP2 files have the real sizes, tiles, code-blocks and precincts of
//! Sentinel-2, with a STAC catalogue and a TLM index in the public layout beside them. The pixels are a pure function
//! of place and date ([`SampleProduct::expected_pixels`]) and coded without loss, so a test can assert each of them
//! without trusting any decoder.
//!
//! Nothing of the s2ice crates is used here, not even to parse: what they read must have been written by someone else.

use std::io;

#[cfg(test)]
mod checks;

pub mod calendar;
pub mod coding;
pub mod encoder;
pub mod grid;
pub mod ground_segment;
pub mod index;
pub mod jp2;
pub mod landscape;
pub mod noise;
pub mod product;
pub mod raster;
pub mod sample;
pub mod scene;
pub mod spec;
pub mod spectra;
pub mod split;
pub mod stac;
mod tile_part;
pub mod truth;
pub mod xml;

pub use product::{expected_pixels, write_catalogue, write_products};
pub use sample::{SampleAsset, SampleProduct};
pub use spec::{Baseline, Headers, Level, Resolutions, SampleSpec, TlmChoice};
pub use split::TileParts;

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
