//! The loop on EfficientNet-Lite0 and six images of noise: resumed anywhere, watched, and kept off what is frozen.

use std::collections::BTreeSet;

use candle_core::{DType, Tensor};

use super::*;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};
use crate::freeze::ParameterTable;
use crate::metrics::ClassificationMetrics;
use crate::model::{Model, State};
use crate::ops::{self, testing::normal};
use crate::pipeline;
use crate::random::name_hash;
use crate::weights;

const SIDE: usize = 32;
const CLASSES: usize = 3;
const BATCH: usize = 4;

/// Images of noise by name, two training batches (the second is short) and a validation batch. The prefix, if any, is
/// not run: rows are what the first layer of the loop takes.
struct Noise {
    shape: Vec<usize>,
    /// The split that is empty, or none.
    unreadable: &'static str,
}

impl Noise {
    fn images() -> Self {
        Self { shape: vec![SIDE, SIDE, 3], unreadable: "" }
    }

    fn batch(&self, index: usize, samples: &[usize]) -> Result<Batch> {
        let shape = [&[1], &self.shape[..]].concat();
        let rows: Vec<Tensor> =
            samples.iter().map(|sample| normal(&format!("image {sample}"), &shape)).collect();
        Ok(Batch {
            index,
            input: Tensor::cat(&rows, 0)?.to_dtype(DType::F32)?,
            targets: Targets::Classes(samples.iter().map(|sample| (sample % CLASSES) as u32).collect()),
            samples: samples.to_vec(),
            streams: samples.iter().map(|sample| name_hash(&sample.to_string())).collect(),
        })
    }
}

impl Feed for Noise {
    fn steps_per_epoch(&self) -> usize {
        2
    }

    fn train(&self, epoch: u32, start: usize) -> Result<Batches<'_>> {
        let order: Vec<usize> = (0..6).map(|place| (place * 5 + epoch as usize) % 6).collect();
        let batches: Vec<_> = order.chunks(BATCH).enumerate().map(|(i, part)| self.batch(i, part)).collect();
        let skipped = if self.unreadable == "training" { batches.len() } else { start };
        Ok(Box::new(batches.into_iter().skip(skipped)))
    }

    fn validation(&self) -> Option<Result<Batches<'_>>> {
        let count = usize::from(self.unreadable != "validation");
        Some(Ok(Box::new((0..count).map(|index| self.batch(index, &[6, 7, 8])))))
    }

    fn broken(&self) -> BTreeSet<String> {
        BTreeSet::from(["animals/torn.png".to_owned()])
    }
}

/// What a [`Classify`] does to its loss.
#[derive(Clone, Copy, PartialEq)]
enum Twist {
    None,
    /// The loss is a constant.
    Detached,
    /// The gradient is not a number, the loss is.
    NanGradient,
    /// As above, in short batches only.
    LateNan,
    /// Short batches have an infinite loss.
    Infinite,
    /// The validation loss is infinite.
    InfiniteValidation,
}

struct Classify(Twist);

struct NanBackward;

impl Backward for NanBackward {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some((grad * f64::NAN)?)])
    }
}

impl Task for Classify {
    type Meter = ClassificationMetrics;

    fn meter(&self) -> ClassificationMetrics {
        ClassificationMetrics::new(CLASSES)
    }

    fn loss(
        &self,
        tape: &mut Tape,
        output: &Value,
        targets: &Targets,
        meter: &mut ClassificationMetrics,
    ) -> Result<Value> {
        let Targets::Classes(targets) = targets else { unreachable!("no image is mixed") };
        let (loss, mut losses) = ops::cross_entropy(tape, output, targets, 0.0)?;
        if self.0 == Twist::InfiniteValidation && output.is_constant() {
            losses[0] = f64::INFINITY;
        }
        let scores: Vec<f32> = output.tensor().flatten_all()?.to_vec1()?;
        meter.update(&scores, targets, &losses)?;
        let tensor = loss.tensor().clone();
        Ok(match self.0 {
            Twist::None | Twist::InfiniteValidation => loss,
            Twist::Detached => Value::constant(tensor),
            Twist::NanGradient => tape.record(&[&loss], tensor, || NanBackward),
            Twist::LateNan if targets.len() < BATCH => tape.record(&[&loss], tensor, || NanBackward),
            Twist::LateNan => loss,
            Twist::Infinite if targets.len() == BATCH => loss,
            Twist::Infinite => Value::constant((tensor + f64::INFINITY)?),
        })
    }

    fn running(&self, meter: &ClassificationMetrics) -> Scores {
        self.scores(meter)
    }

