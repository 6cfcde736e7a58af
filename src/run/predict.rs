//! The model of a finished run, applied to images it has never seen.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::Deserialize;
use serde_json::Value as Json;

use super::{Problem, RunDirectory, StageRecord};
use crate::autograd::Value;
use crate::data::{LABELS_BETWEEN, LARGEST_IMAGE, Transform};
use crate::device::{Choice, placed};
use crate::error::{Error, Result};
use crate::model::{Model, Pass, State};
use crate::pipeline::{self, Arch, Head, ImageFolder};
use crate::regular;
use crate::stage::{BEST, Classifier, LAST, Labeller, Outcome};
use crate::store::disk;
use crate::weights::{self, LoadRules, Source};

/// A model with its weights, its classes and its view of images.
pub struct Predictor {
    pub(super) model: Model,
    pub(super) state: State,
    transform: Transform,
    /// Where it computes.
    pub choice: Choice,
    pub classes: Vec<String>,
    /// Whether an image shows any number of them, each told by itself, rather than one.
    pub multi_label: bool,
    /// The checkpoint below the run directory.
    pub checkpoint: PathBuf,
}

/// One image, as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The likeliest class; of labels, all that are told, with `;` between them.
    pub label: String,
    /// What is told of the image: one class, or any number of labels.
    pub labels: Vec<String>,
    /// One for each class, in their order.
    pub probabilities: Vec<f32>,
}

/// What a stage's recipe says of its model.
#[derive(Deserialize)]
struct Subject {
    arch: Arch,
    classes: Vec<String>,
    #[serde(default)]
    multi_label: bool,
    #[serde(default)]
    head: Head,
}

impl Predictor {
    /// The model of a train stage, with the weights of its best epoch where one was judged, else of its last.
    ///
    /// `stage` may name one of them, as `frozen`, `frozen@best` or `frozen@last`; the last of the run otherwise.
    ///
    /// # Errors
    /// No such stage, no weights of it yet, weights that were altered, or a model that does not compute on the GPU that was asked for.
    pub fn open(run: &RunDirectory, stage: Option<&str>, choice: Choice) -> Result<Self> {
        let record = run.record()?;
        let trained: Vec<&StageRecord> = record.stages.iter().filter(|stage| stage.kind == "train").collect();
        let (name, which) = match stage.map(|text| text.split_once('@').unwrap_or((text, ""))) {
            Some((name, which)) => (Some(name), which),
            None => (None, ""),
        };
        let found = match name {
            Some(name) => trained.iter().find(|stage| stage.name == name),
            None => trained.last(),
        };
        let Some(stage) = found else {
            let names: Vec<&str> = trained.iter().map(|stage| stage.name.as_str()).collect();
            let error = match name.filter(|name| record.stage(name).is_some()) {
                Some(name) => {
                    Error::usage(format!("stage `{name}` does not train: it has no model of its own"))
                }
                None => Error::usage(format!("the run has no train stage `{}`", name.unwrap_or_default())),
            };
            return Err(error.hint(format!("its train stages: {}", names.join(", "))));
        };
        let folder = run.stage(&stage.name);
        let file = match which {
            "best" => BEST,
            "last" => LAST,
            "" if folder.join(BEST).is_file() => BEST,
            "" => LAST,
            other => {
                return Err(Error::usage(format!("unknown checkpoint `@{other}`")).hint("`@best` or `@last`"));
            }
        };
        if !folder.join(file).is_file() {
            return Err(without_weights(run, stage, file, &trained));
        }
        let checkpoint = Path::new("stages").join(&stage.name).join(file);
        require_sealed(run, &checkpoint)?;
        let predictor = Self::of_stage(stage, &folder.join(file), choice)?;
        Ok(Self { checkpoint, ..predictor })
    }

