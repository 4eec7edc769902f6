//! A Parquet file behind a [`Source`], read by ranges.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use crate::source::location::{Listed, Source, SourceError};

/// Ranges closer to each other than this are read as one.
const GAP: u64 = 256 * 1024;

/// Read at once from the file's end, which usually holds the whole footer.
const FOOTER: usize = 64 * 1024;

/// One state of a file of a source.
#[derive(Debug, Clone)]
pub(crate) struct ParquetFile {
    source: Source,
    path: String,
    size: u64,
    etag: Option<String>,
}

impl ParquetFile {
    pub(crate) async fn open(source: Source, path: &str) -> std::result::Result<Self, SourceError> {
        let Listed { size, etag, .. } = source.stat(path).await?;
        Ok(Self { source, path: path.to_owned(), size, etag })
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let wanted = range.end.saturating_sub(range.start);
        if range.end > self.size {
            return Err(ParquetError::EOF(format!("bytes {range:?} of a file of {} bytes", self.size)));
        }
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        let fetched =
            self.source.get_range(&self.path, range).await.map_err(|e| ParquetError::External(Box::new(e)))?;
        let other = self.etag.is_some() && fetched.etag.is_some() && fetched.etag != self.etag;
        if fetched.bytes.len() as u64 != wanted || fetched.size != self.size || other {
            return Err(ParquetError::General("the file changed while it was read".to_owned()));
        }
        Ok(fetched.bytes)
    }
}

impl AsyncFileReader for ParquetFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.read(range).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        let file = &*self;
        async move { object_store::coalesce_ranges(&ranges, |range| file.read(range), GAP).await }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let size = self.size;
        async move {
            let reader = ParquetMetaDataReader::new()
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_prefetch_hint(Some(FOOTER));
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}
