//! `s2ice._s2ice`, the part of the Python wheel that is written in Rust. Its Python interface is described in
//! `python/s2ice/_s2ice.pyi`; users meet it through the modules beside that file.

use pyo3::prelude::*;

mod build;
mod codec;
mod fleet;
mod gdal;
mod housekeeping;
mod run;

/// The extension module.
#[pymodule]
fn _s2ice(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    codec::choose_decoder()?;
    module.add_class::<codec::TileCodec>()?;
    module.add_class::<fleet::FleetRun>()?;
    module.add_class::<housekeeping::FleetHousekeeping>()?;
    module.add_class::<fleet::Worker>()?;
    module.add_function(wrap_pyfunction!(build::build, module)?)?;
    module.add_function(wrap_pyfunction!(build::info, module)?)?;
    module.add_function(wrap_pyfunction!(gdal::gdal_raster, module)?)
}
