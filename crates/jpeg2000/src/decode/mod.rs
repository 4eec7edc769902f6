//! From a chunk to samples.

pub mod native;
#[cfg(feature = "openjpeg")]
pub(crate) mod openjpeg;
mod parts;
mod place;

pub use crate::grid::Window;
pub use native::Native;
#[cfg(feature = "openjpeg")]
pub use openjpeg::OpenJpeg;
pub use parts::Plan;

use crate::config::CodecConfig;
use crate::error::{Error, Part, Result};
use crate::grid::{Geometry, Rect, reduced_size};
use crate::header::MainHeader;
use crate::marker::Marker;
use crate::packet::blocks::Scope;
use crate::segment::cod::Transform;
use crate::tile::Chunk;
use native::Wanted;
use place::run;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most samples of one chunk, all components together. A configuration that asks for more is refused.
pub const MAX_SAMPLES: u64 = 1 << 28;

/// Most samples on one side of an image or tile: decoders count in `i32`.
const MAX_SIDE: u32 = i32::MAX.unsigned_abs() / 2;

/// How samples stand in memory, in native byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SampleType {
    /// 1 up to 8 bits, 2 up to 16.
    pub bytes: usize,
    /// Whether samples are signed.
    pub signed: bool,
}

impl SampleType {
    /// Smallest and largest value that fits.
    #[must_use]
    pub fn range(self) -> (i64, i64) {
        match (self.bytes, self.signed) {
            (1, false) => (0, 255),
            (1, true) => (-128, 127),
            (_, false) => (0, 65535),
            (_, true) => (-32768, 32767),
        }
    }
}

/// What a decoder is asked for: one tile as a codestream of its own, still in its place on the reference grid.
#[derive(Debug)]
pub struct TileJob<'a> {
    /// A complete, legal codestream of one tile.
    pub codestream: &'a [u8],
    /// The tile on the reference grid.
    pub tile: Rect,
    /// The part of it that is wanted, on the reference grid; equal to `tile` for all.
    pub area: Rect,
    /// Resolutions to leave out.
    pub reduce: u8,
    /// Components of the image.
    pub components: u32,
}

impl TileJob<'_> {
    /// (height, width) of what comes out, for components that are not subsampled.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        let span = |low, high| reduced_size(high, self.reduce).saturating_sub(reduced_size(low, self.reduce));
        (span(self.area.y0, self.area.y1), span(self.area.x0, self.area.x1))
    }
}

/// Decodes one tile. Implementations are strict: damage is an error and never a guess.
pub trait TileDecoder: Send + Sync {
    /// Decodes and hands the samples of each component, row by row, to `take`: all components, in their order.
    ///
    /// # Errors
    /// The decoder's own words.
    fn decode(&self, job: &TileJob<'_>, take: &mut dyn FnMut(u32, &[i32])) -> std::result::Result<(), String>;
}

/// Whether [`TileCodec::new`] takes OpenJPEG for everything.
static OPENJPEG: AtomicBool = AtomicBool::new(false);

/// Sets which decoder codecs that are made from now on take, by its name: `openjpeg` for everything, or (`s2ice`, the default)
/// that of this crate for all that it supports.
///
/// # Errors
/// [`Error::Invalid`] for another name; [`Error::Unsupported`] for OpenJPEG where the feature `openjpeg` is not built.
pub fn choose_decoder(name: &str) -> Result<()> {
    let openjpeg = match name {
        "s2ice" | "" => false,
        "openjpeg" => true,
        _ => {
            let reason = format!("the decoder {name:?} is neither \"s2ice\" nor \"openjpeg\"");
            return Err(Error::invalid(Part::Field("decoder"), 0, reason));
        }
    };
    if openjpeg && !cfg!(feature = "openjpeg") {
        return Err(Error::unsupported(Part::Field("decoder"), 0, "this build has no OpenJPEG"));
    }
    OPENJPEG.store(openjpeg, Ordering::Relaxed);
    Ok(())
}

/// What decodes tiles.
#[derive(Clone)]
enum Engine {
    /// The decoder of this crate, which takes packets where they lie.
    Native(Native),
    /// One that wants a codestream for each tile.
    Other(Arc<dyn TileDecoder>),
}

/// Decodes the chunks of one array.
#[derive(Clone)]
pub struct TileCodec {
    header: MainHeader,
    geometry: Geometry,
    reduce: u8,
    engine: Engine,
}

impl std::fmt::Debug for TileCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TileCodec")
            .field("geometry", &self.geometry)
            .field("reduce", &self.reduce)
            .finish_non_exhaustive()
    }
}

