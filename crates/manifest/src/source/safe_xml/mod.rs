//! Product metadata from a SAFE folder's own XML: sensing time, geocoding and angles (`MTD_TL.xml`), radiometry, cloud cover and
//! image files (`MTD_MSIL2A.xml`, `MTD_MSIL1C.xml`), and the list of all files (`manifest.safe`).

mod angles;
mod files;
mod granule;
mod product;
mod xml;

pub use angles::parse_angles;
pub use files::{ListedChecksum, ListedFile, parse_file_list, read_file_list};
pub use granule::{GranuleFacts, parse_granule};
pub use product::{GranuleName, ProductFacts, parse_product};

use bytes::Bytes;

use crate::geometry::Angles;
use crate::grid::TileGeocoding;
use crate::product::{MetadataSource, ProductId, ProductMetadata};

use super::location::{Source, SourceError};
use super::mirror::aws_metadata;

/// Reads of `MTD_TL.xml`, each tried only where the one before was too short: its facts lie in the first 2 kB.
const GRANULE_READS: [u64; 3] = [4 * 1024, 64 * 1024, 1024 * 1024];

/// Most bytes of `MTD_TL.xml` where all of it is read; 630 kB is the most seen.
const GRANULE_LIMIT: u64 = 8 * 1024 * 1024;

/// Most bytes of the product's XML; 55 kB is usual.
const PRODUCT_LIMIT: u64 = 8 * 1024 * 1024;

/// Metadata that cannot be used. A product with such metadata is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The raster's path does not lie in a SAFE folder.
    #[error("{path} does not lie in a GRANULE folder, so the product's metadata cannot be found")]
    NoSafe {
        /// Path of the raster.
        path: String,
    },
    /// Not XML, or XML that is refused.
    #[error("{path} at byte {at}: {detail}")]
    Xml {
        /// The file.
        path: String,
        /// Where.
        at: u64,
        /// What.
        detail: String,
    },
    /// A value is not there.
    #[error("{path} has no {element}")]
    Missing {
        /// The file.
        path: String,
        /// The element.
        element: &'static str,
    },
    /// A value makes no sense.
    #[error("{path}: {element} is {text:?}")]
    Value {
        /// The file.
        path: String,
        /// The element.
        element: &'static str,
        /// Its text.
        text: String,
    },
    /// Values that exclude each other.
    #[error("{path}: {reason}")]
    Contradiction {
        /// The file.
        path: String,
        /// In what.
        reason: String,
    },
    /// A place on the ground that is not the tile's.
    #[error("{path}: the geocoding says {found}, expected {expected}")]
    Geocoding {
        /// The file.
        path: String,
        /// What it says.
        found: String,
        /// What the MGRS tile has.
        expected: String,
    },
}

impl MetadataError {
    fn value(path: &str, element: &'static str, text: &str) -> Self {
        Self::Value { path: path.to_owned(), element, text: text.chars().take(80).collect() }
    }
}

/// Where the XML files of a product lie, below the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataPaths {
    /// `<..>.SAFE/GRANULE/<granule>/MTD_TL.xml`.
    pub granule: String,
    /// `<..>.SAFE/MTD_MSIL2A.xml` or `MTD_MSIL1C.xml`.
    pub product: String,
    /// `<..>.SAFE/manifest.safe`.
    pub manifest: String,
    /// True where granule and product lie in folders apart (Amazon's layout), so that their place does not tell that they
    /// belong together.
    pub apart: bool,
}

impl MetadataPaths {
    /// From the path of any raster of the product; `None` where it lies neither below a `GRANULE` folder nor in
    /// Amazon's layout.
    #[must_use]
    pub fn of_raster(product: ProductId, raster_path: &str) -> Option<Self> {
        if let Some([granule, product, manifest]) = aws_metadata(product, raster_path) {
            return Some(Self { granule, product, manifest, apart: true });
        }
        let (root, rest) = match raster_path.rsplit_once("/GRANULE/") {
            Some((root, rest)) => (format!("{root}/"), rest),
            None => (String::new(), raster_path.strip_prefix("GRANULE/")?),
        };
        let (granule, _) = rest.split_once('/')?;
        Some(Self {
            granule: format!("{root}GRANULE/{granule}/MTD_TL.xml"),
            product: format!("{root}MTD_MSI{}.xml", product.level()),
            manifest: format!("{root}manifest.safe"),
            apart: false,
        })
    }
}

