//! `defrost plan`: a change affects the stages that depend on it, and no other.

use std::time::{Duration, SystemTime};

use crate::project::{Project, STAGES, document};
use serde_json::{Value, json};

fn reasons(plan: &Value, stage: &str) -> Value {
    let stages = plan["stages"].as_array().unwrap();
    stages.iter().find(|found| found["name"] == stage).unwrap()["reasons"].clone()
}

#[test]
fn comments_order_names_and_times_change_nothing() {
    let project = Project::finished();
    let unchanged = |what: &str| assert_eq!(project.misses(&[]), [""; 0], "{what}");
    project.edit(
        "optimizer = { kind = \"adamw\", lr = 1e-2 }",
        "optimizer={lr=0.01,kind='adamw'} # the head alone",
    );
    unchanged("white space, order and notation in a table");
    project
        .edit("kind      = \"train\"\nfrom      = \"start\"\n", "\nfrom = \"start\"\nkind = \"train\"\n\n");
    unchanged("order of keys");
    let image = std::fs::File::options().append(true).open(project.path().join("photos/red/03.png")).unwrap();
    image.set_modified(SystemTime::now() + Duration::from_secs(60)).unwrap();
    unchanged("a touched image");
    std::fs::rename(project.path().join("photos"), project.path().join("pictures")).unwrap();
    project.edit("\"photos\"", "\"pictures\"");
    unchanged("a moved folder");
    let text = project.text().replace("frozen", "warmup");
    project.write(&text);
    unchanged("a renamed stage");
    project.edit("name = \"colours\"", "name = \"turtles\"");
    unchanged("a renamed pipeline");
}

#[test]
fn a_changed_learning_rate_is_the_reason_of_its_stage_alone() {
    let project = Project::finished();
    let plan = project.plan(&["--set", "stage.finetune.optimizer.lr=3e-4"]);
    let statuses: Vec<&Value> =
        plan["stages"].as_array().unwrap().iter().map(|stage| &stage["status"]).collect();
    assert_eq!(statuses, ["hit", "hit", "miss", "miss"]);
    assert_eq!(reasons(&plan, "finetune"), json!([{ "field": "optimizer.lr", "old": 1e-3, "new": 3e-4 }]));
    assert_eq!(reasons(&plan, "test")[0]["field"], "from");
    assert_eq!(plan["stages"][3]["key"], Value::Null);

    let output = project.defrost(&[
        "plan",
        "colours.toml",
        "--no-estimates",
        "--set",
        "stage.finetune.optimizer.lr=3e-4",
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("optimizer.lr 0.001 → 3e-4"), "{text}");
    assert!(text.contains("`finetune` will run first"), "{text}");
}

#[test]
fn decoding_at_a_scale_is_a_reason_and_the_image_cache_is_none() {
    let project = Project::finished();
    project.edit("\"photos\"", "\"photos\"\ndecode = \"scaled\"");
    let found = reasons(&project.plan(&[]), "frozen");
    assert_eq!(found, json!([{ "field": "images.decode", "old": "full", "new": "scaled" }]));
    project.edit("decode = \"scaled\"", "");
    assert_eq!(project.misses(&["--set", "run.image_cache=\"64MiB\""]), [""; 0]);
}

/// An image of a split, by the name of a stage's predictions.
fn images(project: &Project, split: &str) -> Vec<String> {
    let pipeline = format!(
        "{}\n[stage.look]\nkind = \"evaluate\"\nfrom = \"start\"\nsplit = \"{split}\"\n",
        project.text()
    );
    std::fs::write(project.path().join("look.toml"), pipeline).unwrap();
    let run =
        document(&project.defrost(&["run", "look.toml", "--until", "look", "--set", "name=look", "--json"]));
    let folder = std::path::Path::new(run["run_dir"].as_str().unwrap()).join("stages/look/predictions.csv");
    let table = std::fs::read_to_string(folder).unwrap();
    table.lines().skip(1).map(|line| line.split(',').next().unwrap().to_owned()).collect()
}

#[test]
fn an_image_reaches_the_stages_that_read_its_part() {
    let project = Project::finished();
    let below = &STAGES[1..];
    for (split, missing) in [("train", below), ("validation", below), ("test", &["test"])] {
        let path = project.path().join("photos").join(&images(&project, split)[1]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&bytes[..], b"\0"].concat()).unwrap();
        assert_eq!(project.misses(&[]), missing, "{split}");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(project.misses(&[]), [""; 0], "{split} as before");
    }
}

