//! Batches that are combined in one optimizer step give the step of one large batch, for every kind of mean in the
//! loss.

use super::support::{CLASSES, Noise, Notes};
use crate::error::Result;
use crate::freeze::ParameterTable;
use crate::model::Model;
use crate::ops::{Mixture, testing::numbers};
use crate::pipeline;
use crate::task::classification::{ClassTargets, Classification};
use crate::task::multi_label::MultiLabel;
use crate::task::{Task, TaskKind, TaskSpec, TaskTraining};
use crate::train::{Optimizer, TrainCheckpoint, TrainContext, TrainProgress, fit};
use crate::weights;
use defrost_ranks::ranks::{Team, thread_ranks};

/// The annotations of the noise images.
#[derive(Clone, Copy, PartialEq)]
enum Shows {
    Classes,
    Mixtures,
    Labels,
}

fn class(sample: usize) -> u32 {
    (sample % CLASSES) as u32
}

fn classes(samples: &[usize]) -> ClassTargets {
    ClassTargets::Classes(samples.iter().map(|sample| class(*sample)).collect())
}

fn mixtures(samples: &[usize]) -> ClassTargets {
    let mixture = |&sample: &usize| Mixture {
        classes: [class(sample), class(sample / 2)],
        share: 0.1 + 0.13 * sample as f64,
    };
    ClassTargets::Mixtures(samples.iter().map(mixture).collect())
}

fn labels(samples: &[usize]) -> Vec<f32> {
    let shares = |sample: usize| (0..CLASSES).map(move |label| (sample >> label & 1) as f32);
    samples.iter().flat_map(|sample| shares(*sample)).collect()
}

/// A stage that trains the head of a network on these annotations.
struct Scene {
    head: &'static str,
    loss: &'static str,
    shows: Shows,
    taught: bool,
}

const LINEAR: &str = "kind = \"linear\"\ndropout = 0.25";
const COSINES: &str = "kind = \"embedding\"\ndimension = 8\nbatch_norm = false\nscale = 16";
const WEIGHTS: &str = "class_weights = { a = 1, b = 50, c = 0.1 }";

/// The result of a stage.
struct Ended {
    /// The digests of all weights.
    digests: Vec<String>,
    /// The numbers of the head.
    head: Vec<f64>,
    /// The training loss of each epoch.
    losses: Vec<f64>,
}

impl Scene {
    fn fit(&self, batches: [usize; 2], from: Option<TrainCheckpoint>, notes: &mut Notes) -> Result<Ended> {
        self.fit_with(Team::alone(), batches, from, notes)
    }

    /// As one of several ranks.
    fn fit_with(
        &self,
        team: &Team,
        [batch_size, accumulate]: [usize; 2],
        from: Option<TrainCheckpoint>,
        notes: &mut Notes,
    ) -> Result<Ended> {
        let distill = if self.taught { "distill = { teacher = \"t@last\", weight = 0.3 }" } else { "" };
        let settings: pipeline::Train = toml::from_str(&format!(
            "from = \"x\"\nepochs = 2\ntrain = [\"@head\"]\nbatch_size = {batch_size}\naccumulate = {accumulate}\n\
             optimizer = {{ kind = \"sgd\", lr = 0.05, momentum = 0.9 }}\nloss = {{ {} }}\n{distill}",
            self.loss.replace("WEIGHTS", WEIGHTS)
        ))
        .unwrap();
        let head: pipeline::Head = toml::from_str(self.head).unwrap();
        let spec = TaskSpec {
            kind: if self.shows == Shows::Labels { TaskKind::MultiLabel } else { TaskKind::Classification },
            classes: &["a", "b", "c"].map(str::to_owned),
            head: &head,
            training: Some(TaskTraining { settings: &settings, dataset: None }),
        };
        match self.shows {
            Shows::Classes => self.with(team, &Classification::new(&spec), classes, &spec, from, notes),
            Shows::Mixtures => self.with(team, &Classification::new(&spec), mixtures, &spec, from, notes),
            Shows::Labels => self.with(team, &MultiLabel::new(&spec), labels, &spec, from, notes),
        }
    }

    fn with<T: Task>(
        &self,
        team: &Team,
        task: &T,
        targets: fn(&[usize]) -> T::Targets,
        spec: &TaskSpec,
        from: Option<TrainCheckpoint>,
        notes: &mut Notes,
    ) -> Result<Ended> {
        let settings = spec.training.unwrap().settings;
        let head = spec.head.clone();
        let arch = pipeline::Model::of(pipeline::Arch::EfficientNetLite0);
        let model = Model::build(&pipeline::Model { head, ..arch }, CLASSES);
        let table = ParameterTable::resolve(&model.description, settings).unwrap();
        let layer = model.head_layer();
        let feed = Noise { layer, batch_size: settings.batch_size, targets, taught: self.taught };
        let train_context =
            TrainContext { model: &model, table: &table, task, batch_source: &feed, seed: 3, settings, team };
        let optimizer = Optimizer::for_table(&settings.optimizer, &table, train_context.steps_per_epoch())?;
        let state = weights::initialize_all(&model.description, 7)?;
        let mut progress = TrainProgress::start(&train_context, state, optimizer);
        if let Some(checkpoint) = from {
            progress.resume(checkpoint, &model.description, &table)?;
        }
        fit(&train_context, &mut progress, notes)?;
        let head = model.description.tensors.iter().zip(&progress.state.tensors);
        let head = head.filter(|(spec, _)| spec.layer == layer).flat_map(|(_, tensor)| numbers(tensor));
        Ok(Ended {
            digests: weights::digests(&progress.state)?.iter().map(|digest| digest.to_string()).collect(),
            head: head.collect(),
            losses: progress.history.iter().map(|row| row.train["loss"]).collect(),
        })
    }

