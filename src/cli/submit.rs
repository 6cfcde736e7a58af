//! `defrost submit`: runs a file on a Slurm cluster. It returns at once; nothing here has to stay alive.

mod refused;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use defrost::device;
use defrost::pipeline::{FrozenRun, Slurm};
use defrost::plan::CheckedImages;
use defrost::run::{self, RunDirectory, RunStages, RunState, Submission, SubmissionRecord, SubmittedRun};
use defrost::{Error, Result, sanitize};
use serde_json::{Value, json};

use super::console::shown;
use super::estimates::Estimates;
use super::executor::queue::{self, Queue, QueuedJob};
use super::executor::script::Script;
use super::executor::slurm::Cluster;
use super::page::PageOptions;
use super::session::{LoadedRuns, Session};
use super::signals::Stop;
use super::{Console, PipelineOptions, preparation, undecodable};

/// The size of arrays in a preview on a machine without Slurm.
const PREVIEWED_ARRAY: usize = 1000;

#[derive(clap::Args)]
#[command(after_help = "Examples: defrost submit seeds.toml
          defrost submit seeds.toml --dry-run
          defrost submit seeds.toml -- --account=vision --begin=20:00

The settings are in `[run.slurm]`. `defrost status FILE` shows the jobs, `defrost cancel FILE` cancels them. The same
command again submits what is neither complete nor in the queue.")]
pub struct Args {
    /// Pipeline file
    file: PathBuf,
    /// Print the scripts and what would be submitted, and submit nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    page: PageOptions,
    #[command(flatten)]
    pipeline: PipelineOptions,
    /// Further options of `sbatch`
    #[arg(last = true, value_name = "SBATCH OPTIONS")]
    options: Vec<String>,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    refused::check(&args.options)?;
    let stop = Stop::default();
    let runs = Session::load(&args.file, &args.pipeline, Some(&stop), console)?;
    refused::search(&runs, &args.file)?;
    let frozen: Vec<FrozenRun> = runs.iter().map(|(run, _)| FrozenRun::of(run)).collect();
    let slurm = runs.first().and_then(|(run, _)| run.run.slurm.clone()).unwrap_or_default();
    let (runs, mut stages) = plan(runs, frozen, &args, console)?;
    let runs_dir = args.pipeline.runs(&args.file)?;
    let standing = standing(&runs, &args.file, &runs_dir)?;
    let chosen: Vec<usize> =
        (0..runs.len()).filter(|run| matches!(standing[*run], Standing::Submitted)).collect();
    if chosen.is_empty() {
        return answer(&runs, &standing, None, &args, console);
    }
    let cluster = Cluster(slurm.cluster.as_deref());
    let most = match cluster.max_array() {
        Err(error) if args.dry_run => {
            console.warn(format!("{error}: arrays of at most {PREVIEWED_ARRAY} tasks are shown"));
            PREVIEWED_ARRAY
        }
        most => most?,
    };
    let stages: Vec<RunStages> = chosen.iter().filter_map(|run| stages[*run].take()).collect();
    let arrays = preparation::arrays(&stages, &chosen, most);
    let record =
        preparation::record(&args.file, &args.pipeline, &runs_dir, slurm.cluster.clone(), runs, arrays)?;
    let dir = Submission::folder(&record.runs_dir, &preparation::new_id()?);
    let program = std::env::current_exe()
        .map_err(|error| Error::failed(format!("cannot find the program itself: {error}")))?;
    let scripts: Vec<String> =
        (0..record.arrays.len()).map(|array| script(&record, array, &slurm, &program, &dir)).collect();
    let options: Vec<String> =
        slurm.extra.iter().flat_map(|option| words(option)).chain(args.options.clone()).collect();
    if args.dry_run {
        let submission = Submission { dir, record };
        scripts.iter().for_each(|script| console.say(shown_script(script)));
        let runs = submission.record.runs.clone();
        return answer(&runs, &standing, Some(&submission), &args, console);
    }
    let submission = submit(Submission::create(&dir, record)?, &scripts, &options, cluster)?;
    let runs = submission.record.runs.clone();
    answer(&runs, &standing, Some(&submission), &args, console)
}

