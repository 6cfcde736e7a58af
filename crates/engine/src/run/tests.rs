use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::*;
use crate::digest::Digest;
use crate::store::{FinishedStage, Store, disk};

fn record(name: &str, recipe: Digest, stages: &[&str]) -> RunRecord {
    let stage = |name: &&str| StageRecord {
        name: name.to_string(),
        kind: "init_weights".into(),
        recipe,
        key: Some(Digest::of(name.as_bytes())),
        document: json!({}),
        rules: serde_json::Value::Null,
        frozen: Vec::new(),
        source: None,
        other_sources: Vec::new(),
    };
    RunRecord {
        name: name.into(),
        label: None,
        recipe,
        profile: "scalar".into(),
        stages: stages.iter().map(stage).collect(),
    }
}

fn finished(store: &Store, root: &Path, text: &str, files: &[&str]) -> FinishedStage {
    let output = root.join("output");
    for name in files {
        disk::write_atomically(&output.join(name), text.as_bytes()).unwrap();
    }
    store.publish(&Digest::of(text.as_bytes()), "scalar", &output).unwrap()
}

fn begun(runs: &Path, name: &str, recipe: &str, stages: &[&str]) -> RunDirectory {
    let recipe = Digest::of(recipe.as_bytes());
    let run = RunDirectory::locate(runs, name, &recipe).unwrap();
    run.begin(&record(name, recipe, stages), format!("name = \"{name}\" # {recipe}").as_bytes(), "").unwrap();
    run
}

#[test]
fn the_runs_folder_is_at_the_nearest_marked_ancestor() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("project/pipelines/deep");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("turtles.toml");
    assert_eq!(runs_root(&file).unwrap(), folder.join("runs"));
    fs::create_dir(root.path().join("project/.git")).unwrap();
    assert_eq!(runs_root(&file).unwrap(), root.path().join("project/runs"));
    fs::create_dir(root.path().join("project/pipelines/runs")).unwrap();
    assert_eq!(runs_root(&file).unwrap(), root.path().join("project/pipelines/runs"));
}

#[test]
fn recipes_with_the_same_first_digits_get_longer_names() {
    let runs = tempfile::tempdir().unwrap();
    let mut bytes = *Digest::of(b"one").as_bytes();
    let one = Digest::from_bytes(bytes);
    bytes[4] ^= 0x0f;
    let two = Digest::from_bytes(bytes);
    let run = RunDirectory::locate(runs.path(), "turtles", &one).unwrap();
    assert_eq!(run.id(), one.short());
    run.begin(&record("turtles", one, &[]), b"", "").unwrap();
    assert_eq!(RunDirectory::locate(runs.path(), "turtles", &one).unwrap(), run);
    let other = RunDirectory::locate(runs.path(), "turtles", &two).unwrap();
    assert_eq!(other.id(), two.to_string()[..9]);
    other.begin(&record("turtles", two, &[]), b"", "").unwrap();
    assert_eq!(RunDirectory::locate(runs.path(), "turtles", &two).unwrap(), other);
    for name in ["", "..", "a/b", ".store", "/tmp"] {
        assert_eq!(
            RunDirectory::locate(runs.path(), name, &one).unwrap_err().kind,
            crate::error::ErrorKind::Usage
        );
    }
}

#[test]
fn materialising_replaces_what_was_there_and_nothing_outside() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path());
    let run = begun(root.path(), "turtles", "r", &["net"]);
    let outside = root.path().join("outside");
    disk::write_atomically(&outside.join("precious"), b"kept").unwrap();
    let stage = run.stage("net");
    disk::write_atomically(&stage.join("history.csv"), b"live").unwrap();
    disk::write_atomically(&stage.join("old/curves.svg"), b"old").unwrap();
    std::os::unix::fs::symlink(&outside, stage.join("plots")).unwrap();
    std::os::unix::fs::symlink(&outside, run.path().join("stages/gone")).unwrap();

    let result = finished(&store, root.path(), "bytes", &["history.csv", "plots/precious"]);
    run.materialize(&store, "net", &result).unwrap();
    run.seal(&store).unwrap();
    assert_eq!(disk::entries(&run.path().join("stages")).unwrap(), ["net"]);
    assert_eq!(disk::files_below(&stage).unwrap(), ["history.csv", "plots/precious"]);
    assert_eq!(fs::read(stage.join("plots/precious")).unwrap(), b"bytes");
    assert_eq!(fs::read(outside.join("precious")).unwrap(), b"kept");
    assert!(fs::metadata(stage.join("history.csv")).unwrap().permissions().readonly());

    // Deleting the run leaves the store intact, and the run can be restored from it.
    fs::remove_dir_all(run.path()).unwrap();
    let wanted = crate::store::VariantRequest::Exactly("scalar");
    let again = store.lookup(&Digest::of(b"bytes"), wanted).unwrap().found().unwrap();
    assert_eq!(again, result);
    run.materialize(&store, "net", &again).unwrap();
    assert_eq!(fs::read(stage.join("history.csv")).unwrap(), b"bytes");
}

