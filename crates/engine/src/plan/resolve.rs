//! Resolves all names in the stages of a checked pipeline, or lists all names that cannot be resolved.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::{ExternalWeights, SharedInputs};
use crate::data::{self, Dataset};
use crate::model::RuleError;
use crate::pipeline::{
    self, CheckpointKind, Diagnostic, DiagnosticReport, Head, ImageSizes, RGB_CHANNELS, Resolved, Stage,
};
use crate::regular_file;
use crate::stage::{EnsembleMember, EvaluateStage, InitWeightsStage, ModelSpec, Preprocess, ResolvedStage};
use crate::task::{Fits, RecognitionSpec};

/// How much of the disk planning may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskAccess {
    /// Nothing: only shapes, names and patterns are checked.
    Offline,
    /// Folder names, if the file does not list the classes.
    Names,
    /// The headers of weights, and the lists of images.
    Inputs,
}

/// A stage whose names are resolved.
pub struct StageDraft {
    pub name: String,
    /// The stages whose weights it reads, in order.
    pub parents: Vec<ParentStage>,
    pub work: ResolvedStage,
    /// The name of its data set.
    pub data: String,
    /// The freezing rules as written, to show a reader what changed.
    pub rules: Value,
    /// The location of the weights that it loads from another pipeline. `None` once they are found in the store.
    pub elsewhere: Option<ExternalWeights>,
}

/// A stage above, by its index in the plan, and which of its files is consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentStage {
    pub stage: usize,
    pub checkpoint: Option<CheckpointKind>,
}

impl ParentStage {
    /// The file of the parent's result.
    pub fn file(&self) -> &'static str {
        match self.checkpoint {
            None => crate::stage::MODEL,
            Some(CheckpointKind::Best) => crate::stage::BEST,
            Some(CheckpointKind::Last) => crate::stage::LAST,
        }
    }
}

/// Resolves every stage, parents first. Returns all errors together.
pub fn resolve(pipeline: &Resolved, depth: DiskAccess) -> Result<Vec<StageDraft>, DiagnosticReport> {
    resolve_shared(pipeline, depth, &SharedInputs::default())
}

/// As [`resolve`], for one of several runs.
pub fn resolve_shared(
    pipeline: &Resolved,
    depth: DiskAccess,
    shared: &SharedInputs,
) -> Result<Vec<StageDraft>, DiagnosticReport> {
    let (datasets, elsewhere) = Default::default();
    // Errors in the patterns themselves were found before.
    let diagnostics = pipeline.faults.clone();
    let mut resolver = Resolver { pipeline, depth, shared, datasets, elsewhere, diagnostics };
    let mut drafts: Vec<Option<StageDraft>> = Vec::new();
    let order = pipeline.order();
    let places: HashMap<&str, usize> = order.iter().enumerate().map(|(place, name)| (*name, place)).collect();
    let stages: HashMap<&str, &Stage> =
        pipeline.stages.iter().map(|(name, stage)| (name.as_str(), stage)).collect();
    for name in &order {
        let stage = stages[name];
        let parent = |parent: pipeline::Parent| ParentStage {
            stage: places[parent.stage],
            checkpoint: parent.checkpoint,
        };
        let parents: Vec<ParentStage> = stage.parents().into_iter().map(parent).collect();
        let above = parents.iter().map(|parent| drafts[parent.stage].as_ref().map(|draft| &draft.work));
        // Stages below one that could not be resolved cannot be checked.
        let resolved = above
            .collect::<Option<Vec<&ResolvedStage>>>()
            .and_then(|above| resolver.stage(name, stage, &above))
            .map(|(work, rules)| {
                let (name, elsewhere) = ((*name).to_owned(), resolver.elsewhere.remove(*name));
                let data = stage.data().unwrap_or_default().to_owned();
                StageDraft { name, parents, work, data, rules, elsewhere }
            });
        drafts.push(resolved);
    }
    match (resolver.diagnostics.is_empty(), drafts.into_iter().collect::<Option<Vec<_>>>()) {
        (true, Some(drafts)) => Ok(drafts),
        _ => Err(DiagnosticReport::new(resolver.diagnostics)),
    }
}

pub(super) struct Resolver<'a> {
    pub(super) pipeline: &'a Resolved,
    pub(super) depth: DiskAccess,
    pub(super) shared: &'a SharedInputs,
    /// By name. `None` if scanning failed, which is reported once.
    pub(super) datasets: BTreeMap<String, Option<Arc<Dataset>>>,
    /// By the stage that loads these weights.
    pub(super) elsewhere: BTreeMap<String, ExternalWeights>,
    diagnostics: Vec<Diagnostic>,
}

