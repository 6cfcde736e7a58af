//! A detector that has learnt its objects: flipped versions, tiles of large pictures, and annotations that it doubts.

use std::fs;

use serde_json::Value;

use crate::detection::{PIPELINE, run, squares};
use crate::project::{Project, document};

/// Enough steps for the running statistics of all BatchNorms. Test images are no input of the training.
fn trained() -> Project {
    let project = Project::new();
    squares(project.path(), 10);
    for kind in ["images", "labels"] {
        let [from, to] = ["val", "test"].map(|part| project.path().join("squares").join(kind).join(part));
        fs::create_dir(&to).unwrap();
        for file in fs::read_dir(from).unwrap().flatten() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    // Three blue squares: two will have wrong annotations.
    for (kind, end) in [("images", "png"), ("labels", "txt")] {
        let folder = project.path().join("squares").join(kind).join("test");
        for copy in [5, 7] {
            fs::copy(folder.join(format!("1.{end}")), folder.join(format!("{copy}.{end}"))).unwrap();
        }
    }
    let (before, after) = PIPELINE.split_once("[stage.fit]").unwrap();
    let data = before.replace("val\" } }", "val\", test = \"images/test\" } }");
    assert_ne!(data, before);
    let training = after.split_once("[stage.check]").unwrap().0;
    let training = training
        .replace("freeze_first = 3\nepochs = 2\nbatch_size = 4\n", "epochs = 60\nbatch_size = 2\n")
        .replace("lr = 1e-3 }", "lr = 2e-3 }\nschedule = { kind = \"cosine\", warmup_epochs = 3 }")
        .replace(
            "mosaic = {}, close_mosaic = 1, affine = {}, hsv = {}",
            "affine = { translate = 0.3, scale = 0.2 }",
        );
    let evaluations = "[stage.check]\nkind = \"evaluate\"\nfrom = \"fit@last\"\n\n[stage.turned]\n\
                       kind = \"evaluate\"\nfrom = \"fit@last\"\n\
                       tta = { horizontal_flip = true, quarter_turns = true }\n";
    let text = format!("{data}[stage.fit]{training}{evaluations}");
    fs::write(project.path().join("squares.toml"), text).unwrap();
    project
}

#[test]
fn versions_tiles_and_doubtful_boxes() {
    let project = trained();
    let result = run(&project, &[]);
    let metrics = |stage: usize| result["stages"][stage]["metrics"].clone();
    versions_move_back_and_merge(&metrics(2), &metrics(3));
    tiles_find_what_is_small(&project);
    wrong_annotations_are_listed_and_drawn(&project);
}

/// Boxes that were not moved back would find nothing.
fn versions_move_back_and_merge(plain: &Value, turned: &Value) {
    assert_eq!((&turned["images"], &turned["instances"]), (&plain["images"], &plain["instances"]));
    assert!(turned["loss"].is_number() && turned["loss"] != plain["loss"], "{turned:#}");
    for metrics in [plain, turned] {
        assert!(metrics["ap50"].as_f64().unwrap() > 0.8, "{metrics:#}");
        let [low, high] = [0, 1].map(|end| metrics["intervals"]["scores"]["ap50"][end].as_f64());
        assert!(low.is_none_or(|low| low <= high.unwrap()), "{metrics:#}");
    }
}

/// Blue squares on a picture much longer than the network's input. Its tiles have the shape of the training images.
fn tiles_find_what_is_small(project: &Project) {
    let places: Vec<(u32, u32)> = (0..6).map(|number| (20 + 64 * number, 8 + 3 * number)).collect();
    let picture = image::RgbImage::from_fn(400, 48, |x, y| {
        let inside =
            |(left, top): &(u32, u32)| (*left..left + 18).contains(&x) && (*top..top + 18).contains(&y);
        image::Rgb(if places.iter().any(inside) { [20, 40, 210] } else { [120; 3] })
    });
    picture.save(project.path().join("large.png")).unwrap();
    let predict = |image: &str, arguments: &[&str]| {
        let all = [&["predict", "squares.toml", image, "--json", "--confidence", "0.1"], arguments].concat();
        document(&project.defrost(&all))["predictions"][0]["boxes"].clone()
    };
    let found = |boxes: &Value| {
        let corners = |object: &Value| -> Vec<f64> {
            object["box"].as_array().unwrap().iter().map(|side| side.as_f64().unwrap()).collect()
        };
        let all: Vec<Vec<f64>> = boxes.as_array().unwrap().iter().map(corners).collect();
        let hit = |&&(left, top): &&(u32, u32)| {
            let truth = [left, top, left + 18, top + 18].map(f64::from);
            all.iter().any(|corners| corners.iter().zip(truth).all(|(one, other)| (one - other).abs() < 6.0))
        };
        places.iter().filter(hit).count()
    };
    let whole = predict("large.png", &[]);
    let tiled = predict("large.png", &["--tile", "64", "--overlap", "0.5"]);
    assert!(found(&tiled) >= 3 && found(&tiled) > found(&whole), "{tiled:#} {whole:#}");
    // About once each, although two tiles show an object.
    assert!(tiled.as_array().unwrap().len() <= 12, "{tiled:#}");
    // A picture that is one tile is predicted as always.
    let small = "squares/images/val/1.png";
    assert_eq!(predict(small, &["--tile", "64"]), predict(small, &[]));
}

/// A wrong class, and an object that nobody annotated.
fn wrong_annotations_are_listed_and_drawn(project: &Project) {
    let labels = project.path().join("squares/labels/test");
    let text = fs::read_to_string(labels.join("5.txt")).unwrap();
    fs::write(labels.join("5.txt"), text.replacen("1 ", "0 ", 1)).unwrap();
    fs::write(labels.join("1.txt"), "").unwrap();
    let result = run(project, &[]);
    assert_eq!(result["stages"][1]["status"], "cached", "test images are no input of the training");
    let arguments = ["check-labels", "squares.toml", "--stage", "check", "--out", "suspects", "--json"];
    let checked = document(&project.defrost(&arguments));
    let of = |file: &str| {
        let rows = checked["images"].as_array().unwrap();
        rows.iter().find(|row| row["file"] == format!("images/test/{file}.png")).unwrap_or(&Value::Null)
    };
    let (swapped, missing) = (of("5"), of("1"));
    assert_eq!((&swapped["label"], &swapped["suggested"]), (&"red".into(), &"blue".into()), "{checked:#}");
    assert_eq!((&missing["label"], &missing["suggested"]), (&"".into(), &"blue".into()), "{checked:#}");
    assert!(swapped["given_box"].is_array() && missing["given_box"].is_null());
    let table = fs::read_to_string(project.path().join("suspects/label_check.csv")).unwrap();
    let header = "rank,file,label,suggested,margin,runs,left,top,right,bottom,suggested_left,";
    assert!(table.starts_with(header), "{table}");
    assert!(project.path().join("suspects/label_check_0.jpg").is_file());
}