/// Plans the runs on this machine, which need not have the device that they compute on. Returns each with its missing
/// stages.
fn plan(
    mut runs: LoadedRuns,
    frozen: Vec<FrozenRun>,
    args: &Args,
    console: &Console,
) -> Result<(Vec<SubmittedRun>, Vec<Option<RunStages>>)> {
    let mut missing: HashMap<String, bool> = HashMap::new();
    for (run, _) in &mut runs {
        let device = &mut run.run.device;
        if *missing.entry(device.clone()).or_insert_with_key(|device| device::choose(device).is_err()) {
            *device = "auto".to_owned();
        }
    }
    let (mut found, mut planned, mut stages) = (Vec::new(), Vec::new(), Vec::new());
    let (mut checked, mut estimates, mut frozen) = (None, None, frozen.into_iter());
    Session::each(runs, &args.file, &args.pipeline, false, console, |session| {
        let statuses = session.statuses()?;
        let checked = checked.get_or_insert_with(|| CheckedImages::open(&session.store));
        for data in session.plan.broken(&statuses, &vec![true; statuses.len()], checked) {
            if !found.contains(&data) {
                found.push(data);
            }
        }
        let estimates = estimates.get_or_insert_with(|| Estimates::open(&session));
        stages.push(Some(preparation::missing(&session, &statuses, estimates)));
        let frozen = frozen.next().ok_or_else(|| Error::bug("a run without its settings"))?;
        planned.push(preparation::frozen_run(&session, frozen)?);
        Ok(())
    })?;
    undecodable::list(&found, console);
    undecodable::require_sound(&found)?;
    Ok((planned, stages))
}

/// What the command does with a run.
enum Standing {
    Complete,
    Queued(QueuedJob),
    Submitted,
}

/// A run that is complete needs nothing, and one in the queue no second job.
fn standing(runs: &[SubmittedRun], file: &Path, runs_dir: &Path) -> Result<Vec<Standing>> {
    let complete = |run: &SubmittedRun| {
        RunDirectory::open(&run.run_dir).is_ok_and(|directory| directory.state() == RunState::Complete)
    };
    let full = preparation::full_path(file)?;
    let mut earlier = run::submissions(runs_dir)?;
    earlier.retain(|submission| {
        submission.record.file == full
            && runs.iter().any(|run| !complete(run) && has(submission, run).is_some())
    });
    let queue =
        queue::of(&earlier).map_err(|error| error.within("it is unknown which runs are in the queue"))?;
    let of_run = |run: &SubmittedRun| match complete(run) {
        true => Standing::Complete,
        false => queued(run, &earlier, &queue).map_or(Standing::Submitted, Standing::Queued),
    };
    Ok(runs.iter().map(of_run).collect())
}

/// The index of a run in an earlier submission.
fn has(submission: &Submission, run: &SubmittedRun) -> Option<usize> {
    submission.record.runs.iter().position(|other| other.recipe == run.recipe && other.name == run.name)
}

fn queued(run: &SubmittedRun, earlier: &[Submission], queue: &Queue) -> Option<QueuedJob> {
    earlier.iter().find_map(|submission| {
        let index = has(submission, run)?;
        let mut tasks = submission.tasks_of(index).filter(|(.., task)| task.is_run());
        tasks.find_map(|(array, index, _)| {
            let job = submission.record.arrays[array].job.clone()?;
            queue.get(&(job, index)).cloned()
        })
    })
}

fn script(record: &SubmissionRecord, array: usize, slurm: &Slurm, program: &Path, dir: &Path) -> String {
    let name = record.runs.first().map_or("", |run| run.name.as_str());
    let tasks = record.arrays[array].tasks.len();
    Script { name, tasks, slurm, program, submission: dir, array }.text()
}

/// Submits the arrays in order. If one is refused, those before it are cancelled.
fn submit(
    mut submission: Submission,
    scripts: &[String],
    options: &[String],
    cluster: Cluster,
) -> Result<Submission> {
    for (array, script) in scripts.iter().enumerate() {
        submission.write_script(array, script)?;
        let jobs = |array: &usize| submission.record.arrays[*array].job.clone();
        let after: Vec<String> = submission.record.arrays[array].after.iter().filter_map(jobs).collect();
        match cluster.submit(&submission.script(array), &submission.logs(), &after, options) {
            Ok(job) => {
                submission.record.arrays[array].job = Some(job);
                submission.save()?;
            }
            Err(error) => {
                let before: Vec<String> =
                    submission.record.arrays.iter().filter_map(|array| array.job.clone()).collect();
                let hint = match before.is_empty() || cluster.cancel(&before).is_ok() {
                    true => "nothing is in the queue; the script is in".to_owned(),
                    false => format!(
                        "cancel what was accepted with `scancel {}`; the script is in",
                        before.join(" ")
                    ),
                };
                let cause = error.hint.clone().map_or_else(String::new, |cause| format!("{cause}; "));
                let script = submission.script(array);
                return Err(error.hint(format!("{cause}{hint} `{}`", script.display())));
            }
        }
    }
    Ok(submission)
}

