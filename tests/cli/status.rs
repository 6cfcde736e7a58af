use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use serde_json::Value;

use crate::project::{Project, ended};
use crate::synthetic::{Runs, Turtles};

#[test]
fn a_run_is_shown_stage_by_stage() {
    let runs = Runs::new();
    runs.complete(&Turtles::default());
    assert_snapshot!(runs.say(&["status", "turtles"]), @r"
    turtles/ad44b9d9  complete, started 2026-11-22 01:59 UTC
    [runs]/turtles/ad44b9d9
      pretrained  load_weights  ran
      finetune    train         ran         best validation/accuracy 0.9000 at epoch 2
      test        evaluate      ran         accuracy 0.9000, loss 0.2500
    ");
    runs.interrupted(&Turtles { lr: 3e-5, ..Turtles::default() });
    assert_snapshot!(runs.say(&["status", "turtles"]), @r"
    turtles/d2b4ec8f  interrupted, started 2026-11-22 01:59 UTC
    [runs]/turtles/d2b4ec8f
      pretrained  load_weights  ran
      finetune    train         unfinished  best validation/accuracy 0.8000 at epoch 1
      test        evaluate      waiting
    ");
    let status = runs.json(&["status", "turtles"]);
    assert_eq!(status["stages"][1]["status"], "unfinished");
}

#[test]
fn a_run_that_is_not_there_is_an_error_with_a_suggestion() {
    let runs = Runs::new();
    runs.complete(&Turtles::default());
    assert_eq!(runs.defrost(&["status", "turtels"]).status.code(), Some(2));
    assert_snapshot!(runs.say(&["status", "turtels"]), @r"
    error: no run `turtels` in `[runs]`
    hint: did you mean `turtles`?
    ");
}

/// `status` shows the progress within an epoch, and `--watch` follows the run to its end.
#[test]
fn a_run_is_followed_within_an_epoch_to_its_end() {
    let project = Project::new();
    // One step in five seconds is recorded, and shown until its epoch ends: large images make long epochs.
    let run = project.start(&[
        "--set",
        "stage.finetune.epochs=400",
        "--set",
        "data.photos.image_size=192",
        "--set",
        "data.photos.resize=192",
    ]);
    let begun = Instant::now();
    let step = loop {
        let output = project.defrost(&["status", "colours", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let found = status["stages"].as_array().and_then(|stages| {
            stages.iter().map(|stage| &stage["step"]).find(|step| step["of"] == "step").cloned()
        });
        if let Some(step) = found {
            break step;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "no step yet: {status}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(step["done"].as_u64() >= Some(1) && step["done"].as_u64() <= step["all"].as_u64(), "{step}");
    let mut watch = project.command(&["status", "colours", "--watch"]);
    let watch = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("defrost starts");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(Command::new("kill").arg(run.id().to_string()).status().unwrap().success());
    assert_eq!(ended(run).status.code(), Some(130));
    let watched = ended(watch);
    let text = String::from_utf8(watched.stdout).unwrap();
    assert!(watched.status.success() && text.contains("running") && text.contains("epoch "), "{text}");
    let last = text.lines().rfind(|line| line.starts_with("colours/"));
    assert!(last.is_some_and(|line| line.contains("interrupted")), "{text}");
    assert_eq!(project.defrost(&["status", "colours", "--watch", "--json"]).status.code(), Some(2));
}
