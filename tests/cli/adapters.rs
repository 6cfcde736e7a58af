//! Low-rank adapters from training to export: what changes, what stays, and who reads what.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use crate::project::{Project, Run, document, killed_runs_end_in};

/// Adapters of a vision transformer under timm's names are trained, trained further, left alone, and merged.
const PIPELINE: &str = r#"name = "colours"
seed = 3

[data.photos]
format     = "image_folder"
root       = "photos"
image_size = 32
resize     = 32
split      = { validation = 0.25, test = 0.25, seed = 0 }

[model.net]
arch = "vit_s_16"

[defaults.train]
batch_size = 5
epochs     = 2
optimizer  = { kind = "adamw", lr = 1e-3 }

[stage.start]
kind = "init_weights"

[stage.adapted]
kind    = "train"
from    = "start"
train   = ["@head", "encoder.ln"]
adapter = { match = ["encoder.layers.encoder_layer_{10..11}.self_attention", "*.mlp.0", "!*_layer_0"], rank = 2, alpha = 4 }

[stage.further]
kind   = "train"
from   = "adapted@best"
train  = ["@adapter"]
groups = [{ match = ["*.self_attention"], lr_scale = 0.5 }]
optimizer = { kind = "adamw", lr = 1e-3, weight_decay = 0.1, no_decay = ["@adapter"] }

[stage.head]
kind  = "train"
from  = "further@last"
train = ["@head"]

[stage.merged]
kind = "load_weights"
from = "further@last"

[stage.test]
kind = "evaluate"
from = "further@last"

[stage.test_merged]
kind = "evaluate"
from = "merged"
"#;

/// The parameters of the adapters: two layers of attention, and eleven of perceptrons.
const ADAPTERS: u64 = 2 * (2 * ((384 + 1152) + (384 + 384)) + 11 * (384 + 1536));

fn project() -> Project {
    let project = Project::new();
    project.write(PIPELINE);
    project
}

fn tensors(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let values =
        |tensor: Tensor| tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap();
    let all = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    all.into_iter().map(|(name, tensor)| (name, values(tensor))).collect()
}

fn of_run(run: &Run, file: &str) -> BTreeMap<String, Vec<f32>> {
    tensors(&run.directory.join("stages").join(file))
}

