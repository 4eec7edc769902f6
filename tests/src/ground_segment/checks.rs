//! The ground segment's headers on OpenJPEG's codestreams, against s2ice's known classes and its decoder.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::collections::BTreeMap;

use s2ice_jpeg2000::packet::prefix_lengths_by_walking;
use s2ice_jpeg2000::{CodecConfig, MainHeader, TileCodec, TlmEntry, prefix_lengths};
use s2ice_manifest::header_class::assumed_header;
use s2ice_manifest::ids::Level as KnownLevel;

use super::rewrite;
use crate::coding::Coding;
use crate::encoder::encode;
use crate::jp2::{layout, with_tlm};
use crate::raster::Raster;
use crate::spec::{Headers, Level, Resolutions, SampleSpec};

/// Every raster of both levels with its coding and the header that s2ice expects of it, if any.
fn rasters(headers: Headers) -> Vec<(String, Coding, Option<Vec<u8>>)> {
    let mut out = Vec::new();
    for (level, known) in [(Level::L2A, KnownLevel::L2A), (Level::L1C, KnownLevel::L1C)] {
        let spec = SampleSpec { level, headers, resolutions: Resolutions::All, ..SampleSpec::default() };
        out.extend(Raster::of(&spec).into_iter().map(|raster| {
            let header = assumed_header(raster.asset.parse().unwrap(), known);
            (format!("L{} {}", level.digits(), raster.asset), raster.coding(&spec, false), header)
        }));
    }
    out
}

/// The ways of coding among them, by one of the rasters.
fn codings() -> BTreeMap<String, Coding> {
    let mut out = BTreeMap::new();
    for (name, coding, known) in rasters(Headers::GroundSegment) {
        if known.is_some() && !out.values().any(|other| *other == coding) {
            out.insert(name, coding);
        }
    }
    out
}

/// A smaller image: four tiles, none like the others, or the start of one where tiles are large.
fn small(coding: Coding) -> Coding {
    Coding { side: if coding.tile > 640 { 300 } else { coding.tile + 37 }, ..coding }
}

/// A sample by component, row and column.
type Content<'a> = &'a dyn Fn(u32, u32, u32) -> u32;

/// Codes the image whose samples `value` gives by component, row and column.
fn coded(coding: &Coding, value: impl Fn(u32, u32, u32) -> u16) -> Vec<u8> {
    encode(coding, |_, [x, y, w, h], bytes| {
        for (c, row) in (0..coding.components).flat_map(|c| (y..y + h).map(move |row| (c, row))) {
            for column in x..x + w {
                bytes.extend(&value(c, row, column).to_le_bytes()[..if coding.bits > 8 { 2 } else { 1 }]);
            }
        }
        Ok(())
    })
    .unwrap()
}

fn header(codestream: &[u8]) -> MainHeader {
    MainHeader::parse(codestream).unwrap()
}

fn tile_parts(codestream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = layout(codestream, 0).unwrap().tile_parts;
    parts.into_iter().map(|part| &codestream[part.offset as usize..][..part.length as usize])
}

/// Decodes every tile with s2ice and compares every sample.
fn assert_exact(name: &str, coding: &Coding, codestream: &[u8], value: impl Fn(u32, u32, u32) -> u16) {
    let codec = TileCodec::new(&CodecConfig::from_header(&header(codestream), 0)).unwrap();
    let mut out = vec![0; codec.output_bytes(None).unwrap()];
    for (number, part) in (0..).zip(tile_parts(codestream)) {
        codec.decode(part, 0, None, &mut out).unwrap();
        let [x, y, w, h] = coding.tile_rect(number);
        let side = coding.tile;
        for (c, row) in (0..coding.components).flat_map(|c| (0..h).map(move |row| (c, row))) {
            for column in 0..w {
                let at = ((c * side + row) * side + column) as usize;
                let have = if coding.bits > 8 {
                    u16::from_ne_bytes([out[2 * at], out[2 * at + 1]])
                } else {
                    u16::from(out[at])
                };
                assert_eq!(have, value(c, y + row, x + column), "{name}: tile {number}, {c} {row} {column}");
            }
        }
    }
}

