//! Radiometry, and the names of the eras: the trees beside the main one for what cannot stand in its arrays.
//!
//! One array has one main header and one scale, and a DataTree has one time axis. So products of another radiometric
//! offset, and rasters of another header profile, form trees of their own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::NameError;
use crate::product::ProductMetadata;

/// What tells eras of further header profiles, with the number of the profile behind.
const PROFILE: &str = "-profile-";

/// Longest name of an era.
const LONGEST: usize = 64;

/// Offset and scale shared by all reflectance arrays of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Radiometry {
    /// Digital numbers added by the processor (`BOA_ADD_OFFSET`): -1000 or 0.
    pub add_offset: i32,
    /// Digital numbers per unit of reflectance.
    pub quantification: f64,
}

impl Radiometry {
    /// That of a product.
    #[must_use]
    pub fn of(metadata: &ProductMetadata) -> Self {
        Self { add_offset: metadata.add_offset, quantification: metadata.quantification }
    }

    /// The same for equal ones, and sortable.
    pub(crate) fn key(self) -> (i32, u64) {
        (self.add_offset, self.quantification.to_bits())
    }

    /// False where the numbers are so odd that no tree can be named after them.
    pub(crate) fn is_nameable(self) -> bool {
        Era::new(self, usize::from(u8::MAX)).name().parse::<Era>().is_ok()
    }
}

impl fmt::Display for Radiometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "radiometric offset {} and quantification {}", self.add_offset, self.quantification)
    }
}

/// Name of an era: its radiometric offset, and a number where it is not the first header profile of that offset, such as
/// `offset-0`, `offset-1000-profile-2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Era(String);

impl Era {
    /// The era of a radiometry and a rank of header profiles; rank 0 is the first.
    #[must_use]
    pub fn new(radiometry: Radiometry, rank: usize) -> Self {
        let Radiometry { add_offset, quantification } = radiometry;
        let sign = if add_offset > 0 { "plus-" } else { "" };
        let mut name = format!("offset-{sign}{}", add_offset.unsigned_abs());
        if quantification.to_bits() != 10_000_f64.to_bits() {
            name += &format!("-per-{quantification}");
        }
        if rank > 0 {
            name += &format!("{PROFILE}{}", rank + 1);
        }
        Self(name)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Era {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Era {
    type Err = NameError;

    /// A name becomes part of an address, so nothing but letters, digits, points and hyphens is let in.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let good = text.len() <= LONGEST && text.starts_with("offset-") && text.chars().all(plain);
        let error = || NameError {
            text: text.chars().take(LONGEST).collect(),
            expected: "the name of an era such as offset-0 or offset-1000-profile-2",
        };
        good.then(|| Self(text.to_owned())).ok_or_else(error)
    }
}

impl TryFrom<String> for Era {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Era> for String {
    fn from(era: Era) -> Self {
        era.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_say_offset_and_rank_and_are_safe_in_a_path() {
        let era = |add_offset, quantification, rank| Era::new(Radiometry { add_offset, quantification }, rank);
        for (era, name) in [
            (era(0, 10_000.0, 0), "offset-0"),
            (era(-1000, 10_000.0, 1), "offset-1000-profile-2"),
            (era(500, 10_000.0, 0), "offset-plus-500"),
            (era(0, 2500.5, 2), "offset-0-per-2500.5-profile-3"),
        ] {
            assert_eq!(era.name(), name);
            assert_eq!(name.parse::<Era>().unwrap(), era);
        }
        for name in ["", "offset-0/../x", "offset-0 ", "OFFSET-0", "x", &format!("offset-{}", "0".repeat(80))] {
            assert!(name.parse::<Era>().is_err(), "{name}");
        }
        for (quantification, good) in [(10_000.0, true), (0.1, true), (1e-300, false), (1e300, false)] {
            assert_eq!(Radiometry { add_offset: i32::MIN, quantification }.is_nameable(), good, "{quantification}");
        }
    }
}
