use std::fs;

use defrost::digest::Digest;
use defrost::metrics::ClassificationMetrics;
use defrost::run::{RunDirectory, RunRecord, RunState, StageRecord};
use serde_json::json;

use crate::synthetic::Runs;

/// A sealed run with one evaluation.
fn evaluated(runs: &Runs, seed: u64) -> RunDirectory {
    let document = json!({ "settings": { "seed": seed } });
    let recipe = Digest::of_json(&document);
    let test = StageRecord {
        name: "test".into(),
        kind: "evaluate".into(),
        recipe,
        key: None,
        document,
        rules: serde_json::Value::Null,
        frozen: Vec::new(),
        source: None,
        other_sources: Vec::new(),
    };
    let record = RunRecord {
        name: "turtles".into(),
        label: None,
        recipe,
        profile: "scalar".into(),
        stages: vec![test],
    };
    let run = RunDirectory::locate(runs.path(), "turtles", &recipe).unwrap();
    run.begin(&record, b"", "name = \"turtles\"\n[stage.test]\nkind = \"evaluate\"\n").unwrap();
    let mut metrics = ClassificationMetrics::new(2);
    metrics.update(&[0.9, 0.1, 0.8, 0.2], &[0, 1], &[0.1, 1.6]).unwrap();
    let metrics = metrics.finish(&["green".into(), "loggerhead".into()]).unwrap();
    fs::create_dir_all(run.stage("test")).unwrap();
    fs::write(run.stage("test").join("metrics.json"), serde_json::to_vec(&metrics).unwrap()).unwrap();
    run.seal(&runs.store()).unwrap();
    run.set_state(RunState::Complete).unwrap();
    run
}

#[test]
fn the_page_joins_the_run_and_the_run_still_verifies() {
    let runs = Runs::new();
    let run = evaluated(&runs, 0);
    let answer = runs.json(&["report", "turtles"]);
    assert_eq!(answer["report"], json!(run.path().join("report.html")));
    let page = fs::read(run.path().join("report.html")).unwrap();
    assert!(String::from_utf8_lossy(&page).contains("loggerhead"));
    assert!(runs.defrost(&["verify", "turtles"]).status.success());
    assert!(runs.defrost(&["report", "turtles"]).status.success());
    assert_eq!(fs::read(run.path().join("report.html")).unwrap(), page);
}

#[test]
fn a_page_elsewhere_also_tells_what_changed() {
    let runs = Runs::new();
    let (_, second) = (evaluated(&runs, 0), evaluated(&runs, 1));
    let file = runs.path().join("turtles.html");
    let output = runs.defrost(&["report", &second.id(), "--output", &file.to_string_lossy()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read_to_string(file).unwrap().contains("Changes since the previous run"));
    assert!(!second.path().join("report.html").exists());
}

/// An output name may be a device or a link.
#[cfg(target_os = "linux")]
#[test]
fn what_is_no_plain_file_is_written_into_and_links_stay() {
    let runs = Runs::new();
    let run = evaluated(&runs, 0);
    let report = |path: &str| {
        let output = runs.defrost(&["report", &run.id(), "--output", path]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output
    };
    let (page, link) = (runs.path().join("page.html"), runs.path().join("link.html"));
    std::os::unix::fs::symlink("page.html", &link).unwrap();
    report(&link.to_string_lossy());
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let text = fs::read_to_string(&page).unwrap();

    // Through a link, so that a failing program cannot remove the device.
    let out = runs.path().join("out");
    std::os::unix::fs::symlink("/dev/stdout", &out).unwrap();
    let output = report(&out.to_string_lossy());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), text, "the page and nothing else");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("{}\n", out.display()));

    let pipe = runs.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| fs::read_to_string(&pipe).unwrap());
        report(&pipe.to_string_lossy());
        assert_eq!(reader.join().unwrap(), text);
    });
    let folder = runs.defrost(&["report", &run.id(), "--output", &runs.path().to_string_lossy()]);
    assert_eq!(folder.status.code(), Some(2));
}

#[test]
fn a_run_that_is_not_there_is_a_usage_error() {
    let runs = Runs::new();
    assert_eq!(runs.defrost(&["report", "turtles"]).status.code(), Some(2));
}
