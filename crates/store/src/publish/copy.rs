//! A repository copied to where others reach it.
//!
//! Objects that never change are copied first; then the one that holds branches, tags and configuration is made anew, in one
//! conditional write: a reader sees the former state or the whole new one. The copy has the states of the original that were
//! published, a configuration for its own place, and no history of changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use icechunk::asset_manager::AssetManager;
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::repo_info::{RepoInfo, UpdateInfo, UpdateType};
use icechunk::format::snapshot::SnapshotInfo;
use icechunk::format::{IcechunkFormatError, IcechunkResult, SnapshotId};
use icechunk::repository::{RepositoryError, RepositoryErrorKind};
use icechunk::virtual_chunks::VirtualChunkContainer;
use icechunk::{ObjectStoreConfig, Repository, RepositoryConfig};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use s2ice_manifest::source::location::Source;
use serde_json::Value;

use super::files::fingerprint;
use crate::config;
use crate::error::{Error, Result, icechunk_error, one_line};
use crate::housekeeping::{last_update, published_at};
use crate::repository::{Opened, own_stamp};
use crate::target::Target;

/// Folders of objects that never change once they are written.
const LASTING: [&str; 4] = ["chunks/", "manifests/", "snapshots/", "transactions/"];

/// The object of branches, tags and configuration.
const REPO: &str = "repo";

/// What helps where a copy cannot be read.
pub(super) const REMEDY: &str = "what was lost of a copy is copied again by `--restore`";

/// Objects copied at a time.
const CONCURRENCY: usize = 8;

/// Objects of a repository that are listed at the most.
const MOST_OBJECTS: usize = 1 << 22;

/// In the repository's metadata: the tile and level that it is a copy of.
const MARK: &str = "s2ice:copy-of";

/// And the fingerprint of the address that it was copied from.
const FROM: &str = "s2ice:copy-from";

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Objects written.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were lost of the copy and are there again, that of branches and tags included.
    pub lost: u64,
    /// True where the copy is in another state than before.
    pub moved: bool,
}

