//! The preview of a store: one product in true colour, as small as a page needs it.
//!
//! It is read through the store's own references, in few requests of bounded size. What cannot be read takes nothing from the
//! publication: there is no picture, and the next publication tries again.

mod chosen;
mod colour;
mod file;
mod limits;
mod mean;
mod overview;
mod read;

use std::time::Duration;

use bytes::Bytes;
use s2ice_manifest::encoding::SourceKind;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use self::chosen::{BANDS, Chosen, chosen};
pub(super) use self::limits::Limits;
use self::read::{Unread, band};
use super::files::fingerprint;
use crate::export::{Cube, Raster};
use crate::state::StoreState;
use crate::target::Target;

/// Longest time that one picture may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// How pictures are made: another number has all of them made anew.
const MANNER: u32 = 2;

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
    let chosen = chosen(state);
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
        let made = timeout_at(until, made(store, state, one, limits)).await.unwrap_or_else(|_| Err(slow()));
        match made {
            Ok(colour::Jpeg { bytes, width, height }) => {
                let picture = Picture { made_of: made_of(one), time_ms: one.step().time_ms, width, height };
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

/// The picture of a product.
async fn made(
    store: &Target,
    state: &StoreState,
    chosen: &Chosen<'_>,
    limits: &Limits,
) -> Result<colour::Jpeg, Unread> {
    let text = |error: crate::Error| Unread::Files(error.to_string());
    let cube = Cube::open(store, Some(&state.snapshot.to_string())).await.map_err(text)?;
    let mut bands = Vec::with_capacity(BANDS.len());
    for (asset, array) in chosen.arrays() {
        let (tree, index, step) = (chosen.tree(), chosen.index(), chosen.step());
        let mean = band(&cube, &Raster { tree, asset, array, index, step }, limits).await?;
        bands.push(colour::Band::of(mean, state.documents.get(array.path.trim_start_matches('/'))));
    }
    colour::jpeg(&bands).map_err(Unread::Files)
}
