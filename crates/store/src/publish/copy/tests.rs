//! Copies of small stores, and what becomes of damage on either side.

#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::Utc;
use s2ice_manifest::source::location::{SourceOptions, SourceUrl};

use super::super::former::{REMEDY, Remembered};
use super::super::objects::Copied;
use super::{Copying, copy};
use crate::error::Result;
use crate::housekeeping::testing::Store;
use crate::options::Spec;
use crate::target::Target;

/// A store of two states, and the place of its copy.
struct Pair {
    store: Store,
    to: PathBuf,
}

impl Pair {
    async fn new() -> Self {
        let store = Store::new(Spec::V2).await;
        store.publish(2).await;
        let to = store.folder.path().join("copy");
        let pair = Self { store, to };
        pair.copy(None, false).await.unwrap();
        pair
    }

    async fn copy(&self, remembered: Option<Remembered<'_>>, restore: bool) -> Result<Copied> {
        copied(&self.store.target, &self.to, remembered, restore).await
    }

    /// An object of the store, by folder: the first, but for the state that is read anyway.
    async fn object(&self, folder: &str) -> String {
        let main = self.store.main().await.to_string();
        let names = names(&self.own().join(folder));
        let name = names.into_iter().find(|name| *name != main && !name.starts_with("1CECHNK")).unwrap();
        format!("{folder}/{name}")
    }

    fn own(&self) -> PathBuf {
        self.store.folder.path().join("33TVN")
    }

    fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(&self.to).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }
}