/// An option and its value are two words, unless the option contains `=`.
fn words(option: &str) -> Vec<String> {
    match option.find(['=', ' ']) {
        Some(at) if option[at..].starts_with(' ') => {
            vec![option[..at].to_owned(), option[at + 1..].trim().to_owned()]
        }
        _ => vec![option.to_owned()],
    }
}

fn shown_script(script: &str) -> String {
    script.lines().map(shown).collect::<Vec<_>>().join("\n") + "\n"
}

/// Prints what happens to each run.
fn answer(
    runs: &[SubmittedRun],
    standing: &[Standing],
    submission: Option<&Submission>,
    args: &Args,
    console: &Console,
) -> Result<ExitCode> {
    let tasks = submission.into_iter().flat_map(Submission::tasks).filter(|(.., task)| task.is_run());
    let places: HashMap<usize, (usize, usize)> =
        tasks.map(|(array, index, task)| (task.run, (array, index))).collect();
    let job_of = |run: usize| {
        let (array, index) = places.get(&run)?;
        Some(format!("{}_{index}", submission?.record.arrays[*array].job.as_deref()?))
    };
    let mut documents = Vec::new();
    let rows = args.page.rows(runs.len());
    let width = runs.iter().take(rows).map(|run| title(run).chars().count()).max().unwrap_or(0);
    for (index, (run, standing)) in runs.iter().zip(standing).enumerate() {
        let (action, job) = match standing {
            Standing::Complete => ("complete", None),
            Standing::Queued(job) => ("queued", Some(job.id.clone())),
            Standing::Submitted => (if args.dry_run { "to submit" } else { "submitted" }, job_of(index)),
        };
        let job = job.as_deref();
        if index < rows {
            console.say(format!(
                "{:width$}  {action}{}",
                shown(title(run)),
                job.map_or_else(String::new, |job| format!(" as {job}"))
            ));
        }
        let label = run.frozen.label.as_deref();
        documents.push(
            json!({ "name": run.name, "label": label, "run_dir": run.run_dir, "action": action, "job": job }),
        );
    }
    if rows < runs.len() {
        console.say(format!("and {} more: `--all` or `--limit N` shows them", runs.len() - rows));
    }
    if let Some(submission) = submission {
        console.say(sentence(submission, args));
    }
    if console.json() {
        let arrays = submission.map(|submission| arrays(submission, args.dry_run));
        let dir = submission.filter(|_| !args.dry_run).map(|submission| &submission.dir);
        console.document(&json!({ "submission": dir, "arrays": arrays, "runs": documents }));
    }
    Ok(ExitCode::SUCCESS)
}

fn title(run: &SubmittedRun) -> &str {
    run.frozen.label.as_deref().unwrap_or(&run.name)
}

fn sentence(submission: &Submission, args: &Args) -> String {
    let (mut shared, mut whole) = (0, 0);
    submission.tasks().for_each(|(.., task)| if task.is_run() { whole += 1 } else { shared += 1 });
    let first = match shared {
        0 => String::new(),
        _ => format!(", after {} of what they share", sanitize::count(shared, "job")),
    };
    let jobs = sanitize::count(whole, "job");
    match args.dry_run {
        true => format!("would submit {jobs}{first}"),
        false => format!(
            "submitted {jobs}{first}: `defrost status {}` shows them; logs are in {}",
            shown(args.file.display()),
            shown(submission.logs().display())
        ),
    }
}

fn arrays(submission: &Submission, dry_run: bool) -> Vec<Value> {
    let of = |array: usize| {
        let tasks = &submission.record.arrays[array];
        let script = (!dry_run).then(|| submission.script(array));
        json!({ "job": tasks.job, "after": tasks.after, "tasks": tasks.tasks, "script": script })
    };
    (0..submission.record.arrays.len()).map(of).collect()
}
