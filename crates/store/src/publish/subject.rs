//! What a publication tells of a store.

use std::collections::BTreeMap;
use std::fmt::Display;

use chrono::{DateTime, Utc};
use s2ice_manifest::assemble::Refusal;
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::source::location::{Source, SourceError};
use s2ice_manifest::source::memory::{Memory, Place};

use super::footprint::Footprint;
use super::state::State;
use crate::error::{Error, Result, shown};
use crate::info::{self, Standing};
use crate::reached::Reached;
use crate::report::InfoReport;
use crate::runs::{LastRun, read_last_run};
use crate::state::StoreState;
use crate::target::Target;

/// A store as a publication describes it.
pub struct Subject {
    /// Its name in the publication, such as `33TVN-L2A`.
    pub id: String,
    /// MGRS tile.
    pub tile: MgrsTile,
    /// Processing level.
    pub level: Level,
    /// Where the tile lies.
    pub geocoding: TileGeocoding,
    /// Its outline in degrees.
    pub footprint: Footprint,
    /// What `s2ice info` tells.
    pub info: InfoReport,
    /// Products, arrays and their documents.
    pub state: StoreState,
    /// The states that were published, oldest first.
    pub states: Vec<State>,
    /// Its last scheduled run, where there was one.
    pub last: Option<LastRun>,
    /// What was left out of it, as far as it is remembered beside the store.
    pub left_out: Vec<Refusal>,
    /// Where readers open it.
    pub store: Reached,
    /// Where its references lead, by the name of their container.
    pub sources: BTreeMap<String, Reached>,
}

impl Subject {
    /// Reads a store that is reached where it lies.
    ///
    /// # Errors
    /// There is no store, it is not ours or of another layout, or reading failed.
    pub async fn read(target: &Target, clock: fn() -> DateTime<Utc>) -> Result<Self> {
        let url = target.url();
        let place = Place::beside(url.clone(), target.options().clone());
        let memory = async { Memory::read(&place, clock).await.map_err(|error| Error::Input(error.to_string())) };
        let (standing, last, memory) = futures::try_join!(Standing::read(target), last_run(target), memory)?;
        let info = info::report(&standing, url).await?;
        let states = standing.published(url).await?;
        let lineage = standing.lineage(url, &states).await?;
        let damaged = |detail: String| Error::Damaged { url: url.to_string(), detail };
        let tile: MgrsTile = info.tile.parse().map_err(|error| damaged(format!("{error}")))?;
        let level: Level = info.level.parse().map_err(|error| damaged(format!("{error}")))?;
        let geocoding = TileGeocoding::of(tile);
        let effective = Source::check(url, target.options())?;
        let containers = standing.containers();
        let sources = containers.iter().map(|c| (c.name().unwrap_or_default().to_owned(), Reached::behind(c)));
        let sources: BTreeMap<String, Reached> = sources.collect();
        for (container, source) in &sources {
            let closed = |error| {
                let container = shown(container);
                Error::Input(format!("{url} cannot be published: where its container {container:?} leads, {error}"))
            };
            source.is_open().map_err(closed)?;
        }
        Ok(Self {
            id: name(tile, level),
            tile,
            level,
            geocoding,
            footprint: Footprint::of(geocoding)?,
            store: Reached::store(url, &effective),
            sources,
            info,
            states: states.into_iter().map(|state| State::of(state, &lineage, &standing)).collect(),
            last,
            left_out: memory.left_out(),
            state: standing.state,
        })
    }

    /// The state that the store is in; `None` where that was not published.
    pub(super) fn current(&self) -> Option<&State> {
        self.states.iter().rfind(|state| self.info.published.as_ref() == Some(&state.tag))
    }

    /// The state before one, that `main` leads to.
    pub(super) fn before(&self, state: &State) -> Option<&State> {
        self.states.iter().rfind(|other| other.stands && other.time < state.time)
    }

    /// The state that follows one: the next that `main` leads to, and the last of all after one that was rolled back.
    pub(super) fn after(&self, state: &State) -> Option<&State> {
        let mut standing = self.states.iter().filter(|other| other.stands);
        if state.stands { standing.find(|other| other.time > state.time) } else { standing.next_back() }
    }

    /// Where its references lead; `None` where one of these places is only reached by the machine that publishes.
    pub(super) fn public_sources(&self) -> Option<Vec<Reached>> {
        self.sources.values().map(|source| (!source.is_local()).then(|| source.clone())).collect()
    }
}

/// Its last scheduled run; that of a file that cannot be understood is unknown, and takes nothing from the store.
///
/// # Errors
/// The place cannot be read.
pub(super) async fn last_run(store: &Target) -> Result<Option<LastRun>> {
    match read_last_run(store).await {
        Err(
            error @ (Error::Damaged { .. }
            | Error::Location(SourceError::TooLarge { .. } | SourceError::PastEnd { .. })),
        ) => {
            tracing::warn!("{error}: taken for unknown");
            Ok(None)
        }
        read => read,
    }
}

/// Where the copy of a store lies in a publication.
pub(super) fn store_of(id: &str) -> String {
    format!("{id}/store")
}

/// True for what is of a copy.
pub(super) fn is_of_copy(path: &str) -> bool {
    path.split_once('/').is_some_and(|(_, below)| below == "store" || below.starts_with("store/"))
}

/// The name of a store in a publication.
pub(super) fn name(tile: impl Display, level: impl Display) -> String {
    format!("{tile}-{level}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_a_password_are_not_told() {
        for (url, endpoint, is_open) in [
            ("s3://archive/", None, true),
            ("s3://archive/a b/", Some("http://127.0.0.1:9000/"), true),
            ("file:///not-published/local/", None, true),
            ("https://me:hunter2@host/", None, false),
            ("https://host/?sig=hunter2", None, false),
            ("s3://archive/", Some("http://me:hunter2@host"), false),
            ("s3://archive/", Some("me:hunter2@host"), false),
        ] {
            let reached = Reached { endpoint: endpoint.map(str::to_owned), ..Reached::of_the_web(url.to_owned()) };
            let told = reached.is_open().map_err(|error| error.to_string());
            assert_eq!(told.is_ok(), is_open, "{url} {endpoint:?}");
            assert!(!told.err().unwrap_or_default().contains("hunter2"), "{url} {endpoint:?}");
        }
    }
}
