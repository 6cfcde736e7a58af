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
  defrost export streets --stage all@last --out streets.onnx
  defrost export turtles --format timm --out turtles-timm
  defrost export turtles --format peft --out turtles-adapter")]
pub struct Args {
    /// Run: a path, the first digits of an id, a name (its latest run) or a pipeline file
    run: String,
    /// The file to write, such as `turtles.onnx`; for timm and PEFT, a folder
    #[arg(short, long, value_name = "PATH")]
    out: PathBuf,
    /// The format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Stage whose weights to use, such as `frozen@best`. Defaults to the last train stage of the run
    #[arg(long)]
    stage: Option<String>,
    #[command(flatten)]
    runs: RunsOptions,
}

#[derive(Clone, Copy, Default, clap::ValueEnum)]
enum Format {
    /// An ONNX file for onnxruntime and others: `--out NAME.onnx`
    #[default]
    Onnx,
    /// A folder with `config.json` and `model.safetensors` for `timm.create_model("local-dir:DIR", pretrained=True)`
    Timm,
    /// A folder with `adapter_config.json` and `adapter_model.safetensors` for `peft.PeftModel.from_pretrained`: the adapters
    /// alone. The other formats have them merged into the weights
    Peft,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let is_onnx = args.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx"));
    if matches!(args.format, Format::Onnx) != is_onnx {
        let error = Error::usage(format!("`{}` does not fit the format", args.out.display()));
        return Err(
            error.hint("write `--out NAME.onnx`, `--format timm --out DIR` or `--format peft --out DIR`")
        );
    }
    let run = args.runs.resolve(&args.run, console)?;
    let cpu = device::choose("cpu")?;
    let predictor = Predictor::open(&run, args.stage.as_deref(), PredictorUse::Classes, cpu)?;
    let files = match args.format {
        Format::Onnx => {
            store::write_output(&args.out, &predictor.onnx()?)?;
            vec![args.out.clone()]
        }
        Format::Timm => predictor.save_for_timm(&args.out)?,
        Format::Peft => predictor.save_for_peft(&args.out)?,
    };
    let size = |file: &PathBuf| std::fs::metadata(file).map_or(0, |metadata| metadata.len());
    let bytes: u64 = files.iter().map(size).sum();
    let (out, checkpoint) = (shown(args.out.display()), predictor.checkpoint.display());
    let megabytes = bytes as f64 / 1e6;
    console.say(format!("{out}: {checkpoint} of {}, {megabytes:.1} MB", shown(run.path().display())));
    if console.json() {
        console.document(&json!({
            "run_dir": run.path().display().to_string(),
            "checkpoint": predictor.checkpoint,
            "files": files,
            "bytes": bytes,
            "classes": predictor.classes,
        }));
    }
    Ok(ExitCode::SUCCESS)
}
