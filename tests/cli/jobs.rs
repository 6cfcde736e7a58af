//! `run --jobs`: the runs of a matrix in several processes.

use std::process::Command;

use serde_json::{Value, json};

use crate::project::{Project, document, ended};

const MATRIX: &str = "\n[[matrix]]\npath = \"stage.finetune.epochs\"\nname = \"tuned\"\nvalues = [1, 2, 3]\n";

fn project() -> Project {
    let project = Project::new();
    project.write(&format!("{}{MATRIX}", project.text()));
    project
}

fn submissions(project: &Project) -> usize {
    std::fs::read_dir(project.path().join("runs/.submissions")).map_or(0, Iterator::count)
}

#[test]
fn several_processes_end_in_the_same_bytes_and_compute_what_they_share_once() {
    let (one, several) = (project(), project());
    let plain = document(&one.defrost(&["run", "colours.toml", "--json"]));
    let output = several.defrost(&["run", "colours.toml", "--jobs", "3", "--json"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("[tuned=2] ") && text.contains("[frozen] "), "{text}");
    let ran = document(&output);
    for (run, plain) in ran["runs"].as_array().unwrap().iter().zip(plain["runs"].as_array().unwrap()) {
        assert_eq!(run["label"], plain["label"]);
        let manifest = |run: &Value| {
            std::fs::read(format!("{}/manifest.json", run["run_dir"].as_str().unwrap())).unwrap()
        };
        assert_eq!(manifest(run), manifest(plain));
        assert_eq!((&run["state"], &run["stages"][1]["status"]), (&json!("complete"), &json!("cached")));
    }
    assert_eq!(submissions(&several), 0, "nothing is left");
}

#[test]
fn a_failing_run_stops_no_other_and_a_signal_stops_all() {
    let project = project();
    project.edit("lr = 1e-3", "lr = 1e30");
    let output = project.defrost(&["run", "colours.toml", "--jobs", "2", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("3 of 3 runs failed: tuned=1; tuned=2; tuned=3"), "{text}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["runs"][2]["state"], "failed");

    let long = ["run", "colours.toml", "--jobs", "2", "--set", "stage.frozen.epochs=5000", "--json"];
    for signal in ["TERM", "KILL"] {
        let mut command = project.command(&long);
        let child =
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let id = child.id().to_string();
        let runs = project.path().join("runs/colours");
        let live = || {
            let runs = std::fs::read_dir(&runs).unwrap().flatten();
            runs.filter(|run| defrost::run::RunDirectory::open(run.path()).is_ok_and(|run| run.is_live()))
                .count()
        };
        while live() == 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Command::new("kill").args(["-s", signal, &id]).status().unwrap();
        let code = ended(child).status.code();
        assert_eq!(code, (signal == "TERM").then_some(130));
        let started = std::time::Instant::now();
        while live() > 0 {
            assert!(started.elapsed().as_secs() < 60, "a process remains after {signal}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    assert_eq!(submissions(&project), 1, "the killed process left its folder");
    let freed = document_of(&project, &["gc", "--yes", "--json"]);
    assert!(freed.to_string().contains("left by a process that was killed"), "{freed}");
    assert_eq!(submissions(&project), 0);
}

fn document_of(project: &Project, arguments: &[&str]) -> Value {
    document(&project.defrost(arguments))
}