#[test]
fn sealing_twice_gives_the_same_manifest_and_a_comment_only_its_line() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path());
    let recipe = Digest::of(b"r");
    let run = RunDirectory::locate(root.path(), "turtles", &recipe).unwrap();
    let result = finished(&store, root.path(), "bytes", &["metrics.json"]);
    let complete = |pipeline: &str, log: &str| {
        run.begin(&record("turtles", recipe, &["net"]), pipeline.as_bytes(), "seed = 42\n").unwrap();
        disk::write_atomically(&run.path().join("log.txt"), log.as_bytes()).unwrap();
        run.materialize(&store, "net", &result).unwrap();
        run.seal(&store).unwrap();
        run.set_state(RunState::Complete).unwrap();
        fs::read_to_string(run.path().join("manifest.json")).unwrap()
    };
    let first = complete("seed = 42", "monday");
    assert_eq!(complete("seed = 42", "tuesday"), first);
    let commented = complete("seed = 42 # the answer", "tuesday");
    let changed: Vec<(&str, &str)> = first.lines().zip(commented.lines()).filter(|(a, b)| a != b).collect();
    assert_eq!(changed.len(), 1);
    assert!(changed[0].0.contains("pipeline.toml"));
    assert_eq!(verify(&run).unwrap().problems, []);
    assert_eq!(fs::read_to_string(root.path().join("turtles/latest")).unwrap(), format!("{}\n", run.id()));
}

#[test]
fn a_run_is_named_by_path_name_digits_or_pipeline() {
    let root = tempfile::tempdir().unwrap();
    let runs = root.path();
    let (one, two) = (begun(runs, "turtles", "one", &[]), begun(runs, "turtles", "two", &[]));
    let birds = begun(runs, "birds", "one", &[]);
    let resolve = |argument: &str| resolve_run(argument, runs);
    assert_eq!(resolve("turtles").unwrap(), two);
    assert_eq!(resolve(one.path().to_str().unwrap()).unwrap(), one);
    assert_eq!(resolve(runs.join("birds").to_str().unwrap()).unwrap(), birds);
    assert_eq!(resolve(&two.id()[..4]).unwrap(), two);
    assert_eq!(resolve(&format!("turtles/{}", &one.id()[..3])).unwrap(), one);
    let error = resolve(&one.id()).unwrap_err();
    assert!(error.message.contains("several runs: birds/"), "{error}");

    let pipeline = root.path().join("some.toml");
    fs::copy(one.path().join("pipeline.toml"), &pipeline).unwrap();
    assert_eq!(resolve(pipeline.to_str().unwrap()).unwrap(), one);
    fs::write(&pipeline, "name = \"turtles\"\nseed = 1").unwrap();
    assert_eq!(resolve(pipeline.to_str().unwrap()).unwrap(), two);
    fs::write(&pipeline, "name = \"../turtles\"").unwrap();
    assert!(resolve(pipeline.to_str().unwrap()).unwrap_err().message.contains("has no run"));

    let error = resolve("turtels").unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean `turtles`?"));
    assert_eq!(error.kind, crate::error::ErrorKind::Usage);
    assert!(resolve("").is_err() && resolve("nothing like it").is_err());
}

fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_312_768_123)
}

#[test]
fn events_are_recorded_and_read_back_over_torn_lines() {
    let root = tempfile::tempdir().unwrap();
    let run = begun(root.path(), "turtles", "r", &[]);
    let open = || EventLog::open(&run, epoch, &Interrupt::default(), &mut || {}).unwrap();
    let started = Event::RunStarted {
        name: "turtles".into(),
        run_dir: "/x".into(),
        stages: vec!["net".into()],
        tasks: [("net".to_owned(), "classification".to_owned())].into(),
        images: std::collections::BTreeMap::new(),
        outside: std::collections::BTreeMap::new(),
    };
    let step = Event::Step {
        stage: "net".into(),
        epoch: 1,
        epochs: 2,
        step: 3,
        steps: 4,
        scores: [("loss".to_owned(), 0.5)].into(),
        images_per_second: 1e3,
        seconds_left: 9.0,
    };
    let recorder = open();
    assert!(run.is_live());
    assert_eq!(run.state(), RunState::Running);
    recorder.event(&started);
    recorder.event(&step);
    recorder.event(&step);
    recorder.finish().unwrap();
    assert_eq!(run.state(), RunState::Interrupted, "nobody is at it any more");

    let path = run.path().join("events.jsonl");
    fs::write(&path, fs::read_to_string(&path).unwrap() + "{\"event\": \"run_st").unwrap();
    let finished = Event::RunFinished { state: "complete".into(), seconds: 1.0, error: None, hint: None };
    open().event(&finished);
    let time = "2026-11-22T01:59:28.123Z".to_owned();
    assert_eq!(read_events(&run), [(time.clone(), started), (time.clone(), step), (time, finished)]);
    let log = fs::read_to_string(run.path().join("log.txt")).unwrap();
    assert_eq!(
        log,
        "2026-11-22T01:59:28.123Z run turtles started in /x: net\n2026-11-22T01:59:28.123Z run complete after 1.0 s\n"
    );
}

#[test]
fn a_second_process_waits_for_the_run_directory() {
    let root = tempfile::tempdir().unwrap();
    let run = begun(root.path(), "turtles", "r", &[]);
    let first = EventLog::open(&run, epoch, &Interrupt::default(), &mut || {}).unwrap();
    let mut first = Some(first);
    let mut waited = 0;
    EventLog::open(&run, epoch, &Interrupt::default(), &mut || {
        waited += 1;
        drop(first.take());
    })
    .unwrap();
    assert_eq!(waited, 1);
}
