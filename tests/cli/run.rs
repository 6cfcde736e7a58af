//! `defrost run`: cached stages are reused, others are computed, and the same file gives the same bytes.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::project::{Project, Run, STAGES, document, ended};
use crate::synthetic::change;
use defrost::digest::Digest;
use serde_json::Value;

#[test]
fn the_second_run_computes_nothing_and_changes_no_byte() {
    let project = Project::new();
    let first = project.run(&[]);
    assert_eq!(first.those("ran"), STAGES);
    let manifest = first.manifest();
    let second = project.run(&[]);
    assert_eq!(second.those("cached"), STAGES);
    assert_eq!(first.directory, second.directory);
    assert_eq!(second.manifest(), manifest);
    assert_eq!(second.state(), "complete");

    assert!(first.metrics("test")["accuracy"].is_number(), "{}", first.document);
    assert_eq!(first.metrics("test"), second.metrics("test"));
    let verified = document(&project.defrost(&["verify", "colours", "--json"]));
    assert_eq!(verified["valid"], true, "{verified}");
}

#[test]
fn a_comment_reaches_the_run_directory_and_nothing_else() {
    let project = Project::finished();
    let before = project.run(&[]);
    let (directory, before) = (&before.directory, before.files());
    project.write(&format!("# A word to the reader.\n{}", project.text()));
    let after = project.run(&[]);
    assert_eq!(after.those("cached"), STAGES);
    assert_eq!(after.directory, *directory);
    assert_eq!(after.read("pipeline.toml"), project.text());
    let after = after.files();
    assert_eq!(after["pipeline.toml"], Digest::of(project.text().as_bytes()));
    let changed: Vec<&String> = after.keys().filter(|name| before.get(*name) != after.get(*name)).collect();
    assert_eq!(changed, ["pipeline.toml"]);
    assert!(project.defrost(&["verify", "colours"]).status.success());
}

/// Keys depend on consumed bytes: a stage in the middle may be recomputed, and if its bytes are equal, no stage
/// below is.
#[test]
fn the_same_bytes_computed_again_leave_what_is_below_a_hit() {
    let project = Project::new();
    let first = project.run(&[]);
    let manifest = first.manifest();
    std::fs::remove_dir_all(project.path().join("runs/.store").join(first.key("frozen"))).unwrap();
    assert_eq!(project.misses(&[])[0], "frozen");
    let again = project.run(&[]);
    assert_eq!(again.those("ran"), ["frozen"]);
    assert_eq!(again.those("cached"), ["start", "finetune", "test"]);
    assert_eq!(again.manifest(), manifest);
}

#[test]
fn threads_and_workers_change_no_byte() {
    let reference = Project::new().run(&["--threads", "1", "--set", "run.workers=1"]).manifest();
    for (threads, workers) in [("2", "3"), ("3", "1")] {
        let workers = format!("run.workers={workers}");
        let project = Project::new();
        let other = project.run(&["--threads", threads, "--set", &workers]);
        assert_eq!(other.manifest(), reference, "{threads} threads, {workers}");
    }
}

/// At each stage the first process computes, and all have the result.
#[test]
fn processes_side_by_side_compute_each_stage_once() {
    let project = Project::new();
    let children = [&[][..], &[], &["--set", "name=others"]].map(|arguments| project.start(arguments));
    let runs = children.map(|child| Run::of(&ended(child)));
    let mut ran: Vec<String> = runs.iter().flat_map(|run| run.those("ran")).collect();
    ran.sort();
    assert_eq!(ran, ["finetune", "frozen", "start", "test"]);
    assert_eq!(runs[0].manifest(), runs[1].manifest());
    for name in ["colours", "others"] {
        assert_eq!(document(&project.defrost(&["verify", name, "--json"]))["valid"], true);
    }
}

