//! `compare`: how it selects runs, which runs form one row, and what the columns are.

use serde_json::Value;

use crate::project::{Project, document};

/// A project whose last stage trains with or without a validation split.
fn project() -> Project {
    let project = Project::new();
    project.edit("train_last = 2", "train_last = 2\nbatch_norm = \"eval\"");
    project
}

fn compared(project: &Project, arguments: &[&str]) -> Value {
    document(&project.defrost(&[&["compare", "--json"], arguments].concat()))
}

fn labels(document: &Value) -> Vec<&str> {
    let groups = document["groups"].as_array().expect("a list of groups");
    groups.iter().map(|group| group["label"].as_str().expect("a label")).collect()
}

#[test]
fn a_pipeline_file_means_the_run_with_its_settings_and_arguments_are_rows_of_their_own() {
    let project = project();
    let first = project.run(&[]);
    let later = project.run(&["--set", "seed=8"]);
    let of_file = compared(&project, &["colours.toml"]);
    assert_eq!(of_file["groups"][0]["runs"][0]["run_dir"], first.document["run_dir"]);

    let [one, two] = [&first, &later].map(|run| run.directory.to_str().expect("UTF-8"));
    let both = compared(&project, &[one, two]);
    let labels = labels(&both);
    assert!(labels.len() == 2 && labels[0] != labels[1], "{labels:?}");
    // The same run twice is one row, with a note.
    let output = project.defrost(&["compare", "colours.toml", one]);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(text.contains("again, which is listed once"), "{text}");
    // Validation metrics come first; test metrics follow after a bar.
    let head = text.lines().find(|line| line.contains('│')).expect("a table");
    let place = |words: &str| head.find(words).unwrap_or_else(|| panic!("no `{words}`: {head}"));
    assert!(
        place("finetune validation accuracy") < place("│") && place("│") < place("test accuracy"),
        "{head}"
    );
    let group = &both["groups"][0];
    assert_eq!(group["parts"]["test/accuracy"], "test");
    assert_eq!(group["parts"]["finetune/validation_accuracy"], "validation");
}

#[test]
fn splits_of_a_matrix_are_told_apart_and_averaged_where_asked() {
    let project = project();
    let matrix = "\n[[matrix]]\npath = \"data.photos.split.seed\"\nvalues = [0, 3]\n";
    project.write(&(project.text() + matrix));
    let ran = project.defrost(&["run", "colours.toml"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(labels(&compared(&project, &["colours.toml"])), ["seed=0", "seed=3"]);
    let averaged = compared(&project, &["colours.toml", "--over", "data.photos.split.seed"]);
    assert_eq!(averaged["groups"].as_array().map(Vec::len), Some(1));
    assert_eq!(averaged["groups"][0]["metrics"]["test/accuracy"]["n"], 2);
    let refused = project.defrost(&["compare", "colours.toml", "--over", "split.seed"]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(2) && text.contains("did you mean `data.photos.split.seed`?"),
        "{text}"
    );
    // It reports runs of the current matrix that have not run.
    project.edit("values = [0, 3]", "values = [0, 3, 4]");
    let output = project.defrost(&["compare", "colours.toml"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("1 of 3 runs are missing or have other settings: seed=4"), "{text}");
}

/// A learning rate that is too high: the stage reports it, with the cause, wherever its result is shown.
#[test]
fn a_stage_that_ends_below_its_source_is_told() {
    let project = project();
    project.edit("lr = 1e-3, momentum = 0.9", "lr = 4.0");
    let output = project.defrost(&["run", "colours.toml"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("warning: stage `finetune` ends worse than `frozen`: validation loss "), "{text}");
    assert!(text.contains("its learning rate, 4, is not below that of `frozen`, 0.01"), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("finetune ") && line.contains("below frozen")),
        "{text}"
    );
    let run = project.run(&[]);
    assert!(run.read("log.txt").contains("warning: stage finetune: ends worse than `frozen`"));
    assert!(run.read("report.html").contains("Ends worse than frozen: validation loss "));
}
