//! Readers of the outer world: sources, indexes, JPEG 2000 heads, SAFE metadata, STAC.

pub mod location;
pub mod index_writer;
pub mod tlm_parquet;
mod stac_api;
mod stac_error;
pub mod stac_file;
mod stac_http;
mod stac_parquet;
pub mod manifest_parquet;
pub mod jp2_header;
pub mod jp2_walk;
pub mod safe_xml;
pub mod cache;
pub mod facts;
