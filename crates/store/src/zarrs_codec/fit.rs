//! Whether an array fits its codec's main header.

use std::num::NonZeroU64;
use std::ops::Range;

use s2ice_jpeg2000::{CODEC_NAME, SampleType, TileCodec};
use zarrs::array::data_type::{Int8DataType, Int16DataType, UInt8DataType, UInt16DataType};
use zarrs::array::{ArraySubsetTraits, CodecError, DataType, FillValue, IndexerError};
use zarrs::plugin::ExtensionName;

/// Why the codec refuses an array, or what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    /// Chunks of another shape than the header's tiles.
    #[error(
        "{CODEC_NAME}: the array's chunks are {chunk:?}, but its main header describes tiles of {} x {} x {} \
         (components, rows, columns), so they must be {wanted:?}, or that behind further ones", tile[0], tile[1], tile[2]
    )]
    ChunkShape { chunk: Vec<u64>, tile: [u64; 3], wanted: Vec<u64> },
    /// Another data type than the header's samples.
    #[error("{CODEC_NAME}: the array's data type is {array}, but its main header describes {header} samples")]
    DataType { array: String, header: &'static str },
    /// A fill value that is no sample.
    #[error("{CODEC_NAME}: the fill value has {found} bytes, but a {header} sample has {wanted}")]
    FillValue { found: usize, wanted: usize, header: &'static str },
    /// Writing.
    #[error("{CODEC_NAME}: this codec only decodes; the chunks are byte ranges of JPEG 2000 files made elsewhere")]
    Encode,
}

impl From<Misfit> for CodecError {
    fn from(misfit: Misfit) -> CodecError {
        CodecError::Other(misfit.to_string())
    }
}

/// Checks shape and data type of an array's chunks.
pub(super) fn check(codec: &TileCodec, shape: &[NonZeroU64], data_type: &DataType) -> Result<(), Misfit> {
    let (height, width) = codec.chunk_shape();
    let tile = [u64::from(codec.components()), u64::from(height), u64::from(width)];
    // One component needs no dimension of its own; where it has one, its length is 1 like that of any other.
    let wanted = if tile[0] == 1 { &tile[1..] } else { &tile[..] };
    let chunk: Vec<u64> = shape.iter().map(|n| n.get()).collect();
    if !chunk.strip_suffix(wanted).is_some_and(|leading| leading.iter().all(|n| *n == 1)) {
        return Err(Misfit::ChunkShape { wanted: wanted.to_vec(), chunk, tile });
    }
    let same = match codec.dtype() {
        SampleType { bytes: 1, signed: false } => data_type.is::<UInt8DataType>(),
        SampleType { bytes: 1, signed: true } => data_type.is::<Int8DataType>(),
        SampleType { signed: false, .. } => data_type.is::<UInt16DataType>(),
        SampleType { signed: true, .. } => data_type.is::<Int16DataType>(),
    };
    if same {
        return Ok(());
    }
    let array = data_type.name_v3().map_or_else(|| "unknown".to_owned(), std::borrow::Cow::into_owned);
    Err(Misfit::DataType { array, header: sample_name(codec.dtype()) })
}

/// Refuses indices of another number of dimensions than the chunk's.
pub(super) fn same_rank(rank: usize, shape: &[u64]) -> Result<(), IndexerError> {
    if rank == shape.len() { Ok(()) } else { Err(IndexerError::new_incompatible_dimensionality(rank, shape.len())) }
}

/// The ranges of a box inside a chunk of this shape.
pub(super) fn inside(subset: &dyn ArraySubsetTraits, shape: &[u64]) -> Result<Vec<Range<u64>>, IndexerError> {
    let (start, lengths) = (subset.start(), subset.shape());
    same_rank(start.len(), shape)?;
    let ranges = start.iter().zip(lengths.iter()).zip(shape).map(|((start, length), size)| {
        let end = start.checked_add(*length).filter(|end| end <= size)?;
        Some(*start..end)
    });
    ranges.collect::<Option<_>>().ok_or_else(|| {
        let last =
            start.iter().zip(lengths.iter()).map(|(start, length)| start.saturating_add(length.saturating_sub(1)));
        IndexerError::new_oob(last.collect(), shape.to_vec())
    })
}

/// The fill value as a sample.
pub(super) fn fill_sample(codec: &TileCodec, fill: &FillValue) -> Result<i64, Misfit> {
    let dtype = codec.dtype();
    match (dtype.bytes, fill.as_ne_bytes()) {
        (1, &[a]) if dtype.signed => Ok(i64::from(i8::from_ne_bytes([a]))),
        (1, &[a]) => Ok(i64::from(a)),
        (2, &[a, b]) if dtype.signed => Ok(i64::from(i16::from_ne_bytes([a, b]))),
        (2, &[a, b]) => Ok(i64::from(u16::from_ne_bytes([a, b]))),
        (wanted, found) => Err(Misfit::FillValue { found: found.len(), wanted, header: sample_name(dtype) }),
    }
}

/// Zarr's name of the data type.
fn sample_name(dtype: SampleType) -> &'static str {
    match dtype {
        SampleType { bytes: 1, signed: false } => "uint8",
        SampleType { bytes: 1, signed: true } => "int8",
        SampleType { signed: false, .. } => "uint16",
        SampleType { signed: true, .. } => "int16",
    }
}
