//! A store as reference sets in kerchunk's formats (Zarr format 2), for readers that do not know Icechunk.

mod chosen;
mod json;
mod parquet;
mod remote;
mod small;
mod zarr2;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use s2ice_manifest::source::whole_file::WholeFile;
use serde_json::Value;

use self::chosen::{Chosen, ChosenArray, Part, Steps, choose, steps};
use self::json::JsonSink;
use self::parquet::ParquetSink;
pub use self::remote::Remote;
use self::small::Small;
use super::{Cube, Raster, Selection};
use crate::error::{Error, Result};
use crate::progress::{Phase, Progress, Silent};

/// What a reference set is written of.
#[derive(Debug, Clone, Default)]
pub struct Extent {
    /// Arrays and times.
    pub selection: Selection,
    /// The group that becomes the root; empty for the whole store.
    pub group: String,
}

/// Form of a reference set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One file.
    Json,
    /// A folder of Parquet files, of which a reader fetches those that it needs.
    Parquet,
}

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct Written {
    /// Reference sets.
    pub sets: u64,
    /// Arrays in all of them.
    pub arrays: u64,
    /// Chunks that are references.
    pub references: u64,
    /// Chunks whose bytes stand in the set.
    pub inlined: u64,
    /// The places that references lead to.
    pub remotes: Vec<Remote>,
}

/// Where a reference set goes: first its metadata, then array by array the chunks in row-major order.
trait Sink: Send {
    /// `.zgroup`, `.zarray` and `.zattrs` of all nodes, by key.
    fn metadata(&mut self, documents: &BTreeMap<String, Value>) -> io::Result<()>;
    /// Begins an array of so many chunks along each dimension.
    fn array(&mut self, path: &str, grid: &[u64]) -> io::Result<()>;
    /// A chunk whose bytes stand in the set.
    fn inline(&mut self, chunk: &[u64], bytes: &[u8]) -> io::Result<()>;
    /// A chunk that lies elsewhere.
    fn reference(&mut self, chunk: &[u64], url: &str, offset: u64, length: u64) -> io::Result<()>;
}

/// Writes one reference set, whole or not at all.
///
/// # Errors
/// [`Error::Request`] where nothing is chosen, there is no such group, format 2 cannot express an array, or the place holds
/// something else; [`Error::File`] where it cannot be written; reading failed.
pub async fn write(
    cube: &Cube,
    extent: &Extent,
    form: Form,
    path: &Path,
    writer: &str,
    progress: &dyn Progress,
) -> Result<Written> {
    let chosen = choose(cube, &extent.selection, &extent.group, &steps(cube, &extent.selection))?;
    if chosen.arrays.is_empty() {
        return Err(cube.nothing());
    }
    let failed = |source| unwritten(path, source);
    let small = Small::read(cube, &chosen).await?;
    let mut work = Work { cube, path, written: Written::default(), remotes: BTreeMap::new() };
    match form {
        Form::Json => {
            let mut sink = JsonSink::create(path).map_err(failed)?;
            work.write(&chosen, &small, &mut sink, progress).await?;
            sink.finish().and_then(WholeFile::finish).map_err(failed)?;
        }
        Form::Parquet => {
            let mut sink = ParquetSink::create(path, writer).map_err(failed)?;
            work.write(&chosen, &small, &mut sink, progress).await?;
            sink.finish().map_err(failed)?;
        }
    }
    Ok(work.finish())
}

/// Writes a reference set of every product, `<product>.json`, each with one time step in each tree that has something of it.
///
/// # Errors
/// As [`write()`].
pub async fn write_products(cube: &Cube, extent: &Extent, folder: &Path, progress: &dyn Progress) -> Result<Written> {
    let all = steps(cube, &extent.selection);
    let chosen = choose(cube, &extent.selection, &extent.group, &all)?;
    if chosen.arrays.is_empty() {
        return Err(cube.nothing());
    }
    let small = Small::read(cube, &chosen).await?;
    std::fs::create_dir_all(folder).map_err(|source| unwritten(folder, source))?;
    let mut products: BTreeMap<String, Steps> = BTreeMap::new();
    for tree in cube.state.trees.values() {
        for step in all.get(&tree.era).into_iter().flatten() {
            if let Some(product) = tree.steps.get(*step) {
                products.entry(product.id.to_string()).or_default().entry(tree.era.clone()).or_default().push(*step);
            }
        }
    }
    let mut work = Work { cube, path: folder, written: Written::default(), remotes: BTreeMap::new() };
    progress.begin(Phase::Products, Some(products.len() as u64));
    for (product, steps) in &products {
        let chosen = choose(cube, &extent.selection, &extent.group, steps)?;
        if !chosen.arrays.is_empty() {
            let path = folder.join(format!("{product}.json"));
            let failed = |source| unwritten(&path, source);
            let mut sink = JsonSink::create(&path).map_err(failed)?;
            work.write(&chosen, &small, &mut sink, &Silent).await?;
            sink.finish().and_then(WholeFile::finish).map_err(failed)?;
        }
        progress.advance(1);
    }
    progress.end();
    Ok(work.finish())
}

