//! Mirrors of the archive: what they are called, where they are, and where a raster lies on each of them.
//!
//! An index says where a raster lies on the source it was made on. Another mirror keeps the same bytes elsewhere; its
//! path follows from the product's name and the raster. What the index says of the file's own ETag and modification
//! time is of the other host then, and is dropped; size and first tile-part stay, and are checked as always.

use serde::{Deserialize, Serialize};

use crate::ids::Level;
use crate::product::ProductId;
use crate::raster::{Asset, Quantity};
use crate::tlm::IndexRow;

use super::location::{SourceOptions, SourceUrl};

/// How a source arranges products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// As the paths of the index say.
    #[default]
    Indexed,
    /// Copernicus Data Space: `Sentinel-2/MSI/L2A/2024/05/01/<product>.SAFE/...`, with or without `eodata` in front in the
    /// index.
    Cdse,
    /// Google Cloud: `L2/tiles/33/T/VN/<product>.SAFE/...`, without `L2` for Level 1C.
    Gcs,
    /// Amazon: `tiles/33/T/VN/2024/5/1/0/R10m/B02.jp2`, without the folder of the resolution for Level 1C.
    Aws,
}

impl std::str::FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "indexed" => Ok(Self::Indexed),
            "cdse" => Ok(Self::Cdse),
            "gcs" => Ok(Self::Gcs),
            "aws" => Ok(Self::Aws),
            _ => Err(format!("{text:?} is no layout: indexed, cdse, gcs or aws")),
        }
    }
}

/// A raster whose place on the mirror cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// The index's path has no SAFE folder in it.
    #[error("the index's path {path:?} does not say where in the product the file lies: use an index of SAFE folders")]
    NoSafe {
        /// The path.
        path: String,
    },
    /// Reprocessed products lie in folders that their names do not tell, but for the Level 2A of baselines 05.00 to
    /// 05.10.
    #[error(
        "the folder of a reprocessed product on the Copernicus Data Space does not follow from its name: use an index \
         made there"
    )]
    Reprocessed,
    /// The mirror has another arrangement for such rasters.
    #[error("where {asset} lies in Amazon's layout is not known: leave it out with --arrays, or use another mirror")]
    NotKept {
        /// The raster.
        asset: Asset,
    },
}

/// Days between sensing and processing up to which a product was made in the daily run of the archive.
const DAILY: i64 = 60;

impl Layout {
    /// Path of a raster, with a leading slash, from that of an index.
    ///
    /// In Amazon's layout products of one tile and day are told apart by a number that the name does not tell: 0 is
    /// taken, the first. A product that has another number fails by its size, or by its metadata, which prove the number
    /// (see [`super::aws_tree`]).
    ///
    /// # Errors
    /// [`MirrorError`] where the place does not follow from what is known.
    pub fn place(self, product: ProductId, asset: Asset, indexed: &str) -> Result<String, MirrorError> {
        match self {
            Self::Indexed => Ok(indexed.to_owned()),
            Self::Cdse => cdse(product, indexed),
            Self::Gcs => {
                let inside = inside_of(product, indexed)?;
                let (tile, level) = (product.tile(), product.level());
                let [a, b] = tile.square().map(char::from);
                let top = if level == Level::L2A { "/L2" } else { "" };
                let (zone, band) = (tile.zone(), char::from(tile.band()));
                Ok(format!("{top}/tiles/{zone:02}/{band}/{a}{b}/{product}.SAFE/{inside}"))
            }
            Self::Aws if aws_folder(indexed).is_some() => Ok(indexed.to_owned()),
            Self::Aws => {
                let name = match asset.quantity {
                    Quantity::Band(_) | Quantity::Aot | Quantity::Wvp | Quantity::Scl | Quantity::Tci => {
                        asset.band_id()
                    }
                    _ => return Err(MirrorError::NotKept { asset }),
                };
                let folder = match product.level() {
                    Level::L2A => format!("R{}/", asset.resolution),
                    Level::L1C => String::new(),
                };
                Ok(format!("/{}/0/{folder}{name}.jp2", aws_day(product)))
            }
        }
    }

    /// The row as it is on the mirror.
    ///
    /// # Errors
    /// As [`Layout::place`].
    pub fn relocate(self, mut row: IndexRow) -> Result<IndexRow, (Box<IndexRow>, MirrorError)> {
        match self.place(row.product, row.asset, &row.path) {
            Ok(path) if path == row.path => Ok(row),
            Ok(path) => {
                // Below `/eodata` of the index's own host it is the same object.
                if row.path.strip_prefix("/eodata") != Some(path.as_str()) {
                    (row.etag, row.last_modified) = (None, None);
                }
                row.path = path;
                Ok(row)
            }
            Err(error) => Err((Box::new(row), error)),
        }
    }
}

fn cdse(product: ProductId, indexed: &str) -> Result<String, MirrorError> {
    if let Some(at) = indexed.find("Sentinel-2/MSI/").filter(|at| *at == 0 || indexed[..*at].ends_with('/')) {
        return Ok(format!("/{}", &indexed[at..]));
    }
    let inside = inside_of(product, indexed)?;
    let sensed = product.datatake_start();
    let folder = match (product.level(), product.baseline().number()) {
        (level, _) if (product.discriminator() - sensed).num_days() <= DAILY => level.to_string(),
        (Level::L2A, 500..=510) => "L2A_N0500".to_owned(),
        _ => return Err(MirrorError::Reprocessed),
    };
    Ok(format!("/Sentinel-2/MSI/{folder}/{}/{product}.SAFE/{inside}", sensed.format("%Y/%m/%d")))
}

