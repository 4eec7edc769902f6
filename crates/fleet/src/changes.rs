//! One search of a catalogue for all tiles of a run, where that takes fewer requests than one for each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use s2ice_manifest::source::changes::{Changes, Heard, Wanted};
use s2ice_manifest::source::stac_file::StacLoadError;
use s2ice_store::runs::LastRun;
use s2ice_store::tile::{BuildSettings, next_search};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::text;

/// Items that a catalogue of the whole world gets or changes in a day: Sentinel-2 makes some fifteen thousand granules.
const ITEMS_A_DAY: f64 = 15_000.0;

/// Requests with which a tile asks for itself, or which one search takes beside its pages.
const REQUESTS: f64 = 3.0;

/// How the catalogue is asked for what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Search {
    /// Once for all tiles where that takes fewer requests.
    #[default]
    Auto,
    /// Once for all tiles, however many.
    Once,
    /// For each tile.
    Each,
}

/// A tile that would ask an API for what changed.
struct Asker<'a> {
    settings: &'a BuildSettings,
    since: DateTime<Utc>,
}

/// What the catalogues of a run told of all its tiles.
#[derive(Debug, Default)]
pub struct Told {
    by_question: BTreeMap<Wanted, Arc<Changes>>,
}

impl Told {
    /// Asks each catalogue once. `tiles` are those that need not be asked for everything, with what their last runs left; what
    /// cannot be asked so is told in the log, and each tile asks for itself. The answers are kept at `path`, with a number
    /// where there are several.
    pub async fn ask<'a>(
        tiles: impl Iterator<Item = (&'a BuildSettings, &'a LastRun)>,
        search: Search,
        now: DateTime<Utc>,
        path: Option<&Path>,
    ) -> Self {
        let mut told = Self::default();
        for (number, (wanted, askers)) in by_question(tiles).into_iter().enumerate() {
            let Some(first) = askers.first() else { continue };
            let Some(since) = beginning(&askers, search, now, first.settings.stac_options.page_size) else { continue };
            let path = path.map(|path| numbered(path, number));
            let many = text::count(askers.len(), "tile");
            tracing::info!(catalogue = wanted.catalogue, %since, "the catalogue is asked once for {many}");
            match once(first.settings, wanted.clone(), since, now, path.as_deref()).await {
                Ok(Some(changes)) => {
                    let (items, tiles) = changes.counts();
                    tracing::info!("{} of {} changed", text::count(items, "item"), text::count(tiles, "tile"));
                    told.by_question.insert(wanted, Arc::new(changes));
                }
                Ok(None) => tracing::warn!(
                    "{} cannot be asked for what changed in all tiles: each asks for itself",
                    wanted.catalogue
                ),
                Err(error) => tracing::warn!("each tile asks for itself: {error}"),
            }
        }
        told
    }

    /// What another run kept in a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(path: &Path) -> Result<Self, StacLoadError> {
        let changes = Changes::open(path)?;
        Ok(Self { by_question: BTreeMap::from([(changes.wanted().clone(), Arc::new(changes))]) })
    }

    /// What was asked that concerns a tile.
    #[must_use]
    pub fn of(&self, settings: &BuildSettings) -> Option<Arc<Changes>> {
        self.by_question.get(&wanted(settings)?).map(Arc::clone)
    }
}

/// What is of a tile; nothing where the file cannot be read any more.
pub fn heard(changes: &Changes, settings: &BuildSettings) -> Option<Heard> {
    changes.heard(settings.tile).inspect_err(|error| tracing::warn!("the tile asks for itself: {error}")).ok()
}

async fn once(
    settings: &BuildSettings,
    wanted: Wanted,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    path: Option<&Path>,
) -> Result<Option<Changes>, StacLoadError> {
    let Some(Ok(address)) = settings.stac.as_ref().map(|stac| stac.reveal()) else { return Ok(None) };
    Changes::search((&address, wanted), since, now, &settings.stac_options, path).await
}

fn wanted(settings: &BuildSettings) -> Option<Wanted> {
    let stac = settings.stac.as_ref().filter(|stac| stac.is_web())?;
    Some(Wanted { catalogue: stac.to_string(), collection: settings.collection.clone(), level: settings.level })
}

