//! The line below a picture: date and scale bar. It hides nothing of the picture.

use super::glyphs::{HEIGHT, WIDTH, glyph};
use super::paint::Picture;

/// Colour of the line.
const GROUND: [u8; 4] = [24, 24, 24, 255];

/// Colour of what stands on it.
const INK: [u8; 4] = [240, 240, 240, 255];

/// Columns of a picture for each dot of a letter.
const COLUMNS: u32 = 340;

/// Dots around letters.
const MARGIN: u32 = 3;

/// Adds the line to a picture. Of what does not fit, the scale bar is left out first.
pub(super) fn with_footer(mut picture: Picture, date: &str, metres: u32) -> Picture {
    let dot = (picture.width / COLUMNS).max(1);
    let mut line = Line { width: picture.width, height: (HEIGHT + 2 * MARGIN) * dot, dot, pixels: Vec::new() };
    line.pixels = GROUND.repeat(line.width as usize * line.height as usize);
    let date_width = text_width(date) * dot;
    line.text(MARGIN * dot, date);
    if let Some((pixels, label)) = bar(picture.width, metres) {
        let label_width = text_width(&label) * dot;
        let needed = pixels + label_width + 4 * MARGIN * dot;
        if date_width + 2 * MARGIN * dot + needed <= line.width {
            line.text(line.width - needed + MARGIN * dot, &label);
            line.bar(line.width - MARGIN * dot - pixels, pixels);
        }
    }
    picture.height += line.height;
    picture.pixels.extend(line.pixels);
    picture
}

fn text_width(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX).saturating_mul(WIDTH + 1).saturating_sub(1)
}

/// The longest round length of up to a quarter of the picture: pixels and name.
fn bar(width: u32, metres: u32) -> Option<(u32, String)> {
    let most = width.saturating_mul(metres) / 4;
    let lengths = [1, 2, 5].into_iter().flat_map(|digit| (1..=4).map(move |power| digit * 10u32.pow(power)));
    let length = lengths.filter(|length| *length <= most && *length >= metres).max()?;
    let name = if length >= 1000 { format!("{} km", length / 1000) } else { format!("{length} m") };
    Some(((length + metres / 2) / metres, name))
}

struct Line {
    width: u32,
    height: u32,
    /// Pixels of a side of a dot.
    dot: u32,
    pixels: Vec<u8>,
}

impl Line {
    fn fill(&mut self, (left, top): (u32, u32), (width, height): (u32, u32)) {
        for y in top..top.saturating_add(height).min(self.height) {
            for x in left..left.saturating_add(width).min(self.width) {
                let at = (y as usize * self.width as usize + x as usize) * INK.len();
                if let Some(pixel) = self.pixels.get_mut(at..at + INK.len()) {
                    pixel.copy_from_slice(&INK);
                }
            }
        }
    }

    fn text(&mut self, mut left: u32, text: &str) {
        let dot = self.dot;
        for letter in text.chars() {
            for (row, bits) in (0..).zip(glyph(letter)) {
                for column in (0..WIDTH).filter(|column| bits >> (WIDTH - 1 - column) & 1 == 1) {
                    self.fill((left + column * dot, (MARGIN + row) * dot), (dot, dot));
                }
            }
            left = left.saturating_add((WIDTH + 1) * dot);
        }
    }

    /// A line with its ends marked.
    fn bar(&mut self, left: u32, length: u32) {
        let (dot, bottom) = (self.dot, (MARGIN + HEIGHT) * self.dot);
        self.fill((left, bottom - dot), (length, dot));
        for end in [left, (left + length).saturating_sub(dot)] {
            self.fill((end, bottom - 4 * dot), (dot, 4 * dot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_have_round_lengths() {
        assert_eq!(bar(687, 160), Some((125, "20 km".to_owned())));
        assert_eq!(bar(5490, 20), Some((1000, "20 km".to_owned())));
        assert_eq!(bar(115, 960), Some((21, "20 km".to_owned())));
        assert_eq!(bar(100, 20), Some((25, "500 m".to_owned())));
        assert_eq!(bar(3, 20), None);
    }

    #[test]
    fn the_line_hides_nothing() {
        let pixels = vec![7; 300 * 2 * 4];
        let picture = Picture { height: 2, width: 300, pixels: pixels.clone() };
        let out = with_footer(picture, "2024-05-01", 160);
        assert_eq!((out.width, out.height), (300, 2 + 13));
        let (above, line) = out.pixels.split_at(pixels.len());
        assert_eq!(above, pixels);
        let row = |y: usize| -> String {
            let row = &line[y * 1200..][..1200];
            row.chunks_exact(4).map(|pixel| if *pixel == INK { '#' } else { ' ' }).collect()
        };
        assert_eq!(row(3)[..21].trim_end(), "    ###   ###   ###");
        // The bar of 10 km ends where the margin begins.
        assert_eq!(
            (row(9).trim_end().len(), row(9).chars().rev().skip(3).take_while(|c| *c == '#').count()),
            (297, 63)
        );
        // Of a small picture it has the date alone, or a part of it.
        let small = with_footer(Picture { height: 1, width: 20, pixels: vec![0; 80] }, "2024-05-01", 160);
        assert_eq!(small.pixels.len(), 20 * 14 * 4);
    }
}