/// Brings the copy of a store up to date, or makes it. References lead through `container` where there is one, which must
/// have the name that they use, else where they do in the original. The place is one that only this process writes.
/// `known` is the state of a copy that was made there of this original: what was lost of it is copied again.
///
/// # Errors
/// There is no store of ours at `from`; `to` holds something that no copy made, or the copy of another store, whose address
/// is another and of whose state `from` knows nothing; reading or writing failed.
pub async fn copy(
    from: &Target,
    to: &Target,
    container: Option<&VirtualChunkContainer>,
    known: Option<&str>,
    clock: fn() -> DateTime<Utc>,
) -> Result<Copied> {
    let original = Opened::open(from).await?.ok_or_else(|| Error::NoStore { url: from.url().to_string() })?;
    let stamp = own_stamp(&original.view, from.url())?;
    let Some(info) = &original.head.info else {
        return Err(Error::Request(format!(
            "{} is of Icechunk's first format, in which a copy cannot change as a whole: build it anew in another folder \
             with --spec 2, or with --spec 1 in a bucket, where it is published as it lies",
            from.url()
        )));
    };
    let mark = format!("{} {}", stamp.tile, stamp.level);
    let origin = fingerprint(from.url().to_string().as_bytes());
    let marks = [(MARK, mark.as_str()), (FROM, origin.as_str())];
    // Before the copy is opened, or it could not be.
    let mended = match known {
        Some(state) => {
            Some(objects(from, to, Extent::Whole { is_same: state == original.head.main.to_string() }).await?)
        }
        None => None,
    };
    let held = held(to, &mark, known.is_some()).await?;
    if let Some(held) = &held {
        is_of(held, info, &origin, from, to)?;
    }
    let config = configuration(from, to, container).await?;
    if held.as_ref().is_some_and(|held| is_same(info, held, &config).unwrap_or(false)) {
        return Ok(mended.unwrap_or_default());
    }
    let mut copied = match mended {
        Some(mended) => Copied { lost: mended.lost + u64::from(held.is_none()), ..mended },
        None => objects(from, to, if held.is_some() { Extent::New } else { Extent::First }).await?,
    };
    let failed = |error: &(dyn std::error::Error + 'static)| icechunk_error("writing the copy", to.url(), error);
    let change = |former: Option<&RepoInfo>, backup: Option<&str>| {
        renewed(info, former, backup, &config, marks, clock()).map(Arc::new).map_err(format)
    };
    let manager = manager(to, &config).await?;
    let written = match held {
        None => {
            let info = change(None, None).map_err(|error| failed(&error))?;
            manager.create_repo_info(info).await
        }
        Some(_) => {
            let retries = config.repo_update_retries();
            manager.update_repo_info(retries, |held, backup, _| change(Some(&held), Some(backup))).await
        }
    };
    written.map_err(|error| match error.kind {
        RepositoryErrorKind::RepoInfoUpdated => Error::Conflict { url: to.url().to_string() },
        _ => failed(&error),
    })?;
    copied.moved = true;
    Ok(copied)
}

/// The copy that is there; `None` where it has to be made, as where it `is_known` for ours and cannot be opened.
async fn held(to: &Target, mark: &str, is_known: bool) -> Result<Option<Arc<RepoInfo>>> {
    let opened = match Opened::open(to).await {
        Err(error) if is_known => {
            let place = Source::open(to.url(), to.options())?;
            // The place answers: it is the object itself.
            place.stat(REPO).await.map_err(|_| error)?;
            let removed = place.store().delete(&place.join(REPO)?).await;
            removed.map_err(|error| failure("writing the copy", &place, &error))?;
            None
        }
        Err(Error::Icechunk { what, url, detail }) => {
            let detail = format!("{detail}; {REMEDY}");
            return Err(Error::Icechunk { what, url, detail });
        }
        opened => opened?,
    };
    let Some(opened) = opened else { return Ok(None) };
    let foreign = || {
        Error::Request(format!(
            "{} holds a repository that `s2ice publish` did not copy there: name another place for the publication",
            to.url()
        ))
    };
    let info = opened.head.info.ok_or_else(foreign)?;
    let metadata = info.metadata().map_err(|error| icechunk_error("reading the copy", to.url(), &error))?;
    match metadata.get(MARK).and_then(Value::as_str) {
        Some(held) if held == mark => Ok(Some(info)),
        Some(held) => {
            Err(Error::OtherTile { url: to.url().to_string(), found: held.to_owned(), wanted: mark.to_owned() })
        }
        None => Err(foreign()),
    }
}

/// Refuses the copy of another store, which may be all that is left of it. One that moved knows the state that was copied, one
/// that was built anew has the address.
fn is_of(held: &RepoInfo, info: &RepoInfo, origin: &str, from: &Target, to: &Target) -> Result<()> {
    let failed = |error: IcechunkFormatError| icechunk_error("reading the copy", to.url(), &error);
    let metadata = held.metadata().map_err(failed)?;
    let has_moved = || -> IcechunkResult<bool> {
        let main = held.resolve_branch("main")?;
        Ok(info.all_snapshots()?.any(|snapshot| snapshot.is_ok_and(|snapshot| snapshot.id == main)))
    };
    let is_same = metadata.get(FROM).and_then(Value::as_str).is_none_or(|held| held == origin);
    if is_same || has_moved().map_err(failed)? {
        return Ok(());
    }
    Err(Error::Request(format!(
        "{} is the copy of another store of that tile than {}: name another place for the publication, or remove the copy \
         to publish this one instead",
        to.url(),
        from.url()
    )))
}

/// The configuration of the copy: that of the original, but for how its own place is written and read.
async fn configuration(
    from: &Target,
    to: &Target,
    container: Option<&VirtualChunkContainer>,
) -> Result<RepositoryConfig> {
    let fetched = Repository::fetch_config(from.storage()).await;
    let fetched = fetched.map_err(|error| icechunk_error("reading the store", from.url(), &error))?;
    let mut config = fetched.map(|(config, _)| config).unwrap_or_default();
    let storage = config.storage.take().unwrap_or_default();
    config.storage =
        Some(if to.url().local_root().is_some() { storage } else { config::with_conditional_writes(storage) });
    let local: Vec<String> = (config.virtual_chunk_containers())
        .filter(|held| matches!(held.store, ObjectStoreConfig::LocalFileSystem(_)))
        .filter_map(|held| held.name().map(str::to_owned))
        .collect();
    for name in local {
        config.set_virtual_chunk_container(untold(name)?).map_err(Error::Request)?;
    }
    if let Some(container) = container {
        let named = config.virtual_chunk_containers().map(|held| held.name().map(str::to_owned)).collect::<Vec<_>>();
        if named != [container.name().map(str::to_owned)] {
            return Err(Error::Request(format!(
                "the references of {} lead through {} containers, and --source-url stands for one: publish it in a \
                 place of its own without --source-url",
                from.url(),
                named.len()
            )));
        }
        config.clear_virtual_chunk_containers();
        config.set_virtual_chunk_container(container.clone()).map_err(Error::Request)?;
    }
    Ok(config)
}

/// What stands in a copy for a folder of this machine: readers name another place of the same files, and a path is nobody's
/// business. It is a path, so that no reader follows it without being told to.
fn untold(name: String) -> Result<VirtualChunkContainer> {
    let place = format!("/not-published/{name}/");
    let store = ObjectStoreConfig::LocalFileSystem(PathBuf::from(&place));
    VirtualChunkContainer::new_named(name, format!("file://{place}"), store).map_err(Error::Request)
}

/// True where nothing would change.
fn is_same(info: &RepoInfo, held: &RepoInfo, config: &RepositoryConfig) -> IcechunkResult<bool> {
    let tags = |info: &RepoInfo| -> IcechunkResult<BTreeMap<String, SnapshotId>> {
        Ok(info.tags()?.map(|(name, id)| (name.to_owned(), id)).collect())
    };
    Ok(info.resolve_branch("main")? == held.resolve_branch("main")?
        && tags(info)? == tags(held)?
        && held.config()?.as_ref() == Some(config))
}

/// Which objects are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All, to a place that holds nothing else.
    First,
    /// Those that are not there.
    New,
    /// Those that are not there or of another size; what is not there was lost, where the copy `is_same` as the original.
    Whole { is_same: bool },
}

