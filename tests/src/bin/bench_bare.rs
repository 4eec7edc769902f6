//! `bench_bare`: the floor of the benchmark. Writes the references of the synthetic archive straight into Icechunk, with
//! the configuration, splits and commit windows of `s2ice build`, and nothing else: no index, no layout, no coordinates.
//! It also checks that a store of another tool holds exactly these references.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::{Parser, Subcommand};
use futures::TryStreamExt;
use icechunk::format::manifest::{ChunkPayload, VirtualChunkLocation, VirtualChunkRef};
use icechunk::format::{ChunkIndices, Path};
use icechunk::repository::VersionInfo;
use icechunk::storage::new_local_filesystem_storage;
use icechunk::store::SetVirtualRefsResult;
use icechunk::{Repository, Store};
use s2ice_manifest::source::location::{Effective, SourceUrl};
use s2ice_store::config::{self, MANIFEST_SPLIT};
use serde_json::json;
use tokio::sync::RwLock;

#[path = "../../bench/synthetic.rs"]
#[allow(dead_code)]
mod synthetic;

use synthetic::{BANDS, GRID, PIXELS, TILE_PIXELS, product};

/// What `s2ice build` passes to its commits.
const CONCURRENCY: usize = 8;

const SOURCE: &str = "s3://eodata";
const CONTAINER: &str = "eodata";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Write or check the references of the synthetic archive.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write them to a new local store.
    Write {
        /// Folder of the store.
        store: PathBuf,
        /// Number of products.
        #[arg(long, default_value_t = 1353)]
        products: u32,
    },
    /// Compare every reference of a local store with them.
    Check {
        /// Folder of the store.
        store: PathBuf,
        /// Number of products.
        #[arg(long, default_value_t = 1353)]
        products: u32,
        /// Group of the arrays b02, b03, b04 and b08.
        #[arg(long, default_value = "/")]
        group: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let started = Instant::now();
    let done = match Args::parse().command {
        Command::Write { store, products } => write(&store, products, started).await,
        Command::Check { store, products, group } => check(&store, products, &group).await,
    };
    match done {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench_bare: {error}");
            ExitCode::from(1)
        }
    }
}

async fn write(folder: &std::path::Path, count: u32, started: Instant) -> Result<serde_json::Value, Failure> {
    let url = SourceUrl::parse(SOURCE)?;
    let container = config::container(CONTAINER, &url, &Effective::default())?;
    let persisted = config::repository(container)?;
    let storage = new_local_filesystem_storage(folder).await?;
    let created = Repository::create(Arc::clone(&storage)).config(persisted).execute().await?;
    let runtime = config::for_writing(created.config().clone());
    // `Repository::reopen` would keep the caches of the repository it is called on.
    let repository = Repository::open(storage).config(runtime).execute().await?;
    let main = repository.lookup_branch("main").await?;
    repository.create_branch("bench", &main).await?;

    // Making up the references is not part of writing them.
    let (mut preparing, mut references, mut tip) = (0.0, 0_usize, main.clone());
    for first in (0..count).step_by(usize::try_from(MANIFEST_SPLIT)?) {
        let last = count.min(first + MANIFEST_SPLIT);
        let before = Instant::now();
        let window = window(first, last, count)?;
        preparing += before.elapsed().as_secs_f64();
        let session = Arc::new(RwLock::new(repository.writable_session("bench").await?));
        let store = Store::from_session(Arc::clone(&session)).await;
        if first == 0 {
            write_metadata(&store, count).await?;
        }
        for (band, refs) in BANDS.iter().zip(window) {
            references += refs.len();
            let path: Path = format!("/{}", band.to_ascii_lowercase()).as_str().try_into()?;
            match store.set_virtual_refs(&path, false, refs).await? {
                SetVirtualRefsResult::Done => {}
                SetVirtualRefsResult::FailedRefs(refused) => {
                    return Err(format!("{} references refused", refused.len()).into());
                }
            }
        }
        let mut guard = session.write().await;
        tip = guard.commit(format!("products {first} to {last}")).max_concurrent_nodes(CONCURRENCY).execute().await?;
    }
    repository.reset_branch("main", &tip, Some(&main)).await?;
    repository.delete_branch("bench").await?;
    let total = started.elapsed().as_secs_f64();
    Ok(json!({ "references": references, "total_seconds": total, "write_seconds": total - preparing }))
}