impl TileCodec {
    /// A codec with the decoder of this crate where it supports the header, else with OpenJPEG in strict mode; see
    /// [`choose_decoder`].
    ///
    /// # Errors
    /// A main header that is damaged, refused, or does not fit a regular chunk grid; `reduce` beyond the resolutions
    /// there are; tiles of more than [`MAX_SAMPLES`]; without the feature `openjpeg`, what [`Native::supports`] refuses.
    #[cfg(feature = "openjpeg")]
    pub fn new(config: &CodecConfig) -> Result<Self> {
        let mut codec = Self::with_decoder(config, Arc::new(OpenJpeg))?;
        let supported = Native::supports(&codec.header);
        if supported.is_ok() && !OPENJPEG.load(Ordering::Relaxed) {
            codec.engine = Engine::Native(Native::default());
        }
        let (decoder, (height, width)) = (codec.decoder(), codec.chunk_shape());
        let refused = supported.err().map(|error| error.to_string());
        tracing::debug!(decoder, refused, "tiles of {height} x {width} samples are decoded by {decoder}");
        Ok(codec)
    }

    /// A codec with the decoder of this crate.
    ///
    /// # Errors
    /// A main header that is damaged, refused, or does not fit a regular chunk grid; `reduce` beyond the resolutions
    /// there are; tiles of more than [`MAX_SAMPLES`]; what [`Native::supports`] refuses.
    #[cfg(not(feature = "openjpeg"))]
    pub fn new(config: &CodecConfig) -> Result<Self> {
        Self::with_native(config, Native::default())
    }

