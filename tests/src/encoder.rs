//! One codestream through OpenJPEG's encoder, tile by tile, so that memory holds one tile and what is already coded.
//!
//! Nothing of s2ice is used here: the samples are the witness that s2ice is tested against.

use std::ffi::{CStr, CString, c_char, c_void};
use std::io;
use std::ptr;

use openjpeg_sys as opj;

use crate::coding::Coding;
use crate::ground_segment;

/// Codes an image. `fill` is asked for each tile in raster order: it gets the tile's index and rectangle (column, row,
/// width, height) and appends its samples, component after component, row by row, one byte per sample up to 8 bits and
/// else two, little endian.
///
/// # Errors
/// What OpenJPEG says when it refuses, and what `fill` says; `InvalidInput` when the ground segment's header cannot hold
/// the pixels.
pub fn encode(
    coding: &Coding,
    mut fill: impl FnMut(u32, [u32; 4], &mut Vec<u8>) -> io::Result<()>,
) -> io::Result<Vec<u8>> {
    let mut complaints = String::new();
    let mut sink = Sink::default();
    // SAFETY: `complaints` and `sink` outlive the encoder, and neither moves while it lives.
    let encoder = unsafe { Encoder::new(&raw mut complaints, &raw mut sink) }?;
    let outcome = encoder.run(coding, &mut fill);
    drop(encoder);
    match outcome {
        Err(e) if !complaints.is_empty() => Err(io::Error::other(format!("{e}: {}", complaints.trim_end()))),
        Err(e) => Err(e),
        Ok(()) if coding.ground_segment => ground_segment::rewrite(&sink.bytes, coding),
        Ok(()) => Ok(sink.bytes),
    }
}

/// Where OpenJPEG writes: memory with a cursor.
#[derive(Default)]
struct Sink {
    bytes: Vec<u8>,
    at: usize,
}

type Fill<'a> = dyn FnMut(u32, [u32; 4], &mut Vec<u8>) -> io::Result<()> + 'a;

struct Encoder {
    codec: *mut opj::opj_codec_t,
    stream: *mut opj::opj_stream_t,
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: both were created by OpenJPEG and are freed once; it accepts null.
        unsafe {
            opj::opj_stream_destroy(self.stream);
            opj::opj_destroy_codec(self.codec);
        }
    }
}

struct Image(*mut opj::opj_image_t);

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: created by opj_image_tile_create, freed once.
        unsafe { opj::opj_image_destroy(self.0) }
    }
}

impl Encoder {
    /// # Safety
    /// Both pointers must stay valid, and their targets untouched by others, until the encoder is dropped.
    unsafe fn new(complaints: *mut String, sink: *mut Sink) -> io::Result<Self> {
        // SAFETY: plain constructors; the handlers get pointers that the caller keeps alive.
        unsafe {
            let encoder = Self {
                codec: opj::opj_create_compress(opj::OPJ_CODEC_FORMAT::OPJ_CODEC_J2K),
                stream: opj::opj_stream_default_create(0),
            };
            if encoder.codec.is_null() || encoder.stream.is_null() {
                return Err(io::Error::other("OpenJPEG has no memory for an encoder"));
            }
            opj::opj_set_error_handler(encoder.codec, Some(complain), complaints.cast());
            opj::opj_stream_set_user_data(encoder.stream, sink.cast(), None);
            opj::opj_stream_set_write_function(encoder.stream, Some(write));
            opj::opj_stream_set_skip_function(encoder.stream, Some(skip));
            opj::opj_stream_set_seek_function(encoder.stream, Some(seek));
            Ok(encoder)
        }
    }

    fn run(&self, coding: &Coding, fill: &mut Fill<'_>) -> io::Result<()> {
        let image = image(coding)?;
        let mut parameters = parameters(coding)?;
        // OpenJPEG's two guard bits are too few for the extremes of transformed colours, and it writes wrong headers then.
        // The ground segment's header comes later, so there may be plenty of them until then.
        let guard_bits = if coding.ground_segment { "GUARD_BITS=4" } else { "GUARD_BITS=2" };
        let options = [CString::new("PLT=YES")?, CString::new(guard_bits)?];
        let options = [options[0].as_ptr(), options[1].as_ptr(), ptr::null()];
        // SAFETY: codec, stream and image are live; `options` is a null-terminated array of C strings.
        unsafe {
            yes(opj::opj_setup_encoder(self.codec, &raw mut parameters, image.0), "set up the encoder")?;
            yes(opj::opj_encoder_set_extra_options(self.codec, options.as_ptr()), "set its options")?;
            yes(opj::opj_start_compress(self.codec, image.0, self.stream), "write the main header")?;
        }
        let mut samples = Vec::new();
        for index in 0..coding.tiles_across() * coding.tiles_across() {
            let rect = coding.tile_rect(index);
            samples.clear();
            fill(index, rect, &mut samples)?;
            let length = rect[2] * rect[3] * coding.components * coding.bytes_per_sample();
            if u32::try_from(samples.len()).ok() != Some(length) {
                return Err(io::Error::other(format!("tile {index} has {} bytes, not {length}", samples.len())));
            }
            // SAFETY: `samples` holds `length` bytes, all of which OpenJPEG copies before it returns.
            unsafe {
                let written = opj::opj_write_tile(self.codec, index, samples.as_mut_ptr(), length, self.stream);
                yes(written, "code a tile")?;
            }
        }
        // SAFETY: the compression was started and every tile written.
        unsafe { yes(opj::opj_end_compress(self.codec, self.stream), "end the codestream") }
    }
}

