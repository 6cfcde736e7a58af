//! `[search]`: drawn settings, and rungs that train the best for longer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::project::{Project, document};

const SEARCH: &str = r#"
[search]
samples = 5
stage   = "frozen"
metric  = "validation/accuracy"

[search.space]
"stage.frozen.optimizer.lr" = { log_uniform = [1e-4, 1e-1] }
"stage.frozen.batch_size"   = { choice = [4, 6] }

[search.halving]
epochs = [1]
eta    = 3
"#;

fn project() -> Project {
    let project = Project::new();
    project.write(&format!("{}{SEARCH}", project.text()));
    project
}

fn run(project: &Project, arguments: &[&str]) -> Value {
    document(&project.defrost(&[&["run", "colours.toml", "--json"], arguments].concat()))
}

fn samples(document: &Value) -> &Vec<Value> {
    document["search"]["samples"].as_array().expect("a list of samples")
}

/// Every file of the run directories with deterministic bytes, and of the report.
fn results(project: &Project) -> BTreeMap<PathBuf, Vec<u8>> {
    let root = project.path().join("runs/colours");
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(&root).unwrap().flatten() {
        let names: &[&str] = if entry.file_name() == "search" {
            &["search.json", "search.csv", "search.html", "search.svg"]
        } else {
            &["manifest.json", "resolved.toml", "plan.json", "state"]
        };
        for path in names.iter().map(|name| entry.path().join(name)).filter(|path| path.is_file()) {
            all.insert(path.strip_prefix(&root).unwrap().to_owned(), std::fs::read(&path).unwrap());
        }
    }
    all
}

