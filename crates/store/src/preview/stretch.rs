//! From reflectance to brightness: what lies between two percentiles of all that is shown is spread over all shades.
//!
//! Clouds and snow, which are brighter than nearly all land, do not count: a few of them would leave the rest black.

use serde_json::Value;

/// Percent of the pixels that are shown darkest, and that are not shown brightest.
const PERCENTILES: [f64; 2] = [2.0, 98.0];

/// Reflectance from which on a pixel counts as cloud or snow.
const BRIGHT: f64 = 0.5;

/// Where less than this part of the pixels is left without them, all count.
const ENOUGH: f64 = 0.1;

/// Steps of a reflectance of 1: digital numbers of every baseline are whole ones.
const STEPS: f64 = 10_000.0;

/// The least value that is counted, in steps; offsets make some less than 0.
const LEAST: i32 = -(1 << 15);

/// Number of values.
const VALUES: usize = 1 << 17;

/// What the numbers of an array mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tone {
    scale: f64,
    offset: f64,
}

impl Tone {
    /// That of an array with this document.
    pub(super) fn of(document: Option<&Value>) -> Self {
        let attribute = |name: &str| document?.pointer(&format!("/attributes/{name}"))?.as_f64();
        Self { scale: attribute("scale_factor").unwrap_or(1.0), offset: attribute("add_offset").unwrap_or(0.0) }
    }

    /// Reflectance in steps, counted from the least.
    fn value(self, number: u16) -> usize {
        let steps = ((f64::from(number) * self.scale + self.offset) * STEPS).round() - f64::from(LEAST);
        // Between 0 and the number of values; no number becomes 0.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        {
            (steps.max(0.0) as usize).min(VALUES - 1)
        }
    }
}

/// How often each reflectance is.
pub(super) struct Counts(Vec<u64>);

impl Counts {
    pub(super) fn new() -> Self {
        Self(vec![0; VALUES])
    }

    /// Counts numbers that mean something.
    pub(super) fn add(&mut self, tone: Tone, numbers: impl Iterator<Item = u16>) {
        let mut each = vec![0u64; 1 << 16];
        for number in numbers {
            each[usize::from(number)] += 1;
        }
        for (number, count) in (0..=u16::MAX).zip(each).filter(|(_, count)| *count > 0) {
            self.0[tone.value(number)] += count;
        }
    }

    /// The counts without clouds and snow, where enough is left.
    fn of_ground(&self) -> &[u64] {
        // A constant between 0 and the number of values.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bright = (BRIGHT * STEPS - f64::from(LEAST)) as usize;
        let ground = self.0.get(..bright).unwrap_or(&self.0);
        let pixels = |counts: &[u64]| counts.iter().sum::<u64>() as f64;
        if pixels(ground) < ENOUGH * pixels(&self.0) { &self.0 } else { ground }
    }

    pub(super) fn stretch(&self) -> Stretch {
        let counts = self.of_ground();
        let [low, high] = PERCENTILES.map(|percent| percentile(counts, percent));
        Stretch { low, high }
    }
}

/// The value at this place of all, sorted.
fn sorted(counts: &[u64], place: u64) -> f64 {
    let mut seen = 0;
    let found = counts.iter().position(|count| {
        seen += count;
        seen > place
    });
    found.unwrap_or_default() as f64
}

/// A percentile, between neighbours in proportion, as NumPy has it.
fn percentile(counts: &[u64], percent: f64) -> f64 {
    let last = counts.iter().sum::<u64>().saturating_sub(1);
    let place = last as f64 * percent / 100.0;
    // Not negative, and not more than there are.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let below = place as u64;
    let low = sorted(counts, below);
    low + (sorted(counts, (below + 1).min(last)) - low) * (place - below as f64)
}

/// What is darkest, and what is brightest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stretch {
    low: f64,
    high: f64,
}

impl Stretch {
    /// The shade of each number.
    pub(super) fn shades(self, tone: Tone) -> Vec<u8> {
        // Where all is alike, one step makes the difference.
        let span = (self.high - self.low).max(1.0);
        let shade = |number: u16| {
            let part = ((tone.value(number) as f64 - self.low) / span).clamp(0.0, 1.0);
            // Between 0 and 255.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            {
                (part * 255.0).round() as u8
            }
        };
        (0..=u16::MAX).map(shade).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NEW: Tone = Tone { scale: 0.0001, offset: -0.1 };
    const OLD: Tone = Tone { scale: 0.0001, offset: 0.0 };

    #[test]
    fn percentiles_are_those_of_numpy() {
        let mut counts = Counts::new();
        counts.add(OLD, [10, 20, 30, 40].into_iter());
        // numpy.percentile([10, 20, 30, 40], [2, 50, 98])
        let of = |percent| percentile(&counts.0, percent) + f64::from(LEAST);
        assert!((of(2.0) - 10.6).abs() < 1e-9 && (of(50.0) - 25.0).abs() < 1e-9 && (of(98.0) - 39.4).abs() < 1e-9);
    }

    #[test]
    fn eras_have_one_stretch() {
        let mut counts = Counts::new();
        counts.add(OLD, 0..=1000);
        counts.add(NEW, 1000..=2000);
        let stretch = counts.stretch();
        assert_eq!(stretch.low + f64::from(LEAST), 20.0);
        let (old, new) = (stretch.shades(OLD), stretch.shades(NEW));
        assert_eq!(old[..1001], new[1000..2001], "the same reflectance has the same shade");
        assert_eq!((old[20], old[500], old[980], old[5000], new[0]), (0, 128, 255, 255, 0));
    }

    #[test]
    fn clouds_do_not_count_but_where_they_are_all() {
        let of = |land: usize, clouds: usize| {
            let mut counts = Counts::new();
            counts.add(OLD, std::iter::repeat_n(300, land).chain(std::iter::repeat_n(700, land)));
            counts.add(OLD, std::iter::repeat_n(9000, clouds));
            let Stretch { low, high } = counts.stretch();
            (low + f64::from(LEAST), high + f64::from(LEAST))
        };
        assert_eq!(of(100, 0), (300.0, 700.0));
        assert_eq!(of(100, 800), (300.0, 700.0));
        assert_eq!(of(1, 800), (9000.0, 9000.0));
    }

    #[test]
    fn nothing_and_one_value_have_shades() {
        assert_eq!(Counts::new().stretch().shades(OLD)[7], 255);
        let mut counts = Counts::new();
        counts.add(OLD, [500; 9].into_iter());
        let shades = counts.stretch().shades(OLD);
        assert_eq!((shades[499], shades[500], shades[501]), (0, 0, 255));
    }

    #[test]
    fn a_document_says_what_numbers_mean() {
        let document = json!({ "attributes": { "scale_factor": 0.0001, "add_offset": -0.1 } });
        assert_eq!(Tone::of(Some(&document)), NEW);
        assert_eq!(Tone::of(None), Tone { scale: 1.0, offset: 0.0 });
    }
}
