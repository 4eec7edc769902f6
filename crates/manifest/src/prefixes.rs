//! How many bytes of each JPEG 2000 tile its lower resolutions take, for overviews.

/// Bytes of each tile up to and including resolution 0, 1, .. levels-1, for overviews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TilePrefixes {
    levels: u8,
    /// Tile after tile, `levels` values each; 0 marks an unknown tile and is never handed out.
    flat: Box<[u32]>,
}

impl TilePrefixes {
    /// From one list per tile in raster order, `None` where unknown. `None` where a list has not `levels` values, or
    /// values that do not grow.
    #[must_use]
    pub fn new(levels: u8, tiles: &[Option<Vec<u32>>]) -> Option<Self> {
        let width = usize::from(levels);
        let mut flat = Vec::with_capacity(tiles.len() * width);
        for tile in tiles {
            match tile {
                None => flat.extend(std::iter::repeat_n(0, width)),
                Some(lengths) => {
                    let grows = lengths.windows(2).all(|pair| pair[0] <= pair[1]);
                    if lengths.len() != width || !grows || lengths.first() == Some(&0) {
                        return None;
                    }
                    flat.extend_from_slice(lengths);
                }
            }
        }
        (levels > 0 && !tiles.is_empty()).then(|| Self { levels, flat: flat.into() })
    }

    /// From the cell of the index: tile after tile, nulls for unknown tiles. The number of values must be a multiple of
    /// `tiles`.
    #[must_use]
    pub fn from_cell(tiles: u32, values: &[Option<u32>]) -> Option<Self> {
        let tiles = usize::try_from(tiles).ok().filter(|t| *t > 0)?;
        let width = values.len() / tiles;
        let levels = u8::try_from(width).ok().filter(|l| *l > 0 && *l <= 32 && width * tiles == values.len())?;
        let rows: Option<Vec<Option<Vec<u32>>>> = values
            .chunks(width)
            .map(|chunk| match chunk.iter().flatten().count() {
                0 => Some(None),
                n if n == width => Some(Some(chunk.iter().flatten().copied().collect())),
                _ => None,
            })
            .collect();
        Self::new(levels, &rows?)
    }

    /// The cell of the index.
    #[must_use]
    pub fn cell(&self) -> Vec<Option<u32>> {
        self.flat.iter().map(|n| (*n != 0).then_some(*n)).collect()
    }

    /// Resolutions below the full one that have a prefix.
    #[must_use]
    pub fn levels(&self) -> u8 {
        self.levels
    }

    /// Number of tiles.
    #[must_use]
    pub fn tiles(&self) -> usize {
        self.flat.len() / usize::from(self.levels)
    }

    /// Lengths of a tile's prefixes up to and including resolution 0, 1, .. levels-1; `None` where unknown.
    #[must_use]
    pub fn get(&self, tile: usize) -> Option<&[u32]> {
        let width = usize::from(self.levels);
        let start = tile.checked_mul(width)?;
        self.flat.get(start..start.checked_add(width)?).filter(|lengths| lengths.first() != Some(&0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn prefixes_keep_what_is_known() {
        let tiles = [Some(vec![10, 20]), None, Some(vec![30, 40])];
        let prefixes = TilePrefixes::new(2, &tiles).unwrap();
        assert_eq!((prefixes.levels(), prefixes.tiles()), (2, 3));
        assert_eq!((prefixes.get(0), prefixes.get(1), prefixes.get(3)), (Some(&[10, 20][..]), None, None));
        assert_eq!(prefixes.cell(), [Some(10), Some(20), None, None, Some(30), Some(40)]);
        assert_eq!(TilePrefixes::from_cell(3, &prefixes.cell()), Some(prefixes));
        assert_eq!(TilePrefixes::new(2, &[Some(vec![20, 10])]), None);
        assert_eq!(TilePrefixes::from_cell(2, &[Some(1), None, Some(3)]), None);
        assert_eq!(TilePrefixes::from_cell(1, &[Some(1), None]), None);
        assert_eq!(TilePrefixes::from_cell(0, &[]), None);
    }
}
