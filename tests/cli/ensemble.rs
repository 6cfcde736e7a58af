//! Several trained stages evaluated together: the mean of their probabilities.

use crate::project::{Project, Run, document};
use serde_json::Value;

/// Two stages of one architecture and one of another, evaluated alone and together.
const PIPELINE: &str = r#"name = "colours"
seed = 7

[data.photos]
format     = "image_folder"
root       = "photos"
image_size = 32
resize     = 32
split      = { validation = 0.25, test = 0.25, seed = 0 }

[model.light]
arch = "efficientnet_lite0"

[model.plain]
arch = "resnet18"

[defaults.train]
batch_size = 5
epochs     = 1
optimizer  = { kind = "adamw", lr = 1e-2 }

[stage.start]
kind  = "init_weights"
model = "light"

[stage.frozen]
kind  = "train"
from  = "start"
train = ["@head"]

[stage.finetune]
kind       = "train"
from       = "frozen@best"
train_last = 2

[stage.begin]
kind  = "init_weights"
model = "plain"

[stage.other]
kind  = "train"
from  = "begin"
train = ["@head"]

[stage.first]
kind = "evaluate"
from = "frozen@last"

[stage.second]
kind = "evaluate"
from = "finetune@best"

[stage.third]
kind = "evaluate"
from = "other@best"

[stage.all]
kind     = "evaluate"
ensemble = ["frozen@last", "finetune@best", "other@best"]
"#;

fn project() -> Project {
    let project = Project::new();
    project.write(PIPELINE);
    project
}

/// The rows of a stage's predictions: file, label, predicted class, and probabilities.
fn predictions(run: &Run, stage: &str) -> Vec<(Vec<String>, Vec<f64>)> {
    let text = run.read(&format!("stages/{stage}/predictions.csv"));
    let row = |line: &str| {
        let cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        let probabilities = cells[3..].iter().map(|cell| cell.parse().unwrap()).collect();
        (cells[..3].to_vec(), probabilities)
    };
    text.lines().skip(1).map(row).collect()
}

#[test]
fn an_ensemble_is_the_mean_of_its_members_and_recomputed_alone_where_one_changes() {
    let project = project();
    let plan = project.plan(&[]);
    let all = plan["stages"].as_array().unwrap().last().unwrap();
    assert_eq!((&all["name"], &all["key"]), (&"all".into(), &Value::Null));
    let run = project.run(&[]);

    let members = ["first", "second", "third"].map(|stage| predictions(&run, stage));
    let together = predictions(&run, "all");
    let classes = ["blue", "green", "red"];
    let (mut right, mut loss) = (0, 0.0);
    for (row, (cells, probabilities)) in together.iter().enumerate() {
        for (class, found) in probabilities.iter().enumerate() {
            let mean = members.iter().map(|member| member[row].1[class]).sum::<f64>() / 3.0;
            assert!((found - mean).abs() < 1e-6, "{cells:?}: {found}, and the mean is {mean}");
        }
        let best = (0..3).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])).unwrap();
        assert_eq!(cells[2], classes[best]);
        right += usize::from(cells[1] == cells[2]);
        loss -= probabilities[classes.iter().position(|class| *class == cells[1]).unwrap()].ln();
    }
    let metrics = run.metrics("all");
    let (count, accuracy) = (together.len() as f64, metrics["accuracy"].as_f64().unwrap());
    assert!(count > 3.0 && (accuracy - right as f64 / count).abs() < 1e-12, "{metrics}");
    assert!((metrics["loss"].as_f64().unwrap() - loss / count).abs() < 1e-5, "{metrics}");
    assert_eq!(metrics["per_class"].as_array().unwrap().len(), 3);
    assert!(run.directory.join("stages/all/confusion_matrix.png").is_file());

    // No member consumes another member's input.
    assert_eq!(project.misses(&["--set", "stage.other.optimizer.lr=1e-3"]), ["other", "third", "all"]);
    assert_eq!(project.misses(&["--set", "stage.finetune.epochs=2"]), ["finetune", "second", "all"]);
    let fewer = ["--set", "stage.all.ensemble=[\"frozen@last\", \"finetune@best\"]"];
    assert_eq!(project.misses(&fewer), ["all"]);
    let turned = ["--set", "stage.all.ensemble=[\"finetune@best\", \"frozen@last\", \"other@best\"]"];
    assert_eq!(project.misses(&turned), ["all"]);
    assert_eq!(project.run(&["--from", "all"]).those("ran"), ["all"]);
    let longer = project.run(&["--set", "stage.other.epochs=2", "--until", "all"]);
    assert_eq!((longer.those("resumed"), longer.those("ran")), (vec!["other".into()], vec!["all".into()]));
}

