//! JPEG 2000 codestreams (ISO/IEC 15444-1) cut into byte ranges that can be decoded on their own.
//!
//! Pure syntax: no IO, no async, no clock. Foreign bytes are read with checked arithmetic and refused with an
//! [`Error`] that names the marker or box and its offset. With the feature `decode`, [`decode::TileCodec`] turns one tile's
//! bytes into samples; with `openjpeg` it has OpenJPEG for what it refuses itself.
//!
//! ```text
//! file prefix -> scan_file_head -> FileHead { MainHeader } -> TileGrid, TlmTable -> TileSpan per tile
//!                                        `-> CodecConfig + a tile's bytes -> TileCodec -> samples
//! ```

#[cfg(feature = "decode")]
extern crate alloc;

mod box_type;
pub mod boxes;
pub mod config;
#[cfg(feature = "decode")]
pub mod decode;
pub mod error;
pub mod file;
pub mod grid;
pub mod header;
pub mod marker;
pub mod packet;
pub mod profile;
mod read;
#[cfg(test)]
mod samples;
pub mod segment;
pub mod tile;
pub mod tile_part;
#[cfg(feature = "openjpeg")]
pub mod uniform;

pub use config::{CODEC_NAME, CodecConfig, codec_schema};
#[cfg(feature = "decode")]
pub use decode::{Plan, SampleType, TileCodec, TileDecoder, Window};
pub use error::{Error, Part, Result, Scan};
pub use file::{FileHead, scan_file_head};
pub use grid::{Geometry, Rect, TileGrid, reduced_size};
pub use header::MainHeader;
pub use marker::Marker;
pub use packet::{prefix_lengths, prefix_lengths_from_head};
pub use profile::Profile;
pub use segment::cod::{Cod, Progression};
pub use segment::qcd::Qcd;
pub use segment::siz::{Component, Siz};
pub use segment::sot::Sot;
pub use segment::tlm::{TileSpan, TlmEntry, TlmTable};
pub use tile::Chunk;
pub use tile_part::TilePartHeader;
