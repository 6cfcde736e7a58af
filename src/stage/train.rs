//! Training: what trains, on what, from which weights; then the proof that nothing else moved.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::classifier::{self, Classifier};
use super::context::{BEST, LAST};
use super::feed::{self, Material};
use super::host::{self, StageHost};
use super::subject::{self, split_document};
use super::work::{rare_versions, versions};
use super::{Context, Prefix, Subject, View};
use crate::data::{self, Dataset, Split};
use crate::error::{Error, Result};
use crate::freeze::{self, ParameterTable};
use crate::metrics::{self, ClassificationMetrics};
use crate::model::{self, Description, Model, NormMode, State};
use crate::pipeline;
use crate::report::{BatchNormCounts, ParameterCounts, Training};
use crate::train::{self, Optimizer, Parameter, Progress, Setup, Task, Tracker};
use crate::weights::{self, Source};
use crate::{ops, report};

pub struct Train {
    pub subject: Subject,
    pub view: View,
    pub dataset: Option<Arc<Dataset>>,
    pub settings: pipeline::Train,
    pub table: ParameterTable,
    pub prefix: Prefix,
    pub seed: u64,
}

impl Train {
    pub fn new(
        subject: Subject,
        view: View,
        dataset: Option<Arc<Dataset>>,
        settings: pipeline::Train,
        table: ParameterTable,
        description: &Description,
        seed: u64,
    ) -> Self {
        let prefix = Prefix::new(description, &table, &settings);
        Self { subject, view, dataset, settings, table, prefix, seed }
    }

    /// The settings as written decide what is reported; what enters here is what they come to.
    pub fn document(&self) -> Option<Value> {
        let dataset = self.dataset.as_ref()?;
        let settings = &self.settings;
        let mut document = json!({
            "kind": "train",
            "model": self.subject.document(),
            "settings": {
                "epochs": settings.epochs,
                "batch_size": settings.batch_size,
                "optimizer": settings.optimizer,
                "schedule": settings.schedule,
                "loss": settings.loss,
                "augment": settings.augment,
                "monitor": settings.monitor,
                "early_stop": settings.early_stop,
                "dropout": self.subject.model.head.dropout(),
                "seed": self.seed,
            },
            "parameters": parameters(&self.subject.build().description, &self.table),
            "images": self.view.document(),
            "inputs": {
                "train": split_document(dataset, Split::Train)?,
                "validation": split_document(dataset, Split::Validation)?,
            },
            "engine": versions(&[
                ops::VERSIONS,
                &rare_versions(&self.rare_paths()),
                model::VERSIONS,
                data::VERSIONS,
                crate::features::VERSIONS,
                train::VERSIONS,
                &train::optional_versions(settings),
                metrics::VERSIONS,
                report::VERSIONS,
                weights::VERSIONS,
            ]),
        });
        if let Some(features) = settings.features.as_ref().filter(|features| **features != Default::default())
        {
            document["settings"]["features"] = json!(features);
        }
        // What few files use stands here only where they do: the keys of the others stay as they were.
        if self.subject.model.stochastic_depth > 0.0 {
            document["settings"]["stochastic_depth"] = json!(self.subject.model.stochastic_depth);
        }
        Some(document)
    }

