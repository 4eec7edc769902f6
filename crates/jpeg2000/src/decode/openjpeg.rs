//! The reference decoder: OpenJPEG in strict mode, every warning an error.

use super::{TileDecoder, TileJob};
use openjpeg_sys as opj;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;

/// OpenJPEG (C), one thread per call.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenJpeg;

impl TileDecoder for OpenJpeg {
    fn decode(&self, job: &TileJob<'_>, take: &mut dyn FnMut(u32, &[i32])) -> Result<(), String> {
        let mut log = Log::default();
        let done = decode(job, take, &mut log);
        // What OpenJPEG says is more telling than which call failed; a warning alone fails the tile as well.
        match (log.first, done) {
            (Some(message), _) => Err(message),
            (None, done) => done.map_err(ToOwned::to_owned),
        }
    }
}

/// The first warning or error.
#[derive(Default)]
struct Log {
    first: Option<String>,
}

unsafe extern "C" fn note(message: *const c_char, log: *mut c_void) {
    if message.is_null() || log.is_null() {
        return;
    }
    // SAFETY: `log` is the `Log` given with the handler, which outlives the codec; `message` is a C string.
    let (log, text) = unsafe { (&mut *log.cast::<Log>(), CStr::from_ptr(message)) };
    if log.first.is_none() {
        log.first = Some(text.to_string_lossy().trim_end().to_owned());
    }
}

/// The codestream as OpenJPEG reads it.
struct Source<'a> {
    bytes: &'a [u8],
    pos: usize,
}

/// OpenJPEG's mark for the end of a stream.
const END: usize = usize::MAX;

unsafe extern "C" fn read(buffer: *mut c_void, count: usize, source: *mut c_void) -> usize {
    // SAFETY: `source` is the `Source` set on the stream, which outlives it.
    let source = unsafe { &mut *source.cast::<Source<'_>>() };
    let rest = source.bytes.get(source.pos..).unwrap_or_default();
    let n = rest.len().min(count);
    if n == 0 {
        return END;
    }
    // SAFETY: OpenJPEG gives room for `count` bytes; `n` is no more than that.
    unsafe { std::ptr::copy_nonoverlapping(rest.as_ptr(), buffer.cast::<u8>(), n) };
    source.pos += n;
    n
}

unsafe extern "C" fn skip(count: i64, source: *mut c_void) -> i64 {
    // SAFETY: as in `read`.
    let source = unsafe { &mut *source.cast::<Source<'_>>() };
    let to = usize::try_from(count).ok().and_then(|n| source.pos.checked_add(n));
    match to {
        Some(to) if to <= source.bytes.len() => {
            source.pos = to;
            count
        }
        _ => -1,
    }
}

unsafe extern "C" fn seek(to: i64, source: *mut c_void) -> i32 {
    // SAFETY: as in `read`.
    let source = unsafe { &mut *source.cast::<Source<'_>>() };
    match usize::try_from(to) {
        Ok(to) if to <= source.bytes.len() => {
            source.pos = to;
            1
        }
        _ => 0,
    }
}

/// A pointer that is destroyed when it goes out of scope.
pub(crate) struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    pub(crate) fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, &'static str> {
        NonNull::new(pointer).map(|pointer| Owned { pointer, destroy }).ok_or("out of memory")
    }

    pub(crate) fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the matching constructor and is destroyed once.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

fn decode(job: &TileJob<'_>, take: &mut dyn FnMut(u32, &[i32]), log: &mut Log) -> Result<(), &'static str> {
    let log: *mut c_void = std::ptr::from_mut(log).cast();
    let mut source = Source { bytes: job.codestream, pos: 0 };
    let buffer = job.codestream.len().clamp(1 << 10, 1 << 16);
    // SAFETY: plain constructors; `source` and `log` outlive the stream and the codec, which are dropped in this function.
    let (stream, codec) = unsafe {
        let stream = Owned::new(opj::opj_stream_create(buffer, 1), opj::opj_stream_destroy)?;
        opj::opj_stream_set_read_function(stream.get(), Some(read));
        opj::opj_stream_set_skip_function(stream.get(), Some(skip));
        opj::opj_stream_set_seek_function(stream.get(), Some(seek));
        opj::opj_stream_set_user_data(stream.get(), std::ptr::from_mut(&mut source).cast(), None);
        opj::opj_stream_set_user_data_length(stream.get(), job.codestream.len() as u64);
        let codec = Owned::new(opj::opj_create_decompress(opj::CODEC_FORMAT::OPJ_CODEC_J2K), opj::opj_destroy_codec)?;
        opj::opj_set_warning_handler(codec.get(), Some(note), log);
        opj::opj_set_error_handler(codec.get(), Some(note), log);
        (stream, codec)
    };
    // SAFETY: all pointers are live; the parameters are a plain C struct that OpenJPEG fills in.
    let image = unsafe {
        let mut parameters: opj::opj_dparameters_t = std::mem::zeroed();
        opj::opj_set_default_decoder_parameters(&raw mut parameters);
        parameters.cp_reduce = u32::from(job.reduce);
        check(opj::opj_setup_decoder(codec.get(), &raw mut parameters), "the decoder cannot be set up")?;
        check(opj::opj_decoder_set_strict_mode(codec.get(), 1), "the decoder has no strict mode")?;
        let mut image = std::ptr::null_mut();
        check(opj::opj_read_header(stream.get(), codec.get(), &raw mut image), "the main header is refused")?;
        let image = Owned::new(image, opj::opj_image_destroy)?;
        if job.area != job.tile {
            let corner = |n: u32| i32::try_from(n).map_err(|_| "an image of 2^31 samples or more");
            let a = job.area;
            let (x0, y0, x1, y1) = (corner(a.x0)?, corner(a.y0)?, corner(a.x1)?, corner(a.y1)?);
            let set = opj::opj_set_decode_area(codec.get(), image.get(), x0, y0, x1, y1);
            check(set, "the window is refused")?;
        }
        check(opj::opj_decode(codec.get(), stream.get(), image.get()), "the tile is refused")?;
        image
    };
    // SAFETY: OpenJPEG filled the image; `comps` has `numcomps` entries.
    let components = unsafe {
        let image = &*image.get();
        if image.comps.is_null() || image.numcomps != job.components {
            return Err("another number of components came out");
        }
        std::slice::from_raw_parts(image.comps, image.numcomps as usize)
    };
    let (height, width) = job.size();
    if components.iter().any(|c| c.data.is_null() || (c.h, c.w) != (height, width)) {
        return Err("another size came out");
    }
    // SAFETY: as above. A warning so far means that samples may be missing: nothing is handed over then.
    if unsafe { (*log.cast::<Log>()).first.is_some() } {
        return Err("damaged");
    }
    for (index, component) in (0..).zip(components) {
        let count = height as usize * width as usize;
        // SAFETY: OpenJPEG allocates w x h samples per component.
        take(index, unsafe { std::slice::from_raw_parts(component.data, count) });
    }
    Ok(())
}

pub(crate) fn check(done: i32, otherwise: &'static str) -> Result<(), &'static str> {
    if done == 0 { Err(otherwise) } else { Ok(()) }
}