/// Reads both files of a product and checks them against its name and its tile's place by the MGRS formula.
///
/// `raster_path` is the path of any of its rasters. Two requests as a rule.
///
/// # Errors
/// [`MetadataError`].
pub async fn read_metadata(
    source: &Source,
    product: ProductId,
    raster_path: &str,
) -> Result<ProductMetadata, MetadataError> {
    let paths = MetadataPaths::of_raster(product, raster_path)
        .ok_or_else(|| MetadataError::NoSafe { path: raster_path.to_owned() })?;
    let granule = read_granule(source, &paths.granule).await?;
    check_granule(product, &granule, &paths.granule)?;
    with_product(source, product, &paths, granule).await
}

/// Reads both files of a product as [`read_metadata`] does, the granule's as a whole: the angles are in it. No request
/// more, but some hundred kilobytes. Where the granule's file is too large to be read so, that is the second answer.
///
/// # Errors
/// [`MetadataError`].
pub async fn read_metadata_and_granule(
    source: &Source,
    product: ProductId,
    raster_path: &str,
) -> Result<(ProductMetadata, Result<GranuleFile, MetadataError>), MetadataError> {
    let file = match read_granule_file(source, product, raster_path).await {
        Err(error @ MetadataError::Source(SourceError::TooLarge { .. })) => {
            return Ok((read_metadata(source, product, raster_path).await?, Err(error)));
        }
        file => file?,
    };
    let paths = MetadataPaths::of_raster(product, raster_path)
        .ok_or_else(|| MetadataError::NoSafe { path: raster_path.to_owned() })?;
    let granule = file.granule(product)?;
    Ok((with_product(source, product, &paths, granule).await?, Ok(file)))
}

/// The whole of a granule's `MTD_TL.xml`.
#[derive(Debug, Clone)]
pub struct GranuleFile {
    bytes: Bytes,
    path: String,
}

impl GranuleFile {
    /// The facts of its first kilobytes, checked against the product's name.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn granule(&self, product: ProductId) -> Result<GranuleFacts, MetadataError> {
        let missing = || MetadataError::Missing { path: self.path.clone(), element: "complete Tile_Geocoding" };
        let granule = parse_granule(&self.bytes, &self.path)?.ok_or_else(missing)?;
        check_granule(product, &granule, &self.path)?;
        Ok(granule)
    }

    /// Its angles, where it is of the product.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn angles(&self, product: ProductId) -> Result<Angles, MetadataError> {
        self.granule(product)?;
        parse_angles(&self.bytes, &self.path)
    }

    /// Where it lies below the source.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// Reads the whole of a product's `MTD_TL.xml`. One request.
///
/// # Errors
/// [`MetadataError::Source`] and [`MetadataError::NoSafe`].
pub async fn read_granule_file(
    source: &Source,
    product: ProductId,
    raster_path: &str,
) -> Result<GranuleFile, MetadataError> {
    let paths = MetadataPaths::of_raster(product, raster_path)
        .ok_or_else(|| MetadataError::NoSafe { path: raster_path.to_owned() })?;
    let whole = source.get_all(&paths.granule, GRANULE_LIMIT).await?;
    Ok(GranuleFile { bytes: whole.bytes, path: paths.granule })
}

async fn with_product(
    source: &Source,
    product: ProductId,
    paths: &MetadataPaths,
    granule: GranuleFacts,
) -> Result<ProductMetadata, MetadataError> {
    let whole = source.get_all(&paths.product, PRODUCT_LIMIT).await?;
    let facts = parse_product(&whole.bytes, product.level(), &paths.product)?;
    check_product(product, &facts, &paths.product)?;
    if paths.apart {
        check_belongs(&granule, &facts, paths)?;
    }
    Ok(ProductMetadata {
        sensing_time_us: granule.sensing_time_us,
        datastrip_id: granule.datastrip_id,
        add_offset: facts.add_offset,
        quantification: facts.quantification,
        cloud_cover: facts.cloud_cover,
        source: MetadataSource::Product,
    })
}

