//! The scores that a task declares are those that it computes.

use candle_core::{Device, Tensor};

use crate::autograd::Tape;
use crate::data::Geometry;
use crate::model::{Activations, EMBEDDINGS, LOGITS, Outputs};
use crate::pipeline::{Head, Monitor};
use crate::task::{Annotations, Task, TaskKind, TaskSpec, TaskVisitor};

/// The names of the validation scores, of those shown as progress, and of those that can be monitored.
struct Names;

impl TaskVisitor for Names {
    type Output = [Vec<String>; 3];

    fn visit<T: Task>(self, task: T) -> Self::Output {
        let mut meter = task.validation_meter();
        let outputs = outputs();
        let targets = task.synthetic_targets(2);
        let loss = task.loss(&mut Tape::new(), &outputs, &targets).unwrap();
        task.update(&mut meter, loss.stats).unwrap();
        let annotations = two_pictures();
        let predicted = task.predict(&outputs, &annotations);
        assert_eq!(predicted.map(|rows| rows.len()).ok(), T::PREDICTS.then_some(2));
        let names = |scores: crate::train::Scores| scores.into_keys().collect();
        let mut monitored: Vec<String> =
            task.metrics().history.iter().map(|metric| metric.name.to_owned()).collect();
        monitored.sort();
        [names(task.scores(&meter)), names(task.progress(&meter)), monitored]
    }
}

/// The outputs of two images, of heads for classes, for boxes and for embeddings.
fn outputs() -> Outputs {
    const NAMES: [&str; 8] = [
        LOGITS,
        "box_logits_8",
        "class_logits_8",
        "box_logits_16",
        "class_logits_16",
        "box_logits_32",
        "class_logits_32",
        EMBEDDINGS,
    ];
    let logits = Tensor::new(&[[0.5f32, -1.0], [0.0, 2.0]], &Device::Cpu).unwrap();
    let maps = [4, 2, 1].into_iter().flat_map(|side| [64, 2].map(|channels| (side, channels)));
    let maps =
        maps.map(|(side, channels)| Tensor::full(0.25f32, (2, side, side, channels), &Device::Cpu).unwrap());
    Outputs::new(&NAMES, Activations::constants(std::iter::once(logits.clone()).chain(maps).chain([logits])))
        .unwrap()
}

fn two_pictures() -> Annotations<'static> {
    let mut annotations = Annotations::of_picture(Geometry::identity((32, 32)));
    annotations.objects = annotations.objects.map(|objects| [objects.clone(), objects].concat());
    annotations
}

#[test]
fn every_score_of_a_validation_may_be_monitored_and_no_other() {
    let (classes, head) = (["a", "b"].map(str::to_owned), Head::default());
    for kind in TaskKind::ALL {
        let spec = TaskSpec { kind, classes: &classes, head: &head, training: None };
        let [scores, progress, monitored] = spec.visit(Names);
        // Average precision is of objects, and synthetic images are of no data set.
        let monitored: Vec<String> = match kind {
            // Distillation is measured in training only.
            TaskKind::Detection => {
                let of_labels = |name: &String| name.contains("loss") && !name.contains("distill");
                monitored.into_iter().filter(of_labels).collect()
            }
            // These are measured only where they are monitored.
            TaskKind::Classification => {
                monitored.into_iter().filter(|name| !["auc", "map"].contains(&name.as_str())).collect()
            }
            TaskKind::MultiLabel => monitored.into_iter().filter(|name| name != "auc").collect(),
            _ => monitored,
        };
        assert_eq!(scores, monitored, "{kind:?}");
        assert!(progress.iter().all(|name| scores.contains(name)), "{kind:?}");
        assert!(monitored.iter().any(|name| name == Monitor::default().score()), "{kind:?}");
    }
}

#[test]
fn a_task_is_known_by_its_recipe() {
    for kind in TaskKind::ALL {
        let mut model = serde_json::json!({ "arch": "resnet18" });
        if let Some(field) = kind.recipe_field() {
            model[field] = true.into();
        }
        assert_eq!(TaskKind::of_recipe(&model), kind);
    }
}