    fn of_stage(stage: &StageRecord, checkpoint: &Path, choice: Choice) -> Result<Self> {
        let document = &stage.document;
        let broken = |error| Error::failed(format!("the run's `plan.json` cannot be read: {error}"));
        let subject: Subject = serde_json::from_value(document["model"].clone()).map_err(broken)?;
        let choice = choice.with(subject.arch, &format!("stage `{}`", stage.name))?;
        let mut images = document["images"].clone();
        images["root"] = Json::String(String::new());
        let view: ImageFolder = serde_json::from_value(images).map_err(broken)?;
        let spec = pipeline::Model { head: subject.head, ..pipeline::Model::of(subject.arch) };
        let model = Model::build_for(&spec, subject.classes.len(), view.image_size);
        let mut rules = LoadRules::default();
        rules.classes = Some(subject.classes.clone());
        let state = weights::load(&model.description, &Source::open(checkpoint)?, &rules, 0)?;
        let Subject { classes, multi_label, .. } = subject;
        Ok(Self {
            model,
            state: state.on(&choice.device)?,
            transform: Transform::evaluation(&view, None),
            choice,
            classes,
            multi_label,
            checkpoint: PathBuf::new(),
        })
    }

    /// The class probabilities of each image file, or why it cannot be read or decoded.
    pub fn predict(&self, files: &[PathBuf]) -> Vec<Result<Prediction>> {
        let mut pass = Pass::inference(&self.state);
        files.iter().map(|file| self.one(file, &mut pass)).collect()
    }

    /// An image file as the model sees it: [1, size, size, 3].
    pub(super) fn image(&self, file: &Path) -> Result<Tensor> {
        let bytes = regular::read(file, LARGEST_IMAGE)
            .map_err(|refused| Error::io("read", file, refused.into()).as_usage())?;
        self.transform.tensor(&bytes).map_err(|error| {
            Error::usage(format!("cannot decode `{}`: {error}", file.display()))
                .hint("give JPEG or PNG images")
        })
    }

    fn one(&self, file: &Path, pass: &mut Pass) -> Result<Prediction> {
        let image = placed(&self.image(file)?, &self.choice.device)?;
        let layers = 0..self.model.description.layers.len();
        let logits = self.model.forward(pass, layers, Value::constant(image))?;
        let (classes, scores) = (&self.classes[..], logits.tensor());
        match self.multi_label {
            true => Prediction::of(&Labeller::new(classes), classes, scores),
            false => Prediction::of(&Classifier::new(classes), classes, scores),
        }
    }
}

/// Why a train stage has not the file of weights that was asked for.
fn without_weights(run: &RunDirectory, stage: &StageRecord, file: &str, trained: &[&StageRecord]) -> Error {
    let finished = |stage: &str| run.stage(stage).join(LAST).is_file();
    let name = &stage.name;
    if finished(name) {
        return Error::usage(format!("stage `{name}` has no `{file}`"))
            .hint(format!("without validation images no epoch is the best: take `--stage {name}@last`"));
    }
    let others: Vec<String> = trained
        .iter()
        .filter(|other| finished(&other.name))
        .map(|other| format!("`--stage {}`", other.name))
        .collect();
    let others = if others.is_empty() { String::new() } else { format!(", or take {}", others.join(" or ")) };
    Error::usage(format!("stage `{name}` is not finished"))
        .hint(format!("let the run finish: run its pipeline file again{others}"))
}

/// Fails where the run is complete and the file below it has other bytes than when it ended.
fn require_sealed(run: &RunDirectory, file: &Path) -> Result<()> {
    let Ok(files) = run.manifest() else { return Ok(()) };
    let digest = file.to_str().and_then(|name| files.get(name));
    match digest {
        Some(digest) if disk::digest_file(&run.path().join(file))? != *digest => {
            let changed = Problem::Changed { file: run.path().join(file).display().to_string() };
            Err(Error::failed(changed.to_string())
                .hint("`defrost verify` looks at the whole run; running its pipeline file again restores it"))
        }
        _ => Ok(()),
    }
}

impl Prediction {
    fn of(task: &impl Outcome, classes: &[String], scores: &Tensor) -> Result<Self> {
        let probabilities: Vec<f32> = task.probabilities(scores)?.flatten_all()?.to_vec1()?;
        let told = task.told(&probabilities).into_iter();
        let labels: Vec<String> = told.map(|place| classes[place as usize].clone()).collect();
        Ok(Self { label: labels.join(LABELS_BETWEEN), labels, probabilities })
    }
}
