//! Readers of the outer world: sources, indexes, JPEG 2000 heads, GeoTIFF tables, SAFE metadata, STAC.

pub mod angle_chunks;
pub mod aws_tree;
pub mod budget;
mod budget_http;
pub mod cache;
pub mod cog_href;
pub mod facts;
mod index_partial;
pub mod index_run;
pub mod index_writer;
pub mod indexer;
pub mod jp2_header;
pub mod jp2_walk;
pub mod location;
pub mod manifest_parquet;
pub mod mirror;
pub mod safe_tree;
pub mod safe_xml;
mod stac_api;
mod stac_error;
pub mod stac_file;
mod stac_filter;
mod stac_http;
mod stac_parquet;
pub mod tiff;
pub mod tlm_parquet;
pub mod whole_file;
