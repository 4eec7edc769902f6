//! The filter `s2ice.horizontal_differencing` for zarrs: TIFF predictor 2, undone row by row.

use std::num::NonZeroU64;
use std::sync::Arc;

use s2ice_jpeg2000::decode::MAX_SAMPLES;
use zarrs::array::codec::api::{CodecPluginV3, PartialDecoderCapability, PartialEncoderCapability};
use zarrs::array::data_type::{UInt8DataType, UInt16DataType};
use zarrs::array::{
    ArrayBytes, ArrayCodecTraits, ArrayPartialDecoderTraits, ArrayToArrayCodecTraits, AsyncArrayPartialDecoderTraits,
    Codec, CodecError, CodecMetadataOptions, CodecOptions, CodecTraits, CodecTraitsV3, DataType, FillValue, Indexer,
    RecommendedConcurrency,
};
use zarrs::metadata::Configuration;
use zarrs::metadata::v3::MetadataV3;
use zarrs::plugin::{ExtensionName as _, PluginCreateError, ZarrVersion, impl_extension_aliases};
use zarrs::storage::StorageError;

use super::fit::inside;
use crate::layout::codecs::{DIFFERENCING_NAME, DifferencingConfig};

/// Differences along the last axis of a chunk, modulo the range of the data type: uint8 or uint16.
#[derive(Debug, Clone, Copy, Default)]
pub struct HorizontalDifferencing;

impl_extension_aliases!(HorizontalDifferencing, v3: DIFFERENCING_NAME);

inventory::submit! {
    CodecPluginV3::new::<HorizontalDifferencing>()
}

impl CodecTraitsV3 for HorizontalDifferencing {
    fn create(metadata: &MetadataV3) -> Result<Codec, PluginCreateError> {
        let DifferencingConfig {} = metadata
            .to_typed_configuration()
            .map_err(|error| PluginCreateError::Other(format!("{DIFFERENCING_NAME}: {error}")))?;
        Ok(Codec::ArrayToArray(Arc::new(Self)))
    }
}

/// Bytes of a sample.
fn sample_bytes(data_type: &DataType) -> Result<usize, CodecError> {
    if data_type.is::<UInt8DataType>() {
        Ok(1)
    } else if data_type.is::<UInt16DataType>() {
        Ok(2)
    } else {
        let name = data_type.name_v3().map_or_else(|| "unknown".to_owned(), std::borrow::Cow::into_owned);
        Err(CodecError::Other(format!("{DIFFERENCING_NAME}: the array's data type is {name}, not uint8 or uint16")))
    }
}

/// Bytes of a chunk, whose shape the array's metadata tells.
fn chunk_bytes(shape: &[NonZeroU64], data_type: &DataType) -> Result<usize, CodecError> {
    let size = sample_bytes(data_type)?;
    let samples = shape.iter().try_fold(1_u64, |samples, length| samples.checked_mul(length.get()));
    let samples = samples.filter(|samples| *samples <= MAX_SAMPLES).and_then(|samples| usize::try_from(samples).ok());
    samples.and_then(|samples| samples.checked_mul(size)).ok_or_else(|| {
        let lengths: Vec<u64> = shape.iter().map(|length| length.get()).collect();
        CodecError::Other(format!(
            "{DIFFERENCING_NAME}: chunks of {lengths:?} samples are too large; up to {MAX_SAMPLES} samples are decoded"
        ))
    })
}

/// The bytes of a chunk, of whose size this makes sure.
fn whole(bytes: ArrayBytes<'_>, shape: &[NonZeroU64], data_type: &DataType) -> Result<Vec<u8>, CodecError> {
    let (bytes, wanted) = (bytes.into_fixed()?, chunk_bytes(shape, data_type)?);
    if bytes.len() == wanted {
        return Ok(bytes.into_owned());
    }
    let reason = format!("a chunk of {} bytes, but its shape makes {wanted}", bytes.len());
    Err(CodecError::Other(format!("{DIFFERENCING_NAME}: {reason}")))
}

