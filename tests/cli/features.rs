//! Cached features: computed once, shared by all stages that use the same ones, and without effect on results.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::project::{Project, Run, document};

/// An evaluation of the head-only stage, with the frozen layers of the training.
const LOOK: &str = "\n[stage.look]\nkind = \"evaluate\"\nfrom = \"frozen@best\"\n";
const UNTIL: [&str; 2] = ["--until", "look"];

fn project() -> Project {
    let project = Project::new();
    project.write(&(project.text() + LOOK));
    project
}

/// For each stage that used features since the last start: how many it needed, and how many were stored.
pub fn asked(run: &Run) -> Vec<(String, u64, u64)> {
    let events: Vec<Value> =
        run.read("events.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let start = events.iter().rposition(|event| event["event"] == "run_started").unwrap();
    let found = events[start..].iter().filter(|event| event["event"] == "features_found");
    let number = |value: &Value| value.as_u64().unwrap();
    found
        .map(|found| {
            (found["stage"].as_str().unwrap().to_owned(), number(&found["images"]), number(&found["stored"]))
        })
        .collect()
}

fn computed(run: &Run) -> u64 {
    asked(run).iter().map(|(_, images, stored)| images - stored).sum()
}

pub fn segments(project: &Project) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(project.path().join("runs/.store/features")).into_iter().flatten();
    let paths = walk.map(walkdir::DirEntry::into_path);
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "rows")).collect()
}

fn feature_bytes(project: &Project) -> u64 {
    document(&project.defrost(&["doctor", "--json"]))["runs"]["feature_bytes"].as_u64().unwrap()
}

#[test]
fn with_or_without_the_store_of_features_every_file_has_the_same_bytes() {
    for views in ["", "features   = { views = 2 }\n"] {
        let run = |arguments: &[&str]| {
            let project = project();
            project.edit("augment    =", &format!("{views}augment    ="));
            (project.run(arguments), project)
        };
        let (kept, project) = run(&[]);
        assert!(feature_bytes(&project) > 0);
        let (off, project) = run(&["--set", "run.feature_cache=off"]);
        assert_eq!(feature_bytes(&project), 0);
        assert_eq!(off.manifest(), kept.manifest());
        let said = off.read("log.txt");
        assert!(said.contains("stage frozen: features are not kept: `run.feature_cache` is off"), "{said}");
        let why = kept.read("log.txt").contains("stage finetune: features are not kept: the augmentation");
        assert_eq!(why, views.is_empty());
        let asked: Vec<String> = asked(&kept).into_iter().map(|(stage, ..)| stage).collect();
        let expected: &[&str] = match views {
            "" => &["frozen", "look"],
            // Validation, then each view in its epoch; the test uses the frozen layers of the fine-tuning.
            _ => &["frozen", "finetune", "finetune", "finetune", "test", "look"],
        };
        assert_eq!(asked, expected);
    }
}

#[test]
fn no_image_is_decoded_twice_whoever_asks() {
    let project = project();
    // With more images, batches of five would leave a last batch of one.
    project.edit("batch_size = 5", "batch_size = 6");
    let first = project.run(&UNTIL);
    let [(_, trained, 0), (_, tested, 0)] = asked(&first)[..] else { panic!("{:?}", asked(&first)) };
    assert_eq!(trained + tested, 36);
    let again = [
        // Another stage with the same layers, in a pipeline of another name.
        ["name=others", "stage.frozen.optimizer.lr=1e-3"],
        // Another split, and another subset of the classes.
        ["data.photos.split.validation=0.5", "data.photos.split.test=0.2"],
        ["data.photos.classes=[\"red\", \"blue\"]", "name=two"],
    ];
    for [one, two] in again {
        let run = project.run(&[&UNTIL[..], &["--set", one, "--set", two]].concat());
        assert_eq!((asked(&run).len(), computed(&run)), (2, 0), "{one}: {:?}", asked(&run));
        assert!(run.those("ran").contains(&"frozen".to_owned()), "{one}");
    }
    project.image("photos/blue/new.png", [30, 40, 200], 77);
    assert_eq!(computed(&project.run(&UNTIL)), 1, "one more photo is one more row");
    project.image("photos/blue/new.png", [30, 40, 200], 78);
    assert_eq!(computed(&project.run(&UNTIL)), 1, "other bytes are another photo");
    // `--force` computes everything again, with the same result.
    let forced = project.run(&[&UNTIL[..], &["--force"]].concat());
    assert_eq!(computed(&forced), 37);

    // A damaged file is ignored and computed again.
    let bytes = feature_bytes(&project);
    for path in segments(&project) {
        crate::synthetic::change(&path, |bytes| *bytes.last_mut().unwrap() ^= 1);
    }
    let seed = ["--set", "stage.frozen.epochs=4"];
    let healed = project.run(&[&UNTIL[..], &seed].concat());
    assert_eq!(computed(&healed), 37);
    assert!(feature_bytes(&project) <= bytes);
    let off = [&UNTIL[..], &seed, &["--force", "--set", "run.feature_cache=off"]].concat();
    assert_eq!(project.run(&off).those("ran").len(), 3, "the same bytes, or this were an error");
}

