//! The model of a finished run, for new images.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use image::RgbImage;
use serde::Deserialize;
use serde_json::Value as Json;

use super::directory::RESOLVED;
use super::{RunDirectory, RunRecord, StageRecord, VerifyProblem};
use crate::data::{Geometry, Image, LARGEST_IMAGE, Region, Transform, image_format_names};
use crate::device::DeviceChoice;
use crate::error::{Error, Result};
use crate::model::{AdapterSpec, Description, Model, StateDict, merge_adapters};
use crate::pipeline::{self, Arch, Data, Head, ImageSettings, PositionResampling, Variant, suggest};
use crate::regular_file;
use crate::stage::{BEST, LAST, MODEL, Preprocess};
use crate::store::disk;
use crate::task::{TaskKind, TaskSpec};
use crate::weights::{self, LoadRules, WeightsFile};

/// A model with its weights, its task and its preprocessing. Adapters are merged into the weights.
pub struct Predictor {
    pub(super) model: Model,
    pub(super) state: StateDict,
    /// The adapters before they were merged.
    pub(super) adapter: Option<PredictorAdapter>,
    transform: Transform,
    /// How images are read, and the same as in the recipe.
    pub(super) images: ImageSettings,
    pub(super) preprocessing: Json,
    /// The device that computes.
    pub choice: DeviceChoice,
    pub(super) kind: TaskKind,
    pub(super) variant: Variant,
    pub(super) head: Head,
    /// The names of the classes or labels, in the order of the model's outputs.
    pub classes: Vec<String>,
    /// The checkpoint, relative to the run directory.
    pub checkpoint: PathBuf,
}

/// A model with adapters, and its weights.
pub(super) struct PredictorAdapter {
    pub spec: AdapterSpec,
    pub description: Description,
    pub state: StateDict,
    /// The parameters that the stage trained.
    pub trained: BTreeSet<String>,
}

/// The parameters that a stage trained at any time, by its recipe.
fn trained(document: &Json) -> BTreeSet<String> {
    let parameters = &document["parameters"];
    let later = parameters["unfreeze"].as_array().into_iter().flatten();
    let lists = std::iter::once(parameters).chain(later).filter_map(|part| part["trainable"].as_array());
    lists.flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

/// What a stage's recipe says about its model.
#[derive(Deserialize)]
struct RecipeModel {
    arch: Arch,
    classes: Vec<String>,
    #[serde(default)]
    head: Head,
    #[serde(default)]
    variant: Variant,
    #[serde(default)]
    position_resampling: PositionResampling,
    #[serde(default)]
    adapter: Option<AdapterSpec>,
}

/// The kind of output that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PredictorUse {
    /// Class scores: from a stage that trained its head, or loaded all of it.
    Classes,
    /// Embeddings: of any stage with weights, since the head may be left out.
    Embeddings,
    /// The whole network, for any task: from a stage that trained its head, or loaded all of it.
    Network,
}

impl Predictor {
    /// The model of a stage. For a train stage, it has the weights of the best epoch if there was validation, else of
    /// the last.
    ///
    /// `stage` may name one, as `frozen`, `frozen@best` or `frozen@last`. The default is the last train stage of the
    /// run. If no stage trains, it is the last stage with the needed output.
    ///
    /// # Errors
    /// There is no such stage, or it has no weights yet. The weights were modified, or the model does not run on the
    /// requested GPU.
    pub fn open(
        run: &RunDirectory,
        stage: Option<&str>,
        wanted: PredictorUse,
        choice: DeviceChoice,
    ) -> Result<Self> {
        let record = run.record()?;
        let (name, which) = match stage.map(|text| text.split_once('@').unwrap_or((text, ""))) {
            Some((name, which)) => (Some(name), which),
            None => (None, ""),
        };
        let usable: Vec<&StageRecord> =
            record.stages.iter().filter(|stage| unfit(stage, wanted).is_none()).collect();
        let found = match name {
            Some(name) => usable.iter().find(|stage| stage.name == name),
            None => usable.iter().rfind(|stage| stage.kind == "train").or(usable.last()),
        };
        let Some(stage) = found else { return Err(no_stage(&record, name, &usable, wanted)) };
        let folder = run.stage(&stage.name);
        let file = match (&stage.kind[..], which) {
            ("train", "best") => BEST,
            ("train", "last") => LAST,
            ("train", "") if folder.join(BEST).is_file() => BEST,
            ("train", "") => LAST,
            (_, "") => MODEL,
            ("train", other) => {
                return Err(Error::usage(format!("unknown checkpoint `@{other}`"))
                    .hint("use `@best` or `@last`, or remove it"));
            }
            (_, other) => {
                let name = &stage.name;
                return Err(Error::usage(format!(
                    "stage `{name}` is not a train stage, so it has no `@{other}`"
                ))
                .hint(format!("remove it: `--stage {name}`")));
            }
        };
        if !folder.join(file).is_file() {
            return Err(without_weights(run, stage, file, &usable));
        }
        let checkpoint = Path::new("stages").join(&stage.name).join(file);
        require_sealed(run, &checkpoint)?;
        let predictor = Self::of_stage(run, stage, &folder.join(file), choice)?;
        Ok(Self { checkpoint, ..predictor })
    }

