//! The codecs `s2ice.jpeg2000` and `s2ice.horizontal_differencing` for zarrs, so that Rust reads what s2ice writes.
//!
//! zarrs finds the codec by its name in every program that links this crate; `use s2ice_store as _;` is enough where
//! nothing else of it is used. A chunk is fetched whole, in one request, and of a tile only the window that was asked for
//! is decoded. The codec reads only.
//!
//! ```no_run
//! use s2ice_store::zarrs_codec::{SourceOptions, open, zarrs::array::Array};
//!
//! # async fn read() -> Result<(), Box<dyn std::error::Error>> {
//! let place = SourceOptions::default;
//! let source = ("archive", "https://archive.example.org/", place());
//! let store = open(("https://tiles.example.org/33TVN-L2A/store", place()), [source]).await?;
//! let array = Array::async_open(store, "/measurements/reflectance/r10m/b04").await?;
//! let pixels: Vec<u16> = array.async_retrieve_array_subset(&[0..1, 2000..2100, 3000..3100]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A session of one's own is wrapped in [`WholeValues`].

mod differencing;
mod fit;
mod open;
mod partial;
mod whole;

use std::num::NonZeroU64;
use std::sync::Arc;

use s2ice_jpeg2000::{CODEC_NAME, CodecConfig, TileCodec, Window};
use zarrs::array::codec::api::{CodecPluginV3, PartialDecoderCapability, PartialEncoderCapability};
use zarrs::array::{
    ArrayBytes, ArrayBytesRaw, ArrayCodecTraits, ArrayPartialDecoderTraits, ArrayToBytesCodecTraits,
    AsyncArrayPartialDecoderTraits, AsyncBytesPartialDecoderTraits, BytesPartialDecoderTraits, BytesRepresentation,
    Codec, CodecError, CodecMetadataOptions, CodecOptions, CodecTraits, CodecTraitsV3, DataType, FillValue,
    RecommendedConcurrency,
};
use zarrs::metadata::Configuration;
use zarrs::metadata::v3::MetadataV3;
use zarrs::plugin::{PluginCreateError, ZarrVersion, impl_extension_aliases};

use fit::{Misfit, check, fill_sample};
use partial::PartialDecoder;

pub use differencing::HorizontalDifferencing;
pub use open::open;
pub use s2ice_manifest::source::location::SourceOptions;
pub use whole::WholeValues;
/// In the version that the codecs are registered with.
pub use zarrs;

/// Decodes the chunks of one array, each a JPEG 2000 tile.
///
/// It must be the only codec of its array. Chunks have the shape of a tile behind any number of ones: (1.., rows, columns),
/// or (1.., components, rows, columns) where there are several components. Samples are uint8, int8, uint16 or int16, as
/// the header says.
#[derive(Debug, Clone)]
pub struct Jpeg2000Codec {
    configuration: Configuration,
    decoder: TileCodec,
}

impl_extension_aliases!(Jpeg2000Codec, v3: CODEC_NAME);

inventory::submit! {
    CodecPluginV3::new::<Jpeg2000Codec>()
}

impl CodecTraitsV3 for Jpeg2000Codec {
    fn create(metadata: &MetadataV3) -> Result<Codec, PluginCreateError> {
        let refused = |reason: &dyn std::fmt::Display| PluginCreateError::Other(format!("{CODEC_NAME}: {reason}"));
        let config: CodecConfig = metadata.to_typed_configuration().map_err(|e| refused(&e))?;
        let decoder = TileCodec::new(&config).map_err(|e| refused(&e))?;
        // As it came: what is left out or ordered otherwise there, stays so in a copy of the metadata.
        let configuration = metadata.configuration().cloned().unwrap_or_default();
        Ok(Codec::ArrayToBytes(Arc::new(Jpeg2000Codec { configuration, decoder })))
    }
}

impl Jpeg2000Codec {
    /// The codec with this configuration.
    ///
    /// # Errors
    /// As [`TileCodec::new`].
    pub fn new(config: &CodecConfig) -> s2ice_jpeg2000::Result<Self> {
        let decoder = TileCodec::new(config)?;
        let CodecConfig { main_header, reduce } = config;
        let mut configuration = serde_json::Map::new();
        configuration.insert("main_header".to_owned(), main_header.as_str().into());
        configuration.insert("reduce".to_owned(), (*reduce).into());
        Ok(Jpeg2000Codec { configuration: configuration.into(), decoder })
    }

