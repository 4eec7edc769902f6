//! The repository at a store's address: whether there is one and whose it is, making it, and opening it for writing.

use std::sync::Arc;
use std::time::Duration;

use icechunk::Repository;
use icechunk::format::format_constants::SpecVersionBin;
use icechunk::format::repo_info::RepoInfo;
use icechunk::format::{IcechunkResult, SnapshotId};
use icechunk::repository::{DetectedSpecVersion, RepositoryError, RepositoryErrorKind, VersionInfo};
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::source::location::SourceUrl;

use crate::config;
use crate::error::{Error, Result, failure, icechunk_error};
use crate::housekeeping::tag_names;
use crate::options::{Spec, WriteOptions};
use crate::patience::timely;
use crate::plan::{LAYOUT_VERSION, StoreStamp, root_stamp};
use crate::target::{OWN_FILES, Target};
use crate::view::View;

/// Making a repository takes a handful of requests; together, the time that another run is given for them.
const MAKING_TRIES: u32 = 15;
const MAKING_PAUSE: Duration = Duration::from_millis(200);

/// After this a place that does not answer is looked at in another way.
const SLOW: Duration = Duration::from_secs(1);

/// What a place holds.
pub(crate) enum Existing {
    /// Nothing: a repository can be made there.
    Nothing,
    /// A repository that was made and never written.
    Empty(Opened),
    /// A store of the same tile.
    Store(Opened, Box<StoreStamp>),
}

/// A repository as it was found.
pub(crate) struct Opened {
    pub(crate) repository: Repository,
    pub(crate) head: Head,
    /// What `main` points to.
    pub(crate) view: View,
}

/// Branches and tags as they were found; all are in one object where the format has it.
pub(crate) struct Head {
    pub(crate) main: SnapshotId,
    pub(crate) info: Option<Arc<RepoInfo>>,
}

impl Opened {
    /// Opens a repository; `None` where there is none.
    ///
    /// # Errors
    /// The place cannot be reached or read, in the words of [`Target::probe`] where that finds a reason.
    pub(crate) async fn open(target: &Target) -> Result<Option<Self>> {
        let opening = Repository::open(target.storage()).config(config::writer()).execute();
        let repository = match promptly(target, opening).await? {
            Ok(repository) => repository,
            Err(error) => {
                target.probe().await?;
                return match error.kind {
                    RepositoryErrorKind::RepositoryDoesntExist => Ok(None),
                    _ => Err(icechunk_error("opening the store", target.url(), &error)),
                };
            }
        };
        let failed = |error: RepositoryError| icechunk_error("opening branch main", target.url(), &error);
        let head = if repository.spec_version() >= SpecVersionBin::V2 {
            let (info, _) = repository.asset_manager().fetch_repo_info().await.map_err(failed)?;
            Head::of(info).map_err(|error| icechunk_error("opening branch main", target.url(), &error))?
        } else {
            Head { main: repository.lookup_branch("main").await.map_err(failed)?, info: None }
        };
        let view = View::open(Arc::clone(repository.asset_manager()), &head.main, target.url()).await?;
        Ok(Some(Self { repository, head, view }))
    }
}

impl Head {
    fn of(info: Arc<RepoInfo>) -> IcechunkResult<Self> {
        Ok(Self { main: info.resolve_branch("main")?, info: Some(info) })
    }
}

/// What Icechunk makes of a place: it tries for long what the probe finds out at once.
///
/// # Errors
/// In the words of [`Target::probe`].
pub(crate) async fn promptly<T>(target: &Target, asking: impl Future<Output = T>) -> Result<T> {
    let mut asking = std::pin::pin!(asking);
    let probing = async {
        tokio::time::sleep(SLOW).await;
        target.probe().await
    };
    tokio::select! {
        answer = &mut asking => Ok(answer),
        probed = probing => {
            probed?;
            Ok(asking.await)
        }
    }
}

/// Looks at the place of a tile's store, without writing.
pub(crate) async fn existing(target: &Target, tile: MgrsTile, level: Level) -> Result<Existing> {
    let Some(opened) = Opened::open(target).await? else {
        if target.url().local_root().is_some() && holds_something_else(target).await? {
            return Err(Error::Occupied { url: target.url().to_string() });
        }
        return Ok(Existing::Nothing);
    };
    let stamp = read_stamp(&opened.view, target.url())?;
    let url = target.url().to_string();
    match stamp {
        Found::Empty => Ok(Existing::Empty(opened)),
        Found::Foreign => Err(Error::Foreign { url }),
        Found::Stamp(stamp) => {
            check_layout(&stamp, target.url())?;
            let (found, wanted) = (format!("{} {}", stamp.tile, stamp.level), format!("{tile} {level}"));
            if found != wanted {
                return Err(Error::OtherTile { url, found, wanted });
            }
            Ok(Existing::Store(opened, stamp))
        }
    }
}

