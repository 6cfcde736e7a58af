use std::fs;

use defrost::digest::Digest;
use defrost::metrics::ClassificationMetrics;
use defrost::run::{RunDirectory, RunRecord, RunState, StageRecord};
use serde_json::json;

use crate::synthetic::{Runs, Turtles};

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
    write_scores(&run, 1);
    run.seal(&runs.store()).unwrap();
    run.set_state(RunState::Complete).unwrap();
    run
}

/// Replaces the scores of the evaluation by those of two images, of which some are classified correctly.
pub fn write_scores(run: &RunDirectory, right: usize) {
    let mut metrics = ClassificationMetrics::new(2);
    let labels = if right == 1 { [0, 1] } else { [0, 0] };
    metrics.update(&[0.9, 0.1, 0.8, 0.2], &labels, &[0.1, 1.6]).unwrap();
    let metrics = metrics.finish(&["green".into(), "loggerhead".into()]).unwrap();
    let file = run.stage("test").join("metrics.json");
    fs::create_dir_all(run.stage("test")).unwrap();
    let _ = fs::remove_file(&file);
    fs::write(file, serde_json::to_vec(&metrics).unwrap()).unwrap();
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

/// Writes the report of a run to a file below the folder of runs, and returns it.
#[track_caller]
fn elsewhere(runs: &Runs, run: &RunDirectory, file: &str) -> String {
    let file = runs.path().join(file);
    let output = runs.defrost(&["report", &run.id(), "--output", &file.to_string_lossy()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read_to_string(file).unwrap()
}

#[test]
fn a_page_elsewhere_also_tells_when_it_ran_and_what_changed() {
    let runs = Runs::new();
    let first = runs.complete(&Turtles::default());
    write_scores(&first, 2);
    let page = elsewhere(&runs, &first, "first.html");
    assert!(page.contains("This is the first run of its name."), "{page}");
    let at = Turtles::default().at + 86_400;
    let second = runs.complete(&Turtles { lr: 3e-4, accuracy: 0.95, at, ..Turtles::default() });
    write_scores(&second, 1);
    let page = elsewhere(&runs, &second, "second.html");
    for expected in [
        "Started 2026-11-23 01:59 UTC, finished 2026-11-23 01:59 UTC, computed for 4.5 s.",
        "Changes since the previous run",
        &first.id(),
        "<code>stage.finetune.optimizer.lr</code>",
        "<del>0.0001</del>",
        "<ins>0.0003</ins>",
        "<td class=\"name\">accuracy 100.0\u{a0}%",
        "<td class=\"name\">accuracy 50.0\u{a0}%",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    // Running the older one again changes nothing about what "previous" means.
    write_scores(&runs.complete(&Turtles { at: at + 1, ..Turtles::default() }), 2);
    assert_eq!(elsewhere(&runs, &second, "again.html"), page);
    assert!(!second.path().join("report.html").exists());
    assert!(runs.defrost(&["report", &second.id()]).status.success());
    let own = fs::read_to_string(second.path().join("report.html")).unwrap();
    assert!(!own.contains("UTC") && !own.contains("Changes since") && !own.contains(&first.id()), "{own}");
}

#[test]
fn links_of_a_page_elsewhere_lead_to_the_files_of_the_run() {
    let runs = Runs::new();
    let run = evaluated(&runs, 0);
    for page in ["page.html", "new/folder with space/page.html", "turtles/page.html"] {
        let text = elsewhere(&runs, &run, page);
        let links = text.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let files: Vec<String> = links.filter(|link| !link.starts_with('#')).map(str::to_owned).collect();
        assert!(files.len() >= 4, "{files:?}");
        for file in &files {
            let path = runs.path().join(page).parent().unwrap().join(file);
            assert!(path.is_file(), "{page}: {file}");
        }
    }
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
