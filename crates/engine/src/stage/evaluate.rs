//! Evaluation: one split, one or several models, and their metrics and figures.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::batch_source::{self, BatchInputs};
use super::class_coverage;
use super::examples::ExampleImages;
use super::frozen_backbone::INFERENCE_BATCH;
use super::image_sheets::ImageSheets;
use super::recipe::{
    EvaluateRecipe, ModelRecipe, PreprocessRecipe, Recipe, RecognitionRecipe, SplitRecipe, SubsetRecipe,
    engine,
};
use super::shared_evaluation::EvaluatedNetwork;
use super::{ModelSpec, Preprocess, StageContext, SubsetSpec, train::pretty};
use crate::code_path::CodePath;
use crate::data::code_paths::TEST_TIME_AUGMENTATION;
use crate::data::{self, Dataset, Split, Symmetry};
use crate::error::{Error, Result};
use crate::events::{StepPosition, StepTimer};
use crate::model::{self, Pass};
use crate::ops;
use crate::pipeline::{Broken, TestTimeAugmentation};
use crate::ranks::BatchShare;
use crate::report::code_paths::PICTURES;
use crate::task::{
    EvaluatedImages, Evaluation, Evaluator, Fits, ImageSheet, MeasuredImages, RecognitionSpec, Task,
    TaskFile, TaskVisitor,
};
use crate::train::{Scores, TrainBatch};

pub struct EvaluateStage {
    /// One model, or several whose probabilities are averaged; all have the same classes.
    pub members: Vec<EnsembleMember>,
    pub preprocess: Preprocess,
    pub split: Split,
    /// The questions about embeddings; `None` for an evaluation of class scores.
    pub recognition: Option<RecognitionSpec>,
    /// Whose scores are reported apart.
    pub subsets: Vec<SubsetSpec>,
    /// What is fitted on the validation split.
    pub fits: Fits,
    /// The versions of each image that are predicted.
    pub tta: Option<TestTimeAugmentation>,
}

/// An evaluated model.
#[derive(Clone, Debug, PartialEq)]
pub struct EnsembleMember {
    pub model_spec: ModelSpec,
    /// The number of layers that were frozen in the stage of the weights: their features are shared with that
    /// stage. 0 if each image has several versions. Not part of the recipe, since the result is the same.
    pub layers: usize,
}

impl EvaluateStage {
    /// Of the only model, or the first of several.
    pub fn model_spec(&self) -> &ModelSpec {
        &self.members[0].model_spec
    }

    /// The splits that are read.
    pub fn parts(&self) -> Vec<Split> {
        match &self.recognition {
            Some(asked) => asked.parts(self.split),
            None if self.fits.is_empty() => vec![self.split],
            None => vec![self.split, Split::Validation],
        }
    }

    /// The groups of images that are drawn for confidence intervals; `None` if each image is drawn alone.
    fn group(&self) -> Option<&str> {
        self.preprocess.0.split.group.as_deref().filter(|_| self.recognition.is_none())
    }

    /// The indices of the images that are read, in order.
    pub fn samples(&self, dataset: &Dataset) -> Vec<usize> {
        let parts = self.parts();
        (0..dataset.samples.len()).filter(|&sample| parts.contains(&dataset.samples[sample].split)).collect()
    }

    /// The recipe, without the stages above.
    ///
    /// # Errors
    /// A bug: an image without a digest.
    pub fn document(&self, dataset: &Dataset) -> Result<Value> {
        let models = || self.members.iter().map(|member| ModelRecipe::of(&member.model_spec));
        let several = self.members.len() > 1;
        let recognition = |asked| RecognitionRecipe::of(asked, self.split, dataset);
        let recipe = EvaluateRecipe {
            model: models().next().filter(|_| !several),
            ensemble: models().filter(|_| several).collect(),
            images: PreprocessRecipe::of(&self.preprocess),
            recognition: self.recognition.as_ref().map(recognition),
            thresholds: self.fits.thresholds.as_ref(),
            calibration: self.fits.calibration.as_ref(),
            tta: self.tta,
            group: self.group(),
            subsets: self
                .subsets
                .iter()
                .map(|subset| Ok((subset.name.as_str(), SubsetRecipe::of(subset)?)))
                .collect::<Result<_>>()?,
            inputs: SplitRecipe::by_name(dataset, &self.parts())?,
            engine: engine(self.code_paths(dataset)),
        };
        Ok(Recipe::Evaluate(recipe).document())
    }

