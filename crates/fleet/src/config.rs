//! The file of `s2ice run`: settings of every tile, the tiles with what they have of their own, and how to run them.
//!
//! Tables are laid over one another before they are read, so that an error of a merged table still has its place in the
//! file.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::Range;
use std::path::{Path, PathBuf};

use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::source::budget::Ledger;
use s2ice_manifest::source::location::SourceUrl;
use s2ice_store::duration::Span;
use s2ice_store::publish::Publishing;
use s2ice_store::tile::{BuildSettings, Occasion, Wrong};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::changes::Search;
use crate::files::{Files, plain};
use crate::publishing::PublishTable;
use crate::settings_file::{
    check_keys, check_table, file_schema, misplaced, misread, open_secrets, read_file, read_value,
};

/// How tiles are run: the table `[run]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RunTable {
    /// Tiles at a time.
    pub jobs: NonZeroUsize,
    /// JSON-lines file to which every run appends what became of each tile.
    pub report: Option<PathBuf>,
    /// A longer report is put aside when a run begins, as `.1`, that before as `.2`, up to `.4`; in megabytes.
    pub report_megabytes: NonZeroU32,
    /// File of metrics in the OpenMetrics text format, replaced by every run.
    pub metrics: Option<PathBuf>,
    /// So many tiles have metrics of their own, those that need attention first; sums are of all.
    pub metrics_tiles: usize,
    /// Every so many runs a tile's catalogue is asked for everything instead of what changed; 1 for always.
    pub full_every: NonZeroU32,
    /// How APIs are asked for what changed since the last run: once for all tiles where that takes fewer requests (`auto`),
    /// always once (`once`), or for each tile (`each`).
    pub search: Search,
    /// Stac-geoparquet file in which the answer of one search for all tiles is kept; each run replaces it.
    pub changes: Option<PathBuf>,
    /// A tile that takes longer is given up, such as 2h.
    pub tile_timeout: Option<Span>,
    /// After this time, such as 6h, no tile is begun any more: those in least need are left to the next run.
    pub deadline: Option<Span>,
}

impl Default for RunTable {
    fn default() -> Self {
        const JOBS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
        const MEGABYTES: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
        const FULL_EVERY: NonZeroU32 = NonZeroU32::MIN.saturating_add(6);
        Self {
            jobs: JOBS,
            report: None,
            report_megabytes: MEGABYTES,
            metrics: None,
            metrics_tiles: 500,
            full_every: FULL_EVERY,
            search: Search::Auto,
            changes: None,
            tile_timeout: None,
            deadline: None,
        }
    }
}

/// A file that was read and found right.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// The file.
    pub path: PathBuf,
    /// How to run.
    pub run: RunTable,
    /// How to publish, where the stores are to be.
    pub publish: Option<PublishTable>,
    /// The tiles, in the file's order: those of `tiles`, then the tables `[[tile]]`.
    pub tiles: Vec<TileEntry>,
}

/// One tile of the file.
#[derive(Debug, Clone)]
pub struct TileEntry {
    /// Line of the file, from 1.
    pub line: usize,
    /// The address of its store.
    pub store: String,
    /// What is built.
    pub settings: BuildSettings,
}

impl TileEntry {
    /// Tile and level for people.
    pub fn name(&self) -> String {
        format!("{} {}", self.settings.tile, self.settings.level)
    }
}

/// Mistakes told of one file; those beyond are counted.
const MOST: usize = 20;

impl RunConfig {
    /// Reads the whole file and checks all that can be checked without asking anything. `occasion` is the run that
    /// the settings are for.
    ///
    /// # Errors
    /// A sentence for each mistake, which names the file, the line and the key.
    pub fn read(path: &Path, occasion: &Occasion) -> Result<Self, String> {
        Self::of(path, &read_file(path)?, occasion)
    }

