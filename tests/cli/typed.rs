//! Words from other tools: each gets a suggestion with the equivalent here.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

const PIPELINE: &str = r#"name = "t"
[data.photos]
format = "image_folder"
root = "images"
classes = ["cat", "dog"]
[model.net]
arch = "resnet18"
[stage.start]
kind = "init_weights"
[stage.head]
kind = "train"
from = "start"
train = ["@head"]
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
"#;

fn defrost(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("defrost").unwrap().current_dir(folder).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("t.toml"), PIPELINE).unwrap();
    folder
}

/// The code and help of each error of a pipeline.
fn errors(text: &str) -> Vec<(String, String)> {
    let folder = folder();
    fs::write(folder.path().join("t.toml"), text).unwrap();
    let (_, stdout, _) = defrost(folder.path(), &["validate", "t.toml", "--no-inputs", "--json"]);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let field = |error: &Value, name: &str| error[name].as_str().unwrap_or_default().to_owned();
    let all = document["errors"].as_array().unwrap().iter();
    all.map(|error| (field(error, "code"), field(error, "help"))).collect()
}

/// The commands that a hint names.
fn commands(text: &str) -> Vec<String> {
    let named = text.split("`defrost ").skip(1).filter_map(|rest| rest.split(['`', ' ']).next());
    named.filter(|word| !word.starts_with('-')).map(str::to_owned).collect()
}

