//! `s2ice index`: where each tile of each raster lies.