/// Copies the lasting objects that the copy lacks.
async fn objects(from: &Target, to: &Target, extent: Extent) -> Result<Copied> {
    let lasting = |path: &String| LASTING.iter().any(|folder| path.starts_with(folder));
    let mut original: BTreeMap<String, u64> = from.files(MOST_OBJECTS).await?.into_iter().collect();
    original.retain(|path, _| lasting(path));
    let there: BTreeMap<String, u64> = to.files(MOST_OBJECTS).await?.into_iter().collect();
    // What a copy left that was interrupted is taken over.
    if extent == Extent::First && there.keys().any(|path| !original.contains_key(path)) {
        let (url, reason) = (to.url(), "holds something else than a copy of a store");
        return Err(Error::Input(format!("{url} {reason}: name another place for the publication; {REMEDY}")));
    }
    let mut lost = 0;
    original.retain(|path, size| {
        let found = there.get(path);
        let is_other = matches!(extent, Extent::Whole { .. }) && found.is_some_and(|found| found != size);
        let is_gone = found.is_none() && extent == Extent::Whole { is_same: true };
        lost += u64::from(is_other || is_gone);
        is_other || found.is_none()
    });
    let source = Source::open(from.url(), from.options())?;
    if let Some(root) = to.url().local_root() {
        let failed = |source| Error::File { what: "creating", path: root.display().to_string(), source };
        std::fs::create_dir_all(&root).map_err(failed)?;
    }
    let place = Source::open(to.url(), to.options())?;
    let missing = original.keys().map(Ok::<_, Error>);
    let copied = futures::stream::iter(missing).map_ok(|path| object(&source, &place, path));
    copied
        .try_buffer_unordered(CONCURRENCY)
        .try_fold(Copied { lost, ..Copied::default() }, |sum, bytes| async move {
            Ok(Copied { objects: sum.objects + 1, bytes: sum.bytes + bytes, ..sum })
        })
        .await
}

