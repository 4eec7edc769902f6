//! A reference set as one JSON file, version 1 of kerchunk's format, written as it comes.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s2ice_manifest::source::whole_file::WholeFile;
use serde_json::{Value, json};

use super::Sink;
use crate::export::own::beginning;

/// How every reference set begins, also those that kerchunk writes.
const HEAD: &[u8] = b"{\"version\":1,\"refs\":{";

/// Writes the file.
pub(super) struct JsonSink<W> {
    out: W,
    begun: bool,
    array: String,
}

impl<W: Write> JsonSink<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, begun: false, array: String::new() }
    }

    fn put(&mut self, key: &str, value: &Value) -> Result<()> {
        self.out.write_all(if self.begun { b",\n" } else { HEAD })?;
        self.begun = true;
        serde_json::to_writer(&mut self.out, key)?;
        self.out.write_all(b":")?;
        serde_json::to_writer(&mut self.out, value).map_err(Into::into)
    }

    fn put_chunk(&mut self, chunk: &[u64], value: &Value) -> Result<()> {
        let key = format!("{}/{}", self.array, key(chunk));
        self.put(&key, value)
    }

    /// Ends the file; gives the sink back.
    pub(super) fn finish(mut self) -> Result<W> {
        self.out.write_all(if self.begun { b"" } else { HEAD })?;
        self.out.write_all(b"}}\n")?;
        Ok(self.out)
    }
}

impl JsonSink<WholeFile> {
    /// Begins a file at `path`; one that holds something else than a reference set is not written over.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let head = beginning(path, HEAD.len() as u64)?;
        if !head.is_empty() && head != HEAD {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                "holds something else than a reference set: name another file",
            ));
        }
        WholeFile::create(path).map(Self::new)
    }
}

/// Name of a chunk; that of an array without dimensions is 0.
fn key(chunk: &[u64]) -> String {
    let numbers: Vec<String> = chunk.iter().map(u64::to_string).collect();
    if numbers.is_empty() { "0".to_owned() } else { numbers.join(".") }
}

impl<W: Write + Send> Sink for JsonSink<W> {
    /// Documents stand alone, and together for each group that has arrays: a reader that opens one needs no listing.
    fn metadata(&mut self, documents: &BTreeMap<String, Value>) -> Result<()> {
        for (name, document) in documents {
            self.put(name, &document.to_string().into())?;
        }
        for name in documents.keys() {
            let Some(group) = name.strip_suffix(".zgroup") else { continue };
            let inside = documents.range(group.to_owned()..).take_while(|(name, _)| name.starts_with(group));
            let mut together = BTreeMap::new();
            let mut is_leaf = group.is_empty();
            for (name, document) in inside {
                let inner = &name[group.len()..];
                is_leaf |= inner.ends_with("/.zarray") && inner.matches('/').count() == 1;
                together.insert(inner, document);
            }
            if is_leaf {
                let consolidated = json!({ "zarr_consolidated_format": 1, "metadata": together });
                self.put(&format!("{group}.zmetadata"), &consolidated.to_string().into())?;
            }
        }
        Ok(())
    }

    fn array(&mut self, path: &str, _grid: &[u64]) -> Result<()> {
        path.clone_into(&mut self.array);
        Ok(())
    }

    fn inline(&mut self, chunk: &[u64], bytes: &[u8]) -> Result<()> {
        self.put_chunk(chunk, &format!("base64:{}", STANDARD.encode(bytes)).into())
    }

    fn reference(&mut self, chunk: &[u64], url: &str, offset: u64, length: u64) -> Result<()> {
        self.put_chunk(chunk, &json!([url, offset, length]))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_file_is_what_kerchunk_calls_version_1() {
        let documents = BTreeMap::from([
            (".zgroup".to_owned(), json!({ "zarr_format": 2 })),
            ("a/.zgroup".to_owned(), json!({ "zarr_format": 2 })),
            ("a/b/.zarray".to_owned(), json!({ "shape": [] })),
            ("ab/.zgroup".to_owned(), json!({ "zarr_format": 2 })),
        ]);
        let mut sink = JsonSink::new(Vec::new());
        sink.metadata(&documents).unwrap();
        sink.array("a/b", &[]).unwrap();
        sink.inline(&[], b"\xff").unwrap();
        sink.reference(&[0, 12, 3], "s3://b/\"k", 7, 9).unwrap();
        let found: Value = serde_json::from_slice(&sink.finish().unwrap()).unwrap();
        assert_eq!(found["version"], 1);
        let refs = found["refs"].as_object().unwrap();
        assert_eq!((&refs["a/b/0"], &refs["a/b/0.12.3"]), (&json!("base64:/w=="), &json!(["s3://b/\"k", 7, 9])));
        let together: Value = serde_json::from_str(refs["a/.zmetadata"].as_str().unwrap()).unwrap();
        let expected = json!({ ".zgroup": { "zarr_format": 2 }, "b/.zarray": { "shape": [] } });
        assert_eq!(together["metadata"], expected);
        assert!(refs.contains_key(".zmetadata") && !refs.contains_key("ab/.zmetadata"));
        let empty: Value = serde_json::from_slice(&JsonSink::new(Vec::new()).finish().unwrap()).unwrap();
        assert_eq!(empty, json!({ "version": 1, "refs": {} }));
    }
}
