//! `defrost export`: writes a trained model for other programs.

use std::path::PathBuf;
use std::process::ExitCode;

use defrost::run::{Predictor, PredictorUse};
use defrost::{Error, Result, device, store};
use serde_json::json;

use super::console::shown;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  defrost export turtles --out turtles.onnx
  defrost export streets --stage all@last --out streets.onnx")]
pub struct Args {
    /// Run: a path, the first digits of an id, a name (its latest run) or a pipeline file
    run: String,
    /// The file to write: ONNX, by its extension
    #[arg(short, long, value_name = "FILE.onnx")]
    out: PathBuf,
    /// Stage whose weights to use, such as `frozen@best`. Defaults to the last train stage of the run
    #[arg(long)]
    stage: Option<String>,
    #[command(flatten)]
    runs: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    if args.out.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("onnx")) {
        let file = args.out.display();
        return Err(Error::usage(format!("`{file}` has no known format")).hint("write `--out NAME.onnx`"));
    }
    let run = args.runs.resolve(&args.run, console)?;
    let cpu = device::choose("cpu")?;
    let predictor = Predictor::open(&run, args.stage.as_deref(), PredictorUse::Classes, cpu)?;
    let bytes = predictor.onnx()?;
    store::write_output(&args.out, &bytes)?;
    let (file, checkpoint) = (shown(args.out.display()), predictor.checkpoint.display());
    console.say(format!(
        "{file}: {checkpoint} of {}, {} MB",
        shown(run.path().display()),
        bytes.len() / 1_000_000
    ));
    if console.json() {
        console.document(&json!({
            "run_dir": run.path().display().to_string(),
            "checkpoint": predictor.checkpoint,
            "file": args.out,
            "bytes": bytes.len(),
            "classes": predictor.classes,
        }));
    }
    Ok(ExitCode::SUCCESS)
}
