//! A detector that learns from labels and from a larger detector.

use std::fs;

use serde_json::Value;

use super::detection::squares_with;
use super::project::{Project, document, killed_runs_end_in};

/// A teacher of another size, and two equal students: one with distillation, one with labels only.
const PIPELINE: &str = r#"name = "squares"
seed = 3

[data.squares]
format = "yolo"
root = "squares"
classes = ["red", "blue"]
image_size = 64
split = { folders = { train = "images/train", validation = "images/val" } }

[model.large]
arch = "yolo11s"
head = { kind = "detect" }

[model.small]
arch = "yolo11n"
head = { kind = "detect" }

[defaults.train]
epochs = 2
batch_size = 4
optimizer = { kind = "adamw", lr = 1e-3 }
loss = { kind = "detection" }
augment = { mosaic = {}, close_mosaic = 1, affine = {}, hsv = {}, horizontal_flip = 0.5 }

[stage.start]
kind = "init_weights"
model = "large"

[stage.teacher]
kind = "train"
from = "start"
freeze_first = 22
epochs = 1
augment = {}

[stage.begin]
kind = "init_weights"
model = "small"

[stage.student]
kind = "train"
from = "begin"
distill = { teacher = "teacher@last", temperature = 3, box_weight = 0.5 }

[stage.alone]
kind = "train"
from = "begin"
"#;

fn project() -> Project {
    squares_with(PIPELINE)
}

#[test]
fn a_detector_is_taught_and_its_history_has_the_terms() {
    let project = project();
    let run = project.run(&[]);
    let read = |file: &str| fs::read(run.directory.join("stages").join(file)).unwrap();
    assert_ne!(read("student/last.safetensors"), read("alone/last.safetensors"));
    assert_eq!(document(&project.defrost(&["verify", "squares", "--json"]))["valid"], true);

    let history = |stage: &str| run.read(&format!("stages/{stage}/history.csv"));
    let (taught, alone) = (history("student"), history("alone"));
    let terms = ["train_distill_class_loss", "train_distill_box_loss"];
    let columns: Vec<&str> = taught.lines().next().unwrap().split(',').collect();
    for term in terms {
        let place = columns.iter().position(|column| *column == term).expect(term);
        for row in taught.lines().skip(1) {
            let value: f64 = row.split(',').nth(place).unwrap().parse().unwrap();
            assert!(value > 0.0, "{taught}");
        }
    }
    assert!(!alone.contains("distill") && !taught.contains("validation_distill"), "{alone}");
    let metrics: Value = serde_json::from_slice(&read("student/metrics.json")).unwrap();
    assert!(metrics["last"]["train_distill_box_loss"].as_f64() > Some(0.0), "{metrics:#}");
    assert!(run.read("report.html").contains("training distillation of boxes"));

    let weights = ["--set", "stage.student.distill.class_weight=0.9"];
    assert_eq!(project.misses(&weights), ["student"]);
    assert!(project.misses(&["--set", "stage.student.distill.class_weight=1.0"]).is_empty(), "the default");
    let find = ["lr-find", "colours.toml", "--stage", "student", "--steps", "10", "--json"];
    assert_eq!(document(&project.defrost(&find))["points"].as_array().unwrap().len(), 10);
}

#[test]
fn the_teacher_sees_the_same_images_on_any_threads_and_after_a_kill() {
    let reference = project().run(&["--threads", "2"]).manifest();
    let arguments = ["--threads", "1", "--set", "run.checkpoint_seconds=0"];
    killed_runs_end_in(&reference, project, (&[1, 2], 2), 1, &arguments);
}

#[test]
fn weights_of_other_annotations_are_refused_where_they_are_written() {
    let project = project();
    let refused = |setting: &str| {
        let output = project.defrost(&["validate", "colours.toml", "--set", setting, "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["errors"][0]["message"].as_str().unwrap_or_default().to_owned()
    };
    assert!(refused("stage.student.distill.weight=0.5").contains("`weight` is for classes of whole images"));
    assert!(refused("stage.student.distill.box_weight=0").contains("`temperature` has no effect"));
    let classes = "data.squares.classes=[\"red\"]";
    assert!(!refused(classes).is_empty());
}