fn stdout(project: &Project, arguments: &[&str]) -> String {
    let output = project.defrost(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn params_and_plan_count_adapters_and_name_their_rule() {
    let project = project();
    let document = document(&project.defrost(&["params", "colours.toml", "--json"]));
    let stage = |name: &str| {
        let stages = document["stages"].as_array().unwrap();
        stages.iter().find(|stage| stage["name"] == name).unwrap()
    };
    let (head, norm, network) = (3 * 384 + 3, 2 * 384, 21_591_936);
    let trained = |name: &str| stage(name)["trainable_parameters"].as_u64().unwrap();
    let frozen = |name: &str| stage(name)["frozen_parameters"].as_u64().unwrap();
    assert_eq!(
        [trained("adapted"), trained("further"), trained("head")],
        [ADAPTERS + head + norm, ADAPTERS, head]
    );
    let base = frozen("adapted");
    assert_eq!([frozen("further"), frozen("head")], [base + head + norm, base + norm + ADAPTERS]);
    assert_eq!(base + norm, network);
    let row = |stage: &Value, name: &str| {
        let rows = stage["parameters"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).expect("a row");
        format!("{} {} {} {} {}", row["shape"], row["trainable"], row["rule"], row["lr"], row["weight_decay"])
    };
    let mlp = "encoder.layers.encoder_layer_3.mlp.0.lora_B.weight";
    let attention = "encoder.layers.encoder_layer_11.self_attention.in_proj.lora_A.weight";
    assert_eq!(row(stage("adapted"), mlp), r#"[1536,2] true "adapter" 0.001 0.01"#);
    assert_eq!(row(stage("further"), mlp), r#"[1536,2] true "train[0] = \"@adapter\"" 0.001 0.0"#);
    assert_eq!(row(stage("further"), attention), r#"[2,384] true "train[0] = \"@adapter\"" 0.0005 0.0"#);
    assert_eq!(row(stage("head"), mlp), r#"[1536,2] false "(default)" null null"#);
    // Each adapter is printed with its layer.
    let text = stdout(&project, &["params", "colours.toml", "--stage", "adapted"]);
    assert_eq!(text.matches("heads.head\n").count(), 1, "{text}");
    // Patterns that match the same layers are the same adapters; another scale is not.
    let recipe = |set: &[&str]| project.plan(set)["stages"][1]["recipe"].clone();
    let other = "stage.adapted.adapter.match=[\"re:layer_1[01]\\\\.self_att\",\"encoder.layers.*.mlp.0\",\"!*_layer_0\"]";
    assert_eq!(recipe(&[]), recipe(&["--set", other]));
    assert_ne!(recipe(&[]), recipe(&["--set", "stage.adapted.adapter.alpha=2"]));
    // Below the first adapter, layers run once for each image; so do all if only the head trains.
    let plan = project.plan(&[]);
    let layers = |stage: usize| plan["stages"][stage]["features"]["layers"].clone();
    assert_eq!([layers(1), layers(3)], [2, 14].map(Value::from));
}

#[test]
fn the_network_keeps_its_bits_and_merged_weights_predict_the_same() {
    let project = project();
    let run = project.run(&["--threads", "2"]);
    let start = of_run(&run, "start/model.safetensors");
    let adapted = of_run(&run, "adapted/last.safetensors");
    let moved = |name: &&String| start.get(*name).is_none_or(|before| *before != adapted[*name]);
    let moved: Vec<&String> = adapted.keys().filter(moved).collect();
    assert_eq!(adapted.len(), start.len() + 2 * (4 + 11));
    let is_trained = |name: &&String| {
        name.contains(".lora_") || name.starts_with("heads.head") || name.starts_with("encoder.ln.")
    };
    assert!(moved.iter().all(is_trained), "{moved:?}");
    assert_eq!(moved.len(), 2 * (4 + 11) + 4, "each has learnt");
    // What trained, alone: under PEFT's names.
    let alone = of_run(&run, "adapted/adapter.safetensors");
    let best = of_run(&run, "adapted/best.safetensors");
    assert_eq!(alone.len(), 2 * (4 + 11) + 4);
    for (name, values) in &alone {
        assert_eq!(*values, best[name.strip_prefix("base_model.model.").unwrap()], "{name}");
    }
    let size = |file: &str| std::fs::metadata(run.directory.join("stages").join(file)).unwrap().len();
    assert!(size("adapted/adapter.safetensors") * 50 < size("adapted/best.safetensors"));
    assert!(project.defrost(&["verify", "colours"]).status.success());

    // A `load_weights` stage merges, and everything that reads the stage computes with the same bits.
    let merged = of_run(&run, "merged/model.safetensors");
    assert_eq!(merged.keys().collect::<Vec<_>>(), start.keys().collect::<Vec<_>>());
    assert_eq!(run.metrics("test"), run.metrics("test_merged"));
    let image = "photos/red/00.png";
    let predicted = |stage: &str| {
        let arguments = ["predict", "colours", image, "--json", "--stage", stage];
        document(&project.defrost(&arguments))["predictions"].clone()
    };
    assert_eq!(predicted("further@last"), predicted("merged"));
    for (stage, out) in [("further@last", "adapted.onnx"), ("merged", "merged.onnx")] {
        stdout(&project, &["export", "colours", "--stage", stage, "--out", out]);
    }
    let exported = |file: &str| std::fs::read(project.path().join(file)).unwrap().len();
    assert!(exported("adapted.onnx").abs_diff(exported("merged.onnx")) < 100);
    stdout(&project, &["export", "colours", "--stage", "further@last", "--format", "timm", "--out", "timm"]);
    let timm = tensors(&project.path().join("timm/model.safetensors"));
    assert_eq!(
        timm["blocks.10.attn.qkv.weight"],
        merged["encoder.layers.encoder_layer_10.self_attention.in_proj_weight"]
    );
    assert_ne!(
        timm["blocks.10.attn.qkv.weight"],
        start["encoder.layers.encoder_layer_10.self_attention.in_proj_weight"]
    );

    // The same file gives the same bytes on one thread.
    let again = project.run(&["--force", "--threads", "1"]);
    assert_eq!(again.manifest(), run.manifest());
}

#[test]
fn adapters_are_exported_for_peft() {
    let project = project();
    project.run(&["--until", "further"]);
    stdout(&project, &["export", "colours", "--stage", "adapted", "--format", "peft", "--out", "peft"]);
    let folder = project.path().join("peft");
    let config: Value =
        serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"]), (&Value::from(2), &Value::from(4.0)));
    assert_eq!(config["base_model_name_or_path"], "vit_small_patch16_224");
    assert_eq!(config["target_modules"].as_array().unwrap().len(), 4 + 11);
    assert_eq!(config["target_modules"][0], "blocks.1.mlp.fc1");
    assert_eq!(config["modules_to_save"], serde_json::json!(["head", "norm"]));
    let saved = tensors(&folder.join("adapter_model.safetensors"));
    assert_eq!(saved.len(), 2 * (4 + 11) + 4);
    assert!(saved.contains_key("base_model.model.blocks.11.attn.qkv.lora_A.weight"));
    assert!(saved.contains_key("base_model.model.head.weight"));
    // A stage without adapters has none to export.
    project.edit("adapter = { match", "# adapter = { match");
    project.edit("train  = [\"@adapter\"]", "train  = [\"@head\"]");
    project.edit("groups = [", "# groups = [");
    project.edit(", no_decay = [\"@adapter\"]", "");
    project.run(&["--until", "further"]);
    let refused =
        project.defrost(&["export", "colours", "--stage", "further", "--format", "peft", "--out", "other"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && said.contains("has no adapters"), "{said}");
}

/// What a stage of adapters leaves is merged into the weights that it started from, from its own file and from PEFT's.
#[test]
fn files_of_adapters_are_merged_into_their_base() {
    let project = project();
    let adapted = project.run(&["--until", "adapted"]);
    fs::copy(
        adapted.directory.join("stages/adapted/adapter.safetensors"),
        project.path().join("adapter.safetensors"),
    )
    .unwrap();
    stdout(&project, &["export", "colours", "--stage", "adapted@best", "--format", "peft", "--out", "peft"]);
    let text = project.text();
    let base = &text[..text.find("[stage.further]").unwrap()];
    let stage = |name: &str, adapter: &str| {
        format!("[stage.{name}]\nkind = \"load_weights\"\nfrom = \"start\"\nadapter_file = \"{adapter}\"\n\n")
    };
    let more = [
        "[stage.merged]\nkind = \"load_weights\"\nfrom = \"adapted@best\"\n\n",
        &stage("own", "adapter.safetensors"),
        &stage("peft", "peft/adapter_model.safetensors"),
    ];
    project.write(&format!("{base}{}", more.concat()));
    let run = project.run(&[]);
    let merged = of_run(&run, "merged/model.safetensors");
    assert!(merged == of_run(&run, "own/model.safetensors"), "the same bits");
    assert!(merged == of_run(&run, "peft/model.safetensors"), "under timm's names too");
    // Another adapter is another result; what it is called is not.
    fs::rename(project.path().join("adapter.safetensors"), project.path().join("renamed.safetensors"))
        .unwrap();
    project.edit("\"adapter.safetensors\"", "\"renamed.safetensors\"");
    assert_eq!(project.misses(&[]), [""; 0]);
    let config = project.path().join("peft/adapter_config.json");
    let settings = fs::read_to_string(&config).unwrap();
    fs::write(&config, settings.replace("\"lora_alpha\": 4.0", "\"lora_alpha\": 2.0")).unwrap();
    assert_eq!(project.misses(&[]), ["peft"]);

    let refused = |old: &str, new: &str| {
        let text = project.text();
        project.edit(old, new);
        let output = project.defrost(&["validate", "colours.toml"]);
        project.write(&text);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let whole = adapted.directory.join("stages/start/model.safetensors");
    let said = refused("\"renamed.safetensors\"", &format!("\"{}\"", whole.display()));
    assert!(said.contains("it does not say which rank and alpha"), "{said}");
    let said = refused("\"renamed.safetensors\"", "\"nowhere.safetensors\"");
    assert!(said.contains("no such file: `nowhere.safetensors`"), "{said}");
    let said = refused("split      =", "classes    = [\"red\", \"green\", \"blue\"]\nsplit      =");
    assert!(said.contains("its head predicts `blue`, `green`, `red`"), "{said}");
    fs::write(&config, settings.replace("\"r\": 2", "\"r\": 3")).unwrap();
    let said = refused("colours\"", "colours\"\n");
    assert!(said.contains("an adapter of rank 3"), "{said}");
    fs::write(&config, settings.replace("\"LORA\"", "\"IA3\"")).unwrap();
    let said = refused("colours\"", "colours\"\n");
    assert!(said.contains("sets `peft_type` to something that is not read"), "{said}");
    fs::write(&config, &settings).unwrap();
    let said = refused("arch = \"vit_s_16\"", "arch = \"vit_b_16\"");
    assert!(
        said.contains("are for `vit_s_16`, not for `vit_b_16`") || said.contains("adapter of rank"),
        "{said}"
    );
}

#[test]
fn killed_runs_end_in_the_same_bytes() {
    let small = || {
        let project = project();
        let text = project.text();
        project.write(&text[..text.find("[stage.further]").unwrap()]);
        project
    };
    let reference = small().run(&[]).manifest();
    killed_runs_end_in(&reference, small, (&[1, 1], 2), 1, &["--set", "run.checkpoint_seconds=0"]);
}

/// One stage with adapters, of which line 17 selects what else trains, and line 18 has the adapters.
const REFUSED: &str = r#"name = "colours"

[data.photos]
format = "image_folder"
root = "photos"
image_size = 32

[model.net]
arch = "vit_s_16"

[stage.start]
kind = "init_weights"

[stage.adapted]
kind = "train"
from = "start"
TRAIN
adapter = ADAPTER
epochs = 1
optimizer = { kind = "sgd", lr = 0.1 }
"#;

#[test]
fn wrong_adapters_are_refused_at_their_place() {
    let project = Project::new();
    let found = |train: &str, adapter: &str, more: &str| {
        project.write(&(REFUSED.replace("TRAIN", train).replace("ADAPTER", adapter) + more));
        let document: Value =
            serde_json::from_slice(&project.defrost(&["validate", "colours.toml", "--json"]).stdout).unwrap();
        let errors = document["errors"].as_array().unwrap().iter();
        let place = |error: &Value| {
            format!("{}:{} {}", error["line"], error["column"], error["code"].as_str().unwrap())
        };
        errors.map(place).collect::<Vec<_>>().join(", ")
    };
    let head = "train = [\"@head\"]";
    let of = |patterns: &str| format!("{{ match = [{patterns}], rank = 8 }}");
    let all = of("\"encoder\"");
    assert_eq!(found(head, &all, ""), "");
    assert_eq!(found(head, &of("\"blocks\""), ""), "18:22 pattern-unmatched");
    assert_eq!(found(head, &of("\"encoder\", \"conv_proj\""), ""), "18:33 adapter-not-linear");
    assert_eq!(found(head, &of("\"@head\""), ""), "18:22 adapter-not-linear");
    assert_eq!(found(head, &all.replace("8", "385"), ""), "18:41 adapter-rank");
    assert_eq!(found("freeze = [\"@adapter\"]", &all, ""), "17:11 conflict");
    let trained = "train = [\"@head\", \"encoder.layers.encoder_layer_11\"]";
    assert_eq!(found(trained, &all, ""), "17:19 adapter-trains");
    assert_eq!(found("train = [\"@head\", \"@norm\", \"@bias\"]", &all, ""), "");
    assert_eq!(found("train_last = 3", &all, ""), "17:14 adapter-trains");
    assert_eq!(found("train_last = 1", &all, ""), "");
    let thawed = format!("{head}\nunfreeze = [{{ after_epochs = 1, match = [\"*.mlp.3\"] }}]\nepochs = 2");
    let one = of("\"*.mlp.3\"");
    let text = REFUSED.replace("epochs = 1\n", "");
    project.write(&text.replace("TRAIN", &thawed).replace("ADAPTER", &one));
    let said = String::from_utf8(project.defrost(&["validate", "colours.toml"]).stderr).unwrap();
    assert!(said.contains("unfreeze-trains"), "{said}");
    let again = |adapter: &str| {
        let more = "\n[stage.again]\nkind = \"train\"\nfrom = \"adapted@last\"\ntrain = [\"@head\"]\nepochs = 1\n\
                    optimizer = { kind = \"sgd\", lr = 0.1 }\n";
        found(head, &all, &format!("{more}{adapter}"))
    };
    assert_eq!(again(""), "");
    assert_eq!(again(&format!("adapter = {one}")), "28:1 conflict");
    // Without adapters, their alias matches nothing.
    project.write(&REFUSED.replace("TRAIN", "train = [\"@adapter\"]").replace("adapter = ADAPTER\n", ""));
    let said = String::from_utf8(project.defrost(&["validate", "colours.toml"]).stderr).unwrap();
    assert!(said.contains("the model has no adapters here"), "{said}");
    project.write(&REFUSED.replace("TRAIN", head).replace("ADAPTER", &all).replace("vit_s_16", "resnet18"));
    let said = String::from_utf8(project.defrost(&["validate", "colours.toml"]).stderr).unwrap();
    assert!(said.contains("`resnet18` has no linear layers below its head to adapt"), "{said}");
}

/// An encoder whose layers are its own operations learns through adapters, and in no other way.
#[test]
fn dinov2_trains_by_adapters_alone() {
    let project = project();
    project.edit("vit_s_16", "dinov2_vits14");
    project.edit("image_size = 32\n", "image_size = 28\n");
    let text = project.text();
    let text = text[..text.find("[stage.further]").unwrap()].replace(", \"encoder.ln\"]", "]").replace(
        "[\"encoder.layers.encoder_layer_{10..11}.self_attention\", \"*.mlp.0\", \"!*_layer_0\"]",
        "[\"blocks.11.attn.qkv\"]",
    );
    project.write(&text);
    let run = project.run(&[]);
    let parameters = run.read("stages/adapted/parameters.csv");
    let trained: Vec<&str> = parameters.lines().filter(|line| line.contains(",true,")).collect();
    assert_eq!(trained.len(), 4, "{trained:?}");
    assert!(project.defrost(&["verify", "colours"]).status.success());
    let refused = project.defrost(&[
        "validate",
        "colours.toml",
        "--set",
        "stage.adapted.train=[\"@head\", \"blocks.10\"]",
    ]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("`dinov2_vits14` is a feature extractor only, but its `blocks.10."), "{said}");
}
