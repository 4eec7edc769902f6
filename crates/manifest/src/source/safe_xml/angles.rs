//! `MTD_TL.xml`: sun and viewing angles on the grid of 5 km nodes, which are most of the file.

use std::collections::BTreeMap;

use crate::geometry::{ANGLES, AngleGrid, Angles, GRID_VALUES, NODES, SPACING_M};
use crate::ids::Band;

use super::MetadataError;
use super::xml::{Element, whole};

/// One grid under construction.
#[derive(Default)]
struct Grid {
    /// Where its element begins: another one of the same name is a second grid.
    at: u64,
    /// Rows of zenith and azimuth.
    values: [Vec<f32>; ANGLES],
    /// Steps seen of zenith and azimuth: COL_STEP, ROW_STEP.
    steps: [[bool; 2]; ANGLES],
}

/// Which grid a value belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Sun,
    View(Band, u8),
}

#[derive(Default)]
struct Found {
    grids: BTreeMap<Owner, Grid>,
    mean_sun: [Option<f32>; ANGLES],
    mean_viewing: BTreeMap<Band, [Option<f32>; ANGLES]>,
}

/// Reads the angles from the whole of `MTD_TL.xml`. Detectors that are not there have no grid; means that are not there
/// are NaN.
///
/// # Errors
/// [`MetadataError`]: no complete XML document, no grid of the sun or no viewing grid, a grid that is not of 23 x 23 nodes
/// 5 km apart, a value that is no angle.
pub fn parse_angles(bytes: &[u8], path: &str) -> Result<Angles, MetadataError> {
    let mut found = Found::default();
    whole(bytes, path, |elements, text| found.take(elements, text, path))?;
    found.finish(path)
}

impl Found {
    fn take(&mut self, elements: &[Element], text: &str, path: &str) -> Result<(), MetadataError> {
        let Some(last) = elements.last() else { return Ok(()) };
        let up = |levels: usize| elements.len().checked_sub(levels + 1).and_then(|index| elements.get(index));
        let parent = up(1).map_or("", |element| element.name.as_str());
        match last.name.as_str() {
            "VALUES" if parent == "Values_List" => {
                let Some((angle, grid)) = self.grid(up(2), up(3), path)? else { return Ok(()) };
                row(&mut grid.values[angle], angle, text, path)
            }
            step @ ("COL_STEP" | "ROW_STEP") => {
                let Some((angle, grid)) = self.grid(up(1), up(2), path)? else { return Ok(()) };
                let metres = last.attribute("unit").is_none_or(|unit| unit == "m");
                if !metres || text.parse::<f64>().ok() != Some(f64::from(SPACING_M)) {
                    let element = if step == "COL_STEP" { "COL_STEP" } else { "ROW_STEP" };
                    return Err(MetadataError::value(path, element, text));
                }
                grid.steps[angle][usize::from(step == "ROW_STEP")] = true;
                Ok(())
            }
            "ZENITH_ANGLE" | "AZIMUTH_ANGLE" => {
                let angle = usize::from(last.name == "AZIMUTH_ANGLE");
                let means = match parent {
                    "Mean_Sun_Angle" => &mut self.mean_sun,
                    "Mean_Viewing_Incidence_Angle" => {
                        self.mean_viewing.entry(band(up(1), path)?).or_insert([None; ANGLES])
                    }
                    _ => return Ok(()),
                };
                if last.attribute("unit").is_some_and(|unit| unit != "deg") {
                    return Err(MetadataError::value(
                        path,
                        "unit of an angle",
                        last.attribute("unit").unwrap_or_default(),
                    ));
                }
                match means[angle].replace(degrees(angle, text, path)?) {
                    None => Ok(()),
                    Some(_) => Err(twice(path, format!("a mean angle ({})", last.name))),
                }
            }
            _ => Ok(()),
        }
    }

    /// The grid of an element `Zenith` or `Azimuth`, and which of the two it is; `None` for anything else.
    fn grid(
        &mut self,
        angle: Option<&Element>,
        owner: Option<&Element>,
        path: &str,
    ) -> Result<Option<(usize, &mut Grid)>, MetadataError> {
        let (Some(angle), Some(element)) = (angle, owner) else { return Ok(None) };
        let angle = match angle.name.as_str() {
            "Zenith" => 0,
            "Azimuth" => 1,
            _ => return Ok(None),
        };
        let owner = match element.name.as_str() {
            "Sun_Angles_Grid" => Owner::Sun,
            "Viewing_Incidence_Angles_Grids" => Owner::View(band(Some(element), path)?, detector(element, path)?),
            _ => return Ok(None),
        };
        let grid = self.grids.entry(owner).or_insert_with(|| Grid { at: element.at, ..Grid::default() });
        if grid.at != element.at {
            return Err(twice(path, owner.words()));
        }
        Ok(Some((angle, grid)))
    }

