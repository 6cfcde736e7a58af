//! Pretraining on two views of each image, without labels, through the binary.

use std::fs;

use serde_json::Value;

use super::detection::squares_with;
use super::project::{Project, document, killed_runs_end_in};

/// A backbone that learns from pictures with boxes, which it ignores, and a detector that starts from it.
const PIPELINE: &str = r#"name = "squares"
seed = 3

[data.squares]
format = "yolo"
root = "squares"
classes = ["red", "blue"]
image_size = 64
split = { folders = { train = "images/train", validation = "images/val" } }

[model.views]
arch = "yolo11n"
head = { kind = "projection", hidden = 32, width = 16 }

[model.detector]
arch = "yolo11n"
head = { kind = "detect" }

[defaults.train]
epochs = 2
batch_size = 4
optimizer = { kind = "adamw", lr = 1e-3 }

[stage.start]
kind = "init_weights"
model = "views"

[stage.views]
kind = "train"
from = "start"
loss = { kind = "nt_xent", temperature = 0.2 }

[stage.views.augment]
random_resized_crop = { scale = [0.3, 1.0] }
horizontal_flip = 0.5
color_jitter = { brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1, probability = 0.8 }
grayscale = 0.2
gaussian_blur = {}

[stage.transferred]
kind = "load_weights"
model = "detector"
from = "views@best"
reinit = ["@neck", "@head"]
allow_unexpected = ["classifier"]

[stage.fit]
kind = "train"
from = "transferred"
epochs = 1
loss = { kind = "detection" }
"#;

fn project() -> Project {
    squares_with(PIPELINE)
}

#[test]
fn a_backbone_learns_from_views_and_a_detector_starts_from_it() {
    let project = project();
    let run = project.run(&[]);
    let metrics: Value = serde_json::from_str(&run.read("stages/views/metrics.json")).unwrap();
    for score in ["loss", "contrastive_accuracy", "alignment", "uniformity"] {
        for part in ["train", "validation"] {
            assert!(metrics["last"][format!("{part}_{score}")].is_number(), "{part} {score}: {metrics:#}");
        }
    }
    let report = run.read("report.html");
    assert!(report.contains("validation contrastive accuracy"));
    assert_eq!(document(&project.defrost(&["verify", "squares", "--json"]))["valid"], true);

    // The detector's backbone is that of the views.
    let layer = |stage: &str, file: &str| {
        let file = run.directory.join("stages").join(stage).join(file);
        let tensors = candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap();
        tensors["model.0.conv.weight"].flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(layer("transferred", "model.safetensors"), layer("views", "best.safetensors"));
    assert_ne!(layer("views", "best.safetensors"), layer("start", "model.safetensors"));

    // Labels change the detector alone.
    fs::write(project.path().join("squares/labels/train/3.txt"), "0 0.5 0.5 0.25 0.25\n").unwrap();
    assert_eq!(project.misses(&[]), ["fit"]);
    // A stage without labels predicts nothing, and has features.
    let image = "squares/images/val/0.png";
    let refused = project.defrost(&["predict", "squares", image, "--stage", "views"]);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.contains("predicts nothing") && message.contains("defrost embed"), "{message}");
    assert!(project.defrost(&["predict", "squares", image]).status.success());
    let embedded = project.defrost(&["embed", "squares", image, "--stage", "views", "--out", "features.csv"]);
    assert!(embedded.status.success(), "{}", String::from_utf8_lossy(&embedded.stderr));
    let find = ["lr-find", "colours.toml", "--stage", "views", "--steps", "10", "--json"];
    assert_eq!(document(&project.defrost(&find))["points"].as_array().unwrap().len(), 10);
    let preview = project.defrost(&["preview", "colours.toml", "--stage", "views", "--out", "sheet.png"]);
    assert!(preview.status.success(), "{}", String::from_utf8_lossy(&preview.stderr));
    let plan = document(&project.defrost(&["plan", "colours.toml", "--json"]));
    let fit = plan["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "fit").unwrap();
    assert!(fit["estimate"]["seconds"].as_f64() > Some(0.0), "{fit:#}");
    let again = ["plan", "colours.toml", "--json", "--set", "stage.views.batch_size=3"];
    let plan = document(&project.defrost(&again));
    let views = plan["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "views").unwrap();
    assert!(views["estimate"]["seconds"].as_f64() > Some(0.0), "{views:#}");
}

#[test]
fn killed_anywhere_and_on_any_threads_views_end_in_the_same_bytes() {
    let reference = project().run(&["--threads", "2"]).manifest();
    let arguments = ["--threads", "1", "--set", "run.checkpoint_seconds=0"];
    killed_runs_end_in(&reference, project, (&[1, 2], 2), 1, &arguments);
}

/// Features of a classifier's images are compared by class, which is the accuracy of the nearest neighbour.
#[test]
fn photos_of_classes_are_views_too_and_their_features_are_compared() {
    let project = Project::new();
    let text = project.text();
    let text = text.split("[stage.frozen]").next().unwrap();
    let text =
        text.replace("kind = \"linear\", dropout = 0.2", "kind = \"projection\", hidden = 32, width = 8");
    let stages = "[stage.views]\nkind = \"train\"\nfrom = \"start\"\nepochs = 2\nloss = { kind = \"nt_xent\" }\n\
                  augment = { random_resized_crop = {} }\noptimizer = { kind = \"adamw\", lr = 1e-3 }\n\n\
                  [stage.neighbours]\nkind = \"evaluate\"\nfrom = \"views@last\"\nidentification = {}\n";
    project.write(&format!("{text}{stages}"));
    let run = project.run(&[]);
    let metrics: Value = serde_json::from_str(&run.read("stages/neighbours/metrics.json")).unwrap();
    assert!(metrics.to_string().contains("rank"), "{metrics:#}");

    let refused = |from: &str, to: &str| {
        let text = project.text();
        assert_eq!(text.matches(from).count(), 1, "{from}");
        project.write(&text.replace(from, to));
        let output = project.defrost(&["validate", "colours.toml", "--json"]);
        project.write(&text);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["errors"][0]["message"].as_str().unwrap_or_default().to_owned()
    };
    assert!(refused("identification = {}\n", "").contains("predicts nothing to evaluate"));
    let no_loss = refused("loss = { kind = \"nt_xent\" }\n", "");
    assert!(no_loss.contains("learns from annotations"), "{no_loss}");
    let no_head = refused("kind = \"projection\", hidden = 32, width = 8", "kind = \"linear\"");
    assert!(no_head.contains("compares projections of views"), "{no_head}");
    assert!(
        refused("augment = { random_resized_crop = {} }\n", "").contains("two views of an image are equal")
    );
}
