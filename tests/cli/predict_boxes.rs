//! `defrost predict` with a detector: pictures with boxes, and files in the formats of other tools.

use std::fs;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use super::detection;
use super::project::{Project, document};

/// The colours of boxes of the first two classes.
const COLOURS: [[u8; 3]; 2] = [[0xe6, 0x9f, 0x00], [0x56, 0xb4, 0xe9]];

fn trained() -> Project {
    let project = detection::project();
    detection::run(&project, &[]);
    project
}

fn predict(project: &Project, arguments: &[&str]) -> Value {
    document(&project.defrost(&[&["predict", "squares.toml", "--json"], arguments].concat()))
}

fn boxes(prediction: &Value) -> &Vec<Value> {
    prediction["boxes"].as_array().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// All files below a folder, relative to it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => {
                    let name: PathBuf = entry.path().strip_prefix(folder).unwrap().into();
                    found.push(name.to_str().unwrap().to_owned());
                }
            }
        }
    }
    found.sort();
    found
}

fn near(a: Rgb<u8>, b: [u8; 3], most: u8) -> bool {
    a.0.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= most)
}

/// The pixels of a picture that have almost this colour.
fn count(picture: &RgbImage, colour: [u8; 3]) -> usize {
    picture.pixels().filter(|pixel| near(**pixel, colour, 24)).count()
}

#[test]
fn boxes_are_drawn_and_written_in_the_formats_of_other_tools() {
    let project = trained();
    let root = project.path();
    for (from, to) in [("0", "a/0"), ("1", "b/0"), ("2", "b/c/2")] {
        let to = root.join(format!("new/{to}.png"));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root.join(format!("squares/images/val/{from}.png")), to).unwrap();
    }
    fs::write(root.join("new/b/broken.png"), b"\x89PNG\r\n\x1a\n\0\0").unwrap();
    let output =
        project.defrost(&["predict", "squares.toml", "new", "--out", "found", "--confidence", "0", "--json"]);
    assert_eq!(output.status.code(), Some(2), "one file is broken");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = root.join("found");
    let read = |name: &str| fs::read_to_string(found.join(name)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&read("predictions.json")).unwrap(), answer);
    assert!(answer["errors"][0].as_str().unwrap().contains("new/b/broken.png"));
    let expected = [
        "a/0.jpg",
        "b/0.jpg",
        "b/c/2.jpg",
        "labels/a/0.txt",
        "labels/b/0.txt",
        "labels/b/c/2.txt",
        "predictions.csv",
        "predictions.json",
        "predictions_coco.json",
        "predictions_coco_ids.json",
    ];
    assert_eq!((json!(files(&found)), &answer["files"]), (json!(expected), &json!(expected)));

    let coco: Value = serde_json::from_str(&read("predictions_coco.json")).unwrap();
    let ids: Value = serde_json::from_str(&read("predictions_coco_ids.json")).unwrap();
    let mut results = coco.as_array().unwrap().iter();
    let mut table = csv::Reader::from_path(found.join("predictions.csv")).unwrap();
    let mut rows = table.records().map(Result::unwrap);
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 3);
    for (place, prediction) in predictions.iter().enumerate() {
        let picture = image::open(found.join(prediction["picture"].as_str().unwrap())).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (512, 384), "enlarged eight times");
        let class = boxes(prediction)[0]["class"].as_u64().unwrap() as usize;
        let before = image::open(root.join(prediction["file"].as_str().unwrap())).unwrap().into_rgb8();
        assert_eq!(count(&before, COLOURS[class]), 0);
        assert!(count(&picture, COLOURS[class]) > 100, "{} pixels", count(&picture, COLOURS[class]));

        let labels = read(prediction["label_file"].as_str().unwrap());
        assert_eq!(labels.lines().count(), boxes(prediction).len());
        for (line, found) in labels.lines().zip(boxes(prediction)) {
            let corners: Vec<f64> = found["box"].as_array().unwrap().iter().map(number).collect();
            let ([left, right], [top, bottom]) =
                ([corners[0], corners[2]].map(|x| x / 64.0), [corners[1], corners[3]].map(|y| y / 48.0));
            let fields = [(left + right) / 2.0, (top + bottom) / 2.0, right - left, bottom - top];
            let expected = fields.map(|field| format!("{field:.6}")).join(" ");
            let score = number(&found["score"]) as f32;
            assert_eq!(line, format!("{} {expected} {score:.6}", found["class"]));

            let result = results.next().unwrap();
            let image = &ids["images"][place];
            assert_eq!((&image["id"], &image["file_name"]), (&result["image_id"], &prediction["file"]));
            assert_eq!(result["category_id"].as_u64(), Some(found["class"].as_u64().unwrap() + 1));
            assert!((number(&result["bbox"][2]) - (corners[2] - corners[0])).abs() < 1e-4);
            assert!((number(&result["score"]) - number(&found["score"])).abs() < 1e-7);

            let row = rows.next().unwrap();
            assert_eq!(
                (&row[0], &row[1]),
                (prediction["file"].as_str().unwrap(), found["label"].as_str().unwrap())
            );
            assert_eq!(row[3].parse::<f32>().unwrap(), corners[0] as f32);
        }
    }
    assert!(results.next().is_none() && rows.next().is_none());

    // The next prediction removes the files of this one, and no others.
    fs::write(found.join("a/notes.txt"), "mine").unwrap();
    let output = project.defrost(&["predict", "squares.toml", "new/a", "--out", "found"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("replacing the previous prediction"), "{said}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("written to found"));
    let expected = [
        "0.jpg",
        "a/notes.txt",
        "labels/0.txt",
        "predictions.csv",
        "predictions.json",
        "predictions_coco.json",
        "predictions_coco_ids.json",
    ];
    assert_eq!(files(&found), expected);
}

#[test]
fn thresholds_select_boxes_and_each_box_has_its_best_class() {
    let project = trained();
    let image = "squares/images/val/1.png";
    let kept = |arguments: &[&str]| {
        boxes(&predict(&project, &[&[image], arguments].concat())["predictions"][0]).clone()
    };
    let all = kept(&["--confidence", "0", "--iou", "1"]);
    // The maps of 64 pixels have 8², 4² and 2² anchors.
    assert_eq!(all.len(), 84, "a box for each anchor, with its best class");
    // Scores fall, and all above the threshold are kept.
    let scores: Vec<f64> = all.iter().map(|found| number(&found["score"])).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b));
    let middle = scores[scores.len() / 2];
    let above = kept(&["--confidence", &middle.to_string(), "--iou", "1"]);
    assert_eq!(above[..], all[..scores.iter().take_while(|score| **score > middle).count()]);
    // A lower limit of overlaps keeps fewer boxes, and the best first.
    let [strict, loose] = ["0.1", "0.7"].map(|iou| kept(&["--confidence", "0", "--iou", iou]));
    assert!(!strict.is_empty() && strict.len() < loose.len() && loose.len() < all.len());
    assert_eq!((&strict[0], &loose[0]), (&all[0], &all[0]));
    let usual = loose.iter().filter(|found| number(&found["score"]) > 0.25).cloned().collect::<Vec<_>>();
    assert_eq!(kept(&[]), usual, "0.25 and 0.7");
    assert!(kept(&["--confidence", "1"]).is_empty());
}