    /// The same of the text of a file that was read, here or elsewhere.
    ///
    /// # Errors
    /// As [`RunConfig::read`].
    pub fn of(path: &Path, text: &str, occasion: &Occasion) -> Result<Self, String> {
        File::new(path, text).config(occasion).map_err(|wrong| {
            let more = wrong.len().saturating_sub(MOST);
            let mut told: Vec<String> = wrong.into_iter().take(MOST).collect();
            told.extend((more > 0).then(|| format!("and {more} more mistakes")));
            told.join("\n")
        })
    }

    /// The tiles of some names, by their place in the file; all without one.
    ///
    /// # Errors
    /// A name that is none, or of which the file has nothing.
    pub fn choose(&self, names: &[String]) -> Result<Vec<usize>, String> {
        let mut wanted = BTreeSet::new();
        for name in names {
            let tile: MgrsTile = name.parse().map_err(|error| format!("{error}"))?;
            if !self.tiles.iter().any(|entry| entry.settings.tile == tile) {
                return Err(format!("{} has no tile {tile}", self.path.display()));
            }
            wanted.insert(tile);
        }
        let chosen = self.tiles.iter().enumerate();
        let chosen = chosen.filter(|(_, entry)| wanted.is_empty() || wanted.contains(&entry.settings.tile));
        Ok(chosen.map(|(number, _)| number).collect())
    }

    /// Lets the tiles share budgets with others.
    pub fn share(&mut self, ledger: &Ledger) {
        self.tiles.iter_mut().for_each(|tile| tile.settings.share(ledger));
    }

    /// What is said of keys in a file that others may read.
    pub fn open_secrets(&self) -> Option<String> {
        open_secrets(&self.path, &self.tiles.iter().flat_map(|tile| tile.settings.plain_secrets()).collect::<Vec<_>>())
    }
}

/// What is wrong with a file, each sentence once: a mistake of the top is one of every tile.
#[derive(Default)]
struct Mistakes {
    told: Vec<String>,
}

impl Mistakes {
    fn note(&mut self, sentence: String) {
        if self.told.len() < 10 * MOST && !self.told.contains(&sentence) {
            self.told.push(sentence);
        }
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
    /// Where lines begin, but for the first.
    lines: Vec<usize>,
}

impl<'a> File<'a> {
    fn new(path: &'a Path, text: &'a str) -> Self {
        let lines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1).collect();
        Self { path, text, lines }
    }

    /// The line of a byte, from 1.
    fn line(&self, offset: usize) -> usize {
        1 + self.lines.partition_point(|begin| *begin <= offset)
    }

    fn config(&self, occasion: &Occasion) -> Result<RunConfig, Vec<String>> {
        let parsed = DeTable::parse(self.text).map_err(|error| vec![misread(self.path, self.text, &error)])?;
        let mut defaults = parsed.into_inner();
        let mut wrong = Mistakes::default();
        let table = match defaults.remove("run").map(|table| self.run_table(table)) {
            Some(Err(sentence)) => {
                wrong.note(sentence);
                RunTable::default()
            }
            Some(Ok(table)) => table,
            None => RunTable::default(),
        };
        let publish = match defaults.remove("publish").map(|table| self.publish_table(table, occasion)).transpose() {
            Ok(publish) => publish,
            Err(sentence) => {
                wrong.note(sentence);
                None
            }
        };
        let mut tables = Vec::new();
        for found in [
            defaults.remove("tiles").map(|names| self.names(names)),
            defaults.remove("tile").map(|own| self.tables(own)),
        ] {
            match found {
                Some(Ok(more)) => tables.extend(more),
                Some(Err(sentence)) => wrong.note(sentence),
                None => {}
            }
        }
        // Before a tile is looked at: a mistake in the defaults is told where it stands, and even without tiles.
        if let Err(sentence) = check_table(self.path, self.text, &defaults) {
            wrong.note(sentence);
            return Err(wrong.told);
        }
        if tables.is_empty() && wrong.told.is_empty() {
            let path = self.path.display();
            wrong.note(format!("configuration file {path} names no tile: add tiles = [\"33TVN\"] or [[tile]] tables"));
        }
        let mut tiles = Vec::with_capacity(tables.len());
        for own in tables {
            match self.entry(&defaults, own, occasion) {
                Ok(entry) => tiles.push(entry),
                Err(sentence) => wrong.note(sentence),
            }
        }
        let ledger = Ledger::default();
        tiles.iter_mut().for_each(|tile| tile.settings.share(&ledger));
        let mut files = Files::default();
        let own = [
            ("this file", Some(self.path)),
            ("report", table.report.as_deref()),
            ("metrics", table.metrics.as_deref()),
        ];
        own.into_iter().for_each(|(purpose, path)| files.note(path.and_then(plain), purpose, 1));
        tiles.iter().for_each(|tile| files.note_all(&tile.settings, tile.line));
        for (line, reason) in files.used_twice() {
            wrong.note(format!("configuration file {}, line {line}: {reason}", self.path.display()));
        }
        self.check_distinct(&tiles).into_iter().for_each(|sentence| wrong.note(sentence));
        if let Some(Ok(settings)) = publish.as_ref().map(|table| table.publishing(occasion)) {
            self.check_apart(&settings, &tiles).into_iter().for_each(|sentence| wrong.note(sentence));
        }
        if wrong.told.is_empty() {
            Ok(RunConfig { path: self.path.to_owned(), run: table, publish, tiles })
        } else {
            Err(wrong.told)
        }
    }