    fn head(&self, batches: [usize; 2]) -> (Vec<f64>, Vec<f64>) {
        let ended = self.fit(batches, None, &mut Notes::default()).unwrap();
        (ended.head, ended.losses)
    }
}

const SCENES: [(&str, &str, Shows, bool); 13] = [
    (LINEAR, "kind = \"cross_entropy\"", Shows::Classes, false),
    (LINEAR, "kind = \"cross_entropy\", WEIGHTS", Shows::Classes, false),
    (LINEAR, "kind = \"cross_entropy\", label_smoothing = 0.2, WEIGHTS", Shows::Classes, false),
    (LINEAR, "kind = \"cross_entropy\", label_smoothing = 0.2, WEIGHTS", Shows::Mixtures, false),
    (LINEAR, "kind = \"cross_entropy\"", Shows::Mixtures, false),
    (LINEAR, "kind = \"focal\", WEIGHTS", Shows::Classes, false),
    (LINEAR, "kind = \"focal\", gamma = 1.5, WEIGHTS", Shows::Mixtures, false),
    (COSINES, "kind = \"arcface\", margin = 0.3, WEIGHTS", Shows::Classes, false),
    (COSINES, "kind = \"cosface\", margin = 0.2, WEIGHTS", Shows::Mixtures, false),
    (LINEAR, "kind = \"bce\", positive_weights = { a = 1, b = 50, c = 0.1 }", Shows::Labels, false),
    (LINEAR, "kind = \"cross_entropy\"", Shows::Classes, true),
    (LINEAR, "kind = \"cross_entropy\", WEIGHTS", Shows::Classes, true),
    (LINEAR, "kind = \"focal\", WEIGHTS", Shows::Mixtures, true),
];

fn scenes() -> impl Iterator<Item = Scene> {
    SCENES.into_iter().map(|(head, loss, shows, taught)| Scene { head, loss, shows, taught })
}

/// With a teacher and class weights, each batch has two gradients.
#[test]
fn ranks_train_to_the_bits_of_one_process_under_every_loss() {
    for scene in scenes() {
        let alone = scene.fit([1, 6], None, &mut Notes::default()).unwrap();
        for ranks in [2, 3] {
            let ended = thread_ranks(ranks, |rank| {
                scene.fit_with(&Team::new(&rank), [1, 6], None, &mut Notes::default()).unwrap()
            });
            for Ended { digests, losses, .. } in ended {
                assert_eq!(
                    (digests, losses),
                    (alone.digests.clone(), alone.losses.clone()),
                    "{}",
                    scene.loss
                );
            }
        }
    }
}

fn apart(some: &[f64], other: &[f64]) -> f64 {
    let largest = other.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    some.iter().zip(other).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max) / largest
}

/// Six images in one batch, one at a time, in batches of 4 and 2, or in batches of 5 and 1.
#[test]
fn joined_batches_are_one_large_batch_under_every_loss() {
    for scene in scenes() {
        let (head, losses) = scene.head([6, 1]);
        for batches in [[1, 6], [4, 2], [5, 2]] {
            let (joined, joined_losses) = scene.head(batches);
            let far = apart(&joined, &head);
            assert!(far < 3e-6, "{} in batches of {batches:?}: {far:e}", scene.loss);
            assert!(apart(&joined_losses, &losses) < 1e-6, "the history's losses: {}", scene.loss);
        }
        let separate = apart(&scene.head([1, 1]).0, &head);
        assert!(separate > 1e-3, "steps of their own are others: {} {separate:e}", scene.loss);
    }
}

#[test]
fn a_stage_resumed_amid_joined_batches_ends_with_the_same_bits_under_every_loss() {
    for scene in scenes() {
        let whole = scene.fit([2, 3], None, &mut Notes::default()).unwrap().digests;
        for batch in [1, 2, 4, 5] {
            let mut notes = Notes { stop_after: Some(batch), ..Notes::default() };
            assert!(scene.fit([2, 3], None, &mut notes).is_err(), "it was interrupted");
            let resumed = scene.fit([2, 3], notes.checkpoint, &mut Notes::default()).unwrap().digests;
            assert!(resumed == whole, "{} after batch {batch}", scene.loss);
        }
    }
}

/// A learning rate range test reports the loss of the whole step.
#[test]
fn a_step_says_what_each_batch_counts() {
    let scene = Scene {
        head: LINEAR,
        loss: "kind = \"cross_entropy\", WEIGHTS",
        shows: Shows::Classes,
        taught: true,
    };
    let step = |batches| {
        let mut notes = Notes::default();
        scene.fit(batches, None, &mut notes).unwrap();
        notes.parts
    };
    let whole = &step([6, 1])[0];
    let joined = &step([1, 6])[..6];
    let mean = |part: usize| {
        let weight: f64 = joined.iter().map(|parts| parts[part].weight).sum();
        joined.iter().map(|parts| parts[part].loss * parts[part].weight).sum::<f64>() / weight
    };
    assert_eq!((whole.len(), joined[0].len()), (1, 2));
    assert!(((mean(0) + mean(1)) / whole[0].loss - 1.0).abs() < 1e-6);
}