/// Branches and tags of the repository at a place; `None` where there is none. Two requests, nothing is opened.
///
/// # Errors
/// The place cannot be reached or read, in Icechunk's words.
pub(crate) async fn head(target: &Target) -> Result<Option<Head>> {
    let failed = |error: RepositoryError| icechunk_error("opening the store", target.url(), &error);
    match Repository::fetch_spec_version(target.storage(), None).await.map_err(failed)? {
        None => Ok(None),
        Some(DetectedSpecVersion::V2Plus { repo_info, .. }) => {
            Head::of(repo_info).map(Some).map_err(|error| icechunk_error("opening branch main", target.url(), &error))
        }
        Some(DetectedSpecVersion::V1) => {
            let opening = Repository::open(target.storage()).config(config::writer()).execute();
            let main = opening.await.map_err(failed)?.lookup_branch("main").await.map_err(failed)?;
            Ok(Some(Head { main, info: None }))
        }
    }
}

/// The state that a tag, branch or snapshot id names.
///
/// # Errors
/// There is none, or it cannot be read.
pub(crate) async fn resolve(repository: &Repository, at: &str, name: &str) -> Result<VersionInfo> {
    let failed = |error| failure("reading tags and branches", name, &error);
    let tags = repository.list_tags().await.map_err(failed)?;
    if let Some(tag) = tag_names(at).into_iter().find(|name| tags.contains(name)) {
        return Ok(VersionInfo::TagRef(tag));
    }
    if repository.list_branches().await.map_err(failed)?.contains(at) {
        return Ok(VersionInfo::BranchTipRef(at.to_owned()));
    }
    if let Ok(snapshot) = SnapshotId::try_from(at)
        && repository.lookup_snapshot(&snapshot).await.is_ok()
    {
        return Ok(VersionInfo::SnapshotId(snapshot));
    }
    Err(Error::NoState { url: name.to_owned(), at: at.to_owned() })
}

