//! A build with CUDA. Without a GPU it falls back or explains. With one (`-- --ignored cuda`, or
//! tests/cuda/emulated), it gives the same guarantees as the CPU.

use regex::Regex;
use serde_json::Value;

use crate::project::{Project, STAGES};

/// The libraries are searched in an empty folder, whatever the machine has.
#[test]
fn without_a_driver_it_computes_on_the_cpu_and_says_why() {
    let project = Project::new();
    let run = |arguments: &[&str]| {
        let arguments = [&["plan", "colours.toml", "--no-estimates", "--json"], arguments].concat();
        project.command(&arguments).env("LD_LIBRARY_PATH", "/nonexistent").output().unwrap()
    };
    let refused = run(&["--device", "cuda:7"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot compute on `cuda:7`") && said.contains("hint: "), "{said}");
    let fallen = run(&[]);
    assert!(fallen.status.success());
    let said = String::from_utf8_lossy(&fallen.stderr);
    let doctor =
        project.command(&["doctor", "--json"]).env("LD_LIBRARY_PATH", "/nonexistent").output().unwrap();
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    if doctor["cuda"]["gpus"].as_array().unwrap().is_empty() {
        assert_eq!(said.contains("computing on the CPU: "), cfg!(feature = "cuda"), "{said}");
    }
}

#[test]
#[ignore = "asks for a GPU, or tests/cuda/emulated"]
fn cuda_runs_have_the_same_bytes_and_a_variant_of_their_own() {
    let gpu = ["--device", "cuda:0"];
    let (one, other) = (Project::new(), Project::new());
    let run = one.run(&gpu);
    assert_eq!(run.those("ran"), STAGES);
    assert_eq!(other.run(&gpu).manifest(), run.manifest());
    assert!(one.defrost(&["verify", "colours"]).status.success());
    assert_eq!(one.run(&gpu).those("cached"), STAGES);
    // Cached features change no result.
    let without = Project::new();
    let off = [&gpu[..], &["--set", "run.feature_cache=off"]].concat();
    assert_eq!(without.run(&off).manifest(), run.manifest());
    // Another explicit device needs its own results; `auto` accepts existing ones.
    assert_eq!(one.misses(&["--device", "cpu"]), STAGES);
    assert!(other.misses(&["--device", "auto"]).is_empty());
    let predicted = one.defrost(&["predict", "colours", "photos/red/00.png", "--device", "cuda:0", "--json"]);
    let document: Value = serde_json::from_slice(&predicted.stdout).unwrap();
    assert!(document["predictions"][0]["label"].is_string(), "{document}");
}

/// The emulated GPU can be limited to little memory; a real one has enough.
#[test]
#[ignore = "asks for a GPU, or tests/cuda/emulated"]
fn cuda_memory_that_is_full_says_what_would_fit() {
    let project = Project::new();
    let doctor: Value = serde_json::from_slice(&project.defrost(&["doctor", "--json"]).stdout).unwrap();
    if !doctor["cuda"]["gpus"][0]["name"].as_str().unwrap().contains("emulated") {
        return;
    }
    let run = |mebibytes: usize, settings: &[&str]| {
        let run = ["run", "colours.toml", "--device", "cuda:0", "--until", "frozen"];
        let mut command = project.command(&[&run, settings].concat());
        let output = command.env("EMULATED_GPU_BYTES", (mebibytes << 20).to_string()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(24, &[]);
    let what = "the GPU's memory is full: activations need";
    assert!(code == Some(1) && said.contains(what) && said.contains("hint: "), "{said}");

    project.edit("train     = [\"@head\"]\nepochs    = 3\n", "epochs    = 1\n");
    project.edit("optimizer = { kind = \"adamw\", lr = 1e-2 }", "optimizer = { kind = \"sgd\", lr = 1e-2 }");
    project.edit("image_size = 32\nresize     = 32", "image_size = 64\nresize     = 64");
    project.edit("batch_size = 5", "batch_size = 8");
    let (code, said) = run(64, &[]);
    assert!(code == Some(1) && said.contains("a step on 8 images needs about 0.0"), "{said}");
    let advice = Regex::new(r"try `batch_size = (\d)` with `accumulate = (\d)`, which fits").unwrap();
    let [batch, accumulate] = advice.captures(&said).unwrap_or_else(|| panic!("{said}")).extract().1;
    let settings = [
        "--set",
        &format!("defaults.train.batch_size={batch}"),
        "--set",
        &format!("defaults.train.accumulate={accumulate}"),
    ];
    let (code, said) = run(64, &settings);
    assert_eq!(code, Some(0), "{said}");
}

/// Estimates for a GPU are measured on the GPU.
#[test]
#[ignore = "asks for a GPU, or tests/cuda/emulated"]
fn cuda_work_is_measured_where_it_runs() {
    let project = Project::new();
    let plan = |arguments: &[&str]| -> Value {
        let output = project.defrost(&[&["plan", "colours.toml", "--json"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let document = plan(&["--device", "cuda:0"]);
    for stage in document["stages"].as_array().unwrap() {
        let estimate = &stage["estimate"];
        let numbers = [&estimate["seconds"], &estimate["memory_bytes"]].map(Value::as_f64);
        assert!(numbers.iter().all(|number| number.is_some_and(|number| number > 0.0)), "{stage}");
    }
}

#[test]
#[ignore = "asks for a GPU, or tests/cuda/emulated"]
fn cuda_trains_in_every_precision_and_the_cpu_refuses() {
    let loss = |precision: &str| {
        let project = Project::new();
        project.edit("[defaults.train]\n", &format!("[defaults.train]\nprecision = \"{precision}\"\n"));
        if precision != "f32" {
            let said = project.run_fails(2, &["--device", "cpu"]);
            assert!(said.contains(&format!("CPUs do not train in `{precision}`")), "{said}");
        }
        let run = project.run(&["--device", "cuda:0"]);
        run.metrics("finetune")["last"]["train_loss"].as_f64().unwrap()
    };
    let exact = loss("f32");
    for (precision, bound) in [("tf32", 0.02), ("bf16", 0.1), ("f16", 0.02)] {
        let loss = loss(precision);
        assert!((loss - exact).abs() <= bound * exact, "{loss} in {precision}, {exact} in f32");
    }
}

/// The loss scale begins so high that gradients of the first steps may overflow. What it skips is the same every time,
/// and is counted.
#[test]
#[ignore = "asks for a GPU, or tests/cuda/emulated"]
fn cuda_training_in_f16_skips_the_same_steps_every_time_and_counts_them() {
    let run = || {
        let project = Project::new();
        project.edit("[defaults.train]\n", "[defaults.train]\nprecision = \"f16\"\n");
        let run = project.run(&["--device", "cuda:0"]);
        assert!(project.defrost(&["verify", "colours"]).status.success());
        let history = std::fs::read_to_string(run.directory.join("stages/finetune/history.csv")).unwrap();
        let mut rows = csv::Reader::from_reader(history.as_bytes());
        let column = rows.headers().unwrap().iter().position(|name| name == "skipped_steps").unwrap();
        let counts: u64 = rows.records().map(|row| row.unwrap()[column].parse::<u64>().unwrap()).sum();
        assert_eq!(run.metrics("finetune")["skipped_steps"], counts);
        run.manifest()
    };
    assert_eq!(run(), run());
}

/// Turing has no bf16, and Volta is older than CUDA 13.
#[test]
#[ignore = "asks for a GPU, or tests/cuda/emulated"]
fn cuda_precisions_follow_from_the_generation_of_the_gpu() {
    let project = Project::new();
    let doctor: Value = serde_json::from_slice(&project.defrost(&["doctor", "--json"]).stdout).unwrap();
    if !doctor["cuda"]["gpus"][0]["name"].as_str().unwrap().contains("emulated") {
        return;
    }
    let run = |capability: &str, arguments: &[&str]| {
        let mut command = project.command(arguments);
        let output = command.env("EMULATED_CAPABILITY", capability).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (_, said) = run("75", &["doctor"]);
    assert!(said.contains("sm_75 (Turing)") && said.contains("cuda:0 trains in f32, f16\n"), "{said}");
    let (_, said) = run("86", &["doctor"]);
    assert!(said.contains("sm_86 (Ampere)") && said.contains("trains in f32, tf32, bf16, f16\n"), "{said}");
    let (_, said) = run("70", &["doctor"]);
    let old = "(Volta) has compute capability 7.0, and CUDA 13 supports 7.5 and later";
    assert!(said.contains("cuda:0 cannot be used: ") && said.contains(old), "{said}");

    project.edit("[defaults.train]\n", "[defaults.train]\nprecision = \"bf16\"\n");
    let (code, said) = run("75", &["run", "colours.toml", "--device", "cuda:0"]);
    assert_eq!(code, Some(2), "{said}");
    let needs = "(Turing, compute capability 7.5) does not train in `bf16`, which needs 8.0";
    assert!(said.contains(needs) && said.contains("`precision = \"f16\"`"), "{said}");
    let (code, said) = run("70", &["run", "colours.toml", "--device", "cuda:0"]);
    assert!(code == Some(2) && said.contains(old), "{said}");
    let (code, said) = run("70", &["plan", "colours.toml", "--no-estimates"]);
    assert!(code == Some(0) && said.contains("computing on the CPU: ") && said.contains(old), "{said}");
}

/// Training on the GPU gives nearly the CPU's results.
#[test]
#[ignore = "asks for a GPU, or tests/cuda/emulated"]
fn cuda_histories_are_near_the_cpus() {
    let losses = |device: &str| {
        let project = Project::new();
        let run = project.run(&["--device", device]);
        let text = std::fs::read_to_string(run.directory.join("stages/finetune/history.csv")).unwrap();
        let column = text.lines().next().unwrap().split(',').position(|name| name == "train_loss").unwrap();
        let loss = |line: &str| line.split(',').nth(column).unwrap().parse::<f64>().unwrap();
        text.lines().skip(1).map(loss).collect::<Vec<f64>>()
    };
    let (cpu, gpu) = (losses("cpu"), losses("cuda:0"));
    assert!(cpu.len() == gpu.len() && !cpu.is_empty());
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        assert!((cpu - gpu).abs() <= 1e-3 * cpu.abs(), "{cpu} on the CPU, {gpu} on the GPU");
    }
}

/// DINOv2 uses our own operations. Models that candle-transformers computes are rejected before anything runs.
#[test]
#[ignore = "asks for a GPU, or tests/cuda/emulated"]
fn cuda_computes_our_own_encoders_and_leaves_candles_to_the_cpu() {
    let project = Project::new();
    let write = |arch: &str, image_size: usize| {
        project.write(&format!(
            r#"name = "colours"
data.photos = {{ format = "image_folder", root = "photos", image_size = {image_size}, split = {{ validation = 0.3 }} }}
model.net = {{ arch = "{arch}" }}

[stage.start]
kind = "init_weights"

[stage.head]
kind = "train"
from = "start"
train = ["@head"]
features = {{ dtype = "bf16" }}
epochs = 1
batch_size = 5
optimizer = {{ kind = "adamw", lr = 1e-2 }}
"#
        ));
    };
    write("dinov2_vits14", 28);
    let run = project.run(&["--device", "cuda:0"]);
    assert!(run.metrics("head")["last"]["train_loss"].as_f64().unwrap().is_finite());
    for arch in ["clip_vit_b32", "siglip_base_patch16_224"] {
        write(arch, 224);
        let plan =
            |device: &str| project.defrost(&["plan", "colours.toml", "--no-estimates", "--device", device]);
        let (asked, open) = (plan("cuda:0"), plan("auto"));
        let [refusal, note] = [&asked, &open].map(|output| String::from_utf8_lossy(&output.stderr));
        assert_eq!(asked.status.code(), Some(2), "{refusal}");
        assert!(refusal.contains("stage `head` runs on CPUs only"), "{refusal}");
        assert!(open.status.success() && note.contains("computing on the CPU: "), "{note}");
    }
}
