//! Prefixes, windows, strictness and constants on real tiles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod common;

use common::{Golden, data, golden, head};
use s2ice_jpeg2000::packet::prefix_lengths_by_walking;
use s2ice_jpeg2000::{
    CodecConfig, Error, MainHeader, Scan, Sot, TileCodec, Window, prefix_lengths, prefix_lengths_from_head,
    reduced_size,
};

/// A few tiles of a file: a corner, the middle and the far edges.
fn some_tiles(file: &Golden) -> Vec<&[u8]> {
    let tiles: Vec<_> = common::hop(&file.bytes, file.number("first_sot"));
    let last = tiles.len() - 1;
    let mut picks = vec![0, last / 2, last / 3 + 1, last];
    picks.retain(|p| *p <= last);
    picks.dedup();
    picks.into_iter().map(|p| &file.bytes[tiles[p].0 as usize..][..tiles[p].1.psot as usize]).collect()
}

fn codec(header: &MainHeader, reduce: u8) -> TileCodec {
    TileCodec::new(&CodecConfig::from_header(header, reduce)).unwrap()
}

fn decoded(codec: &TileCodec, chunk: &[u8], window: Option<&Window>) -> Result<Vec<u8>, Error> {
    let mut out = vec![0xA5; codec.output_bytes(window)?];
    codec.decode(chunk, 3, window, &mut out)?;
    Ok(out)
}

#[test]
fn packet_lengths_agree_with_packet_headers_on_every_tile() {
    let Some(dir) = data() else { return };
    let (mut agreed, mut walked, mut refused) = (0, 0, 0);
    for file in golden(&dir) {
        let head = head(&file.bytes);
        for (offset, sot) in common::hop(&file.bytes, head.first_sot) {
            let part = &file.bytes[offset as usize..][..sot.psot as usize];
            match prefix_lengths_from_head(&head.header, &part[..part.len().min(1024)]) {
                Ok(Scan::Done(Some(lengths))) => {
                    assert_eq!(lengths.len(), usize::from(head.header.cod().coding.levels));
                    assert_eq!(prefix_lengths(&head.header, part).unwrap(), lengths);
                    assert_eq!(prefix_lengths_by_walking(&head.header, part).unwrap(), lengths, "{}", file.path);
                    assert!(lengths.is_sorted() && lengths.iter().all(|n| *n < sot.psot));
                    agreed += 1;
                }
                Ok(Scan::Done(None)) => {
                    assert!(!prefix_lengths(&head.header, part).unwrap().is_empty());
                    walked += 1;
                }
                Ok(Scan::NeedMore { up_to }) => panic!("{} wants {up_to} bytes", file.path),
                Err(error @ Error::NotPrefixable { .. }) => {
                    assert!(error.to_string().contains("RPCL"), "{error}");
                    refused += 1;
                }
                Err(error) => panic!("{}: {error}", file.path),
            }
        }
    }
    eprintln!("{agreed} tiles agree, {walked} have no PLT, {refused} are RPCL");
    assert!(agreed > 10_000 && walked == 1 && refused == 37);
}

#[test]
fn a_growing_head_gives_the_same_prefixes() {
    let Some(dir) = data() else { return };
    let file = golden(&dir).into_iter().find(|f| f.path.ends_with("B09_60m.jp2")).unwrap();
    let header = head(&file.bytes).header;
    let part = some_tiles(&file)[0];
    let all = prefix_lengths(&header, part).unwrap();
    let mut length = 0;
    loop {
        match prefix_lengths_from_head(&header, &part[..length]).unwrap() {
            Scan::Done(found) => break assert_eq!(found, Some(all)),
            Scan::NeedMore { up_to } => {
                assert!(up_to > length as u64);
                length = up_to as usize;
            }
        }
    }
    assert!(length < 200);
}

/// Prefixes, windows and whole tiles at one reduction agree; what is cut is refused.
fn check_reduced(header: &MainHeader, chunk: &[u8], reduce: u8, prefix: Option<usize>) {
    let codec = codec(header, reduce);
    let full = decoded(&codec, chunk, None).unwrap();
    let (h, w) = codec.chunk_shape();
    let siz = header.siz();
    assert_eq!((h, w), (reduced_size(siz.tile_height, reduce), reduced_size(siz.tile_width, reduce)));
    let chunk = match prefix {
        None => chunk,
        Some(length) => {
            let cut = &chunk[..length];
            assert!(decoded(&codec, cut, None).unwrap() == full, "reduce {reduce}");
            for wrong in [length - 1, length - 2, length + 1] {
                let error = decoded(&codec, &chunk[..wrong], None).unwrap_err();
                assert!(!error.to_string().is_empty());
            }
            // A prefix is nothing for a codec that wants one resolution more.
            if reduce > 0 {
                decoded(&self::codec(header, reduce - 1), cut, None).unwrap_err();
            }
            cut
        }
    };
    let (components, bytes) = (codec.components() as usize, codec.dtype().bytes);
    let spots = [(0, 0, h, w), (0, 0, 1, 1), (h - 1, w - 1, 1, 1), (h / 3, w / 4, h / 2, w / 3 + 1), (h / 2, 0, 0, w)];
    for (y, x, wh, ww) in spots {
        let window = Window { y: y..y + wh, x: x..x + ww };
        let part = decoded(&codec, chunk, Some(&window)).unwrap();
        let mut expected = Vec::new();
        for c in 0..components {
            for row in window.y.clone() {
                let at = ((c * h as usize + row as usize) * w as usize + x as usize) * bytes;
                expected.extend_from_slice(&full[at..at + ww as usize * bytes]);
            }
        }
        assert!(part == expected, "window {window:?} at reduce {reduce}");
    }
}

