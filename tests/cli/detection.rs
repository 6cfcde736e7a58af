//! Object detection through the binary: training with a mosaic, frozen layers, evaluation, prediction and resuming.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::project::{Project, document};

pub const PIPELINE: &str = r#"
name = "squares"
seed = 3

[data.squares]
format = "yolo"
root = "squares"
classes = ["red", "blue"]
image_size = 64
split = { folders = { train = "images/train", validation = "images/val" } }

[model.net]
arch = "yolo11n"
head = { kind = "detect" }

[stage.start]
kind = "init_weights"

[stage.fit]
kind = "train"
from = "start"
freeze_first = 3
epochs = 2
batch_size = 4
optimizer = { kind = "adamw", lr = 1e-3 }
loss = { kind = "detection" }
monitor = "validation/ap50"
augment = { mosaic = {}, close_mosaic = 1, affine = {}, hsv = {}, horizontal_flip = 0.5 }

[stage.check]
kind = "evaluate"
from = "fit@last"
split = "validation"
"#;

/// Grey pictures with one square each, whose colour is its class; one picture has none.
pub fn squares(root: &Path, training: u32) {
    for (split, count) in [("train", training), ("val", 4)] {
        let [images, labels] = ["images", "labels"].map(|kind| root.join("squares").join(kind).join(split));
        [&images, &labels].into_iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        for number in 0..count {
            let (left, top, side) = (5 + number * 2 % 40, 4 + number * 3 % 20, 18);
            let grey = 120 + (number / 20) as u8;
            let colour = if number % 2 == 0 { [220, 30, 20] } else { [20, 40, 210] };
            let inside = |x: u32, y: u32| (left..left + side).contains(&x) && (top..top + side).contains(&y);
            let empty = number == 3;
            let picture = image::RgbImage::from_fn(64, 48, |x, y| {
                image::Rgb(if inside(x, y) && !empty { colour } else { [grey; 3] })
            });
            picture.save(images.join(format!("{number}.png"))).unwrap();
            let [x, y] = [f64::from(2 * left + side) / 128.0, f64::from(2 * top + side) / 96.0];
            let [wide, high] = [f64::from(side) / 64.0, f64::from(side) / 48.0];
            let row = format!("{} {x} {y} {wide} {high}\n", number % 2);
            fs::write(labels.join(format!("{number}.txt")), if empty { String::new() } else { row }).unwrap();
        }
    }
}

fn project() -> Project {
    let project = Project::new();
    squares(project.path(), 10);
    fs::write(project.path().join("squares.toml"), PIPELINE).unwrap();
    project
}

fn run(project: &Project, arguments: &[&str]) -> Value {
    document(&project.defrost(&[&["run", "squares.toml", "--json"], arguments].concat()))
}

#[test]
fn a_detector_trains_behind_frozen_layers_and_is_scored_told_and_proven() {
    let project = project();
    let result = run(&project, &[]);
    let stages = result["stages"].as_array().unwrap();
    assert!(stages.iter().all(|stage| stage["status"] == "ran"), "{result:#}");
    let run_dir = project.path().join(result["run_dir"].as_str().unwrap());
    let stage = |name: &str| run_dir.join("stages").join(name);
    let metrics: Value =
        serde_json::from_slice(&fs::read(stage("check").join("metrics.json")).unwrap()).unwrap();
    for score in ["ap50_95", "ap50", "precision", "loss", "box_loss"] {
        assert!(metrics[score].is_number(), "{score}: {metrics:#}");
    }
    assert_eq!((&metrics["images"], &metrics["instances"]), (&4.into(), &3.into()));
    for file in ["PR_curve.png", "F1_curve.svg", "confusion_matrix_normalized.png", "predictions.csv"] {
        assert!(stage("check").join(file).is_file(), "{file}");
    }
    let history = fs::read_to_string(stage("fit").join("history.csv")).unwrap();
    assert!(history.lines().next().unwrap().contains("validation_ap50_95"), "{history}");

    // What was frozen is proven again, and a second run computes nothing.
    assert!(project.defrost(&["verify", "squares.toml"]).status.success());
    let again = run(&project, &[]);
    assert!(again["stages"].as_array().unwrap().iter().all(|stage| stage["status"] == "cached"));

    let told = document(&project.defrost(&["predict", "squares.toml", "squares/images/val/0.png", "--json"]));
    assert_eq!(
        (&told["predictions"][0]["width"], &told["predictions"][0]["height"]),
        (&64.into(), &48.into())
    );
    assert!(told["predictions"][0]["boxes"].is_array(), "{told:#}");
}

#[test]
fn the_same_file_gives_the_same_bytes_on_any_threads() {
    let manifest = |threads: &str| {
        let project = project();
        let result = run(&project, &["--threads", threads]);
        let run_dir = project.path().join(result["run_dir"].as_str().unwrap());
        fs::read_to_string(run_dir.join("manifest.json")).unwrap()
    };
    assert_eq!(manifest("1"), manifest("2"));
}

#[test]
fn what_does_not_fit_boxes_is_refused_where_it_is_written() {
    let project = project();
    let refused = |from: &str, to: &str| {
        let text = PIPELINE.replace(from, to);
        assert!(text != PIPELINE);
        fs::write(project.path().join("squares.toml"), text).unwrap();
        let output = project.defrost(&["validate", "squares.toml"]);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused("head = { kind = \"detect\" }", "").contains("head"));
    assert!(refused("loss = { kind = \"detection\" }", "").contains("loss = { kind = \"detection\" }"));
    assert!(refused("validation/ap50", "validation/accuracy").contains("validation/ap50_95"));
    assert!(refused("image_size = 64", "image_size = 65").contains("multiple"));
    fs::write(project.path().join("squares/labels/train/0.txt"), "7 0.5 0.5 0.1 0.1\n").unwrap();
    assert!(refused("seed = 3", "seed = 4").contains("0.txt"));
}
