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
use tokio::time::timeout;

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
    let Some(chosen) = chosen(state) else {
        return Outcome::lacks(
            Lack::NoBands,
            "no product of the newest year has the bands B04, B03 and B02, at one resolution",
        );
    };
    let made_of = fingerprint(format!("{MANNER}\n{}\n{}", chosen.product(), chosen.content()).as_bytes());
    if let Some(known) = known.filter(|known| known.made_of == made_of) {
        return Outcome { preview: Preview::Made(known.clone()), jpeg: None, reason: None };
    }
    let _permit = limits.permit().await;
    let time_ms = chosen.step().time_ms;
    let made = match timeout(PATIENCE, made(store, state, &chosen, limits)).await {
        Ok(made) => made,
        Err(_) => Err(Unread::Files(format!("its picture was not made within {} seconds", PATIENCE.as_secs()))),
    };
    match made {
        Ok(colour::Jpeg { bytes, width, height }) => {
            let picture = Picture { made_of, time_ms, width, height };
            Outcome { preview: Preview::Made(picture), jpeg: Some(bytes), reason: None }
        }
        Err(Unread::Files(reason)) => {
            limits.failed();
            Outcome::lacks(Lack::Unread, format!("of {}: {reason}", chosen.product()))
        }
        Err(Unread::Spent) => Outcome::lacks(
            Lack::Later,
            "this publication has read as much for previews as it may; the next one goes on",
        ),
    }
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
