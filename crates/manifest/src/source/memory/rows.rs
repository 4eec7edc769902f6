//! Entries of the memory as rows of its table.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::geometry::{AngleArray, AngleChunks};
use crate::product::ProductId;
use crate::source::angle_chunks::decode;

use super::table::Row;
use super::{FileRecord, State};

impl State {
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::with_capacity(self.len());
        rows.extend(self.files.iter().filter_map(|(key, (id, record))| row("file", key, *id, &**record)));
        rows.extend(self.tiffs.iter().filter_map(|(key, (id, record))| row("tiff", key, *id, &**record)));
        rows.extend(self.products.iter().filter_map(|((key, id), record)| row("product", key, *id, &**record)));
        rows.extend(self.refusals.iter().filter_map(|(key, refusal)| row("refusal", key, refusal.product, refusal)));
        for ((key, id), chunks) in &self.angles {
            rows.extend(chunks.iter().filter_map(|(array, bytes)| {
                Some(Row { bytes: Some(Arc::clone(bytes)), ..row("angles", key, *id, array)? })
            }));
        }
        rows
    }

    pub(super) fn from_rows(rows: Vec<Row>) -> Result<Self, String> {
        let mut state = Self::default();
        for (number, row) in (1..).zip(rows) {
            state.take(row).map_err(|reason| format!("its row {number}: {reason}"))?;
        }
        // Angles that are not whole are as good as none.
        state.angles.retain(|_, chunks| AngleArray::ALL.iter().all(|array| chunks.contains_key(array)));
        Ok(state)
    }

    fn take(&mut self, row: Row) -> Result<(), String> {
        let product: ProductId = row.product.parse().map_err(|_| format!("{:?} is no product", row.product))?;
        match row.kind.as_str() {
            "file" => {
                let mut record: FileRecord = value(&row)?;
                record.header = self.shared(record.header);
                self.files.insert(row.key, (product, Arc::new(record)));
            }
            "tiff" => drop(self.tiffs.insert(row.key.clone(), (product, Arc::new(value(&row)?)))),
            "product" => drop(self.products.insert((row.key.clone(), product), Arc::new(value(&row)?))),
            "refusal" => drop(self.refusals.insert(row.key.clone(), value(&row)?)),
            "angles" => {
                let array: AngleArray = value(&row)?;
                let bytes = row.bytes.ok_or("it has no bytes")?;
                decode(array, &bytes).map_err(|error| error.to_string())?;
                let chunks = self.angles.entry((row.key, product)).or_default();
                Arc::<AngleChunks>::make_mut(chunks).insert(array, bytes);
            }
            other => return Err(format!("{other:?} is no kind of entry")),
        }
        Ok(())
    }
}

fn row(kind: &str, key: &str, product: ProductId, value: &impl Serialize) -> Option<Row> {
    // A number that JSON does not have costs the entry, no more.
    let value = serde_json::to_string(value).ok()?;
    Some(Row { kind: kind.to_owned(), key: key.to_owned(), product: product.to_string(), value, bytes: None })
}

fn value<T: DeserializeOwned>(row: &Row) -> Result<T, String> {
    serde_json::from_str(&row.value).map_err(|error| error.to_string())
}
