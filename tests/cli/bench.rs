//! `defrost bench`: the JSON document, and the arguments that it rejects.

use assert_cmd::Command;
use serde_json::Value;

use crate::project::{Project, document};

fn bench(args: &str) -> std::process::Output {
    Command::cargo_bin("defrost").unwrap().arg("bench").args(args.split(' ')).output().unwrap()
}

fn measured(args: &str) -> Value {
    let output = bench(&format!("{args} --image-size 32 --batch 2 --steps 2 --warmup 1 --threads 1 --json"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |field: &Value| field.as_f64().unwrap();
    let step = &document["step_ms"];
    let [min, median, max] = ["min", "median", "max"].map(|name| number(&step[name]));
    assert!(0.0 < min && min <= median && median <= max, "{step}");
    assert!((number(&document["images_per_s"]) - 2000.0 / median).abs() < 1e-6);
    assert!(!cfg!(target_os = "linux") || number(&document["peak_rss_mb"]) > 1.0);
    for (name, value) in [("batch", 2), ("image_size", 32), ("threads", 1), ("steps", 2)] {
        assert_eq!(document[name], value, "{name}");
    }
    assert_eq!((&document["device"], &document["dtype"]), (&"cpu".into(), &"f32".into()));
    document
}

#[test]
fn each_mode_measures_what_it_says() {
    let train = measured("--arch resnet18");
    assert_eq!((&train["arch"], &train["mode"]), (&"resnet18".into(), &"train".into()));
    assert_eq!(train["network"]["trainable"], 11_689_512);

    let frozen = measured("--arch resnet18 --mode frozen --classes 10");
    assert_eq!(frozen["network"]["trainable"], 5130);
    let infer = measured("--arch resnet18 --mode infer --classes 10");
    assert_eq!((&infer["mode"], &infer["network"]["trainable"]), (&"infer".into(), &0.into()));
    let work = |document: &Value| document["network"]["multiply_adds"].as_u64().unwrap();
    assert_eq!(work(&frozen), work(&infer) + 2 * 5120);
    assert!(work(&train) > 5 * work(&infer) / 2);

    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart/emoji");
    let data = measured(&format!("--mode data --images {images}"));
    assert_eq!((&data["arch"], &data["mode"]), (&Value::Null, &"data".into()));
}

/// Detectors have the head that finds objects, for the 80 classes of published weights, and learn from synthetic objects.
#[test]
fn detectors_are_timed_with_their_head() {
    let work = |document: &Value| document["network"]["multiply_adds"].as_u64().unwrap();
    let at = |size: usize, args: &str| {
        let rest = format!("--arch yolo11n --image-size {size} --batch 2 --steps 1 --warmup 1 --json");
        let output = bench(&format!("{args} {rest}"));
        assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let train = at(64, "--mode train");
    assert_eq!(
        (&train["network"]["classes"], &train["network"]["trainable"]),
        (&80.into(), &2_624_064.into())
    );
    let (infer, frozen) = (at(64, "--mode infer"), at(64, "--mode frozen --classes 5"));
    // The published 6.5 GFLOP at 640 pixels are 3.25 G multiply-adds, for an image of a hundredth of the area.
    let published = 2.0 * 3.25e9 / 100.0;
    assert!((work(&infer) as f64 / published - 1.0).abs() < 0.03, "{}", work(&infer));
    assert!(work(&train) > 5 * work(&infer) / 2);
    assert!(work(&frozen) > work(&infer) && work(&frozen) < work(&train));
    let wider = at(96, "--mode infer");
    // All but attention is by area.
    let growth = work(&wider) as f64 / work(&infer) as f64;
    assert!((2.25..2.26).contains(&growth), "{growth}");
}

#[test]
fn people_read_step_throughput_and_arithmetic() {
    let output = bench("--arch resnet18 --mode infer --image-size 32 --batch 1 --steps 1 --warmup 0");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("resnet18: inference, batch 1 at 32×32, "), "{text}");
    for part in [" ms  (", " images/s\n", "0.04 G multiply-adds per step, ", " GFLOP/s\n"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn what_cannot_be_timed_is_refused_with_the_cure() {
    // A build without CUDA refers to the page about builds with it.
    let no_gpu = if cfg!(feature = "cuda") { "`defrost doctor`" } else { "docs/cuda.md" };
    let cases = [
        ("--mode train", "`--arch` is required", "--arch resnet50"),
        ("--arch resnet81", "unknown architecture `resnet81`", "did you mean `resnet18`?"),
        ("--arch yolo11n --image-size 100", "multiples of 32, not 100", "`--image-size 96`"),
        ("--arch clip_vit_b32 --mode infer --image-size 32", "224 × 224", "`--image-size 224`"),
        ("--arch resnet18 --batch 0", "the batch size must be", ""),
        ("--arch resnet18 --steps 0", "the number of steps must be", ""),
        ("--arch resnet18 --threads 0", "at least 1", "remove `--threads`"),
        ("--arch resnet18 --device cuda:0", "cannot compute on `cuda:0`", no_gpu),
        ("--arch resnet18 --images .", "synthetic images", "--mode data"),
        ("--mode data", "needs `--images`", "--images DIR"),
        ("--mode data --arch resnet18 --images .", "runs no network", "remove `--arch`"),
        ("--mode data --images no/such/folder", "does not exist", ""),
    ];
    for (args, message, hint) in cases {
        let output = bench(&format!("{args} --json"));
        assert_eq!(output.status.code(), Some(2), "{args}");
        let error = serde_json::from_slice::<Value>(&output.stdout).unwrap()["error"].take();
        assert_eq!(error["kind"], "usage", "{args}");
        assert!(error["message"].as_str().unwrap().contains(message), "{args}: {error}");
        assert!(error["hint"].as_str().unwrap_or_default().contains(hint), "{args}: {error}");
    }
}

#[test]
fn the_largest_batch_that_fits_is_found_with_its_accumulation() {
    let project = Project::new();
    let fit = |arguments: &[&str]| {
        let all = [&["bench", "--fit", "colours.toml", "--stage", "finetune", "--threads", "1"], arguments]
            .concat();
        project.defrost(&all)
    };
    let set = [
        ["--set", "stage.finetune.batch_size=8"],
        ["--set", "stage.finetune.accumulate=2"],
        ["--set", "data.photos.image_size=128"],
        ["--set", "data.photos.resize=128"],
    ]
    .concat();
    let at =
        |memory: &str| -> Value { document(&fit(&[&set[..], &["--memory", memory, "--json"]].concat())) };
    let all = at("64GB");
    assert_eq!(
        (&all["images_per_step"], &all["batch_size"], &all["accumulate"]),
        (&16.into(), &16.into(), &1.into())
    );
    let needed = all["divisions"][0]["memory_bytes"].as_u64().unwrap();
    // The document has all divisions where none fits.
    let none = fit(&[&set[..], &["--memory", "1MB", "--json"]].concat());
    assert_eq!(none.status.code(), Some(1));
    let none: Value = serde_json::from_slice(&none.stdout).unwrap();
    let half = none["divisions"][1]["memory_bytes"].as_u64().unwrap();
    assert!(half + 2_000_000 < needed, "{none}");
    let less = at(&format!("{}MB", half.div_ceil(1_000_000)));
    let [batch, accumulate] = ["batch_size", "accumulate"].map(|name| less[name].as_u64().unwrap());
    assert_eq!((batch, accumulate), (8, 2), "{less}");
    let divisions = less["divisions"].as_array().unwrap();
    let sizes: Vec<u64> = divisions.iter().map(|each| each["memory_bytes"].as_u64().unwrap()).collect();
    assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]), "{less}");
    assert!(divisions.iter().all(|each| each["fits"] == (each["batch_size"] == batch)), "{less}");

    let said = String::from_utf8(fit(&["--memory", "64GB"]).stdout).unwrap();
    assert!(said.contains("the file's batch_size fits"), "{said}");
    let none = fit(&["--memory", "1MB"]);
    assert_eq!(none.status.code(), Some(1));
    let text = String::from_utf8(none.stderr).unwrap();
    assert!(text.contains("does not fit into") && text.contains("freeze more layers"), "{text}");
    let wrong = fit(&["--memory", "lots"]);
    assert!(String::from_utf8(wrong.stderr).unwrap().contains("use a size such as `12GB`"));
}