/// Refuses a store whose layout this program does not know.
pub(crate) fn check_layout(stamp: &StoreStamp, url: &SourceUrl) -> Result<()> {
    let (url, writer, found, known) = (url.to_string(), stamp.writer.clone(), stamp.layout, LAYOUT_VERSION);
    match found.cmp(&known) {
        std::cmp::Ordering::Greater => Err(Error::Newer { url, writer, found, known }),
        std::cmp::Ordering::Less => Err(Error::Older { url, writer, found, known }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

/// What the root of `main` says.
pub(crate) enum Found {
    /// No root group: a repository that was made and never written.
    Empty,
    /// Written by another tool.
    Foreign,
    /// Ours.
    Stamp(Box<StoreStamp>),
}

/// What the root of a state says.
pub(crate) fn read_stamp(view: &View, url: &SourceUrl) -> Result<Found> {
    let Some(root) = view.nodes.get("") else {
        return Ok(if view.nodes.is_empty() { Found::Empty } else { Found::Foreign });
    };
    let damaged = |error: serde_json::Error| Error::Damaged { url: url.to_string(), detail: error.to_string() };
    let document: serde_json::Value = serde_json::from_slice(&root.user_data).map_err(damaged)?;
    match root_stamp(&document) {
        None => Ok(Found::Foreign),
        Some(stamp) => {
            serde_json::from_value(stamp.clone()).map(|stamp| Found::Stamp(Box::new(stamp))).map_err(damaged)
        }
    }
}

/// What the root of a store says that is there and ours.
///
/// # Errors
/// It is another writer's, of another layout, or nothing was written yet.
pub(crate) fn own_stamp(view: &View, url: &SourceUrl) -> Result<Box<StoreStamp>> {
    let stamp = match read_stamp(view, url)? {
        Found::Stamp(stamp) => stamp,
        Found::Empty => return Err(Error::NoStore { url: url.to_string() }),
        Found::Foreign => return Err(Error::Foreign { url: url.to_string() }),
    };
    check_layout(&stamp, url)?;
    Ok(stamp)
}

/// Makes the repository in a place that was found empty.
pub(crate) async fn create(target: &Target, options: &WriteOptions) -> Result<Repository> {
    let spec = match options.spec {
        Spec::V1 => SpecVersionBin::V1,
        Spec::V2 => SpecVersionBin::V2,
    };
    let persisted = config::repository(options.container.clone())?;
    let make = |clean: bool| {
        let builder = Repository::create(target.storage()).spec_version(spec).config(persisted.clone());
        builder.check_clean_root(clean).execute()
    };
    let mut created = make(true).await;
    if let Err(RepositoryError { kind: RepositoryErrorKind::ParentDirectoryNotClean, .. }) = &created {
        let url = target.url().to_string();
        if target.url().local_root().is_none() && is_made_meanwhile(target).await {
            return Err(Error::Conflict { url });
        }
        if holds_something_else(target).await? {
            return Err(Error::Occupied { url });
        }
        // A run was killed before it had written the file by which a repository is known. Its first files are in nobody's
        // way, and the conditional write of that file still lets one run only make the repository.
        created = make(false).await;
    }
    match created {
        Ok(repository) => for_writing(repository, target).await,
        Err(RepositoryError { kind: RepositoryErrorKind::RepoInfoUpdated, .. }) => {
            Err(Error::Conflict { url: target.url().to_string() })
        }
        Err(error) => {
            // Files of a repository that was not finished would make the next run take the place for somebody else's.
            let _ = target.remove_made();
            Err(icechunk_error("creating the store", target.url(), &error))
        }
    }
}

/// Name of the first snapshot of every Icechunk repository and of its transaction log.
const FIRST: &str = "1CECHNKREP0F1RSTCMT0";

/// Files that Icechunk writes before the one by which a repository is known: each a beginning of a path.
const FIRST_FILES: [&str; 3] = ["snapshots/", "transactions/", "refs/branch.main/"];

/// More files than those of a repository that was not finished.
const FEW: usize = 16;

/// True where a place without a repository holds anything but the first files of one and what s2ice keeps beside it. A name
/// alone proves nothing: somebody else may have folders of the same names.
async fn holds_something_else(target: &Target) -> Result<bool> {
    let files: Vec<String> = target.files(FEW).await?.into_iter().map(|(path, _)| path).collect();
    let begun = files.iter().any(|file| file.strip_prefix(FIRST_FILES[0]).is_some_and(|name| name.starts_with(FIRST)));
    let ours = |file: &String| {
        let first = FIRST_FILES.iter().find_map(|folder| file.strip_prefix(folder));
        OWN_FILES.contains(&file.as_str())
            || (begun && file == "config.yaml")
            || (begun && first.is_some_and(|name| name.starts_with(FIRST) || name.starts_with("ref.json")))
    };
    Ok(files.len() >= FEW || !files.iter().all(ours))
}

/// True where what stands in the way of a new repository turns out to be one that another run is making.
async fn is_made_meanwhile(target: &Target) -> bool {
    for _ in 0..MAKING_TRIES {
        if matches!(Repository::exists(target.storage(), None).await, Ok(true)) {
            return true;
        }
        tokio::time::sleep(MAKING_PAUSE).await;
    }
    false
}

/// Opens an existing repository for writing; its containers are completed by this run's.
pub(crate) async fn adopt(target: &Target, repository: Repository, options: &WriteOptions) -> Result<Repository> {
    let failed = |error: RepositoryError| icechunk_error("updating the configuration", target.url(), &error);
    if options.spec == Spec::V1 && repository.spec_version() >= SpecVersionBin::V2 {
        return Err(Error::Input(format!(
            "{} is of spec 2 and cannot be written as spec 1: name another place for the store",
            target.url()
        )));
    }
    // One name is one source: another prefix would at once re-point what readers of `main` and of its history see.
    let name = options.container.name().unwrap_or_default();
    let known = repository.config().virtual_chunk_containers().find(|c| c.name() == options.container.name());
    if let Some(known) = known.filter(|known| known.url_prefix() != options.container.url_prefix()) {
        return Err(Error::Input(format!(
            "the references of {} that are named {name} point below {}, not below {}: give this source another name \
             with --container",
            target.url(),
            known.url_prefix(),
            options.container.url_prefix()
        )));
    }
    let mut wanted = config::repository(options.container.clone())?;
    let mut containers = repository.config().virtual_chunk_containers.clone().unwrap_or_default();
    containers.retain(|_, container| container.name() != options.container.name());
    containers.extend(wanted.virtual_chunk_containers.take().unwrap_or_default());
    wanted.virtual_chunk_containers = Some(containers);
    let mut changed = wanted.virtual_chunk_containers != repository.config().virtual_chunk_containers
        || wanted.manifest != repository.config().manifest;
    if target.url().local_root().is_none() {
        let persisted = repository.config().storage.clone().unwrap_or_default();
        changed |= !(persisted.unsafe_use_conditional_update() && persisted.unsafe_use_conditional_create());
        wanted.storage = wanted.storage.map(config::with_conditional_writes);
    }
    if !changed {
        return repository.reopen(Some(wanted), None).await.map_err(failed);
    }
    // Opened anew: what only a writer wants is not for readers, and storage settings count from the beginning.
    let plain = Repository::open(target.storage()).execute().await.map_err(failed)?;
    let repository = plain.reopen(Some(wanted), None).await.map_err(failed)?;
    timely(|| repository.save_config()).await.map_err(failed)?;
    for_writing(repository, target).await
}

/// Opens anew with what only a writer needs: a reopened repository would keep the caches of the first one.
async fn for_writing(repository: Repository, target: &Target) -> Result<Repository> {
    let runtime = config::for_writing(repository.config().clone());
    let opened = Repository::open(target.storage()).config(runtime).execute().await;
    opened.map_err(|error| icechunk_error("opening the store", target.url(), &error))
}
