//! What goes wrong in a detector's evaluation, and the scores of subsets.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::detection;
use super::project::{Project, document};

const SUBSETS: &str = r#"
[stage.check.subsets]
light = { by = "tag", file = "light.csv", path_column = "photo", column = "light" }
number = { by = "path", pattern = '([0-9])\.png$' }
size = { by = "size" }
shadow = { by = "mask", folder = "masks" }
"#;

/// The squares of the validation images: numbers 0 to 2, of which the image 3 has none. Masks cover the left half of the
/// images 0 and 2, and nothing of the others.
fn project() -> Project {
    let project = detection::project();
    let root = project.path();
    fs::write(root.join("squares.toml"), format!("{}{SUBSETS}", detection::PIPELINE)).unwrap();
    fs::write(root.join("light.csv"), "photo,light,note\nimages/train/0.png,dusk,\n".to_owned() + &rows(4))
        .unwrap();
    let masks = root.join("masks/images/val");
    fs::create_dir_all(&masks).unwrap();
    for number in 0..4 {
        mask(&masks, number, number % 2 == 0);
    }
    project
}

fn rows(images: u32) -> String {
    let light = |number: u32| if number < 2 { "day" } else { "night" };
    (0..images).map(|number| format!("images/val/{number}.png,{},x\n", light(number))).collect()
}

fn mask(folder: &Path, number: u32, covers: bool) {
    let mask = image::GrayImage::from_fn(64, 48, |x, _| image::Luma([u8::from(covers && x < 32)]));
    mask.save(folder.join(format!("{number}.png"))).unwrap();
}

