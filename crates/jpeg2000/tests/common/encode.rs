//! Makes codestreams of any kind with OpenJPEG's encoder.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use openjpeg_sys as opj;
use std::ffi::{CStr, c_char, c_void};

/// What to encode and how.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub width: u32,
    pub height: u32,
    pub tile: (u32, u32),
    pub components: u32,
    pub depth: u32,
    pub signed: bool,
    pub mct: bool,
    pub levels: u32,
    /// 0 LRCP, 1 RLCP, 2 RPCL, 3 PCRL, 4 CPRL.
    pub progression: u8,
    pub layers: u32,
    pub sop: bool,
    pub eph: bool,
    pub irreversible: bool,
    /// Code-block style bits.
    pub style: i32,
    /// log2 of the code-block size.
    pub block: (u32, u32),
    /// log2 of the precinct size, the same at all resolutions; `None` for the maximum.
    pub precinct: Option<(u32, u32)>,
    /// A tile-part per resolution.
    pub tile_parts: bool,
    pub plt: bool,
    pub tlm: bool,
    pub seed: u32,
    /// Left and upper edge of the image; the first tile begins there.
    pub origin: (u32, u32),
    /// Compression ratio of the best layer; 0 loses nothing.
    pub rate: u32,
    pub guard_bits: u8,
}

impl Default for Recipe {
    fn default() -> Self {
        Recipe {
            width: 50,
            height: 37,
            tile: (32, 32),
            components: 1,
            depth: 12,
            signed: false,
            mct: false,
            levels: 2,
            progression: 0,
            layers: 1,
            sop: false,
            eph: false,
            irreversible: false,
            style: 0,
            block: (4, 4),
            precinct: None,
            tile_parts: false,
            plt: true,
            tlm: false,
            seed: 1,
            origin: (0, 0),
            rate: 0,
            // More than OpenJPEG's default, which images of one or two bits overflow.
            guard_bits: 4,
        }
    }
}

impl Recipe {
    /// The samples: gradients with noise, some areas flat.
    pub fn sample(&self, component: u32, y: u32, x: u32) -> i32 {
        let mut n = (x * 7919 + y * 104_729 + component * 31).wrapping_add(self.seed).wrapping_mul(2_654_435_761);
        n ^= n >> 15;
        n = n.wrapping_mul(2_246_822_519);
        n ^= n >> 13;
        let span = 1u32 << self.depth;
        let value = match (x / 16 + y / 16 + self.seed % 3) % 3 {
            0 => n % span,
            1 => (x * span / 64 + y + component) % span,
            _ => span / 3,
        };
        value as i32 - if self.signed { (span / 2) as i32 } else { 0 }
    }
}

struct Sink {
    bytes: Vec<u8>,
    at: usize,
}

unsafe extern "C" fn write(buffer: *mut c_void, count: usize, sink: *mut c_void) -> usize {
    let sink = unsafe { &mut *sink.cast::<Sink>() };
    let bytes = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), count) };
    sink.bytes.resize(sink.bytes.len().max(sink.at + count), 0);
    sink.bytes[sink.at..sink.at + count].copy_from_slice(bytes);
    sink.at += count;
    count
}

unsafe extern "C" fn skip(count: i64, sink: *mut c_void) -> i64 {
    let sink = unsafe { &mut *sink.cast::<Sink>() };
    sink.at = (sink.at as i64 + count) as usize;
    count
}

unsafe extern "C" fn seek(to: i64, sink: *mut c_void) -> i32 {
    unsafe { (*sink.cast::<Sink>()).at = to as usize };
    1
}

unsafe extern "C" fn complain(message: *const c_char, _: *mut c_void) {
    eprintln!("encoder: {}", unsafe { CStr::from_ptr(message) }.to_string_lossy().trim_end());
}

/// The codestream; `None` where the encoder's own buffer is too small for tiny tiles full of noise.
pub fn encode(recipe: &Recipe) -> Option<Vec<u8>> {
    encode_samples(recipe, &|component, y, x| recipe.sample(component, y, x))
}

