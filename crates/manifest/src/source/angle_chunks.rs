//! Angles as the chunks that a store has of them: little-endian float32, zstd.

use std::sync::Arc;

use crate::geometry::{AngleArray, AngleChunks, Angles};

/// Level of compression, that of a store's other small arrays.
const LEVEL: i32 = 3;

/// The chunk of each array.
///
/// # Errors
/// Compression failed.
pub fn encode(angles: &Angles) -> std::io::Result<AngleChunks> {
    let chunk = |array: AngleArray| {
        let raw: Vec<u8> = angles.values(array).into_iter().flat_map(f32::to_le_bytes).collect();
        zstd::bulk::compress(&raw, LEVEL).map(|bytes| (array, Arc::from(bytes)))
    };
    AngleArray::ALL.into_iter().map(chunk).collect()
}

/// The bytes of a chunk without compression.
///
/// # Errors
/// They are no chunk of the array.
pub fn decode(array: AngleArray, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let size = array.values() * size_of::<f32>();
    let raw = zstd::bulk::decompress(bytes, size)?;
    if raw.len() == size {
        return Ok(raw);
    }
    Err(std::io::Error::other(format!("{} bytes where a chunk of {} has {size}", raw.len(), array.name())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;
    use crate::geometry::{ANGLES, GRID_VALUES};

    #[test]
    fn chunks_come_back() {
        let mut sun = vec![f32::NAN; GRID_VALUES].into_boxed_slice();
        sun[7] = 61.5;
        let angles =
            Angles { sun, mean_sun: [1.0, 2.0], viewing: BTreeMap::new(), mean_viewing: [[f32::NAN; ANGLES]; 13] };
        let chunks = encode(&angles).unwrap();
        assert_eq!(chunks.len(), 4);
        let raw = decode(AngleArray::Sun, &chunks[&AngleArray::Sun]).unwrap();
        assert_eq!(raw[28..32], 61.5_f32.to_le_bytes());
        assert_eq!(decode(AngleArray::Viewing, &chunks[&AngleArray::Viewing]).unwrap().len(), 165_048 * 4);
        assert!(decode(AngleArray::MeanSun, &chunks[&AngleArray::Sun]).is_err());
        assert!(decode(AngleArray::Sun, &chunks[&AngleArray::MeanSun]).is_err());
        assert!(decode(AngleArray::Sun, b"no zstd").is_err());
    }
}