#[test]
fn a_command_of_another_tool_is_met_with_ours() {
    let folder = folder();
    for (typed, meant) in [
        ("train", "run"),
        ("fit", "run"),
        ("resume", "run"),
        ("evaluate", "run"),
        ("val", "run"),
        ("infer", "predict"),
        ("ls", "list"),
        ("summary", "params"),
        ("show", "status"),
        ("clean", "gc"),
        ("check", "validate"),
        ("dry-run", "plan"),
        ("new", "init"),
        ("sweep", "run"),
        ("find_lr", "lr-find"),
        ("benchmark", "bench"),
        ("plot", "report"),
        ("convert", "export"),
        ("tensorboard", "run"),
        ("env", "doctor"),
    ] {
        let (code, stdout, stderr) = defrost(folder.path(), &[typed, "t.toml"]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{typed}");
        assert_eq!(commands(&stderr).first().map(String::as_str), Some(meant), "{typed}: {stderr}");
        for command in commands(&stderr) {
            assert_eq!(defrost(folder.path(), &["help", &command]).0, 0, "there is no `{command}`");
        }
    }
    // Typos get suggestions as before.
    assert!(defrost(folder.path(), &["valdate", "t.toml"]).2.contains("'validate'"));
}

#[test]
fn an_option_of_another_tool_is_met_with_a_setting_that_the_file_takes() {
    let folder = folder();
    for (typed, meant) in [
        (&["--epochs", "5"][..], "stage.head.epochs=5"),
        (&["--epochs=5"], "stage.head.epochs=5"),
        (&["epochs=5"], "stage.head.epochs=5"),
        (&["--lr", "1e-3"], "stage.head.optimizer.lr=1e-3"),
        (&["lr0=0.01"], "stage.head.optimizer.lr=0.01"),
        (&["--batch-size", "8"], "stage.head.batch_size=8"),
        (&["--imgsz", "96"], "data.photos.image_size=96"),
        (&["--data", "photos"], "data.photos.root=photos"),
        (&["--arch", "resnet34"], "model.net.arch=resnet34"),
        (&["--seed", "7"], "seed=7"),
        (&["--num-workers", "2"], "run.workers=2"),
        (&["--hflip", "0.5"], "stage.head.augment.horizontal_flip=0.5"),
    ] {
        let (code, _, stderr) = defrost(folder.path(), &[&["run", "t.toml"], typed].concat());
        assert!(code == 2 && stderr.contains(&format!("`--set {meant}`")), "{typed:?}: {stderr}");
        let (code, _, stderr) =
            defrost(folder.path(), &["validate", "t.toml", "--no-inputs", "--set", meant]);
        assert_eq!(code, 0, "{meant}: {stderr}");
    }
    for (typed, meant) in [
        (&["--gpus", "1"][..], "`--device cuda:0`"),
        (&["--config", "t.toml"], "`defrost run FILE`"),
        (&["--dry-run"], "`defrost plan FILE`"),
        (&["--resume"], "to resume an interrupted stage"),
        (&["--overwrite"], "`--force`"),
        (&["--output-dir", "x"], "`--runs-dir`"),
    ] {
        let (code, _, stderr) = defrost(folder.path(), &[&["run", "t.toml"], typed].concat());
        assert!(code == 2 && stderr.contains(meant), "{typed:?}: {stderr}");
    }
    // Without a file there are no names.
    let (_, _, stderr) = defrost(folder.path(), &["run", "other.toml", "--epochs", "5"]);
    assert!(stderr.contains("`--set stage.NAME.epochs=5`, with a name from the file for NAME"), "{stderr}");
}

#[test]
fn a_word_of_another_tool_in_a_file_is_one_error_with_what_to_write() {
    let in_head = |line: &str| format!("{PIPELINE}{line}\n");
    let replaced = |old: &str, new: &str| PIPELINE.replace(old, new);
    let optimizer = "optimizer = { kind = \"sgd\", lr = 0.1 }";
    for (text, code, help) in [
        (in_head("hflip = 0.5"), "unknown-key", "write `augment = { horizontal_flip = 0.5 }`"),
        (in_head("imgsz = 96"), "unknown-key", "write `image_size = 96` in `[data.photos]`"),
        (in_head("batch = 8"), "unknown-key", "write `batch_size = 8`"),
        (in_head("lr0 = 0.01"), "unknown-key", "write `lr = 0.01` in `optimizer`"),
        (in_head("monitor = \"val_accuracy\""), "unknown-value", "write `validation/accuracy`"),
        (in_head("schedule = \"cosine\""), "wrong-type", "write a table: `schedule = { kind = \"cosine\" }`"),
        (in_head("early_stop = 3"), "wrong-type", "write a table: `early_stop = { patience = 3 }`"),
        (in_head("loss = { kind = \"CrossEntropyLoss\" }"), "unknown-kind", "write `cross_entropy`"),
        (in_head("[run]\ndevice = \"cuda\""), "bad-value", "write `device = \"cuda:0\"`"),
        (in_head("[run]\ndevice = \"mps\""), "bad-value", "write `device = \"cpu\"`"),
        (
            replaced(optimizer, "optimizer = \"adamw\""),
            "wrong-type",
            "write a table: `optimizer = { kind = \"adamw\", lr = 1e-3 }`",
        ),
        (replaced("[\"@head\"]", "[\"head\"]"), "pattern-unmatched", "write `@head`, which is `fc` here"),
        (
            replaced("[\"@head\"]", "[\"classifier\"]"),
            "pattern-unmatched",
            "write `@head`, which is `fc` here",
        ),
        (replaced("[\"@head\"]", "[\"backbone\"]"), "pattern-unmatched", "did you mean `@backbone`?"),
        (replaced("kind = \"train\"", "kind = \"fit\""), "unknown-kind", "write `train`"),
        (replaced("resnet18", "vit_base_patch16_224"), "unknown-value", "write `vit_b_16`"),
        (replaced("epochs = 1", "max_epochs = 1"), "unknown-key", "write `epochs = 1`"),
        (
            replaced(optimizer, "lr0 = 0.01"),
            "unknown-key",
            "write `optimizer = { kind = \"adamw\", lr = 1e-3 }`",
        ),
        (
            in_head("num_classes = 2"),
            "unknown-key",
            "remove it: the number of classes comes from the data; `classes` in the data set selects some",
        ),
    ] {
        assert_eq!(errors(&text), [(code.to_owned(), help.to_owned())], "{text}");
    }
}

#[test]
fn text_that_is_no_toml_is_one_error_with_what_to_write() {
    for (written, help) in [
        ("1.e-3", "write `1.0e-3`"),
        (".001", "write `0.001`"),
        ("1_000.", "write `1_000`"),
        ("+.5", "write `0.5`"),
        ("5.", "write `5`"),
        ("0,5", "write `0.5`"),
        ("007", "write `7`"),
        ("1e-3f", "write `1.0e-3`"),
        ("True", "write `true`"),
        ("None", "TOML has no null: remove the setting to use its default"),
        ("sgd", "write text in quotes: `\"sgd\"`"),
        (r#""C:\photos""#, r"write it in single quotes, or with `/`: `'C:\photos'`"),
    ] {
        for text in [
            PIPELINE.replace("lr = 0.1", &format!("lr = {written}")),
            PIPELINE.replace("epochs = 1", &format!("epochs = {written}")),
        ] {
            assert_eq!(errors(&text), [("syntax".to_owned(), help.to_owned())], "{written}");
        }
    }
    let swallowed = PIPELINE.replace("epochs = 1", r#"epochs = "C:\""#);
    let help = r"write it in single quotes, or with `/`: `'C:\'`";
    assert_eq!(errors(&swallowed), [("syntax".to_owned(), help.to_owned())]);
    let yaml = PIPELINE.replace("epochs = 1", "epochs: 1");
    assert_eq!(errors(&yaml), [("syntax".to_owned(), "this is YAML: write `epochs = 1`".to_owned())]);
    let given = |set: &str| {
        let folder = folder();
        defrost(folder.path(), &["validate", "t.toml", "--no-inputs", "--set", set]).2
    };
    assert!(given("stage.head.optimizer.lr=1.e-3").contains("help: write `1.0e-3`"));
    assert!(given("stage.head.epochs=5.").contains("help: write `5`"));
}

#[test]
fn paths_of_shells_and_of_windows_are_met_with_ours() {
    let folder = folder();
    let help = |path: &str, file: &str| {
        let text = PIPELINE.replace("root = \"images\"", &format!("root = {path}"));
        fs::write(folder.path().join("p.toml"), text).unwrap();
        let (code, stdout, _) = defrost(folder.path(), &["validate", file, "--json"]);
        let document: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(code, 2);
        document["errors"][0]["help"].as_str().unwrap_or_default().to_owned()
    };
    let home = "write variables as `${NAME}`: `${HOME}/photos`";
    assert_eq!(help("\"~/photos\"", "p.toml"), home);
    assert_eq!(help("\"$HOME/photos\"", "p.toml"), home);
    let profile = "write variables as `${NAME}`: `${USERPROFILE}/photos`";
    assert_eq!(help("'%USERPROFILE%\\photos'", "p.toml"), profile);
    let windows = "this is a Windows path: write the path of the folder on this machine";
    assert_eq!(help("'C:\\photos'", "p.toml"), windows);
    assert_eq!(help("'\\\\server\\photos'", "p.toml"), windows);
    assert_eq!(help("'data\\photos'", "p.toml"), "write `data/photos`: use `/` between folders");
    let escape = "in double quotes `\\` starts an escape: write the path in single quotes, or with `/`";
    assert_eq!(help("\"C:\\new\"", "p.toml"), escape);
    fs::write(folder.path().join("e.toml"), format!("extends = \"~/base.toml\"\n{PIPELINE}")).unwrap();
    assert_eq!(help("\"x\"", "e.toml"), "write variables as `${NAME}`: `${HOME}/base.toml`");
}

#[test]
fn no_folder_is_called_as_a_shell_writes_home() {
    let folder = folder();
    for command in [&["list", "--runs-dir=~/runs"][..], &["plan", "t.toml", "--runs-dir=~"]] {
        let (code, _, stderr) = defrost(folder.path(), command);
        assert!(code == 2 && stderr.contains("put a space before it"), "{stderr}");
    }
    assert!(!folder.path().join("~").exists());
}

#[test]
fn a_name_that_cannot_be_is_met_with_the_nearest_that_can() {
    let rule =
        "a name consists of ASCII letters, digits, `.`, `_` and `-`, and starts with a letter or digit";
    let named = |name: &str| errors(&PIPELINE.replace("name = \"t\"", &format!("name = \"{name}\"")));
    let expected = |name: &str| [("bad-value".to_owned(), format!("{rule}: write `{name}`"))];
    assert_eq!(named("my turtles"), expected("my-turtles"));
    assert_eq!(named("birds/north"), expected("birds-north"));
    assert_eq!(named("Grünfink"), expected("Gruenfink"));
    let stage =
        PIPELINE.replace("[stage.start]", "[stage.\"first one\"]").replace("\"start\"", "\"first one\"");
    let rule =
        "a name consists of ASCII letters, digits, `_` and `-`, and starts with a letter: write `first-one`";
    assert_eq!(errors(&stage), [("bad-name".to_owned(), rule.to_owned())]);
}