    fn finish(self, path: &str) -> Result<Angles, MetadataError> {
        let mut sun = None;
        let mut viewing = BTreeMap::new();
        for (owner, grid) in self.grids {
            let values = grid.finish(owner, path)?;
            match owner {
                Owner::Sun => sun = Some(values),
                Owner::View(band, detector) => drop(viewing.insert((band, detector), values)),
            }
        }
        let missing = |element: &'static str| MetadataError::Missing { path: path.to_owned(), element };
        let sun = sun.ok_or_else(|| missing("Sun_Angles_Grid"))?;
        if viewing.is_empty() {
            return Err(missing("Viewing_Incidence_Angles_Grids"));
        }
        let mean = |found: &[Option<f32>; ANGLES]| found.map(|angle| angle.unwrap_or(f32::NAN));
        let mean_viewing = Band::ALL.map(|band| self.mean_viewing.get(&band).map_or([f32::NAN; ANGLES], mean));
        Ok(Angles { sun, mean_sun: mean(&self.mean_sun), viewing, mean_viewing })
    }
}

impl Owner {
    fn words(self) -> String {
        match self {
            Self::Sun => "the grid of sun angles".to_owned(),
            Self::View(band, detector) => format!("the grid of viewing angles of {band}, detector {detector},"),
        }
    }
}

impl Grid {
    fn finish(self, owner: Owner, path: &str) -> Result<AngleGrid, MetadataError> {
        let refused = |reason: String| {
            let reason = format!("{} {reason}", owner.words());
            MetadataError::Contradiction { path: path.to_owned(), reason }
        };
        if self.steps != [[true; 2]; ANGLES] {
            return Err(refused("does not say the distance of its nodes".to_owned()));
        }
        for (values, name) in self.values.iter().zip(["zenith", "azimuth"]) {
            if values.len() != NODES * NODES {
                return Err(refused(format!("has {} rows of {name}, not {NODES}", values.len() / NODES)));
            }
        }
        let grid = self.values.concat().into_boxed_slice();
        debug_assert_eq!(grid.len(), GRID_VALUES);
        Ok(grid)
    }
}

/// Appends a row of [`NODES`] angles.
fn row(values: &mut Vec<f32>, angle: usize, text: &str, path: &str) -> Result<(), MetadataError> {
    let refused = |reason: String| Err(MetadataError::Contradiction { path: path.to_owned(), reason });
    if values.len() >= NODES * NODES {
        return refused(format!("a grid of angles has more than {NODES} rows"));
    }
    let before = values.len();
    for value in text.split_ascii_whitespace() {
        values.push(degrees(angle, value, path)?);
    }
    match values.len() - before {
        NODES => Ok(()),
        other => refused(format!("a row of angles has {other} values, not {NODES}")),
    }
}

/// An angle; NaN is one. Zeniths lie between 0 and 180 degrees; azimuths are seen with either sign.
fn degrees(angle: usize, text: &str, path: &str) -> Result<f32, MetadataError> {
    // Through double precision, as every other reader does.
    #[allow(clippy::cast_possible_truncation)]
    let value = text.trim().parse::<f64>().ok().map(|value| value as f32);
    match value {
        // One pattern of bits for all of them.
        Some(value) if value.is_nan() => Ok(f32::NAN),
        Some(value) if angle == 0 && (0.0..=180.0).contains(&value) => Ok(value),
        Some(value) if angle == 1 && (-360.0..=360.0).contains(&value) => Ok(value),
        _ => Err(MetadataError::value(path, if angle == 0 { "a zenith" } else { "an azimuth" }, text)),
    }
}

fn band(element: Option<&Element>, path: &str) -> Result<Band, MetadataError> {
    let text = element.and_then(|e| e.attribute("bandId").or_else(|| e.attribute("band_id"))).unwrap_or_default();
    let number: Option<usize> = text.trim().parse().ok();
    let band = number.and_then(|number| Band::ALL.get(number)).copied();
    band.ok_or_else(|| MetadataError::value(path, "bandId", text))
}

