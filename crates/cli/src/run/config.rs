//! The file of `s2ice run`: settings of every tile, the tiles with what they have of their own, and how to run them.
//!
//! Tables are laid over one another before they are read, so that an error of a merged table still has its place in the
//! file.

use std::borrow::Cow;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::Range;
use std::path::{Path, PathBuf};

use s2ice_manifest::ids::{Level, MgrsTile};
use s2ice_manifest::source::budget::Ledger;
use s2ice_manifest::source::location::SourceUrl;
use s2ice_store::tile::BuildSettings;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::template;
use crate::duration::Span;
use crate::settings::{FileConfig, Wrong, line, misplaced, misread, read_file};

/// How tiles are run: the table `[run]`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RunTable {
    /// Tiles at a time.
    pub jobs: NonZeroUsize,
    /// JSON-lines file to which every run appends what became of each tile.
    pub report: Option<PathBuf>,
    /// File of metrics in the OpenMetrics text format, replaced by every run.
    pub metrics: Option<PathBuf>,
    /// Every so many runs a tile's catalogue is asked for everything instead of what changed; 1 for always.
    pub full_every: NonZeroU32,
    /// A tile that takes longer is given up, such as 2h.
    pub tile_timeout: Option<Span>,
}

impl Default for RunTable {
    fn default() -> Self {
        const JOBS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
        const FULL_EVERY: NonZeroU32 = NonZeroU32::MIN.saturating_add(6);
        Self { jobs: JOBS, report: None, metrics: None, full_every: FULL_EVERY, tile_timeout: None }
    }
}

/// A file that was read and found right.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// The file.
    pub path: PathBuf,
    /// How to run.
    pub run: RunTable,
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

impl RunConfig {
    /// Reads the whole file and checks it; nothing else is touched. `run` names the run that the settings are for.
    ///
    /// # Errors
    /// One sentence that names the file, the line and the key.
    pub fn read(path: &Path, run: &str) -> Result<Self, String> {
        let text = read_file(path)?;
        File { path, text: &text }.config(run)
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> File<'a> {
    fn config(&self, run: &str) -> Result<RunConfig, String> {
        let parsed = DeTable::parse(self.text).map_err(|error| misread(self.path, self.text, &error))?;
        let mut defaults = parsed.into_inner();
        let table = match defaults.remove("run") {
            Some(table) => self.read::<RunTable>(table)?,
            None => RunTable::default(),
        };
        let mut tables = match defaults.remove("tiles") {
            Some(names) => self.names(names)?,
            None => Vec::new(),
        };
        if let Some(own) = defaults.remove("tile") {
            tables.extend(self.tables(own)?);
        }
        // Before a tile is looked at: a mistake in the defaults is told where it stands, and even without tiles.
        self.read::<FileConfig>(Spanned::new(0..0, DeValue::Table(defaults.clone())))?;
        if tables.is_empty() {
            let path = self.path.display();
            return Err(format!("configuration file {path} names no tile: add tiles = [\"33TVN\"] or [[tile]] tables"));
        }
        let mut tiles =
            tables.into_iter().map(|table| self.entry(&defaults, table, run)).collect::<Result<Vec<_>, _>>()?;
        let ledger = Ledger::default();
        tiles.iter_mut().for_each(|tile| tile.settings.source_options.ledger = ledger.clone());
        self.check_distinct(&tiles)?;
        Ok(RunConfig { path: self.path.to_owned(), run: table, tiles })
    }

    fn read<T: DeserializeOwned>(&self, value: Spanned<DeValue<'a>>) -> Result<T, String> {
        T::deserialize(ValueDeserializer::from(value)).map_err(|error| misread(self.path, self.text, &error))
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

    fn entry(&self, defaults: &DeTable<'a>, own: Spanned<DeTable<'a>>, run: &str) -> Result<TileEntry, String> {
        let place = own.span();
        let mut table = defaults.clone();
        lay_over(&mut table, own.into_inner());
        let places = table.clone();
        let at = |wrong: &Wrong| places.get(wrong.key()).map_or_else(|| place.clone(), Spanned::span);
        let mut file: FileConfig = self.read(Spanned::new(place.clone(), DeValue::Table(table)))?;
        let name = file.tile.clone().unwrap_or_else(|| "a tile".to_owned());
        let explain = |wrong: &Wrong| {
            let reason = match wrong {
                Wrong::Missing { key, hint: "" } => format!("{name} has no `{key}`: give it here or at the top"),
                Wrong::Missing { key, hint } => format!("{name} has no `{key}`: {hint}"),
                Wrong::Bad { key, reason } => format!("`{key}`: {reason}"),
            };
            self.wrong(&at(wrong), &reason)
        };
        resolve(&mut file, run)
            .map(|(store, settings)| TileEntry { line: line(self.text, place.start), store, settings })
            .map_err(|wrong| explain(&wrong))
    }

    /// Two runs of one tile would fight for its store, two tiles in one place for everything.
    fn check_distinct(&self, tiles: &[TileEntry]) -> Result<(), String> {
        let fail = |entry: &TileEntry, reason: String| {
            Err(format!("configuration file {}, line {}: {reason}", self.path.display(), entry.line))
        };
        let mut sorted: Vec<&TileEntry> = tiles.iter().collect();
        sorted.sort_by_key(|t| (t.settings.tile, t.settings.level.to_string(), t.line));
        for pair in sorted.windows(2) {
            if pair[0].name() == pair[1].name() {
                return fail(pair[1], format!("{} is already on line {}", pair[1].name(), pair[0].line));
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
            if inner.starts_with(outer.as_str()) {
                let how = if inner == outer { "is also" } else { "lies in" };
                let (first, line) = (first.name(), first.line);
                let (name, store) = (second.name(), &second.store);
                let reason = format!(
                    "the store of {name}, {store}, {how} that of {first} (line {line}): give each tile a place of its \
                     own, such as with {{tile}} in `store`"
                );
                return fail(second, reason);
            }
        }
        Ok(())
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

fn resolve(file: &mut FileConfig, run: &str) -> Result<(String, BuildSettings), Wrong> {
    const STORE: Wrong = Wrong::Missing { key: "store", hint: "" };
    const TILE: Wrong = Wrong::Missing { key: "tile", hint: "" };
    let tile: MgrsTile = file.tile.as_deref().ok_or(TILE)?.parse().map_err(|error| Wrong::bad("tile", error))?;
    let level = file.level.as_deref().unwrap_or("L2A");
    let level: Level = level.parse().map_err(|error| Wrong::bad("level", error))?;
    template::fill(file, tile, level)?;
    let store = file.store.clone().ok_or(STORE)?;
    let settings = std::mem::take(file).resolve(false, run.to_owned())?;
    SourceUrl::parse(&store).map_err(|error| Wrong::bad("store", error))?;
    SourceUrl::parse(&settings.source).map_err(|error| Wrong::bad("source", error))?;
    Ok((store, settings))
}

/// The JSON Schema of the file: the settings of a build, tiles instead of a tile, and `[run]`.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(FileConfig).to_value();
    let mut run = schemars::schema_for!(RunTable).to_value();
    let mut definitions = serde_json::Map::new();
    for part in [&mut schema, &mut run] {
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
