//! Tile decoding for Python: buffers in, buffers out, both copied, the GIL released in between.

use pyo3::buffer::PyBuffer;
use pyo3::import_exception;
use pyo3::prelude::*;
use s2ice_jpeg2000::Scan;
use s2ice_jpeg2000::config::CodecConfig;
use s2ice_jpeg2000::decode::{SampleType, TileCodec as Decoder, Window};

// It is declared where the base of all errors is.
import_exception!(s2ice.errors, CodecError);

/// The decoder's refusal as Python sees it.
fn refused(error: s2ice_jpeg2000::Error) -> PyErr {
    CodecError::new_err(error.to_string())
}

/// Takes the decoder that the environment names in `S2ICE_DECODER`, if it names one.
pub(crate) fn choose_decoder() -> PyResult<()> {
    match std::env::var("S2ICE_DECODER") {
        Ok(name) => s2ice_jpeg2000::decode::choose_decoder(&name).map_err(refused),
        Err(_) => Ok(()),
    }
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
    fn decoder(&self) -> &'static str {
        self.decoder.decoder()
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

    /// Bytes at the start of a chunk that mostly hold the lengths of its packets.
    #[getter]
    fn head_bytes(&self) -> PyResult<u64> {
        self.decoder.head_bytes().map_err(refused)
    }

    #[pyo3(signature = (head, window = None, gap = 0))]
    fn plan(&self, py: Python<'_>, head: PyBuffer<u8>, window: Option<Corners>, gap: u64) -> PyResult<Planned> {
        let head = taken(py, &head)?;
        Ok(match self.decoder.plan(&head, window.map(to_window).as_ref(), gap).map_err(refused)? {
            Scan::NeedMore { up_to } => Planned::More(up_to),
            Scan::Done(None) => Planned::Whole(None),
            Scan::Done(Some(plan)) => Planned::Parts(
                plan.total,
                plan.head,
                plan.lead,
                plan.ranges.into_iter().map(|r| (r.start, r.end)).collect(),
            ),
        })
    }

    #[pyo3(signature = (chunk, out, fill = 0, window = None))]
    fn decode(
        &self,
        py: Python<'_>,
        chunk: PyBuffer<u8>,
        out: PyBuffer<u8>,
        fill: i64,
        window: Option<Corners>,
    ) -> PyResult<()> {
        let window = window.map(to_window);
        let chunk = taken(py, &chunk)?;
        self.decode_with(py, &out, window.as_ref(), |samples| {
            self.decoder.decode(&chunk, fill, window.as_ref(), samples)
        })
    }

    #[pyo3(signature = (parts, out, fill = 0, window = None))]
    fn decode_parts(
        &self,
        py: Python<'_>,
        parts: Vec<(u64, PyBuffer<u8>)>,
        out: PyBuffer<u8>,
        fill: i64,
        window: Option<Corners>,
    ) -> PyResult<()> {
        let window = window.map(to_window);
        let parts = parts.iter().map(|(at, bytes)| Ok((*at, taken(py, bytes)?))).collect::<PyResult<Vec<_>>>()?;
        let parts: Vec<(u64, &[u8])> = parts.iter().map(|(at, bytes)| (*at, bytes.as_slice())).collect();
        self.decode_with(py, &out, window.as_ref(), |samples| {
            self.decoder.decode_parts(&parts, fill, window.as_ref(), samples)
        })
    }

    fn __repr__(&self) -> String {
        let (height, width) = self.decoder.chunk_shape();
        format!("TileCodec({} x {height} x {width}, {})", self.decoder.components(), self.dtype())
    }
}

impl TileCodec {
    /// Decodes with the GIL released and copies the samples to `out`.
    fn decode_with(
        &self,
        py: Python<'_>,
        out: &PyBuffer<u8>,
        window: Option<&Window>,
        decode: impl FnOnce(&mut [u8]) -> s2ice_jpeg2000::Result<()> + Send,
    ) -> PyResult<()> {
        if out.readonly() {
            return Err(CodecError::new_err("the buffer for the decoded samples is read-only"));
        }
        if !out.is_c_contiguous() {
            return Err(CodecError::new_err("the buffer for the decoded samples is not C-contiguous"));
        }
        let needed = self.decoder.output_bytes(window).map_err(refused)?;
        if out.len_bytes() != needed {
            let reason = format!("the buffer has {} bytes for {needed} bytes of decoded samples", out.len_bytes());
            return Err(CodecError::new_err(reason));
        }
        let mut samples = vec![0; needed];
        py.detach(|| decode(&mut samples)).map_err(refused)?;
        out.copy_from_slice(py, &samples)
    }
}

/// A copy of a buffer. Once the GIL is released other threads may write to it, even to one lent read-only: decoding uses
/// memory of its own only.
fn taken(py: Python<'_>, buffer: &PyBuffer<u8>) -> PyResult<Vec<u8>> {
    // A buffer that repeats its bytes may claim any length; a contiguous one has its bytes in memory.
    if !buffer.is_c_contiguous() {
        return Err(CodecError::new_err("the buffer of the chunk is not C-contiguous"));
    }
    buffer.to_vec(py)
}

/// First row, end row, first column, end column.
type Corners = (u32, u32, u32, u32);

fn to_window((y0, y1, x0, x1): Corners) -> Window {
    Window { y: y0..y1, x: x0..x1 }
}

/// What is to be read of a chunk.
#[derive(IntoPyObject)]
enum Planned {
    /// This many bytes from its start, and then to ask again.
    More(u64),
    /// All of it.
    Whole(Option<()>),
    /// Bytes of the whole, of its head, up to the first packet that is not needed, and the ranges to read.
    Parts(u64, u64, u64, Vec<(u64, u64)>),
}
