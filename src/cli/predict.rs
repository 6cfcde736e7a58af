//! `defrost predict`: prints class probabilities of images.

use std::path::PathBuf;
use std::process::ExitCode;

use defrost::run::{Predictor, PredictorUse, image_files};
use defrost::{Result, device};
use serde_json::json;

use super::console::shown;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost predict turtles photo.jpg")]
pub struct Args {
    /// Run: a path, the first digits of an id, a name (its latest run) or a pipeline file
    run: String,
    #[arg(required = true, value_name = "IMAGE", help = super::images::files_help())]
    images: Vec<PathBuf>,
    /// Stage whose weights to use, such as `frozen@best`. Defaults to the last train stage of the run
    #[arg(long)]
    stage: Option<String>,
    /// Device: `auto`, `cpu` or `cuda:N`. For a few images, starting a GPU takes longer than it saves
    #[arg(long, default_value = "cpu")]
    device: String,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let choice = device::choose(&args.device)?;
    let run = args.runs.resolve(&args.run, console)?;
    let predictor = Predictor::open(&run, args.stage.as_deref(), PredictorUse::Classes, choice)?;
    predictor.choice.note.iter().for_each(|note| console.warn(note));
    let files = image_files(&args.images)?;
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    for (file, prediction) in files.iter().zip(predictor.predict(&files)) {
        let prediction = match prediction {
            Ok(prediction) => prediction,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        console.say(format!("{}: {}", shown(file.display()), prediction.text));
        let mut document = prediction.document;
        document.insert("file".to_owned(), json!(file.display().to_string()));
        documents.push(document);
    }
    if console.json() {
        let failures: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
        let checkpoint = &predictor.checkpoint;
        console.document(&json!({
            "run_dir": run.path(),
            "checkpoint": checkpoint,
            "predictions": documents,
            "errors": failures,
        }));
    }
    errors.iter().for_each(|error| console.error(error));
    Ok(ExitCode::from(if errors.is_empty() { 0 } else { 2 }))
}
