//! The loop on EfficientNet-Lite0 and six images of noise: resumed anywhere, watched, and kept off what is frozen.

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::*;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};
use crate::freeze::ParameterTable;
use crate::metrics::{ClassificationMetrics, TaskMetrics};
use crate::model::{Model, Outputs, Pass, StateDict};
use crate::ops::{
    self,
    testing::{numbers, relative_error},
};
use crate::pipeline;
use crate::ranks::Team;
use crate::weights;

use super::testing::{BATCH, CLASSES, Noise, Notes};

mod branching;
mod gradual;
mod loss_scale;
mod ranks;

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
    /// The gradient is infinite from a scale of 40,000 on, as in a type with a small range.
    Overflow,
    /// The gradient is infinite at any scale.
    AlwaysOverflow,
}

struct Classify(Twist);

struct NanBackward;

impl Backward for NanBackward {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some((grad * f64::NAN)?)])
    }
}

/// Passes on gradients below a limit.
struct OverflowBackward(f64);

impl Backward for OverflowBackward {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let overflows = numbers(&grad)[0] >= self.0;
        Ok(vec![Some(if overflows { (grad * f64::INFINITY)? } else { grad })])
    }
}

impl TrainTask for Classify {
    type Targets = Vec<u32>;
    type Meter = ClassificationMetrics;
    type BatchStats = (Vec<f32>, Vec<u32>, Vec<f64>);

    fn meter(&self) -> ClassificationMetrics {
        ClassificationMetrics::new(CLASSES)
    }

    fn metrics(&self) -> &'static TaskMetrics {
        &TaskMetrics::NONE
    }

    fn update(&self, meter: &mut Self::Meter, (scores, labels, losses): Self::BatchStats) -> Result<()> {
        meter.update(&scores, &labels, &losses)
    }

    fn pack(&self, _: &Self::Meter, (scores, labels, losses): Self::BatchStats) -> Result<Readings> {
        let widened = scores.into_iter().map(f64::from).collect();
        Ok(vec![widened, labels.into_iter().map(f64::from).collect(), losses])
    }

    fn unpack(&self, readings: Readings) -> Result<Self::BatchStats> {
        let [scores, labels, losses] = readings.try_into().map_err(|_| Error::bug("other columns"))?;
        let narrow = scores.into_iter().map(|score| score as f32).collect();
        Ok((narrow, labels.into_iter().map(|label| label as u32).collect(), losses))
    }

    fn loss(
        &self,
        tape: &mut Tape,
        outputs: &Outputs,
        targets: &Vec<u32>,
    ) -> Result<BatchLoss<Self::BatchStats>> {
        let output = outputs.logits()?;
        let (loss, losses) = ops::cross_entropy(tape, output, targets, 0.0)?;
        let mut losses = losses.wait()?;
        if self.0 == Twist::InfiniteValidation && output.is_constant() {
            losses[0] = f64::INFINITY;
        }
        let scores: Vec<f32> = output.tensor().flatten_all()?.to_vec1()?;
        let tensor = loss.tensor().clone();
        let loss = match self.0 {
            Twist::None | Twist::InfiniteValidation => loss,
            Twist::Detached => Value::constant(tensor),
            Twist::Overflow => tape.record(&[&loss], tensor, || OverflowBackward(4e4)),
            Twist::AlwaysOverflow => tape.record(&[&loss], tensor, || OverflowBackward(0.0)),
            Twist::NanGradient => tape.record(&[&loss], tensor, || NanBackward),
            Twist::LateNan if targets.len() < BATCH => tape.record(&[&loss], tensor, || NanBackward),
            Twist::LateNan => loss,
            Twist::Infinite if targets.len() == BATCH => loss,
            Twist::Infinite => Value::constant((tensor + f64::INFINITY)?),
        };
        Ok(BatchLoss { mean: loss, weight: targets.len() as f64, stats: (scores, targets.clone(), losses) })
    }

    fn progress(&self, meter: &ClassificationMetrics) -> Scores {
        self.scores(meter)
    }

    fn scores(&self, meter: &ClassificationMetrics) -> Scores {
        Scores::from([("loss".to_owned(), meter.loss()), ("accuracy".to_owned(), meter.accuracy())])
    }
}