    /// How to run: what its files and times may be is found before a tile is begun.
    fn run_table(&self, table: Spanned<DeValue<'a>>) -> Result<RunTable, String> {
        let (place, places) = (table.span(), table.get_ref().as_table().cloned().unwrap_or_default());
        let read: RunTable = self.read(table)?;
        let at = |key: &str| places.get(key).map_or_else(|| place.clone(), Spanned::span);
        let wrong = |key: &str, reason: &str| Err(self.wrong(&at(key), &format!("`{key}`: {reason}")));
        for (key, path) in [("report", &read.report), ("metrics", &read.metrics)] {
            let Some(path) = path else { continue };
            if path.as_os_str().is_empty() || path.to_string_lossy().contains("://") {
                return wrong(key, "it is a file of this machine");
            }
            if path.to_string_lossy().ends_with(std::path::MAIN_SEPARATOR) {
                return wrong(key, "it is a folder: name a file in it");
            }
            if path.ancestors().skip(1).any(Path::is_file) {
                return wrong(key, &format!("{} lies below a file", path.display()));
            }
            if path.is_dir() {
                return wrong(key, &format!("{} is a folder: name a file in it", path.display()));
            }
        }
        let file = |path: &Option<PathBuf>| path.as_deref().and_then(plain);
        if read.report.is_some() && file(&read.report) == file(&read.metrics) {
            return wrong("metrics", "it is the file of `report`, too: give each a file of its own");
        }
        for (key, span) in [("tile-timeout", read.tile_timeout), ("deadline", read.deadline)] {
            if span.is_some_and(|span| span.0.is_zero()) {
                return wrong(key, "no tile is done in no time: leave it out for no limit");
            }
        }
        Ok(read)
    }

    /// How to publish, found right before a tile is begun.
    fn publish_table(&self, table: Spanned<DeValue<'a>>, occasion: &Occasion) -> Result<PublishTable, String> {
        let (place, places) = (table.span(), table.get_ref().as_table().cloned().unwrap_or_default());
        let read: PublishTable = self.read(table)?;
        read.publishing(occasion).map_err(|wrong| {
            let at = places.get(wrong.key).map_or_else(|| place.clone(), Spanned::span);
            self.wrong(&at, &format!("`publish.{}`: {}", wrong.key, wrong.reason))
        })?;
        Ok(read)
    }

    fn read<T: DeserializeOwned>(&self, value: Spanned<DeValue<'a>>) -> Result<T, String> {
        read_value(self.path, self.text, value)
    }

    fn wrong(&self, place: &Range<usize>, reason: &str) -> String {
        misplaced(self.path, self.text, place.start, reason)
    }

