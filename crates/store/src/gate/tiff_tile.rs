//! Whether bytes are a tile of a GeoTIFF: a deflated one has an end and a checksum of its own.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use s2ice_manifest::encoding::{TiffCompression, TiffEncoding};

/// Checks the bytes of a tile that holds so many bytes uncompressed.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn check(encoding: TiffEncoding, bytes: &[u8], uncompressed: u64) -> Result<(), String> {
    let length = match encoding.compression {
        TiffCompression::None => bytes.len() as u64,
        TiffCompression::Deflate => {
            // One byte more than there should be tells as much as all of them.
            let mut inflated = ZlibDecoder::new(bytes).take(uncompressed.saturating_add(1));
            std::io::copy(&mut inflated, &mut std::io::sink())
                .map_err(|error| format!("a tile begins that cannot be inflated ({error})"))?
        }
    };
    if length == uncompressed { Ok(()) } else { Err(format!("a tile of {length} bytes begins, not of {uncompressed}")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use s2ice_manifest::encoding::{Endian, TiffPredictor};

    use super::*;

    #[test]
    fn a_tile_is_whole_or_told() {
        let encoding =
            |compression| TiffEncoding { compression, predictor: TiffPredictor::Horizontal, endian: Endian::Little };
        let deflate = encoding(TiffCompression::Deflate);
        let mut writer = ZlibEncoder::new(Vec::new(), Compression::default());
        writer.write_all(&(0..2048_u32).map(|n| (n * n % 251) as u8).collect::<Vec<_>>()).unwrap();
        let whole = writer.finish().unwrap();
        assert_eq!(check(deflate, &whole, 2048), Ok(()));
        assert_eq!(check(deflate, &whole, 2047).unwrap_err(), "a tile of 2048 bytes begins, not of 2047");
        assert_eq!(check(deflate, &whole, 4096).unwrap_err(), "a tile of 2048 bytes begins, not of 4096");
        for cut in [0, 1, 2, whole.len() / 2, whole.len() - 5, whole.len() - 1] {
            assert!(check(deflate, &whole[..cut], 2048).is_err(), "{cut}");
        }
        for at in [0, 1, 40, whole.len() / 2, whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x21;
            assert!(check(deflate, &damaged, 2048).is_err(), "{at}");
        }
        assert_eq!(check(encoding(TiffCompression::None), &[0; 64], 64), Ok(()));
        assert!(check(encoding(TiffCompression::None), &[0; 63], 64).is_err());
    }
}
