//! Arguments of `s2ice preview`.

use std::path::PathBuf;

use clap::Args;

use super::{SourceArgs, StoreArgs};

/// `s2ice preview`.
#[derive(Debug, Args)]
#[command(after_help = "For example: s2ice preview stores/33TVN -o 33TVN.png, \
                        s2ice preview stores/33TVN --series --time 2024-04-01/2024-09-30 --max-cloud-cover 20 -o summer.gif, or \
                        s2ice preview stores/33TVN --time 2024-05-01 --bands b08,b04,b03 --resolution 40 --bounds \
                        14.2,47.4,14.5,47.6 -o lake.webp\n\n\
                        Of each tile only the first bytes are read, as many as have the overview that is shown; of a tile \
                        without a table of its packets (PLT) all. Reflectance is stretched from the 2nd to the 98th percentile \
                        of each band, without what is brighter than 0.5, as clouds and snow are; over all pictures of a series \
                        alike. What has no data is transparent.")]
pub struct PreviewArgs {
    /// Address of the store.
    pub store: String,
    /// Date or RFC 3339 time: the product of that day that is nearest to it, of a date to its noon. As an interval A/B: what
    /// the clearest, or the series, is taken of.
    #[arg(long, value_name = "T|A/B")]
    pub time: Option<String>,
    /// The product with the fewest clouds, of the interval or else of the year before the newest product; of what is clear
    /// alike, that of most bytes. This is what a publication shows [default].
    #[arg(long, conflicts_with = "series")]
    pub least_cloudy: bool,
    /// All dates, one after the other, as an animation.
    #[arg(long)]
    pub series: bool,
    /// Leave out of a series what has more clouds, in percent, or does not tell.
    #[arg(long, value_name = "PERCENT", requires = "series")]
    pub max_cloud_cover: Option<f64>,
    /// Three bands as red, green and blue, one in grey, scl in its official colours, or tci as the product has it. Of scl every
    /// nth pixel is shown, for which it is read as a whole.
    #[arg(long, value_name = "BANDS", default_value = "b04,b03,b02")]
    pub bands: String,
    /// Pixel size in metres, 20 to 960: that of a raster, 10, 20 or 60, or twice, four times, ... of it.
    #[arg(long, value_name = "METRES", default_value_t = 160)]
    pub resolution: u32,
    /// Only this part of the tile: west, south, east and north in degrees, widened to whole pixels.
    #[arg(long, value_name = "W,S,E,N", allow_hyphen_values = true)]
    pub bounds: Option<String>,
    /// Picture to write, in the form that its name ends with; `-` for standard output, as PNG, of a series as GIF.
    #[arg(short, long, value_name = "OUT.png|gif|webp")]
    pub output: PathBuf,
    /// How to reach the product files, where not as the store says; needed where they lie at a place that s2ice does not know.
    #[command(flatten)]
    pub source: SourceArgs,
    /// How to reach the store.
    #[command(flatten)]
    pub store_options: StoreArgs,
}