    fn scores(&self, meter: &ClassificationMetrics) -> Scores {
        Scores::from([("loss".to_owned(), meter.loss()), ("accuracy".to_owned(), meter.accuracy())])
    }
}

/// Keeps every checkpoint that is due, and stops after some steps.
#[derive(Default)]
struct Notes {
    always_due: bool,
    stop_after: Option<u64>,
    steps: u64,
    rows: Vec<u32>,
    checkpoints: Vec<Checkpoint>,
}

impl Host for Notes {
    fn step(&mut self, _: &Step) {
        self.steps += 1;
    }

    fn epoch(&mut self, row: &Row) -> Result<()> {
        self.rows.push(row.epoch);
        Ok(())
    }

    fn describe(&self, samples: &[usize]) -> String {
        format!("images {samples:?}")
    }

    fn checkpoint_due(&self) -> bool {
        self.always_due
    }

    fn interrupted(&self) -> bool {
        self.stop_after == Some(self.steps)
    }

    fn save(&mut self, checkpoint: &Checkpoint, _: u32, _: u64) -> Result<()> {
        let Checkpoint { tensors, position } = checkpoint;
        self.checkpoints.push(Checkpoint { tensors: tensors.clone(), position: position.clone() });
        Ok(())
    }
}

/// A stage without files.
struct Stage {
    model: Model,
    settings: pipeline::Train,
    table: ParameterTable,
    source: State,
    twist: Twist,
    feed: Noise,
    first_layer: usize,
}

const ADAMW: &str = "from = \"x\"\noptimizer = { kind = \"adamw\", lr = 1e-3 }\n";

impl Stage {
    /// A stage of two epochs, unless `settings` says otherwise.
    fn new(arch: pipeline::Arch, settings: &str) -> Self {
        let epochs = if settings.contains("\nepochs") { "" } else { "epochs = 2\n" };
        let settings: pipeline::Train = toml::from_str(&format!("{ADAMW}{epochs}{settings}")).unwrap();
        let head = pipeline::Head::Linear(toml::from_str("dropout = 0.25").unwrap());
        let model = Model::build(
            &pipeline::Model { head, stochastic_depth: 0.5, ..pipeline::Model::of(arch) },
            CLASSES,
        );
        let table = ParameterTable::resolve(&model.description, &settings).unwrap();
        let source = weights::initialize_all(&model.description, 7).unwrap();
        let (twist, feed) = (Twist::None, Noise::images());
        Self { model, settings, table, source, twist, feed, first_layer: 0 }
    }

    fn lite0(settings: &str) -> Self {
        Self::new(pipeline::Arch::EfficientNetLite0, settings)
    }

    fn twisted(twist: Twist) -> Self {
        Self { twist, ..Self::lite0("train = [\"@head\", \"_conv_head\"]") }
    }

    fn fit(&self, from: Option<&Checkpoint>, host: &mut Notes) -> Result<Progress<ClassificationMetrics>> {
        let task = Classify(self.twist);
        let parameters = self.table.rows.iter().filter_map(|row| {
            let (name, lr, weight_decay) = (row.name.clone(), row.lr?, row.weight_decay?);
            Some(Parameter { tensor: row.id, name, lr, weight_decay })
        });
        let optimizer = Optimizer::new(&self.settings.optimizer, parameters)?;
        let tracker = Tracker::new(self.settings.monitor, self.settings.early_stop.clone());
        let mut progress = Progress::start(self.source.clone(), optimizer, tracker, task.meter());
        if let Some(Checkpoint { tensors, position }) = from {
            let checkpoint = Checkpoint { tensors: tensors.clone(), position: position.clone() };
            progress.resume(checkpoint, &self.model.description, &self.table)?;
        }
        let setup = Setup {
            model: &self.model,
            table: &self.table,
            task: &task,
            feed: &self.feed,
            first_layer: self.first_layer,
            seed: 3,
            epochs: self.settings.epochs,
            base_lr: 1e-3,
            schedule: &self.settings.schedule,
            monitor: self.settings.monitor,
        };
        fit(&setup, &mut progress, host).map(|()| progress)
    }

    fn finished(&self) -> Progress<ClassificationMetrics> {
        self.fit(None, &mut Notes::default()).unwrap()
    }

    fn error(&self) -> Error {
        self.fit(None, &mut Notes::default()).err().expect("the stage fails")
    }
}