    /// What decodes: `s2ice` for the decoder of this crate, else `OpenJPEG`, which stands for any other as well.
    #[must_use]
    pub fn decoder(&self) -> &'static str {
        match self.engine {
            Engine::Native(_) => "s2ice",
            Engine::Other(_) => "OpenJPEG",
        }
    }

    /// A codec with one build of the decoder of this crate.
    ///
    /// # Errors
    /// See [`TileCodec::new`]; what [`Native::supports`] refuses.
    pub fn with_native(config: &CodecConfig, native: Native) -> Result<Self> {
        let codec = Self::with_engine(config, Engine::Native(native))?;
        Native::supports(&codec.header)?;
        Ok(codec)
    }

    /// A codec with another decoder.
    ///
    /// # Errors
    /// See [`TileCodec::new`].
    pub fn with_decoder(config: &CodecConfig, decoder: Arc<dyn TileDecoder>) -> Result<Self> {
        Self::with_engine(config, Engine::Other(decoder))
    }

    fn with_engine(config: &CodecConfig, engine: Engine) -> Result<Self> {
        let header = config.header()?;
        if header.poc().is_some() {
            return Err(Error::unsupported(Marker::POC, 0, "progression order changes"));
        }
        if config.reduce > header.min_levels() {
            let reason = format!("{} resolutions to leave out, but only {} can be", config.reduce, header.min_levels());
            return Err(Error::invalid(Part::Field("reduce"), 0, reason));
        }
        let full = header.geometry()?;
        let lengths = [full.components, full.tile_height, full.tile_width];
        let samples = lengths.iter().try_fold(1, |samples: u64, length| samples.checked_mul(u64::from(*length)));
        if samples.is_none_or(|samples| samples > MAX_SAMPLES) || lengths.iter().any(|length| *length > MAX_SIDE) {
            let [components, height, width] = lengths;
            let reason = format!(
                "a tile of {components} x {height} x {width} samples (components, rows, columns); up to {MAX_SAMPLES} \
                 are decoded"
            );
            return Err(Error::unsupported(Marker::SIZ, 0, reason));
        }
        if full.height.max(full.width) > MAX_SIDE {
            return Err(Error::unsupported(Marker::SIZ, 0, "an image of 2^30 samples or more on one side"));
        }
        let geometry = full.reduced(config.reduce)?;
        Ok(TileCodec { header, geometry, reduce: config.reduce, engine })
    }

    /// The main header in force.
    #[must_use]
    pub fn header(&self) -> &MainHeader {
        &self.header
    }

    /// Shape of the array and its chunks at this reduction.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Number of components.
    #[must_use]
    pub fn components(&self) -> u32 {
        self.geometry.components
    }

    /// (height, width) of a chunk at this reduction; edge tiles are padded to it.
    #[must_use]
    pub fn chunk_shape(&self) -> (u32, u32) {
        (self.geometry.tile_height, self.geometry.tile_width)
    }

    /// How samples stand in memory.
    #[must_use]
    pub fn dtype(&self) -> SampleType {
        SampleType { bytes: self.geometry.sample_bytes(), signed: self.geometry.signed }
    }

    /// Bytes that decoding `window` (or the whole chunk) fills.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the window is not inside the chunk.
    pub fn output_bytes(&self, window: Option<&Window>) -> Result<usize> {
        let window = self.window(window)?;
        // At most `MAX_SAMPLES` of 2 bytes, as was checked; so the product fits wherever a chunk does.
        [self.components() as usize, window.y.len(), window.x.len()]
            .into_iter()
            .try_fold(self.dtype().bytes, usize::checked_mul)
            .ok_or_else(|| Error::invalid(Part::Field("window"), 0, "its samples do not fit in memory"))
    }

    /// Decodes a chunk, or the window of it that is asked for.
    ///
    /// `out` takes components x height x width samples (of the window), component first, in native byte order. Samples beyond
    /// the image, which edge tiles have, become `fill`.
    ///
    /// # Errors
    /// A chunk that is not whole, damaged, or of another grid; a window outside the chunk; `out` of another size than
    /// [`TileCodec::output_bytes`]; a fill value that the sample type cannot hold. `out` is then unspecified.
    pub fn decode(&self, chunk: &[u8], fill: i64, window: Option<&Window>, out: &mut [u8]) -> Result<()> {
        let window = self.checked(fill, window, out)?;
        match &self.engine {
            Engine::Native(native) => {
                // Where PLT lies, the whole chunk decides.
                if let Some(needed) = self.needed_of(chunk, &window)?
                    && let Ok((body, blocks)) = needed.blocks(&self.header, &[(0, chunk)], self.scope(&window))
                {
                    self.decode_native(*native, needed.rect, (&blocks, &body), fill, &window, out);
                    return Ok(());
                }
                let (chunk, body, blocks) = Chunk::blocks(&self.header, chunk, self.scope(&window))?;
                self.decode_native(*native, chunk.rect, (&blocks, &body), fill, &window, out);
                Ok(())
            }
            Engine::Other(decoder) => {
                let chunk = Chunk::parse(&self.header, chunk, self.reduce)?;
                let codestream = chunk.standalone(&self.header)?;
                self.decode_tile(&**decoder, (chunk.tile, chunk.rect), &codestream, fill, &window, out)
            }
        }
    }

    /// The value of every sample of every component, if they are all the same.
    ///
    /// # Errors
    /// See [`TileCodec::decode`].
    pub fn constant_value(&self, chunk: &[u8]) -> Result<Option<i64>> {
        let parsed = Chunk::parse(&self.header, chunk, self.reduce)?;
        // The reversible transform takes a constant tile to a constant lowest resolution and nothing else, and back.
        let reversible = self.header.cod().coding.transform == Transform::Reversible53 && self.header.coc().is_empty();
        if reversible && self.header.rgn().is_empty() {
            let lowest = self.constant_at(&parsed, self.header.min_levels())?;
            if lowest.is_none() || !parsed.detail {
                return Ok(lowest);
            }
        }
        self.constant_at(&parsed, self.reduce)
    }

    fn constant_at(&self, parsed: &Chunk<'_>, reduce: u8) -> Result<Option<i64>> {
        let mut value = None;
        let mut same = true;
        let mut compare = |samples: &[i32]| {
            for sample in samples {
                same &= *sample == *value.get_or_insert(*sample);
            }
        };
        match &self.engine {
            Engine::Native(native) => {
                let reduced = |low, high| 0..reduced_size(high, reduce) - reduced_size(low, reduce);
                let rect = parsed.rect;
                let window = Window { y: reduced(rect.y0, rect.y1), x: reduced(rect.x0, rect.x1) };
                let (blocks, body) = parsed.blocks_of(&self.header, Scope { reduce, window: &window })?;
                let (header, blocks) = (&self.header, &blocks);
                let wanted = Wanted { header, tile: rect, reduce, window: &window, blocks, body: &body };
                native.decode_rows(&wanted, &mut |_, _, samples| compare(samples));
            }
            Engine::Other(decoder) => {
                let codestream = parsed.standalone(&self.header)?;
                let job = self.job(parsed.rect, &codestream, parsed.rect, reduce);
                run(&**decoder, parsed.tile, &job, &mut |_, samples| compare(samples))?;
            }
        }
        Ok(value.filter(|_| same).map(i64::from))
    }

    /// The window in full, for arguments that fit each other.
    fn checked(&self, fill: i64, window: Option<&Window>, out: &[u8]) -> Result<Window> {
        let needed = self.output_bytes(window)?;
        if out.len() != needed {
            let reason = format!("{} bytes for {needed} bytes of samples", out.len());
            return Err(Error::invalid(Part::Field("out"), 0, reason));
        }
        let (low, high) = self.dtype().range();
        if fill < low || fill > high {
            return Err(Error::invalid(Part::Field("fill"), 0, format!("{fill} is not between {low} and {high}")));
        }
        self.window(window)
    }

    fn window(&self, window: Option<&Window>) -> Result<Window> {
        let (height, width) = self.chunk_shape();
        let Some(window) = window else { return Ok(Window { y: 0..height, x: 0..width }) };
        for (name, range, size) in [("rows", &window.y, height), ("columns", &window.x, width)] {
            if range.start > range.end || range.end > size {
                let reason = format!("{name} {}..{} are not inside 0..{size}", range.start, range.end);
                return Err(Error::invalid(Part::Field("window"), 0, reason));
            }
        }
        Ok(window.clone())
    }

    fn job<'a>(&self, tile: Rect, codestream: &'a [u8], area: Rect, reduce: u8) -> TileJob<'a> {
        TileJob { codestream, tile, area, reduce, components: self.components() }
    }
}

#[cfg(all(test, feature = "openjpeg"))]
mod tests;
