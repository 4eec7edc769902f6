//! Small arrays: read once, cut to time steps.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use super::super::cube::Cube;
use super::chosen::{Chosen, ChosenArray, Part};
use crate::error::{Error, Result};
use crate::layout::document::{TIME_CHUNK, compress, decode_text, decompress, vlen_utf8};

/// The small arrays of a store that were chosen, by path.
pub(super) struct Small(BTreeMap<String, Values>);

enum Values {
    /// Numbers of so many bytes each, little-endian.
    Numbers(usize, Vec<u8>),
    Texts(Vec<String>),
    /// The one chunk as it lies in the store.
    Encoded(Bytes),
}

impl Small {
    /// Reads them, in the length of their trees.
    ///
    /// # Errors
    /// [`Error::Damaged`] where one is not there or not as it is written, [`Error::Icechunk`].
    pub(super) async fn read(cube: &Cube, chosen: &Chosen<'_>) -> Result<Self> {
        let mut values = BTreeMap::new();
        for array in chosen.arrays.values() {
            let read = match array.part {
                Part::Column => column(cube, array).await?,
                Part::Fixed => fixed(cube, array).await?,
                Part::Raster(..) | Part::Angles => continue,
            };
            values.insert(array.path.to_owned(), read);
        }
        Ok(Self(values))
    }

    /// The only chunk of an array, cut to its steps.
    ///
    /// # Errors
    /// [`Error::Encode`].
    pub(super) fn chunk(&self, array: &ChosenArray<'_>) -> Result<Bytes> {
        let steps = &array.steps;
        let unread = || Error::Encode(std::io::Error::other(format!("/{} was not read", array.path)));
        let raw = match self.0.get(array.path).ok_or_else(unread)? {
            Values::Encoded(bytes) => return Ok(bytes.clone()),
            Values::Numbers(size, bytes) => {
                let values: Vec<&[u8]> = bytes.chunks_exact(*size).collect();
                steps.iter().filter_map(|step| values.get(*step)).flat_map(|value| value.iter().copied()).collect()
            }
            Values::Texts(texts) => {
                let texts: Vec<String> = steps.iter().filter_map(|step| texts.get(*step)).cloned().collect();
                vlen_utf8(&texts, 0, texts.len())
            }
        };
        compress(&raw).map(Bytes::from).map_err(Error::Encode)
    }
}

async fn column(cube: &Cube, array: &ChosenArray<'_>) -> Result<Values> {
    let document = cube.state.documents.get(array.path);
    let data_type = document.and_then(|document| document.get("data_type")).and_then(Value::as_str).unwrap_or_default();
    let bits = data_type.trim_start_matches(|c: char| c.is_ascii_alphabetic()).parse::<usize>();
    let size = bits.map_or(0, |bits| bits / 8);
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    for chunk in 0..array.tree.steps.len().div_ceil(TIME_CHUNK) {
        let damaged =
            |detail: &str| Error::Damaged { url: cube.url.clone(), detail: format!("/{}: {detail}", array.path) };
        let index = u32::try_from(chunk).unwrap_or(u32::MAX);
        let bytes = cube.bytes(array.path, vec![index]).await?.ok_or_else(|| damaged("its values are missing"))?;
        if size == 0 {
            texts.extend(decode_text(&bytes).map_err(|error| damaged(&error.to_string()))?);
        } else {
            numbers.extend(decompress(&bytes, TIME_CHUNK * size).map_err(|error| damaged(&error.to_string()))?);
        }
    }
    Ok(if size == 0 { Values::Texts(texts) } else { Values::Numbers(size, numbers) })
}

async fn fixed(cube: &Cube, array: &ChosenArray<'_>) -> Result<Values> {
    let damaged = |detail: &str| Error::Damaged { url: cube.url.clone(), detail: format!("/{}: {detail}", array.path) };
    if array.array.grid.iter().any(|chunks| *chunks != 1) {
        return Err(damaged("it is none of s2ice's arrays, which have one chunk"));
    }
    let chunk = vec![0; array.array.grid.len()];
    cube.bytes(array.path, chunk).await?.map(Values::Encoded).ok_or_else(|| damaged("its values are missing"))
}
