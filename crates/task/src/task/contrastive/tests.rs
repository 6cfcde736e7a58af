//! Scores of views, which need no labels.

use candle_core::{Device, Tensor};

use super::Contrastive;
use crate::autograd::Tape;
use crate::model::{Activations, Outputs};
use crate::pipeline::Head;
use crate::task::{Task, TaskKind, TaskSpec};
use crate::train::TrainTask;

fn contrastive() -> Contrastive {
    let head: Head = toml::from_str("kind = \"projection\"\nhidden = 4\nwidth = 2").unwrap();
    Contrastive::new(&TaskSpec { kind: TaskKind::Contrastive, classes: &[], head: &head, training: None })
}

fn outputs(rows: &[[f32; 2]]) -> Outputs {
    let rows = Tensor::from_vec(rows.concat(), (rows.len(), 2), &Device::Cpu).unwrap();
    Outputs::new(&["logits"], Activations::constants([rows])).unwrap()
}

/// The scores of batches.
fn scores(batches: &[&[[f32; 2]]]) -> Vec<(String, f64)> {
    let task = contrastive();
    let mut meter = task.meter();
    for batch in batches {
        let loss = task.loss(&mut Tape::new(), &outputs(batch), &()).unwrap();
        task.update(&mut meter, loss.stats).unwrap();
    }
    let restored: super::meter::ContrastiveMeter = toml::from_str(&toml::to_string(&meter).unwrap()).unwrap();
    assert_eq!(restored, meter, "a checkpoint holds the meter");
    task.scores(&meter).into_iter().collect()
}

#[test]
fn views_that_agree_and_lie_apart_have_the_best_scores() {
    let pairs = [[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 1.0]];
    let found = scores(&[&pairs]);
    let value = |name: &str| found.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(value("contrastive_accuracy"), 1.0);
    assert!(value("alignment").abs() < 1e-12);
    // Of three other views, one is equal and two are at a squared distance of 2.
    let uniformity = ((1.0 + 2.0 * (-4f64).exp()) / 3.0).ln();
    assert!((value("uniformity") - uniformity).abs() < 1e-12);
    let loss = -(1f64.exp() / (1f64.exp() + 2.0)).ln();
    assert!((value("loss") - loss).abs() < 1e-12);
    let declared: Vec<&str> = contrastive().metrics().history.iter().map(|metric| metric.name).collect();
    assert_eq!(declared.len(), found.len());
    assert!(declared.iter().all(|name| found.iter().any(|(known, _)| known == name)));
}

#[test]
fn a_batch_of_one_image_counts_nothing() {
    let pairs = [[1.0, 0.0], [0.5, 1.0], [0.0, 3.0], [-1.0, 1.0]];
    assert_eq!(scores(&[&pairs, &pairs[..2]]), scores(&[&pairs]));
}
