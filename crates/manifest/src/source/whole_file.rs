//! Files that appear whole or not at all: written beside their place, then renamed.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Error, ErrorKind, IntoInnerError, Write};
use std::path::{Path, PathBuf};

/// A file on its way. Readers see the old file or, once it is finished, the new one; of a file that is dropped before
/// nothing is left.
pub struct WholeFile {
    path: PathBuf,
    temporary: PathBuf,
    sink: Option<BufWriter<File>>,
}

impl WholeFile {
    /// Begins a file that will stand at `path`.
    ///
    /// # Errors
    /// That of the file system; something else than a file is there.
    pub fn create(path: &Path) -> Result<Self, Error> {
        has_place(path)?;
        // A device would be replaced by a file.
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(Error::other("it is no file that can be written whole"));
        }
        let temporary = beside(path, &format!(".{}.tmp", std::process::id()));
        let sink = Some(BufWriter::new(File::create(&temporary)?));
        Ok(Self { path: path.to_owned(), temporary, sink })
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// That of the file system.
    pub fn finish(mut self) -> Result<(), Error> {
        let Some(sink) = self.sink.take() else { return Ok(()) };
        let moved = sink.into_inner().map_err(IntoInnerError::into_error).and_then(|file| {
            file.sync_all()?;
            std::fs::rename(&self.temporary, &self.path)
        });
        if moved.is_err() {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(&self.temporary);
        }
        moved
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.sink.as_mut().map_or(Ok(0), |sink| sink.write(bytes))
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.sink.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if self.sink.take().is_some() {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// Tells why no file can be made at a path: it is a folder, or lies in none.
///
/// # Errors
/// [`ErrorKind::IsADirectory`], [`ErrorKind::NotFound`].
pub fn has_place(path: &Path) -> Result<(), Error> {
    if path.file_name().is_none() || path.is_dir() {
        return Err(Error::new(ErrorKind::IsADirectory, "it is a folder: name a file in it"));
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            let reason = format!("there is no folder {}: make it, or name another", folder.display());
            Err(Error::new(ErrorKind::NotFound, reason))
        }
        _ => Ok(()),
    }
}

/// Writes a file through `write`, whole or not at all. `io` makes the caller's error of one of the file system.
///
/// # Errors
/// That of `write`, or the file system's.
pub fn write_whole<T, E>(
    path: &Path,
    write: impl FnOnce(&mut WholeFile) -> Result<T, E>,
    io: impl Fn(Error) -> E,
) -> Result<T, E> {
    let mut file = WholeFile::create(path).map_err(&io)?;
    let written = write(&mut file)?;
    file.finish().map_err(io)?;
    Ok(written)
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
    use super::*;

    #[test]
    fn the_old_file_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        let names = || std::fs::read_dir(folder.path()).unwrap().count();
        let put = |text: &'static str, fails: bool| {
            let write = |sink: &mut WholeFile| {
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
        let nothing = |path: &Path| write_whole(path, |_| Ok::<_, Error>(()), |error| error).unwrap_err();
        let missing = nothing(&folder.path().join("no/x"));
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().ends_with("no: make it, or name another"), "{missing}");
        std::fs::create_dir_all(folder.path().join("here/x")).unwrap();
        for taken in [Path::new("/"), &folder.path().join("here")] {
            assert_eq!(nothing(taken).to_string(), "it is a folder: name a file in it");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