/// A stage without files.
struct Stage {
    model: Model,
    settings: pipeline::Train,
    table: ParameterTable,
    source: StateDict,
    twist: Twist,
    batch_source: Noise,
    loss_scale: Option<LossScale>,
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
        let (twist, batch_source) = (Twist::None, Noise::images());
        Self { model, settings, table, source, twist, batch_source, loss_scale: None }
    }

    fn lite0(settings: &str) -> Self {
        Self::new(pipeline::Arch::EfficientNetLite0, settings)
    }

    fn twisted(twist: Twist) -> Self {
        Self { twist, ..Self::lite0("train = [\"@head\", \"_conv_head\"]") }
    }

    fn fit(
        &self,
        from: Option<&TrainCheckpoint>,
        callbacks: &mut Notes,
    ) -> Result<TrainProgress<ClassificationMetrics>> {
        self.fit_with(Team::alone(), from, callbacks)
    }

    /// As one of several ranks.
    fn fit_with(
        &self,
        team: &Team,
        from: Option<&TrainCheckpoint>,
        callbacks: &mut Notes,
    ) -> Result<TrainProgress<ClassificationMetrics>> {
        let task = Classify(self.twist);
        let parameters = self.table.rows.iter().filter_map(|row| {
            let (name, lr, weight_decay) = (row.name.clone(), row.lr?, row.weight_decay?);
            let (after_epochs, warmup_steps) = (row.after_epochs, 2 * row.warmup_epochs as u64);
            Some(OptimizerParameter {
                tensor: row.id,
                name,
                lr,
                weight_decay,
                after_epochs,
                warmup_steps,
                is_bias: row.is_bias,
            })
        });
        let optimizer = Optimizer::new(&self.settings.optimizer, parameters)?;
        let context = TrainContext {
            model: &self.model,
            table: &self.table,
            task: &task,
            batch_source: &self.batch_source,
            seed: 3,
            settings: &self.settings,
            team,
        };
        let mut progress = TrainProgress::start(&context, self.source.clone(), optimizer);
        progress.loss_scale.clone_from(&self.loss_scale);
        if let Some(TrainCheckpoint { tensors, position }) = from {
            let checkpoint = TrainCheckpoint { tensors: tensors.clone(), position: position.clone() };
            progress.resume(checkpoint, &self.model.description, &self.table)?;
        }
        fit(&context, &mut progress, callbacks).map(|()| progress)
    }

    fn finished(&self) -> TrainProgress<ClassificationMetrics> {
        self.fit(None, &mut Notes::default()).unwrap()
    }

    fn error(&self) -> Error {
        self.fit(None, &mut Notes::default()).err().expect("the stage fails")
    }
}

