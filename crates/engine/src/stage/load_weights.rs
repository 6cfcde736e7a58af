//! Pretrained weights, taken over strictly.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::frozen_backbone::sequential_epoch;
use super::recipe::{LoadWeightsRecipe, Recipe, RestoreInput, WeightsInputs};
use super::{DigestedWeights, MODEL, ModelSpec, Preprocess, StageContext};
use crate::code_path::CodePath;
use crate::data::{self, CacheBudget, Dataset, Images, Loader, Split, Transform};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::model::{self, Model, StateDict};
use crate::ops;
use crate::ops::code_paths::LOW_RANK;
use crate::pipeline;
use crate::sanitize;
use crate::weights::{self, AdapterFile, ClassMapping, LoadRules, WeightsFile};

#[derive(Clone, Debug)]
pub struct LoadWeightsStage {
    pub model_spec: ModelSpec,
    pub settings: pipeline::LoadWeights,
    /// The settings' patterns, resolved.
    pub rules: LoadRules,
    /// Whose names the file has, in words, where they are not the model's own.
    pub names: Option<String>,
    /// Which classes start from rows of the file, in words, where the stage asks for that and the file is known.
    pub class_rows: Option<String>,
    /// Whether the file has low-rank adapters, which are merged.
    pub merges_adapters: bool,
    /// The file of adapters that are merged, with its digest.
    pub adapter: Option<(PathBuf, Digest)>,
    pub seed: u64,
    /// How the images are seen from which batch normalisation is restored, if it is.
    pub preprocess: Option<Preprocess>,
}

impl LoadWeightsStage {
    /// The recipe, but for the stages above. `file` has the weights, unless they are those of a stage above. `images` are
    /// those from which batch normalisation is restored.
    ///
    /// # Errors
    /// A bug: an image without a digest.
    pub fn document(&self, file: Option<&DigestedWeights>, images: Option<&Arc<Dataset>>) -> Result<Value> {
        let restored_from = match (&self.preprocess, images) {
            (Some(preprocess), Some(images)) => Some(RestoreInput::new(preprocess, images)?),
            _ => None,
        };
        let adapter = self.adapter.as_ref().map(|(_, digest)| *digest);
        let inputs = WeightsInputs { file: file.map(|file| file.digest), adapter, restored_from };
        let (settings, paths) = (&self.settings, self.code_paths());
        let recipe = LoadWeightsRecipe::of(&self.model_spec, settings, self.seed, paths, inputs);
        Ok(Recipe::LoadWeights(recipe).document())
    }

    /// The code that can change the result.
    pub fn code_paths(&self) -> Vec<CodePath> {
        let mut paths = weights::code_paths::COMMON.to_vec();
        paths.extend(self.settings.class_rows.as_ref().map(|_| weights::code_paths::CLASS_ROWS));
        paths.extend(self.settings.average.as_ref().map(|_| weights::code_paths::WEIGHT_AVERAGE));
        paths.extend(self.settings.first_conv.map(|_| weights::code_paths::FIRST_CONV));
        paths.extend((self.merges_adapters || self.adapter.is_some()).then_some(LOW_RANK));
        if self.settings.restore_batch_norm.is_some() {
            paths.push(model::code_paths::RESTORE_BATCH_NORM);
            paths.extend(
                [ops::code_paths::COMMON, model::code_paths::COMMON, data::code_paths::COMMON].concat(),
            );
            paths.extend(self.model_spec.code_paths());
        }
        paths
    }

    pub fn execute(
        &self,
        file: Option<&DigestedWeights>,
        images: Option<&Arc<Dataset>>,
        context: &StageContext,
    ) -> Result<()> {
        let path = file.map_or_else(|| context.source(), |file| Ok(file.path.as_path()))?;
        let source = WeightsFile::open(path)?;
        if file.is_some_and(|planned| planned.digest != source.digest()) {
            return Err(changed(path));
        }
        let model = self.model_spec.build();
        let source = source.translated(&model.description)?;
        if let Some(names) = source.names_in_words() {
            context.observer.event(&Event::WeightsNamed { stage: context.stage.to_owned(), names });
        }
        let say = |what: String| {
            context.observer.event(&Event::WeightsAdapted { stage: context.stage.to_owned(), what });
        };
        let mut state = weights::load(&model.description, &source, &self.rules, self.seed)?;
        if self.settings.average.is_some() {
            let mut states = vec![state];
            for path in context.sources.iter().skip(1) {
                context.interrupt.check()?;
                let source = WeightsFile::open(path)?.translated(&model.description)?;
                states.push(weights::load(&model.description, &source, &self.rules, self.seed)?);
            }
            state = weights::average(&states)?;
            say(format!("the mean of {} models", states.len()));
        }
        if let Some(mapping) = ClassMapping::new(&source, &self.rules)? {
            say(mapping.sentence());
        }
        if let Some((path, digest)) = &self.adapter {
            let adapter = AdapterFile::open(path, &model.description, &self.model_spec.classes)?;
            if adapter.digest() != *digest {
                return Err(changed(path));
            }
            adapter.merge(&model.description, &mut state)?;
            let (layers, rank) = adapter.size();
            say(format!("adapters of rank {rank} are merged into {}", sanitize::count(layers, "layer")));
        }
        let norms = weights::norms_to_restore(&model.description, &source, &self.rules);
        if !norms.is_empty() {
            let images = self.restore(&model, &mut state, &norms, images, context)?;
            say(format!(
                "{} batch normalisations are restored with the statistics of {}",
                norms.len(),
                sanitize::count(images, "image")
            ));
        }
        context.save_model(MODEL, &self.model_spec, &model.description, &state, source.dialect()).map(drop)
    }

    /// Puts merged batch normalisation back. Returns the number of images that were used.
    fn restore(
        &self,
        model: &Model,
        state: &mut StateDict,
        norms: &[usize],
        images: Option<&Arc<Dataset>>,
        context: &StageContext,
    ) -> Result<usize> {
        let (Some(preprocess), Some(dataset)) = (&self.preprocess, images) else {
            return Err(Error::bug("batch normalisation is restored without images"));
        };
        let transform = Transform::evaluation(&preprocess.0, None);
        let unkept = Arc::new(CacheBudget::new(0));
        let images = Arc::new(Images::new(Arc::clone(dataset), transform, preprocess.0.broken, unkept));
        let mut loader = Loader::new(images, sequential_epoch(dataset.split(Split::Train)), context.workers)?;
        let batches = loader.by_ref().map(|batch| {
            context.interrupt.check()?;
            Ok(batch?.images)
        });
        let used = model.restore_batch_norms(state, norms, context.device, batches)?;
        let skipped = loader.skipped().len();
        if skipped > 0 {
            context.warn(format!("{skipped} of the images for `restore_batch_norm` cannot be decoded"));
        }
        Ok(used)
    }
}

fn changed(path: &Path) -> Error {
    Error::failed(format!("`{}` changed while the stage was running", path.display()))
        .hint("run again: the new file is another input")
}
