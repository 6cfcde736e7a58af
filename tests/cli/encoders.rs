//! Encoders that only support frozen use, with a trainable head.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::project::{Project, document};

/// An encoder with random weights instead of a published file.
fn project(arch: &str, image_size: usize) -> Project {
    let project = Project::new();
    project.write(&format!(
        r#"name = "colours"

[data.photos]
format = "image_folder"
root = "photos"
image_size = {image_size}
split = {{ validation = 0.3, test = 0.2 }}

[model.net]
arch = "{arch}"

[stage.start]
kind = "init_weights"

[stage.head]
kind = "train"
from = "start"
train = ["@head"]
epochs = 2
batch_size = 5
optimizer = {{ kind = "adamw", lr = 1e-2 }}

[stage.test]
kind = "evaluate"
from = "head@last"
"#
    ));
    project
}

fn errors(project: &Project, set: &[&str]) -> Vec<(String, String)> {
    let set = set.iter().flat_map(|value| ["--set", value]);
    let arguments: Vec<&str> = ["validate", "colours.toml", "--json"].into_iter().chain(set).collect();
    let document: Value = serde_json::from_slice(&project.defrost(&arguments).stdout).unwrap();
    let text = |error: &Value, key: &str| error[key].as_str().unwrap().to_owned();
    let all = document["errors"].as_array().unwrap().iter();
    all.map(|error| (text(error, "code"), text(error, "message"))).collect()
}

/// The counts of the published encoders, plus the head for three classes.
#[test]
fn an_encoder_is_frozen_and_its_head_trains() {
    for (arch, image_size, frozen, head) in [
        ("dinov2_vits14", 28, 22_056_192, 3 * 384 + 3),
        ("dinov2_vitb14", 28, 86_579_712, 3 * 768 + 3),
        ("dinov2_vitl14", 28, 304_367_616, 3 * 1024 + 3),
        ("clip_vit_b32", 224, 87_456_000, 3 * 768 + 3),
        ("siglip_base_patch16_224", 224, 92_884_224, 3 * 768 + 3),
    ] {
        let project = project(arch, image_size);
        assert_eq!(errors(&project, &[]), []);
        let stage = &document(&project.defrost(&["params", "colours.toml", "--json"]))["stages"][0];
        let counts = ["frozen_parameters", "trainable_parameters"].map(|key| stage[key].as_u64().unwrap());
        assert_eq!(counts, [frozen, head], "{arch}");
        let plan = project.plan(&[]);
        let layers = match arch {
            "dinov2_vits14" | "dinov2_vitb14" => 14,
            "dinov2_vitl14" => 26,
            _ => 1,
        };
        assert_eq!(plan["stages"][1]["features"]["layers"], layers, "{arch}");
    }
}

#[test]
fn what_would_train_an_encoder_or_give_it_images_of_another_size_is_refused_at_its_place() {
    let clip = project("clip_vit_b32", 224);
    let found = errors(&clip, &["stage.head.train=[\"@head\", \"vision_model.post_layernorm\"]"]);
    let message = "`clip_vit_b32` is a feature extractor only, but its `vision_model.post_layernorm.weight` \
                   would train here";
    assert_eq!(found, [("feature-extractor".to_owned(), message.to_owned())]);
    clip.edit("train = [\"@head\"]\n", "");
    let found = errors(&clip, &[]);
    assert!(found[0].0 == "feature-extractor" && found[0].1.contains("class_embedding"), "{found:?}");

    let size = |arch: &str, image_size| errors(&project(arch, image_size), &[]);
    let message = "the model has position embeddings for `image_size` 224, not 160".to_owned();
    assert_eq!(size("siglip_base_patch16_224", 160)[0], ("image-size".to_owned(), message));
    assert_eq!(size("dinov2_vits14", 32)[0].0, "image-size");
}

/// A data set without channel statistics uses those of the encoder's pretraining; explicit ones are kept.
#[test]
fn images_are_normalised_as_the_encoder_was_trained() {
    let clip = project("clip_vit_b32", 224);
    let key = |set: &[&str]| {
        let set: Vec<&str> = set.iter().flat_map(|value| ["--set", value]).collect();
        clip.plan(&set)["stages"][1]["recipe"].clone()
    };
    assert_eq!(key(&[]), key(&["data.photos.normalize=\"clip\""]));
    assert_ne!(key(&[]), key(&["data.photos.normalize=\"imagenet\""]));
}

#[test]
fn a_head_is_trained_on_the_features_of_an_encoder_that_does_not_move() {
    let project = project("dinov2_vits14", 28);
    let run = project.run(&[]);
    let parameters = run.read("stages/head/parameters.csv");
    let moved = parameters.lines().filter(|line| line.contains(",true,")).count();
    assert_eq!((moved, parameters.lines().count()), (2, 1 + 174 + 2));
    assert!(run.metrics("test")["loss"].as_f64().unwrap() > 0.0);
    assert!(project.defrost(&["verify", "colours"]).status.success());
    // The same file on one thread gives the same bytes.
    let manifest = run.manifest();
    let again = project.run(&["--force", "--threads", "1"]);
    assert_eq!(again.manifest(), manifest);
}

#[test]
fn a_starter_pipeline_for_an_encoder_trains_its_head_alone() {
    let folder = tempfile::tempdir().unwrap();
    let defrost = |arguments: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("defrost").unwrap();
        command.current_dir(folder.path()).args(arguments).output().unwrap()
    };
    let file = |path: &str| fs::read_to_string(Path::new(folder.path()).join(path)).unwrap();
    assert!(defrost(&["init", "new", "--arch", "clip_vit_b32"]).status.success());
    let text = file("new/pipeline.toml");
    assert!(text.contains("\"clip\"") && !text.contains("finetune"), "{text}");
    assert!(defrost(&["validate", "new/pipeline.toml", "--no-inputs"]).status.success());
    let gradual = defrost(&["init", "other", "--arch", "clip_vit_b32", "--schedule", "gradual"]);
    assert_eq!(gradual.status.code(), Some(2));
}
