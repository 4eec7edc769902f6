//! What an export may write over: an empty file, or one of its own kind.

use std::fs::File;
use std::io::Read;
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
    if beginning(path, 1).map_err(failed)?.is_empty() {
        return Ok(());
    }
    let file = File::open(path).map_err(failed)?;
    let table = ParquetMetaDataReader::new().parse_and_finish(&file).ok();
    let pairs = table.as_ref().and_then(|table| table.file_metadata().key_value_metadata());
    if pairs.is_some_and(|pairs| pairs.iter().any(|pair| pair.key == key)) {
        return Ok(());
    }
    Err(Error::Request(format!("{} holds something else than {what}: name another file", path.display())))
}

/// The first bytes of a file, `most` at the most: it may be anybody's. Nothing of what is not there or no file, such as a pipe,
/// which is refused where it is written.
pub(super) fn beginning(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => File::open(path)?.take(most).read_to_end(&mut bytes)?,
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => 0,
    };
    Ok(bytes)
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_of_others_are_read_to_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let (long, pipe) = (folder.path().join("long"), folder.path().join("pipe"));
        File::create(&long).unwrap().set_len(40 << 30).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(beginning(&long, 3).unwrap(), [0; 3]);
        for path in [&pipe, folder.path(), &folder.path().join("none")] {
            assert!(beginning(path, 3).unwrap().is_empty(), "{path:?}");
        }
        assert!(check(&long, "key", "a table").is_err());
    }
}
