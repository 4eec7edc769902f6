//! A raster averaged down to the size of a picture.

/// Pixels of the longer side that a picture has at least, where its raster has as many.
const SIDE: u32 = 366;

/// The mean of squares of a raster, without what has no data.
pub(super) struct Mean {
    /// Height and width of the raster, pixels.
    size: (u32, u32),
    /// Pixels along the side of a square.
    square: u32,
    /// Columns.
    pub(super) width: u32,
    /// Rows.
    pub(super) height: u32,
    /// Sum and number of the values in each square.
    squares: Vec<(u64, u32)>,
}

impl Mean {
    /// Of a raster of this height and width in pixels.
    pub(super) fn new(size: (u32, u32)) -> Self {
        let (height, width) = size;
        let square = (height.max(width) / SIDE).max(1);
        let (height, width) = (height.div_ceil(square), width.div_ceil(square));
        Self { size, square, width, height, squares: vec![(0, 0); height as usize * width as usize] }
    }

    /// Adds a part of the raster: rows of `width` samples, the first of which is at row `top` and column `left`. `nodata` does
    /// not count, and neither does what lies outside.
    pub(super) fn add(&mut self, (top, left): (u32, u32), width: u32, samples: &[u16], nodata: u16) {
        for (y, row) in (top..).zip(samples.chunks(width.max(1) as usize)) {
            for (x, sample) in (left..).zip(row) {
                if *sample == nodata || y >= self.size.0 || x >= self.size.1 {
                    continue;
                }
                let (row, column) = (y / self.square, x / self.square);
                let at = row as usize * self.width as usize + column as usize;
                if let Some((sum, count)) = self.squares.get_mut(at) {
                    *sum += u64::from(*sample);
                    *count += 1;
                }
            }
        }
    }

    /// The means in raster order; `None` where nothing has data.
    pub(super) fn values(&self) -> impl Iterator<Item = Option<f64>> {
        self.squares.iter().map(|(sum, count)| (*count > 0).then(|| *sum as f64 / f64::from(*count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_averaged_without_nodata() {
        // Squares of 2 x 2; the last column and row are cut.
        let mut mean = Mean::new((733, 735));
        assert_eq!((mean.height, mean.width), (367, 368));
        mean.add((0, 0), 3, &[10, 20, 7, 0, 33, 0], 0);
        mean.add((732, 734), 2, &[5, 9, 9, 9], 0);
        let values: Vec<_> = mean.values().collect();
        assert_eq!(values[..3], [Some(21.0), Some(7.0), None]);
        assert_eq!(values[values.len() - 1], Some(5.0));
        assert_eq!(values.iter().flatten().count(), 3);
        let mean = Mean::new((1830, 1830));
        assert_eq!((mean.height, mean.width), (366, 366));
        assert_eq!(Mean::new((12, 5)).squares.len(), 60);
    }
}
