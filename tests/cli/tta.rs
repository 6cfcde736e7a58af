//! Test-time augmentation: several versions of one image, whose predictions become one.

use std::path::Path;

use serde_json::Value;

use crate::labels;
use crate::project::{Project, document};

const TTA: &str = "\n[stage.flipped]\nkind = \"evaluate\"\nfrom = \"STAGE\"\nsplit = \"SPLIT\"\ntta = { horizontal_flip = true, quarter_turns = true }\n";

fn with_tta(text: &str, stage: &str, split: &str) -> String {
    text.to_owned() + &TTA.replace("STAGE", stage).replace("SPLIT", split)
}

/// Writes the eight versions of an image.
fn versions(image: &Path, folder: &Path) -> Vec<String> {
    let picture = image::open(image).unwrap().into_rgb8();
    let mut all = Vec::new();
    for (number, turned) in
        [picture.clone(), image::imageops::flip_horizontal(&picture)].into_iter().enumerate()
    {
        let turns = [
            turned.clone(),
            image::imageops::rotate90(&turned),
            image::imageops::rotate180(&turned),
            image::imageops::rotate270(&turned),
        ];
        for (turn, turned) in turns.into_iter().enumerate() {
            let path = folder.join(format!("version-{number}-{turn}.png"));
            turned.save(&path).unwrap();
            all.push(path.display().to_string());
        }
    }
    all
}

fn rows(table: &str) -> Vec<csv::StringRecord> {
    csv::Reader::from_reader(table.as_bytes()).records().map(Result::unwrap).collect()
}

#[test]
fn classes_are_the_mean_over_all_versions_in_evaluations_and_predictions() {
    let project = Project::new();
    project.write(&with_tta(&project.text(), "finetune@best", "test"));
    let run = project.run(&[]);
    let table = rows(&run.read("stages/flipped/predictions.csv"));
    assert_ne!(run.metrics("flipped")["loss"], run.metrics("test")["loss"]);
    let file = format!("photos/{}", &table[0][0]);
    let predict = |arguments: &[&str]| -> Vec<Vec<f64>> {
        let answer = document(&project.defrost(&[&["predict", "colours", "--json"], arguments].concat()));
        let probabilities = |prediction: &Value| {
            prediction["probabilities"].as_object().unwrap().values().map(|p| p.as_f64().unwrap()).collect()
        };
        answer["predictions"].as_array().unwrap().iter().map(probabilities).collect()
    };
    // The images are square, so that the versions of the file are those of the input.
    let files = versions(&project.path().join(&file), project.path());
    let single = predict(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let merged = &predict(&[&file, "--tta", "horizontal_flip,quarter_turns"])[0];
    for class in 0..3 {
        let mean = single.iter().map(|row| row[class]).sum::<f64>() / 8.0;
        // Resizing rounds to whole pixel values, row by row before column by column.
        assert!((mean - merged[class]).abs() < 3e-3, "{mean} and {}", merged[class]);
        assert!((table[0][3 + class].parse::<f64>().unwrap() - merged[class]).abs() < 1e-6);
    }
    assert!((predict(&[&file])[0][0] - merged[0]).abs() > 0.0);
    let plan = project.plan(&[]);
    assert!(plan["stages"].as_array().unwrap().iter().all(|stage| stage["status"] == "hit"));
}

#[test]
fn labels_are_averaged_and_scored() {
    let project = labels::project();
    project.write(&with_tta(&project.text(), "finetune@best", "test"));
    let run = project.run(&["--set", "stage.frozen.epochs=2"]);
    let (plain, merged) =
        (rows(&run.read("stages/test/predictions.csv")), rows(&run.read("stages/flipped/predictions.csv")));
    assert_eq!(plain.len(), merged.len());
    assert_ne!(plain, merged);
    let metrics = run.metrics("flipped");
    assert!(["loss", "map", "accuracy", "auc"].iter().all(|score| metrics[score].is_number()), "{metrics}");
    // The scores are those of the merged probabilities.
    let exact = merged.iter().filter(|row| row[1] == row[2]).count();
    assert_eq!(exact as f64 / merged.len() as f64, metrics["accuracy"].as_f64().unwrap());
}

#[test]
fn what_does_not_fit_is_refused_with_the_cure() {
    let project = Project::finished();
    let refused = |arguments: &[&str]| {
        let output = project.defrost(&[&["predict", "colours", "photos/red/00.png"], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let text = refused(&["--tile", "64"]);
    assert!(
        text.contains("tiles are for objects in large pictures") && text.contains("remove `--tile`"),
        "{text}"
    );
    assert!(refused(&["--tile", "8"]).contains("8 is not in 32..=65536"));
    assert!(refused(&["--overlap", "0.5"]).contains("--tile"));
    assert!(refused(&["--tta", "flip"]).contains("horizontal_flip, vertical_flip, quarter_turns"));
    let text = refused(&["--json-lines", "--json"]);
    assert!(text.contains("`--json` prints one document, and `--json-lines` one for each image"), "{text}");
}
