//! `defrost predict`: the model of a run, applied as in its evaluation.

use serde_json::Value;

use crate::project::{Project, document};

#[test]
fn a_test_image_gets_the_probabilities_of_the_evaluation() {
    let project = Project::new();
    let run = project.run(&[]);
    let table = run.read("stages/test/predictions.csv");
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let header = rows.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    assert!(rows.len() > 3, "{table}");
    let files: Vec<String> = rows.iter().map(|row| format!("photos/{}", &row[0])).collect();
    let arguments: Vec<&str> =
        ["predict", "colours", "--json"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let answer = document(&project.defrost(&arguments));
    assert_eq!(answer["checkpoint"], "stages/finetune/best.safetensors");
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), rows.len());
    for (row, prediction) in rows.iter().zip(predictions) {
        assert_eq!(prediction["file"], format!("photos/{}", &row[0]));
        assert_eq!(prediction["label"], row[2], "{header:?}");
        let probabilities = prediction["probabilities"].as_object().unwrap();
        assert_eq!(probabilities.keys().collect::<Vec<_>>(), ["blue", "green", "red"]);
        for (place, class) in ["blue", "green", "red"].into_iter().enumerate() {
            let evaluated: f32 = row[3 + place].parse().unwrap();
            let predicted: f32 = probabilities[class].to_string().parse().unwrap();
            assert_eq!(predicted.to_bits(), evaluated.to_bits(), "{} {class}: {header:?}", &row[0]);
        }
        let sum: f64 = probabilities.values().map(|p| p.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_run_may_be_named_in_four_ways_and_a_stage_chosen() {
    let project = Project::new();
    let run = project.run(&[]);
    let image = "photos/red/00.png";
    let id = run.directory.file_name().unwrap().to_str().unwrap();
    let predict = |run: &str, rest: &[&str]| -> Value {
        document(&project.defrost(&[&["predict", run, image, "--json"], rest].concat()))
    };
    let expected = predict("colours", &[]);
    assert_eq!(expected["run_dir"], run.directory.to_str().unwrap());
    let latest = run.directory.parent().unwrap().join("latest");
    for name in [&id[..5], run.directory.to_str().unwrap(), latest.to_str().unwrap(), "colours.toml"] {
        assert_eq!(predict(name, &[]), expected, "{name}");
    }
    let other = predict("colours", &["--stage", "frozen@last"]);
    assert_eq!(other["checkpoint"], "stages/frozen/last.safetensors");
    assert_ne!(other["predictions"], expected["predictions"]);
    let unknown = project.defrost(&["predict", "colours", image, "--stage", "frosen"]);
    assert_eq!(unknown.status.code(), Some(2));
    let text = String::from_utf8(unknown.stderr).unwrap();
    assert!(text.contains("no stage `frosen`") && text.contains("did you mean `--stage frozen`?"), "{text}");
    // An untrained head cannot predict classes.
    for stage in ["start", "test", "nothing"] {
        let refused = project.defrost(&["predict", "colours", image, "--stage", stage]);
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2));
        assert!(text.contains("choose one with `--stage`: `frozen`, `finetune`"), "{text}");
    }

    // As text: the most likely class first.
    let said = String::from_utf8(project.defrost(&["predict", "colours", image]).stdout).unwrap();
    let label = expected["predictions"][0]["label"].as_str().unwrap();
    assert!(said.starts_with(&format!("{image}: {label} ")), "{said}");
}

#[test]
fn what_is_no_image_is_named() {
    let project = Project::finished();
    std::fs::write(project.path().join("notes.txt"), "no picture").unwrap();
    std::fs::write(project.path().join("cut.png"), b"\x89PNG\r\n\x1a\n\0\0").unwrap();
    for (file, cause) in [("notes.txt", "not a JPEG, PNG"), ("cut.png", "PNG"), ("nobody.png", "cannot read")]
    {
        let output = project.defrost(&["predict", "colours", "photos/red/00.png", file, "--json"]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(&format!("`{file}`")) && text.contains(cause), "{text}");
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["predictions"][0]["file"], "photos/red/00.png");
        assert_eq!(document["predictions"].as_array().unwrap().len(), 1, "the good ones are answered");
        assert!(document["errors"][0].as_str().unwrap().contains(file));
    }
}

