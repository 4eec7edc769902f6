//! The decoder of this crate beside OpenJPEG: whole tiles, windows and overviews of the kinds of raster that products have.
//!
//! `S2ICE_TESTDATA=... cargo bench -p s2ice-jpeg2000 --features openjpeg` decodes in turn with each, on one thread, and tells the
//! medians and their ratio. OpenJPEG gets a codestream of one tile, made beforehand, and its samples are narrowed to the array's
//! type; ours gets the chunk. An argument keeps the cases whose name has it; `memory` tells the peaks of memory instead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/common/encode.rs"]
mod encode;

use common::{Golden, golden, head, hop};
use encode::{Recipe, encode_samples};
use s2ice_jpeg2000::decode::native::{Build, Native};
use s2ice_jpeg2000::decode::{OpenJpeg, TileJob};
use s2ice_jpeg2000::{
    Chunk, CodecConfig, MainHeader, Rect, TileCodec, TileDecoder, Window, prefix_lengths, reduced_size,
};
use std::hint::black_box;

/// Turns per case.
const TURNS: usize = 9;

/// A tile, and what of it is decoded.
struct Case {
    name: String,
    header: MainHeader,
    chunk: Vec<u8>,
    reduce: u8,
    windows: Vec<Option<Window>>,
}

/// Pixels of a whole image.
struct Pixels {
    width: usize,
    values: Vec<u16>,
}

/// Decodes a real file.
fn pixels(file: &Golden) -> Pixels {
    let head = head(&file.bytes);
    let codec = TileCodec::new(&CodecConfig::from_header(&head.header, 0)).unwrap();
    let grid = head.header.grid().unwrap();
    let (height, width) = grid.image_size();
    let (_, tile_width) = codec.chunk_shape();
    let mut values = vec![0; height as usize * width as usize];
    let mut out = vec![0; codec.output_bytes(None).unwrap()];
    for (offset, sot) in hop(&file.bytes, head.first_sot) {
        codec.decode(&file.bytes[offset as usize..][..sot.psot as usize], 0, None, &mut out).unwrap();
        let rect = grid.tile_rect(sot.tile.into()).unwrap();
        for y in 0..rect.height() as usize {
            let row = &out[y * tile_width as usize * 2..][..rect.width() as usize * 2];
            let at = (rect.y0 as usize + y) * width as usize + rect.x0 as usize;
            let samples = row.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]]));
            values[at..].iter_mut().zip(samples).for_each(|(value, sample)| *value = sample);
        }
    }
    Pixels { width: width as usize, values }
}

/// The first square of `side` pixels without nodata.
fn square(pixels: &Pixels, side: usize) -> (usize, usize) {
    let height = pixels.values.len() / pixels.width;
    let places = (0..height - side).step_by(32).flat_map(|y| (0..pixels.width - side).step_by(32).map(move |x| (y, x)));
    let full = |(y, x): &(usize, usize)| {
        (*y..y + side).all(|y| pixels.values[y * pixels.width + x..][..side + 1].iter().all(|v| *v > 0))
    };
    places.into_iter().find(full).expect("a square without nodata")
}

/// A tile as the ground segment encodes it, of real pixels of 60 m, which stand for finer ones.
fn encoded(name: &str, pixels: &Pixels, side: u32, smooth: bool, block: u32, precinct: u32) -> Case {
    let (top, left) = square(pixels, side as usize);
    let at = |y: u32, x: u32| i32::from(pixels.values[(top + y as usize) * pixels.width + left + x as usize]);
    let recipe = Recipe {
        width: side,
        height: side,
        tile: (side, side),
        depth: 15,
        levels: 4,
        block: (block, block),
        precinct: Some((precinct, precinct)),
        guard_bits: 1,
        ..Recipe::default()
    };
    let sample = |_, y, x| if smooth { (at(y, x) + at(y, x + 1)) / 2 } else { at(y, x) };
    let bytes = encode_samples(&recipe, &sample).unwrap();
    let head = head(&bytes);
    let (offset, sot) = hop(&bytes, head.first_sot)[0];
    let chunk = bytes[offset as usize..][..sot.psot as usize].to_vec();
    Case { name: name.to_owned(), header: head.header, chunk, reduce: 0, windows: vec![None] }
}

