//! A store written out in forms that other readers know.

mod cube;
pub mod gdal;
pub mod index;
pub mod kerchunk;
mod left_out;
pub mod manifest;
mod own;

pub use cube::{Cube, Raster, Selection};
pub use left_out::LeftOut;

pub use crate::held::HeldReference;
