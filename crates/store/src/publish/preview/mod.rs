//! The preview of a store: one product in natural colours, as small as a page needs it.
//!
//! It is made as `s2ice preview` makes pictures ([`crate::preview`]), without a line below: its page has the date. What cannot
//! be read takes nothing from the publication: there is no picture, and the next publication tries again.

mod limits;

use std::time::Duration;

use bytes::Bytes;
use s2ice_manifest::encoding::SourceKind;
use s2ice_manifest::source::location::SourceError;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

pub(super) use self::limits::Limits;
use super::files::fingerprint;
use crate::export::Cube;
use crate::preview::{Area, Chosen, Paint, Picture as Pixels, Places, Reader, Shown, Trouble, clearest, jpeg};
use crate::progress::Silent;
use crate::state::StoreState;
use crate::target::Target;

/// Longest time that one picture may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// How pictures are made: another number has all of them made anew.
const MANNER: u32 = 3;

/// Pixel sizes, metres, the first of which that a store has is taken: some hundred pixels are enough for a page.
const SIZES: [u32; 6] = [320, 240, 160, 120, 80, 60];

/// Products that are tried for a picture.
const TRIES: usize = 3;

/// The grey where there is no data.
const NODATA: u8 = 128;

/// Why a picture was not made.
#[derive(Debug)]
enum Unread {
    /// What is wrong with the files, or with reaching them.
    Files(String),
    /// The place does not answer, whatever file it is asked for.
    Place(String),
    /// No more may be read in this publication.
    Spent,
}

impl From<Trouble> for Unread {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Spent => Self::Spent,
            // What costs time costs it for every file.
            Trouble::Source(SourceError::Unreachable { .. } | SourceError::Timeout { .. }) | Trouble::LeftAlone(_) => {
                Self::Place(trouble.to_string())
            }
            Trouble::Source(_) | Trouble::File(_) => Self::Files(trouble.to_string()),
        }
    }
}

/// The picture of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Picture {
    /// Fingerprint of the product that it shows.
    made_of: String,
    /// Sensing time, milliseconds since 1970-01-01.
    pub(super) time_ms: i64,
    /// Pixels.
    pub(super) width: u32,
    /// Pixels.
    pub(super) height: u32,
}

/// Why a store has no picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Lack {
    /// None is wanted.
    #[default]
    Unwanted,
    /// There is no product.
    Empty,
    /// No product has the three bands at one resolution.
    NoBands,
    /// Its files are no JPEG 2000.
    OtherFiles,
    /// The product's files were not read.
    Unread,
    /// The publication had read as much as it may for pictures.
    Later,
}

impl Lack {
    /// What its page says, after "No preview: ": nothing of the machine that publishes.
    pub(super) fn told(self) -> &'static str {
        match self {
            Self::Unwanted => "none was made.",
            Self::Empty => "there are no dates yet.",
            Self::NoBands => "no date has the bands B04, B03 and B02.",
            Self::OtherFiles => "none is made of GeoTIFFs.",
            Self::Unread => "the product files could not be read when it was to be made.",
            Self::Later => "it has not been made yet.",
        }
    }
}

/// What became of the picture of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Preview {
    /// It is there.
    Made(Picture),
    /// There is none.
    Lacks(Lack),
}

impl Default for Preview {
    fn default() -> Self {
        Self::Lacks(Lack::default())
    }
}

impl Preview {
    /// True where another attempt may bring more, although nothing of the store changed.
    pub(super) fn is_due(&self) -> bool {
        matches!(self, Self::Lacks(Lack::Unread | Lack::Later))
    }
}

/// A picture, or why there is none.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) preview: Preview,
    /// The picture, where it was made anew.
    pub(super) jpeg: Option<Bytes>,
    /// Why there is none, for who publishes.
    pub(super) reason: Option<String>,
}

impl Outcome {
    fn lacks(lack: Lack, reason: impl Into<String>) -> Self {
        Self { preview: Preview::Lacks(lack), jpeg: None, reason: Some(reason.into()) }
    }

    /// One that was made before.
    fn kept(picture: &Picture) -> Self {
        Self { preview: Preview::Made(picture.clone()), jpeg: None, reason: None }
    }

    /// None, where none is wanted.
    pub(super) fn unwanted() -> Self {
        Self { preview: Preview::default(), jpeg: None, reason: None }
    }
}