/// All that a finished stage is, to the bit.
fn bits(progress: &Progress<ClassificationMetrics>) -> String {
    let best = progress.best_state().map(|state| weights::digests(&state).unwrap());
    let optimizer: Vec<_> = progress.optimizer.state().unwrap();
    let (names, tensors): (Vec<_>, Vec<_>) = optimizer.into_iter().unzip();
    format!(
        "{:?} {best:?} {names:?} {:?} {:?} {:?} {:?} {:?} {} {} {} {:?}",
        weights::digests(&progress.state).unwrap(),
        weights::digests(&State { tensors }).unwrap(),
        progress.history,
        progress.best.as_ref().map(|best| &best.meter),
        progress.tracker,
        progress.plateau,
        progress.epoch,
        progress.batch,
        progress.step,
        progress.broken,
    )
}

/// Warm-up, dropout, stochastic depth, norms in both modes and AdamW's averages all move from step to step.
#[test]
fn a_stage_resumed_after_any_step_ends_with_the_same_bits() {
    let settings = "train = [\"@head\", \"_conv_head\", \"_bn1\", \"_blocks.1[2-5]\"]\n\
                    schedule = { kind = \"cosine\", warmup_epochs = 0.5 }";
    let stage = Stage::lite0(settings);
    let whole = stage.finished();
    assert_eq!((whole.step, whole.history.len(), whole.broken.len()), (4, 2, 1));

    let mut checkpoints = Vec::new();
    for step in 1..=whole.step {
        let mut notes = Notes { stop_after: Some(step), ..Notes::default() };
        let error = stage.fit(None, &mut notes).err().expect("it was interrupted");
        assert_eq!(error.kind, crate::error::Kind::Interrupted);
        assert_eq!(
            notes.rows.len() as u64,
            (step - 1) / 2,
            "an epoch is closed after the interruption, once"
        );
        checkpoints.append(&mut notes.checkpoints);
    }
    let mut notes = Notes { always_due: true, ..Notes::default() };
    stage.fit(None, &mut notes).unwrap();
    assert_eq!(notes.checkpoints.len(), 4, "in the middle and at the end of each epoch");
    checkpoints.append(&mut notes.checkpoints);

    for (place, checkpoint) in checkpoints.iter().enumerate() {
        let resumed = stage.fit(Some(checkpoint), &mut Notes::default()).unwrap();
        assert!(bits(&whole) == bits(&resumed), "from checkpoint {place}: {}", checkpoint.position);
    }
}

/// The loss of noise does not fall by half, so that every epoch but the first is on a plateau.
#[test]
fn a_plateau_lowers_the_rate_of_later_epochs_also_when_resumed() {
    let stage = Stage::lite0(
        "train = [\"@head\"]\nepochs = 4\nearly_stop = { patience = 2, min_delta = 0.5 }\n\
         schedule = { kind = \"reduce_on_plateau\", patience = 0, threshold = 0.5 }",
    );
    let mut notes = Notes { always_due: true, ..Notes::default() };
    let whole = stage.fit(None, &mut notes).unwrap();
    let rates: Vec<f64> = whole.history.iter().map(|row| row.lr).collect();
    assert_eq!(rates, [1e-3, 1e-3, 1e-3 * 0.1], "and the second epoch in vain is the last");
    for checkpoint in &notes.checkpoints {
        let resumed = stage.fit(Some(checkpoint), &mut Notes::default()).unwrap();
        assert!(bits(&whole) == bits(&resumed));
    }
}

#[test]
fn a_checkpoint_keeps_numbers_that_are_not_finite() {
    let stage = Stage::twisted(Twist::InfiniteValidation);
    let mut notes = Notes { always_due: true, ..Notes::default() };
    let whole = stage.fit(None, &mut notes).unwrap();
    assert!(whole.best.is_none(), "an infinite loss is never the best");
    let resumed = stage.fit(Some(&notes.checkpoints[1]), &mut Notes::default()).unwrap();
    assert_eq!(resumed.history[0].validation.as_ref().unwrap()["loss"], f64::INFINITY);
    assert!(bits(&whole) == bits(&resumed));
}

#[test]
fn a_parameter_that_would_not_train_is_named() {
    let message = |stage: Stage| stage.error().message;
    insta::assert_snapshot!(
        message(Stage::twisted(Twist::Detached)),
        @"trainable parameter `_conv_head.weight` receives no gradient: the loss does not depend on it"
    );
    let cut_off = Stage {
        feed: Noise { shape: vec![1280], ..Noise::images() },
        first_layer: 18,
        ..Stage::lite0("train = [\"@head\", \"_bn1\"]\nbatch_norm = \"eval\"")
    };
    insta::assert_snapshot!(
        message(cut_off),
        @"trainable parameter `_bn1.weight` receives no gradient: the loss does not depend on it"
    );
    insta::assert_snapshot!(
        message(Stage::twisted(Twist::NanGradient)),
        @"the first gradient of `_conv_head.weight` is not finite"
    );
}

