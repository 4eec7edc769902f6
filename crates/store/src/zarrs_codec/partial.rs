//! Decoding the part of a chunk that is asked for.

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

use s2ice_jpeg2000::{CODEC_NAME, Window};
use zarrs::array::{
    ArrayBytes, ArrayPartialDecoderTraits, AsyncArrayPartialDecoderTraits, AsyncBytesPartialDecoderTraits,
    BytesPartialDecoderTraits, CodecError, CodecOptions, DataType, FillValue, Indexer, IndexerError,
};
use zarrs::storage::StorageError;

use super::Jpeg2000Codec;
use super::fit::{Misfit, check, inside, same_rank};

/// Decodes parts of one chunk, whose bytes come from `T`.
pub(super) struct PartialDecoder<T: ?Sized> {
    codec: Arc<Jpeg2000Codec>,
    input: Arc<T>,
    shape: Vec<u64>,
    data_type: DataType,
    fill: FillValue,
}

impl<T: ?Sized> PartialDecoder<T> {
    pub(super) fn new(
        codec: Arc<Jpeg2000Codec>,
        input: Arc<T>,
        shape: &[NonZeroU64],
        data_type: &DataType,
        fill: &FillValue,
    ) -> Result<Self, Misfit> {
        check(&codec.decoder, shape, data_type)?;
        let shape = shape.iter().map(|n| n.get()).collect();
        Ok(PartialDecoder { codec, input, shape, data_type: data_type.clone(), fill: fill.clone() })
    }

    /// The elements that `indexer` names, in its order.
    fn elements(&self, chunk: Option<&[u8]>, indexer: &dyn Indexer) -> Result<ArrayBytes<'static>, CodecError> {
        let Some(part) = Part::around(indexer, &self.shape, self.codec.decoder.components())? else {
            return Ok(ArrayBytes::new_flen(Vec::new()));
        };
        let Some(chunk) = chunk else {
            self.room(part.elements)?;
            return Ok(ArrayBytes::new_fill_value(&self.data_type, part.elements, &self.fill)?);
        };
        let samples = self.codec.samples(chunk, &self.fill, Some(&part.window()))?;
        let size = self.codec.decoder.dtype().bytes;
        if indexer.as_array_subset().is_some() {
            // All rows and columns of the window are wanted, but maybe not all components.
            let plane = part.plane() * size;
            let (start, end) = (index(part.components.start) * plane, index(part.components.end) * plane);
            let all = start == 0 && end == samples.len();
            return Ok(ArrayBytes::new_flen(if all { samples } else { samples[start..end].to_vec() }));
        }
        let mut elements = self.room(part.elements)?;
        for indices in indexer.iter_indices() {
            let at = part.position(&indices) * size;
            elements.extend_from_slice(&samples[at..at + size]);
        }
        Ok(ArrayBytes::new_flen(elements))
    }

    /// Memory for so many samples: a list may name the same ones again and again.
    fn room(&self, elements: u64) -> Result<Vec<u8>, CodecError> {
        let mut room = Vec::new();
        let bytes = usize::try_from(elements).ok().and_then(|n| n.checked_mul(self.codec.decoder.dtype().bytes));
        match bytes.map(|bytes| room.try_reserve_exact(bytes)) {
            Some(Ok(())) => Ok(room),
            _ => Err(CodecError::Other(format!("{CODEC_NAME}: {elements} samples of one chunk do not fit in memory"))),
        }
    }
}

/// The smallest box of a chunk around what is asked for. Never empty, and inside the chunk.
struct Part {
    components: Range<u64>,
    y: Range<u64>,
    x: Range<u64>,
    /// Samples that are asked for, those that a list names twice counted twice.
    elements: u64,
}

impl Part {
    /// The box around what `indexer` names; `None` where that is nothing.
    ///
    /// Numbers of elements are told only of boxes inside the chunk: zarrs multiplies the lengths of others unchecked.
    fn around(indexer: &dyn Indexer, shape: &[u64], components: u32) -> Result<Option<Part>, IndexerError> {
        let mut bounds: Vec<Range<u64>> = shape.iter().map(|n| *n..0).collect();
        let mut elements = 0;
        if let Some(subset) = indexer.as_array_subset() {
            bounds = inside(subset, shape)?;
            // Not more than the chunk has.
            elements = bounds.iter().map(|bound| bound.end - bound.start).product();
        } else {
            for indices in indexer.iter_indices() {
                same_rank(indices.len(), shape)?;
                for ((bound, at), size) in bounds.iter_mut().zip(&indices).zip(shape) {
                    if at >= size {
                        return Err(IndexerError::new_oob(indices.to_vec(), shape.to_vec()));
                    }
                    *bound = bound.start.min(*at)..bound.end.max(at + 1);
                }
                elements += 1;
            }
        }
        // A list of empty boxes names nothing either.
        if elements == 0 {
            return Ok(None);
        }
        let mut innermost = bounds.into_iter().rev();
        let mut next = || innermost.next().unwrap_or(0..1);
        let (x, y) = (next(), next());
        Ok(Some(Part { components: if components > 1 { next() } else { 0..1 }, y, x, elements }))
    }

    fn window(&self) -> Window {
        // A chunk has fewer than 2^32 rows and columns; the decoder refuses a window outside.
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Window { y: narrow(self.y.start)..narrow(self.y.end), x: narrow(self.x.start)..narrow(self.x.end) }
    }

    /// Samples of one component of the window.
    fn plane(&self) -> usize {
        index(self.y.end - self.y.start) * index(self.x.end - self.x.start)
    }

    /// Where the sample at `indices` of the chunk stands in the decoded window, which has all components.
    fn position(&self, indices: &[u64]) -> usize {
        let mut innermost = indices.iter().rev();
        let mut next = || innermost.next().copied().unwrap_or(0);
        let (x, y) = (next(), next());
        // There is no dimension of components, or nothing but the first is asked for.
        let component = if self.components == (0..1) { 0 } else { next() };
        index(component) * self.plane() + index((y - self.y.start) * (self.x.end - self.x.start) + (x - self.x.start))
    }
}

/// Sizes inside a chunk, of which there is one in memory.
fn index(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

impl<T: BytesPartialDecoderTraits + ?Sized> ArrayPartialDecoderTraits for PartialDecoder<T> {
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
        self.elements(self.input.decode(options)?.as_deref(), indexer)
    }

    fn supports_partial_decode(&self) -> bool {
        true
    }
}

#[async_trait::async_trait]
impl<T: AsyncBytesPartialDecoderTraits + ?Sized> AsyncArrayPartialDecoderTraits for PartialDecoder<T> {
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
        // Decoding runs on the caller's thread, as that of every codec of zarrs does.
        let chunk = self.input.decode(options).await?;
        self.elements(chunk.as_deref(), indexer)
    }

    fn supports_partial_decode(&self) -> bool {
        true
    }
}