#[test]
fn photos_are_upright_and_names_never_collide() {
    let project = trained();
    let root = project.path();
    let stored = image::open(root.join("squares/images/val/0.png")).unwrap().into_rgb8();
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(&stored).unwrap();
    // A photo that is to be rotated by 90 degrees, as cameras write it.
    let mut exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0".to_vec();
    exif.extend(b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0");
    let jpeg = jpeg.into_inner();
    let turned = [&jpeg[..2], &exif, &jpeg[2..]].concat();
    fs::create_dir_all(root.join("phone")).unwrap();
    fs::write(root.join("phone/0.jpg"), turned).unwrap();
    fs::copy(root.join("squares/images/val/0.png"), root.join("phone/0.png")).unwrap();

    let answer = predict(&project, &["phone", "phone/0.png", "--out", "phone/out", "--confidence", "1"]);
    let predictions = answer["predictions"].as_array().unwrap();
    let pictures: Vec<&str> =
        predictions.iter().map(|prediction| prediction["picture"].as_str().unwrap()).collect();
    assert_eq!(pictures, ["0.jpg", "0_2.jpg", "0_3.jpg"]);
    assert_eq!(fs::read(root.join("phone/out/labels/0_3.txt")).unwrap(), b"", "nothing is found");
    assert_eq!((&predictions[0]["width"], &predictions[0]["height"]), (&json!(48), &json!(64)));
    let picture = image::open(root.join("phone/out/0.jpg")).unwrap().into_rgb8();
    assert_eq!(picture.dimensions(), (384, 512));
    let upright = image::imageops::rotate90(&stored);
    // Not at edges, where both JPEG files have errors.
    for (x, y) in [(4, 4), (40, 60), (34, 14), (20, 40)] {
        let shown = *picture.get_pixel(x * 8 + 4, y * 8 + 4);
        assert!(near(shown, upright.get_pixel(x, y).0, 40), "{x} {y}: {shown:?}");
    }

    // The drawn pictures are below the folder of the images, and are not predicted themselves.
    let output = project.defrost(&["predict", "squares.toml", "phone", "--out", "phone/out", "--json"]);
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(said.contains("not predicted: 3 pictures of the previous prediction in phone/out"), "{said}");
    assert_eq!(document(&output)["predictions"].as_array().unwrap().len(), 2);
    let output = project.defrost(&["predict", "squares.toml", "phone/out/0.jpg", "--out", "phone/out"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("all images are pictures"), "{said}");
    assert!(root.join("phone/out/0.jpg").exists(), "nothing is removed");

    fs::write(root.join("phone/out/1.jpg"), "mine").unwrap();
    let output =
        project.defrost(&["predict", "squares.toml", "squares/images/val/1.png", "--out", "phone/out"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("`phone/out/1.jpg` exists"), "{said}");
    assert_eq!(fs::read(root.join("phone/out/1.jpg")).unwrap(), b"mine");
}
