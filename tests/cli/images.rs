//! Image reading settings, from stages to `predict`, and hostile files.

use std::path::Path;

use serde_json::Value;

use crate::project::{Project, Run, document};

/// The project with images that have a different alpha at each pixel.
fn project() -> Project {
    let project = Project::new();
    for entry in walkdir::WalkDir::new(project.path().join("photos")).into_iter().flatten() {
        if entry.file_type().is_file() {
            let mut image = image::open(entry.path()).unwrap().into_rgba8();
            image.pixels_mut().for_each(|pixel| pixel[3] = pixel[0].wrapping_mul(7));
            image.save(entry.path()).unwrap();
        }
    }
    project
}

/// File and probabilities of each test image, from the evaluation.
fn evaluated(run: &Run) -> Vec<(String, Vec<f32>)> {
    let table = run.read("stages/test/predictions.csv");
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let number = |text: &str| text.parse::<f32>().unwrap();
    let row = |row: csv::StringRecord| (row[0].to_owned(), row.iter().skip(3).take(3).map(number).collect());
    rows.records().map(|record| row(record.unwrap())).collect()
}

fn predicted(project: &Project, run: &Run) -> Vec<(String, Vec<f32>)> {
    let files = evaluated(run).into_iter().map(|(file, _)| file);
    let of = |file: String| {
        let image = format!("photos/{file}");
        let answer =
            document(&project.defrost(&["predict", run.directory.to_str().unwrap(), &image, "--json"]));
        let probabilities = answer["predictions"][0]["probabilities"].as_object().unwrap().clone();
        (file, probabilities.values().map(|number| number.to_string().parse::<f32>().unwrap()).collect())
    };
    files.map(of).collect()
}

#[test]
fn a_setting_of_decoding_is_another_recipe_with_other_features_and_goes_with_the_model() {
    let project = project();
    let usual = project.run(&[]);
    project.edit("image_size = 32", "image_size = 32\ntransparency = \"drop\"");
    let plan = project.plan(&[]);
    let stages = plan["stages"].as_array().unwrap();
    let frozen = stages.iter().find(|stage| stage["name"] == "frozen").unwrap();
    let reasons = frozen["reasons"].as_array().unwrap();
    let is_named = |reason: &Value| reason["field"].as_str().unwrap().ends_with("transparency");
    assert!(reasons.iter().any(is_named), "{plan}");
    let dropped = project.run(&[]);
    assert_ne!(dropped.directory, usual.directory);
    // Cached features of the other run are not used.
    let events = dropped.read("events.jsonl");
    let mut events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let first = events.find(|event| event["event"] == "features_found").unwrap();
    assert_eq!(first["stored"], 0, "{first}");
    assert_ne!(evaluated(&usual), evaluated(&dropped));
    assert_eq!(predicted(&project, &usual), evaluated(&usual));
    assert_eq!(predicted(&project, &dropped), evaluated(&dropped));
}

#[test]
fn images_that_declare_more_than_they_hold_are_left_out_as_broken_ones_are() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let hostile = ["header_alone", "large_size", "too_little_for_its_size", "cut"];
    let project = Project::new();
    for name in hostile {
        for (kind, ending) in [("png", "png"), ("jpeg", "jpg")] {
            let from = corpus.join(kind).join(format!("{name}.{ending}"));
            if from.exists() {
                std::fs::copy(from, project.path().join(format!("photos/green/{name}.{ending}"))).unwrap();
            }
        }
    }
    project.edit("batch_size = 5", "batch_size = 6");
    let text = project.run_fails(2, &["--until", "frozen"]);
    assert!(
        text.contains("cannot be decoded") && text.contains("green/cut.png: the PNG data is cut off"),
        "{text}"
    );
    project.edit("image_size = 32", "image_size = 32\nbroken = \"skip\"");
    let run = project.run(&[]);
    let lists = ["frozen", "test"].map(|stage| {
        let list = run.directory.join(format!("stages/{stage}/broken_images.csv"));
        std::fs::read_to_string(list).unwrap_or_default()
    });
    for name in hostile {
        assert!(lists.concat().contains(&format!("green/{name}.png")), "{name}: {lists:?}");
    }
    assert_eq!(lists.concat().matches("green/").count(), 7, "{lists:?}");
}