/// Reads the facts of a granule from as few bytes as needed.
///
/// # Errors
/// [`MetadataError`].
pub async fn read_granule(source: &Source, path: &str) -> Result<GranuleFacts, MetadataError> {
    for bytes in GRANULE_READS {
        let fetched = source.get_range(path, 0..bytes).await?;
        if let Some(facts) = parse_granule(&fetched.bytes, path)? {
            return Ok(facts);
        }
        if fetched.size <= bytes {
            break;
        }
    }
    Err(MetadataError::Missing { path: path.to_owned(), element: "complete Tile_Geocoding" })
}

/// Checks a granule's tile and geocoding against the product's name.
///
/// # Errors
/// [`MetadataError::Contradiction`] and [`MetadataError::Geocoding`].
pub fn check_granule(product: ProductId, granule: &GranuleFacts, path: &str) -> Result<(), MetadataError> {
    let tile = product.tile();
    if granule.tile != tile {
        let reason = format!("TILE_ID is of tile {}, the product's name of {tile}", granule.tile);
        return Err(MetadataError::Contradiction { path: path.to_owned(), reason });
    }
    let expected = TileGeocoding::of(tile);
    if granule.geocoding != expected {
        let say = |g: TileGeocoding| format!("EPSG:{} with upper left ({}, {})", g.epsg, g.ulx, g.uly);
        return Err(MetadataError::Geocoding {
            path: path.to_owned(),
            found: say(granule.geocoding),
            expected: format!("{} for tile {tile}", say(expected)),
        });
    }
    Ok(())
}

/// Checks a product's metadata against its name. The last part of the name is left out: mirrors change it.
///
/// # Errors
/// [`MetadataError::Contradiction`].
pub fn check_product(product: ProductId, facts: &ProductFacts, path: &str) -> Result<(), MetadataError> {
    let contradiction = |reason| Err(MetadataError::Contradiction { path: path.to_owned(), reason });
    if facts.baseline != product.baseline() {
        let (found, expected) = (facts.baseline, product.baseline());
        return contradiction(format!("PROCESSING_BASELINE is {found}, the product's name says {expected}"));
    }
    match facts.product {
        Some(other) if other.datatake() != product.datatake() => {
            contradiction(format!("PRODUCT_URI is {other}, the folder is {product}"))
        }
        _ => Ok(()),
    }
}

/// Checks that a granule is one of those that the product's metadata names.
///
/// # Errors
/// [`MetadataError::Missing`] where the product names none, [`MetadataError::Contradiction`] where it names others.
pub fn check_belongs(granule: &GranuleFacts, facts: &ProductFacts, paths: &MetadataPaths) -> Result<(), MetadataError> {
    let Some(first) = facts.granules.first() else {
        return Err(MetadataError::Missing { path: paths.product.clone(), element: "granuleIdentifier" });
    };
    // The file class is no part of the identity: products of 2017 have `USER` in one file and `OPER` in the other.
    let plain = |id: &str| id.replacen("_USER_", "_OPER_", 1);
    let same = |name: &GranuleName| {
        let datastrip = name.datastrip_id.as_deref().map(plain);
        plain(&name.tile_id) == plain(&granule.tile_id)
            && (datastrip.is_none() || datastrip == granule.datastrip_id.as_deref().map(plain))
    };
    if facts.granules.iter().any(same) {
        return Ok(());
    }
    let datastrip = |id: &Option<String>| id.clone().unwrap_or_default();
    let reason = format!(
        "it is of granule {} ({}), the product has {} ({})",
        granule.tile_id,
        datastrip(&granule.datastrip_id),
        first.tile_id,
        datastrip(&first.datastrip_id)
    );
    Err(MetadataError::Contradiction { path: paths.granule.clone(), reason })
}
