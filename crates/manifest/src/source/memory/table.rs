//! The table that a memory is kept as: a row for each fact and refusal.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::{Absent, BELIEVED, Kept, Known, State};

/// What the table's metadata say, so that no other table is taken for one.
const KIND: (&str, &str) = ("s2ice:memory", "1");

/// Key of the table's digest among its metadata. The footer is not compressed, so key and value stand in it as they are.
const DIGEST: &str = "s2ice:sha256";

/// What stands in the place of the digest when it is taken.
const NO_DIGEST: [u8; 64] = [b'0'; 64];

/// Bytes between key and value in the footer: a field header and the length of the value (Thrift's compact protocol).
const BETWEEN: usize = 2;

const FILE: &str = "file";
const TIFF: &str = "tiff";
const REFUSAL: &str = "refusal";
const ITEM: &str = "item";
const ABSENT: &str = "absent";
const SEARCHED: &str = "searched";
const SETTLED: &str = "settled";
const LOOKED_AT: &str = "looked_at";

/// Most rows that are read: the rasters of a tile in twenty years.
const MOST_ROWS: i64 = 1 << 20;

impl State {
    /// Drops facts that are too old to be believed or stand in a store; true where there were any.
    pub(super) fn drop_facts(&mut self, now: DateTime<Utc>, stored: impl Fn(&str) -> bool) -> bool {
        let before = self.files.len() + self.tiffs.len();
        let stays = |address: &str, learned: DateTime<Utc>| now - learned < BELIEVED && !stored(address);
        self.files.retain(|address, known| stays(address, known.learned));
        self.tiffs.retain(|address, known| stays(address, known.learned));
        before != self.files.len() + self.tiffs.len()
    }
}

/// The table; `None` for an empty one.
pub(super) fn encode(state: &State) -> Result<Option<Vec<u8>>, String> {
    fn body<T: Serialize>(fact: &T) -> Result<String, String> {
        serde_json::to_string(fact).map_err(|error| error.to_string())
    }
    let names: Vec<String> = state.kept.keys().map(ToString::to_string).collect();
    let mut rows: Vec<(&str, &str, i64, String)> = Vec::new();
    for (address, known) in &state.files {
        rows.push((FILE, address, known.learned.timestamp_millis(), body(known.fact.as_ref())?));
    }
    for (address, known) in &state.tiffs {
        rows.push((TIFF, address, known.learned.timestamp_millis(), body(known.fact.as_ref())?));
    }
    for (key, known) in &state.refusals {
        rows.push((REFUSAL, key, known.last.timestamp_millis(), body(known)?));
    }
    for (name, kept) in names.iter().zip(state.kept.values()) {
        rows.push((ITEM, name, 0, body(kept)?));
    }
    if let Some(absent) = &state.absent {
        rows.push((ABSENT, "", 0, body(absent)?));
    }
    if let Some(searched) = &state.searched {
        rows.push((SEARCHED, "", 0, body(searched)?));
    }
    if let Some(found) = &state.settled {
        rows.push((SETTLED, "", 0, found.clone()));
    }
    if let Some(product) = &state.looked_at {
        rows.push((LOOKED_AT, "", 0, product.clone()));
    }
    if rows.is_empty() {
        return Ok(None);
    }
    rows.sort();
    let text = |of: fn(&(&str, &str, i64, String)) -> String| -> ArrayRef {
        Arc::new(rows.iter().map(|row| Some(of(row))).collect::<StringArray>())
    };
    let learned: TimestampMillisecondArray = rows.iter().map(|row| Some(row.2)).collect();
    let columns: [(&str, ArrayRef); 4] = [
        ("kind", text(|row| row.0.to_owned())),
        ("key", text(|row| row.1.to_owned())),
        ("learned", Arc::new(learned.with_timezone("UTC"))),
        ("body", text(|row| row.3.clone())),
    ];
    let failed = |error: &dyn std::error::Error| error.to_string();
    let batch = RecordBatch::try_from_iter(columns).map_err(|error| failed(&error))?;
    let kind = KeyValue::new(KIND.0.to_owned(), KIND.1.to_owned());
    let digest = KeyValue::new(DIGEST.to_owned(), String::from_utf8_lossy(&NO_DIGEST).into_owned());
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(vec![kind, digest]))
        .build();
    let mut out = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut out, batch.schema(), Some(properties)).map_err(|error| failed(&error))?;
    writer.write(&batch).map_err(|error| failed(&error))?;
    writer.close().map_err(|error| failed(&error))?;
    let place = digest_place(&out).ok_or("its footer has no place for a digest")?;
    let digest = digest_of(&mut out, &place);
    out[place].copy_from_slice(&digest);
    Ok(Some(out))
}

/// Where the digest stands.
fn digest_place(table: &[u8]) -> Option<Range<usize>> {
    let key = table.windows(DIGEST.len()).rposition(|window| window == DIGEST.as_bytes())?;
    let start = key + DIGEST.len() + BETWEEN;
    (start + NO_DIGEST.len() <= table.len()).then_some(start..start + NO_DIGEST.len())
}