/// Copies one object; gives its size.
async fn object(from: &Source, to: &Source, path: &str) -> Result<u64> {
    let (source, place): (Path, Path) = (from.join(path)?, to.join(path)?);
    let got = from.store().get(&source).await.map_err(|error| failure("reading the store", from, &error))?;
    let bytes = got.bytes().await.map_err(|error| failure("reading the store", from, &error))?;
    let size = bytes.len() as u64;
    let options = PutOptions { mode: PutMode::Overwrite, ..PutOptions::default() };
    let put = to.store().put_opts(&place, bytes.into(), options).await;
    put.map_err(|error| failure("writing the copy", to, &error))?;
    Ok(size)
}

fn failure(what: &'static str, at: &Source, error: &object_store::Error) -> Error {
    Error::Icechunk { what, url: at.url().to_string(), detail: one_line(error) }
}

async fn manager(to: &Target, config: &RepositoryConfig) -> Result<AssetManager> {
    let failed = |error: &(dyn std::error::Error + 'static)| icechunk_error("writing the copy", to.url(), error);
    let storage = to.storage();
    let defaults = storage.default_settings().await.map_err(|error| failed(&error))?;
    let settings = config.storage.clone().map_or(defaults.clone(), |own| defaults.merge(own));
    Ok(AssetManager::new_no_cache(
        storage,
        settings,
        SpecVersionBin::V2,
        config.compression().level(),
        config.max_concurrent_requests(),
    ))
}

/// What the copy says of branches and tags: `main`, and the states that were published.
fn renewed(
    info: &RepoInfo,
    former: Option<&RepoInfo>,
    backup: Option<&str>,
    config: &RepositoryConfig,
    marks: [(&str, &str); 2],
    now: DateTime<Utc>,
) -> IcechunkResult<RepoInfo> {
    let mut metadata = info.metadata()?;
    metadata.extend(marks.map(|(name, text)| (name.to_owned(), text.into())));
    let own = |(name, _): &(&str, SnapshotId)| published_at(name).is_some();
    let snapshots = info.all_snapshots()?.collect::<IcechunkResult<Vec<SnapshotInfo>>>()?;
    let (time, previous) = match former {
        Some(former) => {
            let time = now.max(last_update(former)? + TimeDelta::microseconds(1));
            (time, former.latest_updates()?.collect::<IcechunkResult<Vec<_>>>()?)
        }
        None => (now, Vec::new()),
    };
    let update_type =
        if former.is_some() { UpdateType::MetadataChangedUpdate } else { UpdateType::RepoInitializedUpdate };
    let updates = config.num_updates_per_repo_info_file();
    // Encoded by Icechunk itself.
    let encoded = info.set_config(SpecVersionBin::V2, config, "", updates)?.config_bytes_raw()?;
    RepoInfo::new(
        SpecVersionBin::V2,
        info.tags()?.filter(own),
        info.branches()?.filter(|(name, _)| *name == "main"),
        info.deleted_tags()?,
        snapshots,
        &metadata,
        UpdateInfo { update_type, update_time: time, previous_updates: previous.into_iter().map(Ok) },
        backup,
        updates,
        former.map(RepoInfo::repo_before_updates).transpose()?.flatten(),
        encoded.as_deref(),
        info.enabled_feature_flags()?,
        info.disabled_feature_flags()?,
        &info.status()?,
    )
}

fn format(error: IcechunkFormatError) -> RepositoryError {
    RepositoryError::capture(RepositoryErrorKind::FormatError(error.kind))
}
