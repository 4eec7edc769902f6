//! The sun's and the instrument's angles in `MTD_TL.xml`.

use std::fmt::Write as _;

use crate::noise::hash;
use crate::sample::SampleProduct;

/// Angles in ten-thousandths of a degree, as text.
fn degrees(tenthousandths: i64) -> String {
    format!("{}.{:04}", tenthousandths / 10_000, tenthousandths % 10_000)
}

/// Zenith and azimuth on the grid of 23 x 23 points 5 km apart; a point is `None` where a detector does not see it.
fn angle_grid(angle: impl Fn(i64, i64) -> Option<(i64, i64)>) -> String {
    let mut out = String::new();
    for (name, azimuth) in [("Zenith", false), ("Azimuth", true)] {
        let _ = write!(
            out,
            r#"        <{name}>
          <COL_STEP unit="m">5000</COL_STEP>
          <ROW_STEP unit="m">5000</ROW_STEP>
          <Values_List>
"#
        );
        for row in 0..23 {
            let value = |pair: (i64, i64)| degrees(if azimuth { pair.1 } else { pair.0 });
            let values: Vec<String> =
                (0..23).map(|column| angle(row, column).map_or_else(|| "NaN".to_owned(), value)).collect();
            let _ = writeln!(out, "            <VALUES>{}</VALUES>", values.join(" "));
        }
        let _ = write!(out, "          </Values_List>\n        </{name}>\n");
    }
    out
}

/// Sun high in summer and low in winter; two detectors side by side for every band.
pub(super) fn angles(product: &SampleProduct) -> String {
    let id = &product.identity;
    let from_midsummer = (id.season() - 172).abs().min(365 - (id.season() - 172).abs());
    let (zenith, azimuth) =
        (280_000 + from_midsummer * 2500, 1_600_000 + i64::from(hash(0, id.day.number(), 1) % 40_000));
    let sun =
        |row: i64, column: i64| Some((zenith + (11 - row) * 450 - (column - 11) * 62, azimuth + (column - 11) * 900));
    let mean = |tag: &str, zenith: i64, azimuth: i64| {
        let (zenith, azimuth) = (degrees(zenith), degrees(azimuth));
        format!(
            "<ZENITH_ANGLE unit=\"deg\">{zenith}</ZENITH_ANGLE><AZIMUTH_ANGLE unit=\"deg\">{azimuth}</AZIMUTH_ANGLE></{tag}>\n"
        )
    };
    let mut out = format!(
        "    <Tile_Angles metadataLevel=\"Standard\">\n      <Sun_Angles_Grid>\n{}      </Sun_Angles_Grid>\n      <Mean_Sun_Angle>{}",
        angle_grid(sun),
        mean("Mean_Sun_Angle", zenith, azimuth)
    );
    let mut means = String::new();
    for band in 0..13 {
        for detector in 5..=6 {
            let view = |row: i64, column: i64| {
                let mine = (column * 5 + row < 66) == (detector == 5);
                let azimuth = if detector == 5 { 1_040_000 } else { 2_870_000 };
                mine.then(|| (25_000 + (column - row / 4) * 2700 + band * 130, azimuth + row * 1100 + band * 170))
            };
            let _ = write!(
                out,
                "      <Viewing_Incidence_Angles_Grids bandId=\"{band}\" detectorId=\"{detector}\">\n{}      </Viewing_Incidence_Angles_Grids>\n",
                angle_grid(view)
            );
        }
        let tag = "Mean_Viewing_Incidence_Angle";
        let _ = write!(
            means,
            "        <{tag} bandId=\"{band}\">{}",
            mean(tag, 47_300 + band * 130, 1_960_000 + band * 170)
        );
    }
    let tag = "Mean_Viewing_Incidence_Angle_List";
    let _ = write!(out, "      <{tag}>\n{means}      </{tag}>\n    </Tile_Angles>\n");
    out
}
