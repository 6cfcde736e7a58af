//! A student that learns from labels and a frozen teacher.

use crate::project::{Project, Run, document};
use serde_json::Value;

/// A teacher of one architecture, and two equal students: one with distillation, one with labels only.
const PIPELINE: &str = r#"name = "colours"
seed = 7

[data.photos]
format     = "image_folder"
root       = "photos"
image_size = 32
resize     = 32
split      = { validation = 0.25, test = 0.25, seed = 0 }

[model.large]
arch = "efficientnet_lite0"

[model.small]
arch = "resnet18"

[defaults.train]
batch_size = 5
epochs     = 1
train      = ["@head"]
optimizer  = { kind = "adamw", lr = 1e-2 }

[stage.start]
kind  = "init_weights"
model = "large"

[stage.teacher]
kind = "train"
from = "start"

[stage.begin]
kind  = "init_weights"
model = "small"

[stage.student]
kind    = "train"
from    = "begin"
epochs  = 2
augment = { horizontal_flip = 0.5, mixup = {} }
distill = { teacher = "teacher@best", temperature = 2 }

[stage.alone]
kind    = "train"
from    = "begin"
epochs  = 2
augment = { horizontal_flip = 0.5, mixup = {} }

[stage.test]
kind = "evaluate"
from = "student@best"
"#;

fn project() -> Project {
    let project = Project::new();
    project.write(PIPELINE);
    project
}

#[test]
fn a_student_is_taught_and_its_teacher_stays_what_it_was() {
    let project = project();
    let first = project.run(&["--until", "teacher"]);
    let before = std::fs::read(first.directory.join("stages/teacher/best.safetensors")).unwrap();
    let run = project.run(&[]);
    assert_eq!(run.those("ran"), ["begin", "student", "alone", "test"]);
    let read = |file: &str| std::fs::read(run.directory.join("stages").join(file)).unwrap();
    assert_eq!(read("teacher/best.safetensors"), before);
    assert_ne!(read("student/last.safetensors"), read("alone/last.safetensors"));
    assert_eq!(document(&project.defrost(&["verify", "colours", "--json"]))["valid"], true);

    let plan: Value = serde_json::from_str(&run.read("plan.json")).unwrap();
    let student = plan["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "student").unwrap();
    assert_eq!(student["source"], "stages/begin/model.safetensors");
    assert_eq!(student["other_sources"], serde_json::json!(["stages/teacher/best.safetensors"]));
    assert!(run.read("report.html").contains("from begin, teacher@best"));

    assert_eq!(project.misses(&["--set", "stage.student.distill.weight=0.9"]), ["student", "test"]);
    let taught = ["teacher", "student", "test"];
    assert_eq!(project.misses(&["--set", "stage.teacher.optimizer.lr=1e-3"]), taught);
    let find = ["lr-find", "colours.toml", "--stage", "student", "--steps", "10", "--json"];
    assert_eq!(document(&project.defrost(&find))["points"].as_array().unwrap().len(), 10);
}

#[test]
fn where_the_teacher_alone_counts_the_labels_move_nothing() {
    let project = project();
    let all = ["--set", "stage.student.distill.weight=1", "--until", "student"];
    let smoothed = ["--set", "stage.student.loss = { kind = \"cross_entropy\", label_smoothing = 0.4 }"];
    let (one, other) = (project.run(&all), project.run(&[&all[..], &smoothed].concat()));
    assert_eq!(other.those("ran"), ["student"]);
    let read =
        |run: &Run, file: &str| std::fs::read(run.directory.join("stages/student").join(file)).unwrap();
    assert!(read(&one, "last.safetensors") == read(&other, "last.safetensors"));
    assert!(read(&one, "history.csv") != read(&other, "history.csv"));
}

#[test]
fn a_teacher_of_other_classes_or_images_is_refused() {
    let project = Project::new();
    let few = "[data.few]\nformat = \"image_folder\"\nroot = \"photos\"\nclasses = [\"red\", \"blue\"]\nimage_size = 32\n\
               split = { validation = 0.25, test = 0.25, seed = 0 }\n\n[model.large]";
    let mut text = PIPELINE.replace("[model.large]", few);
    for stage in ["begin", "student", "alone", "test"] {
        text = text.replace(&format!("[stage.{stage}]\n"), &format!("[stage.{stage}]\ndata = \"photos\"\n"));
    }
    let text = text.replace("[stage.start]\n", "[stage.start]\ndata = \"few\"\n");
    project.write(&text.replace("[stage.teacher]\n", "[stage.teacher]\ndata = \"few\"\n"));
    let found = |arguments: &[&str]| -> (String, String) {
        let output = project.defrost(&[&["validate", "colours.toml", "--json"], arguments].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let error = &report["errors"][0];
        assert_eq!(report["errors"].as_array().unwrap().len(), 1, "{report}");
        let text = |key: &str| error[key].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    };
    let (code, message) = found(&[]);
    assert_eq!(code, "class-list", "{message}");
    assert!(
        message.starts_with("the teacher `teacher@best` predicts `red`, `blue`, but this stage"),
        "{message}"
    );
    let same = "data.few.classes=[\"blue\", \"green\", \"red\"]";
    let (code, message) = found(&["--set", same, "--set", "data.few.normalize=inception"]);
    assert_eq!(code, "normalize", "{message}");
}
