//! Weights of one stage taken over for another data set: trained on one, with a fresh head on the other.

use crate::project::{Project, document};
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
    assert!(found["message"].as_str().unwrap().contains("they are of `efficientnet_lite0`"), "{found}");
}