/// The path within the SAFE folder.
fn inside_of(product: ProductId, indexed: &str) -> Result<&str, MirrorError> {
    let folder = format!("{product}.SAFE/");
    let inside = match indexed.find(&folder) {
        Some(at) if at == 0 || indexed[..at].ends_with('/') => &indexed[at + folder.len()..],
        _ => indexed.trim_start_matches('/'),
    };
    if inside.starts_with("GRANULE/") { Ok(inside) } else { Err(MirrorError::NoSafe { path: indexed.to_owned() }) }
}

/// The folder of a tile and day in Amazon's layout, `tiles/33/T/VN/2024/5/1`.
pub(super) fn aws_day(product: ProductId) -> String {
    let tile = product.tile();
    let [a, b] = tile.square().map(char::from);
    let (zone, band) = (tile.zone(), char::from(tile.band()));
    format!("tiles/{zone}/{band}/{a}{b}/{}", product.datatake_start().format("%Y/%-m/%-d"))
}

/// The parts of a path in Amazon's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AwsPath<'a> {
    /// What stands before `tiles`.
    root: &'a str,
    /// `tiles/33/T/VN/2024/5/1/0`.
    pub(super) tile: &'a str,
    /// `2024/5/1`.
    date: &'a str,
    /// The number behind the day.
    pub(super) number: u16,
    /// The path in the tile's folder: `R10m/B02.jp2`.
    pub(super) inside: &'a str,
}

impl AwsPath<'_> {
    /// Whether it is of a product's tile and day.
    pub(super) fn is_of(&self, product: ProductId) -> bool {
        self.tile.rsplit_once('/').is_some_and(|(day, _)| day == aws_day(product))
    }
}

/// Takes a path in Amazon's layout apart.
pub(super) fn aws_folder(path: &str) -> Option<AwsPath<'_>> {
    let at = if path.starts_with("tiles/") { 0 } else { path.find("/tiles/")? + 1 };
    let (root, rest) = path.split_at(at);
    let slashes: Vec<usize> = rest.match_indices('/').map(|(at, _)| at).collect();
    let (&start, &end, &whole) = (slashes.get(3)?, slashes.get(6)?, slashes.get(7)?);
    let numbers = rest[start + 1..whole].split('/').all(|part| part.parse::<u16>().is_ok());
    let number = rest[end + 1..whole].parse().ok()?;
    let (tile, date, inside) = (&rest[..whole], &rest[start + 1..end], &rest[whole + 1..]);
    (numbers && slashes.len() <= 9).then_some(AwsPath { root, tile, date, number, inside })
}

/// Where the metadata of a product lies in Amazon's layout, by the path of a raster: those of the granule, the product,
/// and the manifest.
pub(super) fn aws_metadata(product: ProductId, raster_path: &str) -> Option<[String; 3]> {
    let AwsPath { root, tile, date, .. } = aws_folder(raster_path)?;
    let folder = format!("{root}products/{date}/{product}");
    Some([format!("{root}{tile}/metadata.xml"), format!("{folder}/metadata.xml"), format!("{folder}/manifest.safe")])
}

/// A mirror by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirror {
    /// What `--source` calls it.
    pub name: &'static str,
    /// Its address.
    pub url: &'static str,
    layout: Layout,
    endpoint: Option<&'static str>,
    region: Option<&'static str>,
    anonymous: bool,
    request_payer: bool,
}

impl Mirror {
    /// True for a place in the mirror, at its own address: a bucket of its name at another service is another.
    #[must_use]
    pub fn is_at(&self, url: &SourceUrl, endpoint: Option<&str>) -> bool {
        let own = format!("{}/", self.url);
        url.prefix().starts_with(&own) && endpoint.map(|endpoint| endpoint.trim_end_matches('/')) == self.endpoint
    }
}

/// The mirrors that have a name.
pub const MIRRORS: [Mirror; 4] = [
    Mirror {
        name: "cdse",
        url: "s3://eodata",
        layout: Layout::Cdse,
        endpoint: Some("https://eodata.dataspace.copernicus.eu"),
        region: None,
        anonymous: false,
        request_payer: false,
    },
    Mirror {
        name: "gcs",
        url: "gs://gcp-public-data-sentinel-2",
        layout: Layout::Gcs,
        endpoint: None,
        region: None,
        anonymous: true,
        request_payer: false,
    },
    Mirror {
        name: "aws-l2a",
        url: "s3://sentinel-s2-l2a",
        layout: Layout::Aws,
        endpoint: None,
        region: Some("eu-central-1"),
        anonymous: false,
        request_payer: true,
    },
    Mirror {
        name: "aws-l1c",
        url: "s3://sentinel-s2-l1c",
        layout: Layout::Aws,
        endpoint: None,
        region: Some("eu-central-1"),
        anonymous: false,
        request_payer: true,
    },
];

/// The address of a source: that of the mirror where the text is a mirror's name, the text itself elsewhere. What the
/// mirror needs is set in `options` where nothing else was given.
#[must_use]
pub fn address(source: &str, options: &mut SourceOptions) -> String {
    let Some(mirror) = MIRRORS.iter().find(|mirror| mirror.name == source) else { return source.to_owned() };
    options.layout.get_or_insert(mirror.layout);
    if options.endpoint.is_none() {
        options.endpoint = mirror.endpoint.map(str::to_owned);
    }
    if options.region.is_none() {
        options.region = mirror.region.map(str::to_owned);
    }
    if mirror.name == "cdse" {
        options.virtual_hosted.get_or_insert(false);
    }
    options.anonymous |= mirror.anonymous;
    options.request_payer |= mirror.request_payer;
    mirror.url.to_owned()
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
