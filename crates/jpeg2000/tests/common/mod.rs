//! Where the real files are, and what is known about them.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

#[path = "../../../../tests/support/real_data.rs"]
mod real_data;

use serde_json::Value;
use std::path::{Path, PathBuf};

/// Folder of the real data, or `None` with a note on stderr.
pub fn data() -> Option<PathBuf> {
    real_data::real_data("golden/decode.json")?;
    real_data::real_data("")
}

/// One file of golden/decode.json.
pub struct Golden {
    /// Path below the data folder.
    pub path: String,
    /// Bytes of the file.
    pub bytes: Vec<u8>,
    /// Its entry.
    pub facts: Value,
}

impl Golden {
    /// Unsigned number of the entry.
    pub fn number(&self, name: &str) -> u64 {
        self.facts[name].as_u64().unwrap()
    }

    /// (tile, offset, psot, crc32) of every tile; empty where only the whole image was hashed.
    pub fn tiles(&self) -> Vec<(u16, u64, u32, u32)> {
        let rows = self.facts["tiles_isot_off_psot_crc32"].as_array().unwrap();
        let row = |r: &Value| {
            let crc = u32::from_str_radix(r[3].as_str().unwrap(), 16).unwrap();
            (r[0].as_u64().unwrap() as u16, r[1].as_u64().unwrap(), r[2].as_u64().unwrap() as u32, crc)
        };
        rows.iter().map(row).collect()
    }
}

/// All golden files, small ones first.
pub fn golden(dir: &Path) -> Vec<Golden> {
    let text = std::fs::read(dir.join("golden/decode.json")).unwrap();
    let Value::Object(map) = serde_json::from_slice(&text).unwrap() else { panic!("decode.json is no object") };
    let read = |(path, facts): (String, Value)| {
        let bytes = std::fs::read(dir.join(&path)).unwrap();
        Golden { path, bytes, facts }
    };
    let mut all: Vec<Golden> = map.into_iter().map(read).collect();
    all.sort_by_key(|g| g.bytes.len());
    all
}

/// (offset, SOT) of every tile-part by hopping from one to the next.
pub fn hop(bytes: &[u8], first_sot: u64) -> Vec<(u64, s2ice_jpeg2000::Sot)> {
    let mut out = Vec::new();
    let mut at = first_sot as usize;
    while bytes.get(at..at + 2) == Some(&[0xFF, 0x90]) {
        let sot = s2ice_jpeg2000::Sot::parse_at(&bytes[at..], at as u64).unwrap();
        out.push((at as u64, sot));
        assert_ne!(sot.psot, 0);
        at += sot.psot as usize;
    }
    out
}

/// The whole file's head.
pub fn head(bytes: &[u8]) -> s2ice_jpeg2000::FileHead {
    match s2ice_jpeg2000::scan_file_head(bytes, Some(bytes.len() as u64)).unwrap() {
        s2ice_jpeg2000::Scan::Done(head) => head,
        s2ice_jpeg2000::Scan::NeedMore { up_to } => panic!("a whole file asks for {up_to} bytes"),
    }
}

/// Runs `job` on every item with two threads.
pub fn two_threads<T: Sync>(items: &[T], job: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    job(item);
                }
            });
        }
    });
}

/// Samples of one tile without padding, components last and little endian, as the golden checksums want them.
pub fn pixels_last(
    planes: &[u8],
    components: usize,
    bytes: usize,
    chunk: (usize, usize),
    inside: (usize, usize),
) -> Vec<u8> {
    let mut out = vec![0; components * inside.0 * inside.1 * bytes];
    let step = components * bytes;
    for c in 0..components {
        for y in 0..inside.0 {
            let row = &planes[(c * chunk.0 + y) * chunk.1 * bytes..][..inside.1 * bytes];
            if components == 1 && (bytes == 1 || cfg!(target_endian = "little")) {
                out[y * row.len()..][..row.len()].copy_from_slice(row);
                continue;
            }
            for (pixel, sample) in out[y * inside.1 * step..].chunks_exact_mut(step).zip(row.chunks_exact(bytes)) {
                pixel[c * bytes..][..bytes].copy_from_slice(sample);
                if cfg!(target_endian = "big") {
                    pixel[c * bytes..][..bytes].reverse();
                }
            }
        }
    }
    out
}

/// The same cases on every run, unless PROPTEST_CASES or PROPTEST_RNG_SEED ask for others.
pub fn config(cases: u32) -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};
    let mut config = Config { failure_persistence: None, max_global_rejects: 1 << 20, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(15444);
    }
    config
}