    /// The code that can change the result.
    pub fn code_paths(&self, dataset: &Dataset) -> Vec<CodePath> {
        let common = [ops::code_paths::COMMON, model::code_paths::COMMON, data::code_paths::COMMON];
        let mut paths = common.concat();
        paths.extend(self.members.iter().flat_map(|member| member.model_spec.code_paths()));
        match &self.recognition {
            Some(recognition) => paths.extend(recognition.code_paths()),
            None => {
                paths.extend(self.model_spec().task(None).metric_code_paths(&MeasuredImages {
                    dataset: Some(dataset),
                    split: self.split,
                    skips_broken: self.preprocess.0.broken == Broken::Skip,
                    models: self.members.len() * self.versions().len(),
                }));
                paths.extend(self.model_spec().task(None).analysis_code_paths());
                paths.extend(self.subsets.iter().flat_map(SubsetSpec::code_paths));
                paths.push(PICTURES);
            }
        }
        paths.extend(data::code_paths::of_images(&self.preprocess.0, dataset, &self.parts()));
        paths.extend(self.model_spec().names(dataset, &self.parts()));
        paths.extend(self.tta.map(|_| TEST_TIME_AUGMENTATION));
        paths
    }

    /// The versions of each image, the image itself first.
    pub fn versions(&self) -> Vec<Symmetry> {
        Symmetry::versions(&self.tta.unwrap_or_default())
    }

    pub fn execute(&self, dataset: &Arc<Dataset>, context: &StageContext) -> Result<()> {
        // An error of one rank must not leave the others waiting for its batches.
        let evaluator = context.team.settle(self.evaluator(dataset))?;
        self.measure(dataset, evaluator, context)
    }

    /// Runs all images through all models, and writes the result.
    pub(super) fn measure(
        &self,
        dataset: &Arc<Dataset>,
        mut evaluator: Box<dyn Evaluator>,
        context: &StageContext,
    ) -> Result<()> {
        let seen = context.team.settle(self.predict(dataset, evaluator.as_mut(), context))?;
        // Rank 0 alone has all outputs, and writes the result.
        if !context.team.leads() {
            return Ok(());
        }
        self.publish(dataset, &seen, evaluator, context)?;
        match (&self.members[..], &self.recognition) {
            ([member], None) => {
                let examples = DrawExamples { stage: self, dataset, context };
                context.write_all(&member.model_spec.task(None).visit(examples)?)
            }
            _ => Ok(()),
        }
    }

    /// Runs all images through all models. Returns the indices of the readable samples.
    fn predict(
        &self,
        dataset: &Arc<Dataset>,
        evaluator: &mut dyn Evaluator,
        context: &StageContext,
    ) -> Result<BTreeSet<usize>> {
        // Images that something is fitted on have batches of their own.
        let (own, fitted): (Vec<usize>, Vec<usize>) = self
            .samples(dataset)
            .into_iter()
            .partition(|sample| self.recognition.is_some() || dataset.samples[*sample].split == self.split);
        let batches = |samples: &Vec<usize>| samples.len().div_ceil(INFERENCE_BATCH);
        let steps = self.members.len() * [&own, &fitted].map(batches).iter().sum::<usize>();
        let (mut seen, mut position) = (BTreeSet::new(), (0, steps));
        for member in 0..self.members.len() {
            for samples in [&own, &fitted].into_iter().filter(|samples| !samples.is_empty()) {
                let batch = Batched { member, samples, position };
                seen.append(&mut self.for_each_batch(batch, dataset, context, evaluator)?);
                position.0 += batches(samples);
            }
        }
        Ok(seen)
    }

    fn evaluator(&self, dataset: &Arc<Dataset>) -> Result<Box<dyn Evaluator>> {
        match &self.recognition {
            Some(recognition) => Ok(recognition.evaluator(dataset, self.split)),
            None => {
                let upright = self.preprocess.0.exif_orientation;
                let subsets = self.subsets.iter().map(|subset| subset.subset(upright)).collect();
                let groups = self.group().map(|group| data::image_groups(dataset, group)).transpose()?;
                let images = EvaluatedImages {
                    dataset: Arc::clone(dataset),
                    split: self.split,
                    subsets,
                    fits: self.fits.clone(),
                    groups,
                };
                self.model_spec().task(None).evaluator(images, self.members.len() * self.versions().len())
            }
        }
    }

