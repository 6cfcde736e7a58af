//! Multi-label images, in whole runs.

use std::fs;

use image::RgbImage;
use serde_json::Value;

use crate::project::{Project, document};

/// Two labels, each the colour of one half of the image: both, one or none.
pub fn project() -> Project {
    let project = Project::new();
    let mut rows = vec!["image,shown,green,red".to_owned()];
    for number in 0..32u32 {
        let (green, red) = (number % 2 == 1, number % 4 >= 2);
        let mut state = number;
        let image = RgbImage::from_fn(24, 24, |x, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 27) as u8;
            match x < 12 {
                true => image::Rgb([noise, if green { 200 } else { noise }, noise]),
                false => image::Rgb([if red { 200 } else { noise }, noise, noise]),
            }
        });
        fs::create_dir_all(project.path().join("halves")).unwrap();
        image.save(project.path().join(format!("halves/{number:02}.png"))).unwrap();
        let shown: Vec<&str> = [("green", green), ("red", red)].iter().filter(|l| l.1).map(|l| l.0).collect();
        rows.push(format!("{number:02}.png,{},{},{}", shown.join(";"), u8::from(green), u8::from(red)));
    }
    fs::write(project.path().join("halves.csv"), rows.join("\n")).unwrap();
    let text = project.text().replace(
        "format     = \"image_folder\"\nroot       = \"photos\"",
        "format     = \"csv\"\nfile       = \"halves.csv\"\nroot       = \"halves\"\n\
         path_column = \"image\"\nlabels_column = \"shown\"",
    );
    let text = text.replace(
        "batch_size = 5",
        "batch_size = 5\nmonitor = \"validation/map\"\nloss = { kind = \"bce\", positive_weights = \"balanced\" }",
    );
    project.write(&text.replace("epochs    = 3", "epochs    = 12"));
    project
}

#[test]
fn labels_are_learnt_measured_and_told_each_by_itself() {
    let project = project();
    let run = project.run(&[]);
    let test = run.metrics("test");
    assert!(test["map"].as_f64().unwrap() > 0.8, "{test}");
    assert!(test["accuracy"].as_f64().unwrap() <= test["micro_f1"].as_f64().unwrap() + 1e-9, "{test}");

    // Pictures of mistakes, if there are any, and of the hits, with maps beside them.
    let wrong = test["accuracy"].as_f64().unwrap() < 1.0;
    for (file, exists) in [("surest_mistakes.jpg", wrong), ("least_sure_hits.jpg", true)] {
        let path = run.directory.join(format!("stages/test/{file}"));
        assert_eq!(path.exists(), exists, "{file}");
        if exists {
            assert!(image::open(&path).unwrap().width() >= 2 * (2 * 216 + 2), "{file}");
        }
    }

    // The best epoch has the highest mean average precision; the first of equals.
    let history = run.read("stages/frozen/history.csv");
    let mut rows = csv::Reader::from_reader(history.as_bytes());
    let place = rows.headers().unwrap().iter().position(|name| name == "validation_map").unwrap();
    let maps: Vec<f64> = rows.records().map(|row| row.unwrap()[place].parse().unwrap()).collect();
    let best = run.metrics("frozen")["best"]["epoch"].as_f64().unwrap() as usize;
    let highest = maps.iter().copied().fold(0.0, f64::max);
    assert_eq!(maps.iter().position(|map| *map == highest), Some(best - 1), "{history}");

    // The tables agree, and `predict` agrees with the evaluation.
    let table = run.read("stages/test/predictions.csv");
    let mut table = csv::Reader::from_reader(table.as_bytes());
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let exact = rows.iter().filter(|row| row[1] == row[2]).count();
    assert_eq!(exact as f64 / rows.len() as f64, test["accuracy"].as_f64().unwrap());
    let labels = run.read("stages/test/labels.csv");
    assert!(labels.starts_with("label,images,precision,recall,f1,average_precision\ngreen,"), "{labels}");
    assert!(run.read("report.html").contains("average precision"));
    for row in &rows {
        let image = format!("halves/{}", &row[0]);
        let told =
            document(&project.defrost(&["predict", "colours", &image, "--json"]))["predictions"][0].clone();
        assert_eq!(told["label"], row[2]);
        let names: Vec<&str> = row[2].split(';').filter(|name| !name.is_empty()).collect();
        assert_eq!(told["labels"], Value::from(names));
        for (place, label) in ["green", "red"].into_iter().enumerate() {
            let (evaluated, predicted) = (&row[3 + place], &told["probabilities"][label]);
            assert_eq!(predicted.to_string().parse::<f32>().unwrap(), evaluated.parse::<f32>().unwrap());
        }
    }

    // One column per label is equivalent to one column with all labels.
    project.edit("labels_column = \"shown\"", "label_columns = [\"green\", \"red\"]");
    assert!(project.misses(&[]).is_empty());
}

#[test]
fn mixed_labels_train_to_the_same_bytes_with_any_number_of_threads() {
    let project = project();
    project.edit("rotation = 10 }", "rotation = 10, mixup = { alpha = 0.4 } }");
    let reference = project.run(&["--threads", "1"]).manifest();
    // With a checkpoint after every batch; different bytes would be an error.
    let again = project.run(&["--threads", "3", "--force", "--set", "run.checkpoint_seconds=0"]);
    assert_eq!(again.manifest(), reference);
    assert!(project.misses(&[]).is_empty());
}

#[test]
fn a_head_for_one_class_each_is_not_for_labels() {
    let project = project();
    let text = project.text();
    let other = "[data.single]\nformat = \"csv\"\nfile = \"single.csv\"\nroot = \"halves\"\n\
                 class_column = \"kind\"\nimage_size = 32\nsplit = { test = 0.5 }\n\n[model.net]";
    let text = text
        .replace("[model.net]", other)
        .replace("kind = \"evaluate\"", "kind = \"evaluate\"\ndata = \"single\"");
    let named = text.replace("kind = \"init_weights\"", "kind = \"init_weights\"\ndata = \"photos\"");
    project.write(
        &named
            .replace("kind      = \"train\"", "data = \"photos\"\nkind      = \"train\"")
            .replace("kind       = \"train\"", "data = \"photos\"\nkind       = \"train\""),
    );
    let rows: String = (0..32).map(|n| format!("{n:02}.png,{}\n", ["green", "red"][n % 2])).collect();
    fs::write(project.path().join("single.csv"), format!("path,kind\n{rows}")).unwrap();
    let output = project.defrost(&["validate", "colours.toml", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let message = found["errors"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("the head is for multi-label images"), "{found}");
}
