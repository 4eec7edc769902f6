//! Tile decoding for Python: buffers in, buffers out, the GIL released in between.

use pyo3::buffer::PyBuffer;
use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use s2ice_jpeg2000::config::CodecConfig;
use s2ice_jpeg2000::decode::{SampleType, TileCodec as Decoder, Window};

create_exception!(
    s2ice,
    CodecError,
    PyValueError,
    "A codec configuration or a chunk that cannot be decoded right; the text says where and why."
);

/// Decodes the chunks of one array. Frozen and without interior state, so that threads may share it.
#[pyclass(frozen, module = "s2ice._s2ice")]
pub(crate) struct TileCodec {
    decoder: Decoder,
}

#[pymethods]
impl TileCodec {
    #[new]
    #[pyo3(signature = (main_header, reduce = 0))]
    fn new(main_header: String, reduce: u8) -> PyResult<TileCodec> {
        let config = CodecConfig { main_header, reduce };
        Ok(TileCodec { decoder: Decoder::new(&config).map_err(|e| CodecError::new_err(e.to_string()))? })
    }

    #[getter]
    fn components(&self) -> u32 {
        self.decoder.components()
    }

    #[getter]
    fn chunk_shape(&self) -> (u32, u32) {
        self.decoder.chunk_shape()
    }

    #[getter]
    fn dtype(&self) -> &'static str {
        match self.decoder.dtype() {
            SampleType { bytes: 1, signed: false } => "uint8",
            SampleType { bytes: 1, signed: true } => "int8",
            SampleType { signed: false, .. } => "uint16",
            SampleType { signed: true, .. } => "int16",
        }
    }

    #[pyo3(signature = (chunk, out, fill = 0, window = None))]
    fn decode(
        &self,
        py: Python<'_>,
        chunk: PyBuffer<u8>,
        out: PyBuffer<u8>,
        fill: i64,
        window: Option<(u32, u32, u32, u32)>,
    ) -> PyResult<()> {
        let window = window.map(|(y0, y1, x0, x1)| Window { y: y0..y1, x: x0..x1 });
        if out.readonly() {
            return Err(CodecError::new_err("the buffer for the decoded samples is read-only"));
        }
        if !out.is_c_contiguous() {
            return Err(CodecError::new_err("the buffer for the decoded samples is not C-contiguous"));
        }
        // Without the GIL other threads may write to either buffer, even one lent read-only: only own memory is used then.
        let chunk = chunk.to_vec(py)?;
        let mut samples = vec![0; out.item_count()];
        py.detach(|| self.decoder.decode(&chunk, fill, window.as_ref(), &mut samples))
            .map_err(|e| CodecError::new_err(e.to_string()))?;
        out.copy_from_slice(py, &samples)
    }

    fn __repr__(&self) -> String {
        let (height, width) = self.decoder.chunk_shape();
        format!("TileCodec({} x {height} x {width}, {})", self.decoder.components(), self.dtype())
    }
}
