//! `defrost plan`: what a run would do, and why.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use defrost::Result;
use defrost::data::Split;
use defrost::features::FeatureStore;
use defrost::plan::{self, Status};
use defrost::run::{self, RunDirectory};
use defrost::stage::Work;
use serde::Serialize;
use serde_json::{Value, json};

use super::session::Session;
use super::{Console, PipelineOptions, images};

#[derive(clap::Args)]
#[command(after_help = "Example: defrost plan turtles.toml --set stage.finetune.optimizer.lr=3e-5")]
pub struct Args {
    /// The pipeline file
    file: PathBuf,
    /// Read every input anew instead of trusting size and times
    #[arg(long)]
    rehash: bool,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

pub fn run(args: Args, console: &Console) -> Result<ExitCode> {
    let session = Session::open(&args.file, &args.pipeline, args.rehash, console)?;
    let plan = &session.plan;
    let earlier = run::earlier_stages(&session.runs, &plan.name);
    let statuses = plan::statuses(plan, &session.store, session.wanted(), session.variant, &earlier)?;
    let directory = RunDirectory::locate(&session.runs, &plan.name, &plan.recipe)?;

    let limit = session.pipeline.run.feature_bytes();
    let (folder, index) = (session.store.features(), session.store.inputs());
    let store = limit.map(|limit| FeatureStore::new(folder, index, session.variant, limit));
    let width = plan.stages.iter().map(|stage| stage.name.len()).max().unwrap_or(0);
    let mut stages: Vec<Value> = Vec::new();
    for (stage, status) in plan.stages.iter().zip(&statuses) {
        let word = match status.status {
            Status::Hit => "\x1b[32mHIT   \x1b[0m",
            Status::Miss => "\x1b[33mMISS  \x1b[0m",
            Status::Resume => "\x1b[36mRESUME\x1b[0m",
        };
        let elsewhere = status.finished.as_ref().map(|finished| &finished.variant);
        let why = match elsewhere.filter(|variant| **variant != session.variant) {
            Some(variant) => format!("computed on {variant}"),
            None => status.why().unwrap_or_default(),
        };
        let line = format!("{word}  {:width$}  {why}", stage.name);
        console.say(line.trim_end());
        let source = stage.parent.and_then(|parent| {
            let finished = statuses[parent.stage].finished.as_ref()?;
            Some(finished.dir.join(parent.file()))
        });
        let features = match status.status {
            Status::Hit => None,
            _ => Features::of(&stage.work, source.as_deref(), store.as_ref())?,
        };
        let notes = [note(&stage.work), features.as_ref().map(Features::sentence)];
        for note in notes.iter().flatten() {
            console.say(format!("        {:width$}  {note}", ""));
        }
        stages.push(json!({
            "name": stage.name,
            "kind": stage.work.kind(),
            "recipe": stage.recipe,
            "key": status.key,
            "status": status.status,
            "variant": elsewhere,
            "reasons": status.reasons,
            "note": note(&stage.work),
            "features": features,
        }));
    }
    console.say("");
    images::parts(plan.stages.iter().map(|stage| &stage.work)).iter().for_each(|text| console.say(text));
    console.say(format!("run directory: {}", directory.path().display()));
    if console.json() {
        console.document(&json!({ "run_dir": directory.path(), "stages": stages }));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is worth knowing of a train stage before it runs.
fn note(work: &Work) -> Option<String> {
    let Work::Train(train) = work else { return None };
    let totals = train.table.totals();
    let images = train.dataset.as_ref().map_or(0, |dataset| dataset.split(Split::Train).len());
    let steps = images.div_ceil(train.settings.batch_size);
    Some(format!(
        "{} of {} tensors on {images} images, {} epochs of {steps} steps",
        totals.trainable_tensors,
        totals.trainable_tensors + totals.frozen_tensors,
        train.settings.epochs,
    ))
}

/// What a stage that is to be computed does with the features of its frozen layers.
#[derive(Serialize)]
struct Features {
    /// How many layers run as plain inference.
    layers: usize,
    kept: bool,
    /// Why they are computed anew every time.
    reason: Option<&'static str>,
    /// How many it needs: one for each image, or for each of its views.
    images: Option<usize>,
    /// How many of them are there already; unknown until the stage above is finished.
    stored: Option<usize>,
    /// How many are to be computed.
    missing: Option<usize>,
}

impl Features {
    fn of(work: &Work, source: Option<&Path>, store: Option<&FeatureStore>) -> Result<Option<Self>> {
        let Some(prefix) = work.prefix() else { return Ok(None) };
        let off = store.is_none().then_some("`run.feature_cache` is off");
        let reason = prefix.recomputed.or(off);
        let found = match (source, store) {
            (Some(source), Some(store)) => work.features_found(source, store)?,
            _ => None,
        };
        Ok(Some(Self {
            layers: prefix.layers,
            kept: reason.is_none(),
            reason,
            images: found.as_ref().map(|found| found.images),
            stored: found.as_ref().map(|found| found.stored),
            missing: found.as_ref().map(|found| found.images - found.stored),
        }))
    }

    fn sentence(&self) -> String {
        match (self.reason, self.images.zip(self.stored)) {
            (Some(why), _) => format!("features are not kept: {why}"),
            (None, None) => format!("the first {} layers run once per image, their features are kept", self.layers),
            (None, Some((images, stored))) => format!(
                "the first {} layers run once per image: features of {images}, {stored} of them from the store",
                self.layers
            ),
        }
    }
}