#[test]
fn a_changed_weight_reaches_all_below_and_an_equal_one_nothing() {
    let project = Project::finished();
    let weights = project.path().join("weights.safetensors");
    let run = project.run(&[]);
    std::fs::copy(run.directory.join("stages/start/model.safetensors"), &weights).unwrap();
    project.edit("kind = \"init_weights\"", "kind = \"load_weights\"\nfile = \"weights.safetensors\"");
    // The recipe differs but the bytes are equal: keys depend on bytes.
    let loaded = project.run(&[]);
    assert_eq!(loaded.those("ran"), ["start"]);
    assert_eq!(loaded.those("cached"), STAGES[1..]);
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    // A copy of a read-only file is read-only.
    std::fs::remove_file(&weights).unwrap();
    std::fs::write(&weights, bytes).unwrap();
    assert_eq!(project.misses(&[]), STAGES);
    assert_eq!(reasons(&project.plan(&[]), "start")[0]["field"], "inputs.file");
}

#[test]
fn a_seed_leaves_the_split_and_the_seed_of_the_split_changes_it() {
    let project = Project::finished();
    let inputs = |arguments: &[&str]| -> Value {
        let run = project.run(arguments);
        let plan: Value = serde_json::from_str(&run.read("plan.json")).unwrap();
        plan["stages"][1]["document"]["inputs"].clone()
    };
    let before = inputs(&[]);
    assert_eq!(inputs(&["--set", "seed=8", "--until", "frozen"]), before);
    let plan = project.plan(&["--set", "data.photos.split.seed=3"]);
    let statuses: Vec<&Value> =
        plan["stages"].as_array().unwrap().iter().map(|stage| &stage["status"]).collect();
    assert_eq!(statuses, ["hit", "miss", "miss", "miss"]);
    assert_ne!(inputs(&["--set", "data.photos.split.seed=3", "--until", "frozen"]), before);
}

