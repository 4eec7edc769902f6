//! A tile of one value, coded anew: what stands in a codestream for a tile that its file does not give.
//!
//! A tile-part without packets is refused by OpenJPEG, and one of empty packets decodes to the middle of the range, since
//! unsigned samples are coded as their distance from there. So the value has to be coded. OpenJPEG's encoder does that in a way
//! of its own, which the tile-part's header states: COD and QCD there take the place of the main header's (clause A.6.1).

use std::ffi::c_void;

use openjpeg_sys as opj;

use crate::decode::MAX_SAMPLES;
use crate::decode::openjpeg::{Owned, check};
use crate::error::{Error, Result};
use crate::grid::Rect;
use crate::header::{MainHeader, first_tile_part};
use crate::marker::Marker;
use crate::segment::sot::{SOT_BYTES, Sot};
use crate::tile_part::tile_rect;

/// The one tile-part of a tile whose every sample is `value`, for a codestream with this main header. It has as many
/// resolutions as the header's other tiles.
///
/// # Errors
/// [`Error::Tile`] for a tile outside the grid, a value that the samples cannot hold, a tile of more than [`MAX_SAMPLES`], and
/// where the header has what would hold for this tile-part as well: a region of interest, a change of the progression order.
pub fn uniform_tile(header: &MainHeader, tile: u16, value: u16) -> Result<Vec<u8>> {
    let rect = tile_rect(header, tile, 0)?;
    let fail = |reason: String| Error::tile(Marker::SOT, 0, u32::from(tile), reason);
    let components = &header.siz().components;
    let samples = u64::from(rect.width()) * u64::from(rect.height()) * components.len() as u64;
    if samples > MAX_SAMPLES {
        return Err(fail(format!("{samples} samples are more than can be coded")));
    }
    let highest = |c: &crate::segment::siz::Component| (1i64 << (c.bit_depth - u8::from(c.signed)).min(31)) - 1;
    if components.iter().any(|c| i64::from(value) > highest(c)) {
        return Err(fail(format!("samples of the image cannot be {value}")));
    }
    if !header.rgn().is_empty() || header.poc().is_some() {
        return Err(fail("the main header has RGN or POC, which would hold for a tile coded anew".into()));
    }
    let coded = encode(header, rect, i32::from(value)).map_err(|reason| fail(format!("coding it anew: {reason}")))?;
    let own = MainHeader::parse(&coded)?;
    let start = first_tile_part(&coded)?;
    let part = coded.get(start..).unwrap_or_default();
    let psot = usize::try_from(Sot::parse(part)?.psot).unwrap_or(usize::MAX);
    let rest = part.get(SOT_BYTES..psot).ok_or_else(|| fail("coding it anew: no whole tile-part came out".into()))?;
    let coding: Vec<u8> =
        own.segments().iter().filter(|(marker, _)| *marker != Marker::SIZ).flat_map(|(_, s)| s.clone()).collect();
    let length = u32::try_from(SOT_BYTES + coding.len() + rest.len()).map_err(|e| fail(e.to_string()))?;
    let sot = Sot { tile, psot: length, tpsot: 0, tnsot: 1 };
    Ok([&sot.write()[..], &coding, rest].concat())
}

unsafe extern "C" fn write(buffer: *mut c_void, count: usize, sink: *mut c_void) -> usize {
    // SAFETY: `sink` is the vector set on the stream, which outlives it; OpenJPEG gives `count` bytes.
    let (sink, bytes) =
        unsafe { (&mut *sink.cast::<Vec<u8>>(), std::slice::from_raw_parts(buffer.cast::<u8>(), count)) };
    sink.extend_from_slice(bytes);
    count
}

