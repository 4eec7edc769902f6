//! Real files in memory, against checksums made by another build of another version of the decoder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use crate::common::{Golden, data, golden, pixels_last};
use crate::support::{Source, open, samples};
use zarrs::array::{ArrayBytes, ArraySubset};

/// Bands, class rasters, several components, tiles that reach over the edge.
const FILES: [&str; 5] = [
    "_B04_60m.jp2",
    "_AOT_20m.jp2",
    "_SCL_60m.jp2",
    "_TCI_60m.jp2",
    "0400_R023_T29UNU_20221005T164454.SAFE/GRANULE/L2A_T29UNU_A038058_20221005T115407/QI_DATA/MSK_QUALIT_B10.jp2",
];

/// The golden files that are read here.
pub fn files() -> Vec<Golden> {
    let Some(dir) = data() else { return Vec::new() };
    let files: Vec<Golden> =
        golden(&dir).into_iter().filter(|g| FILES.iter().any(|end| g.path.ends_with(end))).collect();
    assert_eq!(files.len(), FILES.len());
    files
}

/// Checks a whole chunk against its checksum.
pub fn check_tile(file: &Golden, source: &Source, tile: usize, chunk: &[u8]) {
    let (isot, offset, psot, crc) = file.tiles()[tile];
    assert_eq!(source.tiles[usize::from(isot)], offset as usize..offset as usize + psot as usize);
    let rect = source.head.header.grid().unwrap().tile_rect(u32::from(isot)).unwrap();
    let (height, width) = source.codec.chunk_shape();
    let inside = (rect.height() as usize, rect.width() as usize);
    let (components, bytes) = (source.codec.components() as usize, source.codec.dtype().bytes);
    let pixels = pixels_last(chunk, components, bytes, (height as usize, width as usize), inside);
    assert_eq!(crc32fast::hash(&pixels), crc, "{} tile {tile}", file.path);
}

#[test]
fn chunks_and_windows() {
    for file in files() {
        let source = Source::new(file.bytes.clone(), 3);
        let chunks = (0..source.tiles.len()).map(|tile| (source.indices(0, tile), source.chunk(tile)));
        let array = open(&source.metadata(&source.codec, 0), chunks).unwrap();
        for tile in 0..source.tiles.len() {
            let chunk = array.retrieve_chunk::<ArrayBytes>(&source.indices(0, tile)).unwrap().into_fixed().unwrap();
            check_tile(&file, &source, usize::from(file.tiles()[tile].0), &chunk);
        }
        // Windows against the whole image, which is made of the chunks that are right.
        let all = array.retrieve_array_subset::<ArrayBytes>(&array.subset_all()).unwrap();
        let (size, tile) = (array.shape()[array.shape().len() - 1], u64::from(source.codec.chunk_shape().0));
        let windows =
            [(0..1, 0..1), (size - 1..size, size - 1..size), (tile - 3..tile + 5, 5..2 * tile + 1), (7..8, 0..size)];
        for (y, x) in windows {
            // Of several components, all but the first.
            let components = (source.codec.components() > 1).then(|| 1..array.shape()[1]);
            let ranges: Vec<_> = std::iter::once(0..array.shape()[0]).chain(components).chain([y, x]).collect();
            let subset = ArraySubset::new_with_ranges(&ranges);
            let window = array.retrieve_array_subset::<ArrayBytes>(&subset).unwrap();
            let expected = all.extract_array_subset(&subset, array.shape(), array.data_type()).unwrap();
            let window = samples(window, array.data_type());
            assert_eq!(window, samples(expected, array.data_type()), "{} {ranges:?}", file.path);
            assert!(window[window.len() / 2..].iter().all(|sample| *sample == 3), "time 1 is missing");
        }
    }
}