    /// Runs images through one model. Returns the indices of the readable samples.
    fn for_each_batch(
        &self,
        Batched { member, samples, position: (before, total) }: Batched,
        dataset: &Arc<Dataset>,
        context: &StageContext,
        evaluator: &mut dyn Evaluator,
    ) -> Result<BTreeSet<usize>> {
        let EnsembleMember { model_spec, layers } = &self.members[member];
        let versions = self.versions();
        let model = model_spec.build();
        let state = context.load_model(member, &model.description)?;
        let mut pass = Pass::inference(&state);
        let material = BatchInputs::of_evaluation(self, member, dataset, &model, &state, context);
        let mut seen = BTreeSet::new();
        let mut pace = StepTimer::new((context.clock)());
        let mut report = |index: usize, samples: Vec<usize>, scores| {
            let (stage, step) = (context.stage, before + index + 1);
            let left = total - step;
            let position = StepPosition { stage, epoch: 1, epochs: 1, step, steps: total, left };
            context.observer.event(&pace.step((context.clock)(), samples.len(), position, scores));
            seen.extend(samples);
        };
        let team = context.team;
        let share = BatchShare::in_turn(team.rank(), team.count());
        batch_source::evaluation(&material, samples.clone(), share, |batches| {
            if !team.is_alone() {
                let network = EvaluatedNetwork { model: &model, layers: *layers, versions: &versions };
                return network.predict_together(
                    dataset,
                    batches,
                    &mut pass,
                    evaluator,
                    context,
                    &mut report,
                );
            }
            for batch in batches {
                context.interrupt.check()?;
                let TrainBatch { input, index, targets: annotations, samples, .. } = batch?;
                let mut scores = Scores::new();
                for version in &versions {
                    let (input, annotations) = match version.is_identity() {
                        true => (input.clone(), annotations.clone()),
                        false => (input.map(|images| version.apply(images))?, annotations.turned(version)),
                    };
                    let outputs = evaluator.forward(&model, &mut pass, *layers, input)?;
                    scores = evaluator.update(pass.tape(), &outputs, &annotations, &samples)?;
                }
                report(index, samples, scores);
            }
            Ok(())
        })?;
        Ok(seen)
    }

    /// Writes the result for the readable images.
    fn publish(
        &self,
        dataset: &Arc<Dataset>,
        seen: &BTreeSet<usize>,
        evaluator: Box<dyn Evaluator>,
        context: &StageContext,
    ) -> Result<()> {
        let parts = self.parts();
        for part in &parts {
            if dataset.split(*part).iter().all(|sample| !seen.contains(sample)) {
                return Err(Error::failed(format!("the {} split has no readable image", part.name())));
            }
        }
        let broken = self.samples(dataset).into_iter().filter(|sample| !seen.contains(sample));
        let broken: BTreeSet<&str> = broken.map(|sample| dataset.samples[sample].path.as_str()).collect();
        let is_broken = |path: &str| broken.contains(path);
        class_coverage::require_classes_or_warn(&self.preprocess, dataset, &parts, is_broken, context)?;
        context.list_broken(dataset, &self.preprocess, broken.iter().copied())?;
        context.interrupt.check()?;
        let Evaluation { mut document, files, sheets } = evaluator.finish(context.stage)?;
        document["broken_images"] = json!(broken.len());
        context.write("metrics.json", pretty(&document))?;
        context.write_all(&files)?;
        self.draw(dataset, &sheets, context)
    }

    /// Draws images of the result. The predictions of one model are explained, those of several together are not.
    fn draw(&self, dataset: &Arc<Dataset>, sheets: &[ImageSheet], context: &StageContext) -> Result<()> {
        if sheets.is_empty() {
            return Ok(());
        }
        let model = match &self.members[..] {
            [member] => {
                let model = member.model_spec.build();
                let state = context.load_model(0, &model.description)?;
                Some((model, state))
            }
            _ => None,
        };
        let drawn = ImageSheets { dataset, preprocess: &self.preprocess, context, model };
        let files = sheets.iter().map(|sheet| drawn.file(sheet)).collect::<Result<Vec<_>>>()?;
        context.write_all(&files)
    }
}

/// Images to run through a model.
struct Batched<'a> {
    member: usize,
    samples: &'a Vec<usize>,
    /// The number of batches before these, and of all.
    position: (usize, usize),
}

/// Draws examples of the evaluation of one model.
struct DrawExamples<'a> {
    stage: &'a EvaluateStage,
    dataset: &'a Arc<Dataset>,
    context: &'a StageContext<'a>,
}

impl TaskVisitor for DrawExamples<'_> {
    type Output = Result<Vec<TaskFile>>;

    fn visit<T: Task>(self, task: T) -> Self::Output {
        let Self { stage, dataset, context } = self;
        if T::EXAMPLE_BATCHES == 0 {
            return Ok(Vec::new());
        }
        let model = stage.model_spec().build();
        let state = context.load_model(0, &model.description)?;
        let (preprocess, samples) = (&stage.preprocess, stage.samples(dataset));
        ExampleImages { dataset, preprocess, model: &model, state: &state, context, samples }.files(&task)
    }
}
