//! `defrost validate` as users run it.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

const WRONG: &str = r#"name = "turtles"

[data.turtles]
format = "image_folder"
root = "${TURTLES}"

[model.net]
arch = "resnet51"

[stage.pretrained]
kind = "load_weights"
file = "weights.safetensors"
reinit = ["@heads"]

[stage.frozen]
kind = "train"
from = "pretrained@best"
epoch = 10
optimizer = { kind = "sgd", lr = 1e-3, nesterov = true }
"#;

fn validate(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("defrost").unwrap();
    let command = command.current_dir(folder).env_remove("TURTLES").arg("validate").args(args);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_error_is_shown_with_its_line_and_its_cure() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("turtles.toml"), WRONG).unwrap();
    let (code, stdout, stderr) = validate(folder.path(), &["turtles.toml"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    insta::assert_snapshot!(stderr);
}

#[test]
fn json_is_one_document_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("turtles.toml"), WRONG).unwrap();
    let (code, stdout, _) = validate(folder.path(), &["turtles.toml", "--json", "--no-inputs"]);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &document["valid"]), (2, &Value::Bool(false)));
    insta::assert_snapshot!(document["errors"][0], @r#"{"code":"unknown-value","column":8,"file":"turtles.toml","help":"did you mean `resnet50`?","line":8,"message":"unknown value `resnet51` for `arch`"}"#);
    let right = ["turtles.toml", "--json", "--no-inputs", "--set", "model.net.arch=resnet50"];
    let count =
        |stdout: &str| serde_json::from_str::<Value>(stdout).unwrap()["errors"].as_array().unwrap().len();
    assert_eq!(count(&validate(folder.path(), &right).1), count(&stdout) - 1);
}

#[test]
fn each_valid_file_gets_a_line() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let files = ["valid/turtles.toml", "valid/minimal.toml"];
    let (code, stdout, stderr) = validate(&corpus, &[&files[..], &["--no-inputs"]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, "ok: valid/turtles.toml: 4 stages\nok: valid/minimal.toml: 1 stage\n");
    let (code, stdout, stderr) =
        validate(&corpus, &["valid/minimal.toml", "invalid/syntax.toml", "--no-inputs", "--json"]);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, document["errors"].as_array().unwrap().len()), (2, 1));
    assert!(stderr.starts_with("ok: valid/minimal.toml"), "{stderr}");
}

#[test]
fn a_warning_is_shown_and_the_file_is_valid() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/warned");
    let (code, stdout, stderr) = validate(&corpus, &["augment_nothing.toml", "--no-inputs", "--json"]);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &document["valid"], &document["warnings"][0]["line"]), (0, &true.into(), &20.into()));
    assert!(stderr.starts_with("warning[no-effect]: an empty `augment` changes no image"), "{stderr}");
}

/// A loss's requirements on the head and the classes are known only for the whole stage.
#[test]
fn a_loss_must_fit_its_head_and_its_classes() {
    let minimal = r#"name = "t"
[data.d]
format = "image_folder"
root = "images"
classes = ["cat", "dog"]
[model.m]
arch = "resnet18"
[stage.a]
kind = "init_weights"
[stage.b]
kind = "train"
from = "a"
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
"#;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.toml"), minimal).unwrap();
    let embedding = "model.m.head={ kind = \"embedding\", dimension = 8 }";
    let found = |head: &str, loss: &str| {
        let loss = format!("stage.b.loss={{ kind = {loss} }}");
        let (_, stdout, _) =
            validate(folder.path(), &["t.toml", "--no-inputs", "--json", "--set", head, "--set", &loss]);
        let errors = serde_json::from_str::<Value>(&stdout).unwrap()["errors"].clone();
        let text = |error: &Value| error["message"].as_str().unwrap().to_owned();
        errors.as_array().unwrap().iter().map(text).collect::<Vec<_>>().join("; ")
    };
    let mlp = "model.m.head={ kind = \"mlp\", hidden = [8] }";
    assert_eq!(found(mlp, "\"arcface\""), "this loss needs cosines, which this head does not compute");
    assert_eq!(found(embedding, "\"cosface\", margin = 0.2"), "");
    assert_eq!(found(embedding, "\"focal\", class_weights = { cat = 1, dog = 2 }"), "");
    assert_eq!(found(mlp, "\"focal\", class_weights = { cat = 1, dgo = 2 }"), "unknown class `dgo`");
    assert_eq!(found(mlp, "\"focal\", class_weights = { cat = 1 }"), "class `dog` has no weight");
}