#[test]
fn windows_and_prefixes_agree_with_whole_tiles() {
    let Some(dir) = data() else { return };
    let names = [
        "B09_60m.jp2",
        "TCI_60m.jp2",
        "AOT_20m.jp2",
        "SCL_20m.jp2",
        "AOT_10m.jp2",
        "T29UNU_20221005T115411_PVI.jp2",
        "T14SLD_B01.jp2",
        "L2A__MSK_QUALIT_B09.jp2",
        "L2A__MSK_CLASSI_B00.jp2",
    ];
    let files: Vec<Golden> = golden(&dir).into_iter().filter(|f| names.iter().any(|n| f.path.ends_with(n))).collect();
    assert!(files.len() >= names.len());
    common::two_threads(&files, |file| {
        let header = head(&file.bytes).header;
        for chunk in some_tiles(file) {
            check_reduced(&header, chunk, 0, None);
            let prefixes = prefix_lengths(&header, chunk).ok();
            for reduce in 1..=header.min_levels() {
                if header.geometry().unwrap().reduced(reduce).is_err() {
                    // Tiles of 8 samples cannot be halved four times.
                    assert!(file.path.contains("PVI") && reduce == 4);
                    continue;
                }
                let prefix = prefixes.as_ref().map(|p| p[usize::from(header.min_levels() - reduce)] as usize);
                check_reduced(&header, chunk, reduce, prefix);
            }
        }
    });
}

#[test]
fn whole_tiles_of_another_length_are_refused() {
    let Some(dir) = data() else { return };
    for name in ["B09_60m.jp2", "T14SLD_B01.jp2", "TCI_60m.jp2"] {
        let file = golden(&dir).into_iter().find(|f| f.path.ends_with(name)).unwrap();
        let header = head(&file.bytes).header;
        let codec = codec(&header, 0);
        let chunk = some_tiles(&file)[0];
        decoded(&codec, chunk, None).unwrap();
        let mut long = chunk.to_vec();
        long.push(0);
        // One byte short, with the length in SOT adapted: only the packets tell.
        let mut short = chunk[..chunk.len() - 1].to_vec();
        let psot = (short.len() as u32).to_be_bytes();
        short[6..10].copy_from_slice(&psot);
        // The same with the length left open.
        let mut open = chunk[..chunk.len() - 1].to_vec();
        open[6..10].fill(0);
        let mut outside = chunk.to_vec();
        outside[4..6].copy_from_slice(&60_000u16.to_be_bytes());
        let twice = [chunk, chunk].concat();
        for bad in [&long, &short, &open, &outside, &twice, &chunk[..chunk.len() - 1].to_vec(), &Vec::new()] {
            decoded(&codec, bad, None).unwrap_err();
        }
        let ended = [chunk, &[0xFF, 0xD9]].concat();
        assert_eq!(decoded(&codec, &ended, None).unwrap(), decoded(&codec, chunk, None).unwrap());
        // Length 0 means to the end, and an EOC there is not part of the tile.
        let mut open = chunk.to_vec();
        open[6..10].fill(0);
        assert_eq!(decoded(&codec, &open, None).unwrap(), decoded(&codec, chunk, None).unwrap());
        open.extend([0xFF, 0xD9]);
        assert_eq!(decoded(&codec, &open, None).unwrap(), decoded(&codec, chunk, None).unwrap());
    }
}

#[test]
fn moving_a_tile_changes_its_pixels() {
    // The trap that the design warns of must stay a trap for this test to mean anything.
    let Some(dir) = data() else { return };
    let file = golden(&dir).into_iter().find(|f| f.path.ends_with("B09_60m.jp2")).unwrap();
    let header = head(&file.bytes).header;
    let codec = codec(&header, 0);
    let tiles = common::hop(&file.bytes, file.number("first_sot"));
    let (offset, sot) = tiles[11];
    let chunk = &file.bytes[offset as usize..][..sot.psot as usize];
    let mut moved = chunk.to_vec();
    moved[4..6].fill(0);
    let right = decoded(&codec, chunk, None).unwrap();
    assert!(decoded(&codec, &moved, None).map_or(true, |pixels| pixels != right));
}

#[test]
fn constants_are_what_decoding_says() {
    let Some(dir) = data() else { return };
    let (mut constant, mut varied) = (0, 0);
    for file in
        golden(&dir).iter().filter(|f| f.path.contains("60m") || f.path.contains("_B10") || f.path.contains("B01"))
    {
        let header = head(&file.bytes).header;
        let codec = codec(&header, 0);
        let grid = header.grid().unwrap();
        for chunk in some_tiles(file) {
            let rect = grid.tile_rect(Sot::parse(chunk).unwrap().tile.into()).unwrap();
            let window = Window { y: 0..rect.height(), x: 0..rect.width() };
            let pixels = decoded(&codec, chunk, Some(&window)).unwrap();
            let bytes = codec.dtype().bytes;
            let same = pixels.chunks(bytes).all(|s| s == &pixels[..bytes]);
            let value =
                if bytes == 1 { i64::from(pixels[0]) } else { i64::from(u16::from_ne_bytes([pixels[0], pixels[1]])) };
            assert_eq!(codec.constant_value(chunk).unwrap(), same.then_some(value), "{}", file.path);
            if same { constant += 1 } else { varied += 1 }
        }
    }
    eprintln!("{constant} constant tiles, {varied} others");
    assert!(constant > 10 && varied > 10);
}