/// Where the picture of a store lies in a publication.
pub(super) fn path(id: &str) -> String {
    format!("{id}/preview.jpg")
}

/// Makes the picture of a store, but for one that is `known`: nothing is read for it.
pub(super) async fn preview(store: &Target, state: &StoreState, known: Option<&Picture>, limits: &Limits) -> Outcome {
    if state.is_empty() {
        return Outcome::lacks(Lack::Empty, "the store has no products");
    }
    if state.stamp.source_kind != SourceKind::Jp2 {
        return Outcome::lacks(Lack::OtherFiles, "the store is of GeoTIFFs, of which no preview is made");
    }
    let (metres, chosen) = chosen(state);
    if chosen.is_empty() {
        return Outcome::lacks(
            Lack::NoBands,
            "no product of the newest year has the bands B04, B03 and B02, at one resolution",
        );
    }
    let kept = |one: &Chosen<'_>| known.filter(|known| known.made_of == made_of(one)).map(Outcome::kept);
    if let Some(outcome) = chosen.first().and_then(kept) {
        return outcome;
    }
    let _permit = limits.permit().await;
    let until = Instant::now() + PATIENCE;
    let (mut lack, mut reasons) = (Lack::Unread, Vec::new());
    for one in &chosen {
        if let Some(outcome) = kept(one) {
            return outcome;
        }
        let slow = || Unread::Place(format!("its picture was not made within {} seconds", PATIENCE.as_secs()));
        let made = timeout_at(until, made(store, state, (one, metres), limits)).await.unwrap_or_else(|_| Err(slow()));
        match made {
            Ok((Pixels { width, height, .. }, bytes)) => {
                let picture = Picture { made_of: made_of(one), time_ms: one.step.time_ms, width, height };
                return Outcome { preview: Preview::Made(picture), jpeg: Some(bytes), reason: None };
            }
            // Another product may be better.
            Err(Unread::Files(reason)) => reasons.push(format!("of {}: {reason}", one.product())),
            Err(Unread::Place(reason)) => {
                reasons.push(format!("of {}: {reason}", one.product()));
                break;
            }
            Err(Unread::Spent) => {
                let spent = "this publication has read as much for previews as it may; the next one goes on";
                (lack, reasons) = (Lack::Later, vec![spent.to_owned()]);
                break;
            }
        }
    }
    if let Some(outcome) = chosen.iter().find_map(kept) {
        return outcome;
    }
    if lack == Lack::Unread {
        limits.failed();
    }
    Outcome::lacks(lack, reasons.join("; "))
}

/// Fingerprint of a product as a picture shows it.
fn made_of(chosen: &Chosen<'_>) -> String {
    fingerprint(format!("{MANNER}\n{}\n{}", chosen.product(), chosen.content()).as_bytes())
}

/// The products to show, the best first, and their pixel size.
fn chosen(state: &StoreState) -> (u32, Vec<Chosen<'_>>) {
    let of = |metres| (metres, clearest(state, &Shown::NATURAL, metres, None));
    let (metres, mut chosen) = SIZES.into_iter().map(of).find(|(_, chosen)| !chosen.is_empty()).unwrap_or_default();
    chosen.truncate(TRIES);
    (metres, chosen)
}

/// The picture of a product at a pixel size, and its file.
async fn made(
    store: &Target,
    state: &StoreState,
    (chosen, metres): (&Chosen<'_>, u32),
    limits: &Limits,
) -> Result<(Pixels, Bytes), Unread> {
    let text = |error: crate::Error| Unread::Files(error.to_string());
    let cube = Cube::open(store, Some(&state.snapshot.to_string())).await.map_err(text)?;
    let places = Places::named_by(&cube);
    let reader = Reader { cube: &cube, places: &places, watch: limits, progress: &Silent };
    let frame = reader.frame(chosen, &Area::whole(metres)).await?;
    let drawn = tokio::task::spawn_blocking(move || {
        let pixels = Paint::of(&Shown::NATURAL, std::slice::from_ref(&frame)).picture(&frame)?;
        let bytes = jpeg(&pixels, NODATA)?;
        Ok::<_, String>((pixels, bytes.into()))
    });
    drawn.await.map_err(|error| Unread::Files(error.to_string()))?.map_err(Unread::Files)
}