/// The order of classes defines the head's outputs, so another order means other weights.
#[test]
fn weights_of_another_class_list_need_a_new_head() {
    let project = Project::finished();
    let run = project.run(&[]);
    let weights = run.directory.join("stages/frozen/best.safetensors");
    std::fs::copy(weights, project.path().join("weights.safetensors")).unwrap();
    project.edit("kind = \"init_weights\"", "kind = \"load_weights\"\nfile = \"weights.safetensors\"");
    assert_eq!(project.misses(&[])[0], "start");
    project.edit("image_size = 32", "image_size = 32\nclasses = [\"green\", \"blue\", \"red\"]");
    let output = project.defrost(&["plan", "colours.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("colours.toml:") && text.contains("weights.safetensors"), "{text}");
    assert!(text.contains("reinit = [\"@head\"]"), "{text}");
    project.edit("file = \"weights.safetensors\"", "file = \"weights.safetensors\"\nreinit = [\"@head\"]");
    assert_eq!(project.misses(&[])[0], "start");
}

/// Two data sets of one model must have the same classes; the error names the stage.
#[test]
fn a_stage_on_data_with_other_classes_is_refused() {
    let project = Project::new();
    let data = "\n[data.few]\nformat = \"image_folder\"\nroot = \"photos\"\nclasses = [\"red\", \"blue\"]\nimage_size = 32\n";
    let text =
        project.text().replace("kind = \"init_weights\"", "kind = \"init_weights\"\ndata = \"photos\"");
    let text = text.replace("[defaults.train]", "[defaults.train]\ndata = \"photos\"");
    project.write(&format!("{text}data = \"few\"\nsplit = \"train\"\n{data}"));
    let report = project.defrost(&["validate", "colours.toml", "--json"]);
    assert_eq!(report.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let errors = report["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1, "{report}");
    assert_eq!(errors[0]["code"], "class-list");
    let line = errors[0]["line"].as_u64().unwrap() as usize;
    assert_eq!(project.text().lines().nth(line - 1), Some("data = \"few\""));
}

/// Stages to compute have an estimate, cached ones have none. A damaged calibration is measured again. No recipe
/// or key depends on it.
#[test]
fn estimates_are_measured_once_and_change_nothing() {
    let project = Project::finished();
    let calibration = project.path().join("runs/.store/calibration.json");
    let run = project.plan(&[])["run_dir"].clone();
    let changed =
        ["plan", "colours.toml", "--json", "--threads", "1", "--set", "stage.finetune.batch_size=4"];
    let plan = |arguments: &[&str]| {
        let output = project.defrost(&[&changed[..], arguments].concat());
        let measured = String::from_utf8_lossy(&output.stderr).contains("timing `");
        (document(&output), measured)
    };
    let (without, measured) = plan(&["--no-estimates"]);
    assert!(!measured);
    let (first, measured) = plan(&[]);
    assert!(measured);
    for index in 0..4 {
        let (stage, without) = (&first["stages"][index], &without["stages"][index]);
        assert_eq!((&stage["recipe"], &stage["key"]), (&without["recipe"], &without["key"]));
        assert_eq!(without["estimate"], Value::Null);
        match index {
            0 | 1 => assert_eq!(stage["estimate"], Value::Null, "{stage}"),
            _ => {
                assert!(stage["estimate"]["seconds"].as_f64().unwrap() > 0.0, "{stage}");
                assert!(stage["estimate"]["memory_bytes"].as_u64().unwrap() > 1 << 20, "{stage}");
            }
        }
    }
    assert_eq!(first["run_dir"], without["run_dir"]);
    let (again, measured) = plan(&[]);
    assert!(!measured, "what is known is not measured again");
    assert_eq!(again["stages"][3]["estimate"]["seconds"], first["stages"][3]["estimate"]["seconds"]);

    std::fs::write(&calibration, "{").unwrap();
    assert!(plan(&[]).1, "a damaged file is no knowledge");
    assert!(!plan(&[]).1, "and is written anew");
    std::fs::remove_file(&calibration).unwrap();
    let all = project.defrost(&["plan", "colours.toml", "--json"]);
    assert!(!String::from_utf8_lossy(&all.stderr).contains("timing `"), "all is there: nothing to measure");
    assert_eq!(document(&all)["run_dir"], run);
}

/// A run records the durations of its stages, and the estimates.
#[test]
fn a_run_is_compared_with_its_estimate() {
    let project = Project::new();
    document(&project.defrost(&["plan", "colours.toml", "--json"]));
    let run = project.run(&[]);
    let events = run.read("events.jsonl");
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let costs: Vec<&Value> = events.iter().filter(|event| event["event"] == "stage_cost").collect();
    assert_eq!(costs.iter().map(|cost| cost["stage"].as_str().unwrap()).collect::<Vec<_>>(), STAGES);
    assert!(costs.iter().all(|cost| cost["expected_seconds"].as_f64() > Some(0.0)), "{costs:?}");
    let changed = ["plan", "colours.toml", "--json", "--set", "stage.finetune.optimizer.lr=3e-4"];
    let plan = document(&project.defrost(&changed));
    assert_eq!(plan["stages"][2]["estimate"]["source"], "learnt", "{plan}");
}

#[test]
fn files_that_are_no_samples_are_told() {
    let project = Project::new();
    for file in ["photos/red/notes.txt", "photos/red/scan.HEIC", "photos/stray.png", "photos/.hidden.png"] {
        std::fs::write(project.path().join(file), "whatever").unwrap();
    }
    let output = project.defrost(&["plan", "colours.toml", "--no-estimates"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(
            "2 files are ignored: only .jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .tif, .tiff, .gif, .pnm, .ppm, .pgm \
             and .pbm are read (found .HEIC, .txt); 1 HEIC file: convert it, for example with \
             `heif-convert -q 95 photo.heic photo.jpg`"
        ),
        "{said}"
    );
    assert!(said.contains("1 image is ignored: not in a class folder of a split (`stray.png`)"), "{said}");
}