fn detector(element: &Element, path: &str) -> Result<u8, MetadataError> {
    let text = element.attribute("detectorId").unwrap_or_default();
    let number: Option<u8> = text.trim().parse().ok();
    number
        .filter(|number| (1..=crate::geometry::DETECTORS).contains(&usize::from(*number)))
        .ok_or_else(|| MetadataError::value(path, "detectorId", text))
}

fn twice(path: &str, what: String) -> MetadataError {
    MetadataError::Contradiction { path: path.to_owned(), reason: format!("{what} is given twice") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn grid(zenith: impl Fn(usize, usize) -> String, azimuth: impl Fn(usize, usize) -> String) -> String {
        let values = |of: &dyn Fn(usize, usize) -> String| -> String {
            let row = |y| (0..NODES).map(|x| of(y, x)).collect::<Vec<_>>().join(" ");
            (0..NODES).map(|y| format!("<VALUES>{}</VALUES>", row(y))).collect()
        };
        let steps = "<COL_STEP unit=\"m\">5000</COL_STEP><ROW_STEP unit=\"m\">5000</ROW_STEP>";
        format!(
            "<Zenith>{steps}<Values_List>{}</Values_List></Zenith><Azimuth>{steps}<Values_List>{}</Values_List></Azimuth>",
            values(&zenith),
            values(&azimuth)
        )
    }

    fn plain() -> String {
        grid(|y, x| format!("{y}.{x:02}"), |y, x| if x > y { "NaN".to_owned() } else { "280.5".to_owned() })
    }

    fn document(inner: &str) -> String {
        format!("<n1:T xmlns:n1=\"x\"><n1:Geometric_Info><Tile_Angles>{inner}</Tile_Angles></n1:Geometric_Info></n1:T>")
    }

    fn usual() -> String {
        let (sun, view) = (plain(), plain());
        document(&format!(
            "<Sun_Angles_Grid>{sun}</Sun_Angles_Grid><Mean_Sun_Angle><ZENITH_ANGLE unit=\"deg\">30.25</ZENITH_ANGLE>\
             <AZIMUTH_ANGLE unit=\"deg\">160</AZIMUTH_ANGLE></Mean_Sun_Angle>\
             <Viewing_Incidence_Angles_Grids bandId=\"8\" detectorId=\"12\">{view}</Viewing_Incidence_Angles_Grids>\
             <Mean_Viewing_Incidence_Angle_List><Mean_Viewing_Incidence_Angle bandId=\"12\"><ZENITH_ANGLE unit=\"deg\">4.5\
             </ZENITH_ANGLE><AZIMUTH_ANGLE unit=\"deg\">100</AZIMUTH_ANGLE></Mean_Viewing_Incidence_Angle>\
             </Mean_Viewing_Incidence_Angle_List>"
        ))
    }

    fn reason(text: &str) -> String {
        parse_angles(text.as_bytes(), "m").unwrap_err().to_string()
    }

    #[test]
    fn grids_and_means_have_their_place() {
        let angles = parse_angles(usual().as_bytes(), "m").unwrap();
        assert_eq!(angles.sun[3 * NODES + 7], 3.07);
        assert!(angles.sun[NODES * NODES + 1].is_nan());
        assert_eq!(angles.sun[NODES * NODES], 280.5);
        assert_eq!(angles.mean_sun, [30.25, 160.0]);
        assert_eq!(angles.viewing.keys().collect::<Vec<_>>(), [&(Band::B8A, 12)]);
        assert_eq!(angles.mean_viewing[12], [4.5, 100.0]);
        assert!(angles.mean_viewing[..12].iter().flatten().all(|angle| angle.is_nan()));
    }

    #[test]
    fn what_is_unusual_is_refused_by_name() {
        let usual = usual();
        let view = "<Viewing_Incidence_Angles_Grids bandId=\"8\" detectorId=\"12\">";
        let first_row =
            format!("<VALUES>{}</VALUES>", (0..NODES).map(|x| format!("0.{x:02}")).collect::<Vec<_>>().join(" "));
        for (from, to, words) in [
            (first_row.as_str(), "", "the grid of sun angles has 22 rows of zenith, not 23"),
            (&first_row, &format!("{first_row}{first_row}"), "more than 23 rows"),
            (" 0.22</VALUES>", "</VALUES>", "a row of angles has 22 values, not 23"),
            ("3.07", "3.07 1", "24 values"),
            ("3.07", "x", "a zenith is \"x\""),
            ("3.07", "-0.1", "a zenith is \"-0.1\""),
            ("3.07", "1e39", "a zenith is \"1e39\""),
            ("280.5", "inf", "an azimuth is \"inf\""),
            (">5000</COL_STEP>", ">10000</COL_STEP>", "COL_STEP is \"10000\""),
            ("unit=\"m\">5000</ROW_STEP>", "unit=\"km\">5000</ROW_STEP>", "ROW_STEP is \"5000\""),
            (
                "<ROW_STEP unit=\"m\">5000</ROW_STEP>",
                "",
                "the grid of sun angles does not say the distance of its nodes",
            ),
            ("bandId=\"8\"", "bandId=\"13\"", "bandId is \"13\""),
            ("detectorId=\"12\"", "detectorId=\"0\"", "detectorId is \"0\""),
            ("detectorId=\"12\"", "", "detectorId is \"\""),
            ("unit=\"deg\">30.25", "unit=\"rad\">30.25", "unit of an angle is \"rad\""),
            ("Sun_Angles_Grid>", "Moon_Angles_Grid>", "no Sun_Angles_Grid"),
            (view, "<Viewing bandId=\"8\">", "m at byte"),
            ("</n1:T>", "", "the document ends too early"),
        ] {
            assert!(usual.contains(from), "{from}");
            let text = if from == "</n1:T>" {
                usual.replace(from, to)
            } else {
                usual.replacen(
                    from,
                    to,
                    usual.matches("Sun_Angles_Grid>").count().min(if from.starts_with("Sun_") { 2 } else { 1 }),
                )
            };
            let told = reason(&text);
            assert!(told.contains(words), "{from} -> {to}: {told}");
        }
        let sun = format!("<Sun_Angles_Grid>{}</Sun_Angles_Grid>", plain());
        assert!(reason(&document(&sun)).contains("no Viewing_Incidence_Angles_Grids"));
        assert!(reason(&document(&format!("{sun}{sun}"))).contains("the grid of sun angles is given twice"));
    }

    proptest! {
        /// Whatever is cut out of a document or put into it: an answer without a panic, and only whole grids.
        #[test]
        fn damaged_documents_give_whole_grids_or_none(at in 0..40_000_usize, length in 0..3_000_usize, put in "[<>/a-zA-Z0-9 .\"=]{0,40}") {
            let text = usual();
            let (start, end) = (at.min(text.len()), (at + length).min(text.len()));
            let damaged = format!("{}{put}{}", &text[..start], &text[end..]);
            if let Ok(angles) = parse_angles(damaged.as_bytes(), "m") {
                prop_assert_eq!(angles.sun.len(), GRID_VALUES);
                prop_assert!(angles.viewing.values().all(|grid| grid.len() == GRID_VALUES));
                prop_assert!(angles.sun.iter().all(|v| v.is_nan() || (-360.0..=360.0).contains(v)));
            }
        }

        /// Every value comes back as the single-precision number next to it.
        #[test]
        fn values_come_back(zenith in 0.0..180.0_f64, azimuth in -360.0..360.0_f64, y in 0..NODES, x in 0..NODES) {
            let at = |value: f64| move |j: usize, i: usize| if (j, i) == (y, x) { value.to_string() } else { "NaN".to_owned() };
            let grid = grid(at(zenith), at(azimuth));
            let text = document(&format!(
                "<Sun_Angles_Grid>{grid}</Sun_Angles_Grid><Viewing_Incidence_Angles_Grids bandId='0' detectorId='1'>{grid}\
                 </Viewing_Incidence_Angles_Grids>"
            ));
            let angles = parse_angles(text.as_bytes(), "m").unwrap();
            #[allow(clippy::cast_possible_truncation)]
            let wanted = [(y * NODES + x, zenith as f32), (NODES * NODES + y * NODES + x, azimuth as f32)];
            for grid in [&angles.sun, &angles.viewing[&(Band::B01, 1)]] {
                let found: Vec<(usize, f32)> = grid.iter().copied().enumerate().filter(|(_, v)| !v.is_nan()).collect();
                prop_assert_eq!(&found, &wanted);
            }
        }
    }
}