#[test]
fn a_folder_is_all_its_images_by_name() {
    let project = Project::finished();
    std::fs::write(project.path().join("photos/red/notes.txt"), "no picture").unwrap();
    let predicted = |images: &[&str]| -> Value {
        document(&project.defrost(&[&["predict", "colours", "--json"], images].concat()))["predictions"]
            .clone()
    };
    let all = predicted(&["photos"]);
    assert_eq!((all.as_array().unwrap().len(), &all[0]["file"]), (36, &"photos/blue/00.png".into()));
    let first = ["photos/red/00.png", "photos/red/01.png"];
    assert_eq!(
        predicted(&first).as_array().unwrap()[..],
        predicted(&["photos/red"]).as_array().unwrap()[..2]
    );
    std::fs::create_dir(project.path().join("empty")).unwrap();
    let output = project.defrost(&["predict", "colours", "empty"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("`empty` has no JPEG, PNG, WebP, BMP, TIFF, GIF or PNM file")
    );
}

#[cfg(unix)]
#[test]
fn a_file_name_that_is_not_text_is_answered_too() {
    use std::os::unix::ffi::OsStrExt;
    let project = Project::finished();
    let odd = project.path().join(std::ffi::OsStr::from_bytes(b"b\xffd.png"));
    std::fs::copy(project.path().join("photos/red/00.png"), &odd).unwrap();
    let output = assert_cmd::Command::cargo_bin("defrost")
        .unwrap()
        .current_dir(project.path())
        .args(["predict", "colours", "--json"])
        .arg(&odd)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn altered_weights_and_other_settings_are_told() {
    let project = Project::new();
    let run = project.run(&["--set", "stage.finetune.epochs=1"]);
    let predict = || {
        let output = project.defrost(&["predict", "colours.toml", "photos/red/00.png"]);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = predict();
    assert!(code == Some(0) && said.contains("has other settings than the file"), "{said}");
    // The run of the named pipeline, whichever run is the latest.
    let own = project.run(&[]).directory;
    let stray = project.run(&["--set", "stage.finetune.epochs=1"]).directory;
    let answer = document(&project.defrost(&["predict", "colours.toml", "photos/red/00.png", "--json"]));
    assert_eq!(answer["run_dir"], own.to_str().unwrap());
    std::fs::remove_dir_all(own).unwrap();
    assert_eq!(stray, run.directory);

    let weights = run.directory.join("stages/finetune/best.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::remove_file(&weights).unwrap();
    std::fs::write(&weights, bytes).unwrap();
    let (code, said) = predict();
    assert!(code == Some(1) && said.contains("changed since the run ended"), "{said}");

    project.run(&[]);
    assert_eq!(predict(), (Some(0), String::new()), "the run of the file as it stands");
}

#[test]
fn an_unfinished_stage_is_told_with_those_that_are_finished() {
    let project = Project::new();
    project.run(&["--until", "frozen"]);
    let refused = |stage: &[&str]| {
        let output = project.defrost(&[&["predict", "colours", "photos/red/00.png"], stage].concat());
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&[]);
    assert!(
        said.contains("stage `finetune` is not finished") && said.contains("or use `--stage frozen`"),
        "{said}"
    );

    project.edit("validation = 0.25, test", "test");
    project.edit("frozen@best", "frozen@last");
    project.edit("finetune@best", "finetune@last");
    project.run(&[]);
    let said = refused(&["--stage", "finetune@best"]);
    assert!(said.contains("has no `best.safetensors`") && said.contains("`--stage finetune@last`"), "{said}");
}

#[test]
fn the_predictions_of_classes_are_written_as_a_document_and_a_table() {
    let project = Project::finished();
    let output = project.defrost(&["predict", "colours", "photos", "--out", "out/classes", "--json"]);
    let answer = document(&output);
    let folder = project.path().join("out/classes");
    let written = std::fs::read_to_string(folder.join("predictions.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), answer);
    assert_eq!(answer["files"], serde_json::json!(["predictions.csv", "predictions.json"]));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    let mut table = csv::Reader::from_path(folder.join("predictions.csv")).unwrap();
    let header = ["file", "label", "probability blue", "probability green", "probability red"];
    assert_eq!(table.headers().unwrap(), &csv::StringRecord::from(header.to_vec()));
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!((rows.len(), predictions.len()), (36, 36));
    for (row, prediction) in rows.iter().zip(predictions) {
        assert_eq!((&prediction["file"], &prediction["label"]), (&row[0].into(), &row[1].into()));
        for (place, class) in ["blue", "green", "red"].into_iter().enumerate() {
            let probability: f32 = prediction["probabilities"][class].to_string().parse().unwrap();
            assert_eq!(row[2 + place].parse::<f32>().unwrap().to_bits(), probability.to_bits());
        }
    }
    // Without `--out`, the document is that of before.
    let plain = document(&project.defrost(&["predict", "colours", "photos", "--json"]));
    assert_eq!(plain["predictions"], answer["predictions"]);
    assert_eq!(plain.as_object().unwrap().keys().len(), 4, "{plain:#}");
}

#[test]
fn an_output_folder_with_other_files_and_thresholds_without_boxes_are_refused() {
    let project = Project::finished();
    let image = "photos/red/00.png";
    let refused = |rest: &[&str]| {
        let output = project.defrost(&[&["predict", "colours", image], rest].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty(), "no image is predicted");
        String::from_utf8(output.stderr).unwrap()
    };
    let before = std::fs::read_dir(project.path().join("photos/red")).unwrap().count();
    for (folder, cause) in [
        ("photos/red", "`photos/red` is not empty, and holds no previous prediction"),
        (".", "`.` is not empty"),
        (image, "is not a folder"),
    ] {
        let said = refused(&["--out", folder]);
        assert!(said.contains(cause) && said.contains("name a new"), "{said}");
    }
    assert_eq!(std::fs::read_dir(project.path().join("photos/red")).unwrap().count(), before);
    for thresholds in [&["--confidence", "0.5"][..], &["--iou", "0.5"]] {
        let said = refused(thresholds);
        assert!(said.contains("one class per image") && said.contains("they are for detectors"), "{said}");
    }
    for (option, value) in [("--confidence", "1.5"), ("--confidence", "nan"), ("--iou", "-1"), ("--iou", "x")]
    {
        assert!(refused(&[&format!("{option}={value}")]).contains("a number from 0 to 1"));
    }
}

#[test]
fn json_lines_come_one_by_one_and_images_are_sorted_into_folders() {
    let project = Project::finished();
    std::fs::write(project.path().join("photos/cut.png"), b"\x89PNG\r\n\x1a\n\0\0").unwrap();
    let output = project.defrost(&["predict", "colours", "photos", "--json-lines", "--copy-to", "sorted"]);
    assert_eq!(output.status.code(), Some(2), "one file is broken");
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 37);
    let (broken, predicted): (Vec<&Value>, Vec<&Value>) =
        lines.iter().partition(|line| line["error"].is_string());
    assert_eq!((broken.len(), &broken[0]["file"]), (1, &"photos/cut.png".into()));
    let expected = document(&project.defrost(&["predict", "colours", "photos/red", "--json"]));
    let first = expected["predictions"][0].clone();
    assert!(predicted.iter().any(|line| **line == first));

    // Each image once, below its class, with the bytes that it had.
    let copies = walkdir::WalkDir::new(project.path().join("sorted")).into_iter().flatten();
    let copies: Vec<_> = copies.filter(|entry| entry.file_type().is_file()).collect();
    assert_eq!(copies.len(), predicted.len());
    for line in predicted {
        let file = line["file"].as_str().unwrap();
        let name = file.strip_prefix("photos/").unwrap();
        let copy = project.path().join("sorted").join(line["label"].as_str().unwrap()).join(name);
        assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(project.path().join(file)).unwrap());
    }
    let again = project.defrost(&["predict", "colours", "photos", "--copy-to", "sorted"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8(again.stderr).unwrap().contains("`sorted` is not empty"));
}
