//! Weights of one stage used for another data set: trained on one, with a new head on the other.

use crate::project::{Project, Run, document};
use serde_json::Value;

const TRANSFER: &str = r#"name = "colours"

[data.domain]
format     = "image_folder"
root       = "photos"
image_size = 32
resize     = 32
split      = { validation = 0.25, seed = 0 }

[data.target]
format     = "image_folder"
root       = "photos"
classes    = ["red", "blue"]
image_size = 32
resize     = 32
split      = { validation = 0.25, test = 0.25, seed = 0 }

[model.net]
arch = "efficientnet_lite0"

[defaults.train]
batch_size = 5
epochs     = 1
optimizer  = { kind = "adamw", lr = 1e-2 }

[stage.start]
kind = "init_weights"
data = "domain"

[stage.pretrain]
kind       = "train"
from       = "start"
data       = "domain"
train_last = 2

[stage.transfer]
kind   = "load_weights"
from   = "pretrain@best"
data   = "target"
reinit = ["@head"]

[stage.frozen]
kind  = "train"
from  = "transfer"
data  = "target"
train = ["@head"]

[stage.test]
kind = "evaluate"
from = "frozen@best"
data = "target"
"#;

fn project() -> Project {
    let project = Project::new();
    project.write(TRANSFER);
    project
}

#[test]
fn a_stage_hands_its_weights_to_another_data_set() {
    let project = project();
    let run = project.run(&[]);
    assert_eq!(run.those("ran"), ["start", "pretrain", "transfer", "frozen", "test"]);
    let open = |file: &str| std::fs::read(run.directory.join("stages").join(file)).unwrap();
    let (before, after) = (open("pretrain/best.safetensors"), open("transfer/model.safetensors"));
    let before = safetensors::SafeTensors::deserialize(&before).unwrap();
    let after = safetensors::SafeTensors::deserialize(&after).unwrap();
    let same = |name: &&str| before.tensor(name).unwrap().data() == after.tensor(name).unwrap().data();
    let names = after.names();
    let (kept, fresh): (Vec<&str>, Vec<&str>) = names.into_iter().partition(same);
    assert!(kept.len() > 100 && kept.contains(&"_conv_stem.weight"), "{kept:?}");
    assert!(!fresh.is_empty() && fresh.iter().all(|name| name.starts_with("_fc")), "{fresh:?}");
    assert_eq!(
        project.misses(&["--set", "stage.pretrain.optimizer.lr=1e-3"]),
        ["pretrain", "transfer", "frozen", "test"]
    );
    assert_eq!(document(&project.defrost(&["verify", "colours", "--json"]))["valid"], true);
}

#[test]
fn weights_that_will_not_fit_are_refused_before_anything_runs() {
    let project = project();
    let error = |project: &Project| -> Value {
        let report: Value =
            serde_json::from_slice(&project.defrost(&["validate", "colours.toml", "--json"]).stdout).unwrap();
        let errors = report["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{report}");
        errors[0].clone()
    };
    project.edit("reinit = [\"@head\"]\n", "");
    let found = error(&project);
    assert_eq!((&found["code"], &found["line"]), (&"weights".into(), &38.into()), "{found}");
    assert!(found["message"].as_str().unwrap().contains("`pretrain@best` was trained on"), "{found}");
    project.edit("data   = \"target\"\n", "data   = \"target\"\nmodel  = \"other\"\nreinit = [\"@head\"]\n");
    project.edit("[defaults.train]", "[model.other]\narch = \"resnet18\"\n\n[defaults.train]");
    project.edit("kind = \"init_weights\"", "kind = \"init_weights\"\nmodel = \"net\"");
    let found = error(&project);
    assert!(found["message"].as_str().unwrap().contains("they belong to `efficientnet_lite0`"), "{found}");
}

/// The first stages of [`TRANSFER`] in their own file, and the others based on their weights.
fn two_files() -> Project {
    let (head, rest) = TRANSFER.split_once("[stage.start]").unwrap();
    let (before, after) = rest.split_once("[stage.transfer]").unwrap();
    let project = Project::new();
    let domain = format!("{}[stage.start]{before}", head.replace("colours", "domain"));
    std::fs::write(project.path().join("domain.toml"), domain).unwrap();
    project.write(&format!("{head}[stage.transfer]{after}"));
    project.edit("from   = \"pretrain@best\"\n", "pipeline = \"domain.toml\"\nstage = \"pretrain@best\"\n");
    project
}

