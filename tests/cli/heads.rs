//! Heads other than linear layers, and losses other than cross-entropy, in whole runs.

use serde_json::Value;

use super::project::{Project, Run, document};

const HEAD: &str = "head = { kind = \"linear\", dropout = 0.2 }";
const EMBEDDING: &str = "head = { kind = \"embedding\", dimension = 8, scale = 16, dropout = 0.2 }";

/// Features of the frozen layers are cached with any head. A model trained with a margin is evaluated and
/// predicted without it.
#[test]
fn an_embedding_trained_with_a_margin_tells_colours_apart() {
    let project = Project::new();
    project.edit(HEAD, EMBEDDING);
    project.edit("epochs    = 3", "epochs    = 12");
    let text = project.text();
    let loss = "batch_size = 5\nloss = { kind = \"arcface\", margin = 0.3, class_weights = \"balanced\" }";
    project.write(&text.replace("batch_size = 5", loss));
    let run = project.run(&[]);
    let history = run.read("stages/frozen/history.csv");
    let column = history.lines().next().unwrap().split(',').position(|name| name == "train_loss").unwrap();
    let losses: Vec<f64> =
        history.lines().skip(1).map(|row| row.split(',').nth(column).unwrap().parse().unwrap()).collect();
    assert!(losses.len() == 12 && losses[11] < 0.7 * losses[0], "{history}");
    let accuracy = run.metrics("frozen")["best"]["validation_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.5 && run.metrics("test")["loss"].as_f64().unwrap() > 0.0, "{history}");

    let colours = document(&project.defrost(&["predict", "colours", "photos/red/00.png", "--json"]));
    let probabilities = colours["predictions"][0]["probabilities"].as_object().unwrap();
    let sum: f64 = probabilities.values().filter_map(Value::as_f64).sum();
    assert!((sum - 1.0).abs() < 1e-6 && probabilities.len() == 3, "{colours}");

    // The head's shape affects all stages; its margin affects only training.
    project.edit("margin = 0.3", "margin = 0.4");
    assert_eq!(project.misses(&[]), ["frozen", "finetune", "test"]);
    project.edit("margin = 0.4", "margin = 0.3");
    project.edit("dimension = 8", "dimension = 9");
    assert_eq!(project.misses(&[]).len(), 4);
}

#[test]
fn one_image_alone_is_no_batch_for_the_heads_normalisation() {
    let project = Project::new();
    project.edit(HEAD, EMBEDDING);
    let images = |size: usize| {
        let set = format!("stage.frozen.batch_size={size}");
        let output = project.defrost(&["validate", "colours.toml", "--json", "--set", &set]);
        let errors = serde_json::from_slice::<Value>(&output.stdout).unwrap()["errors"].clone();
        errors.as_array().unwrap().iter().any(|error| error["code"] == "batch-of-one")
    };
    // With this number of images, some batch sizes leave one image; one of them is the number minus one.
    let refused: Vec<usize> = (2..30).filter(|size| images(*size)).collect();
    assert!(!refused.is_empty() && refused.len() < 14, "{refused:?}");
}

/// Images of 32 pixels are one pixel wide after five halvings.
#[test]
fn one_image_alone_is_no_batch_for_maps_of_one_place() {
    let project = Project::new();
    let batch = |size: u32, extra: &[&str]| {
        let size = format!("stage.finetune.batch_size={size}");
        let output =
            project.defrost(&[&["validate", "colours.toml", "--json", "--set", &size], extra].concat());
        let mut errors = serde_json::from_slice::<Value>(&output.stdout).unwrap()["errors"].clone();
        errors.as_array_mut().unwrap().pop()
    };
    let error = batch(1, &[]).expect("Lite0's last maps are 1 × 1");
    assert_eq!(error["code"], "batch-of-one");
    assert_eq!(
        error["message"],
        "each batch has one image, but batch normalisation needs two values per channel: at an `image_size` of \
         32 the maps of `_bn1` are 1 × 1"
    );
    assert_eq!(error["help"], "use `batch_size = 3`, an `image_size` above 32 or `batch_norm = \"eval\"`");
    // Each of the suggestions works.
    assert_eq!(batch(3, &[]), None);
    assert_eq!(batch(1, &["--set", "stage.finetune.image_size=33"]), None);
    assert_eq!(batch(1, &["--set", "stage.finetune.batch_norm=eval"]), None);
    project.run(&["--set", "stage.finetune.batch_size=1", "--set", "stage.finetune.image_size=33"]);
    // Batch normalization applies to each batch alone, also with `accumulate`.
    assert!(batch(1, &["--set", "stage.finetune.accumulate=4"]).is_some());
}

/// Mixing does not change recipes of other files, and no result depends on the number of threads.
#[test]
fn mixed_images_train_to_the_same_bytes_with_any_number_of_threads() {
    let project = Project::new();
    let plain = project.run(&[]);
    project.edit("rotation = 10 }", "rotation = 10, mixup = { alpha = 0.4 }, cutmix = {} }");
    assert_eq!(project.misses(&[]), ["finetune", "test"]);
    let mixed = project.run(&["--threads", "1"]);
    assert_eq!(mixed.those("cached"), ["start", "frozen"]);
    // The loss on mixed images is larger than on unmixed ones.
    let loss = |run: &Run| run.metrics("finetune")["last"]["train_loss"].as_f64().unwrap();
    assert!(loss(&mixed) > 1.05 * loss(&plain), "{} {}", loss(&mixed), loss(&plain));
    // Different bytes would be an error.
    assert_eq!(project.run(&["--threads", "3", "--force"]).manifest(), mixed.manifest());
}
