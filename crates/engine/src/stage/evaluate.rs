//! Evaluation: one split, one set of weights or several, and everything a person wants to see of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::feed::{self, Material};
use super::lost;
use super::recipe::{
    EvaluateRecipe, ModelRecipe, PreprocessRecipe, Recipe, RecognitionRecipe, SplitRecipe, engine,
};
use super::{Context, Subject, View, train::pretty};
use crate::code_path::CodePath;
use crate::data::{self, Dataset, Split};
use crate::error::{Error, Result};
use crate::events::{Pace, Position};
use crate::model::{self, Pass};
use crate::ops;
use crate::pipeline::Broken;
use crate::report::code_paths::PICTURES;
use crate::task::{Evaluation, Evaluator, Measured, Recognition};
use crate::train::Batch;

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

impl Evaluate {
    /// Of its only model, or the first of several.
    pub fn subject(&self) -> &Subject {
        &self.members[0].subject
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
        match &self.recognition {
            Some(recognition) => paths.extend(recognition.code_paths()),
            None => {
                paths.extend(self.subject().task(None).metric_code_paths(&Measured {
                    dataset: Some(dataset),
                    split: self.split,
                    skips_broken: self.view.0.broken == Broken::Skip,
                    models: self.members.len(),
                }));
                paths.push(PICTURES);
            }
        }
        paths.extend(self.subject().names(dataset, &self.parts()));
        paths
    }

    pub fn execute(&self, dataset: &Arc<Dataset>, context: &Context) -> Result<()> {
        self.measure(dataset, self.evaluator(dataset)?, context)
    }

    /// Shows all images to all models, and writes the result.
    pub(super) fn measure(
        &self,
        dataset: &Arc<Dataset>,
        mut evaluator: Box<dyn Evaluator>,
        context: &Context,
    ) -> Result<()> {
        let mut seen = BTreeSet::new();
        for member in 0..self.members.len() {
            seen.append(&mut self.show(member, dataset, context, evaluator.as_mut())?);
        }
        self.publish(dataset, &seen, evaluator, context)
    }

    fn evaluator(&self, dataset: &Arc<Dataset>) -> Result<Box<dyn Evaluator>> {
        match &self.recognition {
            Some(recognition) => Ok(recognition.evaluator(dataset, self.split)),
            None => self.subject().task(None).evaluator(dataset, self.split, self.members.len()),
        }
    }

    /// Shows all images to one of the models. Returns the positions of the samples that can be read.
    fn show(
        &self,
        member: usize,
        dataset: &Arc<Dataset>,
        context: &Context,
        evaluator: &mut dyn Evaluator,
    ) -> Result<BTreeSet<usize>> {
        let Member { subject, layers } = &self.members[member];
        let model = subject.build();
        let state = context.load_model(member, &model.description)?;
        let mut pass = Pass::inference(&state);
        let material = Material::of_evaluation(self, member, dataset, &model, &state, context);
        let mut seen = BTreeSet::new();
        feed::evaluation(&material, self.samples(dataset), |batches, total| {
            let mut pace = Pace::new((context.clock)());
            let (before, total) = (member * total, self.members.len() * total);
            for batch in batches {
                context.interrupt.check()?;
                let Batch { input, index, targets: annotations, samples, .. } = batch?;
                let outputs = evaluator.forward(&model, &mut pass, *layers, input)?;
                let scores = evaluator.update(pass.tape(), &outputs, &annotations, &samples)?;
                let (stage, step) = (context.stage, before + index + 1);
                let left = total - step;
                let position = Position { stage, epoch: 1, epochs: 1, step, steps: total, left };
                context.observer.event(&pace.step((context.clock)(), samples.len(), position, scores));
                seen.extend(samples);
            }
            Ok(())
        })?;
        Ok(seen)
    }

    /// Writes the result of the images that can be read.
    fn publish(
        &self,
        dataset: &Dataset,
        seen: &BTreeSet<usize>,
        evaluator: Box<dyn Evaluator>,
        context: &Context,
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
        lost::require_classes_or_warn(&self.view, dataset, &parts, is_broken, context)?;
        context.list_broken(dataset, broken.iter().copied())?;
        context.interrupt.check()?;
        let Evaluation { mut document, files } = evaluator.finish(context.stage)?;
        document["broken_images"] = json!(broken.len());
        context.write("metrics.json", pretty(&document))?;
        context.write_all(&files)
    }
}