#[test]
fn what_is_not_finite_says_where() {
    insta::assert_snapshot!(
        Stage::twisted(Twist::Infinite).error().message,
        @"the loss is inf in epoch 1, step 2, at a learning rate of 1e-3, on images [2, 1]"
    );
    let ends_badly = Stage { twist: Twist::LateNan, ..Stage::lite0("\nepochs = 1\ntrain = [\"@head\"]") };
    insta::assert_snapshot!(ends_badly.error().message, @"`_fc.weight` is not finite after the last step");
}

/// At so low a rate weights move and accuracy does not: every epoch ties with the first.
#[test]
fn ties_go_to_the_first_epoch_and_a_stage_out_of_patience_stays_stopped() {
    let stage = Stage::lite0(
        "train = [\"@head\"]\nepochs = 9\nmonitor = \"validation/accuracy\"\n\
         groups = [{ match = [\"*\"], lr = 1e-9 }]\nearly_stop = { patience = 2, min_delta = 0.0 }",
    );
    let mut notes = Notes { always_due: true, ..Notes::default() };
    let whole = stage.fit(None, &mut notes).unwrap();
    let bests: Vec<bool> = whole.history.iter().map(|row| row.best).collect();
    assert_eq!(bests, [true, false, false]);
    let head = stage.model.description.id("_fc.weight").unwrap();
    let (best, last) = (whole.best_state().unwrap(), &whole.state);
    assert_ne!(weights::digests(&best).unwrap()[head], weights::digests(last).unwrap()[head]);

    let mut again = Notes::default();
    let resumed = stage.fit(notes.checkpoints.last(), &mut again).unwrap();
    assert_eq!((again.steps, again.rows.len()), (0, 0), "nothing is left to do");
    assert!(bits(&whole) == bits(&resumed));
}

/// What is frozen is not merely equal: it is the very tensor that the stage was given, since nothing wrote it.
#[test]
fn the_frozen_enters_only_as_a_constant_whatever_norms_do() {
    for policy in ["follow", "eval", "train"] {
        let settings = format!("train = [\"@head\", \"_blocks.15\"]\nbatch_norm = \"{policy}\"");
        let stage = Stage { first_layer: 0, ..Stage::lite0(&settings) };
        let (description, progress) = (&stage.model.description, stage.finished());
        let frozen: BTreeSet<usize> = stage.table.frozen(description).into_iter().collect();
        for (id, spec) in description.tensors.iter().enumerate() {
            let same = progress.state.tensors[id].id() == stage.source.tensors[id].id();
            assert_eq!(same, frozen.contains(&id), "`{}` under `{policy}`", spec.name);
        }
        let remembered: BTreeSet<String> =
            progress.optimizer.state().unwrap().into_iter().map(|(name, _)| name).collect();
        let trained: BTreeSet<String> = (stage.table.rows.iter().filter(|row| row.trainable))
            .flat_map(|row| ["step", "exp_avg", "exp_avg_sq"].map(|field| format!("{}.{field}", row.name)))
            .collect();
        assert_eq!(remembered, trained);
        let moving = description.tensors.len() - frozen.len();
        let mut notes = Notes { always_due: true, ..Notes::default() };
        stage.fit(None, &mut notes).unwrap();
        let weights = |prefix| {
            let tensors = &notes.checkpoints.last().unwrap().tensors;
            tensors.iter().filter(|(name, _)| name.starts_with(prefix)).count()
        };
        assert_eq!((weights("model/"), weights("best/")), (moving, moving));
    }
}

#[test]
fn training_has_the_same_bits_on_any_number_of_threads() {
    for arch in [pipeline::Arch::EfficientNetLite0, pipeline::Arch::ResNet18] {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bits(&Stage::new(arch, "\nepochs = 1").finished()))
        };
        let one = on(1);
        assert!(one == on(2), "{arch:?} on two threads");
        assert!(one == on(3), "{arch:?} on three threads");
    }
}

#[test]
fn a_split_that_cannot_be_read_is_no_loss_of_zero() {
    for split in ["training", "validation"] {
        let feed = Noise { unreadable: split, ..Noise::images() };
        let stage = Stage { feed, ..Stage::lite0("train = [\"@head\"]") };
        assert_eq!(stage.error().message, format!("none of the {split} images can be read"));
    }
}