/// A codestream of one tile that lies at `rect`, without loss.
fn encode(header: &MainHeader, rect: Rect, value: i32) -> std::result::Result<Vec<u8>, &'static str> {
    let corner = |n: u32| i32::try_from(n).map_err(|_| "an image of 2^31 samples or more");
    let (x0, y0) = (corner(rect.x0)?, corner(rect.y0)?);
    corner(rect.x1.max(rect.y1))?;
    let mut components: Vec<_> = header
        .siz()
        .components
        .iter()
        .map(|c| {
            let (dx, dy) = (u32::from(c.dx).max(1), u32::from(c.dy).max(1));
            let depth = u32::from(c.bit_depth);
            opj::opj_image_cmptparm_t {
                dx,
                dy,
                w: rect.x1.div_ceil(dx) - rect.x0.div_ceil(dx),
                h: rect.y1.div_ceil(dy) - rect.y0.div_ceil(dy),
                x0: rect.x0,
                y0: rect.y0,
                prec: depth,
                bpp: depth,
                sgnd: u32::from(c.signed),
            }
        })
        .collect();
    let count = u32::try_from(components.len()).map_err(|_| "too many components")?;
    let mut sink: Vec<u8> = Vec::new();
    // SAFETY: plain constructors; `sink` outlives the stream, which is dropped in this function. The image has the components
    // that it was made for, each with `w` x `h` samples.
    unsafe {
        let space = opj::COLOR_SPACE::OPJ_CLRSPC_UNSPECIFIED;
        let image = Owned::new(opj::opj_image_create(count, components.as_mut_ptr(), space), opj::opj_image_destroy)?;
        let made = &mut *image.get();
        (made.x0, made.y0, made.x1, made.y1) = (rect.x0, rect.y0, rect.x1, rect.y1);
        for component in std::slice::from_raw_parts_mut(made.comps, components.len()) {
            if component.data.is_null() {
                return Err("out of memory");
            }
            std::slice::from_raw_parts_mut(component.data, component.w as usize * component.h as usize).fill(value);
        }
        let mut parameters: opj::opj_cparameters_t = std::mem::zeroed();
        opj::opj_set_default_encoder_parameters(&raw mut parameters);
        // One tile from the origin of the reference grid to the end of the image is the image itself.
        (parameters.image_offset_x0, parameters.image_offset_y0) = (x0, y0);
        parameters.numresolution = i32::from(header.min_levels()) + 1;
        parameters.tcp_numlayers = 1;
        parameters.cp_disto_alloc = 1;
        let codec = Owned::new(opj::opj_create_compress(opj::CODEC_FORMAT::OPJ_CODEC_J2K), opj::opj_destroy_codec)?;
        check(opj::opj_setup_encoder(codec.get(), &raw mut parameters, image.get()), "the encoder cannot be set up")?;
        let stream = Owned::new(opj::opj_stream_create(1 << 12, 0), opj::opj_stream_destroy)?;
        opj::opj_stream_set_write_function(stream.get(), Some(write));
        opj::opj_stream_set_user_data(stream.get(), (&raw mut sink).cast(), None);
        let failed = "the encoder refuses it";
        check(opj::opj_start_compress(codec.get(), image.get(), stream.get()), failed)?;
        check(opj::opj_encode(codec.get(), stream.get()), failed)?;
        check(opj::opj_end_compress(codec.get(), stream.get()), failed)?;
    }
    Ok(sink)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::decode::{OpenJpeg, TileDecoder, TileJob};
    use crate::samples;
    use crate::segment::siz::{Component, Siz};

    /// What OpenJPEG makes of the tile in a codestream of the header, cut to that tile.
    fn decoded(header: &MainHeader, tile: u16, part: &[u8], reduce: u8) -> Vec<Vec<i32>> {
        let rect = tile_rect(header, tile, 0).unwrap();
        let mut siz = header.siz().clone();
        (siz.x0, siz.y0, siz.x1, siz.y1) = (rect.x0, rect.y0, rect.x1, rect.y1);
        (siz.tile_x0, siz.tile_y0, siz.tile_width, siz.tile_height) = (rect.x0, rect.y0, rect.width(), rect.height());
        let sot = Sot { tile: 0, ..Sot::parse(part).unwrap() };
        assert_eq!((sot.psot as usize, sot.tpsot, sot.tnsot), (part.len(), 0, 1));
        let mut codestream = samples::header_bytes(&siz, &[&samples::COD, &samples::QCD]);
        codestream.extend(sot.write());
        codestream.extend(&part[SOT_BYTES..]);
        codestream.extend(Marker::EOC.bytes());
        let components = u32::try_from(siz.components.len()).unwrap();
        let job = TileJob { codestream: &codestream, tile: rect, area: rect, reduce, components };
        let mut out = Vec::new();
        OpenJpeg.decode(&job, &mut |_, samples| out.push(samples.to_vec())).unwrap();
        out
    }

    fn header(component: Component, count: usize) -> MainHeader {
        let siz = Siz { components: vec![component; count], ..samples::siz() };
        MainHeader::parse(&samples::header_bytes(&siz, &[&samples::COD, &samples::QCD])).unwrap()
    }

    #[test]
    fn every_sample_is_the_value_at_every_resolution() {
        let deep = Component { bit_depth: 15, signed: false, dx: 1, dy: 1 };
        let cases = [
            (deep, 1, 0),
            (Component { bit_depth: 8, ..deep }, 3, 255),
            (Component { bit_depth: 16, ..deep }, 1, 65_535),
            (Component { bit_depth: 12, ..deep }, 2, 77),
            (Component { bit_depth: 12, signed: true, ..deep }, 1, 0),
            (Component { bit_depth: 1, ..deep }, 8, 0),
        ];
        for (component, count, value) in cases {
            let header = header(component, count);
            for tile in 0..4 {
                let part = uniform_tile(&header, tile, value).unwrap();
                assert!(part.len() < 200 * count, "{} bytes", part.len());
                for reduce in 0..=2 {
                    let planes = decoded(&header, tile, &part, reduce);
                    assert_eq!(planes.len(), count);
                    assert!(planes.iter().all(|p| !p.is_empty() && p.iter().all(|s| *s == i32::from(value))));
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_coded_is_refused_by_name() {
        let header = samples::header();
        let text = |tile, value, header: &MainHeader| uniform_tile(header, tile, value).unwrap_err().to_string();
        assert!(text(4, 0, &header).contains("outside the grid"), "{}", text(4, 0, &header));
        assert!(text(0, 40_000, &header).contains("cannot be 40000"));
        let rgn = [0xFF, 0x5E, 0, 5, 0, 0, 3];
        let bytes = samples::header_bytes(&samples::siz(), &[&samples::COD, &samples::QCD, &rgn]);
        assert!(text(0, 0, &MainHeader::parse(&bytes).unwrap()).contains("RGN or POC"));
        let (x1, y1) = (1 << 15, 1 << 15);
        let siz = Siz { x1, y1, tile_width: x1, tile_height: y1, ..samples::siz() };
        let huge = MainHeader::parse(&samples::header_bytes(&siz, &[&samples::COD, &samples::QCD])).unwrap();
        assert!(text(0, 0, &huge).contains("more than can be coded"));
    }
}
