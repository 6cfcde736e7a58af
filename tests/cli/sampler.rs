//! Samplers of train stages: which images an epoch shows, through the binary.

use serde_json::Value;

use crate::project::{Project, document, killed_runs_end_in};

const BALANCED: &str = "sampler = { kind = \"balanced\" }";
const PK: &str = "sampler = { kind = \"p_k\", classes = 2, images = 3 }\nbatch_size = 6";

/// Three times as many blue images as green and red ones, and a sampler in both train stages.
fn project(sampler: &str) -> Project {
    let project = Project::new();
    for number in 12..36 {
        project.image(&format!("photos/blue/{number}.png"), [30, 40, 200], number);
    }
    let batch = if sampler.contains("batch_size") { "" } else { "batch_size = 5\n" };
    project.edit("[defaults.train]\nbatch_size = 5\n", &format!("[defaults.train]\n{batch}{sampler}\n"));
    project
}

fn note(project: &Project, stage: &str) -> String {
    let plan = project.plan(&[]);
    let stages = plan["stages"].as_array().unwrap();
    let found = stages.iter().find(|found| found["name"] == stage).unwrap();
    found["note"].as_str().unwrap().to_owned()
}

#[test]
fn killed_anywhere_and_on_any_threads_sampled_epochs_end_in_the_same_bytes() {
    for sampler in [BALANCED, PK] {
        let long = ["--set", "stage.finetune.epochs=4"];
        let reference = project(sampler).run(&[&long[..], &["--threads", "2"]].concat()).manifest();
        let arguments = [&long[..], &["--threads", "1", "--set", "run.checkpoint_seconds=0"]].concat();
        killed_runs_end_in(&reference, || project(sampler), (&[1, 2], 4), 1, &arguments);
    }
}

#[test]
fn cached_features_of_repeated_images_change_no_byte() {
    for sampler in [BALANCED, PK] {
        for views in ["", "features   = { views = 2 }\n"] {
            let run = |arguments: &[&str]| {
                let project = project(sampler);
                project.edit("augment    =", &format!("{views}augment    ="));
                project.run(arguments).manifest()
            };
            assert_eq!(run(&[]), run(&["--set", "run.feature_cache=off"]), "{sampler} {views}");
        }
    }
}

#[test]
fn plan_says_what_an_epoch_shows_and_the_default_is_no_new_stage() {
    let plain = project("");
    plain.run(&[]);
    assert!(plain.misses(&["--set", "stage.frozen.sampler={ kind = \"random\" }"]).is_empty());
    assert_eq!(
        plain.misses(&["--set", "stage.finetune.sampler={ kind = \"balanced\" }"]),
        ["finetune", "test"]
    );
    assert!(!note(&plain, "frozen").contains("an epoch shows"));

    let balanced = project(BALANCED);
    let images = |note: &str| -> usize {
        let (before, _) = note.split_once(" images, 3 epochs").unwrap();
        before.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let found = note(&balanced, "frozen");
    let count = images(&found);
    let each = count as f64 / 3.0;
    assert!(
        found.contains(&format!("an epoch shows {count} images, {each:.1} of each of 3 classes on average")),
        "{found}"
    );

    let batches = project(PK);
    let found = note(&batches, "frozen");
    let shown = count.div_ceil(6) * 6;
    let words = format!("an epoch shows {shown} images, in batches of 2 classes with 3 images each");
    assert!(found.contains(&words) && found.contains(&format!("{} steps", shown / 6)), "{found}");
    let plan = document(&batches.defrost(&["plan", "colours.toml", "--json"]));
    assert!(plan["stages"][1]["estimate"]["seconds"].as_f64() > Some(0.0), "{plan:#}");
}

#[test]
fn a_class_with_fewer_images_repeats_them_and_plan_says_so() {
    let project = project("sampler = { kind = \"p_k\", classes = 3, images = 20 }\nbatch_size = 60");
    let found = note(&project, "frozen");
    assert!(found.contains("have fewer than 20 training images, which repeat in a batch"), "{found}");
    assert_eq!(project.run(&[]).state(), "complete");
    let preview = ["preview", "colours.toml", "--stage", "finetune", "--count", "60", "--out", "sheet.png"];
    let shown = project.defrost(&preview);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let find = ["lr-find", "colours.toml", "--stage", "finetune", "--steps", "10", "--json"];
    assert_eq!(document(&project.defrost(&find))["points"].as_array().unwrap().len(), 10);
}

#[test]
fn batches_of_more_classes_than_there_are_are_refused() {
    let project = project("sampler = { kind = \"p_k\", classes = 4, images = 3 }\nbatch_size = 12");
    let output = project.defrost(&["validate", "colours.toml", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = &report["errors"][0];
    assert_eq!(error["message"], "batches of 4 classes need as many, but 3 have training images");
    assert!(error["help"].as_str().unwrap().contains("`classes` to at most 3"), "{error}");
}

/// The images of a small class come several times in an epoch, each time with other random changes.
#[test]
fn a_repeated_image_has_other_random_changes() {
    let project = project(BALANCED);
    let arguments = ["preview", "colours.toml", "--stage", "finetune", "--count", "60", "--out", "one.png"];
    let shown = document(&project.defrost(&[&arguments[..], &["--json"]].concat()));
    let paths: Vec<&str> =
        shown["images"].as_array().unwrap().iter().map(|image| image["path"].as_str().unwrap()).collect();
    let mut unique = paths.clone();
    unique.sort_unstable();
    unique.dedup();
    assert!(unique.len() < paths.len(), "{paths:?}");
    let red = paths.iter().filter(|path| path.starts_with("red")).count();
    assert!(red.abs_diff(paths.len() / 3) <= 1, "{paths:?}");
}
