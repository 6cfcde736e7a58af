//! Losses that compare embeddings by class, through the binary: training, evaluations, and what is refused.

use serde_json::Value;

use crate::project::{Project, document, killed_runs_end_in};

pub const TRIPLET: &str = "{ kind = \"triplet\", margin = 0.3 }";
const SUPCON: &str = "{ kind = \"supcon\" }";

/// Embeddings of three colours, compared on the test images.
pub fn project(loss: &str) -> Project {
    let project = Project::new();
    let text = project.text();
    let (head, _) = text.split_once("[stage.frozen]").unwrap();
    let head = head.replace(
        "{ kind = \"linear\", dropout = 0.2 }",
        "{ kind = \"embedding\", dimension = 8, classifier = false, dropout = 0.1 }",
    );
    let head = head.replace(
        "batch_size = 5",
        &format!(
            "batch_size = 6\nsampler = {{ kind = \"p_k\", classes = 3, images = 2 }}\nloss = {loss}\n\
             monitor = \"validation/map\""
        ),
    );
    let stages = r#"[stage.frozen]
kind      = "train"
from      = "start"
train     = ["@head"]
epochs    = 3
optimizer = { kind = "adamw", lr = 1e-2 }

[stage.finetune]
kind       = "train"
from       = "frozen@best"
train_last = 2
epochs     = 2
accumulate = 2
augment    = { horizontal_flip = 0.5, rotation = 10 }
optimizer  = { kind = "sgd", lr = 1e-3, momentum = 0.9 }

[stage.test]
kind = "evaluate"
from = "finetune@best"
verification   = { far = [0.1] }
identification = { gallery = "train" }
"#;
    project.write(&format!("{head}{stages}"));
    project
}

#[test]
fn embeddings_learn_to_tell_colours_apart_and_are_compared() {
    for loss in [TRIPLET, SUPCON] {
        let project = project(loss);
        let run = project.run(&[]);
        let metrics: Value = serde_json::from_str(&run.read("stages/frozen/metrics.json")).unwrap();
        for score in ["train_loss", "train_rank1", "validation_loss", "validation_rank1", "validation_map"] {
            assert!(metrics["last"][score].is_number(), "{score}: {metrics:#}");
        }
        assert!(metrics["best"]["validation_map"].as_f64() > Some(0.7), "{metrics:#}");
        let compared = run.metrics("test");
        assert!(compared["identification"]["rank1"].as_f64() > Some(0.7), "{compared:#}");
        assert_eq!(document(&project.defrost(&["verify", "colours", "--json"]))["valid"], true);
        assert!(run.read("report.html").contains("validation rank 1"));

        // There is no direction of a class, and the output is the embedding.
        let file = run.directory.join("stages/finetune/best.safetensors");
        let tensors = candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap();
        assert!(!tensors.keys().any(|name| name.contains("classifier.weight")), "{:?}", tensors.keys());
        let image = "photos/red/00.png";
        let refused = project.defrost(&["predict", "colours", image]);
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(message.contains("predicts nothing") && message.contains("defrost embed"), "{message}");
        let embedded = document(&project.defrost(&["embed", "colours", image, "--json"]));
        let vector: Vec<f64> =
            serde_json::from_value(embedded["embeddings"][0]["embedding"].clone()).unwrap();
        assert_eq!(vector.len(), 8);
        assert!((vector.iter().map(|x| x * x).sum::<f64>() - 1.0).abs() < 1e-5);
        let find = ["lr-find", "colours.toml", "--stage", "frozen", "--steps", "10", "--json"];
        assert!(!document(&project.defrost(&find))["points"].as_array().unwrap().is_empty());
        let plan = document(&project.defrost(&["plan", "colours.toml", "--json", "--set", "seed=9"]));
        assert!(plan["stages"][1]["estimate"]["seconds"].as_f64() > Some(0.0), "{plan:#}");
    }
}

#[test]
fn killed_anywhere_and_on_any_threads_embeddings_end_in_the_same_bytes() {
    let long = ["--set", "stage.finetune.epochs=4"];
    let reference = project(TRIPLET).run(&[&long[..], &["--threads", "2"]].concat()).manifest();
    let arguments = [&long[..], &["--threads", "1", "--set", "run.checkpoint_seconds=0"]].concat();
    killed_runs_end_in(&reference, || project(TRIPLET), (&[1, 2], 4), 1, &arguments);
    let reference = project(SUPCON).run(&["--threads", "2"]).manifest();
    assert_eq!(
        project(SUPCON).run(&["--threads", "1", "--set", "run.feature_cache=off"]).manifest(),
        reference
    );
}

#[test]
fn what_does_not_fit_is_refused_with_the_cure() {
    let refused = |from: &str, to: &str| {
        let project = project(TRIPLET);
        project.edit(from, to);
        let output = project.defrost(&["validate", "colours.toml", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let error = &report["errors"][0];
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        format!("{} | {}", text("message"), text("help"))
    };
    let sampler = "sampler = { kind = \"p_k\", classes = 3, images = 2 }\n";
    let message = refused(sampler, "");
    assert!(message.contains("several of each class | set `sampler = { kind = \"p_k\""), "{message}");
    let message = refused(sampler, "sampler = { kind = \"balanced\" }\n");
    assert!(message.contains("set `sampler = { kind = \"p_k\""), "{message}");
    let message = refused("classifier = false, ", "");
    assert!(message.contains("this head computes class scores | use `head = { kind"), "{message}");
    let message = refused(&format!("loss = {TRIPLET}\n"), "");
    assert!(message.contains("needs class scores | write `loss = { kind = \"triplet\" }`"), "{message}");
    let message = refused("monitor = \"validation/map\"", "monitor = \"validation/accuracy\"");
    assert!(message.contains("no score `validation/accuracy`"), "{message}");
    let message = refused("verification   = { far = [0.1] }\nidentification = { gallery = \"train\" }\n", "");
    assert!(
        message.contains("predicts nothing to evaluate") && message.contains("identification"),
        "{message}"
    );
    let message = refused("rotation = 10", "mixup = { alpha = 0.2 }");
    assert!(message.contains("`triplet` needs one class per image"), "{message}");
    let message = refused("accumulate = 2", "distill = { teacher = \"frozen@best\" }");
    assert!(message.contains("a teacher predicts classes"), "{message}");
    let message = refused("margin = 0.3", "margin = 0.3, soft_margin = true");
    assert!(message.contains("`margin` has no effect"), "{message}");
    let message = refused("dimension = 8,", "dimension = 8, scale = 32,");
    assert!(message.contains("`scale` has no effect"), "{message}");
    let message = refused("validation = 0.25, test = 0.25", "validation = 0.04, test = 0.25");
    assert!(
        message.contains("no class has two validation images") || message.contains("no image of class"),
        "{message}"
    );
}