fn yes(answer: opj::OPJ_BOOL, what: &str) -> io::Result<()> {
    if answer == 0 { Err(io::Error::other(format!("OpenJPEG could not {what}"))) } else { Ok(()) }
}

fn image(coding: &Coding) -> io::Result<Image> {
    let component = opj::opj_image_cmptparm_t {
        dx: 1,
        dy: 1,
        w: coding.side,
        h: coding.side,
        x0: 0,
        y0: 0,
        prec: coding.bits,
        bpp: coding.bits,
        sgnd: 0,
    };
    let mut components = vec![component; usize::try_from(coding.components).map_err(io::Error::other)?];
    let space = if coding.components == 3 {
        opj::OPJ_COLOR_SPACE::OPJ_CLRSPC_SRGB
    } else {
        opj::OPJ_COLOR_SPACE::OPJ_CLRSPC_GRAY
    };
    // SAFETY: `components` holds `coding.components` entries, copied by the call.
    let image = Image(unsafe { opj::opj_image_tile_create(coding.components, components.as_mut_ptr(), space) });
    if image.0.is_null() {
        return Err(io::Error::other("OpenJPEG has no memory for an image"));
    }
    // SAFETY: not null, and owned by `image`.
    unsafe {
        (*image.0).x0 = 0;
        (*image.0).y0 = 0;
        (*image.0).x1 = coding.side;
        (*image.0).y1 = coding.side;
    }
    Ok(image)
}

fn parameters(coding: &Coding) -> io::Result<opj::opj_cparameters_t> {
    let int = |v: u32| i32::try_from(v).map_err(io::Error::other);
    // SAFETY: a plain C struct for which all zeros is a value; OpenJPEG then sets its defaults.
    let mut p: opj::opj_cparameters_t = unsafe {
        let mut p = std::mem::zeroed();
        opj::opj_set_default_encoder_parameters(&raw mut p);
        p
    };
    p.tile_size_on = 1;
    p.cp_tdx = int(coding.tile)?;
    p.cp_tdy = int(coding.tile)?;
    p.tcp_numlayers = 1;
    p.tcp_rates[0] = 0.0; // everything: lossless
    p.cp_disto_alloc = 1;
    p.irreversible = 0;
    p.prog_order = opj::OPJ_PROG_ORDER::OPJ_LRCP;
    p.numresolution = int(coding.levels + 1)?;
    p.cblockw_init = int(coding.code_block)?;
    p.cblockh_init = int(coding.code_block)?;
    p.csty |= 1; // precinct sizes are written out
    p.res_spec = int(coding.levels + 1)?;
    for (w, h) in p.prcw_init.iter_mut().zip(&mut p.prch_init).take(p.res_spec.unsigned_abs() as usize) {
        *w = int(coding.precinct)?;
        *h = int(coding.precinct)?;
    }
    p.tcp_mct = c_char::from(coding.colour_transform());
    Ok(p)
}

unsafe extern "C" fn complain(message: *const c_char, data: *mut c_void) {
    // SAFETY: `data` is the String given to `Encoder::new`, `message` a C string of OpenJPEG's.
    unsafe { (*data.cast::<String>()).push_str(&CStr::from_ptr(message).to_string_lossy()) }
}

unsafe extern "C" fn write(buffer: *mut c_void, length: usize, data: *mut c_void) -> usize {
    // SAFETY: `data` is the Sink given to `Encoder::new`, `buffer` holds `length` bytes.
    let (sink, new) = unsafe { (&mut *data.cast::<Sink>(), std::slice::from_raw_parts(buffer.cast::<u8>(), length)) };
    let over = sink.bytes.len().saturating_sub(sink.at).min(length);
    sink.bytes[sink.at..sink.at + over].copy_from_slice(&new[..over]);
    sink.bytes.extend_from_slice(&new[over..]);
    sink.at += length;
    length
}

unsafe extern "C" fn skip(by: i64, data: *mut c_void) -> i64 {
    // SAFETY: as in `write`.
    let sink = unsafe { &mut *data.cast::<Sink>() };
    match i64::try_from(sink.at).ok().and_then(|at| usize::try_from(at + by).ok()) {
        Some(at) if at <= sink.bytes.len() => {
            sink.at = at;
            by
        }
        _ => -1,
    }
}

unsafe extern "C" fn seek(to: i64, data: *mut c_void) -> opj::OPJ_BOOL {
    // SAFETY: as in `write`.
    let sink = unsafe { &mut *data.cast::<Sink>() };
    match usize::try_from(to) {
        Ok(at) if at <= sink.bytes.len() => {
            sink.at = at;
            1
        }
        _ => 0,
    }
}
