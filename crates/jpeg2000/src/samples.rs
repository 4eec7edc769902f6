//! Hand-made headers for unit tests.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use crate::header::MainHeader;
use crate::segment::siz::{Component, Siz};

/// An image of 100 x 90 samples in tiles of 64 x 64.
pub(crate) fn siz() -> Siz {
    let component = Component { bit_depth: 15, signed: false, dx: 1, dy: 1 };
    Siz {
        capabilities: 0,
        x1: 100,
        y1: 90,
        x0: 0,
        y0: 0,
        tile_width: 64,
        tile_height: 64,
        tile_x0: 0,
        tile_y0: 0,
        components: vec![component],
    }
}

/// COD: LRCP, one layer, two levels, code-blocks of 64 x 64, 5-3.
pub(crate) const COD: [u8; 14] = [0xFF, 0x52, 0, 12, 0, 0, 0, 1, 0, 2, 4, 4, 0, 1];
/// QCD for two levels without quantization.
pub(crate) const QCD: [u8; 12] = [0xFF, 0x5C, 0, 10, 0x20, 128, 136, 136, 144, 136, 136, 144];

/// SOC, SIZ and then the given segments.
pub(crate) fn header_bytes(siz: &Siz, segments: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![0xFF, 0x4F];
    out.extend(siz.write());
    segments.iter().for_each(|s| out.extend_from_slice(s));
    out
}

/// The plain header, parsed.
pub(crate) fn header() -> MainHeader {
    MainHeader::parse(&header_bytes(&siz(), &[&COD, &QCD])).unwrap()
}

/// A JP2 file: signature, ftyp, a box of XML with an extended length, and the codestream in a box of the given length.
pub(crate) fn jp2(codestream: &[u8], length: u32) -> Vec<u8> {
    let mut out = crate::boxes::SIGNATURE_BOX.to_vec();
    out.extend(b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 ");
    out.extend(b"\0\0\0\x01xml \0\0\0\0\0\0\0\x13<a>");
    out.extend(length.to_be_bytes());
    out.extend(b"jp2c");
    out.extend_from_slice(codestream);
    out
}
