//! One raster of a store as a file that rasterio opens.

use std::path::Path;
use std::sync::Arc;

use pyo3::prelude::*;
use s2ice_manifest::source::location::SourceUrl;
use s2ice_store::export::{Cube, gdal};
use s2ice_store::target::Target;

use crate::build::{answer, options, raise};
use crate::run::{Counter, run};

/// Writes the raster of an array at a time (first and last millisecond) to a folder; `options` are the store's, as JSON. The
/// path of its VRT and the place of its file, as JSON.
#[pyfunction]
#[pyo3(signature = (store, options, array, span, folder, at = None))]
pub(crate) fn gdal_raster(
    py: Python<'_>,
    store: &str,
    options: &str,
    array: &str,
    span: (i64, i64),
    folder: &str,
    at: Option<&str>,
) -> PyResult<String> {
    let options = self::options(py, options)?;
    let url = SourceUrl::parse(store).map_err(|e| raise(py, "SourceError", &e.to_string()))?;
    let work = async {
        let target = Target::open(url, options).await?;
        let cube = Cube::open(&target, at).await?;
        gdal::one(&cube, array, span, Path::new(folder)).await
    };
    answer(py, run(py, &Arc::new(Counter::default()), None, work)?)
}
