//! `defrost plan`: shows what a run would do, and why.

mod unfetched;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::ExitCode;

use defrost::data::Split;
use defrost::digest::Digest;
use defrost::estimate::{self, Estimate};
use defrost::freeze::UnfreezeSummary;
use defrost::plan::{CheckedImages, DiskAccess, PlanEntry, StageStatus, Status, UndecodableImages};
use defrost::report::{self, duration};
use defrost::run::{self, RunDirectory};
use defrost::stage::{FeatureCacheStatus, FrozenPrefix, PlannedStage, ResolvedStage};
use defrost::{Result, sanitize};
use serde::Serialize;
use serde_json::{Value, json};

use super::console::shown;
use super::estimates::{self, Estimates};
use super::page::{PAGE, PageOptions};
use super::search::{self, Searched};
use super::session::Session;
use super::{Console, PipelineOptions, data_table, fetch, images, undecodable};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost plan turtles.toml --set stage.finetune.optimizer.lr=3e-5")]
pub struct Args {
    /// Pipeline file
    file: PathBuf,
    /// Hash every input again, instead of trusting file sizes and modification times
    #[arg(long)]
    rehash: bool,
    /// Do not estimate time and memory, and do not measure anything
    #[arg(long)]
    no_estimates: bool,
    #[command(flatten)]
    page: PageOptions,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let runs = args.pipeline.load_all(&args.file, DiskAccess::Inputs, console)?;
    let missing = fetch::missing(&runs);
    if !missing.is_empty() {
        return unfetched::show(&runs, &missing, &args.file, console);
    }
    let runs = match Searched::of(runs) {
        Ok(searched) => return search::plan(searched, &args.file, &args.pipeline, args.rehash, console),
        Err(runs) => runs,
    };
    let count = runs.len();
    let labelled = runs.iter().any(|(run, _)| run.label.is_some());
    // Of many runs, most differ in one setting: their stages are counted, and the first shows them all.
    let shown_runs =
        args.page.rows(count).min(if count > PAGE && !args.page.is_chosen() { 1 } else { count });
    let mut known = RunsBefore::default();
    let (mut documents, mut directories, mut parts, mut data) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    Session::each(runs, &args.file, &args.pipeline, args.rehash, console, |session| {
        let index = directories.len();
        known.silent = index >= shown_runs;
        if let Some(label) = &session.pipeline.label {
            known.say(console, format!("\x1b[1m{}\x1b[0m", shown(label)));
            known.label.clone_from(label);
        }
        let (directory, document) = one(&session, &args, &mut known, console)?;
        directories.push(directory);
        documents.extend(document);
        if labelled {
            known.say(console, "");
        }
        for part in images::parts(session.plan.stages.iter().map(|stage| &stage.work)) {
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        data_table::add(&mut data, session.plan.data());
        Ok(())
    })?;
    if shown_runs < count {
        known.counts().into_iter().for_each(|line| console.say(line));
        console.say("");
    }
    if labelled {
        console.say(known.sentence(count));
    } else {
        console.say("");
    }
    if let Some(total) = total(&known.estimates) {
        console.say(format!("total estimate: {}", amount(&total)));
    }
    parts.iter().for_each(|text| console.say(shown(text)));
    for (name, summary) in &data {
        console.say(format!("data `{}`:", shown(name)));
        data_table::lines(summary).iter().for_each(|line| console.say(format!("    {line}").trim_end()));
        data_table::doubles(name, summary).iter().for_each(|text| console.warn(text));
    }
    for directory in directories.iter().take(shown_runs) {
        console.say(format!("run directory: {}", shown(directory.display())));
    }
    if shown_runs < count {
        let rest = sanitize::count(count - shown_runs, "run");
        console.say(format!("{rest} more, not shown one by one: `--all` or `--limit N` shows them"));
    }
    undecodable::list(&known.broken, console);
    if console.json() {
        match &mut documents[..] {
            [document] if !labelled => console.document(document),
            _ => console.document(&json!({ "runs": documents })),
        }
    }
    undecodable::require_sound(&known.broken)?;
    Ok(ExitCode::SUCCESS)
}

/// The stages that earlier runs of the matrix compute.
#[derive(Default)]
struct RunsBefore {
    label: String,
    /// Whether the run is only counted.
    silent: bool,
    /// For each stage name, in order: its hits, resumed and computed stages, and stages shared with an earlier run.
    by_stage: Vec<(String, [usize; 4])>,
    /// Estimates by numeric profile, opened once.
    open: HashMap<String, Estimates>,
    /// The features in the store, by what identifies them.
    features: HashMap<Digest, Vec<Option<FeatureCacheStatus>>>,
    checked: Option<CheckedImages>,
    /// Stages to compute, by recipe, with the label of the run that computes each.
    computed: BTreeMap<Digest, String>,
    /// The estimates of these stages.
    estimates: Vec<Option<Estimate>>,
    hits: usize,
    shared: usize,
    /// Images that cannot be decoded.
    broken: Vec<UndecodableImages>,
}

impl RunsBefore {
    /// As [`estimates::found`]. Stages that differ in their settings alone need the same features.
    fn found(
        &mut self,
        session: &Session,
        stage: &PlanEntry,
        statuses: &[StageStatus],
    ) -> Result<Vec<Option<FeatureCacheStatus>>> {
        let Some(identity) = run::kept_features(&session.plan, stage) else {
            return estimates::found(session, stage, statuses);
        };
        if let Some(known) = self.features.get(&identity) {
            return Ok(known.clone());
        }
        let found = estimates::found(session, stage, statuses)?;
        self.features.insert(identity, found.clone());
        Ok(found)
    }

