//! Files that appear whole or not at all: written beside their place, then renamed.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Error, ErrorKind};
use std::path::{Path, PathBuf};

/// Writes a file through `write`. Readers see the old file or the new one; where anything fails, the old one stays and
/// nothing else is left. `io` makes the caller's error of one of the file system.
///
/// # Errors
/// That of `write`, or the file system's.
pub fn write_whole<T, E>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T, E>,
    io: impl Fn(Error) -> E,
) -> Result<T, E> {
    if path.file_name().is_none() {
        return Err(io(ErrorKind::InvalidFilename.into()));
    }
    // A device would be replaced by a file.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io(Error::other("it is no file that can be written whole")));
    }
    let temporary = beside(path, &format!(".{}.tmp", std::process::id()));
    let result = (|| {
        let mut sink = BufWriter::new(File::create(&temporary).map_err(&io)?);
        let written = write(&mut sink)?;
        let file = sink.into_inner().map_err(|error| io(error.into_error()))?;
        file.sync_all().map_err(&io)?;
        std::fs::rename(&temporary, path).map_err(&io)?;
        Ok(written)
    })();
    if result.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// A hidden file beside another.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut hidden = OsString::from(".");
    hidden.push(path.file_name().unwrap_or_default());
    hidden.push(suffix);
    path.with_file_name(hidden)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    #[test]
    fn the_old_file_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        let put = |text: &'static str, fails: bool| {
            let write = |sink: &mut BufWriter<File>| {
                sink.write_all(text.as_bytes())?;
                if fails { Err(Error::other("no more")) } else { Ok(text.len()) }
            };
            write_whole(&path, write, |error| error)
        };
        assert_eq!(put("first", false).unwrap(), 5);
        assert_eq!(put("second", true).unwrap_err().to_string(), "no more");
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), names()), ("first", 1));
        put("third", false).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), names()), ("third", 1));
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = |path: &Path| write_whole(path, |_| Ok::<_, Error>(()), |error| error).unwrap_err().kind();
        assert_eq!(nothing(&folder.path().join("no/x")), ErrorKind::NotFound);
        assert_eq!(nothing(Path::new("/")), ErrorKind::InvalidFilename);
        // A folder is in the place.
        std::fs::create_dir_all(folder.path().join("here/x")).unwrap();
        nothing(&folder.path().join("here"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
