//! Reading a TLM index (Parquet), one batch at a time, projected and filtered to the wanted products.
//!
//! The product names are read first; of the other columns only the pages with wanted rows are fetched and decoded. A
//! row that cannot be understood is counted and named in the report, and never ends the reading.

mod columns;
mod error;
mod file;
mod report;
mod row;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use futures::TryStreamExt as _;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ArrowReaderOptions, RowFilter};
use parquet::arrow::async_reader::{ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;

use crate::ids::{Level, MgrsTile};
use crate::index_columns::PRODUCT_ID;
use crate::product::ProductId;
use crate::raster::Asset;
use crate::tlm::IndexRow;

pub(crate) use columns::data_type;
use columns::{Columns, Found, check_compression, find};
pub use error::IndexError;
use file::ParquetFile;
use report::NAMED;
pub use report::{Conflict, IndexReadReport, RejectedKind, RejectedRow, RowFault};

use super::location::{Source, SourceOptions, SourceUrl};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 1024;

/// A choice among products.
pub type ProductPredicate = Arc<dyn Fn(&ProductId) -> bool + Send + Sync>;

/// Which rows to take.
#[derive(Clone, Default)]
pub struct IndexFilter {
    /// Only products of this tile.
    pub tile: Option<MgrsTile>,
    /// Only products of this level.
    pub level: Option<Level>,
    /// Only products for which this is true.
    pub wanted: Option<ProductPredicate>,
}

impl IndexFilter {
    fn takes(&self, product: &ProductId) -> bool {
        self.tile.is_none_or(|tile| product.tile() == tile)
            && self.level.is_none_or(|level| product.level() == level)
            && self.wanted.as_ref().is_none_or(|wanted| wanted(product))
    }
}

impl std::fmt::Debug for IndexFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexFilter").field("tile", &self.tile).field("level", &self.level).finish_non_exhaustive()
    }
}

/// What the predicate saw: it alone sees every row.
#[derive(Debug, Default)]
struct Seen {
    rows: u64,
    other_products: u64,
    /// Row number and product of each row let through and not yet read.
    taken: VecDeque<(u64, ProductId)>,
    rejected: IndexReadReport,
}

impl Seen {
    /// Looks at the product names of the next rows.
    fn look(
        &mut self,
        file: &str,
        batch: &RecordBatch,
        columns: &[Found],
        filter: &IndexFilter,
    ) -> Result<BooleanArray, ArrowError> {
        let names = Columns::new(batch, columns)?;
        let mut last: Option<(String, ProductId, bool)> = None;
        let mut out = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            self.rows += 1;
            let number = self.rows;
            let Some(name) = names.text(PRODUCT_ID, row) else {
                self.rejected.reject(file, number, (RowFault::NoValue, "product_id is null or no text".to_owned()));
                out.push(false);
                continue;
            };
            // Rows of a product usually follow each other.
            if last.as_ref().is_none_or(|(text, ..)| text != name) {
                last = match name.parse::<ProductId>() {
                    Ok(product) => Some((name.to_owned(), product, filter.takes(&product))),
                    Err(error) => {
                        self.rejected.reject(file, number, (RowFault::ProductName, format!("product_id {error}")));
                        None
                    }
                };
            }
            let taken = last.as_ref().is_some_and(|(_, _, takes)| *takes);
            match &last {
                Some((_, product, true)) => self.taken.push_back((number, *product)),
                Some(_) => self.other_products += 1,
                None => {}
            }
            out.push(taken);
        }
        Ok(BooleanArray::from(out))
    }
}

/// A stream of the wanted rows of one index file.
pub struct IndexReader {
    file: String,
    columns: Vec<Found>,
    stream: ParquetRecordBatchStream<ParquetFile>,
    seen: Arc<Mutex<Seen>>,
}

impl IndexReader {
    /// Opens an index: a local path or an address ([`SourceUrl::parse_file`]). Reads the footer only.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn open(location: &str, options: &SourceOptions, filter: &IndexFilter) -> Result<Self, IndexError> {
        let (url, name) = SourceUrl::parse_file(location)?;
        let source = Source::open(&url, options)?;
        let file = ParquetFile::open(source, &name).await?;
        let bad = |error: ParquetError| IndexError::of(location, error);
        // What the writer had in memory decides nothing, and is not always true of the file.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchStreamBuilder::new_with_options(file, options).await.map_err(bad)?;
        let columns = find(location, builder.schema())?;
        check_compression(location, builder.metadata(), &columns)?;
        let names: Vec<Found> = columns.iter().copied().filter(|found| found.column.name == PRODUCT_ID).collect();
        let seen = Arc::new(Mutex::new(Seen::default()));