async fn copied(from: &Target, to: &Path, remembered: Option<Remembered<'_>>, restore: bool) -> Result<Copied> {
    let url = SourceUrl::parse(to.to_str().unwrap()).unwrap();
    let to = Target::open(url, SourceOptions::default()).await.unwrap();
    copy(from, &to, Copying { container: None, remembered, restore, clock: Utc::now }).await
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn cut(path: &Path) {
    fs::write(path, &fs::read(path).unwrap()[..9]).unwrap();
}

/// Damage that keeps the size.
fn scratch(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.iter_mut().skip(45).for_each(|byte| *byte = !*byte);
    fs::write(path, bytes).unwrap();
}

const FOLDERS: [&str; 4] = ["snapshots", "transactions", "manifests", "chunks"];

#[tokio::test]
async fn a_damaged_original_spoils_no_copy() {
    let pair = Pair::new().await;
    let before = pair.bytes();
    for folder in FOLDERS {
        let object = pair.object(folder).await;
        let path = pair.own().join(&object);
        let whole = fs::read(&path).unwrap();
        for damage in [cut, scratch, |path: &Path| fs::remove_file(path).unwrap()] {
            damage(&path);
            let is_seen = folder != "chunks" || fs::read(&path).map_or(0, |bytes| bytes.len()) != whole.len();
            let needed = path.exists() || folder != "transactions";
            let told = pair.copy(None, true).await.map_err(|error| error.to_string());
            assert_eq!(told.is_err(), is_seen && needed, "{object}");
            if let Err(told) = told {
                assert!(told.contains(&object) && told.contains("bring it back from"), "{told}");
                // Nor is it published for the first time.
                let to = pair.store.folder.path().join(told.len().to_string()).join(&object);
                let told = copied(&pair.store.target, &to, None, false).await.unwrap_err().to_string();
                assert!(told.contains(&object) && told.contains("build the store anew"), "{told}");
                assert!(!to.join("repo").exists());
            }
            assert_eq!(pair.bytes(), before, "{object}");
            fs::write(&path, &whole).unwrap();
        }
    }
}

#[tokio::test]
async fn a_damaged_copy_is_mended_without_a_ledger() {
    let pair = Pair::new().await;
    let before = pair.bytes();
    for folder in FOLDERS {
        let object = pair.object(folder).await;
        for damage in [cut, scratch, |path: &Path| fs::remove_file(path).unwrap()] {
            damage(&pair.to.join(&object));
            // Of chunks only their lengths are known.
            let is_seen = fs::read(pair.to.join(&object)).map_or(0, |bytes| bytes.len()) != 4096;
            let mended = pair.copy(None, true).await.unwrap();
            assert_eq!(mended.lost, u64::from(is_seen), "{object}");
            if is_seen {
                assert_eq!(pair.bytes(), before, "{object}");
            }
            fs::copy(pair.own().join(&object), pair.to.join(&object)).unwrap();
        }
    }
    // What was left of an interrupted copy is not taken over as it is.
    let object = pair.object("manifests").await;
    cut(&pair.to.join(&object));
    fs::remove_file(pair.to.join("repo")).unwrap();
    pair.copy(None, false).await.unwrap();
    assert_eq!(pair.bytes().len(), before.len());
    assert_eq!(fs::read(pair.to.join(&object)).unwrap(), fs::read(pair.own().join(&object)).unwrap());
}

#[tokio::test]
async fn what_cannot_be_told_stays() {
    let pair = Pair::new().await;
    // No manifest knows its length.
    let (chunk, none) = ("chunks/00000000000000000000", "chunks/.nfs0001");
    for (name, own) in [(chunk, "long"), (none, "mine")] {
        fs::write(pair.own().join(name), own).unwrap();
    }
    fs::write(pair.to.join(chunk), "lo").unwrap();
    let told = pair.copy(None, true).await.unwrap_err().to_string();
    assert!(told.contains(chunk) && told.contains("cannot be told"), "{told}");
    assert_eq!(fs::read(pair.to.join(chunk)).unwrap(), b"lo");
    // What other programs leave beside objects is none of them.
    fs::remove_file(pair.to.join(chunk)).unwrap();
    fs::write(pair.own().join("snapshots/.nfs0001"), "mine").unwrap();
    assert_eq!(pair.copy(None, true).await.unwrap().objects, 1);
    assert!(!pair.to.join(none).exists() && !pair.to.join("snapshots/.nfs0001").exists());
}

/// The header of an object, and 19 kB behind it of which Zstandard makes 600 MiB: blocks of one byte 131,072 times.
fn burst(path: &Path) {
    let mut bytes = fs::read(path).unwrap()[..39].to_vec();
    bytes.extend([0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3]);
    for block in (0..4800_u32).rev() {
        let head = (131_072 << 3) | (1 << 1) | u32::from(block == 0);
        bytes.extend_from_slice(&head.to_le_bytes()[..3]);
        bytes.push(7);
    }
    fs::write(path, bytes).unwrap();
}

/// How to damage an object, and what is told of it.
type Damage = (fn(&Path), &'static str);

/// A file of many gigabytes, none of which is written.
fn stretch(path: &Path) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(40 << 30).unwrap();
}

#[tokio::test]
async fn objects_are_read_and_unpacked_within_bounds() {
    let pair = Pair::new().await;
    let before = pair.bytes();
    let ours = Some(Remembered { is_same: true, snapshot: "" });
    for folder in FOLDERS {
        let object = pair.object(folder).await;
        let (own, there) = (pair.own().join(&object), pair.to.join(&object));
        let whole = fs::read(&own).unwrap();
        let mut damages: Vec<Damage> = vec![(stretch, "bytes, more than 268435456")];
        match folder {
            "chunks" => {}
            // A snapshot knows how long it is.
            "manifests" => damages.push((burst, "bytes, not")),
            _ => damages.push((burst, "more than 536870912 bytes when it is unpacked")),
        }
        for (damage, why) in damages {
            damage(&own);
            let told = pair.copy(None, true).await.unwrap_err().to_string();
            assert!(told.contains(&object) && told.contains(why) && told.contains("bring it back from"), "{told}");
            damage(&there);
            assert!(pair.copy(None, true).await.unwrap_err().to_string().contains("build the store anew"), "{object}");
            fs::write(&own, &whole).unwrap();
            assert_eq!(pair.copy(None, true).await.unwrap().lost, 1, "{object}");
            assert_eq!(pair.bytes(), before, "{object}");
        }
    }
    for damage in [burst, stretch] {
        damage(&pair.to.join("repo"));
        assert!(pair.copy(ours, false).await.unwrap_err().to_string().contains(REMEDY));
        assert!(pair.copy(ours, true).await.unwrap().moved);
    }
}

#[tokio::test]
async fn branches_that_are_lost_come_back_where_it_is_known_whose_they_are() {
    let pair = Pair::new().await;
    pair.store.publish(3).await;
    pair.copy(None, false).await.unwrap();
    let main = pair.store.main().await.to_string();
    let (repo, whole) = (pair.to.join("repo"), fs::read(pair.to.join("repo")).unwrap());
    let told = async |remembered, restore| {
        pair.copy(remembered, restore).await.map(|copied| copied.lost).map_err(|error| error.to_string())
    };
    let ours = Some(Remembered { is_same: true, snapshot: "" });
    let moved = Some(Remembered { is_same: false, snapshot: &main });
    let others = Some(Remembered { is_same: false, snapshot: "other" });
    for damage in [cut, |path: &Path| fs::write(path, "").unwrap(), |path: &Path| fs::remove_file(path).unwrap()] {
        for (remembered, lost) in [(ours, 0), (moved, 1)] {
            damage(&repo);
            assert!(told(remembered, false).await.unwrap_err().contains(REMEDY));
            assert_eq!(told(remembered, true).await, Ok(lost));
            assert_eq!(told(remembered, true).await, Ok(0));
        }
        damage(&repo);
        for remembered in [None, others] {
            for restore in [false, true] {
                let told = told(remembered, restore).await.unwrap_err();
                assert!(told.contains("whose it is cannot be told") && !told.contains(REMEDY), "{told}");
            }
        }
        fs::write(&repo, &whole).unwrap();
    }
    fs::remove_file(&repo).unwrap();
    fs::create_dir(&repo).unwrap();
    assert!(told(ours, true).await.unwrap_err().contains("has a folder repo"));
}

#[tokio::test]
async fn former_versions_do_not_heap_up() {
    let pair = Pair::new().await;
    for steps in 3..10 {
        pair.store.publish(steps).await;
        pair.copy(None, false).await.unwrap();
    }
    assert_eq!(names(&pair.to.join("overwritten")).len(), 4);
}