#[test]
fn killed_while_computing_features_it_goes_on_from_there_to_the_same_bytes() {
    let many = || {
        let project = project();
        for number in 0..60 {
            project.image(&format!("photos/green/more{number}.png"), [40, 190, 50], 1000 + number);
            project.image(&format!("photos/red/more{number}.png"), [210, 40, 30], 2000 + number);
        }
        project
    };
    let untouched = many();
    let reference = untouched.run(&[&UNTIL[..], &["--set", "run.feature_cache=off"]].concat());
    let arguments = [&UNTIL[..], &["--set", "run.checkpoint_seconds=0"]].concat();
    let killed = || {
        let project = many();
        let mut child = project.start(&arguments);
        let started = Instant::now();
        while segments(&project).is_empty() && child.try_wait().unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_secs(120), "nothing happens");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let run = project.run(&arguments);
        (project, run)
    };
    // On a loaded machine the stage may end before the kill.
    let in_the_middle = |run: &Run| run.those("ran").contains(&"frozen".to_owned());
    let (project, run) =
        (0..20).map(|_| killed()).find(|(_, run)| in_the_middle(run)).expect("it is killed in time");
    let (_, images, stored) = asked(&run)[0];
    assert!(stored >= 32 && images > 100, "{:?}", asked(&run));
    for stage in ["frozen", "look"] {
        let stored = project.stored(&run.key(stage));
        for file in std::fs::read_dir(stored).unwrap().flatten() {
            let name = format!("stages/{stage}/{}", file.file_name().to_str().unwrap());
            let expected = std::fs::read(reference.directory.join(&name));
            let unlisted = name.ends_with("object.json");
            assert!(unlisted || std::fs::read(file.path()).unwrap() == expected.unwrap(), "{name}");
        }
    }
}

#[test]
fn plan_says_what_is_there_and_why_not() {
    let project = project();
    let features = |arguments: &[&str], stage: &str| {
        let plan = project.plan(arguments);
        let stages = plan["stages"].as_array().unwrap();
        stages.iter().find(|found| found["name"] == stage).unwrap()["features"].clone()
    };
    let expected = |images: Value, stored: Value, missing: Value| json!({ "after_epochs": 0, "layers": 18, "kept": true, "reason": null, "images": images, "stored": stored, "missing": missing });
    assert_eq!(features(&[], "start"), Value::Null);
    assert_eq!(features(&[], "frozen"), expected(json!(null), json!(null), json!(null)));
    project.run(&["--until", "start"]);
    let images = features(&[], "frozen")["images"].as_u64().unwrap();
    assert_eq!(features(&[], "frozen"), expected(json!(images), json!(0), json!(images)));
    project.run(&UNTIL);
    assert_eq!(features(&[], "frozen"), Value::Null, "a hit needs none");
    let other = ["--set", "stage.frozen.epochs=2"];
    assert_eq!(features(&other, "frozen"), expected(json!(images), json!(images), json!(0)));
    let output = project.defrost(&[&["plan", "colours.toml"], &other[..]].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    let said =
        format!("the first 18 layers run once per image: {images} features, {images} of them from the store");
    assert!(text.contains(&said), "{text}");
    assert!(
        text.contains("features are not kept: the augmentation changes the images every epoch"),
        "{text}"
    );
    let off = features(&[&other[..], &["--set", "run.feature_cache=off"]].concat(), "frozen");
    assert_eq!((&off["kept"], &off["reason"]), (&json!(false), &json!("`run.feature_cache` is off")));

    // Two views of each training image, and each validation image once.
    project.edit("augment    =", "features   = { views = 2 }\naugment    =");
    let views = features(&[], "finetune");
    let training = views["images"].as_u64().unwrap() - images;
    assert!(views["kept"] == true && views["stored"] == 0 && training > 9 && training < images, "{views}");
}

#[test]
fn what_no_run_uses_is_freed() {
    let project = project();
    let first = project.run(&UNTIL);
    let other = project.run(&[&UNTIL[..], &["--set", "stage.frozen.epochs=2"]].concat());
    let bytes = feature_bytes(&project);
    let garbage = |arguments: &[&str]| {
        document(&project.defrost(&[&["gc", "--json"], arguments].concat()))["garbage"].clone()
    };
    assert_eq!(garbage(&["--yes"]), json!([]));
    std::fs::remove_dir_all(&first.directory).unwrap();
    garbage(&["--yes"]);
    assert_eq!(feature_bytes(&project), bytes, "the other run uses the same");
    std::fs::remove_dir_all(&other.directory).unwrap();
    let shown = garbage(&[]);
    let of_features: Vec<&Value> = shown
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["what"] == "features of frozen layers that no run uses")
        .collect();
    assert_eq!(of_features.len(), 1, "{shown}");
    assert_eq!(of_features[0]["bytes"], bytes);
    assert_eq!(feature_bytes(&project), bytes, "a preview removes nothing");
    garbage(&["--yes"]);
    assert_eq!(feature_bytes(&project), 0);
}
