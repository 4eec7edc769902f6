//! Local files that would be written although something else stands in them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use s2ice_manifest::source::location::SourceUrl;
use s2ice_manifest::source::stac_address::StacAddress;
use s2ice_store::tile::{BuildSettings, MemoryPlace};

/// What files are for: by path and purpose the line of the first tile that says so, 1 for what belongs to no tile.
#[derive(Default)]
pub struct Files(BTreeMap<PathBuf, BTreeMap<&'static str, usize>>);

impl Files {
    /// A file is used.
    pub fn note(&mut self, path: Option<PathBuf>, purpose: &'static str, line: usize) {
        if let Some(path) = path {
            self.0.entry(path).or_default().entry(purpose).or_insert(line);
        }
    }

    /// Those of a tile are.
    pub fn note_all(&mut self, settings: &BuildSettings, line: usize) {
        settings.index.iter().for_each(|index| self.note(local(index), "index", line));
        // An index may well be read and added to.
        self.note(settings.write_index.as_deref().and_then(plain), "index", line);
        self.note(settings.stac.as_ref().and_then(StacAddress::local).as_deref().and_then(plain), "stac", line);
        if let MemoryPlace::At(address) = &settings.memory {
            self.note(local(address), "memory", line);
        }
    }

    /// Line and reason of those that are written for one purpose and are there for another.
    pub fn used_twice(self) -> impl Iterator<Item = (usize, String)> {
        let is_written = |purpose: &&str| ["report", "metrics", "memory", "index"].contains(purpose);
        let twice = self.0.into_iter().filter(move |(_, uses)| uses.len() > 1 && uses.keys().any(is_written));
        twice.map(|(path, uses)| {
            let purposes: Vec<String> = uses.keys().map(|purpose| format!("`{purpose}`")).collect();
            let line = uses.values().copied().max().unwrap_or(1);
            (line, format!("{} is {}: give each a file of its own", path.display(), purposes.join(" and ")))
        })
    }
}

/// True for a file that begins so, or ends before it could: what somebody else keeps there is not written over.
pub fn is_ours(file: impl Read, begins: &[u8]) -> io::Result<bool> {
    let mut first = Vec::new();
    file.take(begins.len() as u64).read_to_end(&mut first)?;
    Ok(begins.starts_with(&first))
}

/// A path by which files can be compared, whether they are there or not.
pub fn plain(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in std::path::absolute(path).ok()?.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    Some(out)
}

/// The same of an address; `None` for what is elsewhere.
fn local(address: &str) -> Option<PathBuf> {
    match address.split_once("://") {
        None => plain(Path::new(address)),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("file") => {
            let (folder, name) = SourceUrl::parse_file(address).ok()?;
            plain(&folder.local_root()?.join(name))
        }
        Some(_) => None,
    }
}
