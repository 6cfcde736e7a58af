//! `defrost lr-find`: shows the loss of a train stage over the learning rate, and suggests a learning rate.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use defrost::events::{Event, Observer};
use defrost::features::FeatureStore;
use defrost::plan::{ParentStage, PlanEntry, StageStatus};
use defrost::ranks::Team;
use defrost::report;
use defrost::stage::{Checkpoints, StageContext};
use defrost::train::{LrRange, LrRangeTest};
use defrost::{Error, Result, store, task};
use serde_json::json;

use super::console::shown;
use super::progress::Progress;
use super::ranks::ThreadShare;
use super::session::Session;
use super::signals::Stop;
use super::train_stage::train_stage;
use super::{Console, PipelineOptions};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost lr-find turtles.toml --stage finetune --out lr")]
pub struct Args {
    /// Pipeline file
    file: PathBuf,
    /// Train stage. Optional if the file has one
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Lowest learning rate
    #[arg(long, value_name = "LR", default_value_t = 1e-7)]
    low: f64,
    /// Highest learning rate
    #[arg(long, value_name = "LR", default_value_t = 10.0)]
    high: f64,
    /// Number of optimizer steps from the lowest to the highest rate
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// Number of tests with different orders of images; the suggestion is that of the mean loss
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: u32,
    /// Write `lr_find.csv`, `lr_find.svg` and `lr_find.png` to this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let range = range(&args)?;
    let stop = Stop::default();
    let session = Session::open_one(&args.file, &args.pipeline, Some(&stop), console)?;
    let (planned, train, dataset) = train_stage(&session, args.stage.as_deref())?;
    let statuses = session.statuses()?;
    let sources = sources(&session, planned, &statuses, &args.file)?;
    let settings = &session.pipeline.run;
    let interrupt = stop.listen()?;
    let (threads, pool) = session.threads(ThreadShare::ALONE)?;
    let task = task::of_stage(planned.work.kind(), &planned.document);
    let (progress, started) = (Progress::of_stage(&planned.name, task), Instant::now());
    let features = features(&session, planned, &statuses);
    let tests = pool.install(|| {
        let context = StageContext {
            team: Team::alone(),
            device: &session.choice.device,
            stage: &planned.name,
            sources: &sources,
            output: Path::new(""),
            live: None,
            checkpoints: &NoCheckpoints,
            features: features.as_ref(),
            observer: &StepObserver(&progress),
            interrupt,
            clock: &|| started.elapsed().as_secs_f64(),
            workers: settings.workers.unwrap_or(threads),
            image_cache: settings.image_bytes(),
            checkpoint_seconds: f64::INFINITY,
            keep_training_state: false,
        };
        let seeds = (0..args.repeats).map(|repeat| session.pipeline.seed.wrapping_add(u64::from(repeat)));
        seeds.map(|seed| train.lr_range_test(dataset, &context, &range, seed)).collect::<Result<Vec<_>>>()
    })?;
    drop(progress);
    let test = LrRangeTest::mean(&tests);
    let of_each = tests.iter().map(LrRangeTest::lr_of_valley).collect::<Vec<_>>();

    let files = match &args.out {
        Some(folder) => write(folder, &planned.name, &test)?,
        None => Vec::new(),
    };
    let present = train.settings.optimizer.lr();
    if console.json() {
        console.document(&json!({
            "stage": planned.name,
            "lr": present,
            "suggested": test.lr_of_valley(),
            "steepest_descent": test.lr_of_steepest_descent(),
            "suggested_by_repeat": of_each,
            "tenth_of_lowest": test.tenth_of_lr_of_lowest_loss(),
            "diverged": test.diverged,
            "points": points(&test).iter().map(|[lr, loss, smoothed]| {
                json!({ "lr": lr, "loss": loss, "smoothed": smoothed })
            }).collect::<Vec<_>>(),
            "files": files,
        }));
    } else {
        console.say(text(&planned.name, present, &test, &of_each));
        files.iter().for_each(|file| console.say(format!("  written: {}", shown(file.display()))));
    }
    Ok(ExitCode::SUCCESS)
}

fn range(args: &Args) -> Result<LrRange> {
    let Args { low, high, steps, .. } = *args;
    if !(low > 0.0 && low < high && high.is_finite()) {
        let error = Error::usage(format!(
            "`--low` ({low:e}) and `--high` ({high:e}) are not a range of learning rates"
        ));
        return Err(error.hint("`--low` must be above 0, and `--high` must be above `--low`"));
    }
    if steps < 10 {
        return Err(Error::usage(format!("`--steps` is {steps}, too few for a curve"))
            .hint("use at least 10, such as 100"));
    }
    Ok(LrRange { low, high, steps })
}

/// The feature cache of the stage: what the test computes, the stage finds there. `None` if it is off.
fn features<'a>(
    session: &'a Session,
    stage: &PlanEntry,
    statuses: &[StageStatus],
) -> Option<FeatureStore<'a>> {
    let place = session.plan.stages.iter().position(|entry| entry.name == stage.name)?;
    Some(session.feature_store()?.for_stage(&statuses[place].key?))
}