#[test]
fn headers_are_those_of_the_known_classes() {
    let mut known = 0;
    for headers in [Headers::GroundSegment, Headers::Unknown, Headers::Early] {
        for (name, coding, want) in rasters(headers) {
            // All of the header but the size of the image is there after a few pixels.
            let few = Coding { side: 40, ..coding };
            let mut have = header(&coded(&few, |_, _, _| 7)).codec_header();
            for at in [8, 12] {
                assert_eq!(have[at..at + 4], few.side.to_be_bytes());
                have[at..at + 4].copy_from_slice(&coding.side.to_be_bytes());
            }
            let early = headers == Headers::Early && name.contains(" B");
            let ours = headers != Headers::Unknown && !early && name != "L1C TCI_10m";
            assert_eq!(want.as_ref() == Some(&have), ours, "{name} {headers:?}");
            known += usize::from(ours);
        }
    }
    assert_eq!(known, 2 * (40 + 40) - (25 + 13), "rasters of known classes");
}

#[test]
fn every_content_comes_back() {
    let noise = |c: u32, y: u32, x: u32| {
        let n = (u64::from(c) << 40 | u64::from(y) << 20 | u64::from(x)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((n ^ n >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as u32
    };
    for (name, coding) in codings() {
        let coding = small(coding);
        let most = (1u32 << coding.bits) - 1;
        // Noise, and noise of the two extremes, last.
        let contents: [(&str, Content<'_>); 6] = [
            ("nothing", &|_, _, _| 0),
            ("flat", &|c, _, _| most - c),
            ("nodata edge", &|c, y, x| {
                if x + y / 3 > coding.tile / 2 { 0 } else { (noise(c, y, x) % 90 + 1000) & most }
            }),
            ("ramp", &|c, y, x| (x * 40 + y + c) & most),
            ("noise", &|c, y, x| noise(c, y, x) & most),
            ("extremes", &|c, y, x| (noise(c, y, x) & 1) * most),
        ];
        for (content, value) in contents {
            let value = |c, y, x| value(c, y, x) as u16;
            let codestream = coded(&coding, value);
            let name = format!("{name} {content}");
            assert_exact(&name, &coding, &codestream, value);
            assert_lengths(&name, &codestream);
        }
    }
}

/// PLT, packet headers and TLM tell the same.
fn assert_lengths(name: &str, codestream: &[u8]) {
    let bytes = with_tlm(codestream).unwrap();
    let header = header(&bytes);
    let parts: Vec<&[u8]> = tile_parts(&bytes).collect();
    let entries: Vec<TlmEntry> =
        (0..).zip(&parts).map(|(tile, part)| TlmEntry { tile, length: part.len() as u32 }).collect();
    assert_eq!(header.tlm().unwrap().entries, entries, "{name}");
    for part in parts {
        let by_plt = prefix_lengths(&header, part).unwrap();
        assert_eq!(by_plt, prefix_lengths_by_walking(&header, part).unwrap(), "{name}");
        assert_eq!(by_plt.len(), usize::from(header.min_levels()), "{name}");
    }
}

/// What a sample of a subband weighs each of `n` samples by: `level` analyses, the last one high or low pass, the others
/// low (5/3, without rounding).
fn weights(n: usize, level: u32, high: bool) -> Vec<f64> {
    let analyse = |x: &[f64], high: bool| {
        let at = |i: isize| x[if i < 0 { -i } else { i.min(2 * x.len() as isize - 2 - i) } as usize];
        let detail = |i: isize| at(i) - (at(i - 1) + at(i + 1)) / 2.0;
        let odd = |i: isize| detail(if i < 0 { 1 } else { i });
        let half =
            |i: isize| if high { detail(2 * i + 1) } else { at(2 * i) + (odd(2 * i - 1) + odd(2 * i + 1)) / 4.0 };
        (0..x.len() as isize / 2).map(half).collect::<Vec<f64>>()
    };
    let of = |i: usize| {
        let mut x = vec![0.0; n];
        x[i] = 1.0;
        for step in 1..=level {
            x = analyse(&x, high && step == level);
        }
        x[x.len() / 2]
    };
    (0..n).map(of).collect()
}

#[test]
fn the_largest_value_of_every_subband_fits() {
    for (name, coding) in codings() {
        if coding.tile > 256 {
            continue; // The same bits and levels, at more cost.
        }
        let coding = Coding { side: coding.tile, ..coding };
        let (n, most) = (coding.tile as usize, (1u16 << coding.bits) - 1);
        for level in 1..=coding.levels {
            let [low, high] = [false, true].map(|high| weights(n, level, high));
            for (columns, rows) in [(&low, &low), (&high, &low), (&low, &high), (&high, &high)] {
                for sign in [1.0, -1.0] {
                    // Green against red and blue makes most of the transformed colours.
                    let value = |c: u32, y: u32, x: u32| {
                        let weight = sign * columns[x as usize] * rows[y as usize];
                        if (weight > 0.0) == (c != 1) { most } else { 0 }
                    };
                    assert_exact(&format!("{name} at level {level}"), &coding, &coded(&coding, value), value);
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let usual = codings()["L2A AOT_60m"];
    let coding = Coding { side: 250, ground_segment: false, ..usual };
    let noise = coded(&coding, |_, y, x| (((x * 7919 + y * 104_729) * 31) & 0x7fff) as u16);
    let error = |codestream: &[u8], coding: Coding| rewrite(codestream, &coding).unwrap_err().to_string();
    // The pixels of 15 bits under the header of fewer.
    for (bits, lack) in [(12, 1), (8, 3)] {
        let text = error(&noise, Coding { bits, ..coding });
        let words = format!("tile 0: the pixels need {lack} bit-planes more than the ground segment's header has");
        assert_eq!(text, words, "{bits}");
    }
    // Packets that are not those of the coding.
    for (other, words) in [
        (Coding { precinct: 128, ..coding }, "packets, not"),
        (Coding { components: 2, ..coding }, "packets, not"),
        (Coding { levels: 3, ..coding }, "a main header without the QCD"),
        (Coding { code_block: 16, ..coding }, "tile 0: a packet"),
    ] {
        let text = error(&noise, other);
        assert!(text.contains(words), "{text}");
    }
    for cut in [0, 1, 2, 60, noise.len() / 2, noise.len() - 1] {
        error(&noise[..cut], coding);
    }
    // Damage never ends in a panic, and mostly in an error.
    let first = layout(&noise, 0).unwrap().tile_parts[0];
    let packets =
        first.offset as usize + noise[first.offset as usize..].windows(2).position(|w| w == [0xff, 0x93]).unwrap() + 2;
    let refused = (0..200).filter(|bit| {
        let mut hit = noise.clone();
        hit[packets + bit / 8] ^= 0x80 >> (bit % 8);
        rewrite(&hit, &coding).is_err()
    });
    assert!(refused.count() > 50);
}

#[test]
fn the_bytes_of_the_code_blocks_stay() {
    let usual = small(codings()["L2A SCL_20m"]);
    let value = |_: u32, y: u32, x: u32| (x / 3 % 11 + y / 50 % 2) as u16;
    let [own, openjpeg] = [true, false].map(|ground_segment| coded(&Coding { ground_segment, ..usual }, value));
    assert_eq!(rewrite(&openjpeg, &usual).unwrap(), own);
    // Once again is the same: nothing is left to change.
    assert_eq!(rewrite(&own, &usual).unwrap(), own);
    assert!(own.len().abs_diff(openjpeg.len()) < openjpeg.len() / 100, "{} {}", own.len(), openjpeg.len());
}
