//! `[[matrix]]`: one file with several runs, each equal to a run with `--set`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::project::{Project, document};
use serde_json::{Value, json};

const MATRIX: &str = r#"
[[matrix]]
path   = "seed"
values = [1, 2]

[[matrix]]
name  = "tune"
cases = [
  { label = "short", set = { "stage.finetune.epochs" = 1 } },
  { label = "head", set = { "stage.finetune.epochs" = 1, "stage.finetune.train_last" = 1 } },
]
"#;
const LABELS: [&str; 4] =
    ["seed=1, tune=short", "seed=1, tune=head", "seed=2, tune=short", "seed=2, tune=head"];

fn with_matrix(matrix: &str) -> Project {
    let project = Project::new();
    project.write(&format!("{}{matrix}", project.text()));
    project
}

/// The runs of a document, by label.
fn runs(document: &Value) -> BTreeMap<String, Value> {
    let runs = document["runs"].as_array().expect("a list of runs");
    runs.iter().map(|run| (run["label"].as_str().expect("a label").to_owned(), run.clone())).collect()
}

fn of_stages(run: &Value, field: &str) -> Vec<String> {
    let stages = run["stages"].as_array().expect("a list of stages");
    stages.iter().map(|stage| stage[field].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_run_is_that_of_the_file_with_its_settings_and_shared_stages_are_computed_once() {
    let project = with_matrix(MATRIX);
    let planned = project.plan(&[]);
    let labels: Vec<&str> =
        planned["runs"].as_array().unwrap().iter().map(|run| run["label"].as_str().unwrap()).collect();
    assert_eq!(labels, LABELS);
    let second = &runs(&planned)[LABELS[1]];
    assert_eq!(of_stages(second, "shared_with"), [LABELS[0], LABELS[0], "", ""]);
    assert_eq!(of_stages(second, "status"), ["miss"; 4]);

    let ran = runs(&document(&project.defrost(&["run", "colours.toml", "--json"])));
    assert_eq!(of_stages(&ran[LABELS[0]], "status"), ["ran"; 4]);
    assert_eq!(of_stages(&ran[LABELS[1]], "status"), ["cached", "cached", "ran", "ran"]);
    for (label, run) in &runs(&project.plan(&[])) {
        assert_eq!(run["run_dir"], ran[label]["run_dir"]);
        assert_eq!(of_stages(run, "status"), ["hit"; 4], "{label}");
    }

    compares(&project, &ran);

    // The same run from the plain file: the same folder and bytes, except the texts that name the matrix.
    let plain = Project::new();
    let arguments =
        ["--set", "seed=2", "--set", "stage.finetune.epochs=1", "--set", "stage.finetune.train_last=1"];
    let plain = plain.run(&arguments);
    let folder = PathBuf::from(ran[LABELS[3]]["run_dir"].as_str().unwrap());
    assert_eq!(folder.file_name(), plain.directory.file_name());
    let manifest: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap();
    for (file, digest) in plain.files() {
        let differs = manifest["files"][&file] != json!(digest);
        assert_eq!(differs, ["pipeline.toml", "plan.json"].contains(&file.as_str()), "{file}");
    }
    assert_eq!(std::fs::read_to_string(folder.join("pipeline.toml")).unwrap(), project.text());
}

/// `compare` with a file includes all its runs, averages seeds, and shows each stage's time where it was
/// computed.
fn compares(project: &Project, ran: &BTreeMap<String, Value>) {
    let compared = document(&project.defrost(&["compare", "colours.toml", "--out", "shown", "--json"]));
    let groups = compared["groups"].as_array().unwrap();
    let labels: Vec<&str> = groups.iter().map(|group| group["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["short", "head"]);
    let accuracy = |label: &str| ran[label]["stages"][3]["metrics"]["accuracy"].as_f64().unwrap();
    let (one, two) = (accuracy(LABELS[0]), accuracy(LABELS[2]));
    let measure = &groups[0]["metrics"]["test/accuracy"];
    assert_eq!(measure["n"], 2);
    assert!((measure["mean"].as_f64().unwrap() - (one + two) / 2.0).abs() < 1e-12);
    assert!((measure["sd"].as_f64().unwrap() - (one - two).abs() / 2f64.sqrt()).abs() < 1e-12);
    for group in groups {
        assert_eq!(group["seconds"]["n"], 2, "shared stages have a time too: {group}");
        assert_eq!(group["runs"][1]["curve"].as_array().unwrap().len(), 4, "three epochs and one");
    }
    assert!(groups[0]["trainable_parameters"].as_u64() > groups[1]["trainable_parameters"].as_u64());
    assert_eq!(groups[0]["parameters"], groups[1]["parameters"]);
    assert_eq!(compared["of_machine"], json!(["time", "memory"]));
    for file in compared["files"].as_array().unwrap() {
        assert!(project.path().join(file.as_str().unwrap()).is_file(), "{file}");
    }
    let page = std::fs::read_to_string(project.path().join("shown/compare.html")).unwrap();
    assert!(page.contains("head (n"), "{page}");
    let others = page.matches("src=").count() - page.matches("src=\"data:image/jpeg;base64,").count();
    assert_eq!(others, 0, "the page stands alone");
    let files: Vec<&str> = compared["files"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(
        files.contains(&"shown/confusion_matrices.png") && files.contains(&"shown/images_0.jpg"),
        "{files:?}"
    );
    differs(project);
    let one = document(&project.defrost(&["compare", "colours/seed=1", "--json"]));
    assert_eq!(one["groups"].as_array().unwrap().len(), 2, "{one}");
}

/// Differences from one row, of chosen metrics.
fn differs(project: &Project) {
    let arguments =
        ["compare", "colours.toml", "--baseline", "head", "--metrics", "accuracy,f1/*,size,seconds"];
    let compared = document(&project.defrost(&[&arguments[..], &["--json"]].concat()));
    assert_eq!((&compared["baseline"], &compared["evaluation"]), (&json!("head"), &json!("test")));
    let [short, head] = [0, 1].map(|row| &compared["groups"][row]);
    let seeds =
        |group: &Value| [0, 1].map(|run| group["runs"][run]["metrics"]["test/accuracy"].as_f64().unwrap());
    let (of_short, of_head) = (seeds(short), seeds(head));
    let pairs = [of_short[0] - of_head[0], of_short[1] - of_head[1]];
    let difference = &short["differences"]["test/accuracy"];
    assert_eq!(difference["pairs"], 2);
    assert!((difference["mean"].as_f64().unwrap() - (pairs[0] + pairs[1]) / 2.0).abs() < 1e-12);
    // Student's t with one degree of freedom, and the standard error of two pairs.
    let reach = 12.7062 * (pairs[0] - pairs[1]).abs() / 2.0;
    match difference["interval"].as_array() {
        Some(ends) => {
            let ends = [0, 1].map(|end| ends[end].as_f64().unwrap());
            assert!((ends[1] - ends[0] - 2.0 * reach).abs() < 1e-9, "{difference}");
        }
        None => assert_eq!(pairs[0], pairs[1], "{difference}"),
    }
    assert!(head.get("differences").is_none());
    let text = String::from_utf8(project.defrost(&arguments).stdout).unwrap();
    let text = text + &String::from_utf8(project.defrost(&arguments).stderr).unwrap();
    for shown in ["minus head", "test f1/", "MB", "95 % confidence interval"] {
        assert!(text.contains(shown), "{shown} in {text}");
    }
    let refused = |arguments: &[&str]| {
        let output = project.defrost(&[&["compare", "colours.toml"], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--baseline", "heat"]).contains("did you mean `head`?"));
    assert!(refused(&["--metrics", "acuracy"]).contains("did you mean `accuracy`?"));
    assert!(refused(&["--stage", "tset"]).contains("did you mean `test`?"));
    assert!(refused(&["--images", "."]).contains("--out"));
}

#[test]
fn runs_are_chosen_and_named_by_their_labels() {
    let project = with_matrix(MATRIX);
    let say = |arguments: &[&str]| {
        let output = project.defrost(arguments);
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        (output.status.code(), text)
    };
    let (code, text) = say(&["validate", "colours.toml"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(LABELS.iter().all(|label| text.contains(label)), "{text}");
    let (code, text) = say(&["params", "colours.toml"]);
    assert!(code == Some(2) && text.contains("--only"), "{text}");
    let (code, text) = say(&["params", "colours.toml", "--stage", "finetune", "--only", LABELS[0]]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = say(&["plan", "colours.toml", "--only", "seed=3"]);
    assert!(code == Some(2) && text.contains("unknown-run") && text.contains(LABELS[0]), "{text}");
    let (code, text) = say(&["plan", "colours.toml", "--set", "seed=3"]);
    assert!(code == Some(2) && text.contains("is varied by the matrix"), "{text}");

    let only = ["run", "colours.toml", "--json", "--until", "start", "--only", "tune=sh*"];
    let ran = runs(&document(&project.defrost(&only)));
    assert_eq!(ran.keys().collect::<Vec<_>>(), [LABELS[0], LABELS[2]]);
    let listed = document(&project.defrost(&["list", "--json"]));
    let labels: Vec<&Value> = listed["runs"].as_array().unwrap().iter().map(|run| &run["label"]).collect();
    assert_eq!(labels, [LABELS[2], LABELS[0]], "the latest first");
    assert!(listed["runs"].as_array().unwrap().iter().all(|run| run["changes"] == json!([])));
    let status = document(&project.defrost(&["status", "colours/seed=1", "--json"]));
    assert_eq!(status["label"], LABELS[0]);
    let latest = LABELS[2];
    for argument in ["colours", "colours.toml"] {
        let status = document(&project.defrost(&["status", argument, "--json"]));
        assert_eq!(status["label"], latest, "{argument}");
        let (code, text) = say(&["report", argument]);
        let said = format!("{argument}: the latest run of the matrix, `{latest}`");
        assert!(code == Some(0) && text.contains(&said), "{text}");
    }
    let (code, text) = say(&["report", &format!("colours/{latest}")]);
    assert!(code == Some(0) && !text.contains("latest"), "{text}");
    let (code, text) = say(&["report", "colours/tune=*"]);
    assert!(code == Some(2) && text.contains("matches several runs") && text.contains(latest), "{text}");
}

#[test]
fn a_run_that_fails_does_not_keep_the_others_from_running() {
    let project = with_matrix(
        "\n[[matrix]]\nname = \"rate\"\ncases = [{ label = \"hot\", set = { \"stage.frozen.optimizer\" = { kind = \"sgd\", lr = 1e300 } } }, { label = \"mild\", set = { \"stage.frozen.epochs\" = 1 } }]\n",
    );
    let output = project.defrost(&["run", "colours.toml", "--json", "--until", "frozen"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("1 of 2 runs failed: rate=hot"), "{text}");
    let ran = runs(&serde_json::from_slice(&output.stdout).unwrap());
    assert!(ran["rate=hot"]["error"]["message"].is_string());
    assert_eq!(of_stages(&ran["rate=mild"], "status"), ["cached", "ran"]);
}

#[test]
fn what_is_wrong_with_some_runs_says_with_which() {
    let project = with_matrix(
        "\n[[matrix]]\nname = \"arch\"\ncases = [{ label = \"lite\", set = { seed = 1 } }, { label = \"resnet\", set = { \"model.net.arch\" = \"resnet18\" } }]\n",
    );
    project.edit("train_last = 2", "train = [\"_blocks.15\", \"@head\"]");
    let report: Value =
        serde_json::from_slice(&project.defrost(&["validate", "colours.toml", "--json"]).stdout).unwrap();
    let errors = report["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{report}");
    assert_eq!(errors[0]["code"], "pattern-unmatched");
    assert!(errors[0]["message"].as_str().unwrap().ends_with("(in the run `arch=resnet`)"), "{report}");
    assert_eq!(project.defrost(&["validate", "colours.toml", "--only", "lite"]).status.code(), Some(0));
}