fn by_question<'a>(tiles: impl Iterator<Item = (&'a BuildSettings, &'a LastRun)>) -> BTreeMap<Wanted, Vec<Asker<'a>>> {
    let mut all: BTreeMap<Wanted, Vec<Asker<'a>>> = BTreeMap::new();
    for (settings, last) in tiles {
        let since = last.headway.as_ref().and_then(|headway| next_search(settings, headway));
        if let (Some(wanted), Some(since)) = (wanted(settings), since) {
            all.entry(wanted).or_default().push(Asker { settings, since });
        }
    }
    all
}

/// Since when a search for all of them takes the fewest requests, those of tiles included that need more and ask for
/// themselves; `None` where there is none that takes fewer than all of these.
fn beginning(askers: &[Asker<'_>], search: Search, now: DateTime<Utc>, page_size: u32) -> Option<DateTime<Utc>> {
    let times: Vec<DateTime<Utc>> =
        askers.iter().map(|asker| asker.since).collect::<BTreeSet<_>>().into_iter().collect();
    match search {
        Search::Each => None,
        Search::Once => times.first().copied(),
        Search::Auto => {
            let mut sorted: Vec<DateTime<Utc>> = askers.iter().map(|asker| asker.since).collect();
            sorted.sort_unstable();
            let cost = |since: DateTime<Utc>| {
                let days = (now - since).num_seconds().max(0) as f64 / 86_400.0;
                let alone = sorted.partition_point(|time| *time < since);
                REQUESTS + (days * ITEMS_A_DAY / f64::from(page_size.max(1))).ceil() + REQUESTS * alone as f64
            };
            let best = times.into_iter().map(|since| (cost(since), since)).min_by(|a, b| a.0.total_cmp(&b.0));
            best.filter(|(cost, _)| *cost < REQUESTS * askers.len() as f64).map(|(_, since)| since)
        }
    }
}

/// `changes.parquet`, then `changes-2.parquet`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let stem = part(path.file_stem()).unwrap_or_default();
    let end = part(path.extension()).map(|end| format!(".{end}")).unwrap_or_default();
    path.with_file_name(format!("{stem}-{}{end}", number + 1))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::TimeDelta;
    use s2ice_store::tile::Occasion;
    use serde_json::json;

    use super::*;

    fn settings() -> BuildSettings {
        let document = json!({"tile": "33TVN", "source": "/data", "index": ["a"], "stac": "https://h/v1"});
        BuildSettings::read(document, Occasion::default()).unwrap()
    }

    #[test]
    fn one_search_is_made_where_it_takes_fewer_requests() {
        let (settings, now) = (settings(), DateTime::UNIX_EPOCH + TimeDelta::days(100));
        let day = |days: i64| now - TimeDelta::days(days);
        let begin = |tiles: &[(usize, i64)], search| {
            let asker = |days| Asker { settings: &settings, since: day(days) };
            let askers: Vec<Asker<'_>> =
                tiles.iter().flat_map(|(count, days)| std::iter::repeat_n(*days, *count)).map(asker).collect();
            beginning(&askers, search, now, 250)
        };
        // Three requests for each against sixty for a day.
        assert_eq!(begin(&[(20, 1)], Search::Auto), None);
        assert_eq!(begin(&[(22, 1)], Search::Auto), Some(day(1)));
        assert_eq!(begin(&[(22, 1)], Search::Each), None);
        assert_eq!(begin(&[(1, 90)], Search::Once), Some(day(90)));
        // Few that lag behind ask for themselves, many make all begin earlier.
        assert_eq!(begin(&[(1000, 1), (10, 50)], Search::Auto), Some(day(1)));
        assert_eq!(begin(&[(1000, 1), (1000, 5)], Search::Auto), Some(day(5)));
        assert_eq!(begin(&[], Search::Once), None);
    }

    #[test]
    fn each_answer_has_a_file() {
        let name = |number| numbered(Path::new("/var/changes.parquet"), number).display().to_string();
        assert_eq!([name(0), name(1)], ["/var/changes.parquet", "/var/changes-2.parquet"]);
    }
}
