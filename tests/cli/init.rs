//! `defrost init`: what it writes validates, and it overwrites nothing.

use std::fs;
use std::path::Path;

use assert_cmd::Command;

fn defrost(folder: &Path, args: &[&str]) -> (i32, String) {
    let output = Command::cargo_bin("defrost").unwrap().current_dir(folder).args(args).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn the_starter_validates_without_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = defrost(folder.path(), &["init", "turtles"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = defrost(folder.path(), &["validate", "turtles/pipeline.toml", "--no-inputs"]);
    assert_eq!((code, text.as_str()), (0, "ok: turtles/pipeline.toml: 5 stages\n"));
    let schema = fs::read_to_string(folder.path().join("turtles/pipeline.schema.json")).unwrap();
    assert_eq!(schema, include_str!("../../schemas/pipeline.schema.json"));
}

#[test]
fn what_is_given_is_found_from_where_the_file_lies() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["train", "val"] {
        fs::create_dir_all(folder.path().join(format!("photos/{part}/a"))).unwrap();
    }
    fs::write(folder.path().join("ResNet-34.pth"), "").unwrap();
    let (code, text) =
        defrost(folder.path(), &["init", "deep/er", "--data", "photos", "--weights", "ResNet-34.pth"]);
    assert_eq!(code, 0, "{text}");
    let text = fs::read_to_string(folder.path().join("deep/er/pipeline.toml")).unwrap();
    for expected in [
        "name = \"er\"",
        "root       = \"../../photos\"",
        "file   = \"../../ResNet-34.pth\"",
        "arch = \"resnet34\"",
        "split      = { folders = { train = \"train\", validation = \"val\" } }",
        "split = \"validation\"",
    ] {
        assert!(text.contains(expected), "no {expected} in\n{text}");
    }
    let resolved = defrost(folder.path(), &["validate", "deep/er/pipeline.toml", "--no-inputs"]);
    assert_eq!(resolved.0, 0, "{}", resolved.1);
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pipeline.toml"), "mine").unwrap();
    let (code, text) = defrost(folder.path(), &["init"]);
    assert_eq!(code, 2);
    assert!(text.contains("is there already"), "{text}");
    assert_eq!(fs::read_to_string(folder.path().join("pipeline.toml")).unwrap(), "mine");
    assert!(!folder.path().join("pipeline.schema.json").exists());
    let (code, text) = defrost(folder.path(), &["init", "new", "--data", "nowhere"]);
    assert_eq!(code, 2);
    assert!(text.contains("there is no `nowhere`") && !folder.path().join("new").exists(), "{text}");
}
