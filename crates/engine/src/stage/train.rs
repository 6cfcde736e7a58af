//! Train stages: execution, and the proof that frozen tensors did not change.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::batch_source::{BatchInputs, TrainingBatches as Batches};
use super::callbacks::{self, StageCallbacks};
use super::class_coverage;
use super::context::{ADAPTER, BEST, LAST, metadata};
use super::examples::ExampleImages;
use super::oom;
use super::recipe::{
    ModelRecipe, ParametersRecipe, PreprocessRecipe, Recipe, SplitRecipe, TrainRecipe, TrainSettings, engine,
};
use super::teacher::Teacher;
use super::{FrozenPrefix, ModelSpec, Preprocess, StageContext};
use crate::code_path::CodePath;
use crate::data::{self, Dataset, Split};
use crate::device::exhausted_gpu;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::freeze::{self, FreezePhase, ParameterTable};
use crate::metrics::TaskMetrics;
use crate::model::{self, Description, Model, StateDict, TensorId};
use crate::ops::code_paths::STOCHASTIC_DEPTH;
use crate::pipeline::{self, Broken};
use crate::report::code_paths::PICTURES;
use crate::report::{ParameterCounts, TrainingMetrics};
use crate::task::{MeasuredImages, Task, TaskSpec, TaskTraining, TaskVisitor};
use crate::train::{self, Optimizer, TrainContext, TrainProgress};
use crate::weights::{self, Dialect, LoadRules, WeightsFile};
use crate::{features, ops, report};

#[derive(Clone)]
pub struct TrainStage {
    pub model_spec: ModelSpec,
    pub preprocess: Preprocess,
    pub settings: pipeline::Train,
    pub table: ParameterTable,
    /// The teacher, if there is one.
    pub teacher: Option<ModelSpec>,
    /// The frozen prefixes in order: shorter as deeper layers are unfrozen.
    pub prefixes: Vec<FrozenPrefix>,
    pub seed: u64,
    /// Of the model.
    pub description: Arc<Description>,
}

impl TrainStage {
    pub fn new(
        model_spec: ModelSpec,
        preprocess: Preprocess,
        settings: pipeline::Train,
        table: ParameterTable,
        description: Arc<Description>,
        seed: u64,
    ) -> Self {
        let prefixes = FrozenPrefix::of_training(&description, &table, &settings);
        Self { model_spec, preprocess, settings, table, teacher: None, prefixes, seed, description }
    }

    /// The epochs of a prefix, counted from 0.
    pub fn epochs_of(&self, prefix: &FrozenPrefix) -> Range<u32> {
        let next = self.prefixes.iter().map(|prefix| prefix.after_epochs);
        let end = next.filter(|begin| *begin > prefix.after_epochs).min();
        prefix.after_epochs..end.unwrap_or(self.settings.epochs)
    }

    /// The phases in order, each with its number of epochs and its prefix.
    pub fn phases(&self) -> Vec<(&FreezePhase, u32, &FrozenPrefix)> {
        let phases = &self.table.phases;
        let ends = phases[1..].iter().map(|next| next.after_epochs).chain([self.settings.epochs]);
        let mut found = Vec::new();
        for (phase, end) in phases.iter().zip(ends) {
            let begun = self.prefixes.iter().rev().find(|prefix| prefix.after_epochs <= phase.after_epochs);
            found.push((phase, end - phase.after_epochs, begun.unwrap_or(&self.prefixes[0])));
        }
        found
    }

    /// The number of layers with cached features that are the same in the resulting weights.
    pub(super) fn shared_layers(&self) -> usize {
        self.prefixes.last().filter(|prefix| prefix.recomputed.is_none()).map_or(0, |prefix| prefix.layers)
    }

    /// The recipe, without the stages above.
    ///
    /// # Errors
    /// A bug: an image without a digest.
    pub fn document(&self, dataset: &Dataset) -> Result<Value> {
        let Self { model_spec, preprocess: view, settings, table, teacher, seed, description, .. } = self;
        let recipe = TrainRecipe {
            model: ModelRecipe::of(model_spec),
            settings: TrainSettings::of(settings, &model_spec.model, *seed),
            parameters: ParametersRecipe::of(description, settings, table),
            images: PreprocessRecipe::of(view),
            inputs: self.inputs(dataset)?,
            engine: engine(self.code_paths(dataset)),
            teacher: teacher.as_ref().map(ModelRecipe::of),
        };
        Ok(Recipe::Train(Box::new(recipe)).document())
    }