/// The longest tile of a real file.
fn real(name: &str, file: &Golden) -> Case {
    let head = head(&file.bytes);
    let tiles = hop(&file.bytes, head.first_sot);
    let (offset, sot) = tiles.into_iter().max_by_key(|(_, sot)| sot.psot).unwrap();
    let chunk = file.bytes[offset as usize..][..sot.psot as usize].to_vec();
    Case { name: name.to_owned(), header: head.header, chunk, reduce: 0, windows: vec![None] }
}

impl Case {
    /// 12 windows of 64 x 64.
    fn windows(&self) -> Case {
        let (height, width) = (self.header.siz().tile_height, self.header.siz().tile_width);
        let places = (0..12u32).map(|n| ((n * 7919 + 13) % (height - 64), (n * 104_729 + 7) % (width - 64)));
        let windows = places.map(|(y, x)| Some(Window { y: y..y + 64, x: x..x + 64 })).collect();
        let (header, chunk) = (self.header.clone(), self.chunk.clone());
        Case { name: format!("{}, 64 x 64", self.name), header, chunk, reduce: 0, windows }
    }

    /// The prefix for an overview.
    fn overview(&self, reduce: u8) -> Case {
        let lengths = prefix_lengths(&self.header, &self.chunk).unwrap();
        let length = lengths[lengths.len() - usize::from(reduce)] as usize;
        let name = format!("{}, reduce {reduce}", self.name);
        Case { name, header: self.header.clone(), chunk: self.chunk[..length].to_vec(), reduce, windows: vec![None] }
    }

    fn native(&self, build: Build) -> impl FnMut() + '_ {
        let codec =
            TileCodec::with_native(&CodecConfig::from_header(&self.header, self.reduce), Native::new(build)).unwrap();
        let mut outs: Vec<_> = self.windows.iter().map(|w| vec![1; codec.output_bytes(w.as_ref()).unwrap()]).collect();
        move || {
            for (window, out) in self.windows.iter().zip(&mut outs) {
                codec.decode(&self.chunk, 0, window.as_ref(), out).unwrap();
            }
        }
    }

    fn openjpeg(&self) -> impl FnMut() + '_ {
        let chunk = Chunk::parse(&self.header, &self.chunk, self.reduce).unwrap();
        let codestream = chunk.standalone(&self.header).unwrap();
        let (rect, reduce) = (chunk.rect, self.reduce);
        let components = u32::from(self.header.siz().component_count());
        let count = reduced_size(rect.height(), reduce) as usize * reduced_size(rect.width(), reduce) as usize;
        let mut out = vec![1u16; count * components as usize];
        move || {
            for window in &self.windows {
                let area = window.as_ref().map_or(rect, |w| Rect {
                    x0: rect.x0 + w.x.start,
                    x1: (rect.x0 + w.x.end).min(rect.x1),
                    y0: rect.y0 + w.y.start,
                    y1: (rect.y0 + w.y.end).min(rect.y1),
                });
                let job = TileJob { codestream: &codestream, tile: rect, area, reduce, components };
                let taken = OpenJpeg.decode(&job, &mut |component, samples| {
                    let start = component as usize * samples.len();
                    out[start..].iter_mut().zip(samples).for_each(|(out, sample)| *out = *sample as u16);
                });
                taken.unwrap();
                black_box(&mut out);
            }
        }
    }
}

fn cases() -> Vec<Case> {
    let dir = common::data().expect("S2ICE_TESTDATA");
    let files = golden(&dir);
    let file = |name: &str| files.iter().find(|f| f.path.ends_with(name)).unwrap_or_else(|| panic!("{name}"));
    let mut out = Vec::new();
    for band in ["B02", "B04", "B8A"] {
        let pixels = pixels(file(&format!("{band}_60m.jp2")));
        let tile = encoded(&format!("10 m {band}"), &pixels, 1024, true, 6, 8);
        if band != "B04" {
            let finer = encoded(&format!("20 m {band}"), &pixels, 640, false, 3, 7);
            out.extend([tile.windows(), finer.windows(), finer]);
        }
        if band == "B02" {
            out.push(tile.overview(4));
        }
        out.push(tile);
    }
    for (name, path) in [
        ("60 m B02", "B02_60m.jp2"),
        ("60 m B8A", "B8A_60m.jp2"),
        ("SCL 20 m", "SCL_20m.jp2"),
        ("AOT 10 m", "AOT_10m.jp2"),
        ("WVP 60 m", "WVP_60m.jp2"),
        ("CLDPRB 20 m", "MSK_CLDPRB_20m.jp2"),
        ("TCI 60 m", "TCI_60m.jp2"),
        ("QUALIT", "L2A__MSK_QUALIT_B09.jp2"),
    ] {
        if let Some(file) = files.iter().find(|f| f.path.ends_with(path)) {
            let tile = real(name, file);
            if ["60 m B02", "SCL 20 m"].contains(&name) {
                out.push(tile.windows());
            }
            out.push(tile);
        }
    }
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

#[cfg(target_os = "linux")]
unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
}

