//! `defrost compare`: compares runs in one table and one plot.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use defrost::report::{self, Column, RunComparison, Svg};
use defrost::run::{self, AveragedSettings, CompareOptions, ComparedSheet, RunDirectory};
use defrost::{Error, Result, store};
use serde_json::json;

use super::console::shown;
use super::page::PageOptions;
use super::{Console, RunsOptions};

#[derive(clap::Args)]
#[command(after_help = "Examples:
  defrost compare turtle-compare.toml --out comparison
  defrost compare shadow-ablation.toml --baseline freeze_0 --metrics ap50,ap50/*,ap_small,best_f1 --out comparison")]
pub struct Args {
    /// Runs: paths, first digits of ids, names (their latest run) or pipeline files (of one with a matrix, all runs).
    /// `NAME/LABEL` is a labelled run of a name, and `NAME/*` all of them
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Also average over this setting, besides `seed`: a dotted path such as `data.turtles.split.seed`
    #[arg(long, value_name = "PATH")]
    over: Vec<String>,
    /// Also show how the other rows differ from the row with this label, over the seeds that both have
    #[arg(long, value_name = "LABEL")]
    baseline: Option<String>,
    /// The best rows first, by this validation metric, such as `validation/accuracy`. Without it, rows are in the order of
    /// the runs; of more rows than are shown, the best by the `monitor` of the last train stage
    #[arg(long, value_name = "METRIC")]
    by: Option<String>,
    #[command(flatten)]
    page: PageOptions,
    /// Show these metrics: `ap50`, `training/ap50`, `ap50/car` (a class), `ap50/*`, `seconds_per_epoch`, …
    #[arg(long, value_name = "NAME,…")]
    metrics: Vec<String>,
    /// Compare pictures and metrics of this evaluate stage. By default, the first of the validation split
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Write tables, figures and a page to this folder: `compare.html`, `.csv`, `.json`, `.svg`, `.png`, and more. The
    /// folder is new, or its files of these names are of an earlier comparison
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The number of images to draw with the predictions of each row, those with the most different ones first
    #[arg(long, value_name = "COUNT", default_value_t = 12, requires = "out")]
    images_shown: usize,
    /// The folder of these images, if it is no longer where the runs found it
    #[arg(long, value_name = "DIR", requires = "out")]
    images: Option<PathBuf>,
    #[command(flatten)]
    folder: RunsOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let previous = args.out.as_deref().map(previous_files).transpose()?.unwrap_or_default();
    if let Some(images) = args.images.as_ref().filter(|images| !images.is_dir()) {
        return Err(Error::usage(format!("--images: `{}` is not a folder", images.display())));
    }
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
    let averaged = AveragedSettings::over(&args.over);
    let (count, mut more) = (arguments.iter().map(Vec::len).sum::<usize>(), None);
    let whole = console.json() && !args.page.is_chosen();
    let rows = if whole { count } else { args.page.rows(count) };
    if args.by.is_some() || (rows < count && args.baseline.is_none()) {
        let best = run::best_runs(&arguments, &averaged, args.by.as_deref(), rows)?;
        if rows < best.rows || args.by.is_some() {
            more = Some((rows, best.rows, best.metric));
            arguments = best.arguments;
        }
    }
    let options = CompareOptions {
        baseline: args.baseline.clone(),
        metrics: args.metrics.clone(),
        evaluation: args.stage.clone(),
    };
    let overlay = run::compare_runs(&arguments, &averaged, &options)?;
    let columns = overlay.columns();
    console.say(table(&overlay, &columns));
    if let Some((rows, all, metric)) = more.filter(|(rows, all, _)| rows < all) {
        let by = metric.map_or_else(String::new, |metric| format!(" by {metric}"));
        console.say(format!("the best {rows} of {all} rows{by}: `--all` or `--limit N` shows more"));
    }
    let differences = overlay.difference_columns();
    if let Some(baseline) = overlay.baseline.as_ref().filter(|_| !differences.is_empty()) {
        console.say(format!("\n\x1b[1mminus {}\x1b[0m", shown(baseline)));
        console.say(table(&overlay, &differences));
        console.status(RunComparison::DIFFERENCES.to_owned());
    }
    overlay.advice().iter().for_each(|advice| console.status(shown(advice)));
    for run in overlay.groups.iter().flat_map(|group| &group.runs).filter(|run| run.state != "complete") {
        console.warn(format!("{}/{} is {}: its results so far are compared", run.name, run.id, run.state));
    }
    let machine: Vec<&str> =
        columns.iter().filter(|column| column.of_machine).map(|column| column.name.as_str()).collect();
    let mut document = json!(overlay);
    document["of_machine"] = json!(machine);
    if let Some(folder) = &args.out {
        let drawn = run::compared_sheets(&overlay, args.images.as_deref(), args.images_shown);
        let sheets = drawn.unwrap_or_else(|error| {
            console.warn(format!("no images are drawn: {error}"));
            Vec::new()
        });
        write(folder, &overlay, &mut document, &sheets, &previous)?;
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
    document: &mut serde_json::Value,
    sheets: &[ComparedSheet],
    previous: &[PathBuf],
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, error))?;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut figures = Vec::new();
    for curves in report::group_curves(overlay) {
        files.push((format!("{}.csv", curves.file), report::group_curves_csv(&curves).into_bytes()));
        figures.push((curves.file, report::group_curves_svg(&overlay.title, &curves)));
    }
    if let Some(matrices) = report::group_matrices(overlay) {
        figures.push(("confusion_matrices", matrices.picture(&overlay.title)));
        figures.extend(
            matrices.differences(&overlay.title).map(|picture| ("confusion_matrix_differences", picture)),
        );
    }
    let page = {
        let figures: Vec<Svg> = figures.iter().map(|(_, figure)| figure.clone()).collect();
        let sheets: Vec<Vec<u8>> = sheets.iter().map(|sheet| sheet.jpeg.clone()).collect();
        report::comparison_html(overlay, &figures, &sheets)
    };
    figures.insert(0, ("compare", report::comparison_svg(overlay)));
    for (name, figure) in figures {
        files.push((format!("{name}.svg"), figure.document().into_bytes()));
        files.push((format!("{name}.png"), report::png(&figure)?));
    }
    files.extend(run::out_of_fold(overlay)?.map(|table| ("out_of_fold.csv".to_owned(), table.into_bytes())));
    files.extend(sheets.iter().map(|sheet| (sheet.name.clone(), sheet.jpeg.clone())));
    files.push(("compare.html".to_owned(), page.into_bytes()));
    files.push(("compare.csv".to_owned(), report::comparison_csv(overlay).into_bytes()));
    let names = files.iter().map(|(name, _)| name.as_str()).chain([DOCUMENT]);
    let written: Vec<PathBuf> = names.map(|name| folder.join(name)).collect();
    document["files"] = json!(written);
    if let Some(other) = written.iter().find(|path| path.exists() && !previous.contains(path)) {
        return Err(Error::usage(format!(
            "`{}` exists, and is not of an earlier comparison",
            other.display()
        ))
        .hint("name a new or empty folder, so that no file of yours is overwritten"));
    }
    // The list comes first and last, so that the next comparison knows what is its own.
    let listed = |document: &serde_json::Value| {
        store::write_output(&folder.join(DOCUMENT), format!("{document:#}\n").as_bytes())
    };
    listed(&json!({ "files": written }))?;
    for path in previous.iter().filter(|path| !written.contains(path)) {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io("remove", path, error));
            }
            _ => {}
        }
    }
    for ((_, bytes), path) in files.iter().zip(&written) {
        store::write_output(path, bytes)?;
    }
    listed(document)?;
    Ok(())
}

const DOCUMENT: &str = "compare.json";

/// What an earlier comparison wrote to the folder.
fn previous_files(folder: &std::path::Path) -> Result<Vec<PathBuf>> {
    if folder.exists() && !folder.is_dir() {
        return Err(Error::usage(format!("--out: `{}` is not a folder", folder.display()))
            .hint("a comparison is several files: name a new folder"));
    }
    let text = std::fs::read_to_string(folder.join(DOCUMENT)).unwrap_or_default();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let names = document["files"].as_array().into_iter().flatten().filter_map(|file| file.as_str());
    // By their names: the folder may have moved since.
    let own = names.filter_map(|file| std::path::Path::new(file).file_name());
    Ok(own.map(|name| folder.join(name)).collect())
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
