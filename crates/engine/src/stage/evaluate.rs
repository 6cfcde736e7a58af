//! Evaluation: one split, one set of weights or several, and everything a person wants to see of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::classifier::Classifier;
use super::ensemble;
use super::feed::{self, Material};
use super::lost;
use super::outcome::names;
use super::recipe::{
    EvaluateRecipe, ModelRecipe, PreprocessRecipe, Recipe, RecognitionRecipe, SplitRecipe, engine,
};
use super::{Context, Labeller, Outcome, Recognition, Subject, View, train::pretty};
use crate::autograd::Tape;
use crate::code_path::CodePath;
use crate::data::{self, Dataset, Sample, Split};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::metrics::code_paths::{ENSEMBLE, IDENTIFICATION, VERIFICATION};
use crate::model::{self, Outputs, Pass};
use crate::ops;
use crate::report::code_paths::{PICTURES, RECOGNITION_PICTURES};
use crate::report::{self, Prediction};
use crate::train::{Batch, Scores, Targets};

pub struct Evaluate {
    /// One model, or those whose probabilities are averaged: all tell the same classes apart.
    pub members: Vec<Member>,
    pub view: View,
    pub split: Split,
    /// What is asked of embeddings; else classes are told.
    pub recognition: Option<Recognition>,
}

/// A model that is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub subject: Subject,
    /// How many layers were frozen where the weights come from: their features are shared with that stage. No part of
    /// the recipe, since the result is the same.
    pub layers: usize,
}

/// What one of the models makes of a batch.
pub(super) struct Shown<'a> {
    pub tape: &'a mut Tape,
    pub outputs: Outputs,
    pub targets: Targets,
    /// The place of each row's sample in the data set.
    pub samples: &'a [usize],
}

impl Evaluate {
    /// Of its only model, or the first of several.
    pub fn subject(&self) -> &Subject {
        &self.members[0].subject
    }

    fn classes(&self) -> &[String] {
        &self.subject().classes
    }

    /// The parts of the data set that are looked at.
    pub fn parts(&self) -> Vec<Split> {
        self.recognition.as_ref().map_or_else(|| vec![self.split], |asked| asked.parts(self.split))
    }

    /// The places of the images that are looked at, in order.
    pub fn samples(&self, dataset: &Dataset) -> Vec<usize> {
        let parts = self.parts();
        (0..dataset.samples.len()).filter(|&sample| parts.contains(&dataset.samples[sample].split)).collect()
    }

    /// The recipe, but for the stages above.
    ///
    /// # Errors
    /// A bug: an image without a digest.
    pub fn document(&self, dataset: &Dataset) -> Result<Value> {
        let models = || self.members.iter().map(|member| ModelRecipe::of(&member.subject));
        let several = self.members.len() > 1;
        let recognition = |asked| RecognitionRecipe::of(asked, self.split, dataset);
        let recipe = EvaluateRecipe {
            model: models().next().filter(|_| !several),
            ensemble: models().filter(|_| several).collect(),
            images: PreprocessRecipe::of(&self.view),
            recognition: self.recognition.as_ref().map(recognition),
            inputs: SplitRecipe::by_name(dataset, &self.parts())?,
            engine: engine(self.code_paths(dataset)),
        };
        Ok(Recipe::Evaluate(recipe).document())
    }

    /// The code that can change the result.
    pub fn code_paths(&self, dataset: &Dataset) -> Vec<CodePath> {
        let common = [ops::code_paths::COMMON, model::code_paths::COMMON, data::code_paths::COMMON];
        let mut paths = common.concat();
        paths.extend(self.members.iter().flat_map(|member| member.subject.code_paths()));
        match self.recognition {
            Some(_) => paths.extend([VERIFICATION, IDENTIFICATION, RECOGNITION_PICTURES]),
            None => {
                paths.extend(self.subject().metrics(&self.view, dataset, self.split));
                paths.push(PICTURES);
            }
        }
        paths.extend((self.members.len() > 1).then_some(ENSEMBLE));
        paths.extend(self.subject().names(dataset, &self.parts()));
        paths
    }

