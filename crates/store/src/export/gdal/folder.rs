//! The folder that an export for GDAL is written to.

use std::path::{Path, PathBuf};

use s2ice_manifest::source::whole_file::write_whole;

use crate::error::{Error, Result};
use crate::export::own::beginning;

/// The file that tells what the folder is, and that it is ours.
const NOTE: &str = "README.txt";

/// How that file begins.
const OURS: &str = "Written by s2ice export gdal.";

/// A folder of ours.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Takes a new or empty folder, or one that holds such an export. Its path is made absolute.
    ///
    /// # Errors
    /// [`Error::Request`] where something else is there; [`Error::File`].
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |what, source| Error::File { what, path: path.display().to_string(), source };
        if path.exists() && !path.is_dir() {
            return Err(Error::Request(format!("{} is no folder: name a new or empty one", path.display())));
        }
        std::fs::create_dir_all(path).map_err(|e| failed("making the folder", e))?;
        let root = path.canonicalize().map_err(|e| failed("finding the folder", e))?;
        if root.to_str().is_none() {
            return Err(Error::Request(format!("{}: GDAL needs the path of a folder in UTF-8", root.display())));
        }
        let mut there = std::fs::read_dir(&root).map_err(|e| failed("reading the folder", e))?;
        let ours = beginning(&root.join(NOTE), OURS.len() as u64).is_ok_and(|bytes| bytes == OURS.as_bytes());
        if there.next().is_some() && !ours {
            return Err(Error::Request(format!(
                "{} holds something else than an export for GDAL: name a new or empty folder",
                path.display()
            )));
        }
        let folder = Self { root };
        if !ours {
            // At once, so that an export that is cut off can be done again.
            folder.note("")?;
        }
        Ok(folder)
    }

    /// Says more in the file that tells what the folder is.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn note(&self, more: &str) -> Result<()> {
        self.write(NOTE, format!("{OURS}\n{more}").as_bytes()).map(drop)
    }

    /// Writes a file at a path below the folder, whole or not at all; gives its absolute path.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<String> {
        use std::io::Write as _;
        let path = self.root.join(path);
        let failed = |source| Error::File { what: "writing", path: path.display().to_string(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        write_whole(&path, |sink| sink.write_all(bytes).map_err(failed), failed)?;
        Ok(path.to_string_lossy().into_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_new_or_own_folder_is_written_to() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("new/gdal");
        let path = Folder::open(&root).unwrap().write("a/b.vrt", b"x").unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"x");
        Folder::open(&root).unwrap();
        let other = base.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("README.txt"), "mine").unwrap();
        for place in [other.clone(), other.join("README.txt")] {
            let error = Folder::open(&place).err().unwrap();
            assert!(matches!(error, Error::Request(_)), "{error}");
        }
        assert_eq!(std::fs::read(other.join("README.txt")).unwrap(), b"mine");
    }
}
