//! Tile decoding for Python: buffers in, buffers out, both copied, the GIL released in between.

use pyo3::buffer::PyBuffer;
use pyo3::import_exception;
use pyo3::prelude::*;
use s2ice_jpeg2000::config::CodecConfig;
use s2ice_jpeg2000::decode::{SampleType, TileCodec as Decoder, Window};

// It is declared where the base of all errors is.
import_exception!(s2ice.errors, CodecError);

/// The decoder's refusal as Python sees it.
fn refused(error: s2ice_jpeg2000::Error) -> PyErr {
    CodecError::new_err(error.to_string())
}

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
        Ok(TileCodec { decoder: Decoder::new(&config).map_err(refused)? })
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
        // A buffer that repeats its bytes may claim any length; a contiguous one has its bytes in memory.
        if !chunk.is_c_contiguous() {
            return Err(CodecError::new_err("the buffer of the chunk is not C-contiguous"));
        }
        let needed = self.decoder.output_bytes(window.as_ref()).map_err(refused)?;
        if out.len_bytes() != needed {
            let reason = format!("the buffer has {} bytes for {needed} bytes of decoded samples", out.len_bytes());
            return Err(CodecError::new_err(reason));
        }
        // Once the GIL is released other threads may write to either buffer, even to one lent read-only: decoding uses
        // memory of its own only.
        let chunk = chunk.to_vec(py)?;
        let mut samples = vec![0; needed];
        py.detach(|| self.decoder.decode(&chunk, fill, window.as_ref(), &mut samples)).map_err(refused)?;
        out.copy_from_slice(py, &samples)
    }

    fn __repr__(&self) -> String {
        let (height, width) = self.decoder.chunk_shape();
        format!("TileCodec({} x {height} x {width}, {})", self.decoder.components(), self.dtype())
    }
}
