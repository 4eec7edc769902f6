//! What an export may write over: an empty file, or one of its own kind.

use std::fs::File;
use std::path::Path;

use parquet::file::metadata::ParquetMetaDataReader;
use s2ice_manifest::source::whole_file::has_place;

use crate::error::{Error, Result};

/// Refuses a file that is no table with this key in its metadata; `what` is the kind that has it.
///
/// # Errors
/// [`Error::Request`] where a file of another kind is there, or a folder, or no folder for it; [`Error::File`] where it cannot be read.
pub(super) fn check(path: &Path, key: &str, what: &str) -> Result<()> {
    has_place(path).map_err(|error| Error::Request(format!("{}: {error}", path.display())))?;
    let failed = |source| Error::File { what: "writing", path: path.display().to_string(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let found = file.metadata().map_err(failed)?;
    // What is no file is refused where it is written.
    if !found.is_file() || found.len() == 0 {
        return Ok(());
    }
    let table = ParquetMetaDataReader::new().parse_and_finish(&file).ok();
    let pairs = table.as_ref().and_then(|table| table.file_metadata().key_value_metadata());
    if pairs.is_some_and(|pairs| pairs.iter().any(|pair| pair.key == key)) {
        return Ok(());
    }
    Err(Error::Request(format!("{} holds something else than {what}: name another file", path.display())))
}
