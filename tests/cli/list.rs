use insta::assert_snapshot;

use crate::synthetic::{Runs, Turtles};

#[test]
fn runs_are_listed_with_state_monitor_and_what_differs_from_the_one_before() {
    let runs = Runs::new();
    assert_snapshot!(runs.say(&["list"]), @"no runs in [runs]");
    let first = Turtles::default();
    runs.complete(&first);
    runs.complete(&Turtles { lr: 3e-5, accuracy: 0.92, at: first.at + 3600, ..first.clone() });
    runs.interrupted(&Turtles { lr: 3e-5, photos: "more photos", at: first.at + 7200, ..first });
    assert_snapshot!(runs.say(&["list"]), @r"
    turtles
      123ef445  interrupted  2026-11-22 03:59 UTC  validation/accuracy 0.8000 (epoch 1 of finetune)
                stage.finetune.inputs.photos a3db3bf2 → 9fe152ed
                stage.test.inputs.photos a3db3bf2 → 9fe152ed
      d2b4ec8f  complete     2026-11-22 02:59 UTC  validation/accuracy 0.9200 (epoch 2 of finetune)
                stage.finetune.optimizer.lr 1e-4 → 3e-5
      ad44b9d9  complete     2026-11-22 01:59 UTC  validation/accuracy 0.9000 (epoch 2 of finetune)
    ");
    let listed = runs.json(&["list"]);
    assert_eq!(listed["runs"][0]["state"], "interrupted");
    assert_eq!(listed["runs"][1]["monitor"]["value"], 0.92);
    assert_eq!(listed["runs"][1]["changes"][0]["field"], "stage.finetune.optimizer.lr");
}

#[cfg(target_os = "linux")]
#[test]
fn an_answer_that_cannot_be_written_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_defrost"))
        .args(["schema"])
        .stdout(full)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
}