/// SHA-256 of a table without its digest, hexadecimal.
fn digest_of(table: &mut [u8], place: &Range<usize>) -> Vec<u8> {
    table[place.clone()].copy_from_slice(&NO_DIGEST);
    let digest = Sha256::digest(&*table);
    digest.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// Whether the bytes are those that were written: what reads Parquet is not made for damaged ones.
fn is_whole(bytes: &[u8]) -> bool {
    let Some(place) = digest_place(bytes) else { return false };
    let said = bytes[place.clone()].to_vec();
    digest_of(&mut bytes.to_vec(), &place) == said
}

/// Reads a table. What is wrong with it, in words, where it is none.
pub(super) fn decode(bytes: Bytes) -> Result<State, String> {
    if !is_whole(&bytes) {
        return Err("it is damaged, or no table of s2ice".to_owned());
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| error.to_string())?;
    let file = reader.metadata().file_metadata();
    let kinds = file.key_value_metadata().into_iter().flatten();
    if !kinds.into_iter().any(|pair| pair.key == KIND.0 && pair.value.as_deref() == Some(KIND.1)) {
        return Err("it is no such table of this version of s2ice".to_owned());
    }
    if !(0..=MOST_ROWS).contains(&file.num_rows()) {
        return Err(format!("it says that it has {} rows", file.num_rows()));
    }
    let mut state = State::default();
    for batch in reader.build().map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        let text = |name: &str| {
            let column = batch.column_by_name(name).and_then(|c| c.as_any().downcast_ref::<StringArray>());
            column
                .filter(|column| column.null_count() == 0)
                .ok_or_else(|| format!("its column {name} is missing or no text"))
        };
        let (kind, key, body) = (text("kind")?, text("key")?, text("body")?);
        let learned = batch.column_by_name("learned");
        let learned = learned.and_then(|c| c.as_any().downcast_ref::<TimestampMillisecondArray>());
        let learned = learned.ok_or("its column learned is missing or no time")?;
        for row in 0..batch.num_rows() {
            let time = DateTime::from_timestamp_millis(learned.value(row)).ok_or("a time in it is none")?;
            state.take(kind.value(row), key.value(row), time, body.value(row))?;
        }
    }
    Ok(state)
}

impl State {
    fn take(&mut self, kind: &str, key: &str, learned: DateTime<Utc>, body: &str) -> Result<(), String> {
        fn fact<T: DeserializeOwned>(body: &str) -> Result<T, String> {
            serde_json::from_str(body).map_err(|error| error.to_string())
        }
        let key = key.to_owned();
        match kind {
            FILE => drop(self.files.insert(key, Known { learned, fact: Arc::new(fact(body)?) })),
            TIFF => drop(self.tiffs.insert(key, Known { learned, fact: Arc::new(fact(body)?) })),
            ITEM => {
                let kept: Kept = fact(body)?;
                self.kept.insert(kept.item.product, kept);
            }
            ABSENT => self.absent = Some(fact::<Absent>(body)?),
            SEARCHED => self.searched = Some(fact(body)?),
            SETTLED => self.settled = Some(body.to_owned()),
            LOOKED_AT => self.looked_at = Some(body.to_owned()),
            REFUSAL => drop(self.refusals.insert(key, fact(body)?)),
            other => return Err(format!("it has rows of a kind {other:?}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{FileRecord, FirstSot, Memory};
    use super::*;
    use crate::assemble::{Refusal, RefusalKind};

    fn memory() -> Memory {
        let memory = Memory::new(Utc::now);
        for number in 0..50_u64 {
            let record = FileRecord {
                size: number,
                etag: number.is_multiple_of(2).then(|| format!("\"{number}\"")),
                last_modified: DateTime::from_timestamp(1_700_000_000, 5_000_000),
                first_sot: 2500 + number,
                sot: Some(FirstSot { tile: 0, psot: 80, tpsot: 0, tnsot: 1 }),
                header: Arc::from([0xFF, 0x4F, 1, 2]),
                index: (number % 3 == 0).then(|| Arc::from([1, 2, 3])),
                nodata: Some(vec![1, 5]),
            };
            memory.put_file(&format!("s3://a/{number}.jp2"), record);
        }
        let product = "S2A_MSIL2A_20240501T100601_N0511_R022_T33TVN_20240501T140000".to_owned();
        let refusal = Refusal { product, raster: None, kind: RefusalKind::Source, reason: "503".to_owned() };
        memory.refuse(&refusal, -5, None);
        memory
    }

    #[test]
    fn what_is_written_is_read_back() {
        let memory = memory();
        let bytes = encode(&memory.lock()).unwrap().unwrap();
        let read = decode(Bytes::from(bytes.clone())).unwrap();
        let state = memory.lock();
        let milliseconds = |state: &State| {
            let mut all: Vec<_> =
                state.files.iter().map(|(k, v)| (k.clone(), v.learned.timestamp_millis(), v.fact.clone())).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        };
        assert_eq!(milliseconds(&read), milliseconds(&state));
        assert_eq!(read.refusals, state.refusals);
        assert!(encode(&State::default()).unwrap().is_none());
    }

    #[test]
    fn damaged_and_foreign_tables_are_told() {
        let bytes = encode(&memory().lock()).unwrap().unwrap();
        for length in (0..bytes.len()).step_by(7) {
            assert!(decode(Bytes::copy_from_slice(&bytes[..length])).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            assert!(decode(Bytes::from(damaged)).is_err(), "{at}");
        }
        assert!(decode(Bytes::from_static(b"{}")).is_err());
    }
}