#[test]
fn weights_of_another_pipeline_are_found_by_key_and_never_trained_from_here() {
    let project = two_files();
    let text = project.run_fails(2, &[]);
    assert!(text.contains("stage `transfer` loads weights from `pretrain` in `domain.toml`"), "{text}");
    assert!(text.contains("`defrost run domain.toml --until pretrain`"), "{text}");
    assert!(!project.path().join("runs/domain").exists());

    let domain = |arguments: &[&str]| {
        Run::of(&project.defrost(&[&["run", "domain.toml", "--json"], arguments].concat()))
    };
    assert_eq!(domain(&["--until", "pretrain"]).those("ran"), ["start", "pretrain"]);
    let run = project.run(&[]);
    assert_eq!(run.those("ran"), ["transfer", "frozen", "test"]);
    // The same bytes as in one file.
    let in_one = self::project();
    let whole = in_one.run(&[]);
    for file in ["stages/transfer/model.safetensors", "stages/test/predictions.csv"] {
        assert_eq!(run.files()[file], whole.files()[file], "{file}");
    }
    assert_eq!(project.misses(&[]), Vec::<String>::new());
    assert_eq!(document(&project.defrost(&["verify", "colours", "--json"]))["valid"], true);

    // Another recipe in the other pipeline means another file, which does not exist yet.
    let edited = std::fs::read_to_string(project.path().join("domain.toml")).unwrap();
    std::fs::write(project.path().join("domain.toml"), edited.replace("lr = 1e-2", "lr = 1e-3")).unwrap();
    assert!(project.run_fails(2, &[]).contains("has not been run"));
    domain(&[]);
    let plan = project.plan(&[]);
    assert_eq!(project.misses(&[]), ["transfer", "frozen", "test"]);
    assert_eq!(plan["stages"][0]["reasons"][0]["field"], "inputs.file", "{plan}");
}

#[test]
fn what_cannot_be_taken_from_another_pipeline_is_told_at_its_place() {
    let project = two_files();
    let domain = std::fs::read_to_string(project.path().join("domain.toml")).unwrap();
    let write = |text: &str| std::fs::write(project.path().join("domain.toml"), text).unwrap();
    let check = |code: &str, key: &str, message: &str| {
        let output = project.defrost(&["validate", "colours.toml", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let errors = report["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{code}: {report}");
        let line = 1 + project.text().lines().position(|line| line.starts_with(key)).unwrap();
        assert_eq!((&errors[0]["code"], &errors[0]["line"]), (&code.into(), &line.into()), "{report}");
        assert!(errors[0]["message"].as_str().unwrap().contains(message), "{report}");
    };
    let stage = |name: &str| {
        let text = project.text();
        let line = text.lines().find(|line| line.starts_with("stage =")).unwrap();
        project.edit(line, &format!("stage = \"{name}\""));
    };
    for (name, code, message) in [
        ("pretain@best", "unknown-stage", "`pretain`"),
        ("pretrain", "missing-checkpoint", "choose its best or last weights"),
        ("start@best", "needless-checkpoint", "is not a train stage"),
    ] {
        stage(name);
        check(code, "stage =", message);
    }
    stage("pretrain@best");
    write(&domain.replace("epochs     = 1", "epoch     = 1"));
    check("other-pipeline", "pipeline =", "`domain.toml` is not valid: unknown key `epoch`");
    write(&format!("{domain}\n[[matrix]]\npath = \"seed\"\nvalues = [1, 2]\n"));
    check("other-pipeline", "pipeline =", "has a matrix");
    write(&domain);
    project.edit("reinit = [\"@head\"]\n", "");
    check("weights", "stage =", "`pretrain@best` was trained on");
    project.edit("data   = \"target\"\n", "data   = \"target\"\nreinit = [\"@head\"]\n");
    project.edit("pipeline = \"domain.toml\"", "pipeline = \"colours.toml\"");
    check("cycle", "pipeline =", "the file itself");
    project.edit("pipeline = \"colours.toml\"", "pipeline = \"domain.toml\"");
    write(&domain.replace(
        "kind = \"init_weights\"\n",
        "kind = \"load_weights\"\npipeline = \"./colours.toml\"\nstage = \"transfer\"\n",
    ));
    check(
        "other-pipeline",
        "pipeline =",
        "from each other in a cycle: colours.toml → domain.toml → colours.toml",
    );
}
