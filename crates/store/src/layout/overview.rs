//! Overviews: the rasters of a group without their last resolutions, in groups beside it.
//!
//! They stand beside and not below it, since a tree of xarray hands down `x` and `y` and refuses a child with others.

use std::collections::BTreeSet;

use s2ice_jpeg2000::MainHeader;
use s2ice_manifest::encoding::Encoding;
use s2ice_manifest::profile::HeaderProfile;
use s2ice_manifest::raster::{Asset, Quantity};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The largest number of resolutions that any JPEG 2000 file can leave out.
const MAX_REDUCE: u8 = 32;

/// Which overviews a store has of its rasters, each by the number of resolutions that it leaves out. Told as factors: 2, 4, 8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overviews(BTreeSet<u8>);

impl Overviews {
    /// The overviews with these factors.
    ///
    /// # Errors
    /// One is no power of two from 2 on; in words.
    pub fn of_factors(factors: impl IntoIterator<Item = u64>) -> Result<Self, String> {
        let reduce = |factor: u64| {
            let reduce = u8::try_from(factor.trailing_zeros()).ok().filter(|reduce| (1..=MAX_REDUCE).contains(reduce));
            reduce.filter(|_| factor.is_power_of_two()).ok_or_else(|| {
                format!("{factor} is no factor of an overview: resolutions halve the pixels, so 2, 4, 8, ...")
            })
        };
        factors.into_iter().map(reduce).collect::<Result<_, _>>().map(Self)
    }

    /// How many resolutions each leaves out.
    pub fn reduces(&self) -> impl Iterator<Item = u8> + '_ {
        self.0.iter().copied()
    }

    /// As [`Overviews::reduces`], the whole raster first.
    pub fn with_whole(&self) -> impl Iterator<Item = u8> + '_ {
        std::iter::once(0).chain(self.reduces())
    }

    /// Their factors.
    pub fn factors(&self) -> Vec<u64> {
        self.reduces().map(factor).collect()
    }

    /// True where there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Overviews {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.factors().serialize(serializer)
    }
}

/// A list of factors, or a text of them as on a command line; `none` for the empty one.
impl<'de> Deserialize<'de> for Overviews {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let factors = match Value::deserialize(deserializer)? {
            Value::String(text) if text == "none" => Some(Vec::new()),
            Value::String(text) => text.split(',').map(|factor| factor.trim().parse().ok()).collect(),
            Value::Array(list) => list.iter().map(Value::as_u64).collect(),
            _ => None,
        };
        let factors = factors.ok_or_else(|| serde::de::Error::custom("overviews are factors such as 2,4, or none"))?;
        Self::of_factors(factors).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Overviews {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Overviews".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "array", "items": { "type": "integer", "minimum": 2 }, "uniqueItems": true })
    }
}

/// How many pixels of the raster lie along a pixel of its overview.
pub fn factor(reduce: u8) -> u64 {
    1_u64.checked_shl(u32::from(reduce)).unwrap_or(u64::MAX)
}

/// Name of the group of overviews of the group of this name.
pub fn group(name: &str, reduce: u8) -> String {
    if reduce == 0 { name.to_owned() } else { format!("{name}_x{}", factor(reduce)) }
}

/// Path of the overview of the array at a path.
pub fn path(array: &str, reduce: u8) -> String {
    match array.rsplit_once('/') {
        Some((leaf, name)) => format!("{}/{name}", group(leaf, reduce)),
        None => array.to_owned(),
    }
}

/// The group of whole rasters beside which a group of overviews stands, and their factor; `None` for any other group.
pub fn beside(group: &str) -> Option<(&str, u64)> {
    let (whole, factor) = group.rsplit_once("_x")?;
    Some((whole, factor.parse().ok()?))
}

/// What readers have to know of such a group; nothing of a group of whole rasters.
pub fn comment(reduce: u8) -> Option<String> {
    let every = factor(reduce);
    (reduce > 0).then(|| {
        format!(
            "overview of the files' own wavelet transform: pixels are weighted means of their surroundings, nodata included \
             near its edges, and lie where every {every}th pixel of the whole rasters lies"
        )
    })
}

/// The profile with the image and tiles that a raster has without its last resolutions; `None` where it cannot leave out so
/// many, and for what has no wavelets or holds codes, which no filter may blend.
pub fn reduced(asset: Asset, header: &HeaderProfile, reduce: u8) -> Option<HeaderProfile> {
    let Encoding::Jpeg2000 { codec_header } = &header.encoding else { return None };
    let is_class =
        matches!(asset.quantity, Quantity::Scl | Quantity::Detfoo(_) | Quantity::Qualit(_) | Quantity::Classi);
    let main = MainHeader::parse(codec_header).ok().filter(|main| !is_class && reduce <= main.min_levels())?;
    let geometry = main.geometry().ok()?.reduced(reduce).ok()?;
    let (image, tile) = ((geometry.height, geometry.width), (geometry.tile_height, geometry.tile_width));
    Some(HeaderProfile { image, tile, ..header.clone() })
}

/// The number of resolutions that the arrays of this document leave out.
pub fn reduce_of(document: &Value) -> u64 {
    document.pointer("/codecs/0/configuration/reduce").and_then(Value::as_u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use s2ice_manifest::header_class::assumed_header;
    use s2ice_manifest::ids::Level;
    use serde_json::json;

    use super::*;

    #[test]
    fn factors_are_powers_of_two() {
        let read = |value: Value| serde_json::from_value::<Overviews>(value).map_err(|error| error.to_string());
        let some = read(json!("4, 2")).unwrap();
        assert_eq!((some.factors(), &some), (vec![2, 4], &read(json!([2, 4, 2])).unwrap()));
        assert!(read(json!("none")).unwrap().is_empty() && read(json!([])).unwrap().is_empty());
        assert_eq!(serde_json::to_value(&some).unwrap(), json!([2, 4]));
        for bad in [json!("3"), json!([1]), json!([0]), json!("2,6"), json!([1_u64 << 40])] {
            assert!(read(bad.clone()).unwrap_err().contains("is no factor of an overview"), "{bad}");
        }
        for bad in [json!(""), json!("two"), json!([-2]), json!(2.5), json!({}), json!([2.5])] {
            assert!(read(bad.clone()).unwrap_err().contains("factors such as 2,4"), "{bad}");
        }
    }

    #[test]
    fn what_is_left_of_a_raster() {
        let left = |asset: &str, reduce| {
            let asset: Asset = asset.parse().unwrap();
            let header = HeaderProfile::parse(&assumed_header(asset, Level::L2A).unwrap()).unwrap();
            reduced(asset, &header, reduce).map(|left| (left.image, left.tile, left.grid() == header.grid()))
        };
        assert_eq!(left("B02_10m", 2), Some(((2745, 2745), (256, 256), true)));
        assert_eq!(left("B01_60m", 3), Some(((229, 229), (24, 24), true)));
        assert_eq!(left("B02_10m", 6), None);
        for class in ["SCL_20m", "MSK_DETFOO_B02", "MSK_QUALIT_B02", "MSK_CLASSI_B00"] {
            assert_eq!(left(class, 1), None, "{class}");
        }
    }
}
