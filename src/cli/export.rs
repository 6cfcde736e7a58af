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
  defrost export turtles --format torch --out turtles-torch
  defrost export turtles --format timm --out turtles-timm
  defrost export turtles --format peft --out turtles-adapter")]
pub struct Args {
    /// Run: a path, the first digits of an id, a name (its latest run) or a pipeline file
    run: String,
    /// The file to write, such as `turtles.onnx`; for other formats, a folder
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
    /// A folder with `model.pth`, a state dict for `torch.load`, and `preprocessing.json`
    Torch,
    /// A folder with `config.json` and `model.safetensors` for `timm.create_model("local-dir:DIR", pretrained=True)`
    Timm,
    /// A folder with `adapter_config.json` and `adapter_model.safetensors` for `peft.PeftModel.from_pretrained`: the adapters
    /// alone. The other formats have them merged into the weights
    Peft,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let has = |names: &[&str]| {
        let extension = args.out.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| names.iter().any(|name| name.eq_ignore_ascii_case(extension)))
    };
    let fits = match args.format {
        Format::Onnx => has(&["onnx"]),
        // The name of a file for a folder is a misunderstanding.
        _ => !has(&["onnx", "pth", "pt", "safetensors"]),
    };
    if !fits {
        let error = Error::usage(format!("`{}` does not fit the format", args.out.display()));
        return Err(
            error.hint("write `--out NAME.onnx`, or `--out DIR` with `--format torch`, `timm` or `peft`")
        );
    }
    let run = args.runs.resolve(&args.run, console)?;
    let cpu = device::choose("cpu")?;
    let wanted = match args.format {
        Format::Onnx | Format::Torch => PredictorUse::Network,
        Format::Timm | Format::Peft => PredictorUse::Classes,
    };
    let predictor = Predictor::open(&run, args.stage.as_deref(), wanted, cpu)?;
    let files = match args.format {
        Format::Onnx => {
            store::write_output(&args.out, &predictor.onnx()?)?;
            vec![args.out.clone()]
        }
        Format::Torch => predictor.save_for_torch(&args.out)?,
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
