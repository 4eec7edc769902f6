//! Reflectance as colours on a screen.

use bytes::Bytes;
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use serde_json::Value;

use super::mean::Mean;

/// The reflectance that is shown brightest, as in ESA's own true-colour images: 3.5 times it is 1.
const BRIGHTEST: f64 = 1.0 / 3.5;

/// The grey where there is no data.
const NODATA: u8 = 128;

/// Quality of 100.
const QUALITY: u8 = 85;

/// A band of the picture.
pub(super) struct Band {
    mean: Mean,
    scale: f64,
    offset: f64,
}

impl Band {
    /// The means of an array that has this document.
    pub(super) fn of(mean: Mean, document: Option<&Value>) -> Self {
        let attribute = |name: &str| document?.pointer(&format!("/attributes/{name}"))?.as_f64();
        let (scale, offset) = (attribute("scale_factor").unwrap_or(1.0), attribute("add_offset").unwrap_or(0.0));
        Self { mean, scale, offset }
    }

    fn shades(&self) -> impl Iterator<Item = Option<u8>> {
        self.mean.values().map(|value| value.map(|value| shade(value * self.scale + self.offset)))
    }
}

/// A picture.
pub(super) struct Jpeg {
    pub(super) bytes: Bytes,
    /// Pixels.
    pub(super) width: u32,
    /// Pixels.
    pub(super) height: u32,
}

/// Red, green and blue as a JPEG, the same bytes for the same bands.
///
/// # Errors
/// In words: they are not three of one size, or cannot be encoded.
pub(super) fn jpeg(bands: &[Band]) -> Result<Jpeg, String> {
    let [red, green, blue] = bands else { return Err(format!("it has {} of 3 bands", bands.len())) };
    let (width, height) = (red.mean.width, red.mean.height);
    if [green, blue].iter().any(|band| (band.mean.width, band.mean.height) != (width, height)) {
        return Err("its bands have different sizes".to_owned());
    }
    let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
    for ((red, green), blue) in red.shades().zip(green.shades()).zip(blue.shades()) {
        let pixel = match (red, green, blue) {
            (Some(red), Some(green), Some(blue)) => [red, green, blue],
            _ => [NODATA; 3],
        };
        pixels.extend(pixel);
    }
    let mut out = Vec::new();
    let encoded =
        JpegEncoder::new_with_quality(&mut out, QUALITY).encode(&pixels, width, height, ExtendedColorType::Rgb8);
    encoded.map_err(|error| format!("the picture cannot be encoded: {error}"))?;
    Ok(Jpeg { bytes: out.into(), width, height })
}

/// The brightness of a reflectance.
fn shade(reflectance: f64) -> u8 {
    let level = (reflectance / BRIGHTEST).clamp(0.0, 1.0) * 255.0;
    // Between 0 and 255, and no number becomes 0.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    {
        level.round() as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reflectance_is_shown_as_esa_does() {
        for (reflectance, expected) in [(-0.1, 0), (0.0, 0), (0.1, 89), (0.2857, 255), (1.3, 255), (f64::NAN, 0)] {
            assert_eq!(shade(reflectance), expected, "{reflectance}");
        }
    }
}
