//! Where real data lies. One file for every crate's tests: `#[path = ".../tests/support/real_data.rs"] mod real_data;`

use std::path::{Path, PathBuf};

/// A file or folder of the real data. Where `S2ICE_TESTDATA` names them it must be there; where nobody named them and no
/// `shared/data` lies beside the repository, it is `None`, said on stderr.
///
/// # Panics
/// Where `S2ICE_TESTDATA` is set and what is wanted is not there.
pub fn real_data(inside: &str) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("S2ICE_TESTDATA") {
        let path = Path::new(&folder).join(inside);
        assert!(path.exists(), "S2ICE_TESTDATA is set, but {} is not there", path.display());
        return Some(path);
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().take(5);
    let found = beside.map(|folder| folder.join("shared/data").join(inside)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED: no real data ({inside}); set S2ICE_TESTDATA");
    }
    found
}