    /// The images of the stage, with their annotations if these matter.
    fn inputs(&self, dataset: &Dataset) -> Result<BTreeMap<&'static str, SplitRecipe>> {
        let splits = [Split::Train, Split::Validation];
        match self.model_spec.task.uses_labels() {
            true => SplitRecipe::by_name(dataset, &splits),
            false => SplitRecipe::without_labels(dataset, &splits),
        }
    }

    /// The code that can change the result.
    pub fn code_paths(&self, dataset: &Dataset) -> Vec<CodePath> {
        let Self { model_spec, preprocess: view, settings, teacher, .. } = self;
        let common = [
            ops::code_paths::COMMON,
            model::code_paths::COMMON,
            data::code_paths::COMMON,
            features::code_paths::ALL,
            weights::code_paths::COMMON,
        ];
        let mut paths = common.concat();
        paths.extend(model_spec.code_paths());
        paths.extend(data::code_paths::of_augment(&settings.augment));
        paths.extend(data::code_paths::of_sampler(&settings.sampler));
        paths.extend(self.task(Some(dataset)).code_paths(settings.augment.mixes()));
        paths.extend((model_spec.model.stochastic_depth > 0.0).then_some(STOCHASTIC_DEPTH));
        paths.extend(train::code_paths::of_training(settings));
        paths.extend(self.task(Some(dataset)).metric_code_paths(&MeasuredImages {
            dataset: Some(dataset),
            split: Split::Validation,
            skips_broken: view.0.broken == Broken::Skip,
            models: 1,
        }));
        paths.push(PICTURES);
        let parts = [Split::Train, Split::Validation];
        paths.extend(data::code_paths::of_images(&view.0, dataset, &parts));
        paths.extend(model_spec.names(dataset, &parts));
        if let Some(teacher) = teacher {
            paths.extend(teacher.code_paths());
        }
        paths
    }

    /// The tensors that must not change: frozen parameters, and buffers of norms that do not train.
    pub fn frozen(&self) -> Vec<String> {
        let Self { table, description, .. } = self;
        table.frozen(description).into_iter().map(|id| description.tensors[id].name.clone()).collect()
    }

    /// The weights that training starts from: those of a checkpoint, and new adapters if the stage adds any.
    pub(super) fn initial_state(&self, source: &Path) -> Result<StateDict> {
        let (source, description) = (WeightsFile::open(source)?, &*self.description);
        match self.settings.adapter {
            Some(_) => self.model_spec.load_adding_adapters(description, &source, self.seed),
            None => weights::load(description, &source, &LoadRules::default(), 0),
        }
    }

    pub fn execute(&self, dataset: &Arc<Dataset>, context: &StageContext) -> Result<()> {
        self.task(Some(dataset)).visit(FitTask { stage: self, dataset, context })
    }

    /// The task of the stage.
    pub(super) fn task<'a>(&'a self, dataset: Option<&'a Dataset>) -> TaskSpec<'a> {
        let training = TaskTraining { settings: &self.settings, dataset };
        self.model_spec.task(Some(training))
    }

    /// Trains for a task, and writes the result.
    pub(super) fn fit<T: Task>(
        &self,
        task: &T,
        dataset: &Arc<Dataset>,
        context: &StageContext,
    ) -> Result<()> {
        let model = self.model_spec.build();
        let trained = self.train_model(task, dataset, &model, context);
        // Rank 0 alone writes the result.
        let progress = context.team.settle(trained)?;
        if !context.team.leads() {
            return Ok(());
        }
        self.publish(context, dataset, &model, task, &progress)
    }

    /// Trains, and returns the state after the last epoch.
    fn train_model<T: Task>(
        &self,
        task: &T,
        dataset: &Arc<Dataset>,
        model: &Model,
        context: &StageContext,
    ) -> Result<TrainProgress<T::Meter>> {
        let source = self.initial_state(context.source()?)?.to_device(context.device)?;
        self.tell_trainable(context);
        let materials = BatchInputs::of_training(self, dataset, model, &source, context);
        let teacher = self.teacher.as_ref().map(|teacher| Teacher::open(teacher, context)).transpose()?;
        let batch_source = Batches::new(self, task, &materials, teacher.as_ref())?;
        let train_context = TrainContext {
            model,
            table: &self.table,
            task,
            batch_source: &batch_source,
            seed: self.seed,
            settings: &self.settings,
            team: context.team,
        };
        let start = |train_context: &TrainContext<T>| {
            let kind = &self.settings.optimizer;
            let optimizer = Optimizer::for_table(kind, train_context.table, train_context.steps_per_epoch())?;
            Ok(TrainProgress::start(train_context, source.clone(), optimizer))
        };
        let mut progress = start(&train_context)?;
        if let Some(folder) = context.checkpoints.latest()? {
            callbacks::read(&folder)
                .and_then(|checkpoint| progress.resume(checkpoint, &model.description, &self.table))
                .map_err(|error| error.hint("`--force` restarts the stages of a run"))?;
        }
        require_same_start(&progress, context)?;
        batch_source.prepare(progress.epoch)?;
        let mut callbacks = StageCallbacks::new(context, dataset, &train_context, &progress.history)?;
        if let Err(error) = train::fit(&train_context, &mut progress, &mut callbacks) {
            let Some(gauge) = exhausted_gpu(&error, context.device) else { return Err(error) };
            let epoch = progress.epoch;
            drop(progress);
            return Err(oom::out_of_memory_advice(&train_context, epoch, &gauge, &start));
        }
        if !dataset.split(Split::Validation).is_empty() && progress.best.is_none() {
            return Err(Error::failed("there is no best epoch: the monitored metric was never finite")
                .hint("lower the learning rate, or monitor another metric"));
        }
        if context.team.leads() && context.keep_training_state && self.settings.depends_on_epochs().is_none()
        {
            let checkpoint = progress.checkpoint(&model.description, &self.table)?;
            train::TrainCallbacks::save(&mut callbacks, &checkpoint, progress.epoch, progress.step)?;
        }
        Ok(progress)
    }

    fn tell_trainable(&self, context: &StageContext) {
        let summary = self.table.freeze_summary(&self.description, &self.settings);
        context.observer.event(&Event::Trainable {
            stage: context.stage.to_owned(),
            frozen_parameters: summary.frozen_parameters,
            trainable_parameters: summary.trainable_parameters,
            summary: report::freeze_summary(&summary),
        });
    }

    /// Writes the result, and compares the frozen tensors in the files bit for bit.
    fn publish<T: Task>(
        &self,
        context: &StageContext,
        dataset: &Arc<Dataset>,
        model: &Model,
        task: &T,
        progress: &TrainProgress<T::Meter>,
    ) -> Result<()> {
        let description = &model.description;
        let mut results: Vec<(&str, StateDict)> = vec![(LAST, progress.final_state())];
        results.extend(progress.best_state().map(|state| (BEST, state)));
        let frozen = self.frozen();
        let dialect = WeightsFile::open(context.source()?)?.dialect();
        for (name, state) in &results {
            context.save_model(name, &self.model_spec, description, state, dialect)?;
            require_frozen_unchanged(context.source()?, &context.output.join(name), &frozen)?;
        }
        let chosen = progress.best_state().unwrap_or_else(|| progress.final_state());
        self.save_adapter(&chosen, dialect, context)?;
        let digests = weights::digests(&chosen)?;
        context.write("parameters.csv", self.table.csv(description, Some(&digests))?)?;

        let metrics = task.metrics();
        context.write_all(&task.epoch_files(&progress.history))?;
        let row = |row| callbacks::history_row(row, &self.table, metrics.history);
        let rows: Vec<_> = progress.history.iter().map(row).collect();
        context.write("history.csv", report::history_csv(&rows, metrics.history))?;
        let curves = report::curves(context.stage, &rows, metrics);
        context.write("curves.svg", curves.document())?;
        context.write("curves.png", report::png(&curves)?)?;
        context.write("metrics.json", pretty(&self.metrics(description, metrics, progress)?))?;
        let parts = [Split::Train, Split::Validation];
        let is_broken = |path: &str| progress.broken.contains(path);
        class_coverage::require_classes_or_warn(&self.preprocess, dataset, &parts, is_broken, context)?;
        context.list_broken(dataset, &self.preprocess, progress.broken.iter().map(String::as_str))?;
        let Some(best) = &progress.best else { return Ok(()) };
        context.write_all(&task.files(context.stage, &best.meter)?)?;
        let examples = ExampleImages {
            dataset,
            preprocess: &self.preprocess,
            model,
            state: &chosen,
            context,
            samples: dataset.split(Split::Validation),
        };
        context.write_all(&examples.files(task)?)
    }

    /// Writes the adapters, the head and all else that trained, if the model has adapters.
    fn save_adapter(&self, state: &StateDict, dialect: Dialect, context: &StageContext) -> Result<()> {
        let Self { model_spec, description, table, .. } = self;
        if model_spec.adapter.is_none() {
            return Ok(());
        }
        let constant = table.frozen(description);
        let is_kept = |id: &TensorId| {
            !constant.contains(id) || description.in_head(*id) || description.adapted_by(*id).is_some()
        };
        let ids: Vec<TensorId> = (0..description.tensors.len()).filter(is_kept).collect();
        let metadata = metadata(model_spec, description)?;
        weights::save_adapter(&context.output.join(ADAPTER), description, state, &ids, dialect, &metadata)?;
        Ok(())
    }

    fn metrics<M: Clone + Serialize + DeserializeOwned>(
        &self,
        description: &Description,
        metrics: &TaskMetrics,
        progress: &TrainProgress<M>,
    ) -> Result<Value> {
        let rows = &progress.history;
        let row = |row| callbacks::history_row(row, &self.table, metrics.history);
        let last = rows.last().ok_or_else(|| Error::bug("a stage without an epoch"))?;
        let training = TrainingMetrics {
            best: rows.iter().rev().find(|row| row.best).map(row),
            last: row(last),
            parameters: ParameterCounts::of(&self.table, description),
        };
        let mut document = training.document(metrics);
        document["stopped_early"] = json!(progress.epoch < self.settings.epochs);
        document["broken_images"] = json!(progress.broken.len());
        let skipped: Option<u64> = rows.iter().map(|row| row.skipped_steps).sum();
        if let Some(steps) = skipped {
            document["skipped_steps"] = json!(steps);
        }
        Ok(document)
    }
}

