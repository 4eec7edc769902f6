//! The objects of a copy that never change: those that it lacks are copied, and each is proven before it is.
//!
//! Where the original and its copy have another object of one name, one of them is damaged, and it is not always the copy.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use s2ice_manifest::source::location::{Source, SourceUrl};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::place::WRITABLE;
use super::proof::{CHUNKS, LARGEST, LASTING, MANIFESTS, Sizes, is_lasting, proven};
use crate::error::{Error, Result, one_line};
use crate::target::Target;

/// Objects copied at a time.
const CONCURRENCY: usize = 8;

/// Objects of a repository that are listed at the most.
const MOST: usize = 1 << 22;

/// MiB of objects that are held at a time, of all copies: two of the largest.
static ROOM: Semaphore = Semaphore::const_new((LARGEST >> 19) as usize);

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Objects written.
    pub(super) objects: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Objects that were lost of the copy and are there again, that of branches and tags included.
    pub(super) lost: u64,
    /// True where the copy is in another state than before.
    pub(super) moved: bool,
}

/// Which objects are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Those that are not there.
    New,
    /// All; what is not there was lost, where the copy `is_same` as the original.
    Whole { is_same: bool },
}

/// The objects of a repository.
pub(super) struct Objects {
    place: Source,
    pub(super) sizes: Sizes,
}

impl Objects {
    /// Lists those of an original: what lasts alone.
    pub(super) async fn of(from: &Target) -> Result<Self> {
        let mut own = Self::there(from).await?;
        own.sizes.retain(|path, _| is_lasting(path));
        Ok(own)
    }

    /// Lists all that is in the place of a copy, which is made where it is a folder.
    pub(super) async fn there(to: &Target) -> Result<Self> {
        if let Some(root) = to.url().local_root() {
            let failed = |source| Error::File { what: "creating", path: root.display().to_string(), source };
            std::fs::create_dir_all(&root).map_err(failed)?;
        }
        let sizes = to.files(MOST + 1).await?;
        if sizes.len() > MOST {
            let url = to.url();
            return Err(Error::Input(format!(
                "{url} has more than {MOST} objects, and no store has: see what lies there"
            )));
        }
        // Some programs make such objects for folders.
        let is_folder = |path: &str| !path.contains('/') && LASTING.iter().any(|folder| *folder == format!("{path}/"));
        let sizes = sizes.into_iter().filter(|(path, size)| *size > 0 || !is_folder(path)).collect();
        Ok(Self { place: Source::open(to.url(), to.options())?, sizes })
    }

    fn url(&self) -> &SourceUrl {
        self.place.url()
    }

    /// An object that was listed, of that size at the most; nothing of one that is too large.
    async fn read(&self, path: &str) -> Result<Bytes> {
        match self.sizes.get(path).copied().unwrap_or_default() {
            size @ 1..=LARGEST => Ok(self.place.get_all(path, size).await?.bytes),
            _ => Ok(Bytes::new()),
        }
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        if let Some(folder) = self.url().local_root().map(|root| root.join(path)).filter(|path| path.is_dir()) {
            return Err(Error::Request(format!("{} is a folder where a copy has a file: remove it", folder.display())));
        }
        let written = self.place.store().put(&self.place.join(path)?, bytes.into()).await;
        written.map(drop).map_err(|error| match self.failure("writing the copy", path, &error) {
            Error::Icechunk { what, url, detail } => {
                Error::Icechunk { what, url, detail: format!("{detail}; {WRITABLE}") }
            }
            error => error,
        })
    }

    /// Removes objects as far as that goes: nothing depends on it.
    pub(super) async fn remove(&self, paths: impl Iterator<Item = &String>) {
        for path in paths {
            let Ok(key) = self.place.join(path) else { continue };
            if let Err(error) = self.place.store().delete(&key).await {
                tracing::warn!("{}", self.failure("removing a former version", path, &error));
                break;
            }
        }
    }

    fn failure(&self, what: &'static str, path: &str, error: &object_store::Error) -> Error {
        Error::Icechunk { what, url: format!("{}/{path}", self.url()), detail: one_line(error) }
    }
}