/// Seconds that this thread has been computing: others on the machine do not count. Elsewhere the wall's.
fn now() -> f64 {
    #[cfg(target_os = "linux")]
    {
        const CLOCK_THREAD_CPUTIME_ID: i32 = 3;
        let mut time = [0; 2];
        // SAFETY: on 64-bit Linux a `timespec` is two numbers of 64 bits.
        assert_eq!(unsafe { clock_gettime(CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
        time[0] as f64 + time[1] as f64 * 1e-9
    }
    #[cfg(not(target_os = "linux"))]
    {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed().as_secs_f64()
    }
}

/// Milliseconds that `run` takes.
fn time(run: &mut dyn FnMut()) -> f64 {
    let start = now();
    run();
    (now() - start) * 1e3
}

/// The median of several, and the least.
fn median(times: &mut [f64]) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

/// Most memory of this process since the last reset, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Prints what decoding takes beside the chunk and the samples, each decoder in a process of its own.
fn memory(filter: Option<&str>) {
    let whole = |case: &&Case| case.windows == [None] && filter.is_none_or(|word| case.name.contains(word));
    for case in cases().iter().filter(whole) {
        let path = std::env::temp_dir().join(format!("s2ice-bench-{}", std::process::id()));
        std::fs::write(&path, &case.chunk).unwrap();
        let config = CodecConfig::from_header(&case.header, case.reduce);
        let peaks = ["s2ice", "openjpeg"].map(|decoder| {
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            command.args(["peak", decoder, &config.main_header, &case.reduce.to_string()]).arg(&path);
            let out = command.output().unwrap().stdout;
            String::from_utf8(out).unwrap().trim().parse::<u64>().unwrap()
        });
        std::fs::remove_file(&path).unwrap();
        println!("{:24} {:8} {:8} KiB, {:.2}", case.name, peaks[0], peaks[1], peaks[0] as f64 / peaks[1] as f64);
    }
}

/// The process of one decoder.
fn peak_of(words: &[String]) {
    let [decoder, main_header, reduce, path] = words else { panic!("{words:?}") };
    let config = CodecConfig { main_header: main_header.clone(), reduce: reduce.parse().unwrap() };
    let chunk = std::fs::read(path).unwrap();
    let (header, reduce) = (config.header().unwrap(), config.reduce);
    let case = Case { name: String::new(), header, chunk, reduce, windows: vec![None] };
    let mut native = case.native(Build::Avx2);
    let mut openjpeg = case.openjpeg();
    let run: &mut dyn FnMut() = if decoder == "s2ice" { &mut native } else { &mut openjpeg };
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    run();
    println!("{}", peak() - before);
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    // Those that only ask which tests there are (cargo nextest) are not made to wait.
    if std::env::args().any(|word| word == "--list") {
        return;
    }
    let filter = words.iter().find(|word| *word != "memory").map(String::as_str);
    match words.first().map(String::as_str) {
        Some("memory") => return memory(filter),
        Some("peak") => return peak_of(&words[1..]),
        _ => {}
    }
    println!("{:24} {:>9} {:>9} {:>9} ms, ratio (of least), portable", "", "OpenJPEG", "s2ice", "portable");
    for case in cases().iter().filter(|case| filter.is_none_or(|word| case.name.contains(word))) {
        let (mut openjpeg, mut native, mut portable) =
            (case.openjpeg(), case.native(Build::Avx2), case.native(Build::Portable));
        let mut times = [const { Vec::new() }; 3];
        for turn in 0..=TURNS {
            let taken = [time(&mut openjpeg), time(&mut native), time(&mut portable)];
            // The first turn warms up.
            if turn > 0 {
                times.iter_mut().zip(taken).for_each(|(times, taken)| times.push(taken / case.windows.len() as f64));
            }
        }
        let [(a, a0), (b, b0), (c, _)] = times.map(|mut times| median(&mut times));
        println!("{:24} {a:9.3} {b:9.3} {c:9.3}     {:5.2} ({:.2}) {:5.2}", case.name, a / b, a0 / b0, a / c);
    }
}
