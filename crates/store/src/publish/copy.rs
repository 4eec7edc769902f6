//! A repository copied to where others reach it.
//!
//! Objects that never change are copied first; then the one that holds branches, tags and configuration is made anew, in one
//! conditional write: a reader sees the former state or the whole new one. The copy has the states of the original that were
//! published, a configuration for its own place, and no history of changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use icechunk::asset_manager::AssetManager;
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::repo_info::{RepoInfo, UpdateInfo, UpdateType};
use icechunk::format::snapshot::SnapshotInfo;
use icechunk::format::{IcechunkFormatError, IcechunkResult, SnapshotId};
use icechunk::repository::{RepositoryError, RepositoryErrorKind};
use icechunk::virtual_chunks::VirtualChunkContainer;
use icechunk::{ObjectStoreConfig, Repository, RepositoryConfig};

use super::files::fingerprint;
use super::former::{FROM, Former, MARK, Original, Remembered};
use super::objects::{Copied, Extent, Objects, bring};
use super::proof::{SNAPSHOTS, at};
use crate::config;
use crate::error::{Error, Result, icechunk_error};
use crate::housekeeping::{last_update, published_at};
use crate::repository::{Opened, own_stamp};
use crate::target::Target;

/// Former versions of branches and tags that a copy keeps: Icechunk leaves one with each change, for ever.
const KEPT: usize = 4;

/// Where they lie. The names of the newest come first.
const OVERWRITTEN: &str = "overwritten/repo.";

/// How a copy is made.
pub(super) struct Copying<'a> {
    /// References lead through it where there is one, which must have the name that they use, else where they do in the
    /// original.
    pub(super) container: Option<&'a VirtualChunkContainer>,
    /// What the ledger says of the copy that is there.
    pub(super) remembered: Option<Remembered<'a>>,
    /// Look through the copy, for what was lost of it.
    pub(super) restore: bool,
    /// This host's clock.
    pub(super) clock: fn() -> DateTime<Utc>,
}

/// Brings the copy of a store up to date, or makes it. The place is one that only this process writes.
///
/// # Errors
/// There is no store of ours at `from`, or it is damaged; `to` holds something that no copy made, or the copy of another store,
/// whose address is another and of whose state `from` knows nothing; reading or writing failed.
pub(super) async fn copy(from: &Target, to: &Target, how: Copying<'_>) -> Result<Copied> {
    let opened = Opened::open(from).await?.ok_or_else(|| Error::NoStore { url: from.url().to_string() })?;
    let stamp = own_stamp(&opened.view, from.url())?;
    let Some(info) = &opened.head.info else {
        return Err(Error::Request(format!(
            "{} is of Icechunk's first format, in which a copy cannot change as a whole: build it anew in another folder \
             with --spec 2, or with --spec 1 in a bucket, where it is published as it lies",
            from.url()
        )));
    };
    let mark = format!("{} {}", stamp.tile, stamp.level);
    let origin = fingerprint(from.url().to_string().as_bytes());
    let marks = [(MARK, mark.as_str()), (FROM, origin.as_str())];
    let original = Original { target: from, info, main: &opened.head.main, marks };
    let Copying { container, remembered, restore, clock } = how;
    let former = Former::read(to).await?;
    former.is_of(&original, to)?;
    let config = configuration(from, to, container).await?;
    let failed = |error: &(dyn std::error::Error + 'static)| icechunk_error("writing the copy", to.url(), error);
    let is_settled = match &former {
        Former::Whole(held) => is_same(info, held, &config).unwrap_or(false),
        _ => false,
    };
    if is_settled && !restore {
        return Ok(Copied::default());
    }
    let (own, there) = (Objects::of(from).await?, Objects::there(to).await?);
    former.is_ours(&original, to, remembered, [&own.sizes, &there.sizes], restore)?;
    let is_lost = restore && former.is_same(&original, remembered);
    let extent = match &former {
        Former::Whole(_) if !restore => Extent::New,
        _ => Extent::Whole { is_same: is_lost },
    };
    let roots = published(info).map_err(|error| icechunk_error("reading the store", from.url(), &error))?;
    let mut copied = bring(&own, &there, extent, roots).await?;
    if is_settled {
        return Ok(copied);
    }
    copied.lost += u64::from(is_lost && !matches!(former, Former::Whole(_)));
    copied.moved = true;
    let change = |former: Option<&RepoInfo>, backup: Option<&str>| {
        renewed(info, former, backup, &config, marks, clock()).map(Arc::new).map_err(format)
    };
    let manager = manager(to, &config).await?;
    let made = || change(None, None).map_err(|error| failed(&error));
    let written = match former {
        Former::None => manager.create_repo_info(made()?).await,
        // That version alone is written over.
        Former::Broken(version, _) => manager.write_repo_info(made()?, &version, None).await,
        Former::Whole(_) => {
            let retries = config.repo_update_retries();
            manager.update_repo_info(retries, |held, backup, _| change(Some(&held), Some(backup))).await
        }
    };
    written.map_err(|error| match error.kind {
        RepositoryErrorKind::RepoInfoUpdated => Error::Conflict { url: to.url().to_string() },
        _ => failed(&error),
    })?;
    // The one that was just made is in no list.
    there.remove(there.sizes.keys().filter(|path| path.starts_with(OVERWRITTEN)).skip(KEPT - 1)).await;
    Ok(copied)
}

/// The snapshots that a copy leads to.
fn published(info: &RepoInfo) -> IcechunkResult<Vec<String>> {
    let tags = info.tags()?.filter(|(name, _)| published_at(name).is_some()).map(|(_, id)| id);
    Ok(tags.chain([info.resolve_branch("main")?]).map(|id| at(SNAPSHOTS, &id)).collect())
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

#[cfg(test)]
mod tests;
