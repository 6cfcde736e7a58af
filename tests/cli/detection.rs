//! Object detection through the binary: training with a mosaic, frozen layers, evaluation, prediction and resuming.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::project::{Project, Run, document, ended, killed_runs_end_in};

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

/// A project with these pictures and this pipeline as `colours.toml`.
pub fn squares_with(pipeline: &str) -> Project {
    let project = Project::new();
    squares(project.path(), 10);
    project.write(pipeline);
    project
}

pub fn project() -> Project {
    let project = Project::new();
    squares(project.path(), 10);
    fs::write(project.path().join("squares.toml"), PIPELINE).unwrap();
    project
}

pub fn run(project: &Project, arguments: &[&str]) -> Value {
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
    // Four images are one sheet, of what is there and of what is found.
    for (name, file) in [("fit", "val_batch0_pred.jpg"), ("check", "val_batch0_labels.jpg")] {
        let sheet = image::open(stage(name).join(file)).unwrap().to_rgb8();
        assert!(sheet.width() > 800 && sheet.height() > 800, "{file}: {:?}", sheet.dimensions());
    }
    let labels = image::open(stage("check").join("val_batch0_labels.jpg")).unwrap().to_rgb8();
    let is_red = |pixel: &image::Rgb<u8>| pixel[0] > 180 && pixel[1] < 80 && pixel[2] < 80;
    assert!(labels.pixels().filter(|pixel| is_red(pixel)).count() > 10_000, "the red squares are shown");
    assert!(!stage("check").join("val_batch1_pred.jpg").exists());
    // The table of epochs that Ultralytics writes.
    let results = fs::read_to_string(stage("fit").join("results.csv")).unwrap();
    let rows: Vec<Vec<&str>> = results.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(
        (rows.len(), rows[0][0], rows[0][8], rows[0][12]),
        (3, "epoch", "metrics/mAP50-95(B)", "lr/pg0")
    );
    assert!(rows[1..].iter().all(|row| row.len() == 15 && row[1] == "0"), "{results}");
    // The page draws the curves and the matrices again, from the tables.
    let page = fs::read_to_string(run_dir.join("report.html")).unwrap();
    for shown in ["check: Precision by recall", "check: F1 by confidence", "share of the true class"] {
        assert!(page.contains(shown), "{shown}");
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

/// A mosaic that closes after two of four epochs, when a block also starts to train; then a second stage. There is a
/// checkpoint at each step, so kills come before, at and after both.
#[test]
fn killed_around_the_closing_of_a_mosaic_and_a_thaw_it_ends_in_the_same_bytes() {
    let started = || {
        let fit = "epochs = 4\naccumulate = 2\nema = { decay = 0.99 }\n\
                   unfreeze = [{ after_epochs = 2, match = [\"model.2\"], lr_scale = 0.1 }]\n";
        let text = PIPELINE.replace("epochs = 2\n", fit).replace("close_mosaic = 1", "close_mosaic = 2");
        let second = "\n[stage.tune]\nkind = \"train\"\nfrom = \"fit@best\"\nepochs = 1\nbatch_size = 4\n\
                      optimizer = { kind = \"sgd\", lr = 1e-4 }\nloss = { kind = \"detection\" }\n\
                      augment = { mosaic = {}, mixup = { alpha = 32.0, probability = 0.5 } }\n";
        squares_with(&(text + second))
    };
    let reference = started().run(&[]).manifest();
    let arguments = ["--set", "run.checkpoint_seconds=0"];
    killed_runs_end_in(&reference, started, (&[1, 2, 2, 3], 4), 2, &arguments);
}

#[test]
fn two_processes_at_once_end_in_the_same_bytes() {
    let started = || squares_with(PIPELINE);
    let reference = started().run(&[]).manifest();
    let project = started();
    let both = [project.start(&[]), project.start(&["--threads", "1"])];
    for child in both {
        assert_eq!(Run::of(&ended(child)).manifest(), reference);
    }
    assert!(project.defrost(&["verify", "colours.toml"]).status.success());
}

/// Estimates count the steps of the detection head, mosaics, and layers whose features are not kept.
#[test]
fn a_plan_estimates_what_a_detector_takes() {
    let project = project();
    let plan = document(&project.defrost(&["plan", "squares.toml", "--json"]));
    for stage in plan["stages"].as_array().unwrap() {
        assert!(stage["estimate"]["seconds"].as_f64() > Some(0.0), "{stage:#}");
    }
    let result = run(&project, &[]);
    let events = project.path().join(result["run_dir"].as_str().unwrap()).join("events.jsonl");
    let events = fs::read_to_string(events).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let cost =
        events.into_iter().find(|event| event["event"] == "stage_cost" && event["stage"] == "fit").unwrap();
    let bytes = |field: &str| cost[field].as_f64();
    if let (Some(expected), Some(found)) = (bytes("expected_memory_bytes"), bytes("memory_bytes")) {
        // What allocator and system keep differs from machine to machine by more than a small network takes.
        assert!((0.3..3.0).contains(&(expected / found)), "{cost:#}");
    }
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