fn read(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn an_evaluation_says_what_goes_wrong_and_reports_subsets() {
    let project = project();
    let result = detection::run(&project, &[]);
    let run_dir = project.path().join(result["run_dir"].as_str().unwrap());
    let stage = run_dir.join("stages/check");
    let metrics = read(stage.join("metrics.json"));

    let errors = &metrics["errors"];
    assert_eq!(
        (&errors["all"]["ap50"], &errors["confidence"]),
        (&metrics["ap50"], &metrics["best_confidence"])
    );
    let count = |kind: &str| errors["all"][kind]["count"].as_u64().unwrap();
    let wrong: u64 =
        ["classification", "localisation", "both", "duplicate", "background"].map(count).iter().sum();
    assert_eq!(wrong, count("false_positive"));
    assert_eq!(count("hits") + count("false_negative"), 3);
    let boxes = fs::read_to_string(stage.join("predictions.csv")).unwrap().lines().count() as u64 - 1;
    assert_eq!(count("hits") + wrong, boxes, "every box is a hit or has one type of error");
    let table = fs::read_to_string(stage.join("errors.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 3 * 8, "{table}");
    let worst = fs::read_to_string(stage.join("errors_worst.csv")).unwrap();
    assert_eq!(worst.lines().count() as u64, 1 + wrong.min(200));
    assert!(stage.join("errors.png").is_file());

    let subsets = &metrics["subsets"];
    let of = |subset: &str, value: &str, field: &str| subsets[subset][value][field].as_u64();
    assert_eq!((of("light", "day", "images"), of("light", "day", "instances")), (Some(2), Some(2)));
    assert_eq!((of("light", "night", "images"), of("light", "night", "instances")), (Some(2), Some(1)));
    assert_eq!(subsets["number"].as_object().unwrap().len(), 4);
    assert_eq!(of("size", "small", "instances"), Some(3));
    assert_eq!(subsets["size"]["small"]["ap50"], metrics["ap50"]);
    assert!(subsets["size"]["large"]["ap50"].is_null());
    assert_eq!(
        (of("shadow", "inside", "instances"), of("shadow", "outside", "instances")),
        (Some(2), Some(1))
    );
    let table = fs::read_to_string(stage.join("subsets.csv")).unwrap();
    assert_eq!(table.lines().count(), 1 + 2 + 4 + 3 + 2, "{table}");
    let page = fs::read_to_string(run_dir.join("report.html")).unwrap();
    for shown in ["What each type of error costs", "Subsets", "<td class=\"name\">night</td>", "subsets.csv"]
    {
        assert!(page.contains(shown), "{shown}");
    }
    assert!(page.contains("From confidence") || page.contains("No object is found (0 of 3)"));
}

#[test]
fn tables_and_masks_are_inputs() {
    let project = project();
    detection::run(&project, &[]);
    let statuses = || -> Vec<Value> {
        let plan = document(&project.defrost(&["plan", "squares.toml", "--json"]));
        plan["stages"].as_array().unwrap().iter().map(|stage| stage["status"].clone()).collect()
    };
    assert_eq!(statuses(), ["hit", "hit", "hit"]);
    let light = project.path().join("light.csv");
    let text = fs::read_to_string(&light).unwrap();
    fs::write(&light, text.replace("dusk", "dawn")).unwrap();
    assert_eq!(statuses(), ["hit", "hit", "hit"], "an image of another split");
    fs::write(&light, text.replace("images/val/1.png,day", "images/val/1.png,night")).unwrap();
    assert_eq!(statuses(), ["hit", "hit", "miss"]);
    fs::write(&light, &text).unwrap();
    assert_eq!(statuses(), ["hit", "hit", "hit"]);
    mask(&project.path().join("masks/images/val"), 1, true);
    assert_eq!(statuses(), ["hit", "hit", "miss"]);
}

#[test]
fn every_mistake_in_tables_and_masks_is_reported_at_its_setting() {
    let project = project();
    let errors = || -> Vec<(String, u64, String)> {
        let output = project.defrost(&["validate", "squares.toml", "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let errors = report["errors"].as_array().unwrap();
        let error = |error: &Value| {
            let text = |key: &str| error[key].as_str().unwrap().to_owned();
            (text("code"), error["line"].as_u64().unwrap(), text("message"))
        };
        errors.iter().map(error).collect()
    };
    assert_eq!(errors(), []);
    let line = 1 + fs::read_to_string(project.path().join("squares.toml"))
        .unwrap()
        .lines()
        .position(|line| line.starts_with("light"))
        .unwrap() as u64;
    let subset = |message: &str, line| ("subset".to_owned(), line, message.to_owned());
    fs::write(project.path().join("light.csv"), "photo,light\n".to_owned() + &rows(3).replace(",x", ""))
        .unwrap();
    fs::remove_file(project.path().join("masks/images/val/2.png")).unwrap();
    let expected = [
        subset(
            "`light.csv`: 1 of 4 images of the validation split have no row, such as `images/val/3.png`",
            line,
        ),
        subset("1 of 4 images of the validation split have no mask, such as `images/val/2.png`", line + 3),
    ];
    assert_eq!(errors(), expected);
    let two = "photo,light\n".to_owned() + &rows(4).replace(",x", "") + "images/val/2.png,day\n";
    fs::write(project.path().join("light.csv"), two).unwrap();
    let twice = "`light.csv`: line 6: `images/val/2.png` is `day`, but `night` in line 4";
    assert_eq!(errors()[0], subset(twice, line));
    fs::remove_file(project.path().join("light.csv")).unwrap();
    fs::remove_dir_all(project.path().join("masks")).unwrap();
    let codes: Vec<(String, u64)> = errors().into_iter().map(|(code, line, _)| (code, line)).collect();
    assert_eq!(codes, [("missing-file".to_owned(), line), ("missing-folder".to_owned(), line + 3)]);
}

#[test]
fn a_mask_of_another_size_stops_the_stage() {
    let project = project();
    let small = image::GrayImage::new(32, 48);
    small.save(project.path().join("masks/images/val/1.png")).unwrap();
    let output = project.defrost(&["run", "squares.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    let expected = "the mask of `images/val/1.png` has 32 × 48 pixels, and the image 64 × 48";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn the_accuracy_of_subsets_of_images() {
    let project = Project::new();
    let text = project.text().replace(
        "from = \"finetune@best\"\n",
        "from = \"frozen@best\"\nsubsets = { class = { by = \"path\", pattern = '^(\\w+)/' } }\n",
    );
    project.write(&text);
    let run = project.run(&["--until", "test"]);
    let metrics: Value = serde_json::from_str(&run.read("stages/test/metrics.json")).unwrap();
    let (mut images, mut right) = (0.0, 0.0);
    for value in metrics["subsets"]["class"].as_object().unwrap().values() {
        images += value["images"].as_f64().unwrap();
        right += value["accuracy"].as_f64().unwrap() * value["images"].as_f64().unwrap();
    }
    assert_eq!(images, metrics["samples"].as_f64().unwrap());
    assert!((right / images - metrics["accuracy"].as_f64().unwrap()).abs() < 1e-12);
    assert!(run.read("stages/test/subsets.csv").starts_with("subset,value,images,accuracy\nclass,"));
}
