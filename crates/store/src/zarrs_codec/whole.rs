//! Reading values whole, where a store answers wrongly to questions for parts.

use bytes::Bytes;
use futures::StreamExt;
use zarrs::storage::byte_range::{ByteRange, ByteRangeIterator, InvalidByteRangeError};
use zarrs::storage::{
    AsyncListableStorageTraits, AsyncMaybeBytesIterator, AsyncReadableStorageTraits, MaybeBytes, StorageError,
    StoreKey, StoreKeys, StoreKeysPrefixes, StorePrefix,
};

/// A store whose values are always fetched whole, each in one request.
///
/// zarrs_icechunk 0.6 fails where a part of a missing chunk is asked for, instead of saying that it is missing; so windows
/// of an array with missing chunks, which s2ice's arrays have wherever there is nothing to see, could not be read. Whole
/// values do not suffer from that, and chunks of `s2ice.jpeg2000` are read whole anyway.
#[derive(Debug, Clone)]
pub struct WholeValues<S>(S);

impl<S> WholeValues<S> {
    /// Wraps a store.
    #[must_use]
    pub fn new(store: S) -> Self {
        WholeValues(store)
    }
}

#[async_trait::async_trait]
impl<S: AsyncReadableStorageTraits> AsyncReadableStorageTraits for WholeValues<S> {
    async fn get(&self, key: &StoreKey) -> Result<MaybeBytes, StorageError> {
        self.0.get(key).await
    }

    async fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        byte_ranges: ByteRangeIterator<'a>,
    ) -> Result<AsyncMaybeBytesIterator<'a>, StorageError> {
        let Some(value) = self.0.get(key).await? else { return Ok(None) };
        let parts: Vec<_> = byte_ranges.map(|range| part(&value, range)).collect();
        Ok(Some(futures::stream::iter(parts).boxed()))
    }

    async fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, StorageError> {
        Ok(self.0.get(key).await?.map(|value| value.len() as u64))
    }

    fn supports_get_partial(&self) -> bool {
        false
    }
}

#[async_trait::async_trait]
impl<S: AsyncListableStorageTraits> AsyncListableStorageTraits for WholeValues<S> {
    async fn list(&self) -> Result<StoreKeys, StorageError> {
        self.0.list().await
    }

    async fn list_prefix(&self, prefix: &StorePrefix) -> Result<StoreKeys, StorageError> {
        self.0.list_prefix(prefix).await
    }

    async fn list_dir(&self, prefix: &StorePrefix) -> Result<StoreKeysPrefixes, StorageError> {
        self.0.list_dir(prefix).await
    }

    async fn size_prefix(&self, prefix: &StorePrefix) -> Result<u64, StorageError> {
        self.0.size_prefix(prefix).await
    }
}

/// A part of a value, without copying.
fn part(value: &Bytes, range: ByteRange) -> Result<Bytes, StorageError> {
    let size = value.len();
    let narrow = |n: u64| usize::try_from(n).ok();
    let bounds = match range {
        ByteRange::FromStart(start, None) => narrow(start).map(|start| (start, size)),
        ByteRange::FromStart(start, Some(length)) => narrow(start).zip(start.checked_add(length).and_then(narrow)),
        ByteRange::Suffix(length) => {
            narrow(length).and_then(|length| size.checked_sub(length)).map(|start| (start, size))
        }
    };
    match bounds {
        Some((start, end)) if start <= end && end <= size => Ok(value.slice(start..end)),
        _ => Err(InvalidByteRangeError::new(range, size as u64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_inside_the_value() {
        let value = Bytes::from_static(b"0123456789");
        let good = |range| part(&value, range).ok();
        assert_eq!(good(ByteRange::FromStart(0, None)).as_deref(), Some(&b"0123456789"[..]));
        assert_eq!(good(ByteRange::FromStart(3, Some(2))).as_deref(), Some(&b"34"[..]));
        assert_eq!(good(ByteRange::Suffix(2)).as_deref(), Some(&b"89"[..]));
        assert_eq!(good(ByteRange::FromStart(10, None)).as_deref(), Some(&b""[..]));
        for outside in [
            ByteRange::FromStart(11, None),
            ByteRange::FromStart(9, Some(2)),
            ByteRange::FromStart(u64::MAX, Some(u64::MAX)),
            ByteRange::Suffix(11),
        ] {
            assert!(good(outside).is_none(), "{outside:?}");
        }
    }
}
