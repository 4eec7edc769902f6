//! Marker segments (ISO/IEC 15444-1, Annex A), one module per idea.

pub mod cod;
pub mod plt;
pub mod qcd;
pub mod siz;
pub mod sot;
pub mod tlm;
