//! Cached features of images with boxes: without effect on results, at every depth.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::detection::{PIPELINE, squares};
use super::features::{asked, segments};
use super::project::{Project, Run, document};

const AUGMENT: &str =
    "augment = { mosaic = {}, close_mosaic = 1, affine = {}, hsv = {}, horizontal_flip = 0.5 }\n";
/// Another stage with the same frozen layers.
const AGAIN: &str = "
[stage.again]
kind = \"train\"
from = \"start\"
freeze_first = 3
epochs = 1
batch_size = 5
optimizer = { kind = \"adamw\", lr = 1e-4 }
loss = { kind = \"detection\" }
monitor = \"validation/ap50\"
";
const OFF: [&str; 2] = ["--set", "run.feature_cache=off"];

/// A detector on whole images, with this many layers frozen.
fn project(training: u32, layers: usize) -> Project {
    let project = Project::new();
    squares(project.path(), training);
    let text = format!("{}{AGAIN}", PIPELINE.replace(AUGMENT, ""));
    project.write(&text.replace("freeze_first = 3", &format!("freeze_first = {layers}")));
    project
}

fn counts(run: &Run) -> Vec<(String, u64, u64)> {
    let mut counts = asked(run);
    counts.sort();
    counts
}

#[test]
fn detectors_are_the_same_with_and_without_cached_features_at_every_depth() {
    let outputs = [
        (3, json!(null)),
        (11, json!(["model.4", "model.10", "model.12"])),
        (23, json!(["model.16", "model.19", "model.22"])),
    ];
    for (layers, outputs) in outputs {
        let cached = project(10, layers);
        let kept = cached.run(&[]);
        let expected = [("again", 14, 14), ("check", 4, 4), ("fit", 14, 0)];
        assert_eq!(counts(&kept), expected.map(|(stage, all, stored)| (stage.to_owned(), all, stored)));
        let uncached = project(10, layers);
        let off = uncached.run(&OFF);
        assert!(segments(&uncached).is_empty() && !segments(&cached).is_empty());
        let set = std::fs::read(segments(&cached)[0].with_file_name("set.json")).unwrap();
        let made_of = serde_json::from_slice::<Value>(&set).unwrap()["made_of"].clone();
        assert_eq!((&made_of["activations"], &made_of["picture_sizes"]), (&outputs, &json!(true)));
        assert_eq!(off.manifest(), kept.manifest(), "{layers} frozen layers");
        for name in ["fit/last.safetensors", "fit/history.csv", "check/predictions.csv", "check/metrics.json"]
        {
            let file = |run: &Run| std::fs::read(run.directory.join("stages").join(name)).unwrap();
            assert!(file(&off) == file(&kept), "{layers} frozen layers: {name}");
        }
        assert!(off.read("log.txt").contains("stage fit: features are not kept: `run.feature_cache` is off"));
        let picture = "squares/images/val/0.png";
        let predicted = |project: &Project| {
            document(&project.defrost(&["predict", "colours.toml", picture, "--json"]))["predictions"].clone()
        };
        assert_eq!(predicted(&cached), predicted(&uncached));

        // One more photo is one more row; another label of a photo is none.
        squares(cached.path(), 11);
        std::fs::write(cached.path().join("squares/labels/train/0.txt"), "1 0.5 0.5 0.25 0.25\n").unwrap();
        squares(uncached.path(), 11);
        std::fs::write(uncached.path().join("squares/labels/train/0.txt"), "1 0.5 0.5 0.25 0.25\n").unwrap();
        let more = cached.run(&[]);
        assert_eq!(counts(&more)[2], ("fit".to_owned(), 15, 14));
        assert_eq!(more.manifest(), uncached.run(&OFF).manifest());
    }
}

/// Rotation and flips are drawn again for the boxes of each view.
#[test]
fn boxes_move_with_the_views_of_their_images() {
    let run = |arguments: &[&str]| {
        let project = project(10, 11);
        let views =
            "features = { views = 2 }\naugment = { horizontal_flip = 0.5, rotation = 20, hsv = {} }\n";
        let fit = "lr = 1e-3 }\n";
        project.edit(fit, &format!("{fit}{views}"));
        project.edit("epochs = 2", "epochs = 3");
        let run = project.run(arguments);
        (run.manifest(), counts(&run))
    };
    let (manifest, found) = run(&[]);
    // Validation, then each view in its epoch. The evaluation shares the former, and so does the other stage: four of its
    // training images are those of the validation.
    let expected = [("again", 14, 8), ("check", 4, 4), ("fit", 4, 0), ("fit", 10, 0), ("fit", 10, 0)];
    assert_eq!(found, expected.map(|(stage, all, stored)| (stage.to_owned(), all, stored)));
    assert_eq!(run(&OFF).0, manifest);
}

#[test]
fn plan_and_run_say_whether_features_of_detectors_are_kept() {
    let project = project(10, 11);
    let features = |stage: &str| {
        let plan = project.plan(&[]);
        let stages = plan["stages"].as_array().unwrap();
        stages.iter().find(|found| found["name"] == stage).unwrap()["features"].clone()
    };
    // After the eleven frozen layers, two have no parameters.
    let mut expected = json!({ "after_epochs": 0, "layers": 13, "kept": true, "reason": null, "images": null, "stored": null, "missing": null });
    assert_eq!((features("fit"), features("check")), (expected.clone(), expected.clone()));
    project.run(&["--until", "start"]);
    for (key, number) in [("images", 14), ("stored", 0), ("missing", 14)] {
        expected[key] = json!(number);
    }
    assert_eq!(features("fit"), expected);

    // The limit of the cache, and changes in every epoch.
    let large = ["--set", "data.squares.image_size=256", "--set", "run.feature_cache=1MB"];
    let log = project.run(&[&["--until", "fit"], &large[..]].concat()).read("log.txt");
    let full = "the features of the frozen layers are not kept: they take 9.8 MB, but `run.feature_cache` has 1.0 MB left";
    assert!(log.contains(full), "{log}");
    let rate = "lr = 1e-3 }\n";
    project.edit(rate, &format!("{rate}{AUGMENT}"));
    assert_eq!(features("fit")["reason"], json!("`mosaic` changes the images every epoch"));
    assert_eq!(features("check"), json!(null), "no features to share");
    let log = project.run(&["--until", "check"]).read("log.txt");
    assert!(
        log.contains("stage fit: features are not kept: `mosaic` changes the images every epoch"),
        "{log}"
    );
    project.edit(AUGMENT, &format!("{AUGMENT}features = {{ views = 2 }}\n"));
    let refused = String::from_utf8(project.defrost(&["validate", "colours.toml"]).stderr).unwrap();
    assert!(refused.contains("features are not kept with `mosaic`, `affine` or `multi_scale`"), "{refused}");
}

#[test]
fn a_detector_killed_while_computing_features_ends_in_the_same_bytes() {
    let arguments = ["--set", "run.checkpoint_seconds=0"];
    let reference = project(150, 11).run(&[arguments, OFF].concat()).manifest();
    let killed = || {
        let project = project(150, 11);
        let mut child = project.start(&arguments);
        let started = Instant::now();
        while segments(&project).is_empty() && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(120), "nothing happens");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let run = project.run(&arguments);
        let stored = asked(&run).first().map_or(0, |(_, _, stored)| *stored);
        (run.manifest(), run.those("ran").contains(&"fit".to_owned()), stored)
    };
    // On a loaded machine all features may be there before the kill.
    let (manifest, _, stored) = (0..20)
        .map(|_| killed())
        .find(|(_, ran, stored)| *ran && *stored < 154)
        .expect("it is killed in time");
    assert!(stored >= 32, "{stored}");
    assert_eq!(manifest, reference);
}
