//! What the file of metrics says of tiles that have no part in a run: that is kept, and nothing of theirs is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Longest file that is read, bytes.
const LONGEST: u64 = 256 << 20;

/// One value of a tile.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name of the metric.
    pub name: String,
    /// MGRS tile.
    pub tile: String,
    /// Processing level.
    pub level: String,
    /// Value.
    pub value: f64,
}

/// The samples of wanted tiles. Lines that are not understood are passed over; without a file there are none.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read(path: &Path, is_wanted: impl Fn(&str, &str) -> bool) -> io::Result<Vec<Sample>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LONGEST).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let samples = text.split(|byte| *byte == b'\n').filter_map(|line| sample(std::str::from_utf8(line).ok()?));
    Ok(samples.filter(|sample| is_wanted(&sample.tile, &sample.level)).collect())
}

/// A line as we write it.
fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = line.split_once("{tile=\"")?;
    let (tile, rest) = rest.split_once("\",level=\"")?;
    let (level, value) = rest.split_once("\"} ")?;
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let value: f64 = value.parse().ok().filter(|value: &f64| value.is_finite())?;
    if ![name, tile, level].into_iter().all(is_word) {
        return None;
    }
    Some(Sample { name: name.to_owned(), tile: tile.to_owned(), level: level.to_owned(), value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_of_any_kind_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s2ice.prom");
        assert_eq!(read(&path, |_, _| true).unwrap(), []);
        let text = "# TYPE a gauge\na{tile=\"33TVN\",level=\"L2A\"} 1.5\na{tile=\"33TWN\",level=\"L2A\"} 2\n\
                    a{level=\"L2A\",tile=\"33TVN\"} 1\na{tile=\"33TVN\",level=\"L2A\"} NaN\na{tile=\"\\\"\",level=\"L2A\"} 1\n\
                    b 3\n\u{fffd}\n{tile=\n# EOF\n";
        std::fs::write(&path, [text.as_bytes(), b"\xff\xfe\n"].concat()).unwrap();
        let of = |tile: &str, value| Sample { name: "a".into(), tile: tile.into(), level: "L2A".into(), value };
        assert_eq!(read(&path, |_, _| true).unwrap(), [of("33TVN", 1.5), of("33TWN", 2.0)]);
        assert_eq!(read(&path, |tile, _| tile == "33TWN").unwrap(), [of("33TWN", 2.0)]);
        assert!(read(folder.path(), |_, _| true).is_err());
    }
}