/// Goes through the rows of a chunk with a function of a sample and the one on its left.
fn rows(
    bytes: ArrayBytes<'_>,
    shape: &[NonZeroU64],
    data_type: &DataType,
    row: fn(&mut [u16]),
) -> Result<ArrayBytes<'static>, CodecError> {
    let size = sample_bytes(data_type)?;
    let mut bytes = whole(bytes, shape, data_type)?;
    // Not longer than the chunk.
    let line =
        shape.last().map_or(size, |width| usize::try_from(width.get()).unwrap_or(usize::MAX).saturating_mul(size));
    // Sums modulo 2^16 are right modulo 2^8 too.
    let mut samples = Vec::with_capacity(line / size);
    for line in bytes.chunks_exact_mut(line) {
        samples.clear();
        samples.extend(line.chunks_exact(size).map(|sample| match *sample {
            [low] => u16::from(low),
            [a, b, ..] => u16::from_ne_bytes([a, b]),
            [] => 0,
        }));
        row(&mut samples);
        for (place, sample) in line.chunks_exact_mut(size).zip(&samples) {
            match place {
                [low] => *low = sample.to_le_bytes()[0],
                place => place.copy_from_slice(&sample.to_ne_bytes()),
            }
        }
    }
    Ok(ArrayBytes::new_flen(bytes))
}

fn accumulate(row: &mut [u16]) {
    let mut sum = 0_u16;
    for sample in row {
        sum = sum.wrapping_add(*sample);
        *sample = sum;
    }
}

fn differences(row: &mut [u16]) {
    let mut left = 0_u16;
    for sample in row {
        (left, *sample) = (*sample, sample.wrapping_sub(left));
    }
}

impl CodecTraits for HorizontalDifferencing {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn configuration(&self, _version: ZarrVersion, _options: &CodecMetadataOptions) -> Option<Configuration> {
        Some(Configuration::default())
    }

    fn partial_decoder_capability(&self) -> PartialDecoderCapability {
        // A sample needs all on its left: the chunk is read whole and kept as long as the partial decoder lives.
        PartialDecoderCapability { partial_read: false, partial_decode: false }
    }

    fn partial_encoder_capability(&self) -> PartialEncoderCapability {
        PartialEncoderCapability { partial_encode: false }
    }
}

impl ArrayCodecTraits for HorizontalDifferencing {
    fn recommended_concurrency(
        &self,
        shape: &[NonZeroU64],
        data_type: &DataType,
    ) -> Result<RecommendedConcurrency, CodecError> {
        chunk_bytes(shape, data_type)?;
        Ok(RecommendedConcurrency::new_maximum(1))
    }
}

#[async_trait::async_trait]
impl ArrayToArrayCodecTraits for HorizontalDifferencing {
    fn into_dyn(self: Arc<Self>) -> Arc<dyn ArrayToArrayCodecTraits> {
        self
    }

    fn encoded_data_type(&self, decoded_data_type: &DataType) -> Result<DataType, CodecError> {
        sample_bytes(decoded_data_type)?;
        Ok(decoded_data_type.clone())
    }

    fn encode<'a>(
        &self,
        bytes: ArrayBytes<'a>,
        shape: &[NonZeroU64],
        data_type: &DataType,
        _fill_value: &FillValue,
        _options: &CodecOptions,
    ) -> Result<ArrayBytes<'a>, CodecError> {
        rows(bytes, shape, data_type, differences)
    }

    fn decode<'a>(
        &self,
        bytes: ArrayBytes<'a>,
        shape: &[NonZeroU64],
        data_type: &DataType,
        _fill_value: &FillValue,
        _options: &CodecOptions,
    ) -> Result<ArrayBytes<'a>, CodecError> {
        rows(bytes, shape, data_type, accumulate)
    }

    // Those that zarrs has by default decode the part that is asked for as if it were a chunk.
    fn partial_decoder(
        self: Arc<Self>,
        input_handle: Arc<dyn ArrayPartialDecoderTraits>,
        shape: &[NonZeroU64],
        data_type: &DataType,
        fill_value: &FillValue,
        _options: &CodecOptions,
    ) -> Result<Arc<dyn ArrayPartialDecoderTraits>, CodecError> {
        Ok(Arc::new(WholeChunk::new(input_handle, shape, data_type, fill_value)?))
    }

    async fn async_partial_decoder(
        self: Arc<Self>,
        input_handle: Arc<dyn AsyncArrayPartialDecoderTraits>,
        shape: &[NonZeroU64],
        data_type: &DataType,
        fill_value: &FillValue,
        _options: &CodecOptions,
    ) -> Result<Arc<dyn AsyncArrayPartialDecoderTraits>, CodecError> {
        Ok(Arc::new(WholeChunk::new(input_handle, shape, data_type, fill_value)?))
    }
}