fn unwritten(path: &Path, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::AlreadyExists {
        return Error::Request(format!("{} {source}", path.display()));
    }
    Error::File { what: "writing", path: path.display().to_string(), source }
}

struct Work<'a> {
    cube: &'a Cube,
    /// What is written, for errors.
    path: &'a Path,
    written: Written,
    remotes: BTreeMap<String, Remote>,
}

impl Work<'_> {
    async fn write(
        &mut self,
        chosen: &Chosen<'_>,
        small: &Small,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<()> {
        let (cube, path) = (self.cube, self.path);
        let failed = |source| unwritten(path, source);
        sink.metadata(&documents(chosen)).map_err(failed)?;
        let rasters =
            |array: &ChosenArray<'_>| matches!(array.part, Part::Raster(..)).then_some(array.steps.len() as u64);
        progress.begin(Phase::Rasters, Some(chosen.arrays.values().filter_map(rasters).sum()));
        for (name, array) in &chosen.arrays {
            sink.array(name, &array.array.grid).map_err(failed)?;
            match array.part {
                Part::Raster(..) => self.references(array, sink, progress).await?,
                Part::Angles => {
                    for (place, step) in array.steps.iter().enumerate() {
                        let mut chunk = vec![0; array.array.grid.len()];
                        chunk[0] = u32::try_from(*step).unwrap_or(u32::MAX);
                        if let Some(bytes) = cube.bytes(array.path, chunk).await? {
                            sink.inline(&first(place, array), &bytes).map_err(failed)?;
                            self.written.inlined += 1;
                        }
                    }
                }
                Part::Column | Part::Fixed => {
                    sink.inline(&first(0, array), &small.chunk(array)?).map_err(failed)?;
                    self.written.inlined += 1;
                }
            }
        }
        progress.end();
        self.written.sets += 1;
        self.written.arrays += chosen.arrays.len() as u64;
        Ok(())
    }

    async fn references(
        &mut self,
        array: &ChosenArray<'_>,
        sink: &mut dyn Sink,
        progress: &dyn Progress,
    ) -> Result<()> {
        let Part::Raster(asset, held) = array.part else { return Ok(()) };
        let (cube, path) = (self.cube, self.path);
        let last = zarr2::has_components_last(&held.header);
        for (place, index) in array.steps.iter().enumerate() {
            let Some(step) = array.tree.steps.get(*index) else { continue };
            let raster = Raster { tree: array.tree, asset, array: held, index: *index, step };
            let (mut address, mut url) = (String::new(), String::new());
            for reference in cube.references(&raster).await? {
                let found = cube.address(&reference);
                if found != address {
                    let container = cube.container_of(&reference);
                    if found.starts_with("vcc://") {
                        let detail = format!("no container tells where {found} is");
                        return Err(Error::Damaged { url: cube.url.clone(), detail });
                    }
                    let remote = Remote::of(container, &found);
                    self.remotes.entry(remote.prefix.clone()).or_insert(remote);
                    (url, address) = (remote::url(&found), found);
                }
                let (row, column) = (u64::from(reference.row), u64::from(reference.column));
                let chunk = match (held.has_components, last) {
                    (false, _) => vec![place as u64, row, column],
                    (true, false) => vec![place as u64, 0, row, column],
                    (true, true) => vec![place as u64, row, column, 0],
                };
                let (offset, length) = (reference.reference.offset, reference.reference.length);
                sink.reference(&chunk, &url, offset, length).map_err(|source| unwritten(path, source))?;
                self.written.references += 1;
            }
            progress.advance(1);
        }
        Ok(())
    }

    fn finish(self) -> Written {
        Written { remotes: self.remotes.into_values().collect(), ..self.written }
    }
}

/// The first chunk of a time step.
fn first(place: usize, array: &ChosenArray<'_>) -> Vec<u64> {
    let mut chunk = vec![0; array.array.grid.len()];
    if let Some(time) = chunk.first_mut() {
        *time = place as u64;
    }
    chunk
}

/// The metadata of all nodes, by key.
fn documents(chosen: &Chosen<'_>) -> BTreeMap<String, Value> {
    let within = |path: &str, name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    let groups = chosen.groups.iter().flat_map(|(path, attributes)| {
        [(within(path, ".zgroup"), zarr2::group()), (within(path, ".zattrs"), attributes.clone())]
    });
    let arrays = chosen.arrays.iter().flat_map(|(path, array)| {
        let zarr2::Array { metadata, attributes, .. } = &array.array;
        [(within(path, ".zarray"), metadata.clone()), (within(path, ".zattrs"), attributes.clone())]
    });
    groups.chain(arrays).collect()
}
