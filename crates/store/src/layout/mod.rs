//! The tree an xarray user opens: groups, arrays, coordinates and attributes. Pure data.

pub mod attributes;
pub mod codecs;
pub mod crs;
pub mod document;
pub mod eopf;
pub mod geometry;
pub mod multiscale;
pub mod overview;
pub mod pixels;
pub mod place;
pub mod shared;
pub mod table;
pub mod time;
