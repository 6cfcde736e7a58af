//! More epochs for a stage that is finished: it continues where its first epochs do not depend on their number.

use serde_json::Value;

use crate::project::{Project, Run};

/// All of the parameters and an average of the weights, so that the training state has every part.
const CONSTANT: [(&str, &str); 2] = [
    ("schedule   = { kind = \"cosine\" }\n", "ema        = {}\n"),
    ("[stage.test]", "[stage.look]\nkind = \"evaluate\"\nfrom = \"finetune@last\"\n\n[stage.test]"),
];
const LONGER: [&str; 2] = ["--set", "stage.finetune.epochs=4"];

fn project() -> Project {
    let project = Project::new();
    CONSTANT.into_iter().for_each(|(old, new)| project.edit(old, new));
    project
}

/// The epochs that a stage has trained since the last start.
fn trained(run: &Run, stage: &str) -> Vec<u64> {
    let events: Vec<Value> =
        run.read("events.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let start = events.iter().rposition(|event| event["event"] == "run_started").unwrap();
    let ended = events[start..].iter().filter(|event| event["event"] == "epoch_finished");
    ended.filter(|event| event["stage"] == stage).map(|event| event["epoch"].as_u64().unwrap()).collect()
}

fn planned(project: &Project, arguments: &[&str]) -> Value {
    project.plan(arguments)["stages"][2].clone()
}

fn said(project: &Project, arguments: &[&str]) -> String {
    let plan = [&["plan", "colours.toml", "--no-estimates"], arguments].concat();
    String::from_utf8(project.defrost(&plan).stdout).unwrap()
}

#[test]
fn more_epochs_continue_to_the_bytes_of_a_run_that_had_them_from_the_start() {
    let reference = project().run(&LONGER).manifest();
    for threads in ["1", "2"] {
        let project = project();
        project.run(&["--threads", threads]);
        let run = project.run(&LONGER);
        assert_eq!((run.those("resumed"), run.manifest()), (vec!["finetune".to_owned()], reference.clone()));
    }
    let project = project();
    project.run(&[]);
    let plan = planned(&project, &LONGER);
    assert_eq!((&plan["status"], &plan["continues_after_epochs"]), (&"resume".into(), &2.into()), "{plan}");
    assert_eq!(plan["reasons"][0]["field"], "epochs");
    assert!(said(&project, &LONGER).contains("continues after 2 finished epochs"));
    assert_eq!(trained(&project.run(&LONGER), "finetune"), [3, 4]);
    // Of the two states, the one after most epochs is used.
    let run = project.run(&["--set", "stage.finetune.epochs=5"]);
    assert_eq!(trained(&run, "finetune"), [5]);
    let forced = project.run(&[&LONGER[..], &["--force"]].concat());
    assert_eq!((forced.manifest(), trained(&forced, "finetune")), (reference, vec![1, 2, 3, 4]));
}

#[test]
fn killed_on_the_way_it_ends_in_the_same_bytes() {
    let long = ["--set", "stage.finetune.epochs=6", "--set", "run.checkpoint_seconds=0"];
    let reference = project().run(&long).manifest();
    let project = project();
    project.run(&[]);
    project.kill_after_epochs(&[3, 4], 6, &long);
    assert_eq!(project.run(&long).manifest(), reference);
}

#[test]
fn what_has_stopped_early_has_nothing_left_to_train() {
    let stopping = || {
        let project = project();
        project.edit("lr = 1e-2 }\n", "lr = 1e-30 }\nearly_stop = { patience = 1 }\n");
        project
    };
    let (project, longer) = (stopping(), ["--set", "stage.frozen.epochs=9"]);
    assert_eq!(trained(&project.run(&[]), "frozen").len(), 2);
    let run = project.run(&longer);
    assert!(trained(&run, "frozen").is_empty());
    assert_eq!(run.manifest(), stopping().run(&longer).manifest());
}

#[test]
fn what_depends_on_the_number_of_epochs_says_so_and_trains_all() {
    let project = Project::finished();
    let plan = planned(&project, &LONGER);
    assert_eq!((&plan["status"], &plan["continues_after_epochs"]), (&"miss".into(), &Value::Null));
    let said = said(&project, &LONGER);
    assert!(
        said.contains("epochs 2 → 4 (trains all epochs: its schedule ends with the last epoch)"),
        "{said}"
    );
    assert_eq!(trained(&project.run(&LONGER), "finetune"), [1, 2, 3, 4]);
}

#[test]
fn states_are_kept_on_request_and_freed_with_their_run() {
    let project = project();
    let without = project.run(&["--set", "run.keep_training_state=false"]);
    assert!(!project.path().join("runs/.store/continuations").exists());
    let text = said(&project, &LONGER);
    assert!(text.contains("the training state of the shorter stage is not in the store"), "{text}");
    // The setting changes no result.
    let with = self::project();
    let run = with.run(&[]);
    assert_eq!(run.manifest(), without.manifest());
    std::fs::remove_dir_all(&run.directory).unwrap();
    let freed = String::from_utf8(with.defrost(&["gc", "--yes"]).stdout).unwrap();
    assert_eq!(freed.matches("a training state that no run would continue").count(), 2, "{freed}");
    assert!(!with.path().join("runs/.store/continuations").exists());
}