type Reference = (ChunkIndices, VirtualChunkRef);

/// The references of the products `first` up to `last`, band by band.
fn window(first: u32, last: u32, count: u32) -> Result<Vec<Vec<Reference>>, Failure> {
    let mut bands: Vec<Vec<Reference>> = BANDS.iter().map(|_| Vec::new()).collect();
    for number in first..last {
        for (raster, refs) in product(number, count).rasters.iter().zip(&mut bands) {
            let location = VirtualChunkLocation::from_vcc_path(CONTAINER, &raster.path)?;
            for (tile, (offset, length)) in (0_u32..).zip(raster.ranges()) {
                let reference = VirtualChunkRef { location: location.clone(), offset, length, checksum: None };
                refs.push((ChunkIndices(vec![number, tile / GRID, tile % GRID]), reference));
            }
        }
    }
    Ok(bands)
}

async fn write_metadata(store: &Store, steps: u32) -> Result<(), Failure> {
    let group = json!({ "zarr_format": 3, "node_type": "group", "attributes": {} });
    store.set("zarr.json", Bytes::from(group.to_string())).await?;
    for band in BANDS {
        let array = json!({
            "zarr_format": 3,
            "node_type": "array",
            "shape": [steps, PIXELS, PIXELS],
            "data_type": "uint16",
            "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": [1, TILE_PIXELS, TILE_PIXELS] } },
            "chunk_key_encoding": { "name": "default", "configuration": { "separator": "/" } },
            "fill_value": 0,
            "codecs": [{ "name": "bytes", "configuration": { "endian": "little" } }],
            "attributes": {},
            "dimension_names": ["time", "y", "x"],
            "storage_transformers": [],
        });
        store.set(&format!("{}/zarr.json", band.to_ascii_lowercase()), Bytes::from(array.to_string())).await?;
    }
    Ok(())
}

/// Fails at the first reference that is missing, unexpected or different.
async fn check(folder: &std::path::Path, count: u32, group: &str) -> Result<serde_json::Value, Failure> {
    let repository = Repository::open(new_local_filesystem_storage(folder).await?).execute().await?;
    let session = repository.readonly_session(&VersionInfo::BranchTipRef("main".to_owned())).await?;
    let mut checked = 0_usize;
    for (band, name) in BANDS.iter().enumerate() {
        let array = format!("{}/{}", group.trim_end_matches('/'), name.to_ascii_lowercase());
        let path: Path = array.as_str().try_into()?;
        let mut wanted = HashMap::new();
        for number in 0..count {
            let raster = product(number, count).rasters.swap_remove(band);
            let ranges: Vec<(u64, u64)> = raster.ranges().collect();
            wanted.insert(number, (raster.path.trim_start_matches('/').to_owned(), ranges, 0_usize));
        }
        let mut chunks = std::pin::pin!(session.array_chunk_iterator(&path).await);
        while let Some(chunk) = chunks.try_next().await? {
            let place = format!("{array} {:?}", chunk.coord.0);
            let ChunkPayload::Virtual(found) = chunk.payload else {
                return Err(format!("{place} is not virtual").into());
            };
            let &[time, row, column] = chunk.coord.0.as_slice() else {
                return Err(format!("{place}: dimensions").into());
            };
            let (path, ranges, seen) = wanted.get_mut(&time).ok_or_else(|| format!("{place} is not expected"))?;
            let tile = usize::try_from(row * GRID + column)?;
            if ranges.get(tile) != Some(&(found.offset, found.length)) {
                return Err(format!("{place} is {}+{}", found.offset, found.length).into());
            }
            let url = found.location.url();
            let below =
                [format!("{SOURCE}/"), format!("vcc://{CONTAINER}/")].iter().find_map(|p| url.strip_prefix(p.as_str()));
            if below != Some(path.as_str()) {
                return Err(format!("{place} lies in {url}, not in {path}").into());
            }
            *seen += 1;
            checked += 1;
        }
        if let Some((time, (_, ranges, seen))) = wanted.iter().find(|(_, (_, ranges, seen))| ranges.len() != *seen) {
            return Err(format!("{array} has {seen} of {} references at time {time}", ranges.len()).into());
        }
    }
    Ok(json!({ "references": checked }))
}
