//! Why an index cannot be read at all.

use parquet::errors::ParquetError;

use crate::source::location::SourceError;

/// An index that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file cannot be reached.
    #[error("the index: {0}")]
    Source(#[from] SourceError),
    /// Public columns are missing.
    #[error(
        "{file} is no TLM index: column {missing} is missing (an index has product_id, band_id, path and index; \
         this file has {found})"
    )]
    MissingColumns {
        /// The file.
        file: String,
        /// Names of the missing columns.
        missing: String,
        /// Names of the columns that are there.
        found: String,
    },
    /// A public column has another type.
    #[error("{file} is no TLM index: column {column} is {found}, not {expected}")]
    ColumnType {
        /// The file.
        file: String,
        /// The column.
        column: &'static str,
        /// Its Arrow type.
        found: String,
        /// The type it should have.
        expected: &'static str,
    },
    /// Two columns have the name of a public one.
    #[error("{file} is no TLM index: it has several columns {column}")]
    ColumnTwice {
        /// The file.
        file: String,
        /// The column.
        column: &'static str,
    },
    /// A compression that is not built in.
    #[error(
        "{file}: column {column} is compressed with {codec}, which is not read here: write the index with zstd, snappy, \
         gzip or lz4, or without compression"
    )]
    Compression {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// The compression.
        codec: String,
    },
    /// The file is not Parquet, or damaged.
    #[error(
        "{file} is no Parquet file, or a damaged one: an index is the Parquet file that `s2ice index` or a provider \
         writes ({detail})"
    )]
    Parquet {
        /// The file.
        file: String,
        /// What is wrong.
        detail: String,
    },
}

impl IndexError {
    /// What Parquet's reader says of a file.
    pub(super) fn of(file: &str, error: ParquetError) -> Self {
        match error {
            ParquetError::External(source) => match source.downcast::<SourceError>() {
                Ok(source) => Self::Source(*source),
                Err(other) => Self::Parquet { file: file.to_owned(), detail: other.to_string() },
            },
            other => Self::Parquet { file: file.to_owned(), detail: other.to_string() },
        }
    }
}