    fn of_stage(
        run: &RunDirectory,
        stage: &StageRecord,
        checkpoint: &Path,
        choice: DeviceChoice,
    ) -> Result<Self> {
        let document = &stage.document;
        let broken = |error| Error::failed(format!("the run's `plan.json` cannot be read: {error}"));
        let model_spec: RecipeModel = serde_json::from_value(document["model"].clone()).map_err(broken)?;
        let choice = match model_spec.arch.computes_on_gpus() {
            true => choice,
            false => choice.without_gpus(&format!("stage `{}`", stage.name))?,
        };
        let images = match &document["images"] {
            Json::Null => images_of(run, stage, model_spec.arch)?,
            images => images.clone(),
        };
        let view: ImageSettings = serde_json::from_value(images.clone()).map_err(broken)?;
        let RecipeModel { arch, classes, head, variant, position_resampling, adapter } = model_spec;
        let spec =
            pipeline::Model { variant, head: head.clone(), position_resampling, ..pipeline::Model::of(arch) };
        let build = || Model::build_for_channels(&spec, classes.len(), view.image_size, view.channels);
        let description = build().with_adapters(adapter.as_ref()).description;
        let mut rules = LoadRules::default();
        rules.classes = Some(classes.clone());
        let stored = weights::load(&description, &WeightsFile::open(checkpoint)?, &rules, 0)?;
        let (model, state) = (build(), merge_adapters(&description, &stored)?);
        Ok(Self {
            model,
            state: state.to_device(&choice.device)?,
            transform: Transform::evaluation(&view, None),
            images: view,
            preprocessing: images,
            choice,
            kind: TaskKind::of_recipe(&document["model"]),
            variant,
            head,
            classes,
            adapter: adapter.map(|spec| PredictorAdapter {
                spec,
                description,
                state: stored,
                trained: trained(document),
            }),
            checkpoint: PathBuf::new(),
        })
    }

    /// The task that the model was trained for.
    pub(super) fn task(&self) -> TaskSpec<'_> {
        TaskSpec { kind: self.kind, classes: &self.classes, head: &self.head, training: None }
    }

    /// An image file, preprocessed for the model: [1, size, size, channels].
    pub(super) fn image(&self, file: &Path) -> Result<Tensor> {
        Ok(self.placed(file, &encoded(file)?)?.0)
    }

    /// The bytes of an image file as for [`Predictor::image`], with the place of the picture in it.
    pub(super) fn placed(&self, file: &Path, bytes: &[u8]) -> Result<(Tensor, Geometry)> {
        self.transform.evaluate(bytes).map_err(|error| undecodable(file, &error.to_string()))
    }

    /// All pixels of an image file, of which tiles are inputs.
    pub(super) fn decoded(&self, file: &Path, bytes: &[u8]) -> Result<Image> {
        self.transform.decoded(bytes).map_err(|error| undecodable(file, &error.to_string()))
    }

    /// A region of a picture as [`Predictor::placed`] makes an input of the whole.
    pub(super) fn tile(&self, picture: &Image, region: Region) -> Result<(Tensor, Geometry)> {
        self.transform.tile(picture, region)
    }

    /// The whole upright picture in RGB8. Images of another depth are shown as the model sees them.
    pub(super) fn picture(&self, file: &Path, bytes: &[u8]) -> Result<RgbImage> {
        self.transform.reader().picture(bytes).map_err(|cause| undecodable(file, &cause))
    }
}

/// The bytes of an image file.
pub(super) fn encoded(file: &Path) -> Result<Vec<u8>> {
    regular_file::read(file, LARGEST_IMAGE)
        .map_err(|refused| Error::io("read", file, refused.into()).as_usage())
}

fn undecodable(file: &Path, cause: &str) -> Error {
    Error::usage(format!("cannot decode `{}`: {cause}", file.display()))
        .hint(format!("use {} images", image_format_names("or")))
}