/// All that a finished stage is, to the bit.
fn bits(progress: &TrainProgress<ClassificationMetrics>) -> String {
    let best = progress.best_state().map(|state| weights::digests(&state).unwrap());
    let optimizer: Vec<_> = progress.optimizer.state().unwrap();
    let (names, tensors): (Vec<_>, Vec<_>) = optimizer.into_iter().unzip();
    format!(
        "{:?} {:?} {best:?} {names:?} {:?} {:?} {:?} {:?} {:?} {} {} {} {:?}",
        weights::digests(&progress.state).unwrap(),
        weights::digests(&progress.final_state()).unwrap(),
        weights::digests(&StateDict { tensors }).unwrap(),
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
        assert_eq!(error.kind, crate::error::ErrorKind::Interrupted);
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

/// After each batch, and ahead of each batch of a validation.
#[test]
fn a_stage_stopped_wherever_it_may_be_ends_with_the_same_bits() {
    let stage = Stage::lite0("train = [\"@head\", \"_conv_head\"]\naccumulate = 2");
    let mut notes = Notes::default();
    let whole = stage.fit(None, &mut notes).unwrap();
    assert!(notes.asked.get() > notes.steps, "it may be stopped while it validates");
    for stop in 1..=notes.asked.get() {
        let mut notes = Notes { stop_at: Some(stop), ..Notes::default() };
        let error = stage.fit(None, &mut notes).err().expect("it was interrupted");
        assert_eq!((error.kind, notes.checkpoints.len()), (crate::error::ErrorKind::Interrupted, 1));
        let resumed = stage.fit(notes.checkpoints.last(), &mut Notes::default()).unwrap();
        assert!(bits(&whole) == bits(&resumed), "stopped at {stop}");
    }
}

/// Six images are batches of 2, 2 and 2: an optimizer step on two of them, and one on the last.
#[test]
fn a_stage_resumed_between_batches_of_one_step_ends_with_the_same_bits() {
    let settings = "train = [\"@head\", \"_conv_head\", \"_bn1\"]\naccumulate = 2\nclip_norm = 0.1\n\
                    ema = { decay = 0.9 }\nschedule = { kind = \"one_cycle\" }";
    let batch_source = Noise { batch_size: 2, ..Noise::images() };
    let stage = Stage { batch_source, ..Stage::lite0(settings) };
    let whole = stage.finished();
    assert_eq!((whole.step, whole.history.len()), (4, 2));
    for batch in 1..=6 {
        let mut notes = Notes { stop_after: Some(batch), ..Notes::default() };
        assert!(stage.fit(None, &mut notes).is_err(), "it was interrupted");
        let resumed = stage.fit(notes.checkpoints.last(), &mut Notes::default()).unwrap();
        assert!(bits(&whole) == bits(&resumed), "after batch {batch}");
    }
}

/// Dropout draws by sample, and all norms are frozen: only rounding is left between the two.
#[test]
fn accumulated_batches_make_the_step_of_one_large_batch() {
    let after = |batch_size: usize, accumulate: u32| {
        let batch_source = Noise { batch_size, ..Noise::images() };
        let settings = format!("train = [\"@head\"]\naccumulate = {accumulate}");
        let stage = Stage { batch_source, ..Stage::lite0(&settings) };
        let (head, progress) = (stage.model.description.id("_fc.weight").unwrap(), stage.finished());
        (progress.step, progress.state.tensors[head].clone())
    };
    let (large, accumulated, apart) = (after(6, 1), after(4, 2), after(4, 1));
    assert_eq!((large.0, accumulated.0, apart.0), (2, 2, 4));
    assert!(relative_error(&accumulated.1, &large.1) < 1e-5);
    assert!(relative_error(&apart.1, &large.1) > 1e-3);
}

#[test]
fn a_norm_that_is_never_reached_clips_no_bit_and_one_that_is_not_finite_is_an_error() {
    let settings = "\nepochs = 1\ntrain = [\"@head\"]";
    let clipped = |clip: &str| bits(&Stage::lite0(&format!("{settings}\n{clip}")).finished());
    assert!(clipped("") == clipped("clip_norm = 1e9"));
    assert!(clipped("") != clipped("clip_norm = 1e-3"));
    let stage = Stage { twist: Twist::LateNan, ..Stage::lite0(&format!("{settings}\nclip_norm = 1.0")) };
    insta::assert_snapshot!(
        stage.error().message,
        @"the norm of the gradients is NaN in epoch 1, step 2"
    );
}

/// The weights of three steps, averaged by hand; the running statistics of `_bn1` go with them.
#[test]
fn an_average_follows_what_trains_and_shares_what_does_not() {
    let stage = Stage::lite0("train = [\"_bn1\", \"@head\"]");
    let description = &stage.model.description;
    let id = |name: &str| description.id(name).unwrap();
    let (head, mean, count) = (id("_fc.bias"), id("_bn1.running_mean"), id("_bn1.num_batches_tracked"));
    let slow = [1.0, 2.0, 3.0].map(|step: f64| 0.75 * (1.0 - (-step / 2.0).exp()));
    let kinds =
        [(false, None, [0.75; 3]), (true, None, [2.0 / 11.0, 0.25, 4.0 / 13.0]), (true, Some(2.0), slow)];
    for (warmup, time_constant, decays) in kinds {
        let ema = pipeline::Ema { decay: 0.75, warmup, time_constant };
        let mut average = ema::EmaWeights::start(&ema, &stage.source, description, &stage.table);
        let mut state = stage.source.clone();
        let mut expected = [head, mean].map(|id| numbers(&state.tensors[id]));
        for (step, decay) in (1..).zip(decays) {
            for (id, expected) in [head, mean].into_iter().zip(&mut expected) {
                state.tensors[id] = (&state.tensors[id] + f64::from(step)).unwrap();
                let present = numbers(&state.tensors[id]).into_iter();
                *expected =
                    expected.iter().zip(present).map(|(e, p)| decay * e + (1.0 - decay) * p).collect();
            }
            state.tensors[count] = (&state.tensors[count] + 1.0).unwrap();
            average.update(&state, step as u64).unwrap();
        }
        let result = average.averaged(&state);
        for (id, expected) in [head, mean].into_iter().zip(&expected) {
            let actual = numbers(&result.tensors[id]).into_iter();
            assert!(actual.zip(expected).all(|(a, e)| (a - e).abs() < 1e-5), "warmup {warmup}");
        }
        assert_eq!(result.tensors[count].to_scalar::<i64>().unwrap(), 3);
        for id in stage.table.frozen(description) {
            assert_eq!(result.tensors[id].id(), stage.source.tensors[id].id());
        }
    }
}

#[test]
fn the_average_is_what_is_validated_and_kept() {
    let stage = Stage::lite0("\nepochs = 1\ntrain = [\"@head\"]\nema = { decay = 0.5, warmup = false }");
    let averaged = stage.finished();
    let plain = Stage::lite0("\nepochs = 1\ntrain = [\"@head\"]").finished();
    let digests = |state: &StateDict| weights::digests(state).unwrap();
    assert_eq!(digests(&averaged.state), digests(&plain.state), "training itself is the same");
    assert_eq!(digests(&averaged.best_state().unwrap()), digests(&averaged.final_state()));
    assert_ne!(digests(&averaged.final_state()), digests(&plain.final_state()));
    assert_ne!(averaged.history[0].validation, plain.history[0].validation);
    assert_eq!(averaged.history[0].train, plain.history[0].train);
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
        batch_source: Noise { shape: vec![1280], layer: 18, ..Noise::images() },
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
        let stage = Stage::lite0(&settings);
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
        let batch_source = Noise { unreadable: split, ..Noise::images() };
        let stage = Stage { batch_source, ..Stage::lite0("train = [\"@head\"]") };
        assert_eq!(stage.error().message, format!("none of the {split} images can be decoded"));
    }
}