/// The best validation accuracy in the table of a run.
fn accuracy(run: &Path) -> f64 {
    let text = std::fs::read_to_string(run.join("stages/frozen/history.csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let column = |name: &str| header.iter().position(|other| *other == name).unwrap();
    let mut marked = lines.filter(|row| row[column("is_best")] == "true");
    let best = marked.next_back().unwrap();
    best[column("validation_accuracy")].parse().unwrap()
}

#[test]
fn the_best_samples_go_on_from_where_they_are_and_the_best_runs_the_whole_file() {
    let project = project();
    let planned = document(&project.defrost(&["plan", "colours.toml", "--json"]));
    let sizes = |document: &Value| -> Vec<(u64, u64)> {
        let rungs = document["rungs"].as_array().unwrap().iter();
        rungs.map(|rung| (rung["samples"].as_u64().unwrap(), rung["finished"].as_u64().unwrap())).collect()
    };
    assert_eq!(sizes(&planned), [(5, 0), (2, 0), (1, 0)]);
    assert_eq!(planned["rungs"][1]["begins"], "continue after the epochs of the rung before");

    let ran = run(&project, &[]);
    let runs = project.path().join("runs");
    let all = samples(&ran);
    let mut first: Vec<(f64, u64)> = planned["rungs"][0]["runs"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(index, run)| (accuracy(Path::new(run["run_dir"].as_str().unwrap())), index as u64 + 1))
        .collect();
    first.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let went_on: Vec<u64> = all
        .iter()
        .filter(|sample| sample["rung"] == 2)
        .map(|sample| sample["sample"].as_u64().unwrap())
        .collect();
    let mut expected: Vec<u64> = first[..2].iter().map(|(_, sample)| *sample).collect();
    let best = all[0]["sample"].as_u64().unwrap();
    assert_eq!(all[0]["end"], "best");
    expected.sort_by_key(|sample| *sample != best);
    assert_eq!(went_on, expected, "{first:?}");
    for sample in &all[2..] {
        assert_eq!((&sample["end"], &sample["rung"]), (&json!("stopped"), &json!(1)));
    }
    // The last rung continues, and it has no test: that is for the best alone.
    let second = runs.join(all[1]["run"].as_str().unwrap());
    let log = std::fs::read_to_string(second.join("log.txt")).unwrap();
    assert!(log.contains("stage frozen: train, resumed (continues after 1 finished epochs)"), "{log}");
    assert!(!second.join("stages/test").exists() && !second.join("stages/finetune").exists());
    let whole = runs.join(all[0]["run"].as_str().unwrap());
    assert!(whole.join("stages/test/metrics.json").is_file());
    assert_eq!(
        std::fs::read_to_string(runs.join("colours/latest")).unwrap().trim(),
        whole.file_name().unwrap()
    );

    // The best run is that of the plain file with its settings: the same folder and results.
    let plain = Project::new();
    let values = all[0]["values"].as_array().unwrap();
    let (lr, batch) = (
        format!("stage.frozen.optimizer.lr={}", values[0]),
        format!("stage.frozen.batch_size={}", values[1]),
    );
    let same = plain.run(&["--set", &lr, "--set", &batch]);
    assert_eq!(same.directory.file_name(), whole.file_name());
    for file in ["stages/frozen/best.safetensors", "stages/frozen/history.csv", "stages/test/metrics.json"] {
        assert!(
            std::fs::read(same.directory.join(file)).unwrap() == std::fs::read(whole.join(file)).unwrap(),
            "{file}"
        );
    }
    let again = run(&project, &["--only", &format!("sample={best}")]);
    assert_eq!(again["runs"][0]["run_dir"], ran["runs"][0]["run_dir"]);

    let planned = document(&project.defrost(&["plan", "colours.toml", "--json"]));
    assert_eq!(sizes(&planned)[..2], [(5, 5), (2, 2)]);
    shows(&project, best);
}

/// `status`, `compare` and `list` of a finished search.
fn shows(project: &Project, best: u64) {
    let text = |arguments: &[&str]| {
        let output = project.defrost(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let status = text(&["status", "colours.toml"]);
    assert!(status.contains("rung 1, 1 epochs: 5 of 5 samples finished, 2 go on"), "{status}");
    assert!(status.contains("below the best 2 of rung 1") && status.contains("explains"), "{status}");
    let compared = text(&["compare", "colours.toml"]);
    assert_eq!(compared.lines().filter(|line| line.contains("lr")).count(), 5, "{compared}");
    let found = document(&project.defrost(&["status", "colours.toml", "--json"]));
    assert_eq!(found["search"]["samples"][0]["sample"], best);
    assert!(found["settings"].as_array().is_some_and(|groups| groups.len() >= 4), "{found}");
}

#[test]
fn a_search_that_is_killed_again_and_again_ends_in_the_same_bytes() {
    let (whole, broken) = (project(), project());
    run(&whole, &[]);
    let mut kills = 0;
    for runs in [1, 3, 5] {
        let mut child = broken.start(&[]);
        let started = Instant::now();
        let folder = broken.path().join("runs/colours");
        let count = || {
            std::fs::read_dir(&folder)
                .map_or(0, |all| all.flatten().filter(|run| run.path().join("plan.json").is_file()).count())
        };
        while count() < runs
            && started.elapsed() < Duration::from_secs(120)
            && child.try_wait().unwrap().is_none()
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        kills += usize::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(kills >= 2, "the search was over before it could be killed");
    let ran = run(&broken, &[]);
    let (expected, found) = (results(&whole), results(&broken));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, bytes) in &expected {
        assert!(found[path] == *bytes, "{}", path.display());
    }
    // Everything is finished, so nothing is computed.
    let again = broken.defrost(&["run", "colours.toml", "--json"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("5 samples finished before"));
    assert_eq!(document(&again)["search"], ran["search"]);
}

#[test]
fn several_processes_and_more_samples_keep_the_draws_and_the_ranking() {
    let (one, several) = (project(), project());
    let plain = run(&one, &[]);
    let ran = run(&several, &["--jobs", "2"]);
    assert_eq!(ran["search"], plain["search"]);
    let more = run(&one, &["--set", "search.samples=8"]);
    let label = |document: &Value, number: u64| {
        let found = samples(document).iter().find(|sample| sample["sample"] == number);
        found.map(|sample| (sample["label"].clone(), sample["metrics"][0].clone()))
    };
    for sample in 1..=5 {
        assert_eq!(label(&more, sample), label(&plain, sample));
    }
    assert!(label(&more, 8).is_some() && label(&plain, 8).is_none());
}

#[test]
fn a_failed_sample_ranks_last_and_the_search_goes_on() {
    let project = Project::new();
    let search = SEARCH.replace("{ log_uniform = [1e-4, 1e-1] }", "{ choice = [1e-3, 1e-2, 1e30] }");
    project.write(&format!("{}{search}", project.text()));
    let output = project.defrost(&["run", "colours.toml", "--json"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("of 5 samples failed, such as sample"), "{text}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let all = samples(&document);
    assert_eq!((&all[0]["end"], &all[4]["end"]), (&json!("best"), &json!("failed")));
    assert!(
        all[4]["error"].as_str().unwrap().contains("loss")
            || all[4]["error"].as_str().unwrap().contains("finite")
    );
    assert_eq!(document["search"]["state"], "complete");

    let project = Project::new();
    let search = SEARCH.replace("{ log_uniform = [1e-4, 1e-1] }", "{ log_uniform = [1e29, 1e30] }");
    project.write(&format!("{}{search}", project.text()));
    let text = project.run_fails(1, &[]);
    assert!(
        text.contains("all samples of rung 1 failed") && text.contains("hint: narrow the space"),
        "{text}"
    );
}

#[test]
fn what_a_search_cannot_do_is_said() {
    let project = project();
    let fails = |arguments: &[&str], word: &str| {
        let output = project.defrost(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.contains(word), "{arguments:?}: {text}");
    };
    fails(&["submit", "colours.toml"], "a search cannot be submitted");
    fails(&["run", "colours.toml", "--from", "frozen"], "`--from` cannot be combined with a search");
    fails(&["run", "colours.toml", "--set", "stage.frozen.optimizer.lr=1"], "is drawn by the search");
    fails(&["run", "colours.toml", "--only", "sample=9"], "no run of the search matches `sample=9`");
    fails(&["params", "colours.toml"], "--only");
    // A schedule that ends with the last epoch cannot continue.
    project.edit(
        "optimizer = { kind = \"adamw\", lr = 1e-2 }",
        "optimizer = { kind = \"adamw\", lr = 1e-2 }\nschedule = { kind = \"cosine\" }",
    );
    let planned = document(&project.defrost(&["plan", "colours.toml", "--json"]));
    assert_eq!(planned["rungs"][1]["begins"], "train from the start: its schedule ends with the last epoch");
}