impl Resolver<'_> {
    /// `above` are the stages whose weights it reads, in order.
    fn stage(
        &mut self,
        name: &str,
        stage: &Stage,
        above: &[&ResolvedStage],
    ) -> Option<(ResolvedStage, Value)> {
        let data_name = stage.data()?;
        let data = self.pipeline.data.get(data_name)?;
        let images = data.images();
        // Embeddings of any classes may be compared.
        let anyone = matches!(stage, Stage::Evaluate(evaluate) if evaluate.compares_embeddings());
        let first = above.first().copied();
        let loaded = stage.model().and_then(|model| self.pipeline.model.get(model));
        let head = loaded.or(first.map(|work| &work.model_spec().model)).map(|model| &model.head);
        let unlabelled = head.is_some_and(Head::compares_views);
        let classes = if anyone || unlabelled { Vec::new() } else { self.classes(data_name, data)? };
        let model_spec = match first.map(ResolvedStage::model_spec) {
            Some(model_spec) if !matches!(stage, Stage::LoadWeights(_)) => {
                if !anyone {
                    self.same_classes(name, data_name, &model_spec.classes, &classes)?;
                    for work in above {
                        self.same_targets(name, data_name, work.model_spec(), data)?;
                    }
                }
                model_spec.clone()
            }
            // Weights are loaded into a new model of this stage.
            _ => {
                let (model, image_size) =
                    (self.pipeline.model.get(stage.model()?)?.clone(), images.image_size);
                let channels = images.channels;
                if channels != RGB_CHANNELS && !model.arch.takes_any_channels() {
                    let arch = model.arch.name();
                    let message = format!("`{arch}` takes red, green and blue only, not {channels} channels");
                    let help = "use a convolutional network, such as `resnet50`, or images of 3 channels";
                    let at = format!("data.{data_name}.channels");
                    self.diagnose(&at, "channels", message, Some(help.to_owned()));
                    return None;
                }
                let task = self.task_of(data_name, data, &model.head)?;
                ModelSpec { model, classes, task, image_size, channels, adapter: None }
            }
        };
        match stage {
            Stage::LoadWeights(load) => self.shared_weights(name, load, above, model_spec),
            Stage::InitWeights(_) => Some((
                ResolvedStage::InitWeights(InitWeightsStage { model_spec, seed: self.pipeline.seed }),
                Value::Null,
            )),
            Stage::Train(train) => self.train(name, train, (data_name, data), model_spec, above),
            Stage::Evaluate(evaluate) => {
                let preprocess = Preprocess::new(&images, evaluate.image_size, model_spec.model.arch);
                for work in above {
                    self.same_patches(name, data_name, work.model_spec(), &preprocess)?;
                }
                self.predicts(name, evaluate, &model_spec)?;
                self.ensemble(name, evaluate, &preprocess, above)?;
                let dataset = self.images(data_name, data);
                let recognition = self.recognition(name, evaluate, dataset.as_deref())?;
                self.part(name, evaluate, recognition.as_ref(), dataset.as_deref())?;
                let subsets = self.subsets(name, evaluate, dataset.as_deref())?;
                let member = |work: &&ResolvedStage| EnsembleMember {
                    model_spec: work.model_spec().clone(),
                    layers: if evaluate.tta.is_none() { work.shared_layers() } else { 0 },
                };
                Some((
                    ResolvedStage::Evaluate(
                        Box::new(EvaluateStage {
                            members: above.iter().map(member).collect(),
                            preprocess,
                            split: evaluate.split,
                            recognition,
                            subsets,
                            fits: Fits {
                                thresholds: evaluate.thresholds.clone(),
                                calibration: evaluate.calibration.clone(),
                            },
                            tta: evaluate.tta,
                        }),
                        dataset,
                    ),
                    Value::Null,
                ))
            }
        }
    }

    /// A model without predictions has embeddings, which can be compared.
    fn predicts(&mut self, stage: &str, evaluate: &pipeline::Evaluate, model_spec: &ModelSpec) -> Option<()> {
        if model_spec.task.predicts() || evaluate.compares_embeddings() {
            return Some(());
        }
        let message = format!("a model for {} predicts nothing to evaluate", model_spec.task.annotation());
        let help = "evaluate a stage that learns from annotations after it, or set `identification = {}`, which \
                    compares the features of images by class";
        self.diagnose(&format!("stage.{stage}.from"), "conflict", message, Some(help.to_owned()));
        None
    }

    /// The requested evaluation of embeddings, if any. The list of pairs is read here.
    fn recognition(
        &mut self,
        stage: &str,
        evaluate: &pipeline::Evaluate,
        dataset: Option<&Dataset>,
    ) -> Option<Option<RecognitionSpec>> {
        let mut pairs = None;
        let listed = evaluate.verification.as_ref().and_then(|verification| verification.pairs.as_ref());
        if let (Some(file), Some(dataset)) = (listed, dataset) {
            let at = format!("stage.{stage}.verification.pairs");
            let path = self.or_diagnose(&at, "unset-variable", self.pipeline.path(file))?;
            let read = regular_file::read_text(&path)
                .map_err(|error| crate::Error::io("read", &path, error))
                .and_then(|text| data::read_pairs(&text, dataset, evaluate.split));
            pairs = Some(self.or_diagnose(&at, "pairs", read)?);
        }
        Some(evaluate.compares_embeddings().then(|| RecognitionSpec::new(evaluate, pairs)))
    }

    /// The first layer is made for the number of channels of the model's first stage.
    fn same_channels(&mut self, data: &str, model_spec: &ModelSpec, preprocess: &Preprocess) -> Option<()> {
        let (known, found) = (model_spec.channels, preprocess.0.channels);
        if known == found {
            return Some(());
        }
        let message = format!("the model takes images of {known} channels, and these have {found}");
        let help = format!("use a data set with `channels = {known}`, or load the weights for this one");
        self.diagnose(&format!("data.{data}.channels"), "channels", message, Some(help));
        None
    }

    /// An architecture may accept only some image sizes. Position embeddings have the size that the first stage of the
    /// model uses.
    pub(super) fn same_patches(
        &mut self,
        stage: &str,
        data: &str,
        model_spec: &ModelSpec,
        preprocess: &Preprocess,
    ) -> Option<()> {
        self.same_channels(data, model_spec, preprocess)?;
        let (known, found) = (model_spec.image_size, preprocess.0.image_size);
        let arch = model_spec.model.arch;
        let (message, help) = match arch.image_sizes() {
            _ if arch.has_sized_positions() && known != found => {
                let help = format!(
                    "set `image_size = {known}` here, or {found} in the stage that loads the model's weights"
                );
                (format!("the model has position embeddings for `image_size` {known}, not {found}"), help)
            }
            ImageSizes::MultipleOf(patch) if !found.is_multiple_of(patch) => {
                let near = (found / patch).max(1) * patch;
                let help = format!("set `image_size = {near}`, or another multiple of {patch}");
                let what = if arch.is_detector() { "the largest stride" } else { "the patch size" };
                (format!("`image_size` {found} is not a multiple of {what}, {patch} pixels"), help)
            }
            ImageSizes::Only(side) if found != side => {
                let help = format!("set `image_size = {side}`");
                (format!("the model has position embeddings for `image_size` {side}, not {found}"), help)
            }
            _ => return Some(()),
        };
        let own = self.pipeline.stage(stage).and_then(Stage::image_size).is_some();
        let at = if own { format!("stage.{stage}.image_size") } else { format!("data.{data}.image_size") };
        self.diagnose(&at, "image-size", message, Some(help));
        None
    }

    pub(super) fn rules(&mut self, stage: &str, errors: Vec<RuleError>) {
        // Invalid patterns are reported with the errors of the file.
        for error in errors.into_iter().filter(|error| !error.is_syntax()) {
            self.diagnose(&format!("stage.{stage}.{}", error.setting), error.code, error.message, error.help);
        }
    }

    pub(super) fn or_diagnose<T>(
        &mut self,
        path: &str,
        code: &'static str,
        result: crate::Result<T>,
    ) -> Option<T> {
        result
            .map_err(|error| {
                self.diagnose(path, code, error.message, error.hint);
                error
                    .others
                    .into_iter()
                    .for_each(|other| self.diagnose(path, code, other.message, other.hint));
            })
            .ok()
    }

    /// The number of errors so far.
    pub(super) fn diagnostics(&self) -> usize {
        self.diagnostics.len()
    }

    pub(super) fn diagnose(&mut self, path: &str, code: &'static str, message: String, help: Option<String>) {
        self.diagnostics.push(self.pipeline.diagnose(path, code, message, help));
    }
}
