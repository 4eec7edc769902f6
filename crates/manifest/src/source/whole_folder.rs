//! Folders that appear whole or not at all: filled beside their place, then renamed.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use super::whole_file::beside;

/// A folder on its way. Of one that is dropped before it is finished nothing is left.
pub struct WholeFolder {
    path: PathBuf,
    temporary: PathBuf,
}

impl WholeFolder {
    /// Begins a folder that will stand at `path`, also in the place of an empty one, or of one that `is_ours` tells to be
    /// of the same kind.
    ///
    /// # Errors
    /// That of the file system; something else is there.
    pub fn create(path: &Path, is_ours: impl Fn(&Path) -> bool) -> Result<Self, Error> {
        if path.file_name().is_none() {
            return Err(ErrorKind::InvalidFilename.into());
        }
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(found) => {
                let empty = || std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
                if !found.is_dir() || !(empty() || is_ours(path)) {
                    return Err(Error::new(ErrorKind::AlreadyExists, "holds something else: name another place"));
                }
            }
        }
        let temporary = beside(path, &format!(".{}.tmp", std::process::id()));
        if temporary.exists() {
            std::fs::remove_dir_all(&temporary)?;
        }
        std::fs::create_dir(&temporary)?;
        Ok(Self { path: path.to_owned(), temporary })
    }

    /// Where its files are written.
    #[must_use]
    pub fn filled(&self) -> &Path {
        &self.temporary
    }

    /// Puts it in its place. What was there goes away only once the new one stands there.
    ///
    /// # Errors
    /// That of the file system; the old folder is in its place then.
    pub fn finish(self) -> Result<(), Error> {
        if !self.path.exists() {
            return std::fs::rename(&self.temporary, &self.path);
        }
        let old = beside(&self.path, &format!(".{}.old", std::process::id()));
        std::fs::rename(&self.path, &old)?;
        if let Err(error) = std::fs::rename(&self.temporary, &self.path) {
            // The first error is the one to tell.
            let _ = std::fs::rename(&old, &self.path);
            return Err(error);
        }
        std::fs::remove_dir_all(&old)
    }
}

impl Drop for WholeFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_takes_the_place_of_its_like_only() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x.parquet");
        let ours = |path: &Path| path.join("ours").exists();
        let fill = |name: &str| {
            let folder = WholeFolder::create(&path, ours)?;
            std::fs::write(folder.filled().join("ours"), name)?;
            std::fs::write(folder.filled().join(name), "")?;
            folder.finish()
        };
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|f| f.unwrap().file_name()).collect();
            names.sort();
            names
        };
        fill("a").unwrap();
        fill("b").unwrap();
        assert_eq!(names(), ["b", "ours"]);
        drop(WholeFolder::create(&path, ours).unwrap());
        assert_eq!((names().len(), std::fs::read_dir(root.path()).unwrap().count()), (2, 1));
        // Something else is there.
        std::fs::remove_file(path.join("ours")).unwrap();
        assert_eq!(fill("c").unwrap_err().to_string(), "holds something else: name another place");
        std::fs::remove_file(path.join("b")).unwrap();
        fill("c").unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(fill("d").is_err());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
