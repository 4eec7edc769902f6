//! A share of the tiles: where an array of jobs, each on a machine of its own, does the work of one run.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::config::RunTable;

/// The placeholder of a path.
const PLACEHOLDER: &str = "{shard}";

/// One of several shares, such as `0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    of: usize,
}

impl Shard {
    /// True for the tiles of this share, by their place in the file: neighbours are of different shares, and none has one tile
    /// more than another but for what does not divide.
    #[must_use]
    pub fn has(self, number: usize) -> bool {
        number % self.of == self.index
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-of-{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shares = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match shares {
            Some((index, of)) if index < of => Ok(Self { index, of }),
            Some((index, of)) if index == of && of > 0 => {
                Err(format!("shares are counted from 0: the last one of {of} is {}/{of}", of - 1))
            }
            _ => Err("it is the number of a share and how many there are, such as 0/16 for the first of 16".to_owned()),
        }
    }
}

/// Gives the files of a run a name of its own for each share.
///
/// # Errors
/// A file that all shares would write: the key, and what to do.
pub fn name_files(table: &mut RunTable, shard: Option<Shard>) -> Result<(), String> {
    for (key, path) in [("report", &mut table.report), ("metrics", &mut table.metrics), ("changes", &mut table.changes)]
    {
        let Some(named) = path else { continue };
        let text = named.to_string_lossy().into_owned();
        match shard {
            Some(_) if !text.contains(PLACEHOLDER) => {
                return Err(format!(
                    "all shares would write {text}: put {PLACEHOLDER} in `{key}`, such as {}",
                    example(&text)
                ));
            }
            Some(shard) => *named = PathBuf::from(text.replace(PLACEHOLDER, &shard.to_string())),
            None => *named = PathBuf::from(text.replace(PLACEHOLDER, "all")),
        }
    }
    Ok(())
}

fn example(path: &str) -> String {
    match path.rsplit_once('.').filter(|(_, end)| !end.contains('/')) {
        Some((stem, end)) => format!("{stem}-{PLACEHOLDER}.{end}"),
        None => format!("{path}-{PLACEHOLDER}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_tile_is_of_one_share() {
        let shards: Vec<Shard> = (0..3).map(|index| format!("{index}/3").parse().unwrap()).collect();
        for number in 0..10 {
            assert_eq!(shards.iter().filter(|shard| shard.has(number)).count(), 1);
        }
        for text in ["3/3", "1/0", "0/0", "1", "a/2", "-1/2", "", "/"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_write_files_of_their_own() {
        let table = |report: &str| RunTable { report: Some(report.into()), ..RunTable::default() };
        let mut named = table("/var/{shard}/runs.jsonl");
        name_files(&mut named, Some("1/4".parse().unwrap())).unwrap();
        assert_eq!(named.report.unwrap().to_str(), Some("/var/1-of-4/runs.jsonl"));
        let mut named = table("runs-{shard}.jsonl");
        name_files(&mut named, None).unwrap();
        assert_eq!(named.report.unwrap().to_str(), Some("runs-all.jsonl"));
        let told = name_files(&mut table("/var/a.b/runs"), Some("1/4".parse().unwrap())).unwrap_err();
        assert!(told.ends_with("`report`, such as /var/a.b/runs-{shard}"), "{told}");
    }
}
