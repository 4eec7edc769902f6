//! The letters of dates and scale bars: 5 x 7 dots. No crate has so few.

/// Columns of a letter.
pub(super) const WIDTH: u32 = 5;

/// Rows of a letter.
pub(super) const HEIGHT: u32 = 7;

/// The rows of a letter, from the top, the leftmost dot in bit 4; nothing for letters that no line has.
pub(super) fn glyph(letter: char) -> [u8; 7] {
    match letter {
        '0' => [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110],
        '1' => [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
        '2' => [0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111],
        '3' => [0b11111, 0b00010, 0b00100, 0b00010, 0b00001, 0b10001, 0b01110],
        '4' => [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010],
        '5' => [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110],
        '6' => [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110],
        '7' => [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000],
        '8' => [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110],
        '9' => [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100],
        '-' => [0, 0, 0, 0b11111, 0, 0, 0],
        'k' => [0b10000, 0b10000, 0b10010, 0b10100, 0b11000, 0b10100, 0b10010],
        'm' => [0, 0, 0b11010, 0b10101, 0b10101, 0b10001, 0b10001],
        _ => [0; 7],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_differ_and_fit() {
        let letters: Vec<[u8; 7]> = "0123456789-km ".chars().map(glyph).collect();
        for (at, letter) in letters.iter().enumerate() {
            assert!(letter.iter().all(|row| row >> WIDTH == 0));
            assert!(!letters[..at].contains(letter));
        }
        assert_eq!(letters[13], [0; 7], "a blank is blank");
    }
}
