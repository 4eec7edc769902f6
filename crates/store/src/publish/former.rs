//! The copy of a store that is there, and whether it is this store's.

use std::sync::Arc;

use icechunk::format::repo_info::RepoInfo;
use icechunk::format::{IcechunkFormatError, IcechunkResult, SnapshotId};
use icechunk::storage::VersionInfo;
use s2ice_manifest::source::location::{Source, SourceError};
use serde_json::Value;

use super::proof::{LARGEST, Sizes, repo_info};
use crate::error::{Error, Result, icechunk_error};
use crate::target::Target;

/// The object of branches, tags and configuration.
pub(super) const REPO: &str = "repo";

/// What helps where `--restore` does.
pub(super) const REMEDY: &str = "what was lost of a copy is copied again by `--restore`";

/// In the repository's metadata: the tile and level that it is a copy of.
pub(super) const MARK: &str = "s2ice:copy-of";

/// And the fingerprint of the address that it was copied from.
pub(super) const FROM: &str = "s2ice:copy-from";

/// The copy that is there.
pub(super) enum Former {
    /// There is none, or its branches are gone.
    None,
    /// Its branches cannot be read: the version that is there, and why.
    Broken(VersionInfo, String),
    /// What it says of branches and tags.
    Whole(Arc<RepoInfo>),
}

/// What the ledger says of the store whose copy is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remembered<'a> {
    /// It was at the same address.
    pub(super) is_same: bool,
    /// The snapshot that was copied.
    pub(super) snapshot: &'a str,
}

/// The store that is to be copied.
pub(super) struct Original<'a> {
    pub(super) target: &'a Target,
    pub(super) info: &'a RepoInfo,
    pub(super) main: &'a SnapshotId,
    pub(super) marks: [(&'a str, &'a str); 2],
}

impl Former {
    /// Reads it.
    ///
    /// # Errors
    /// The place does not answer; something else is in its place.
    pub(super) async fn read(to: &Target) -> Result<Self> {
        if let Some(root) = to.url().local_root() {
            if !root.exists() {
                return Ok(Self::None);
            }
            if root.join(REPO).is_dir() {
                let url = to.url();
                return Err(Error::Request(format!("{url} has a folder {REPO} where a copy has a file: remove it")));
            }
        }
        let place = Source::open(to.url(), to.options())?;
        let (bytes, etag) = match place.get_all(REPO, LARGEST).await {
            Ok(fetched) => (fetched.bytes, fetched.etag),
            Err(SourceError::Missing { .. }) => return Ok(Self::None),
            // A file without a byte, or with far too many.
            Err(SourceError::PastEnd { .. } | SourceError::TooLarge { .. }) => {
                (Default::default(), place.stat(REPO).await?.etag)
            }
            Err(error) => return Err(error.into()),
        };
        let version = etag.map_or_else(VersionInfo::for_creation, VersionInfo::from_etag_only);
        Ok(match repo_info(&bytes) {
            Ok(info) => Self::Whole(Arc::new(info)),
            Err(why) => Self::Broken(version, why),
        })
    }

    /// True where it is in the state of the original: what is not there was lost.
    pub(super) fn is_same(&self, original: &Original<'_>, remembered: Option<Remembered<'_>>) -> bool {
        match self {
            Self::Whole(held) => held.resolve_branch("main").is_ok_and(|main| main == *original.main),
            _ => remembered.is_some_and(|remembered| remembered.snapshot == original.main.to_string()),
        }
    }

    /// Refuses what no copy made, and the copy of another store, which may be all that is left of it. One that moved knows the
    /// state that was copied, one that was built anew has the address.
    ///
    /// # Errors
    /// [`Error::Request`], [`Error::OtherTile`].
    pub(super) fn is_of(&self, original: &Original<'_>, to: &Target) -> Result<()> {
        let Self::Whole(held) = self else { return Ok(()) };
        let failed = |error: IcechunkFormatError| icechunk_error("reading the copy", to.url(), &error);
        let [(_, mark), (_, origin)] = original.marks;
        let metadata = held.metadata().map_err(failed)?;
        let told = |name: &str| metadata.get(name).and_then(Value::as_str);
        let (url, from) = (to.url(), original.target.url());
        match told(MARK) {
            Some(held) if held == mark => {}
            Some(held) => {
                return Err(Error::OtherTile { url: url.to_string(), found: held.to_owned(), wanted: mark.to_owned() });
            }
            None => {
                return Err(Error::Request(format!(
                    "{url} holds a repository that `s2ice publish` did not copy there: name another place for the publication"
                )));
            }
        }
        if told(FROM).is_none_or(|held| held == origin)
            || held.resolve_branch("main").and_then(|main| knows(original.info, |id| *id == main)).map_err(failed)?
        {
            return Ok(());
        }
        Err(Error::Request(format!(
            "{url} is the copy of another store of that tile than {from}: name another place for the publication, or remove \
             the copy to publish this one instead"
        )))
    }

    /// Refuses what lies in the place of a copy whose branches do not say whose it is: but for what the ledger has of this
    /// store, and what an interrupted copy of it left.
    ///
    /// # Errors
    /// [`Error::Input`].
    pub(super) fn is_ours(
        &self,
        original: &Original<'_>,
        to: &Target,
        remembered: Option<Remembered<'_>>,
        files: [&Sizes; 2],
        restore: bool,
    ) -> Result<()> {
        let [own, there] = files;
        let (url, from) = (to.url(), original.target.url());
        let is_begun = there.keys().all(|path| path == REPO || own.contains_key(path));
        let is_known = |remembered: Remembered<'_>| {
            remembered.is_same || knows(original.info, |id| id.to_string() == remembered.snapshot).unwrap_or(false)
        };
        let is_ours = is_begun || remembered.is_some_and(is_known);
        let whose = format!("whose it is cannot be told: remove it to publish {from} there, or name another place");
        match self {
            Self::Whole(_) => Ok(()),
            Self::None if is_begun => Ok(()),
            Self::Broken(..) | Self::None if is_ours && restore => Ok(()),
            Self::Broken(_, why) if is_ours => {
                Err(Error::Input(format!("{url}/{REPO} cannot be read ({why}); {REMEDY}")))
            }
            Self::None if is_ours => Err(Error::Input(format!("{url}/{REPO} is gone; {REMEDY}"))),
            Self::Broken(_, why) => Err(Error::Input(format!("{url}/{REPO} cannot be read ({why}), and {whose}"))),
            Self::None => Err(Error::Input(format!("{url} holds something else than a copy of a store, or {whose}"))),
        }
    }
}

/// True where a store has a snapshot.
fn knows(info: &RepoInfo, is_it: impl Fn(&SnapshotId) -> bool) -> IcechunkResult<bool> {
    Ok(info.all_snapshots()?.any(|snapshot| snapshot.is_ok_and(|snapshot| is_it(&snapshot.id))))
}