/// As [`encode`], of other samples: by component, row and column.
pub fn encode_samples(recipe: &Recipe, sample: &dyn Fn(u32, u32, u32) -> i32) -> Option<Vec<u8>> {
    let done;
    let mut sink = Sink { bytes: Vec::new(), at: 0 };
    unsafe {
        let mut p: opj::opj_cparameters_t = std::mem::zeroed();
        opj::opj_set_default_encoder_parameters(&raw mut p);
        p.tile_size_on = 1;
        (p.cp_tdx, p.cp_tdy) = (recipe.tile.0 as i32, recipe.tile.1 as i32);
        p.cp_disto_alloc = 1;
        p.tcp_numlayers = recipe.layers as i32;
        for layer in 0..recipe.layers as usize {
            p.tcp_rates[layer] =
                if layer + 1 == recipe.layers as usize { recipe.rate as f32 } else { 40.0 / (1 << (2 * layer)) as f32 };
        }
        p.prog_order = match recipe.progression {
            0 => opj::PROG_ORDER::OPJ_LRCP,
            1 => opj::PROG_ORDER::OPJ_RLCP,
            2 => opj::PROG_ORDER::OPJ_RPCL,
            3 => opj::PROG_ORDER::OPJ_PCRL,
            _ => opj::PROG_ORDER::OPJ_CPRL,
        };
        p.numresolution = recipe.levels as i32 + 1;
        (p.cblockw_init, p.cblockh_init) = (1 << recipe.block.0, 1 << recipe.block.1);
        p.mode = recipe.style;
        p.irreversible = i32::from(recipe.irreversible);
        p.csty = i32::from(recipe.sop) * 2 + i32::from(recipe.eph) * 4;
        if let Some((x, y)) = recipe.precinct {
            p.csty |= 1;
            p.res_spec = recipe.levels as i32 + 1;
            for r in 0..=recipe.levels as usize {
                (p.prcw_init[r], p.prch_init[r]) = (1 << x, 1 << y);
            }
        }
        p.tcp_mct = i8::from(recipe.mct) as c_char;
        if recipe.tile_parts {
            p.tp_on = 1;
            p.tp_flag = b'R' as c_char;
        }
        let component = opj::opj_image_cmptparm_t {
            dx: 1,
            dy: 1,
            w: recipe.width,
            h: recipe.height,
            x0: recipe.origin.0,
            y0: recipe.origin.1,
            prec: recipe.depth,
            bpp: recipe.depth,
            sgnd: u32::from(recipe.signed),
        };
        let mut components = vec![component; recipe.components as usize];
        let space = opj::COLOR_SPACE::OPJ_CLRSPC_UNSPECIFIED;
        let image = opj::opj_image_create(recipe.components, components.as_mut_ptr(), space);
        let (x0, y0) = recipe.origin;
        ((*image).x0, (*image).y0, (*image).x1, (*image).y1) = (x0, y0, x0 + recipe.width, y0 + recipe.height);
        (p.image_offset_x0, p.image_offset_y0) = (x0 as i32, y0 as i32);
        (p.cp_tx0, p.cp_ty0) = (x0 as i32, y0 as i32);
        for c in 0..recipe.components {
            let data = (*(*image).comps.add(c as usize)).data;
            for y in 0..recipe.height {
                for x in 0..recipe.width {
                    *data.add((y * recipe.width + x) as usize) = sample(c, y, x);
                }
            }
        }
        let codec = opj::opj_create_compress(opj::CODEC_FORMAT::OPJ_CODEC_J2K);
        if std::env::var_os("S2ICE_ENCODER_LOG").is_some() {
            opj::opj_set_error_handler(codec, Some(complain), std::ptr::null_mut());
        }
        assert_eq!(opj::opj_setup_encoder(codec, &raw mut p, image), 1);
        let guard_bits = std::ffi::CString::new(format!("GUARD_BITS={}", recipe.guard_bits)).unwrap();
        let mut options = vec![guard_bits.as_c_str()];
        options.extend(recipe.plt.then_some(c"PLT=YES"));
        options.extend(recipe.tlm.then_some(c"TLM=YES"));
        let mut pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        pointers.push(std::ptr::null());
        assert_eq!(opj::opj_encoder_set_extra_options(codec, pointers.as_ptr()), 1);
        let stream = opj::opj_stream_create(1 << 16, 0);
        opj::opj_stream_set_write_function(stream, Some(write));
        opj::opj_stream_set_skip_function(stream, Some(skip));
        opj::opj_stream_set_seek_function(stream, Some(seek));
        opj::opj_stream_set_user_data(stream, (&raw mut sink).cast(), None);
        assert_eq!(opj::opj_start_compress(codec, image, stream), 1, "{recipe:?}");
        done = opj::opj_encode(codec, stream) == 1 && opj::opj_end_compress(codec, stream) == 1;
        opj::opj_stream_destroy(stream);
        opj::opj_destroy_codec(codec);
        opj::opj_image_destroy(image);
    }
    done.then_some(sink.bytes)
}