/// Why a stage has no model for the needed output; `None` if it has one.
fn unfit(stage: &StageRecord, wanted: PredictorUse) -> Option<&'static str> {
    let settings = &stage.document["settings"];
    let is_afresh = |setting: &str| settings[setting].as_array().is_some_and(|patterns| !patterns.is_empty());
    match (&stage.kind[..], wanted) {
        ("train" | "load_weights", PredictorUse::Classes)
            if !TaskKind::of_recipe(&stage.document["model"]).predicts() =>
        {
            Some("has a model that predicts nothing: `defrost embed` computes its features")
        }
        ("train", _) | ("load_weights" | "init_weights", PredictorUse::Embeddings) => None,
        ("load_weights", PredictorUse::Classes | PredictorUse::Network)
            if !["reinit", "allow_missing", "allow_mismatched"].into_iter().any(is_afresh) =>
        {
            None
        }
        ("load_weights" | "init_weights", PredictorUse::Classes) => {
            Some("has a head that was not trained, so it cannot predict classes")
        }
        ("load_weights" | "init_weights", PredictorUse::Network) => Some("has a head that was not trained"),
        _ => Some("is not a train stage, so it has no model"),
    }
}

/// The error if no stage, or none with the given name, has the needed output.
fn no_stage(record: &RunRecord, name: Option<&str>, usable: &[&StageRecord], wanted: PredictorUse) -> Error {
    let error = match (name, name.and_then(|name| record.stage(name))) {
        (Some(name), Some(stage)) => {
            Error::usage(format!("stage `{name}` {}", unfit(stage, wanted).unwrap_or_default()))
        }
        (Some(name), None) => Error::usage(format!("the run has no stage `{name}`")),
        (None, _) => {
            let trained = record.stages.iter().rev().find(|stage| stage.kind == "train");
            match trained.and_then(|stage| Some((&stage.name, unfit(stage, wanted)?))) {
                // It trains, and what it learns is not what is asked for.
                Some((name, why)) => return Error::usage(format!("stage `{name}` {why}")),
                None => Error::usage("no stage of the run has a model"),
            }
        }
    };
    let names: Vec<&str> = usable.iter().map(|stage| stage.name.as_str()).collect();
    let meant = name.and_then(|name| suggest::closest(name, names.iter().copied()));
    error.hint(match (meant, &names[..]) {
        (Some(meant), _) => format!("did you mean `--stage {meant}`?"),
        (None, []) => "add a stage with `kind = \"train\"` to the pipeline, and run it".to_owned(),
        (None, names) => format!("choose one with `--stage`: {}", suggest::list(names.iter().copied())),
    })
}

/// The preprocessing of a stage that reads no images: that of its data set.
fn images_of(run: &RunDirectory, stage: &StageRecord, arch: Arch) -> Result<Json> {
    let path = run.path().join(RESOLVED);
    let text = std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, error))?;
    let broken = |error: String| Error::failed(format!("cannot read `{}`: {error}", path.display()));
    let pipeline: toml::Table = text.parse().map_err(|error: toml::de::Error| broken(error.to_string()))?;
    let setting = |table: &str, name: &str| pipeline.get(table)?.get(name).cloned();
    let data = setting("stage", &stage.name).and_then(|stage| Some(stage.get("data")?.as_str()?.to_owned()));
    let data = data.and_then(|name| setting("data", &name));
    let data = data.ok_or_else(|| broken(format!("it has no data set for stage `{}`", stage.name)))?;
    let data: Data = data.try_into().map_err(|error: toml::de::Error| broken(error.to_string()))?;
    Ok(Preprocess::new(&data.images(), None, arch).document())
}

/// Why a stage does not have the requested file of weights.
fn without_weights(run: &RunDirectory, stage: &StageRecord, file: &str, usable: &[&StageRecord]) -> Error {
    let finished = |stage: &StageRecord| {
        let last = if stage.kind == "train" { LAST } else { MODEL };
        run.stage(&stage.name).join(last).is_file()
    };
    let name = &stage.name;
    if finished(stage) {
        return Error::usage(format!("stage `{name}` has no `{file}`"))
            .hint(format!("without validation images there is no best epoch: use `--stage {name}@last`"));
    }
    let others: Vec<String> = usable
        .iter()
        .filter(|other| finished(other))
        .map(|other| format!("`--stage {}`", other.name))
        .collect();
    let others = if others.is_empty() { String::new() } else { format!(", or use {}", others.join(" or ")) };
    Error::usage(format!("stage `{name}` is not finished"))
        .hint(format!("finish the run: run its pipeline file again{others}"))
}

/// Fails if the run is complete and the file has changed since the run ended.
fn require_sealed(run: &RunDirectory, file: &Path) -> Result<()> {
    let Ok(files) = run.manifest() else { return Ok(()) };
    let digest = file.to_str().and_then(|name| files.get(name));
    match digest {
        Some(digest) if disk::digest_file(&run.path().join(file))? != *digest => {
            let changed = VerifyProblem::Changed { file: run.path().join(file).display().to_string() };
            Err(Error::failed(changed.to_string())
                .hint("`defrost verify` checks the whole run; run its pipeline file again to restore it"))
        }
        _ => Ok(()),
    }
}
