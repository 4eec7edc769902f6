//! Bounds of what is read of a store on this machine, looked at first, where that costs no request: Icechunk has none.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use icechunk::format::format_constants::ICECHUNK_FILE_HEADER_LEN;
use s2ice_manifest::source::location::SourceUrl;

use super::former::REPO;
use super::proof::{LARGEST, MANIFESTS, SNAPSHOTS, TRANSACTIONS, UNPACKED, is_lasting, unpacking};
use crate::error::{Error, Result};

/// The longest header of a frame of Zstandard, bytes (RFC 8878, 3.1.1).
const FRAME_HEADER: usize = 18;

/// Refuses a store on this machine of which the branches, or with `all` any object but chunks, are larger than one can be.
/// What else is wrong with them is told where they are read.
///
/// # Errors
/// [`Error::Input`].
pub(super) fn within(store: &SourceUrl, all: bool) -> Result<()> {
    let Some(root) = store.local_root() else { return Ok(()) };
    let check = |object: &str| {
        let why = excess(&root.join(object)).unwrap_or_default();
        why.map_or(Ok(()), |why| {
            Err(Error::Input(format!(
                "the store {store} is damaged in its object {object} (it has {why}): bring it back from a copy, or build the \
                 store anew in another place"
            )))
        })
    };
    check(REPO)?;
    for folder in [SNAPSHOTS, TRANSACTIONS, MANIFESTS].into_iter().filter(|_| all) {
        for entry in std::fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            let object = format!("{folder}{}", entry.file_name().to_string_lossy());
            if is_lasting(&object) {
                check(&object)?;
            }
        }
    }
    Ok(())
}

/// What is too large of an object, as it lies there or unpacked.
fn excess(path: &Path) -> io::Result<Option<String>> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Ok(None);
    }
    if found.len() > LARGEST {
        return Ok(Some(format!("{} bytes, more than {LARGEST}", found.len())));
    }
    let mut head = Vec::new();
    File::open(path)?.take((ICECHUNK_FILE_HEADER_LEN + FRAME_HEADER) as u64).read_to_end(&mut head)?;
    let frame = head.get(ICECHUNK_FILE_HEADER_LEN..).unwrap_or_default();
    let unpacked = match zstd::zstd_safe::get_frame_content_size(frame) {
        // Nothing more is made of it than it says.
        Ok(Some(size)) => size,
        Ok(None) => {
            let mut object = File::open(path)?;
            io::copy(&mut (&mut object).take(ICECHUNK_FILE_HEADER_LEN as u64), &mut io::sink())?;
            io::copy(&mut unpacking(object)?, &mut io::sink())?
        }
        Err(_) => 0,
    };
    Ok((unpacked > UNPACKED).then(|| format!("more than {UNPACKED} bytes when it is unpacked")))
}