/// Executes a train stage for its task.
struct FitTask<'a> {
    stage: &'a TrainStage,
    dataset: &'a Arc<Dataset>,
    context: &'a StageContext<'a>,
}

impl TaskVisitor for FitTask<'_> {
    type Output = Result<()>;

    fn visit<T: Task>(self, task: T) -> Result<()> {
        self.stage.fit(&task, self.dataset, self.context)
    }
}

/// Fails if a rank starts from another state than rank 0, as when it sees other files.
fn require_same_start<M>(progress: &TrainProgress<M>, context: &StageContext) -> Result<()> {
    if context.team.is_alone() {
        return Ok(());
    }
    let digests: Vec<String> = weights::digests(&progress.state)?.iter().map(ToString::to_string).collect();
    let own = format!("{} {} {} {}", progress.epoch, progress.batch, progress.step, digests.join(" "));
    let all = context.team.gather(Ok(own.into_bytes()))?;
    match all.iter().position(|other| *other != all[0]) {
        None => Ok(()),
        Some(rank) => Err(Error::failed(format!("rank {rank} starts from other weights than rank 0"))
            .hint("all ranks must see the same folder of runs, such as on a shared disk")),
    }
}

/// Fails if a frozen tensor of the result differs from the source, and names it.
fn require_frozen_unchanged(source: &Path, result: &Path, frozen: &[String]) -> Result<()> {
    let moved = freeze::changed_tensors(&WeightsFile::open(source)?, &WeightsFile::open(result)?, frozen)?;
    let Some(first) = moved.first() else { return Ok(()) };
    let others = match moved.len() - 1 {
        0 => String::new(),
        count => format!(" (and {count} more)"),
    };
    Err(Error::failed(format!("a frozen tensor changed: {first}{others}"))
        .hint("this is a bug in defrost: please report it; the result was not kept"))
}

pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