    /// The decoder behind it.
    #[must_use]
    pub fn decoder(&self) -> &TileCodec {
        &self.decoder
    }

    /// Samples of the chunk or of a window of it, component first; `fill` beyond the image.
    fn samples(&self, chunk: &[u8], fill: &FillValue, window: Option<&Window>) -> Result<Vec<u8>, CodecError> {
        let failed = |error: s2ice_jpeg2000::Error| CodecError::Other(format!("{CODEC_NAME}: {error}"));
        let fill = fill_sample(&self.decoder, fill)?;
        let mut samples = vec![0; self.decoder.output_bytes(window).map_err(failed)?];
        self.decoder.decode(chunk, fill, window, &mut samples).map_err(failed)?;
        Ok(samples)
    }
}

impl CodecTraits for Jpeg2000Codec {
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn configuration(&self, _version: ZarrVersion, _options: &CodecMetadataOptions) -> Option<Configuration> {
        Some(self.configuration.clone())
    }

    fn partial_decoder_capability(&self) -> PartialDecoderCapability {
        // Without partial reads, zarrs fetches a chunk once and keeps its bytes as long as the partial decoder lives.
        PartialDecoderCapability { partial_read: false, partial_decode: true }
    }

    fn partial_encoder_capability(&self) -> PartialEncoderCapability {
        PartialEncoderCapability { partial_encode: false }
    }
}

impl ArrayCodecTraits for Jpeg2000Codec {
    fn recommended_concurrency(
        &self,
        shape: &[NonZeroU64],
        data_type: &DataType,
    ) -> Result<RecommendedConcurrency, CodecError> {
        check(&self.decoder, shape, data_type)?;
        Ok(RecommendedConcurrency::new_maximum(1))
    }
}

#[async_trait::async_trait]
impl ArrayToBytesCodecTraits for Jpeg2000Codec {
    fn into_dyn(self: Arc<Self>) -> Arc<dyn ArrayToBytesCodecTraits> {
        self
    }

    fn encoded_representation(
        &self,
        shape: &[NonZeroU64],
        data_type: &DataType,
        _fill_value: &FillValue,
    ) -> Result<BytesRepresentation, CodecError> {
        check(&self.decoder, shape, data_type)?;
        Ok(BytesRepresentation::UnboundedSize)
    }

    fn encode<'a>(
        &self,
        _bytes: ArrayBytes<'a>,
        _shape: &[NonZeroU64],
        _data_type: &DataType,
        _fill_value: &FillValue,
        _options: &CodecOptions,
    ) -> Result<ArrayBytesRaw<'a>, CodecError> {
        Err(Misfit::Encode.into())
    }

    fn decode<'a>(
        &self,
        bytes: ArrayBytesRaw<'a>,
        shape: &[NonZeroU64],
        data_type: &DataType,
        fill_value: &FillValue,
        _options: &CodecOptions,
    ) -> Result<ArrayBytes<'a>, CodecError> {
        check(&self.decoder, shape, data_type)?;
        Ok(ArrayBytes::new_flen(self.samples(&bytes, fill_value, None)?))
    }

    fn partial_decoder(
        self: Arc<Self>,
        input_handle: Arc<dyn BytesPartialDecoderTraits>,
        shape: &[NonZeroU64],
        data_type: &DataType,
        fill_value: &FillValue,
        _options: &CodecOptions,
    ) -> Result<Arc<dyn ArrayPartialDecoderTraits>, CodecError> {
        Ok(Arc::new(PartialDecoder::new(self, input_handle, shape, data_type, fill_value)?))
    }

    async fn async_partial_decoder(
        self: Arc<Self>,
        input_handle: Arc<dyn AsyncBytesPartialDecoderTraits>,
        shape: &[NonZeroU64],
        data_type: &DataType,
        fill_value: &FillValue,
        _options: &CodecOptions,
    ) -> Result<Arc<dyn AsyncArrayPartialDecoderTraits>, CodecError> {
        Ok(Arc::new(PartialDecoder::new(self, input_handle, shape, data_type, fill_value)?))
    }
}