/// The weights that the stage reads. They must be computed already.
fn sources(
    session: &Session,
    stage: &PlanEntry,
    statuses: &[StageStatus],
    file: &Path,
) -> Result<Vec<PathBuf>> {
    let source = |parent: &ParentStage| match &statuses[parent.stage].finished {
        Some(finished) => Ok(finished.dir.join(parent.file())),
        None => {
            let above = &session.plan.stages[parent.stage].name;
            Err(Error::usage(format!(
                "stage `{above}`, which `{}` starts from, has not been run",
                stage.name
            ))
            .hint(format!("run `defrost run {} --until {above}` first", file.display())))
        }
    };
    stage.parents.iter().map(source).collect()
}

fn points(test: &LrRangeTest) -> Vec<[f64; 3]> {
    test.points.iter().map(|point| [point.lr, point.loss, point.smoothed]).collect()
}

fn write(folder: &Path, stage: &str, test: &LrRangeTest) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    let points = points(test);
    let mut csv = "lr,loss,smoothed\n".to_owned();
    for [lr, loss, smoothed] in &points {
        csv.push_str(&format!("{lr:e},{loss},{smoothed}\n"));
    }
    let picture = report::lr_curve(stage, &points, test.lr_of_valley());
    let contents = [
        ("lr_find.csv", csv.into_bytes()),
        ("lr_find.svg", picture.document().into_bytes()),
        ("lr_find.png", report::png(&picture)?),
    ];
    let file = |(name, bytes): (&str, Vec<u8>)| {
        let path = folder.join(name);
        store::write_output(&path, &bytes)?;
        Ok(path)
    };
    contents.into_iter().map(file).collect()
}

fn text(stage: &str, present: f64, test: &LrRangeTest, of_each: &[Option<f64>]) -> String {
    let mut out = format!("stage {stage}: smoothed loss by learning rate\n\n");
    chart(&mut out, test);
    let last = test.points.last().map_or(0.0, |point| point.lr);
    out.push('\n');
    if test.diverged {
        out.push_str(&format!("  training diverged at lr = {last:.1e}\n"));
    }
    match test.lr_of_valley() {
        Some(rate) => out.push_str(&format!(
            "  suggested: lr = {rate:.1e}, halfway down the longest valley of the loss\n"
        )),
        None => out.push_str("  no suggestion: the loss does not fall in this range\n"),
    }
    let mut found: Vec<f64> = of_each.iter().flatten().copied().collect();
    found.sort_by(f64::total_cmp);
    if let ([low, .., high], true) = (&found[..], of_each.len() > 1) {
        out.push_str(&format!("  of {} tests: {low:.1e} to {high:.1e}\n", of_each.len()));
    }
    if let Some(rate) = test.lr_of_steepest_descent() {
        out.push_str(&format!("  steepest fall of the loss: {rate:.1e}\n"));
    }
    if let Some(rate) = test.tenth_of_lr_of_lowest_loss() {
        out.push_str(&format!("  one tenth of the rate with the lowest loss: {rate:.1e}\n"));
    }
    let _ = write!(out, "  in the file: lr = {present:.1e}");
    out
}

/// A curve of dots, with a line at the suggested rate.
fn chart(out: &mut String, test: &LrRangeTest) {
    const ROWS: usize = 12;
    const COLUMNS: usize = 64;
    let Some([first, last]) = test.points.first().zip(test.points.last()).map(|(a, b)| [a, b]) else {
        return;
    };
    let smoothed = || test.points.iter().map(|point| point.smoothed);
    let (low, high) =
        (smoothed().fold(f64::INFINITY, f64::min), smoothed().fold(f64::NEG_INFINITY, f64::max));
    let column = |lr: f64| {
        let share = libm::log(lr / first.lr) / libm::log(last.lr / first.lr).max(f64::MIN_POSITIVE);
        ((share * (COLUMNS - 1) as f64).round() as usize).min(COLUMNS - 1)
    };
    let mut cells = [[' '; COLUMNS]; ROWS];
    if let Some(rate) = test.lr_of_valley() {
        cells.iter_mut().for_each(|row| row[column(rate)] = '│');
    }
    for point in &test.points {
        let share = (high - point.smoothed) / (high - low).max(f64::MIN_POSITIVE);
        cells[((share * (ROWS - 1) as f64).round() as usize).min(ROWS - 1)][column(point.lr)] = '•';
    }
    for (index, row) in cells.iter().enumerate() {
        let label = match index {
            0 => report::number(high),
            _ if index == ROWS - 1 => report::number(low),
            _ => String::new(),
        };
        let line: String = row.iter().collect();
        let _ = writeln!(out, "  {label:>9} ┤{}", line.trim_end());
    }
    let (left, right) = (format!("{:.0e}", first.lr), format!("{:.0e}", last.lr));
    let _ = writeln!(out, "  {:9} └{}", "", "─".repeat(COLUMNS));
    let _ = writeln!(out, "  {:10}{left}{right:>width$}", "", width = COLUMNS + 1 - left.len());
}

/// Shows progress only: nothing is saved here, so messages about saving are dropped.
struct StepObserver<'a>(&'a Progress);

impl Observer for StepObserver<'_> {
    fn event(&self, event: &Event) {
        if matches!(event, Event::Step { .. } | Event::Warning { .. }) {
            self.0.event(event);
        }
    }
}

struct NoCheckpoints;

impl Checkpoints for NoCheckpoints {
    fn latest(&self) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    fn save(&self, _: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
        Ok(())
    }
}
