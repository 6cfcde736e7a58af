//! `defrost embed`: computes embeddings of images.

use std::path::PathBuf;
use std::process::ExitCode;

use defrost::error::Error;
use defrost::run::{EmbeddedFiles, Predictor, PredictorUse, image_files};
use defrost::{Result, device};
use serde_json::{Value, json};

use super::console::shown;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost embed faces photos/ --out embeddings.safetensors")]
pub struct Args {
    /// Run: a path, the first digits of an id, a name (its latest run) or a pipeline file
    run: String,
    #[arg(required = true, value_name = "IMAGE", help = super::images::files_help())]
    images: Vec<PathBuf>,
    /// `.safetensors`, `.csv` or `.npy` file to write; the names of the images of a `.npy` file go to
    /// `NAME.npy.files.txt`. Without it, `--json` prints the embeddings
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Stage whose weights to use, such as `frozen@best` or `pretrained`. Defaults to the last train stage of the run
    #[arg(long)]
    stage: Option<String>,
    /// Device: `auto`, `cpu` or `cuda:N`
    #[arg(long, default_value = "auto")]
    device: String,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    if args.out.is_none() && !console.json() {
        return Err(Error::usage("`--out` or `--json` is required").hint(
            "write the embeddings to a file with `--out embeddings.safetensors`, or print them with `--json`",
        ));
    }
    let choice = device::choose(&args.device)?;
    let run = args.runs.resolve(&args.run, console)?;
    let predictor = Predictor::open(&run, args.stage.as_deref(), PredictorUse::Embeddings, choice)?;
    predictor.choice.note.iter().for_each(|note| console.warn(note));
    predictor.require_embeddings()?;
    let files = image_files(&args.images)?;
    let (mut embedded, mut errors) = (EmbeddedFiles::default(), Vec::new());
    for (file, embedding) in files.iter().zip(predictor.embed(&files)) {
        match embedding {
            Ok(row) => {
                embedded.files.push(file.display().to_string());
                embedded.rows.push(row);
            }
            Err(error) => errors.push(error),
        }
    }
    if let Some(out) = args.out.as_ref().filter(|_| !embedded.rows.is_empty()) {
        embedded.write(out)?;
        let (count, dimension) = (embedded.rows.len(), embedded.dimension());
        console.say(format!("{}: {count} embeddings of dimension {dimension}", shown(out.display())));
    }
    if console.json() {
        let failures: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
        let entries = embedded.files.iter().zip(&embedded.rows).map(|(file, row)| match args.out {
            Some(_) => json!({ "file": file }),
            None => json!({ "file": file, "embedding": row }),
        });
        console.document(&json!({
            "checkpoint": predictor.checkpoint,
            "dimension": embedded.dimension(),
            "out": args.out,
            "embeddings": entries.collect::<Vec<Value>>(),
            "errors": failures,
        }));
    }
    errors.iter().for_each(|error| console.error(error));
    Ok(ExitCode::from(if errors.is_empty() { 0 } else { 2 }))
}
