//! Compares targets of plain and of mixed images with torchvision's.

use candle_core::Device;

use crate::data::{Label, Sample, Split};
use crate::ops::Mixture;
use crate::pipeline::Head;
use crate::task::classification::{ClassTargets, Classification};
use crate::task::multi_label::MultiLabel;
use crate::task::{Annotations, Task, TaskKind, TaskSpec};

fn sample(label: Label) -> Sample {
    Sample { path: "a.png".to_owned(), label, split: Split::Train, digest: None }
}

fn spec<'a>(kind: TaskKind, classes: &'a [String], head: &'a Head) -> TaskSpec<'a> {
    TaskSpec { kind, classes, head, training: None }
}

#[test]
fn mixed_targets_are_torchvision_s() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/data/mixed.safetensors");
    let fixture = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let (classes, head) = (["a", "b", "c"].map(str::to_owned), Head::default());
    let classification = Classification::new(&spec(TaskKind::Classification, &classes, &head));
    let multi_label = MultiLabel::new(&spec(TaskKind::MultiLabel, &classes, &head));
    let samples = [0, 1, 2].map(|class| sample(Label::Class(class)));
    for name in ["mixup", "cutmix"] {
        let expected: Vec<f32> =
            fixture[&format!("{name}.targets")].flatten_all().unwrap().to_vec1().unwrap();
        let share = if name == "mixup" { 0.3 } else { 1.0 - 12.0 / 49.0 };
        let mixed = Annotations { shares: Some(vec![share; 3]), ..Annotations::of(&samples) };
        assert_eq!(multi_label.targets(&mixed).unwrap(), expected, "{name}");
        let ClassTargets::Mixtures(mixtures) = classification.targets(&mixed).unwrap() else {
            panic!("mixed images have two classes each")
        };
        for (mixture, shares) in mixtures.iter().zip(expected.chunks(3)) {
            let [own, other] = mixture.classes.map(|class| f64::from(shares[class as usize]));
            assert!((own - mixture.share).abs() < 1e-6 && (own + other - 1.0).abs() < 1e-6, "{name}");
        }
    }
}

#[test]
fn plain_targets_are_the_annotations() {
    let (classes, head) = (["a", "b", "c"].map(str::to_owned), Head::default());
    let classification = Classification::new(&spec(TaskKind::Classification, &classes, &head));
    let multi_label = MultiLabel::new(&spec(TaskKind::MultiLabel, &classes, &head));
    let one = [2, 0].map(|class| sample(Label::Class(class)));
    let targets = classification.targets(&Annotations::of(&one)).unwrap();
    assert_eq!(targets, ClassTargets::Classes(vec![2, 0]));
    assert_eq!(classification.first(&targets, 1), ClassTargets::Classes(vec![2]));
    let any = [vec![0, 2], vec![]].map(|labels| sample(Label::Labels(labels)));
    let targets = multi_label.targets(&Annotations::of(&any)).unwrap();
    assert_eq!(targets, [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(multi_label.first(&targets, 1), [1.0, 0.0, 1.0]);
    let mixture = Mixture { classes: [1, 2], share: 0.25 };
    assert_eq!(ClassTargets::Mixtures(vec![mixture]).labels()[..], [2]);
}
