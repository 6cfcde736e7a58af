//! `defrost check-labels`: images whose labels are probably wrong.

use std::path::PathBuf;
use std::process::ExitCode;

use defrost::report::label_check_csv;
use defrost::run::{RunDirectory, check_labels};
use defrost::{Error, Result, sanitize, store};
use serde_json::json;

use super::console::shown;
use super::{Console, RunsOptions};

/// The suspects that are printed.
const PRINTED: usize = 10;

#[derive(clap::Args)]
#[command(after_help = "Examples:
  defrost check-labels turtles --out suspects
  defrost check-labels turtles-folds.toml --out suspects    # each image by the fold that held it out")]
pub struct Args {
    /// Runs: paths, first digits of ids, names (their latest run) or pipeline files (of one with a matrix, all runs)
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Use the predictions of this evaluate stage. By default, the first of the validation split
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Write `label_check.csv` and sheets of the images to this folder
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The number of images on sheets
    #[arg(long, value_name = "COUNT", default_value_t = 48, requires = "out")]
    images_shown: usize,
    /// The folder of the images, if it is no longer where the runs found it
    #[arg(long, value_name = "DIR", requires = "out")]
    images: Option<PathBuf>,
    #[command(flatten)]
    folder: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let mut runs: Vec<RunDirectory> = Vec::new();
    for argument in &args.runs {
        for run in args.folder.resolve_all(argument, console)? {
            if !runs.contains(&run) {
                runs.push(run);
            }
        }
    }
    let check = check_labels(&runs, args.stage.as_deref())?;
    let suspects = check.suspects();
    for suspect in suspects.iter().take(PRINTED) {
        console.say(format!("{}: {}", shown(&suspect.file), shown(suspect.in_words())));
    }
    let more = suspects.len().saturating_sub(PRINTED);
    let (count, all) = (sanitize::count(suspects.len(), "image"), check.images.len());
    let more = if more > 0 { format!("; the first {PRINTED} are above") } else { String::new() };
    let boxes = check.images.iter().any(|row| row.given_box.is_some() || row.suggested_box.is_some());
    let summary = match boxes {
        true if suspects.len() == 1 => "1 box that detectors find otherwise".to_owned(),
        true => format!("{} boxes that detectors find otherwise", suspects.len()),
        false => format!("of {all}, {count} with another likely label"),
    };
    console.say(format!("{summary} in stage `{}`{more}", shown(&check.stage)));
    let mut files = Vec::new();
    if let Some(folder) = &args.out {
        std::fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, error))?;
        let table = folder.join("label_check.csv");
        store::write_output(&table, label_check_csv(&check.images).as_bytes())?;
        files.push(table);
        for sheet in check.sheets(args.images.as_deref(), args.images_shown)? {
            files.push(folder.join(&sheet.name));
            store::write_output(&folder.join(&sheet.name), &sheet.jpeg)?;
        }
        console.say(format!("written to {}", shown(folder.display())));
    }
    if console.json() {
        let images: Vec<_> = check.images.iter().map(|image| json!(image)).collect();
        let count = suspects.len();
        console.document(&json!({
            "stage": check.stage, "runs": check.runs, "suspects": count, "images": images, "files": files,
        }));
    }
    Ok(ExitCode::SUCCESS)
}
