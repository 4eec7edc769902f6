//! An Icechunk repository whose chunks are byte ranges of a local file, configured as s2ice does it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use crate::encode::Recipe;
use crate::real;
use crate::support::{Model, Source, samples};
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::manifest::{VirtualChunkLocation, VirtualChunkRef};
use icechunk::format::{ChunkIndices, Path};
use icechunk::repository::VersionInfo;
use icechunk::store::SetVirtualRefsResult;
use icechunk::virtual_chunks::VirtualChunkContainer;
use icechunk::{ObjectStoreConfig, Repository, Store, new_in_memory_storage, new_local_filesystem_storage};
use s2ice_store::config;
use s2ice_store::zarrs_codec::{self, SourceOptions, WholeValues};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::RwLock;
use zarrs::array::{Array, ArrayBytes, ArraySubset, CodecOptions};
use zarrs_icechunk::AsyncIcechunkStore;

const NAME: &str = "archive";
const ARRAY: &str = "/measurements/b04";

/// A repository with one array; tiles in `missing` are left out.
async fn repository(folder: &std::path::Path, source: &Source, missing: &[usize]) -> Repository {
    let file = "GRANULE/IMG_DATA/b04.jp2";
    std::fs::create_dir_all(folder.join("GRANULE/IMG_DATA")).unwrap();
    std::fs::write(folder.join(file), &source.bytes).unwrap();
    let prefix = format!("file://{}/", folder.display());
    let store = ObjectStoreConfig::LocalFileSystem(folder.to_path_buf());
    let container = VirtualChunkContainer::new_named(NAME.to_owned(), prefix.clone(), store).unwrap();
    let repository = Repository::create(new_in_memory_storage().await.unwrap())
        .config(config::repository(container).unwrap())
        .authorize_virtual_chunk_access(HashMap::from([(prefix, None)]))
        .execute()
        .await
        .unwrap();
    let session = Arc::new(RwLock::new(repository.writable_session("main").await.unwrap()));
    let store = Store::from_session(Arc::clone(&session)).await;
    let group = r#"{"zarr_format": 3, "node_type": "group"}"#;
    store.set("zarr.json", group.into()).await.unwrap();
    store.set("measurements/zarr.json", group.into()).await.unwrap();
    let metadata = source.metadata(&source.codec, 0).to_string();
    store.set("measurements/b04/zarr.json", metadata.into()).await.unwrap();
    let location = VirtualChunkLocation::from_vcc_path(NAME, file).unwrap();
    let references =
        source.tiles.iter().enumerate().filter(|(tile, _)| !missing.contains(tile)).map(|(tile, range)| {
            let indices = source.indices(0, tile).iter().map(|i| *i as u32).collect();
            let (offset, length) = (range.start as u64, range.len() as u64);
            (ChunkIndices(indices), VirtualChunkRef { location: location.clone(), offset, length, checksum: None })
        });
    let written = store.set_virtual_refs(&Path::try_from(ARRAY).unwrap(), true, references.collect::<Vec<_>>()).await;
    assert!(matches!(written, Ok(SetVirtualRefsResult::Done)), "{written:?}");
    session.write().await.commit("One band").execute().await.unwrap();
    repository
}

async fn open(repository: &Repository) -> Array<WholeValues<AsyncIcechunkStore>> {
    let session = repository.readonly_session(&VersionInfo::BranchTipRef("main".to_owned())).await.unwrap();
    Array::async_open(Arc::new(WholeValues::new(AsyncIcechunkStore::new(session))), ARRAY).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn made_file() {
    for components in [1, 3] {
        let recipe = Recipe { components, width: 90, height: 70, ..Recipe::default() };
        let source = Source::made(&recipe, 4095);
        let folder = tempfile::tempdir().unwrap();
        let repository = repository(folder.path(), &source, &[4]).await;
        let array = open(&repository).await;
        let model = Model::new(array.shape(), |time, c, y, x| {
            let missing = (32..64).contains(&y) && (32..64).contains(&x);
            if time == 1 || missing { 4095 } else { recipe.sample(c, y, x) }
        });
        let window = |y: std::ops::Range<u64>, x: std::ops::Range<u64>| {
            let mut ranges = vec![0..2, 0..u64::from(components), y, x];
            if components == 1 {
                ranges.remove(1);
            }
            ArraySubset::new_with_ranges(&ranges)
        };
        let subsets = [array.subset_all(), window(69..70, 89..90), window(30..35, 3..70), window(33..40, 33..60)];
        for subset in subsets {
            let bytes = array.async_retrieve_array_subset::<ArrayBytes>(&subset).await.unwrap();
            assert_eq!(samples(bytes, array.data_type()), model.subset(&subset), "{subset:?}");
        }
        // The asynchronous partial decoder by itself.
        let decoder = array.async_partial_decoder(&source.indices(0, 0)).await.unwrap();
        let last = u64::from(components) - 1;
        let indices: Vec<Vec<u64>> =
            [(9, 31), (0, 0)].map(|(y, x)| if components > 1 { vec![0, last, y, x] } else { vec![0, y, x] }).to_vec();
        let bytes = decoder.partial_decode(&indices, &CodecOptions::default()).await.unwrap();
        assert_eq!(
            samples(bytes, array.data_type()),
            [recipe.sample(last as u32, 9, 31), recipe.sample(last as u32, 0, 0)]
        );
        assert!(decoder.exists().await.unwrap() && decoder.supports_partial_decode());
        // A file that is gone is an error and not a fill value.
        std::fs::remove_dir_all(folder.path().join("GRANULE")).unwrap();
        open(&repository).await.async_retrieve_chunk::<ArrayBytes>(&source.indices(0, 0)).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_files() {
    for file in real::files() {
        let source = Source::new(file.bytes.clone(), 0);
        let folder = tempfile::tempdir().unwrap();
        let array = open(&repository(folder.path(), &source, &[]).await).await;
        for tile in (0..source.tiles.len()).step_by(9) {
            let chunk = array.async_retrieve_chunk::<ArrayBytes>(&source.indices(0, tile)).await.unwrap();
            real::check_tile(&file, &source, tile, &chunk.into_fixed().unwrap());
        }
    }
}

/// What opens is tried by tests/python/test_readers.py.
#[tokio::test]
async fn what_cannot_be_opened_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let refused = async |name: &str| {
        let source = (name, "https://archive.example.org/", SourceOptions::default());
        let opened = zarrs_codec::open((path.to_str().unwrap(), SourceOptions::default()), [source]).await;
        opened.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(refused(NAME).await.contains("there is no store"));
    let http = ObjectStoreConfig::Http(icechunk::config::HttpConfig { opts: HashMap::new(), headers: HashMap::new() });
    let container = VirtualChunkContainer::new_named(NAME.to_owned(), "https://a.example/".to_owned(), http).unwrap();
    Repository::create(new_local_filesystem_storage(&path).await.unwrap())
        .spec_version(SpecVersionBin::V1)
        .config(config::repository(container).unwrap())
        .execute()
        .await
        .unwrap();
    assert!(refused("other").await.ends_with("has no source \"other\"; it has archive"));
    assert!(refused(NAME).await.contains("cannot be held to https://archive.example.org/"));
}