    /// The code paths that few stages take and this one does, by name.
    fn rare_paths(&self) -> Vec<&'static str> {
        let depth = (self.subject.model.stochastic_depth > 0.0).then_some("stochastic_depth");
        let mut paths = self.settings.augment.rare();
        paths.extend(self.subject.rare_paths());
        paths.extend(classifier::rare_paths(&self.settings.loss));
        paths.extend(depth);
        paths
    }

    /// The tensors that may not move: frozen parameters, and buffers of norms that do not train.
    pub fn frozen(&self) -> Vec<String> {
        let description = self.subject.build().description;
        self.table.frozen(&description).into_iter().map(|id| description.tensors[id].name.clone()).collect()
    }

    pub fn execute(&self, context: &Context) -> Result<()> {
        let dataset =
            self.dataset.as_ref().ok_or_else(|| Error::failed("internal: a train stage without images"))?;
        let model = self.subject.build();
        let source = context.load_model(&model.description)?;
        let task = Classifier::of_training(&self.subject, &self.settings.loss, Some(dataset));
        let material = Material::of_training(self, dataset, &model, &source, context);
        let feed = feed::training(self, &material)?;
        let setup = Setup {
            model: &model,
            table: &self.table,
            task: &task,
            feed: &*feed,
            first_layer: self.prefix.layers,
            seed: self.seed,
            epochs: self.settings.epochs,
            base_lr: base_lr(&self.settings.optimizer),
            schedule: &self.settings.schedule,
            monitor: self.settings.monitor,
        };
        let optimizer = optimizer(&self.settings.optimizer, &self.table)?;
        let tracker = Tracker::new(self.settings.monitor, self.settings.early_stop.clone());
        let mut progress = Progress::start(source.clone(), optimizer, tracker, task.meter());
        if let Some(folder) = context.checkpoints.latest()? {
            host::read(&folder)
                .and_then(|checkpoint| progress.resume(checkpoint, &model.description, &self.table))
                .map_err(|error| error.hint("`--force` starts the stages of a run from their beginning"))?;
        }
        let mut host = StageHost::new(context, dataset, &setup, &progress.history)?;
        train::fit(&setup, &mut progress, &mut host)?;
        if feed.validation().is_some() && progress.best.is_none() {
            return Err(Error::failed(
                "no epoch was the best: the monitored value was never a finite number",
            )
            .hint("lower the learning rate, or monitor another value"));
        }
        self.publish(context, &model, &progress)
    }

    /// Writes the result, and proves on the files themselves that what was frozen is bit for bit what it was.
    fn publish(
        &self,
        context: &Context,
        model: &Model,
        progress: &Progress<ClassificationMetrics>,
    ) -> Result<()> {
        let description = &model.description;
        let mut results: Vec<(&str, State)> = vec![(LAST, progress.state.clone())];
        results.extend(progress.best_state().map(|state| (BEST, state)));
        let frozen = self.frozen();
        let dialect = Source::open(context.source()?)?.dialect();
        for (name, state) in &results {
            context.save_model(name, &self.subject, description, state, dialect)?;
            prove(context.source()?, &context.output.join(name), &frozen)?;
        }
        let chosen = progress.best_state().unwrap_or_else(|| progress.state.clone());
        let digests = weights::digests(&chosen)?;
        context.write("parameters.csv", self.table.csv(description, Some(&digests))?)?;

        let rows: Vec<_> = progress.history.iter().map(host::history_row).collect();
        context.write("history.csv", report::history_csv(&rows))?;
        let curves = report::curves(context.stage, &rows);
        context.write("curves.svg", curves.document())?;
        context.write("curves.png", report::png(&curves)?)?;
        context.write("metrics.json", pretty(&self.metrics(progress)?))?;
        if let Some(best) = &progress.best {
            let validation = best.meter.finish(&self.subject.classes)?;
            subject::write_confusion(context, &validation)?;
        }
        Ok(())
    }

    fn metrics(&self, progress: &Progress<ClassificationMetrics>) -> Result<Value> {
        let rows = &progress.history;
        let last = rows.last().ok_or_else(|| Error::failed("internal: a stage without an epoch"))?;
        let totals = self.table.totals();
        let training = self.table.norms.iter().filter(|mode| **mode == NormMode::Training).count();
        let metrics = Training {
            best: rows.iter().rev().find(|row| row.best).map(host::history_row),
            last: host::history_row(last),
            parameters: ParameterCounts {
                trainable_tensors: totals.trainable_tensors as u64,
                frozen_tensors: totals.frozen_tensors as u64,
                trainable_parameters: totals.trainable_parameters as u64,
                frozen_parameters: totals.frozen_parameters as u64,
                batch_norm: BatchNormCounts {
                    total: self.table.norms.len() as u64,
                    train: training as u64,
                    eval: (self.table.norms.len() - training) as u64,
                },
            },
        };
        let mut document = json!(metrics);
        document["stopped_early"] = json!(progress.epoch < self.settings.epochs);
        document["broken_images"] = json!(progress.broken.len());
        Ok(document)
    }
}

pub(crate) fn optimizer(settings: &pipeline::Optimizer, table: &ParameterTable) -> Result<Optimizer> {
    let parameters = table.rows.iter().filter_map(|row| {
        Some(Parameter {
            tensor: row.id,
            name: row.name.clone(),
            lr: row.lr?,
            weight_decay: row.weight_decay?,
        })
    });
    Optimizer::new(settings, parameters)
}

pub(crate) fn base_lr(optimizer: &pipeline::Optimizer) -> f64 {
    match optimizer {
        pipeline::Optimizer::Sgd(sgd) => sgd.lr,
        pipeline::Optimizer::Adamw(adamw) => adamw.lr,
    }
}

/// What the rules come to, for the recipe. Rates stand only where they are not the optimizer's own, so that a changed
/// learning rate is one change.
fn parameters(description: &Description, table: &ParameterTable) -> Value {
    let trained = table.rows.iter().filter(|row| row.trainable);
    let paces: serde_json::Map<String, Value> = trained
        .clone()
        .filter(|row| row.group.is_some() || row.weight_decay == Some(0.0))
        .map(|row| (row.name.clone(), json!({ "lr": row.lr, "weight_decay": row.weight_decay })))
        .collect();
    let norms = description.norms.iter().zip(&table.norms);
    let training = norms.filter(|(_, mode)| **mode == NormMode::Training).map(|(norm, _)| &norm.name);
    json!({
        "trainable": trained.map(|row| &row.name).collect::<Vec<_>>(),
        "paces": paces,
        "norms_in_training": training.collect::<Vec<_>>(),
    })
}

/// Fails by name if a frozen tensor of the result is not bit for bit that of the source.
fn prove(source: &Path, result: &Path, frozen: &[String]) -> Result<()> {
    let moved = freeze::moved(&Source::open(source)?, &Source::open(result)?, frozen)?;
    let Some(first) = moved.first() else { return Ok(()) };
    let others = match moved.len() - 1 {
        0 => String::new(),
        count => format!(" (and {count} more)"),
    };
    Err(Error::failed(format!("a frozen tensor moved: {first}{others}"))
        .hint("this is a bug in defrost: please report it; the result was not kept"))
}

pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
