//! `s2ice export kerchunk`.

use std::path::Path;

use s2ice_store::export::kerchunk::{self, Extent, Form};

use super::{ExportReport, open, report, tell};
use crate::args::{Global, KerchunkArgs};
use crate::exit::Failure;
use crate::progress::Bars;

/// Writer that a folder of Parquet files names.
const WRITER: &str = concat!("s2ice ", env!("CARGO_PKG_VERSION"));

/// Runs the command.
pub async fn run(args: KerchunkArgs, global: &Global, run: String) -> Result<(), Failure> {
    let form = args.output.as_deref().map(form).transpose()?;
    let (cube, selection) = open(&args.exported).await?;
    let bars = Bars::new(global.shows_progress());
    let extent = Extent { selection, group: args.group.trim_matches('/').to_owned() };
    let (written, output) = match (form, args.output, args.per_product) {
        (Some(form), Some(output), _) => {
            (kerchunk::write(&cube, &extent, form, &output, WRITER, &bars).await?, output.display().to_string())
        }
        (_, _, Some(folder)) => {
            (kerchunk::write_products(&cube, &extent, &folder, &bars).await?, folder.display().to_string())
        }
        // clap asks for one of them.
        _ => return Err(Failure::usage("name what to write: -o OUT.json, -o OUT.parquet or --per-product FOLDER")),
    };
    let told = report(&cube, "kerchunk", output, written.references, run);
    let (sets, arrays, inlined) = (Some(written.sets), Some(written.arrays), Some(written.inlined));
    tell(&ExportReport { sets, arrays, inlined, remotes: written.remotes, ..told }, global)
}

/// The form that the name of an output asks for. Readers go by the name as well.
fn form(output: &Path) -> Result<Form, Failure> {
    match output.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Ok(Form::Json),
        Some("parquet" | "parq") => Ok(Form::Parquet),
        _ => Err(Failure::usage(format!("-o {}: name it OUT.json or OUT.parquet", output.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_form() {
        let of = |name: &str| form(Path::new(name)).ok();
        assert_eq!(of("a/b.json"), Some(Form::Json));
        assert_eq!((of("b.parquet/"), of("b.parq")), (Some(Form::Parquet), Some(Form::Parquet)));
        assert_eq!((of("b.zarr"), of("json")), (None, None));
    }
}