    /// The earlier run that computes a stage.
    fn elsewhere(&self, recipe: &Digest) -> Option<String> {
        self.computed.get(recipe).filter(|label| **label != self.label).cloned()
    }

    fn say(&self, console: &Console, text: impl std::fmt::Display) {
        if !self.silent {
            console.say(text);
        }
    }

    fn count(&mut self, stage: &str, what: usize) {
        let place = self.by_stage.iter().position(|(name, _)| name == stage).unwrap_or_else(|| {
            self.by_stage.push((stage.to_owned(), [0; 4]));
            self.by_stage.len() - 1
        });
        self.by_stage[place].1[what] += 1;
    }

    /// A line for each stage name, over all runs.
    fn counts(&self) -> Vec<String> {
        let width = self.by_stage.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let words = ["cached", "to resume", "to compute", "shared with an earlier run"];
        let line = |(name, counts): &(String, [usize; 4])| {
            let parts: Vec<String> = words
                .iter()
                .zip(counts)
                .filter(|(_, count)| **count > 0)
                .map(|(word, count)| format!("{count} {word}"))
                .collect();
            format!("{:width$}  {}", shown(name), parts.join(", "))
        };
        std::iter::once("\x1b[1mall runs\x1b[0m".to_owned()).chain(self.by_stage.iter().map(line)).collect()
    }