#[test]
fn until_stops_and_from_demands_what_is_above() {
    let project = Project::new();
    let missing = project.run_fails(2, &["--from", "finetune"]);
    assert!(
        missing.contains("`--from` needs all stages above it to be finished, but `start` is not"),
        "{missing}"
    );
    let part = project.run(&["--until", "frozen"]);
    assert_eq!(part.those("ran"), ["start", "frozen"]);
    assert_eq!(part.statuses().len(), 2);
    assert_eq!(part.state(), "interrupted");
    let rest = project.run(&["--from", "finetune"]);
    let manifest = rest.manifest();
    assert_eq!(rest.those("cached"), ["start", "frozen"]);
    assert_eq!(rest.those("ran"), ["finetune", "test"]);
    assert_eq!(rest.state(), "complete");

    // A complete run stays complete when only a part of it is requested.
    let again = project.run(&["--until", "frozen"]);
    assert_eq!(again.those("cached"), ["start", "frozen"]);
    assert_eq!(again.state(), "complete");
    assert_eq!(again.manifest(), manifest);
}

#[test]
fn unknown_stages_are_told_with_those_there_are() {
    let project = Project::new();
    for option in ["--from", "--until"] {
        let text = project.run_fails(2, &[option, "finetun"]);
        assert!(text.contains("unknown stage `finetun`"), "{text}");
        assert!(text.contains("start, frozen, finetune, test"), "{text}");
    }
    let text = project.run_fails(2, &["--from", "test", "--until", "frozen"]);
    assert!(text.contains("`--from test` is not above `--until frozen`"), "{text}");
}

#[test]
fn force_computes_the_same_bytes_or_keeps_both() {
    let project = Project::new();
    let first = project.run(&[]);
    let (manifest, files) = (first.manifest(), first.files());
    let forced = project.run(&["--force"]);
    assert_eq!(forced.those("ran"), STAGES);
    assert_eq!(forced.manifest(), manifest);

    // Simulates an earlier version that published another result.
    let stored = project.stored(&first.key("test"));
    let forged = b"{ \"accuracy\": 2.0 }\n";
    change(&stored.join("metrics.json"), |bytes| *bytes = forged.to_vec());
    change(&stored.join("object.json"), |bytes| {
        let mut record: Value = serde_json::from_slice(bytes).unwrap();
        record["files"]["metrics.json"] = serde_json::to_value(Digest::of(forged)).unwrap();
        *bytes = serde_json::to_vec(&record).unwrap();
    });
    let text = project.run_fails(1, &["--force"]);
    assert!(
        text.contains("stage `test`: recomputing the same stage gave other bytes in `metrics.json`"),
        "{text}"
    );
    assert_eq!(std::fs::read(stored.join("metrics.json")).unwrap(), forged);
    let kept = project.path().join("runs/.work").join(first.key("test")).join("conflict-1/metrics.json");
    assert_eq!(Digest::of(&std::fs::read(kept).unwrap()), files["stages/test/metrics.json"]);
}

/// Dropout and augmentation are drawn per image by name: one more test image changes no other image's draws.
#[test]
fn a_new_test_image_does_not_change_what_training_computes() {
    let project = Project::new();
    // If the new image trains, batches of five would leave a last batch of one.
    project.edit("batch_size = 5", "batch_size = 6");
    project.run(&[]);
    let place = (0..)
        .map(|number| format!("photos/blue/0{number}a.png"))
        .find(|place| {
            project.image(place, [30, 40, 200], 99);
            let found = project.misses(&[]) == ["test"];
            if !found {
                std::fs::remove_file(project.path().join(place)).unwrap();
            }
            found
        })
        .unwrap();
    let forced = project.run(&["--force"]);
    assert_eq!(forced.those("ran"), STAGES, "with {place}, which sorts before most");
}

/// Names of classes and files may be hostile, and CSV files are opened in spreadsheets.
#[test]
fn names_that_a_spreadsheet_would_run_become_text() {
    let project = Project::new();
    let engine = |run: &Run| -> Value {
        let plan: Value = serde_json::from_str(&run.read("plan.json")).unwrap();
        plan["stages"][3]["document"]["engine"]["text_cells"].clone()
    };
    assert_eq!(engine(&project.run(&[])), Value::Null);
    let photos = project.path().join("photos");
    std::fs::rename(photos.join("red"), photos.join("=1+1")).unwrap();
    let run = project.run(&[]);
    assert_eq!(engine(&run), 1);
    let confusion = run.read("stages/test/confusion_matrix.csv");
    assert!(confusion.starts_with("true/predicted,'=1+1,blue,green\n'=1+1,"), "{confusion}");
    let predictions = run.read("stages/test/predictions.csv");
    assert!(predictions.contains("\n'=1+1/"), "{predictions}");
    for (name, text) in [("confusion", &confusion), ("predictions", &predictions)] {
        let cells = csv::Reader::from_reader(text.as_bytes()).into_records().map(Result::unwrap);
        let cells: Vec<String> =
            cells.flat_map(|row| row.iter().map(str::to_owned).collect::<Vec<_>>()).collect();
        assert!(cells.iter().all(|cell| !cell.starts_with(['=', '+', '@'])), "{name}: {cells:?}");
    }
    assert!(run.read("report.html").contains("=1+1"), "the page has the name itself");
}