        let only = |found: &[Found]| ProjectionMask::roots(builder.parquet_schema(), found.iter().map(|f| f.place));
        let (only_names, wanted) = (only(&names), only(&columns));
        let (shared, filter, file) = (Arc::clone(&seen), filter.clone(), location.to_owned());
        let predicate = ArrowPredicateFn::new(only_names, move |batch: RecordBatch| {
            shared
                .lock()
                .map_err(|_| ArrowError::ComputeError("an earlier row ended in a panic".to_owned()))?
                .look(&file, &batch, &names, &filter)
        });
        let stream = builder
            .with_projection(wanted)
            .with_row_filter(RowFilter::new(vec![Box::new(predicate)]))
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(bad)?;
        Ok(Self { file: location.to_owned(), columns, stream, seen })
    }

    /// The next wanted rows, `None` at the end. May be empty in between.
    ///
    /// # Errors
    /// [`IndexError`].
    pub async fn next_rows(&mut self) -> Result<Option<Vec<(u64, IndexRow)>>, IndexError> {
        let batch = self.stream.try_next().await.map_err(|e| IndexError::of(&self.file, e))?;
        let Some(batch) = batch else { return Ok(None) };
        let damaged = |detail: String| IndexError::Parquet { file: self.file.clone(), detail };
        let columns = Columns::new(&batch, &self.columns).map_err(|e| damaged(e.to_string()))?;
        let mut seen = self.seen.lock().map_err(|_| damaged("an earlier row ended in a panic".to_owned()))?;
        let mut rows = Vec::with_capacity(batch.num_rows());
        for at in 0..batch.num_rows() {
            let Some((number, product)) = seen.taken.pop_front() else {
                return Err(damaged("rows and product names do not match".to_owned()));
            };
            match row::read(&columns, at, product) {
                Ok(row) => rows.push((number, row)),
                Err(fault) => seen.rejected.reject(&self.file, number, fault),
            }
        }
        Ok(Some(rows))
    }

    /// Adds what was seen to a report.
    fn finish(self, report: &mut IndexReadReport) {
        let Ok(seen) = self.seen.lock() else { return };
        report.files += 1;
        report.rows += seen.rows;
        report.other_products += seen.other_products;
        report.add_rejected(&seen.rejected);
    }
}

/// Reads the wanted rows of one or more index files, in their order, each raster at most once.
///
/// Rows that say the same collapse to one (and complete each other); rows that contradict each other are all left out
/// and named in the report.
///
/// # Errors
/// [`IndexError`] where a file cannot be read at all.
pub async fn read_index(
    locations: &[String],
    options: &SourceOptions,
    filter: &IndexFilter,
) -> Result<(Vec<IndexRow>, IndexReadReport), IndexError> {
    let mut report = IndexReadReport::default();
    let mut collected = Collected::default();
    for location in locations {
        let mut reader = IndexReader::open(location, options, filter).await?;
        while let Some(rows) = reader.next_rows().await? {
            for (_, row) in rows {
                collected.add(row, &mut report);
            }
        }
        reader.finish(&mut report);
    }
    let rows = collected.finish(&mut report);
    Ok((rows, report))
}

/// Rows by raster.
#[derive(Default)]
struct Collected {
    rows: Vec<Option<IndexRow>>,
    places: HashMap<(ProductId, Asset), Place>,
}

enum Place {
    Row(usize),
    Conflict,
}

impl Collected {
    fn add(&mut self, row: IndexRow, report: &mut IndexReadReport) {
        let key = (row.product, row.asset);
        match self.places.get(&key) {
            None => {
                self.places.insert(key, Place::Row(self.rows.len()));
                self.rows.push(Some(row));
            }
            Some(Place::Conflict) => report.conflicting += 1,
            Some(Place::Row(at)) => {
                let Some(first) = self.rows.get_mut(*at) else { return };
                match first.as_mut().map(|first| row::merge(first, &row)) {
                    Some(Err(reason)) => {
                        *first = None;
                        self.places.insert(key, Place::Conflict);
                        report.conflicting += 2;
                        if report.conflicts.len() < NAMED {
                            let (product, raster) = (row.product.to_string(), row.asset.to_string());
                            report.conflicts.push(Conflict { product, raster, reason });
                        }
                    }
                    _ => report.duplicates += 1,
                }
            }
        }
    }

    fn finish(self, report: &mut IndexReadReport) -> Vec<IndexRow> {
        let rows: Vec<IndexRow> = self.rows.into_iter().flatten().collect();
        report.taken = rows.len() as u64;
        rows
    }
}