    pub fn execute(&self, dataset: &Arc<Dataset>, context: &Context) -> Result<()> {
        if let Some(recognition) = &self.recognition {
            return recognition.execute(self, dataset, context);
        }
        if self.members.len() > 1 {
            return ensemble::execute(self, dataset, context);
        }
        match self.subject().multi_label {
            true => self.judge(&Labeller::new(self.classes()), dataset, context),
            false => self.judge(&Classifier::new(self.classes()), dataset, context),
        }
    }

    fn judge<T: Outcome>(&self, task: &T, dataset: &Arc<Dataset>, context: &Context) -> Result<()> {
        let mut meter = task.validation_meter();
        let mut predictions = Vec::new();
        self.show(0, dataset, context, &mut |Shown { tape, outputs, targets, samples }| {
            let loss = task.loss(tape, &outputs, &targets)?;
            task.count(&mut meter, loss.reading)?;
            let rows = task.probabilities(outputs.logits()?.tensor())?.to_vec2::<f32>()?;
            let rows = rows.into_iter().zip(samples);
            predictions
                .extend(rows.map(|(row, &sample)| self.prediction(task, &dataset.samples[sample], row)));
            Ok(task.running(&meter))
        })?;
        self.publish(dataset, &predictions, task, &meter, context)
    }

    /// Shows all images to one of the models. `read` is given the scores of each batch, and says what is known so far.
    pub(super) fn show(
        &self,
        member: usize,
        dataset: &Arc<Dataset>,
        context: &Context,
        read: &mut dyn FnMut(Shown) -> Result<Scores>,
    ) -> Result<()> {
        let Member { subject, layers } = &self.members[member];
        let model = subject.build();
        let state = context.load_model(member, &model.description)?;
        let mut pass = Pass::inference(&state);
        let material = Material::of_evaluation(self, member, dataset, &model, &state, context);
        feed::evaluation(&material, self.samples(dataset), |batches, total| {
            let (started, mut images) = ((context.clock)(), 0);
            let (before, total) = (member * total, self.members.len() * total);
            for batch in batches {
                context.interrupt.check()?;
                let Batch { index, input, targets, samples, .. } = batch?;
                let outputs = model.forward(&mut pass, *layers, input)?;
                let scores = read(Shown { tape: pass.tape(), outputs, targets, samples: &samples })?;
                images += samples.len();
                let elapsed = ((context.clock)() - started).max(1e-9);
                let done = before + index + 1;
                context.observer.event(&Event::Step {
                    stage: context.stage.to_owned(),
                    epoch: 1,
                    epochs: 1,
                    step: done as u64,
                    steps: total as u64,
                    loss: scores.get("loss").copied(),
                    accuracy: scores.get("accuracy").copied(),
                    images_per_second: images as f64 / elapsed,
                    seconds_left: (total - done) as f64 * elapsed / (index + 1) as f64,
                });
            }
            Ok(())
        })
    }

    pub(super) fn prediction(
        &self,
        task: &impl Outcome,
        sample: &Sample,
        probabilities: Vec<f32>,
    ) -> Prediction {
        let classes = self.classes();
        Prediction {
            file: sample.path.clone(),
            label: names(classes, &sample.label.classes()),
            predicted: names(classes, &task.told(&probabilities)),
            probabilities,
        }
    }

    /// Writes the result.
    pub(super) fn publish<T: Outcome>(
        &self,
        dataset: &Dataset,
        predictions: &[Prediction],
        task: &T,
        meter: &T::Meter,
        context: &Context,
    ) -> Result<()> {
        if predictions.is_empty() {
            let part = self.split.name();
            return Err(Error::failed(format!("the {part} split has no readable image")));
        }
        let mut document = task.document(meter)?;
        document["split"] = json!(self.split.name());
        let seen: BTreeSet<&str> = predictions.iter().map(|prediction| prediction.file.as_str()).collect();
        let all = dataset.split(self.split).into_iter().map(|sample| dataset.samples[sample].path.as_str());
        let broken: Vec<&str> = all.filter(|path| !seen.contains(path)).collect();
        document["broken_images"] = json!(broken.len());
        let is_broken = |path: &str| broken.binary_search(&path).is_ok();
        lost::require_classes_or_warn(&self.view, dataset, &[self.split], is_broken, context)?;
        context.list_broken(dataset, broken)?;
        context.write("metrics.json", pretty(&document))?;
        context.write("predictions.csv", report::predictions_csv(self.classes(), predictions))?;
        task.write(context, meter)
    }
}