/// Copies the objects that the copy lacks, and those that are damaged there; `roots` are the snapshots that readers are
/// led to.
///
/// # Errors
/// Something is damaged that cannot be copied again, as it is of the original, or it cannot be told of which; reading or
/// writing failed.
pub(super) async fn bring(own: &Objects, there: &Objects, extent: Extent, roots: Vec<String>) -> Result<Copied> {
    let (mut told, mut sum) = (Sizes::new(), Copied::default());
    // What readers need. Other objects may be left of what was not finished.
    let mut needed: BTreeSet<String> = roots.into_iter().collect();
    for folder in LASTING {
        for path in needed.iter().filter(|path| path.starts_with(folder)) {
            let (size, held) = (own.sizes.get(path), there.sizes.get(path));
            if let Err(why) = fits(path, size, &told) {
                let theirs = match fits(path, held, &told) {
                    Ok(()) => there.read(path).await.ok(),
                    Err(_) => None,
                };
                let has_copy = theirs.is_some_and(|bytes| proven(path, &bytes).is_ok());
                return Err(damaged(own, there, path, &why, has_copy));
            }
        }
        let paths = own.sizes.keys().filter(|path| path.starts_with(folder));
        let paths = paths.filter(|path| extent != Extent::New || !there.sizes.contains_key(*path));
        let brought = futures::stream::iter(paths.map(Ok::<_, Error>));
        let brought = brought.map_ok(|path| one(own, there, extent, &told, path)).try_buffer_unordered(CONCURRENCY);
        for (path, tells, copied) in brought.try_collect::<Vec<_>>().await? {
            if needed.contains(path) {
                needed.extend(tells.keys().cloned());
            }
            told.extend(tells);
            sum = Copied {
                objects: sum.objects + copied.objects,
                bytes: sum.bytes + copied.bytes,
                lost: sum.lost + copied.lost,
                ..sum
            };
        }
    }
    Ok(sum)
}

/// Looks at an object and copies it where that is due; gives what it tells of others.
async fn one<'a>(
    own: &Objects,
    there: &Objects,
    extent: Extent,
    told: &Sizes,
    path: &'a String,
) -> Result<(&'a String, Sizes, Copied)> {
    let (size, held) = (own.sizes.get(path), there.sizes.get(path));
    // Chunks are of any bytes: only their lengths are compared.
    let is_chunk = path.starts_with(CHUNKS);
    if is_chunk && size == held {
        return Ok((path, Sizes::new(), Copied::default()));
    }
    let _room = room([size, held.filter(|_| !is_chunk)]).await;
    let bytes = own.read(path).await?;
    let theirs = match held {
        Some(_) if !is_chunk => Some(there.read(path).await?),
        _ => None,
    };
    if theirs.as_ref() == Some(&bytes) && !bytes.is_empty() {
        // Damaged in both, or in neither.
        let tells = proven(path, &bytes).map_err(|why| damaged(own, there, path, &why, false))?;
        return Ok((path, tells, Copied::default()));
    }
    let theirs = held.map(|_| {
        fits(path, held, told)?;
        proven(path, theirs.as_deref().unwrap_or_default())
    });
    let tells = fits(path, size, told).and_then(|()| proven(path, &bytes));
    let tells = tells.map_err(|why| damaged(own, there, path, &why, matches!(theirs, Some(Ok(_)))))?;
    if let Some(Ok(_)) = theirs {
        let (from, to) = (own.url(), there.url());
        return Err(Error::Input(format!(
            "{path} is another object in {from} than in its copy, and which one is right cannot be told: remove {to}/{path} \
             where the store is, and publish with `--restore`"
        )));
    }
    let lost = u64::from(held.is_some() || extent == Extent::Whole { is_same: true });
    let copied = Copied { objects: 1, bytes: bytes.len() as u64, lost, moved: false };
    there.write(path, bytes).await?;
    Ok((path, tells, copied))
}

/// Waits until objects of these sizes may be held.
async fn room(sizes: [Option<&u64>; 2]) -> Option<SemaphorePermit<'static>> {
    let readable = sizes.into_iter().flatten().filter(|size| **size <= LARGEST);
    let wanted = u32::try_from(readable.map(|size| size >> 20).sum::<u64>()).unwrap_or_default();
    ROOM.acquire_many(wanted).await.ok()
}

/// Refuses an object that is not of the size that others tell, a manifest to the byte and a chunk at least, and one that is
/// too large.
fn fits(path: &str, size: Option<&u64>, told: &Sizes) -> std::result::Result<(), String> {
    match (size, told.get(path)) {
        (None, _) => Err("it is not there".to_owned()),
        (Some(size), _) if *size > LARGEST => Err(format!("it has {size} bytes, more than {LARGEST}")),
        (Some(size), Some(wanted)) if size < wanted || (size != wanted && path.starts_with(MANIFESTS)) => {
            Err(format!("it has {size} bytes, not {wanted}"))
        }
        _ => Ok(()),
    }
}

fn damaged(own: &Objects, there: &Objects, path: &str, why: &str, has_copy: bool) -> Error {
    let remedy = match has_copy {
        true => format!("that of its copy is whole: bring it back from {}/{path}", there.url()),
        false => "build the store anew in another place".to_owned(),
    };
    Error::Input(format!("the store {} is damaged in its object {path} ({why}): {remedy}", own.url()))
}
