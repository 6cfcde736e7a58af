//! Cross-validation: folds of a data set, compared, with out-of-fold predictions and a check of labels.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::project::{Project, document};

/// Three folds, each a run, which evaluate the images that they hold out.
fn project() -> Project {
    let project = Project::new();
    project.edit(
        "split      = { validation = 0.25, test = 0.25, seed = 0 }",
        "split      = { folds = 3, fold = 1, method = \"balanced\" }",
    );
    project.edit("from = \"finetune@best\"\n", "from = \"finetune@best\"\nsplit = \"validation\"\n");
    let text = project.text();
    let grid = "[[matrix]]\npath = \"data.photos.split.fold\"\nvalues = [1, 2, 3]\n";
    project.write(&format!("{text}\n{grid}"));
    project
}

fn rows(table: &str) -> Vec<csv::StringRecord> {
    csv::Reader::from_reader(table.as_bytes()).records().map(Result::unwrap).collect()
}

#[test]
fn every_image_is_judged_once_by_the_fold_that_held_it_out() {
    let project = project();
    // A label that every model will doubt.
    fs::rename(project.path().join("photos/red/00.png"), project.path().join("photos/blue/wrong.png"))
        .unwrap();
    let run = document(&project.defrost(&["run", "colours.toml", "--json"]));
    assert_eq!(run["runs"].as_array().unwrap().len(), 3, "{run}");

    let compared = document(&project.defrost(&["compare", "colours.toml", "--out", "folds", "--json"]));
    let groups = compared["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 1, "folds are one row");
    let folds: Vec<&Value> =
        groups[0]["runs"].as_array().unwrap().iter().map(|run| &run["fold"][0]).collect();
    assert_eq!(folds, [1, 2, 3]);
    assert!(compared["averaged_over"].as_array().unwrap().contains(&"data.photos.split.fold".into()));
    let table = fs::read_to_string(project.path().join("folds/out_of_fold.csv")).unwrap();
    let rows_of_folds = rows(&table);
    let files: BTreeSet<String> = rows_of_folds.iter().map(|row| row[3].to_owned()).collect();
    assert_eq!((rows_of_folds.len(), files.len()), (36, 36));
    assert!(table.starts_with("row,seed,fold,file,label,predicted,probability blue,"), "{table}");

    let checked =
        document(&project.defrost(&["check-labels", "colours.toml", "--out", "suspects", "--json"]));
    let first = &checked["images"][0];
    assert_eq!(first["file"], "blue/wrong.png", "{first}");
    assert_eq!((&first["label"], &first["suggested"]), (&"blue".into(), &"red".into()));
    let table = fs::read_to_string(project.path().join("suspects/label_check.csv")).unwrap();
    assert_eq!(rows(&table).len(), 36);
    assert!(table.lines().nth(1).unwrap().starts_with("1,blue/wrong.png,blue,red,-"), "{table}");
    let sheet = fs::read(project.path().join("suspects/label_check_0.jpg")).unwrap();
    assert!(image::load_from_memory(&sheet).unwrap().width() > 100);

    // A grouped or larger set keeps its parts: only the split's own settings change them.
    let plan = document(&project.defrost(&["plan", "colours.toml", "--json"]));
    for run in plan["runs"].as_array().unwrap() {
        assert!(run["stages"].as_array().unwrap().iter().all(|stage| stage["status"] == "hit"), "{run}");
    }
}

#[test]
fn labels_that_a_model_has_learnt_are_not_checked() {
    let project = Project::new();
    project.edit("from = \"finetune@best\"\n", "from = \"finetune@best\"\nsplit = \"train\"\n");
    project.run(&[]);
    for (arguments, expected) in [
        (&["check-labels", "colours"][..], "no run evaluates its validation split"),
        (&["check-labels", "colours", "--stage", "test"], "evaluates training images"),
        (&["check-labels", "colours", "--stage", "tset"], "no run has an evaluate stage `tset`"),
    ] {
        let output = project.defrost(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains(expected), "{arguments:?}: {text}");
    }
}
