//! `defrost params`: which parameters train, and by which rule, as text and as JSON.

use std::process::Output;

use serde_json::Value;

fn params(arguments: &[&str]) -> Output {
    assert_cmd::Command::cargo_bin("defrost")
        .unwrap()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_clear()
        .arg("params")
        .args(arguments)
        .output()
        .unwrap()
}

fn document(arguments: &[&str]) -> Value {
    let output = params(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn backbone_freezing_trains_126_tensors_and_freezes_35() {
    let stage = &document(&["pipelines/backbone-freezing.toml"])["stages"][0];
    assert_eq!((&stage["trainable_tensors"], &stage["frozen_tensors"]), (&126.into(), &35.into()));
    assert_eq!(stage["batch_norm"], serde_json::json!({ "total": 53, "train": 42, "eval": 11 }));
    let rows = stage["parameters"].as_array().unwrap();
    for row in rows {
        let name = row["name"].as_str().unwrap();
        let trains = ["layer2", "layer3", "layer4"].iter().any(|part| name.contains(part));
        assert_eq!(row["trainable"], trains, "{name}");
        assert_eq!(row["lr"].is_number(), trains, "{name}");
    }
    assert_eq!(rows[0]["rule"], "freeze[0] = \"*\"");
    assert_eq!(rows[0]["shape"], serde_json::json!([64, 3, 7, 7]));
}

#[test]
fn emotion_trains_a_head_of_4098_and_the_whole_of_23512130() {
    let stages = &document(&["pipelines/emotion-resnet50.toml"])["stages"];
    let of = |stage: usize, key: &str| stages[stage][key].clone();
    assert_eq!([of(0, "name"), of(1, "name")], ["frozen", "finetune"]);
    assert_eq!([of(0, "trainable_parameters"), of(1, "trainable_parameters")], [4_098, 23_512_130]);
    assert_eq!([of(0, "frozen_parameters"), of(1, "frozen_parameters")], [23_508_032, 0]);
    let lr = |stage: usize| stages[stage]["parameters"][159]["lr"].as_f64().unwrap();
    assert!((lr(1) / lr(0) - 0.1).abs() < 1e-12);
}

#[test]
fn an_embedding_of_512_over_nine_people_trains_267_776() {
    let stages = &document(&["pipelines/face-arcface.toml"])["stages"];
    let of = |stage: usize, key: &str| stages[stage][key].as_u64().unwrap();
    assert_eq!(
        [of(0, "frozen_parameters"), of(0, "trainable_parameters")],
        [11_176_512, 512 * 512 + 2 * 512 + 9 * 512]
    );
    assert_eq!(of(0, "frozen_parameters") + of(0, "trainable_parameters"), 11_444_288);
    assert_eq!(stages[0]["batch_norm"], serde_json::json!({ "total": 21, "train": 1, "eval": 20 }));
}

#[test]
fn the_table_for_people_is_aligned_under_its_layers() {
    let output = params(&["pipelines/emotion-resnet50.toml", "--stage", "frozen"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let shown = [&lines[..8], &["…"], &lines[lines.len() - 7..]].concat().join("\n");
    insta::assert_snapshot!(shown, @r#"
        stage frozen: resnet50 from pretrained

            parameter                     shape                  lr    decay  batch norm  rule
          0 stem
            conv1.weight                  64×3×7×7       frozen                           (default)
            bn1.weight                    64             frozen               eval        (default)
            bn1.bias                      64             frozen               eval        (default)
          1 layer1.0
        …
          17 fc
            fc.weight                     2×2048         trains  1e-3  0.01               train[0] = "@head"
            fc.bias                       2              trains  1e-3  0.01               train[0] = "@head"

          trains     2 tensors         4,098 parameters
          frozen   159 tensors    23,508,032 parameters
          batch norm: 53 layers, 0 train, 53 eval
        "#);
    assert_eq!(lines.len(), 3 + 18 + 161 + 4);
}

#[test]
fn a_setting_can_be_tried_before_it_is_written() {
    let set = "stage.frozen.train=[\"layer4.{1..2}\", \"@head\"]";
    let stage =
        &document(&["pipelines/emotion-resnet50.toml", "--stage", "frozen", "--set", set])["stages"][0];
    assert_eq!(stage["trainable_tensors"], 20);
}

#[test]
fn what_is_wrong_is_told_where_it_was_said() {
    let refusal = |arguments: &[&str]| {
        let output = params(arguments);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    insta::assert_snapshot!(refusal(&["pipelines/emotion-resnet50.toml", "--stage", "test_frozen"]), @r#"
        error: stage `test_frozen` is not a train stage
        hint: the train stages are `frozen`, `finetune`
        "#);
    insta::assert_snapshot!(
        refusal(&["pipelines/emotion-resnet50.toml", "--set", "stage.frozen.train=[\"@head\", \"layr4\"]"]),
        @r#"
        error[pattern-unmatched]: `layr4` matches no parameter
         --> --set:1:30
          |
        1 | stage.frozen.train=["@head", "layr4"]
          |                              ^^^^^^^
          |
          = help: did you mean `layer4`?

        pipelines/emotion-resnet50.toml: 1 error
        error: `pipelines/emotion-resnet50.toml` is not valid
        "#
    );
}

/// A detector, which needs neither data nor weights here.
const DETECTOR: &str = r#"
name = "roads"

[data.roads]
format = "image_folder"
root = "images"
classes = ["car", "cyclist", "pedestrian", "tram", "truck"]
image_size = 640

[model.net]
arch = "yolo11s"
head = { kind = "detect" }

[stage.start]
kind = "init_weights"

[stage.frozen]
kind = "train"
from = "start"
freeze_first = 3
epochs = 1
optimizer = { kind = "sgd", lr = 0.01 }
"#;

#[test]
fn the_layers_of_a_detector_are_listed_with_those_that_have_no_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roads.toml");
    std::fs::write(&file, DETECTOR).unwrap();
    let file = file.to_str().unwrap();
    let text = |arguments: &[&str]| {
        let output = params(&[&[file], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let layers = text(&["--layers"]);
    let cells: Vec<String> =
        layers.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in [
        "0 model.0 Conv 32×320×320 928 1 frozen",
        "2 model.2 C3k2 128×160×160 26,080 4 frozen",
        "3 model.3 Conv 128×80×80 147,712 1 trains",
        "9 model.9 SPPF 512×20×20 656,896 2 trains",
        "10 model.10 C2PSA 512×20×20 990,976 7 trains",
        "11 model.11 Upsample 512×40×40 – –",
        "12 model.12 Concat 768×40×40 – –",
        "23 model.23 Detect 69×8400 821,327 18 trains",
        "constant, not a parameter: model.23.dfl.conv.weight",
        "trains 237 tensors 9,384,143 parameters",
        "frozen 18 tensors 45,568 parameters",
    ] {
        assert!(cells.iter().any(|found| found == line), "no `{line}` in\n{layers}");
    }
    assert!(text(&[]).contains(&layers.lines().skip(2).collect::<Vec<_>>().join("\n")));
    let stage = &document(&[file])["stages"][0];
    assert_eq!(stage["constants"], serde_json::json!(["model.23.dfl.conv.weight"]));
    let rows = stage["layer_table"].as_array().unwrap();
    assert_eq!((rows.len(), stage["layers"].as_array().unwrap().len()), (24, 24));
    assert_eq!(
        rows[12],
        serde_json::json!({
            "index": 12, "name": "model.12", "kind": "Concat", "output": [768, 40, 40],
            "parameters": 0, "frozen_parameters": 0, "norms": 0,
        })
    );
    assert_eq!(
        (&stage["trainable_parameters"], &stage["frozen_parameters"]),
        (&9_384_143.into(), &45_568.into())
    );
}
