//! Where the bands of the MultiSpectral Instrument lie in the spectrum.

use s2ice_manifest::ids::Band;
use serde_json::{Map, Value, json};

/// A band in the words of the EO extension.
struct Spectral {
    common_name: &'static str,
    /// Centre of the band, micrometres.
    centre: f64,
    /// Width at half of its maximum, micrometres.
    width: f64,
}

/// ESA's spectral responses, which every product repeats (`Spectral_Information` of MTD_MSIL1C.xml and MTD_MSIL2A.xml):
/// the centres stated there and the widths of the responses, each the mean of Sentinel-2A and 2B. Satellites differ by up to
/// 17 nm (B12).
fn spectral(band: Band) -> Spectral {
    let (common_name, centre, width) = match band {
        Band::B01 => ("coastal", 0.4425, 0.02),
        Band::B02 => ("blue", 0.4925, 0.065),
        Band::B03 => ("green", 0.5594, 0.035),
        Band::B04 => ("red", 0.6648, 0.03),
        Band::B05 => ("rededge071", 0.704, 0.014),
        Band::B06 => ("rededge075", 0.7398, 0.014),
        Band::B07 => ("rededge078", 0.7813, 0.019),
        Band::B08 => ("nir", 0.8329, 0.105),
        Band::B8A => ("nir08", 0.8644, 0.021),
        Band::B09 => ("nir09", 0.9442, 0.02),
        Band::B10 => ("cirrus", 1.3752, 0.029),
        Band::B11 => ("swir16", 1.6121, 0.092),
        Band::B12 => ("swir22", 2.1941, 0.179),
    };
    Spectral { common_name, centre, width }
}

/// What the EO extension says of a band.
pub(super) fn describe(band: Band, into: &mut Map<String, Value>) {
    let Spectral { common_name, centre, width } = spectral(band);
    into.insert("eo:common_name".into(), common_name.into());
    into.insert("eo:center_wavelength".into(), json!(centre));
    into.insert("eo:full_width_half_max".into(), json!(width));
}

/// Common names of the components of the true-colour image.
pub(super) const TRUE_COLOUR: [&str; 3] = ["red", "green", "blue"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_lie_in_the_order_of_the_spectrum() {
        // By wavelength B8A follows B08; `Band::ALL` has the order of the products.
        let bands: Vec<Spectral> = Band::ALL.into_iter().map(spectral).collect();
        assert!(bands.is_sorted_by(|a, b| a.centre < b.centre));
        assert!(bands.iter().all(|band| band.width < band.centre / 5.0));
    }
}