#[test]
fn every_command_knows_a_stage_of_several_sources() {
    let project = project();
    let run = project.run(&[]);
    let plan: Value = serde_json::from_str(&run.read("plan.json")).unwrap();
    let all = plan["stages"].as_array().unwrap().last().unwrap();
    assert_eq!(all["source"], "stages/frozen/last.safetensors");
    let others = ["stages/finetune/best.safetensors", "stages/other/best.safetensors"];
    assert_eq!(all["other_sources"], serde_json::json!(others));

    assert_eq!(document(&project.defrost(&["verify", "colours", "--json"]))["valid"], true);
    let status = document(&project.defrost(&["status", "colours", "--json"]));
    assert!(status.to_string().contains("\"all\""), "{status}");
    document(&project.defrost(&["list", "--json"]));
    document(&project.defrost(&["diff", "colours", "colours", "--json"]));
    let report = run.read("report.html");
    assert!(report.contains("from frozen@last, finetune@best, other@best"));
    let gc = document(&project.defrost(&["gc", "--json"]));
    assert_eq!(gc["bytes"], 0, "{gc}");

    for command in ["predict", "embed"] {
        let image = ["photos/red/00.png", "--stage", "all", "--json"];
        let output = project.defrost(&[&[command, "colours"][..], &image].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("stage `all` is not a train stage") && text.contains("finetune"), "{text}");
    }
}

/// Two stages on two data sets, with a difference that a test adds.
const PAIR: &str = r#"name = "colours"

[data.one]
format     = "image_folder"
root       = "photos"
image_size = 32
split      = { validation = 0.25, test = 0.25 }

[data.two]
format     = "image_folder"
root       = "photos"
image_size = 32
split      = { validation = 0.25, test = 0.25 }

[model.net]
arch = "resnet18"

[defaults.train]
train     = ["@head"]
epochs    = 1
optimizer = { kind = "adamw", lr = 1e-2 }

[stage.start]
kind = "init_weights"
data = "one"

[stage.begin]
kind = "init_weights"
data = "two"

[stage.fit]
kind = "train"
from = "start"
data = "one"

[stage.learn]
kind = "train"
from = "begin"
data = "two"

[stage.both]
kind     = "evaluate"
ensemble = ["fit@best", "learn@best"]
data     = "one"
"#;

#[test]
fn members_that_do_not_go_together_are_refused_before_anything_runs() {
    let project = Project::new();
    let errors = |arguments: &[&str]| -> Vec<Value> {
        let output = project.defrost(&[&["validate", "colours.toml", "--json"], arguments].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["errors"].as_array().unwrap().clone()
    };
    project.write(PAIR);
    assert_eq!(errors(&[]), Vec::<Value>::new());
    let cases = [
        ("data.two.classes=[\"red\", \"blue\"]", "class-list", "`learn@best` predicts `red`, `blue`"),
        ("data.two.normalize=inception", "normalize", "`learn@best` was trained with another"),
        ("stage.learn.image_size=64", "image-size", "images of 64 pixels, but `fit@best` on 32"),
    ];
    for (set, code, message) in cases {
        let found = errors(&["--set", set]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!((&found[0]["code"], &found[0]["line"]), (&code.into(), &43.into()), "{found:?}");
        assert!(found[0]["message"].as_str().unwrap().contains(message), "{found:?}");
    }
    // An explicit size for all is intended.
    let size = ["--set", "stage.learn.image_size=64", "--set", "stage.both.image_size=64"];
    assert_eq!(errors(&size), Vec::<Value>::new());
}