/// A run directory contains nothing about the machine, and two machines give the same bytes.
#[test]
fn listed_files_hold_no_path_host_or_clock_and_the_report_stands_alone() {
    let project = Project::new();
    let run = project.run(&[]);
    let folder = project.path().to_str().unwrap();
    let host =
        String::from_utf8(std::process::Command::new("uname").arg("-n").output().unwrap().stdout).unwrap();
    let log = run.read("log.txt");
    let today = &log[.."2026-01-01".len()];
    assert!(log.contains(folder), "the log may name it, or this test proves nothing");
    let files = run.files();
    let expected =
        ["pipeline.toml", "resolved.toml", "plan.json", "report.html", "stages/test/predictions.csv"];
    assert!(expected.iter().all(|name| files.contains_key(*name)), "{files:?}");
    for (name, digest) in &files {
        let bytes = std::fs::read(run.directory.join(name)).unwrap();
        assert_eq!(Digest::of(&bytes), *digest, "{name}");
        for secret in [folder, host.trim(), today, &today[..7], "/root/", "/home/"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            // A short host name may be a word in the files.
            assert!(!found || secret.len() < 6, "{name} holds `{secret}`");
        }
    }
    let report = run.read("report.html");
    let links: BTreeSet<&str> = ["src=\"", "href=\"", "url(", "@import"]
        .iter()
        .flat_map(|mark| report.match_indices(mark))
        .map(|(place, mark)| report[place + mark.len()..].split(['"', ')']).next().unwrap_or_default())
        .filter(|target| !target.starts_with("data:") && !target.starts_with('#'))
        .collect();
    assert!(links.iter().all(|link| !link.contains("//")), "{links:?}");
}

#[test]
fn a_bit_flipped_in_a_frozen_tensor_of_the_run_is_named() {
    let project = Project::new();
    let run = project.run(&[]);
    let checkpoint = run.directory.join("stages/finetune/best.safetensors");
    let bytes = std::fs::read(&checkpoint).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let names: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let plan: Value = serde_json::from_str(&run.read("plan.json")).unwrap();
    let frozen = plan["stages"][2]["frozen"].as_array().unwrap();
    let name = frozen[frozen.len() / 2].as_str().unwrap();
    let place = 8 + header + names[name]["data_offsets"][0].as_u64().unwrap() as usize;
    change(&checkpoint, |bytes| bytes[place + 5] ^= 1);
    let output = project.defrost(&["verify", "colours"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(
        text.contains(&format!("`stages/finetune/best.safetensors`: frozen `{name}` changed: element 1 ")),
        "{text}"
    );
    // The store has the original bytes, and running again restores them.
    assert_eq!(project.run(&[]).those("cached"), STAGES);
    assert!(project.defrost(&["verify", "colours"]).status.success());
}

/// A stage that another process finishes meanwhile is used, whatever an earlier lookup found.
#[test]
fn a_run_that_waited_for_another_leaves_it_complete() {
    let project = Project::new();
    let events = PathBuf::from(project.plan(&[])["run_dir"].as_str().unwrap()).join("events.jsonl");
    let mut first = project.start(&[]);
    let begun = |text: String| text.contains("run_started");
    while !std::fs::read_to_string(&events).is_ok_and(begun) && first.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let part = project.start(&["--until", "frozen"]);
    assert_eq!(Run::of(&ended(first)).state(), "complete");
    assert_eq!(Run::of(&ended(part)).state(), "complete");
    assert!(project.defrost(&["verify", "colours"]).status.success());
}

/// A closed terminal or a full disk under a log does not end a training.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_said_keeps_nothing_from_running() {
    let project = Project::new();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = project.command(&["run", "colours.toml", "--json"]).stderr(full).output().unwrap();
    assert_eq!(Run::of(&output).state(), "complete");
}
