//! `defrost lr-find`: the same curve every time, and no other file changes.

use std::path::{Path, PathBuf};

use super::features::asked;
use super::project::{Project, document};

/// All files except the digest index, which adds a file once it is two seconds old, and cached features, which the
/// stage uses too.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(files(&entry.path())),
            false => all.push(entry.path()),
        }
    }
    all.retain(|file| !file.ends_with("inputs.index") && !file.to_string_lossy().contains(".store/features"));
    all.sort();
    all
}

const FIND: [&str; 7] = ["lr-find", "colours.toml", "--stage", "frozen", "--steps", "40", "--json"];

#[test]
fn the_curve_is_the_same_every_time_and_the_store_stays() {
    let project = Project::new();
    project.run(&["--until", "start"]);
    let before = files(&project.path().join("runs"));
    let found = document(&project.defrost(&[&FIND[..], &["--out", "lr"]].concat()));
    let points = found["points"].as_array().unwrap();
    assert!(points.len() > 10 && points.len() <= 40);
    assert!((points[0]["lr"].as_f64().unwrap() / 1e-7 - 1.0).abs() < 1e-9);
    let suggested = found["suggested"].as_f64().expect("random weights can learn");
    assert!(suggested > 1e-7 && suggested < 10.0);
    assert_eq!((found["stage"].as_str(), found["lr"].as_f64()), (Some("frozen"), Some(1e-2)));

    let again = document(&project.defrost(&[&FIND[..], &["--threads", "1"]].concat()));
    assert_eq!(again["points"], found["points"]);
    assert_eq!(files(&project.path().join("runs")), before);
    let without = [&FIND[..], &["--set", "run.feature_cache=off"]].concat();
    assert_eq!(document(&project.defrost(&without))["points"], found["points"]);
    let repeated = document(&project.defrost(&[&FIND[..], &["--repeats", "3"]].concat()));
    let each = repeated["suggested_by_repeat"].as_array().unwrap();
    assert_eq!((each.len(), &each[0]), (3, &found["suggested"]));
    assert_ne!(repeated["points"], found["points"]);
    // The stage finds the features of its frozen layers.
    let run = project.run(&["--until", "frozen"]);
    assert!(asked(&run).iter().all(|(_, images, stored)| images == stored), "{:?}", asked(&run));
    let csv = std::fs::read_to_string(project.path().join("lr/lr_find.csv")).unwrap();
    assert_eq!(csv.lines().count(), points.len() + 1);
    let png = std::fs::read(project.path().join("lr/lr_find.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    assert_eq!(files(&project.path().join("lr")).len(), 3);

    let output = project.defrost(&["lr-find", "colours.toml", "--stage", "frozen", "--steps", "20"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("in the file: lr = 1.0e-2") && text.contains('•'), "{text}");
}

#[test]
fn what_cannot_be_tested_says_why() {
    let project = Project::new();
    let fails = |arguments: &[&str]| {
        let output = project.defrost(&[&["lr-find", "colours.toml"], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = fails(&["--stage", "finetune"]);
    assert!(text.contains("`frozen`, which `finetune` starts from, has not been run"), "{text}");
    assert!(text.contains("defrost run colours.toml --until frozen"), "{text}");
    assert!(fails(&[]).contains("choose one with `--stage`: `frozen`, `finetune`"));
    assert!(fails(&["--stage", "test"]).contains("stage `test` is not a train stage"));
    assert!(fails(&["--stage", "tset"]).contains("unknown stage `tset`"));
    assert!(fails(&["--low", "0"]).contains("`--low` must be above 0"));
    assert!(fails(&["--steps", "3"]).contains("`--steps` is 3"));
}
