//! A product that was written.

use std::ops::Range;
use std::path::PathBuf;

use crate::coding::Coding;
use crate::jp2::Layout;
use crate::raster::Raster;
use crate::scene::{ClassShares, Scene};
use crate::spec::Identity;

/// One JP2 file of a product.
#[derive(Debug, Clone)]
pub struct SampleAsset {
    /// What it is.
    pub raster: Raster,
    /// How it is coded; `coding.tlm` says whether it carries a TLM.
    pub coding: Coding,
    /// As in the index: `/<product>.SAFE/GRANULE/...`.
    pub path: String,
    /// The file on disk.
    pub file: PathBuf,
    /// Where its tile-parts lie.
    pub layout: Layout,
}

/// A product that was written.
#[derive(Debug, Clone)]
pub struct SampleProduct {
    /// Name without `.SAFE`.
    pub id: String,
    /// Names and times.
    pub identity: Identity,
    /// The SAFE folder.
    pub folder: PathBuf,
    /// The JP2 files, images first, by resolution and name.
    pub assets: Vec<SampleAsset>,
    /// Share of each scene class 0..=11 in percent.
    pub shares: ClassShares,
    pub(crate) scene: Scene,
}

impl SampleProduct {
    /// The asset called `B02_10m`, `SCL_20m`, `MSK_CLDPRB_20m`.
    #[must_use]
    pub fn asset(&self, name: &str) -> Option<&SampleAsset> {
        self.assets.iter().find(|a| a.raster.asset == name)
    }

    /// The true pixels of rows `y` and columns `x` of one of the product's assets, by rows, components last. Computed
    /// from the scene, not read from the file. 0 beyond the edge of the image, as a decoder pads an edge tile.
    #[must_use]
    pub fn expected_pixels(&self, asset: &SampleAsset, y: Range<u32>, x: Range<u32>) -> Vec<u16> {
        self.scene.expected(&asset.raster, &asset.coding, y, x)
    }

    /// Cloud cover in percent: the classes 8, 9 and 10 of what was seen.
    #[must_use]
    pub fn cloud_cover(&self) -> f64 {
        let seen = 100.0 - self.shares[0];
        if seen > 0.0 { (self.shares[8] + self.shares[9] + self.shares[10]) * 100.0 / seen } else { 0.0 }
    }
}
