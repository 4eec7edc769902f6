//! Every pixel of every real file, against checksums made with another build of another version of the decoder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod common;

use common::{Golden, data, golden, head, pixels_last, two_threads};
use s2ice_jpeg2000::{CodecConfig, Sot, TileCodec};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::Mutex;

/// Header, tile-part behind Isot, size and checksum of a tile that was decoded and found right.
type Known = Mutex<HashSet<(Vec<u8>, Vec<u8>, (usize, usize), u32)>>;

/// Height and width of a tile inside the image.
fn inside(codec: &TileCodec, tile: u32) -> (usize, usize) {
    let rect = codec.header().grid().unwrap().tile_rect(tile).unwrap();
    (rect.height() as usize, rect.width() as usize)
}

fn check(file: &Golden, known: &Known) -> usize {
    let head = head(&file.bytes);
    let codec = TileCodec::new(&CodecConfig::from_header(&head.header, 0)).unwrap();
    let (h, w) = codec.chunk_shape();
    let (chunk_shape, components, bytes) = ((h as usize, w as usize), codec.components() as usize, codec.dtype().bytes);
    let mut out = vec![0; codec.output_bytes(None).unwrap()];
    let tiles = file.tiles();
    if tiles.is_empty() {
        return check_whole(file, &codec, head.first_sot);
    }
    let header = head.header.codec_header();
    let mut decoded = 0;
    for (tile, offset, psot, crc) in tiles {
        let chunk = &file.bytes[offset as usize..][..psot as usize];
        assert_eq!(Sot::parse(chunk).unwrap().tile, tile);
        let inside = inside(&codec, u32::from(tile));
        // Masks hold the same empty tile hundreds of times.
        let key = (header.clone(), chunk[6..].to_vec(), inside, crc);
        if known.lock().unwrap().contains(&key) {
            continue;
        }
        out.fill(0xA5);
        codec.decode(chunk, 7, None, &mut out).unwrap_or_else(|e| panic!("{} tile {tile}: {e}", file.path));
        let pixels = pixels_last(&out, components, bytes, chunk_shape, inside);
        assert_eq!(crc32fast::hash(&pixels), crc, "{} tile {tile}", file.path);
        // What lies beyond the image is the fill value, all of it.
        let fill: Vec<u8> = if bytes == 1 { vec![7] } else { 7u16.to_ne_bytes().to_vec() };
        for y in 0..components * chunk_shape.0 {
            let row = &out[y * chunk_shape.1 * bytes..][..chunk_shape.1 * bytes];
            let from = if y % chunk_shape.0 < inside.0 { inside.1 } else { 0 };
            assert!(row[from * bytes..] == fill.repeat(chunk_shape.1 - from), "padding of {} tile {tile}", file.path);
        }
        known.lock().unwrap().insert(key);
        decoded += 1;
    }
    decoded
}

/// Assembles the image and compares its checksum.
fn check_whole(file: &Golden, codec: &TileCodec, first_sot: u64) -> usize {
    let (h, w) = codec.chunk_shape();
    let shape = (h as usize, w as usize);
    let (components, bytes) = (codec.components() as usize, codec.dtype().bytes);
    let (height, width) = codec.header().grid().unwrap().image_size();
    let stride = width as usize * components * bytes;
    let mut image = vec![0; height as usize * stride];
    let mut out = vec![0; codec.output_bytes(None).unwrap()];
    let parts = common::hop(&file.bytes, first_sot);
    for (offset, sot) in &parts {
        codec.decode(&file.bytes[*offset as usize..][..sot.psot as usize], 0, None, &mut out).unwrap();
        let rect = codec.header().grid().unwrap().tile_rect(u32::from(sot.tile)).unwrap();
        let inside = (rect.height() as usize, rect.width() as usize);
        let pixels = pixels_last(&out, components, bytes, shape, inside);
        let row = inside.1 * components * bytes;
        for (y, line) in pixels.chunks(row).enumerate() {
            let at = (rect.y0 as usize + y) * stride + rect.x0 as usize * components * bytes;
            image[at..at + row].copy_from_slice(line);
        }
    }
    let hash: String = Sha256::digest(&image).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(file.facts["decoded_sha256"], hash, "{}", file.path);
    parts.len()
}

#[test]
fn every_pixel_of_every_file() {
    let Some(dir) = data() else { return };
    let mut files = golden(&dir);
    files.reverse();
    assert_eq!(files.len(), 110);
    let known = Known::default();
    let decoded = std::sync::atomic::AtomicUsize::new(0);
    two_threads(&files, |file| {
        let start = std::time::Instant::now();
        let tiles = check(file, &known);
        decoded.fetch_add(tiles, std::sync::atomic::Ordering::Relaxed);
        if start.elapsed().as_secs_f64() > 2.0 {
            eprintln!("{:5.1} s {tiles:5} tiles {}", start.elapsed().as_secs_f64(), file.path);
        }
    });
    eprintln!("{} tiles decoded", decoded.into_inner());
}