/// Decodes parts of one chunk, which is read whole from `T`.
struct WholeChunk<T: ?Sized> {
    input: Arc<T>,
    shape: Vec<NonZeroU64>,
    data_type: DataType,
    fill: FillValue,
}

impl<T: ?Sized> WholeChunk<T> {
    fn new(input: Arc<T>, shape: &[NonZeroU64], data_type: &DataType, fill: &FillValue) -> Result<Self, CodecError> {
        chunk_bytes(shape, data_type)?;
        Ok(Self { input, shape: shape.to_vec(), data_type: data_type.clone(), fill: fill.clone() })
    }

    fn lengths(&self) -> Vec<u64> {
        self.shape.iter().map(|length| length.get()).collect()
    }

    fn all(&self) -> zarrs::array::ArraySubset {
        zarrs::array::ArraySubset::new_with_shape(self.lengths())
    }

    /// Of a missing chunk the input gives fill values, which are none but in such a chunk; these are no differences.
    fn may_be_missing(&self, differences: &ArrayBytes<'_>) -> bool {
        differences.is_fill_value(&self.fill)
    }

    fn part(
        &self,
        differences: ArrayBytes<'_>,
        missing: bool,
        indexer: &dyn Indexer,
    ) -> Result<ArrayBytes<'static>, CodecError> {
        let samples = if missing {
            ArrayBytes::new_flen(whole(differences, &self.shape, &self.data_type)?)
        } else {
            rows(differences, &self.shape, &self.data_type, accumulate)?
        };
        if let Some(subset) = indexer.as_array_subset() {
            inside(subset, &self.lengths())?;
        }
        Ok(samples.extract_array_subset(indexer, &self.lengths(), &self.data_type)?.into_owned())
    }
}

impl<T: ArrayPartialDecoderTraits + ?Sized> ArrayPartialDecoderTraits for WholeChunk<T> {
    fn data_type(&self) -> &DataType {
        &self.data_type
    }

    fn exists(&self) -> Result<bool, StorageError> {
        self.input.exists()
    }

    fn size_held(&self) -> usize {
        self.input.size_held()
    }

    fn partial_decode(&self, indexer: &dyn Indexer, options: &CodecOptions) -> Result<ArrayBytes<'_>, CodecError> {
        let differences = self.input.partial_decode(&self.all(), options)?;
        let missing = self.may_be_missing(&differences) && !self.input.exists()?;
        self.part(differences, missing, indexer)
    }

    fn supports_partial_decode(&self) -> bool {
        false
    }
}

#[async_trait::async_trait]
impl<T: AsyncArrayPartialDecoderTraits + ?Sized> AsyncArrayPartialDecoderTraits for WholeChunk<T> {
    fn data_type(&self) -> &DataType {
        &self.data_type
    }

    async fn exists(&self) -> Result<bool, StorageError> {
        self.input.exists().await
    }

    fn size_held(&self) -> usize {
        self.input.size_held()
    }

    async fn partial_decode<'a>(
        &'a self,
        indexer: &dyn Indexer,
        options: &CodecOptions,
    ) -> Result<ArrayBytes<'a>, CodecError> {
        let differences = self.input.partial_decode(&self.all(), options).await?;
        let missing = self.may_be_missing(&differences) && !self.input.exists().await?;
        self.part(differences, missing, indexer)
    }

    fn supports_partial_decode(&self) -> bool {
        false
    }
}
