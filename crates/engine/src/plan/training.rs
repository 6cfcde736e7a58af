//! Checks what a train stage requires of its model, images and classes.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::resolve::Resolver;
use crate::data::{BatchResizer, Dataset, EpochSampler, Split};
use crate::freeze::ParameterTable;
use crate::model::{AdapterSpec, Description, NormMode, NormSpec};
use crate::pipeline::{self, BatchNormPolicy, Data, Group, ImageSizes, Sampler, Unfreeze};
use crate::stage::{ModelSpec, Preprocess, ResolvedStage, TrainStage};
use crate::task::{TaskProblem, TaskTraining};

impl Resolver<'_> {
    /// `data` is the data set with its name; `above` are the stages whose weights it reads, in order.
    pub(super) fn train(
        &mut self,
        name: &str,
        train: &pipeline::Train,
        (data_name, data): (&str, &Data),
        mut model_spec: ModelSpec,
        above: &[&ResolvedStage],
    ) -> Option<(ResolvedStage, Value)> {
        if let Some(adapter) = &train.adapter {
            match self.adapted(name, train, adapter, &model_spec) {
                Some(spec) => model_spec.adapter = Some(spec),
                None => {
                    let description = Arc::new(model_spec.build().description);
                    return self.placeholder(train, data, model_spec, description);
                }
            }
        }
        let description = Arc::new(model_spec.build().description);
        let table = match ParameterTable::resolve(&description, train) {
            Ok(table) => table,
            Err(errors) => {
                self.rules(name, errors);
                return self.placeholder(train, data, model_spec, description);
            }
        };
        self.features_only(name, &model_spec, &description, &table)?;
        self.layer_decay(name, train, &description, &table)?;
        if train.features.is_some() && table.first().frozen_prefix(&description) == 0 {
            let message = "features are not kept if the first layer trains".to_owned();
            let help = "freeze the first layers, or remove `features`".to_owned();
            self.diagnose(&format!("stage.{name}.features"), "no-effect", message, Some(help));
            return None;
        }
        let preprocess = Preprocess::new(&data.images(), train.image_size, model_spec.model.arch);
        for work in above {
            self.same_patches(name, data_name, work.model_spec(), &preprocess)?;
        }
        let dataset = self.images(data_name, data);
        self.multi_scale(name, train, &model_spec, &preprocess)?;
        self.validation(name, train, dataset.as_deref())?;
        self.task(name, train, &model_spec, dataset.as_deref())?;
        self.sampler(name, train, dataset.as_deref())?;
        self.last_batch(name, train, &description, &table, &preprocess, dataset.as_deref())?;
        let rules = json!(Rules::of(train));
        let teacher = self.teacher(name, train, &model_spec, &preprocess, above)?;
        let work =
            TrainStage::new(model_spec, preprocess, train.clone(), table, description, self.pipeline.seed);
        Some((ResolvedStage::Train(Box::new(TrainStage { teacher, ..work }), dataset), rules))
    }

    /// A stage whose rules are wrong, without these rules, so that errors in the stages below are found too. It never
    /// runs.
    fn placeholder(
        &self,
        train: &pipeline::Train,
        data: &Data,
        model_spec: ModelSpec,
        description: Arc<Description>,
    ) -> Option<(ResolvedStage, Value)> {
        let mut free = pipeline::Train {
            freeze: None,
            train: None,
            freeze_first: None,
            train_first: None,
            train_last: None,
            groups: Vec::new(),
            unfreeze: Vec::new(),
            adapter: None,
            ..train.clone()
        };
        free.optimizer.settings_mut().no_decay_mut().clear();
        let table = ParameterTable::resolve(&description, &free).ok()?;
        let preprocess = Preprocess::new(&data.images(), train.image_size, model_spec.model.arch);
        let work = TrainStage::new(model_spec, preprocess, free, table, description, self.pipeline.seed);
        Some((ResolvedStage::Train(Box::new(work), None), Value::Null))
    }

    /// The adapters that a stage adds to a model that has none.
    fn adapted(
        &mut self,
        stage: &str,
        train: &pipeline::Train,
        adapter: &pipeline::Adapter,
        model_spec: &ModelSpec,
    ) -> Option<AdapterSpec> {
        if model_spec.adapter.is_some() {
            let message = format!("the model of `{}` already has adapters", train.from);
            let help = format!(
                "to train them further, remove `adapter` and write `train = [\"@adapter\"]`; to add others, first merge \
                 them: a `load_weights` stage with `from = \"{}\"`",
                train.from
            );
            self.diagnose(&format!("stage.{stage}.adapter"), "conflict", message, Some(help));
            return None;
        }
        model_spec.build().resolve_adapter(adapter).map_err(|errors| self.rules(stage, errors)).ok()
    }

    /// An encoder without gradients stays frozen; where its layers are our own, adapters train.
    fn features_only(
        &mut self,
        stage: &str,
        model_spec: &ModelSpec,
        description: &Description,
        table: &ParameterTable,
    ) -> Option<()> {
        if !model_spec.model.arch.is_encoder() {
            return Some(());
        }
        let of_encoder = |id| !description.in_head(id) && description.adapted_by(id).is_none();
        let Some(row) = table.rows.iter().find(|row| row.trainable && of_encoder(row.id)) else {
            return Some(());
        };
        // For example `train[0] = "*"`: a parameter that no rule matches trains by default.
        let rule = row.rule.split_once(" = ").map(|(rule, _)| format!(".{rule}"));
        let at = format!("stage.{stage}{}", rule.unwrap_or_default());
        let message = format!(
            "`{}` is a feature extractor only, but its `{}` would train here",
            description.arch, row.name
        );
        let help = match description.adapters.layers.is_empty() {
            true => "train only the head: `train = [\"@head\"]`".to_owned(),
            false => "train only the head and adapters: `train = [\"@head\", \"@adapter\"]`".to_owned(),
        };
        self.diagnose(&at, "feature-extractor", message, Some(help));
        None
    }

    /// Layers whose rates decay relative to one another must train.
    fn layer_decay(
        &mut self,
        stage: &str,
        train: &pipeline::Train,
        description: &Description,
        table: &ParameterTable,
    ) -> Option<()> {
        // A decay of 1 disables it, for comparison.
        if train.layer_decay.is_none_or(|decay| decay >= 1.0) {
            return Some(());
        }
        let without = pipeline::Train { layer_decay: None, ..train.clone() };
        if ParameterTable::resolve(description, &without).is_ok_and(|plain| plain != *table) {
            return Some(());
        }
        let message =
            "`layer_decay` has no effect: all trainable layers have the full learning rate".to_owned();
        let help = "train layers below the head, or remove `layer_decay`".to_owned();
        self.diagnose(&format!("stage.{stage}.layer_decay"), "no-effect", message, Some(help));
        None
    }

    /// What the task requires of the loss, the head, the monitor and the classes.
    fn task(
        &mut self,
        stage: &str,
        settings: &pipeline::Train,
        model_spec: &ModelSpec,
        dataset: Option<&Dataset>,
    ) -> Option<()> {
        let Err(problem) = model_spec.task(Some(TaskTraining { settings, dataset })).check() else {
            return Some(());
        };
        let TaskProblem { setting, code, message, help } = problem;
        self.diagnose(&format!("stage.{stage}.{setting}"), code, message, help);
        None
    }

    /// Each batch of P × K images needs P classes that have training images.
    fn sampler(&mut self, stage: &str, train: &pipeline::Train, dataset: Option<&Dataset>) -> Option<()> {
        let (Sampler::PK(sampler), Some(dataset)) = (&train.sampler, dataset) else { return Some(()) };
        let classes = EpochSampler::new(dataset, &train.sampler, 0).class_sizes().count();
        if sampler.classes <= classes {
            return Some(());
        }
        let message = format!(
            "batches of {} classes need as many, but {classes} have training images",
            sampler.classes
        );
        let help = format!("set `classes` to at most {classes}, and `batch_size` to `classes` × `images`");
        self.diagnose(&format!("stage.{stage}.sampler.classes"), "class-list", message, Some(help));
        None
    }

    /// Batches of several image sizes need a network that takes them.
    fn multi_scale(
        &mut self,
        stage: &str,
        train: &pipeline::Train,
        model_spec: &ModelSpec,
        preprocess: &Preprocess,
    ) -> Option<()> {
        let (most, side, arch) = (train.augment.multi_scale, preprocess.0.image_size, model_spec.model.arch);
        if most == 0.0 {
            return Some(());
        }
        let sizes = BatchResizer::sizes(side, most);
        let takes = |size: &usize| match arch.image_sizes() {
            ImageSizes::Any => true,
            ImageSizes::MultipleOf(of) => size.is_multiple_of(of),
            ImageSizes::Only(only) => *size == only,
        };
        let has_positions = arch.has_sized_positions() || arch.resamples_positions();
        let (code, message, help) = if has_positions || !sizes.iter().all(takes) {
            let message = format!("`{}` does not take images of several sizes", arch.name());
            ("conflict", message, "remove `multi_scale`")
        } else if sizes.iter().all(|size| *size == side) {
            let message =
                format!("`multi_scale` has no effect: no other multiple of 32 is that close to {side}");
            ("no-effect", message, "raise it, or remove it")
        } else {
            return Some(());
        };
        self.diagnose(&format!("stage.{stage}.augment.multi_scale"), code, message, Some(help.to_owned()));
        None
    }

    /// A single value has no variance. A batch of one image is therefore too small for batch normalisation of vectors,
    /// as in a head, or of feature maps of size 1 × 1.
    fn last_batch(
        &mut self,
        stage: &str,
        train: &pipeline::Train,
        description: &Description,
        table: &ParameterTable,
        preprocess: &Preprocess,
        dataset: Option<&Dataset>,
    ) -> Option<()> {
        let images = dataset.map_or(0, |dataset| dataset.split(Split::Train).len());
        let images = train.sampler.epoch_images(images);
        if images % train.batch_size != 1 % train.batch_size || images == 0 {
            return Some(());
        }
        let image_size = preprocess.0.image_size;
        let norms = description.norms.iter().zip(&table.last().norms);
        let sensitive =
            norms.filter(|(norm, mode)| **mode == NormMode::Training && norm.values(image_size) == 1);
        let sensitive: Vec<&NormSpec> = sensitive.map(|(norm, _)| norm).collect();
        let Some(first) = sensitive.first() else { return Some(()) };
        let batch = match train.batch_size {
            1 => "each batch has one image".to_owned(),
            _ => format!("the last batch of {images} images has one"),
        };
        let others = match sensitive.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let message = match first.stride {
            None => format!("{batch}, but the head's batch normalisation needs two"),
            Some(_) => format!(
                "{batch}, but batch normalisation needs two values per channel: at an `image_size` of {image_size} the \
                 maps of `{}`{others} are 1 × 1",
                first.name
            ),
        };
        let better = (train.batch_size + 1..=images + 1).find(|size| images % size != 1);
        let size = better.map(|size| format!("use `batch_size = {size}`"));
        let mut cures = vec![size.unwrap_or_else(|| "add images".to_owned())];
        // Larger images help if only feature maps are too small.
        let strides = sensitive.iter().map(|norm| norm.stride).collect::<Option<Vec<_>>>();
        let larger = strides.and_then(|strides| strides.into_iter().max());
        cures.extend(larger.map(|stride| format!("an `image_size` above {stride}")));
        // The running statistics of pretrained layers are useful; those of a new head are not.
        cures.extend(first.stride.map(|_| "`batch_norm = \"eval\"`".to_owned()));
        self.diagnose(
            &format!("stage.{stage}.batch_size"),
            "batch-of-one",
            message,
            Some(alternatives(&cures)),
        );
        None
    }
}

/// `a, b or c`.
fn alternatives(all: &[String]) -> String {
    match all {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        all => all.concat(),
    }
}

/// The settings from which the parameter table is resolved, as written.
#[derive(Serialize)]
struct Rules<'a> {
    freeze: &'a Option<Vec<String>>,
    train: &'a Option<Vec<String>>,
    freeze_first: Option<usize>,
    train_first: Option<usize>,
    train_last: Option<usize>,
    batch_norm: BatchNormPolicy,
    groups: &'a [Group],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unfreeze: &'a [Unfreeze],
    #[serde(skip_serializing_if = "Option::is_none")]
    layer_decay: Option<f64>,
}

impl<'a> Rules<'a> {
    fn of(settings: &'a pipeline::Train) -> Self {
        let pipeline::Train { freeze, train, groups, unfreeze, .. } = settings;
        Self {
            freeze,
            train,
            freeze_first: settings.freeze_first,
            train_first: settings.train_first,
            train_last: settings.train_last,
            batch_norm: settings.batch_norm,
            groups,
            unfreeze,
            layer_decay: settings.layer_decay,
        }
    }
}
