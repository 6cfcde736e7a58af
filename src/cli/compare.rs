//! `defrost compare`: compares runs in one table and one plot.

use std::path::PathBuf;
use std::process::ExitCode;

use defrost::report::{self, Column, RunComparison};
use defrost::run::{self, AveragedSettings, RunDirectory};
use defrost::{Error, Result, store};
use serde_json::json;

use super::console::shown;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost compare turtle-compare.toml --out comparison")]
pub struct Args {
    /// Runs: paths, first digits of ids, names (their latest run) or pipeline files (of one with a matrix, all runs).
    /// `NAME/LABEL` is a labelled run of a name, and `NAME/*` all of them
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Also average over this setting, besides `seed`: a dotted path such as `data.turtles.split.seed`
    #[arg(long, value_name = "PATH")]
    over: Vec<String>,
    /// Write `compare.svg`, `.png`, `.html`, `.csv` and `.json` to this folder
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    folder: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let mut arguments: Vec<Vec<RunDirectory>> = Vec::new();
    for argument in &args.runs {
        let mut runs = args.folder.resolve_all(argument, console)?;
        let named = |run: &RunDirectory| arguments.iter().flatten().any(|known| known == run);
        for run in runs.iter().filter(|run| named(run)) {
            console.warn(format!("`{argument}` names {} again, which is listed once", run.path().display()));
        }
        runs.retain(|run| !named(run));
        arguments.push(runs);
    }
    let overlay = run::compare_runs(&arguments, &AveragedSettings::over(&args.over))?;
    let columns = overlay.columns();
    console.say(table(&overlay, &columns));
    overlay.advice().iter().for_each(|advice| console.status(shown(advice)));
    for run in overlay.groups.iter().flat_map(|group| &group.runs).filter(|run| run.state != "complete") {
        console.warn(format!("{}/{} is {}: its results so far are compared", run.name, run.id, run.state));
    }
    let machine: Vec<&str> =
        columns.iter().filter(|column| column.of_machine).map(|column| column.name.as_str()).collect();
    let mut document = json!(overlay);
    document["of_machine"] = json!(machine);
    if let Some(folder) = &args.out {
        document["files"] = json!(write(folder, &overlay, &document)?);
        console.say(format!("written to {}", shown(folder.display())));
    }
    if console.json() {
        console.document(&document);
    }
    Ok(ExitCode::SUCCESS)
}

fn write(
    folder: &std::path::Path,
    overlay: &RunComparison,
    document: &serde_json::Value,
) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, error))?;
    let picture = report::comparison_svg(overlay);
    let files = [
        ("compare.svg", picture.document().into_bytes()),
        ("compare.png", report::png(&picture)?),
        ("compare.html", report::comparison_html(overlay).into_bytes()),
        ("compare.csv", report::comparison_csv(overlay).into_bytes()),
        ("compare.json", format!("{document:#}\n").into_bytes()),
    ];
    let mut written = Vec::new();
    for (name, bytes) in files {
        let path = folder.join(name);
        store::write_output(&path, &bytes)?;
        written.push(path);
    }
    Ok(written)
}

/// One line per group. Columns are right-aligned; columns of the test split follow after a bar.
fn table(overlay: &RunComparison, columns: &[Column]) -> String {
    let first = overlay.groups.iter().map(|group| shown(&group.label).chars().count()).max().unwrap_or(0);
    let cell = |column: &Column, row: usize| shown(column.cells[row].replace('\u{a0}', " "));
    let name = |column: &Column| shown(&column.name);
    let width = |column: &Column| {
        let cells = (0..column.cells.len()).map(|row| cell(column, row).chars().count());
        cells.chain([name(column).chars().count()]).max().unwrap_or(0)
    };
    let first_of_test = columns.iter().position(|column| column.of_test);
    let line = |label: String, cell: &dyn Fn(&Column) -> String| {
        let start = format!("{label:first$}");
        columns.iter().enumerate().fold(start, |line, (place, column)| {
            let bar = if Some(place) == first_of_test { "  │" } else { "" };
            format!("{line}{bar}  {:>1$}", cell(column), width(column))
        })
    };
    let mut lines = vec![format!("\x1b[1m{}\x1b[0m", line(String::new(), &|column| name(column)))];
    for (row, group) in overlay.groups.iter().enumerate() {
        lines.push(line(shown(&group.label), &|column| cell(column, row)));
    }
    lines.join("\n")
}