#[test]
fn every_example_validates() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut examples: Vec<String> = files.filter(|file| file.ends_with(".toml")).collect();
    examples.sort();
    assert!(examples.contains(&"emotion-resnet50.toml".to_owned()), "{examples:?}");
    let mut args: Vec<&str> = examples.iter().map(String::as_str).collect();
    args.push("--no-inputs");
    let (code, _, stderr) = validate(&folder, &args);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn position_embeddings_are_for_one_image_size_of_whole_patches() {
    const PIPELINE: &str = r#"name = "positions"

[data.d]
format = "image_folder"
root = "images"
classes = ["cat", "dog"]
image_size = 64

[model.m]
arch = "vit_s_16"

[stage.start]
kind = "init_weights"

[stage.fit]
kind = "train"
from = "start"
train = ["encoder.layers.encoder_layer_11", "@head"]
image_size = 96
epochs = 1
optimizer = { kind = "adamw", lr = 1e-3, no_decay = ["@norm", "@bias"] }
"#;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.toml"), PIPELINE).unwrap();
    let errors = |set: &[&str]| {
        let (code, stdout, _) =
            validate(folder.path(), &[&["p.toml", "--json", "--no-inputs"][..], set].concat());
        let document: Value = serde_json::from_str(&stdout).unwrap();
        let all = document["errors"].as_array().unwrap().iter();
        (code, all.map(|error| error["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    let other = "the model has position embeddings for `image_size` 64, not 96".to_owned();
    assert_eq!(errors(&[]), (2, vec![other]));
    assert_eq!(errors(&["--set", "data.d.image_size=96"]), (0, vec![]));
    let uneven = "`image_size` 100 is not a multiple of the patch size, 16 pixels".to_owned();
    let both = ["--set", "data.d.image_size=100", "--set", "stage.fit.image_size=100"];
    assert_eq!(errors(&both), (2, vec![uneven]));
    assert_eq!(errors(&["--set", "model.m.arch=convnext_tiny"]).0, 2, "its layers have other names");
}

#[test]
fn a_folder_is_no_pipeline_and_what_lies_in_it_may_be_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("turtles")).unwrap();
    let said = || validate(folder.path(), &["turtles"]).2;
    let text = said();
    assert!(text.contains("`turtles` is a folder, but a pipeline is a TOML file"), "{text}");
    assert!(text.contains("pass a pipeline file; `defrost init` writes one"), "{text}");
    fs::write(folder.path().join("turtles/all.toml"), WRONG).unwrap();
    assert!(said().contains("did you mean `turtles/all.toml`?"));
    fs::write(folder.path().join("turtles/few.toml"), WRONG).unwrap();
    assert!(said().contains("pass one of its 2 TOML files, such as `turtles/all.toml`"));
}

const TWO_TRAIN: &str = r#"name = "t"
[data.d]
format = "image_folder"
root = "images"
classes = ["cat", "dog"]
[model.m]
arch = "resnet18"
[stage.start]
kind = "load_weights"
file = "resnet18.safetensors"
reinit = ["@head"]
[stage.frozen]
kind = "train"
from = "start"
train = ["@head"]
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
[stage.finetune]
kind = "train"
from = "frozen@last"
freeze = ["layer1"]
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
"#;

/// The code, line and help of each error.
fn errors(text: &str) -> Vec<(String, u64, String)> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.toml"), text).unwrap();
    let (_, stdout, _) = validate(folder.path(), &["t.toml", "--no-inputs", "--json"]);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let error = |error: &Value| (text(&error["code"]), error["line"].as_u64().unwrap(), text(&error["help"]));
    document["errors"].as_array().unwrap().iter().map(error).collect()
}

#[test]
fn one_wrong_pattern_hides_none_of_those_in_its_stage_or_below() {
    assert_eq!(errors(TWO_TRAIN), []);
    let wrong = TWO_TRAIN
        .replace("reinit = [\"@head\"]", "reinit = [\"@haed\", \"layr2\"]")
        .replace("train = [\"@head\"]", "train = [\"@heads\"]")
        .replace("freeze = [\"layer1\"]", "freeze = [\"layr1\"]");
    let meant = |code: &str, line, name: &str| (code.to_owned(), line, format!("did you mean `{name}`?"));
    let expected = [
        meant("unknown-alias", 11, "@head"),
        meant("pattern-unmatched", 11, "layer2"),
        meant("unknown-alias", 15, "@head"),
        meant("pattern-unmatched", 21, "layer1"),
    ];
    assert_eq!(errors(&wrong), expected);
    // Errors in the file's shape are reported together with those of its patterns, but not those of its names.
    let codes: Vec<String> =
        errors(&wrong.replace("epochs = 1", "epochs = 0")).into_iter().map(|(code, ..)| code).collect();
    assert_eq!(codes, ["unknown-alias", "unknown-alias", "out-of-range", "out-of-range"]);
}

#[test]
fn layers_decay_only_where_some_below_the_head_train() {
    let decaying =
        |decay: &str, stage: &str| TWO_TRAIN.replace(stage, &format!("{stage}\nlayer_decay = {decay}"));
    let codes = |text: &str| errors(text).into_iter().map(|(code, line, _)| (code, line)).collect::<Vec<_>>();
    assert_eq!(codes(&decaying("0.5", "train = [\"@head\"]")), [("no-effect".to_owned(), 16)]);
    assert_eq!(codes(&decaying("1", "train = [\"@head\"]")), []);
    assert_eq!(codes(&decaying("0.5", "freeze = [\"layer1\"]")), []);
}