    /// `tiles = [...]`: tiles with nothing of their own.
    fn names(&self, names: Spanned<DeValue<'a>>) -> Result<Vec<Spanned<DeTable<'a>>>, String> {
        const EXPECTED: &str = "`tiles` is a list of names, such as [\"33TVN\", \"33TWN\"]";
        let place = names.span();
        let DeValue::Array(names) = names.into_inner() else { return Err(self.wrong(&place, EXPECTED)) };
        let one = |name: Spanned<DeValue<'a>>| {
            if !name.get_ref().is_str() {
                return Err(self.wrong(&name.span(), EXPECTED));
            }
            let mut table = DeTable::new();
            let place = name.span();
            table.insert(Spanned::new(place.clone(), Cow::Borrowed("tile")), name);
            Ok(Spanned::new(place, table))
        };
        names.into_iter().map(one).collect()
    }

    /// `[[tile]]`: tiles with settings of their own.
    fn tables(&self, tables: Spanned<DeValue<'a>>) -> Result<Vec<Spanned<DeTable<'a>>>, String> {
        const EXPECTED: &str = "`tile` is a list of tables here: write [[tile]], or tiles = [\"33TVN\"]";
        let place = tables.span();
        let DeValue::Array(tables) = tables.into_inner() else { return Err(self.wrong(&place, EXPECTED)) };
        let one = |table: Spanned<DeValue<'a>>| match (table.span(), table.into_inner()) {
            (place, DeValue::Table(table)) => Ok(Spanned::new(place, table)),
            (place, _) => Err(self.wrong(&place, EXPECTED)),
        };
        tables.into_iter().map(one).collect()
    }

    fn entry(
        &self,
        defaults: &DeTable<'a>,
        own: Spanned<DeTable<'a>>,
        occasion: &Occasion,
    ) -> Result<TileEntry, String> {
        let place = own.span();
        check_keys(self.path, self.text, own.get_ref())?;
        let mut table = defaults.clone();
        lay_over(&mut table, own.into_inner());
        let places: BTreeMap<String, Range<usize>> =
            table.iter().map(|(key, value)| (key.get_ref().to_string(), value.span())).collect();
        let named = table.get("tile").and_then(|name| name.get_ref().as_str()).unwrap_or("a tile").to_owned();
        let explain = |wrong: &Wrong| {
            let reason = match wrong {
                Wrong::Missing { key, hint: "" } => format!("{named} has no `{key}`: give it here or at the top"),
                Wrong::Missing { key, hint } => format!("{named} has no `{key}`: {hint}"),
                Wrong::Bad { key, reason } if key.is_empty() => reason.clone(),
                Wrong::Bad { key, reason } => format!("`{key}`: {reason}"),
            };
            self.wrong(places.get(wrong.key()).unwrap_or(&place), &reason)
        };
        for key in ["tile", "source", "store"] {
            if !places.contains_key(key) {
                return Err(explain(&Wrong::missing(key)));
            }
        }
        self.fill(&mut table).map_err(|wrong| explain(&wrong))?;
        let settings: BuildSettings = self.read(Spanned::new(place.clone(), DeValue::Table(table)))?;
        let settings = settings.begin(occasion.clone()).map_err(|wrong| explain(&wrong))?;
        let store = settings.store.clone().unwrap_or_default();
        Ok(TileEntry { line: self.line(place.start), store, settings })
    }

    /// Fills in tile and level, where these are right; what is wrong with them is told when the table is read.
    fn fill(&self, table: &mut DeTable<'a>) -> Result<(), Wrong> {
        let text = |key: &str| table.get(key).and_then(|value| value.get_ref().as_str());
        let tile: Option<MgrsTile> = text("tile").and_then(|name| name.parse().ok());
        let level: Option<Level> = text("level").map_or(Some(Level::L2A), |name| name.parse().ok());
        match (tile, level) {
            (Some(tile), Some(level)) => crate::template::fill(table, tile, level),
            _ => Ok(()),
        }
    }

    /// A store where the publication is would be refused after all tiles were done.
    fn check_apart(&self, settings: &Publishing, tiles: &[TileEntry]) -> Vec<String> {
        let wrong = tiles.iter().filter_map(|entry| {
            let store = SourceUrl::parse(&entry.store).ok()?;
            let overlap = settings.is_apart(&store, &entry.settings.store_options).err()?;
            Some(format!("configuration file {}, line {}: `publish`: {overlap}", self.path.display(), entry.line))
        });
        wrong.collect()
    }

