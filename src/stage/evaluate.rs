//! Evaluation: one split, one set of weights, and everything a person wants to see of it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::classifier::Classifier;
use super::feed::{self, Material};
use super::subject::{self, split_document};
use super::work::{rare_versions, versions};
use super::{Context, Recognition, Subject, View, train::pretty};
use crate::autograd;
use crate::data::{self, Dataset, Split};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::metrics;
use crate::model::{self, Pass};
use crate::ops;
use crate::report::{self, Prediction};
use crate::train::Task;

pub struct Evaluate {
    pub subject: Subject,
    pub view: View,
    pub dataset: Option<Arc<Dataset>>,
    pub split: Split,
    /// What is asked of embeddings; else classes are told.
    pub recognition: Option<Recognition>,
    /// How many layers were frozen where the weights come from: their features are shared with that stage. No part of
    /// the recipe, since the result is the same.
    pub layers: usize,
}

impl Evaluate {
    /// The parts of the data set that are looked at.
    fn parts(&self) -> Vec<Split> {
        self.recognition.as_ref().map_or_else(|| vec![self.split], |asked| asked.parts(self.split))
    }

    /// The places of the images that are looked at, in order.
    pub fn samples(&self, dataset: &Dataset) -> Vec<usize> {
        let parts = self.parts();
        (0..dataset.samples.len()).filter(|&sample| parts.contains(&dataset.samples[sample].split)).collect()
    }

    pub fn document(&self) -> Option<Value> {
        let dataset = self.dataset.as_ref()?;
        if let Some(recognition) = &self.recognition {
            return self.recognition_document(recognition, dataset);
        }
        Some(json!({
            "kind": "evaluate",
            "model": self.subject.document(),
            "images": self.view.document(),
            "inputs": { self.split.name(): split_document(dataset, self.split)? },
            "engine": versions(&[
                ops::VERSIONS,
                &rare_versions(&self.subject.rare_paths()),
                model::VERSIONS,
                data::VERSIONS,
                metrics::VERSIONS,
                report::VERSIONS,
            ]),
        }))
    }

    fn recognition_document(&self, recognition: &Recognition, dataset: &Dataset) -> Option<Value> {
        let inputs = self
            .parts()
            .into_iter()
            .map(|part| Some((part.name().to_owned(), split_document(dataset, part)?)));
        Some(json!({
            "kind": "evaluate",
            "model": self.subject.document(),
            "images": self.view.document(),
            "recognition": recognition.document(self.split, dataset),
            "inputs": inputs.collect::<Option<Map<_, _>>>()?,
            "engine": versions(&[
                ops::VERSIONS,
                &rare_versions(&self.subject.rare_paths()),
                model::VERSIONS,
                data::VERSIONS,
                metrics::EMBEDDING_VERSIONS,
                report::RECOGNITION_VERSIONS,
            ]),
        }))
    }

    pub fn execute(&self, context: &Context) -> Result<()> {
        let dataset =
            self.dataset.as_ref().ok_or_else(|| Error::failed("internal: an evaluation without images"))?;
        if let Some(recognition) = &self.recognition {
            return recognition.execute(self, dataset, context);
        }
        let model = self.subject.build();
        let state = context.load_model(&model.description)?;
        let task = Classifier::new(&self.subject.classes);
        let mut meter = task.meter();
        let mut pass = Pass::inference(&state);
        let mut predictions = Vec::new();
        let material = Material::of_evaluation(self, dataset, &model, &state, context);
        feed::evaluation(&material, self.samples(dataset), |batches, total| {
            let started = (context.clock)();
            for batch in batches {
                context.interrupt.check()?;
                let batch = batch?;
                let layers = self.layers..model.description.layers.len();
                let logits = model.forward(&mut pass, layers, autograd::Value::constant(batch.input))?;
                task.loss(pass.tape(), &logits, &batch.targets, &mut meter)?;
                let rows = ops::softmax(logits.tensor())?.to_vec2::<f32>()?;
                for (probabilities, &sample) in rows.into_iter().zip(&batch.samples) {
                    let sample = &dataset.samples[sample];
                    predictions.push(Prediction {
                        file: sample.path.clone(),
                        label: self.subject.classes[sample.class].clone(),
                        predicted: self.subject.classes[metrics::most_likely(&probabilities)].clone(),
                        probabilities,
                    });
                }
                let elapsed = ((context.clock)() - started).max(1e-9);
                context.observer.event(&Event::Step {
                    stage: context.stage.to_owned(),
                    epoch: 1,
                    epochs: 1,
                    step: batch.index as u64 + 1,
                    steps: total as u64,
                    loss: Some(meter.loss()),
                    accuracy: Some(meter.accuracy()),
                    images_per_second: predictions.len() as f64 / elapsed,
                    seconds_left: (total - batch.index - 1) as f64 * elapsed / (batch.index + 1) as f64,
                });
            }
            Ok(())
        })?;
        if predictions.is_empty() {
            return Err(Error::failed(format!(
                "the {} split has no image that can be read",
                self.split.name()
            )));
        }
        let all = meter.finish(&self.subject.classes)?;
        let mut document =
            serde_json::to_value(&all).map_err(|error| Error::failed(format!("internal: {error}")))?;
        document["split"] = json!(self.split.name());
        document["broken_images"] = json!(dataset.split(self.split).len() - predictions.len());
        context.write("metrics.json", pretty(&document))?;
        context.write("predictions.csv", report::predictions_csv(&self.subject.classes, &predictions))?;
        subject::write_confusion(context, &all)
    }
}