    fn sentence(&self, runs: usize) -> String {
        let (runs, stages) = (sanitize::count(runs, "run"), self.hits + self.shared + self.computed.len());
        format!(
            "{runs} with {stages} stages: {} to compute, {} cached, {} shared with an earlier run",
            self.computed.len(),
            self.hits,
            self.shared
        )
    }
}

/// Prints the stages of one run, line by line. Returns its directory, and its document if one is asked for.
fn one(
    session: &Session,
    args: &Args,
    known: &mut RunsBefore,
    console: &Console,
) -> Result<(PathBuf, Option<Value>)> {
    let plan = &session.plan;
    let statuses = session.statuses()?;
    let checked = known.checked.get_or_insert_with(|| CheckedImages::open(&session.store));
    let directory = RunDirectory::locate(&session.runs, &plan.name, &plan.recipe)?;
    let broken = plan.broken(&statuses, &vec![true; plan.stages.len()], checked);
    // A run that will fail needs no estimates.
    let fails = broken.iter().any(UndecodableImages::is_error);
    let profile = &session.choice.variant;
    let mut estimates = (!args.no_estimates && !fails)
        .then(|| known.open.remove(profile).unwrap_or_else(|| Estimates::open(session)));
    let width = plan.stages.iter().map(|stage| stage.name.len()).max().unwrap_or(0);
    let mut stages: Vec<Value> = Vec::new();
    for (stage, status) in plan.stages.iter().zip(&statuses) {
        let word = match status.status {
            Status::Hit => "\x1b[32mHIT   \x1b[0m",
            Status::Miss => "\x1b[33mMISS  \x1b[0m",
            Status::Resume => "\x1b[36mRESUME\x1b[0m",
        };
        let elsewhere = status.finished.as_ref().map(|finished| &finished.variant);
        let shared = known.elsewhere(&stage.recipe).filter(|_| status.status != Status::Hit);
        let why = match (elsewhere.filter(|variant| **variant != session.choice.variant), &shared) {
            (Some(variant), _) => format!("computed on {variant}"),
            (None, Some(label)) => format!("computed once, in `{label}`"),
            (None, None) => status.reason().unwrap_or_default(),
        };
        let line = format!("{word}  {:width$}  {}", stage.name, shown(why));
        known.say(console, line.trim_end());
        let (mut features, mut estimate) = (Vec::new(), None);
        match (status.status, &shared) {
            (Status::Hit, _) => {
                known.hits += 1;
                known.count(&stage.name, 0);
            }
            (_, Some(_)) => {
                known.shared += 1;
                known.count(&stage.name, 3);
            }
            (_, None) => {
                known.count(&stage.name, if status.status == Status::Resume { 1 } else { 2 });
                let found = known.found(session, stage, &statuses)?;
                estimate =
                    estimates.as_mut().and_then(|estimates| estimated(estimates, stage, &found, console));
                features = Features::of(&stage.work, &found, session.pipeline.run.feature_bytes().is_some());
                known.estimates.push(estimate);
                known.computed.insert(stage.recipe, known.label.clone());
            }
        }
        let most = stage.work.may_stop_early() || status.status == Status::Resume;
        let mut notes: Vec<String> = note(&stage.work).into_iter().collect();
        notes.extend(schedule(&stage.work));
        notes.extend(features.iter().map(Features::sentence));
        notes.extend(estimate.as_ref().map(|estimate| sentence(estimate, most)));
        for note in &notes {
            known.say(console, format!("        {:width$}  {}", "", shown(note)));
        }
        if !console.json() {
            continue;
        }
        let mut document = json!({
            "name": stage.name,
            "kind": stage.work.kind(),
            "recipe": stage.recipe,
            "key": status.key,
            "status": status.status,
            "variant": elsewhere,
            "reasons": status.reasons,
            "continues_after_epochs": status.continues_after,
            "note": note(&stage.work),
            "features": features.first(),
            "later_features": features.get(1..),
            "phases": phases(&stage.work),
            "estimate": estimate,
        });
        if let Some(label) = shared {
            document["shared_with"] = json!(label);
        }
        stages.push(document);
    }
    if let Some(mut estimates) = estimates {
        estimates.known.save();
        known.open.insert(profile.clone(), estimates);
    }
    let document = console.json().then(|| {
        let mut document =
            json!({ "run_dir": directory.path(), "stages": stages, "data": plan.data(), "broken": broken });
        session.pipeline.label.iter().for_each(|label| document["label"] = json!(label));
        document
    });
    broken.into_iter().for_each(|data| {
        if !known.broken.contains(&data) {
            known.broken.push(data);
        }
    });
    Ok((directory.path().to_owned(), document))
}

/// Warnings and notes about a stage before it runs.
fn note(work: &PlannedStage) -> Option<String> {
    let (train, dataset) = match work {
        ResolvedStage::Train(train, dataset) => (train, dataset),
        ResolvedStage::LoadWeights(load, ..) => {
            let settings = &load.settings;
            let elsewhere = settings.stage.as_ref().zip(settings.pipeline.as_ref());
            let elsewhere = elsewhere.map(|(stage, file)| format!("weights of `{stage}` in `{file}`"));
            let names = elsewhere.or(load.names.as_ref().map(|names| format!("the weights have {names}")));
            let notes: Vec<String> = names.into_iter().chain(load.class_rows.clone()).collect();
            return (!notes.is_empty()).then(|| notes.join("; "));
        }
        _ => return None,
    };
    let totals = train.table.totals();
    let images = dataset.split(Split::Train).len();
    let batches = train.settings.sampler.epoch_images(images).div_ceil(train.settings.batch_size);
    let steps = batches.div_ceil(train.settings.accumulate as usize);
    let taught = train.settings.distill.as_ref().map(|distill| format!(", teacher `{}`", distill.teacher));
    Some(format!(
        "{} of {} tensors on {images} images, {} epochs of {steps} steps{}{}",
        totals.trainable_tensors,
        totals.trainable_tensors + totals.frozen_tensors,
        train.settings.epochs,
        taught.unwrap_or_default(),
        train.sampling(dataset).map(|text| format!("; {text}")).unwrap_or_default(),
    ))
}

/// When parameters unfreeze, if they do.
fn schedule(work: &PlannedStage) -> Vec<String> {
    let ResolvedStage::Train(train, _) = work else { return Vec::new() };
    if train.table.phases.len() == 1 && train.settings.layer_decay.is_none() {
        return Vec::new();
    }
    train.table.unfreeze_summaries(&train.description).iter().map(report::unfreeze_summary).collect()
}

fn phases(work: &PlannedStage) -> Option<Vec<UnfreezeSummary>> {
    let ResolvedStage::Train(train, _) = work else { return None };
    Some(train.table.unfreeze_summaries(&train.description))
}

/// The estimate of a stage. Missing measurements are taken now. If that fails, prints a warning and returns `None`.
fn estimated(
    estimates: &mut Estimates,
    stage: &PlanEntry,
    found: &[Option<FeatureCacheStatus>],
    console: &Console,
) -> Option<Estimate> {
    let workload = estimates.workload(stage, found);
    if !estimate::missing(&workload, &estimates.known).is_empty() {
        console.status(format!("timing `{}` on this machine, once", stage.name));
        if let Err(error) = estimates.measure(&stage.work, &workload) {
            console.warn(format!("no estimate for `{}`: {error}", stage.name));
            return None;
        }
    }
    estimates.forecast(&workload)
}

/// The sum over all stages. `None` if there is no stage, or one without an estimate.
fn total(all: &[Option<Estimate>]) -> Option<Estimate> {
    let one = |sum: Estimate, next: Estimate| Estimate {
        seconds: sum.seconds + next.seconds,
        memory_bytes: sum.memory_bytes.max(next.memory_bytes),
        source: sum.source,
    };
    all.iter().copied().collect::<Option<Vec<_>>>()?.into_iter().reduce(one)
}

fn sentence(estimate: &Estimate, most: bool) -> String {
    format!("estimate: {}{}", if most { "at most " } else { "" }, amount(estimate))
}

fn amount(estimate: &Estimate) -> String {
    let gib = estimate.memory_bytes as f64 / (1u64 << 30) as f64;
    let memory = if gib < 1.0 { format!("{:.0} MiB", gib * 1024.0) } else { format!("{gib:.1} GiB") };
    format!("{}, {memory}", duration(estimate.seconds))
}

/// How a stage that will run uses the features of its frozen layers.
#[derive(Serialize)]
struct Features {
    /// Number of completed epochs after which these layers are the frozen ones.
    after_epochs: u32,
    /// Number of layers that run as inference only.
    layers: usize,
    kept: bool,
    /// Why features are recomputed every time.
    reason: Option<&'static str>,
    /// Number of features it needs: one per image, or one per view.
    images: Option<usize>,
    /// Number of features in the store. Unknown until the parent stage is finished.
    stored: Option<usize>,
    /// Number of features to compute.
    missing: Option<usize>,
}

impl Features {
    /// One entry for each prefix of the stage.
    fn of(work: &PlannedStage, found: &[Option<FeatureCacheStatus>], kept: bool) -> Vec<Self> {
        let of = |(place, prefix): (usize, FrozenPrefix)| {
            let reason = prefix.recomputed.or((!kept).then_some("`run.feature_cache` is off"));
            let found = found.get(place).and_then(Option::as_ref);
            Self {
                after_epochs: prefix.after_epochs,
                layers: prefix.layers,
                kept: reason.is_none(),
                reason,
                images: found.map(|found| found.images),
                stored: found.map(|found| found.stored),
                missing: found.map(|found| found.images - found.stored),
            }
        };
        work.prefixes().into_iter().enumerate().map(of).collect()
    }

    fn sentence(&self) -> String {
        let sentence = self.whatever_the_epoch();
        if self.after_epochs == 0 {
            sentence
        } else {
            format!("from epoch {}: {sentence}", self.after_epochs + 1)
        }
    }

    fn whatever_the_epoch(&self) -> String {
        match (self.reason, self.images.zip(self.stored)) {
            (Some(why), _) => format!("features are not kept: {why}"),
            (None, None) => {
                format!("the first {} layers run once per image; their features are kept", self.layers)
            }
            (None, Some((images, stored))) => format!(
                "the first {} layers run once per image: {images} features, {stored} of them from the store",
                self.layers
            ),
        }
    }
}