    /// Two runs of one tile would fight for its store, two tiles in one place for everything.
    fn check_distinct(&self, tiles: &[TileEntry]) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut fail = |entry: &TileEntry, reason: String| {
            wrong.push(format!("configuration file {}, line {}: {reason}", self.path.display(), entry.line));
        };
        let mut sorted: Vec<(String, &TileEntry)> = tiles.iter().map(|entry| (entry.name(), entry)).collect();
        sorted.sort_by(|a, b| (&a.0, a.1.line).cmp(&(&b.0, b.1.line)));
        for pair in sorted.windows(2) {
            let ((before, first), (name, second)) = (&pair[0], &pair[1]);
            if before == name {
                fail(second, format!("{name} is already on line {}", first.line));
            }
        }
        let place = |entry: &TileEntry| {
            let prefix = SourceUrl::parse(&entry.store).map_or_else(|_| entry.store.clone(), |url| url.prefix());
            format!("{} {prefix}", entry.settings.store_options.endpoint.as_deref().unwrap_or_default())
        };
        let mut places: Vec<(String, &TileEntry)> = tiles.iter().map(|entry| (place(entry), entry)).collect();
        places.sort_by(|a, b| (&a.0, a.1.line).cmp(&(&b.0, b.1.line)));
        for pair in places.windows(2) {
            let ((outer, first), (inner, second)) = (&pair[0], &pair[1]);
            if first.name() != second.name() && inner.starts_with(outer.as_str()) {
                let how = if inner == outer { "is also" } else { "lies in" };
                let (first, line) = (first.name(), first.line);
                let (name, store) = (second.name(), &second.store);
                fail(
                    second,
                    format!(
                        "the store of {name}, {store}, {how} that of {first} (line {line}): give each tile a place of its \
                         own, such as with {{tile}} in `store`"
                    ),
                );
            }
        }
        wrong
    }
}

/// Puts a tile's own settings over the defaults; tables within, such as `source-options`, key by key.
fn lay_over<'a>(defaults: &mut DeTable<'a>, own: DeTable<'a>) {
    for (key, value) in own {
        let place = value.span();
        let value = match (defaults.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value.into_inner()) {
            (Some(DeValue::Table(below)), DeValue::Table(table)) => {
                lay_over(below, table);
                continue;
            }
            (_, value) => value,
        };
        defaults.insert(key, Spanned::new(place, value));
    }
}

/// The JSON Schema of the file: the settings of a build, tiles instead of a tile, and `[run]`.
pub fn schema() -> Value {
    let mut schema = file_schema();
    let mut run = schemars::schema_for!(RunTable).to_value();
    let mut publish = schemars::schema_for!(PublishTable).to_value();
    let mut definitions = serde_json::Map::new();
    for part in [&mut schema, &mut run, &mut publish] {
        let Some(object) = part.as_object_mut() else { continue };
        object.remove("$schema");
        object.remove("title");
        if let Some(Value::Object(more)) = object.remove("$defs") {
            definitions.extend(more);
        }
    }
    definitions.insert("Tile".to_owned(), schema.clone());
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let tables = json!({ "type": "array", "items": { "$ref": "#/$defs/Tile" },
            "description": "Tiles with settings of their own, laid over those of the top." });
        let names = json!({ "type": "array", "items": { "type": "string" },
            "description": "Tiles with the settings of the top." });
        properties.insert("tile".to_owned(), tables);
        properties.insert("tiles".to_owned(), names);
        properties.insert("run".to_owned(), run);
        properties.insert("publish".to_owned(), publish);
    }
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("s2ice run configuration");
    schema["description"] = json!(
        "The file of `s2ice run`: settings of every tile by the long names of `s2ice build`, the tiles, and how to run \
         them. {tile} and {level} are filled in in index, write-index, store, stac, memory, source and container."
    );
    schema["$defs"] = Value::Object(definitions);
    schema
}

#[cfg(test)]
mod tests;
