//! A second data set for evaluation alone: `split.all`.

use std::fs;

use serde_json::Value;

use crate::datasets::Verdict;
use crate::detection;
use crate::project::{Project, document};

/// The test project, with photos of another camera and an evaluation of them.
fn project(data: &str) -> Project {
    let project = Project::new();
    for (class, colour) in [("blue", [60, 70, 180]), ("green", [70, 160, 80]), ("red", [180, 70, 60])] {
        (0..3).for_each(|number| project.image(&format!("other/{class}/{number}.png"), colour, 90 + number));
    }
    let stage = "[stage.other]\nkind = \"evaluate\"\nfrom = \"finetune@best\"\ndata = \"other\"\n";
    let data = format!("[data.other]\n{data}\nimage_size = 32\nresize = 32\n");
    project.write(&format!("{}\n{data}\n{stage}", project.text()));
    project
}

const FOLDER: &str = "format = \"image_folder\"\nroot = \"other\"\nsplit = { all = \"test\" }";

/// The rows of a table of predictions.
fn evaluated(project: &Project, stage: &str) -> Vec<String> {
    let table = project.run(&[]).read(&format!("stages/{stage}/predictions.csv"));
    table.lines().skip(1).map(|row| row.split(',').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_folder_and_a_table_are_evaluated_whole_and_other_stages_name_nothing() {
    let project = project(FOLDER);
    let run = project.run(&[]);
    let resolved: toml::Table = run.read("resolved.toml").parse().unwrap();
    assert_eq!(resolved["stage"]["frozen"]["data"].as_str(), Some("photos"));
    assert_eq!(resolved["stage"]["other"]["split"].as_str(), Some("test"));
    let images = evaluated(&project, "other");
    assert_eq!((images.len(), images[0].as_str()), (9, "blue/0.png"));
    let folders = run.metrics("other");

    // The same images in a table, as another split.
    let rows: String =
        images.iter().map(|image| format!("{image},{}\n", &image[..image.len() - 6])).collect();
    fs::write(project.path().join("other/list.csv"), format!("path,label\n{rows}")).unwrap();
    let table = "format = \"csv\"\nfile = \"other/list.csv\"\npath_column = \"path\"\nclass_column = \"label\"\n\
                 split = { all = \"validation\" }";
    project.edit(FOLDER, table);
    assert_eq!(evaluated(&project, "other"), images);
    assert_eq!(project.run(&[]).metrics("other")["accuracy"], folders["accuracy"]);
}

#[test]
fn what_makes_no_sense_is_refused_at_its_place() {
    let refused = |old: &str, new: &str| {
        let project = project(FOLDER);
        project.edit(old, new);
        let verdict = Verdict::of(&project);
        assert_eq!(verdict.code, 2, "{}", verdict.text);
        // A data set without some splits may have more consequences.
        verdict.errors[0].clone()
    };
    let all = "{ all = \"test\" }";
    let (message, help) = refused(all, "{ all = \"test\", validation = 0.2 }");
    assert_eq!(message, "`validation` has no effect: `all` puts every image into one split");
    assert_eq!(help, "remove `validation` or `all`");
    let (message, help) = refused("data = \"other\"\n", "data = \"other\"\nsplit = \"train\"\n");
    assert_eq!(
        (message.as_str(), help.as_str()),
        ("`data.other` has no train split to evaluate on", "it has `test`")
    );
    let (message, _) = refused("train_last = 2\n", "train_last = 2\ndata = \"other\"\n");
    assert_eq!(message, "`data.other` has no training images: `split.all` puts them into another split");
    let (message, _) = refused("data = \"other\"\n", "data = \"other\"\nthresholds = { by = \"f1\" }\n");
    assert!(message.contains("thresholds") || message.contains("validation"), "{message}");
    let (message, help) = refused("data = \"other\"\n", "data = \"other\"\nsplit = \"tests\"\n");
    assert!(message.contains("tests") && help.contains("`test`"), "{message} {help}");
    // Two data sets to train on are ambiguous as ever.
    let project = project(&FOLDER.replace(all, "{ test = 0.2 }"));
    let verdict = Verdict::of(&project);
    assert!(verdict.errors.iter().all(|(message, _)| message.contains("must name one of the 2 data tables")));
    assert_eq!(verdict.errors.len(), 4);
}

#[test]
fn detectors_are_evaluated_on_all_boxes_of_a_second_set() {
    let project = Project::new();
    detection::squares(project.path(), 10);
    let yaml = "path: squares\ntrain: images/train\nval: images/val\nnames: [red, blue]\n";
    fs::write(project.path().join("other.yaml"), yaml).unwrap();
    let coco = project.path().join("other.json");
    let boxes: Vec<Value> = (0..4).filter(|number| *number != 3).map(|number| {
        let (left, top) = (5 + number * 2, 4 + number * 3);
        serde_json::json!({ "id": number, "image_id": number, "category_id": number % 2, "bbox": [left, top, 18, 18] })
    }).collect();
    let images: Vec<Value> = (0..4)
        .map(|number| serde_json::json!({ "id": number, "file_name": format!("{number}.png"), "width": 64, "height": 48 }))
        .collect();
    let categories = serde_json::json!([{ "id": 0, "name": "red" }, { "id": 1, "name": "blue" }]);
    fs::write(
        &coco,
        serde_json::json!({ "images": images, "annotations": boxes, "categories": categories }).to_string(),
    )
    .unwrap();
    let xml = project.path().join("voc");
    fs::create_dir(&xml).unwrap();
    for annotation in &boxes {
        let number = annotation["id"].as_i64().unwrap();
        let (left, top, class) = (5 + number * 2, 4 + number * 3, ["red", "blue"][number as usize % 2]);
        fs::copy(
            project.path().join(format!("squares/images/val/{number}.png")),
            xml.join(format!("{number}.png")),
        )
        .unwrap();
        let object = format!(
            "<annotation><object><name>{class}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{}</xmax>\
             <ymax>{}</ymax></bndbox></object></annotation>",
            left + 18,
            top + 18
        );
        fs::write(xml.join(format!("{number}.xml")), object).unwrap();
    }
    let classes = "classes = [\"red\", \"blue\"]\nimage_size = 64\nsplit = { all = \"test\" }";
    let stage =
        |name: &str| format!("[stage.{name}]\nkind = \"evaluate\"\nfrom = \"fit@last\"\ndata = \"{name}\"\n");
    let text = format!(
        "{}\n[data.yaml]\nformat = \"yolo\"\nfile = \"other.yaml\"\n{classes}\n{}\n\
         [data.coco]\nformat = \"coco\"\nfile = \"other.json\"\nroot = \"squares/images/val\"\n{classes}\n{}\n\
         [data.voc]\nformat = \"voc\"\nroot = \"voc\"\nfirst_pixel = 0\n{classes}\n{}",
        detection::PIPELINE,
        stage("yaml"),
        stage("coco"),
        stage("voc"),
    );
    project.write(&text);
    let run = document(&project.defrost(&["run", "colours.toml", "--json"]));
    let stages = run["stages"].as_array().unwrap();
    let of = |name: &str| &stages.iter().find(|stage| stage["name"] == name).unwrap()["metrics"];
    let counts = |name: &str| (of(name)["images"].as_u64(), of(name)["instances"].as_u64());
    assert_eq!(counts("check"), (Some(4), Some(3)));
    assert_eq!(counts("yaml"), (Some(14), Some(12)));
    assert_eq!(counts("coco"), (Some(4), Some(3)));
    assert_eq!(counts("voc"), (Some(3), Some(3)));
    assert_eq!(of("coco")["ap50"], of("check")["ap50"]);
}
