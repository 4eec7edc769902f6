//! The stores of a tile, opened together: the main one and its eras.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use icechunk::virtual_chunks::VirtualChunkContainer;
use s2ice_manifest::era::Era;

use super::BuildSettings;
use crate::commit::{self, Loaded, Spec};
use crate::error::{Error, Result};
use crate::holdings::Holdings;
use crate::state::StoreState;
use crate::target::{Lock, Target};
use crate::window::Elsewhere;

/// One store of the tile.
pub(super) struct Member {
    /// `None` for the main store.
    pub(super) era: Option<Era>,
    /// Where it is; `None` in a dry run without a place.
    pub(super) target: Option<Arc<Target>>,
    /// What it holds.
    pub(super) loaded: Loaded,
    _lock: Option<Lock>,
}

impl Member {
    pub(super) fn state(&self) -> Option<&StoreState> {
        self.loaded.state.as_deref()
    }
}

/// All of them, the main store first.
pub(super) struct Family {
    pub(super) members: Vec<Member>,
}

impl Family {
    /// Opens the main store, whose lock the caller holds, and the eras that it names.
    pub(super) async fn load(settings: &BuildSettings, target: Option<&Arc<Target>>) -> Result<Self> {
        let loaded = match target {
            Some(target) => commit::load(target, settings.tile, settings.level).await?,
            None => Loaded::default(),
        };
        let stamp = loaded.state.as_ref().map(|state| state.stamp.clone());
        if let Some((era, target)) = stamp.as_ref().and_then(|stamp| stamp.era.as_ref()).zip(target) {
            let url = target.url().to_string();
            return Err(Error::Request(format!(
                "{url} is the era {era} of another store and is written with that one: name the main store, whose address \
                 lacks .era-{era}"
            )));
        }
        let mut family = Self { members: vec![Member { era: None, target: target.cloned(), loaded, _lock: None }] };
        for era in stamp.into_iter().flat_map(|stamp| stamp.eras.into_keys()) {
            family.join(settings, era).await?;
        }
        Ok(family)
    }

    /// Adds an era that the family does not have yet; true where its store holds products.
    pub(super) async fn join(&mut self, settings: &BuildSettings, era: Era) -> Result<bool> {
        let main = self.members.first().and_then(|main| main.target.as_ref());
        let target = match main.map(|main| main.era_url(&era).map(|url| (main, url))).transpose()? {
            // A dry run shall leave no trace, not even an empty folder.
            Some((_, url)) if settings.dry_run && url.local_root().is_some_and(|root| !root.exists()) => None,
            Some((main, url)) => Some(Target::open(url, main.options().clone()).await?),
            None => None,
        };
        let (mut loaded, mut lock) = (Loaded::default(), None);
        if let Some(target) = &target {
            if !settings.dry_run {
                lock = Some(target.lock_within(settings.lock_wait).await?);
            }
            loaded = commit::load(target, settings.tile, settings.level).await?;
            let found = loaded.state.as_ref().map(|state| &state.stamp.era);
            if found.is_some_and(|found| found.as_ref() != Some(&era)) {
                return Err(Error::Occupied { url: target.url().to_string() });
            }
        }
        let holds = loaded.state.as_ref().is_some_and(|state| !state.steps.is_empty());
        self.members.push(Member { era: Some(era), target: target.map(Arc::new), loaded, _lock: lock });
        Ok(holds)
    }

    /// What all stores hold.
    pub(super) fn holdings(&self) -> Holdings {
        Holdings::new(self.members.iter().filter_map(|member| member.loaded.state.clone()).collect())
    }

    /// The main store's state.
    pub(super) fn main(&self) -> Option<Arc<StoreState>> {
        self.members.first().and_then(|main| main.loaded.state.clone())
    }

    /// The format of eras: that of the main store. Asked for the older one, a newer store is not written.
    pub(super) fn spec(&self, wanted: Spec) -> Spec {
        let relative = self.members.first().is_none_or(|main| main.loaded.knows_relative(wanted));
        if relative && wanted == Spec::V2 { Spec::V2 } else { Spec::V1 }
    }

    /// Every container that references of the tile may name.
    pub(super) fn containers(&self) -> Vec<VirtualChunkContainer> {
        self.members.iter().flat_map(|member| member.loaded.containers()).collect()
    }

    /// Opens the references of stores from which rasters are taken over.
    pub(super) async fn give(&mut self, givers: &BTreeSet<Option<Era>>) -> Result<()> {
        let mut elsewhere = Elsewhere::new();
        for member in self.members.iter_mut().filter(|member| givers.contains(&member.era)) {
            if let Some(target) = &member.target
                && let Some(held) = member.loaded.held(target).await?
            {
                elsewhere.insert(member.era.clone(), held);
            }
        }
        for member in &mut self.members {
            member.loaded.elsewhere.clone_from(&elsewhere);
        }
        Ok(())
    }

    /// Deletes branches of killed runs in all stores.
    pub(super) async fn clean_up(&self, abandoned_before: impl Fn(&Target) -> DateTime<Utc>) -> Result<Vec<String>> {
        let mut cleaned = Vec::new();
        for member in &self.members {
            if let Some(target) = &member.target {
                cleaned.extend(member.loaded.clean_up(target, abandoned_before(target)).await?);
            }
        }
        Ok(cleaned)
    }
}
