//! `defrost preview`: a sheet of images as a stage sees them, and nothing else is written.

use super::project::{Project, document};

fn sheet(project: &Project, arguments: &[&str]) -> (serde_json::Value, image::RgbImage) {
    let fixed = ["preview", "colours.toml", "--stage", "finetune", "--out", "sheet.png", "--json"];
    let document = document(&project.defrost(&[&fixed[..], arguments].concat()));
    let sheet = image::open(project.path().join("sheet.png")).unwrap().into_rgb8();
    (document, sheet)
}

#[test]
fn a_sheet_shows_the_images_of_an_epoch_with_their_classes() {
    let project = Project::new();
    let (document, first) = sheet(&project, &["--count", "6"]);
    let images = document["images"].as_array().unwrap();
    assert_eq!((images.len(), document["epoch"].as_u64()), (6, Some(1)));
    for image in images {
        let class = image["path"].as_str().unwrap().split('/').next().unwrap();
        assert_eq!(image["classes"], serde_json::json!([{ "class": class, "share": 1.0 }]));
        assert_eq!(
            (&image["photos"], &image["boxes"]),
            (&serde_json::json!([image["path"]]), &serde_json::Value::Null)
        );
    }
    assert!(!project.path().join("runs/colours").exists(), "no run begins");
    // The same every time, with any number of workers; another epoch has another order.
    let again = sheet(&project, &["--count", "6", "--set", "run.workers=1"]);
    assert_eq!(again, (document.clone(), first.clone()));
    let (other, second) = sheet(&project, &["--count", "6", "--epoch", "2"]);
    assert!(other["images"] != document["images"] && second != first);
    let output = project.defrost(&["preview", "colours.toml", "--stage", "finetune", "--count", "3"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("stage finetune, epoch 1 of 2") && text.contains("sheet.jpg"), "{text}");
    let jpeg = std::fs::read(project.path().join("sheet.jpg")).unwrap();
    assert!(jpeg.starts_with(&[0xFF, 0xD8, 0xFF]));
}

#[test]
fn mixed_images_say_their_shares_and_an_affine_map_shows_whole_images() {
    let project = Project::new();
    project.edit(
        "horizontal_flip = 0.5, rotation = 10",
        "mixup = { alpha = 1.0 }, affine = {}, hsv = {}, multi_scale = 0.5",
    );
    project.edit("[data.photos]", "[data.photos] # larger");
    project.edit("image_size = 32", "image_size = 64");
    project.edit("resize     = 32", "resize     = 64");
    let (document, _) = sheet(&project, &["--count", "8"]);
    let images = document["images"].as_array().unwrap();
    for image in images {
        let shares = image["classes"].as_array().unwrap();
        let total: f64 = shares.iter().map(|share| share["share"].as_f64().unwrap()).sum();
        assert!((total - 1.0).abs() < 1e-9);
        assert!([32, 64, 96].contains(&image["size"][0].as_u64().unwrap()));
    }
    assert!(images.iter().any(|image| image["classes"].as_array().unwrap().len() == 2));
}

#[test]
fn what_cannot_be_shown_says_why() {
    let project = Project::new();
    let fails = |arguments: &[&str]| {
        let output = project.defrost(&[&["preview", "colours.toml"], arguments].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(fails(&[]).contains("choose one with `--stage`: `frozen`, `finetune`"));
    assert!(fails(&["--stage", "test"]).contains("stage `test` is not a train stage"));
    assert!(fails(&["--stage", "frozen", "--epoch", "4"]).contains("its epochs are 1 to 3"));
    assert!(fails(&["--stage", "frozen", "--count", "0"]).contains("1 to 100 images"));
    assert!(fails(&["--stage", "frozen", "--out", "sheet.gif"]).contains("which is no picture file"));
    project.edit("horizontal_flip = 0.5, rotation = 10", "mosaic = {}, close_mosaic = 0");
    assert!(
        fails(&["--stage", "finetune"])
            .contains("`mosaic` needs boxes, but `data.photos` has one class per image")
    );
}
