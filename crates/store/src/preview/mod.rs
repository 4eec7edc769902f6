//! Pictures of what a store holds, read through its own references: of each tile no more than the picture shows.
//!
//! what is shown → which arrays at which size (`view`) → which products (`choose`) → bytes (`fetch`) → samples (`layer`) →
//! pixels (`stretch`, `paint`, `footer`) → a file (`encode`). The command shows what it is asked for; a publication makes its
//! previews of the same parts.

mod area;
mod choose;
mod encode;
mod fetch;
mod file;
mod footer;
mod glyphs;
mod layer;
mod paint;
mod places;
mod read;
mod shown;
mod stretch;
mod view;
mod watch;

use chrono::{DateTime, SecondsFormat};
use s2ice_manifest::grid::TileGeocoding;
use s2ice_manifest::ids::MgrsTile;
use s2ice_manifest::source::location::Source;

pub(crate) use self::area::Area;
pub use self::area::Bounds;
pub(crate) use self::choose::{Chosen, clearest};
pub use self::choose::{When, moment};
pub use self::encode::Format;
pub(crate) use self::encode::jpeg;
pub(crate) use self::file::Trouble;
use self::footer::with_footer;
pub(crate) use self::paint::{Paint, Picture};
pub use self::places::Origin;
pub(crate) use self::places::Places;
pub(crate) use self::read::Reader;
pub use self::shown::Shown;
pub use self::view::SIZES;
pub(crate) use self::watch::Watch;
use crate::error::{Error, Result};
use crate::export::Cube;
use crate::progress::{Phase, Progress};
use crate::state::StoreState;
use crate::target::Target;

/// Most samples of all pictures of a series, which are held in memory.
const SAMPLES: u64 = 1 << 28;

/// A picture that is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What it shows.
    pub shown: Shown,
    /// Its pixel size.
    pub metres: u32,
    /// Of which products.
    pub when: When,
    /// Of which part of the tile; of the whole where there are none.
    pub bounds: Option<Bounds>,
    /// As what file.
    pub format: Format,
}

/// A picture.
#[derive(Debug)]
pub struct Made {
    /// The file.
    pub file: Vec<u8>,
    /// Pixels, the line with date and scale bar included.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// What it shows, one after the other.
    pub shots: Vec<Shot>,
    /// Requests for product files.
    pub requests: u64,
    /// Bytes of product files that were read.
    pub bytes: u64,
}

/// A product that a picture shows.
#[derive(Debug, Clone)]
pub struct Shot {
    /// Its name.
    pub product: String,
    /// Time of sensing, RFC 3339.
    pub time: String,
    /// Percent, where it is known.
    pub cloud_cover: Option<f64>,
}

/// Makes a picture of a store.
///
/// # Errors
/// [`Error::Request`] for what the store does not have and for product files that lie where nobody said that they may be read;
/// [`Error::Input`] for what cannot be read, with product, date and address; and what opening the store fails by.
pub async fn preview(store: &Target, wish: &Wish, origin: &Origin, progress: &dyn Progress) -> Result<Made> {
    let cube = Cube::open(store, None).await?;
    let state = &*cube.state;
    check_size(state, wish)?;
    let chosen = choose::choose(state, &wish.shown, wish.metres, &wish.when)?;
    let tile: MgrsTile = state
        .stamp
        .tile
        .parse()
        .map_err(|error| Error::Damaged { url: cube.url.clone(), detail: format!("{error}") })?;
    let area = match &wish.bounds {
        Some(bounds) => Area::of(bounds, TileGeocoding::of(tile), wish.metres)?,
        None => Area::whole(wish.metres),
    };
    check_memory(&chosen, &area)?;
    let effective = Source::check(store.url(), store.options())?;
    let places = Places::allowed(&cube, (store.url(), &effective), origin)?;
    let reader = Reader { cube: &cube, places: &places, watch: &watch::Unwatched, progress };
    progress.begin(Phase::Tiles, Some(chosen.iter().map(|one| one.tiles(&area)).sum()));
    let frames = frames(&reader, &chosen, &area).await;
    progress.end();
    let frames = frames?;
    let (requests, bytes) = places.asked();
    let days: Vec<String> = chosen.iter().map(Chosen::day).collect();
    let (shown, metres, format) = (wish.shown.clone(), wish.metres, wish.format);
    let work = move || {
        let paint = Paint::of(&shown, &frames);
        let painted = frames.iter().zip(&days).map(|(frame, day)| Ok(with_footer(paint.picture(frame)?, day, metres)));
        let pictures: Vec<Picture> = painted.collect::<std::result::Result<_, String>>()?;
        let size = pictures.first().map(|picture| (picture.width, picture.height)).unwrap_or_default();
        Ok::<_, String>((encode::encoded(format, &pictures)?, size))
    };
    let made = tokio::task::spawn_blocking(work).await.map_err(|error| Error::Input(error.to_string()))?;
    let (file, (width, height)) = made.map_err(Error::Input)?;
    Ok(Made { file, width, height, shots: chosen.iter().map(shot).collect(), requests, bytes })
}

/// Reads what pictures show, one product after the other.
async fn frames(reader: &Reader<'_>, chosen: &[Chosen<'_>], area: &Area) -> Result<Vec<paint::Frame>> {
    let mut frames = Vec::with_capacity(chosen.len());
    for one in chosen {
        let frame = reader.frame(one, area).await;
        frames.push(frame.map_err(|trouble| Error::Input(format!("{} of {}: {trouble}", one.product(), one.day())))?);
    }
    Ok(frames)
}

/// Refuses sizes that the arrays of the store do not have, and names the nearest.
fn check_size(state: &StoreState, wish: &Wish) -> Result<()> {
    let sizes = view::sizes(state, &wish.shown);
    if sizes.contains(&wish.metres) {
        return Ok(());
    }
    let shown = &wish.shown;
    let Some(nearest) = sizes.iter().min_by_key(|size| size.abs_diff(wish.metres)) else {
        return Err(Error::Request(format!("--bands: no product of the store has {shown} as JPEG 2000")));
    };
    let all: Vec<String> = sizes.iter().map(u32::to_string).collect();
    Err(Error::Request(format!(
        "--resolution {}: {shown} can be seen at {} m; the nearest is {nearest}",
        wish.metres,
        all.join(", ")
    )))
}

/// Refuses series that do not fit in memory.
fn check_memory(chosen: &[Chosen<'_>], area: &Area) -> Result<()> {
    let each = u64::from(area.height()) * u64::from(area.width()) * 3;
    if each.saturating_mul(chosen.len() as u64) <= SAMPLES {
        return Ok(());
    }
    Err(Error::Request(format!(
        "{} pictures of {} x {} pixels do not fit in memory: ask for a coarser --resolution, for less with --bounds, or for \
         fewer dates with --time and --max-cloud-cover",
        chosen.len(),
        area.width(),
        area.height()
    )))
}

fn shot(chosen: &Chosen<'_>) -> Shot {
    let time = DateTime::from_timestamp_millis(chosen.step.time_ms).unwrap_or_default();
    Shot {
        product: chosen.product().to_string(),
        time: time.to_rfc3339_opts(SecondsFormat::Millis, true),
        cloud_cover: choose::cloud_cover(chosen.step),
    }
}
