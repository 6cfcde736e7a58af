//! Losses and scores of embeddings, of batches and of a validation.

use candle_core::{Device, Tensor};

use super::MetricLearning;
use super::meter::MetricMeter;
use crate::autograd::{Tape, Value};
use crate::model::{Activations, EMBEDDINGS, Outputs};
use crate::ops::{self, TripletMargin};
use crate::pipeline::{Head, Train};
use crate::task::{Task, TaskKind, TaskSpec, TaskTraining};
use crate::train::{Scores, TrainTask};

const CLASSES: [u32; 6] = [0, 0, 1, 1, 2, 2];

fn task(loss: &str) -> MetricLearning {
    let head: Head = toml::from_str("kind = \"embedding\"\ndimension = 2\nclassifier = false").unwrap();
    let settings = format!("from = \"a\"\nepochs = 1\n{loss}\noptimizer = {{ kind = \"sgd\", lr = 0.1 }}");
    let settings: Train = toml::from_str(&settings).unwrap();
    let training = TaskTraining { settings: &settings, dataset: None };
    let spec =
        TaskSpec { kind: TaskKind::MetricLearning, classes: &[], head: &head, training: Some(training) };
    MetricLearning::new(&spec)
}

fn embeddings(rows: &[[f32; 2]]) -> Tensor {
    Tensor::from_vec(rows.concat(), (rows.len(), 2), &Device::Cpu).unwrap()
}

fn add(task: &MetricLearning, meter: &mut MetricMeter, rows: &[[f32; 2]], classes: &[u32]) {
    let outputs = Outputs::new(&[EMBEDDINGS], Activations::constants([embeddings(rows)])).unwrap();
    let loss = task.loss(&mut Tape::new(), &outputs, &classes.to_vec()).unwrap();
    task.update(meter, loss.stats).unwrap();
}

/// Pairs of a class; the last two lie apart, with one of another class between them.
const ROWS: [[f32; 2]; 6] = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [-1.0, 0.0], [0.0, 0.8]];

fn validated(task: &MetricLearning, batch: usize) -> (MetricMeter, Scores) {
    let mut meter = task.validation_meter();
    for (rows, classes) in ROWS.chunks(batch).zip(CLASSES.chunks(batch)) {
        add(task, &mut meter, rows, classes);
    }
    let meter = task.finalize(meter);
    let scores = task.scores(&meter);
    (meter, scores)
}

#[test]
fn a_validation_compares_all_its_images_whatever_the_batches() {
    for loss in ["loss = { kind = \"triplet\" }", "loss = { kind = \"supcon\" }"] {
        let task = task(loss);
        let (meter, scores) = validated(&task, 6);
        assert_eq!(validated(&task, 2).1, scores);
        assert_eq!(validated(&task, 5).1, scores);
        // Only the first two are nearest to one of their class.
        assert!((scores["rank1"] - 2.0 / 6.0).abs() < 1e-12, "{scores:?}");
        assert!(scores["map"] > scores["rank1"] - 1e-9 && scores["loss"] > 0.0, "{scores:?}");
        let restored: MetricMeter = toml::from_str(&toml::to_string(&meter).unwrap()).unwrap();
        assert_eq!(restored, meter, "a checkpoint holds the meter");
        let declared: Vec<&str> = task.metrics().history.iter().map(|metric| metric.name).collect();
        assert_eq!(declared.len(), scores.len());
        assert!(declared.iter().all(|name| scores.contains_key(*name)));
    }
}

#[test]
fn the_loss_of_a_validation_is_that_of_all_its_images() {
    let rows = Value::constant(embeddings(&ROWS));
    let whole = ops::triplet(&mut Tape::new(), &rows, &CLASSES, TripletMargin::Hard(0.3)).unwrap();
    let found = validated(&task("loss = { kind = \"triplet\", margin = 0.3 }"), 3).1["loss"];
    assert!((found - whole.statistics.loss / 6.0).abs() < 1e-9);
    let soft = ops::triplet(&mut Tape::new(), &rows, &CLASSES, TripletMargin::Soft).unwrap();
    let found = validated(&task("loss = { kind = \"triplet\", soft_margin = true }"), 3).1["loss"];
    assert!((found - soft.statistics.loss / 6.0).abs() < 1e-9);
}

#[test]
fn training_averages_over_the_anchors_of_batches() {
    let task = task("loss = { kind = \"supcon\", temperature = 0.5 }");
    let mut meter = task.meter();
    add(&task, &mut meter, &ROWS, &CLASSES);
    let one = task.scores(&meter);
    assert!(!one.contains_key("map"));
    // A batch without two images of a class counts nothing.
    add(&task, &mut meter, &ROWS[1..3], &CLASSES[1..3]);
    assert_eq!(task.scores(&meter), one);
    add(&task, &mut meter, &ROWS, &CLASSES);
    assert!((task.scores(&meter)["loss"] - one["loss"]).abs() < 1e-12);
}

#[test]
fn weights_that_diverged_have_no_scores() {
    let task = task("loss = { kind = \"triplet\" }");
    let mut meter = task.validation_meter();
    add(&task, &mut meter, &[[f32::NAN, 0.0], [1.0, 0.0], [0.0, 1.0]], &[0, 0, 1]);
    assert!(task.scores(&task.finalize(meter))["loss"].is_nan());
}
