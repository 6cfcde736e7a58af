//! Reports about data, and about files that cannot be read, before anything runs.

use std::fs;

use serde_json::{Value, json};

use crate::project::{Project, Run, ended};

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Damages some images of a class: empty, truncated, or of another format, in turn.
fn spoil(project: &Project, class: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let path = project.path().join(format!("photos/{class}/{number:02}.png"));
        let bytes = fs::read(&path).unwrap();
        let bytes: &[u8] = match number % 3 {
            0 => &[],
            1 => &bytes[..bytes.len() / 2],
            _ => b"\0\0\0\x18ftypheic",
        };
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn plan_and_report_say_what_is_in_which_part() {
    let project = Project::new();
    let plan = project.plan(&[]);
    let data = &plan["data"]["photos"];
    assert_eq!((&data["images"], &data["classes"][1]["name"]), (&json!(36), &json!("green")));
    let of_classes = data["classes"].as_array().unwrap().iter().flat_map(|class| {
        class["images"].as_array().unwrap().iter().map(|images| images.as_u64().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(of_classes.sum::<u64>(), 36);
    assert_eq!(data["parts"][1]["asked"], 0.25);
    let said = text(project.defrost(&["plan", "colours.toml", "--no-estimates"]).stdout);
    let green = &data["classes"][1]["images"];
    let row = format!(
        "    green  {:>10}  {:>10}  {:>10}",
        green[0].to_string(),
        green[1].to_string(),
        green[2].to_string()
    );
    assert!(said.contains(&row) && said.contains("(requested: 25.0"), "{said}");

    let run = project.run(&["--until", "start"]);
    assert_eq!(serde_json::from_str::<Value>(&run.read("data.json")).unwrap(), plan["data"]);
    let run = project.run(&[]);
    assert!(["data.json", "samples.json"].iter().all(|file| run.files().contains_key(*file)));
    let page = run.read("report.html");
    assert!(page.contains("Data: photos") && page.contains("<td class=\"name\">green</td>"), "{page}");
}

/// The report shows images of each class and split, and keeps them when the photos are gone.
#[test]
fn the_report_shows_sample_images() {
    let (project, other) = (Project::new(), Project::new());
    let run = project.run(&["--threads", "1"]);
    let samples: Value = serde_json::from_str(&run.read("samples.json")).unwrap();
    let classes = samples["photos"]["classes"].as_array().unwrap();
    let names: Vec<&str> = classes.iter().map(|class| class["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["blue", "green", "red"]);
    for class in classes {
        let images = class["images"].as_array().unwrap();
        let of = |part: &str| images.iter().filter(|image| image["part"] == part).count();
        assert!((1..=4).contains(&of("train")) && (1..=2).contains(&of("test")), "{images:?}");
        let name = class["name"].as_str().unwrap();
        assert!(images.iter().all(|image| image["file"].as_str().unwrap().starts_with(name)), "{images:?}");
        assert_eq!((&images[0]["width"], &images[0]["height"]), (&json!(24), &json!(24)));
    }
    let page = run.read("report.html");
    let shown: usize = classes.iter().map(|class| class["images"].as_array().unwrap().len()).sum();
    let sheets = page.matches("<img class=\"photo\"").count();
    assert_eq!(page.matches("<img ").count(), shown + sheets);
    // Machines and numbers of threads change no byte.
    assert_eq!(other.run(&["--threads", "2"]).manifest(), run.manifest());

    // A damaged file is written again, and an intact one is not: it needs no photos.
    let file = run.directory.join("samples.json");
    fs::write(&file, "{}").unwrap();
    assert_eq!(project.run(&[]).manifest(), run.manifest());
    assert!(project.defrost(&["verify", "colours"]).status.success());
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    project.run(&[]);
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written);
    fs::remove_dir_all(project.path().join("photos")).unwrap();
    assert!(project.defrost(&["report", "colours"]).status.success());
    assert_eq!(run.read("report.html"), page);
}

#[test]
fn a_photo_that_is_there_twice_and_a_class_in_two_spellings_are_told() {
    let project = Project::new();
    fs::copy(project.path().join("photos/red/00.png"), project.path().join("photos/green/copy.png")).unwrap();
    fs::rename(project.path().join("photos/blue"), project.path().join("photos/Red")).unwrap();
    let plan = project.plan(&[]);
    let doubles = &plan["data"]["photos"]["doubles"];
    assert_eq!(doubles["across_classes"], 1);
    assert_eq!(doubles["pairs"][0]["files"], json!(["green/copy.png", "red/00.png"]));
    let said = text(project.defrost(&["plan", "colours.toml", "--no-estimates"]).stderr);
    assert!(said.contains(" in two splits, 1 in two classes)\n    `green/copy.png` ("), "{said}");
    let output = project.defrost(&["validate", "colours.toml", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let warnings: Vec<&Value> = found["warnings"].as_array().unwrap().iter().collect();
    let near = warnings.iter().find(|warning| warning["code"] == "near-names").expect("a warning");
    assert_eq!(near["message"], "these classes are probably the same: `Red`, `red`");
    assert_eq!((&near["line"], output.status.code()), (&json!(6), Some(0)));
}

#[test]
fn groups_that_miss_their_share_are_told_and_balanced_ones_do_not() {
    let project = Project::new();
    // The numbers 00 to 07 of all classes are one group, and each other number is one.
    let group = "split      = { validation = 0.25, test = 0.25, seed = 0, require_classes = false, group = '/(0[89]|1\\d|0)' }";
    project.edit("split      = { validation = 0.25, test = 0.25, seed = 0 }", group);
    // The largest deviation from the requested fractions, the text of `plan`, and that of `validate`; none if a
    // split is empty.
    let shares = |method: &str, seed: u64| -> Option<(f64, Vec<bool>, String)> {
        let set = [format!("data.photos.split.method={method}"), format!("data.photos.split.seed={seed}")];
        let set = ["colours.toml", "--set", set[0].as_str(), "--set", set[1].as_str()];
        let plan = project.defrost(&[&["plan", "--json", "--no-estimates"][..], &set[..]].concat());
        let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
        let parts = plan["data"]["photos"]["parts"].as_array()?.clone();
        let output = project.defrost(&[&["validate"][..], &set[..]].concat());
        let differs = parts.iter().map(|part| part["differs"].as_bool().unwrap()).collect();
        let off = |part: &Value| (part["got"].as_f64().unwrap() - part["asked"].as_f64().unwrap()).abs();
        Some((parts.iter().map(off).fold(0.0, f64::max), differs, text(output.stderr)))
    };
    // The large group falls into any split.
    let far =
        (0..40).filter_map(|seed| Some((seed, shares("hash", seed)?))).find(|(_, (off, ..))| *off > 0.2);
    let (seed, (_, differs, said)) = far.expect("a seed whose shares are far off");
    assert!(differs.contains(&true), "{differs:?} {said}");
    assert!(said.contains("are requested") && said.contains("set `method = \"balanced\"`"), "{said}");
    // It has two thirds of the images; the other groups share the rest evenly.
    let (off, differs, said) = shares("balanced", seed).expect("no part is empty");
    assert!((off - 1.0 / 6.0).abs() < 1e-9 && !differs.contains(&true), "{off} {said}");
    assert!(!said.contains("are requested"), "{said}");
}

#[test]
fn every_broken_image_is_listed_in_one_pass() {
    let project = Project::new();
    spoil(&project, "green", 0..11);
    spoil(&project, "red", 0..11);
    let plan = project.defrost(&["plan", "colours.toml", "--json"]);
    assert_eq!(plan.status.code(), Some(2));
    let document: Value = serde_json::from_slice(&plan.stdout).unwrap();
    let broken = &document["broken"][0];
    assert_eq!(
        (&broken["count"], &broken["checked"], &broken["data"]),
        (&json!(22), &json!(36), &json!("photos"))
    );
    assert_eq!(broken["images"][0], json!({ "file": "green/00.png", "cause": "the file is empty" }));
    let cause = broken["images"][2]["cause"].as_str().unwrap();
    assert!(
        cause.starts_with("it is a HEIC file, none of JPEG, PNG") && cause.contains("heif-convert"),
        "{cause}"
    );
    let said = project.run_fails(2, &[]);
    assert!(
        said.contains("photos: 22 of 36 images cannot be decoded\n    green/00.png: the file is empty\n"),
        "{said}"
    );
    assert!(
        said.contains("    and 2 more\n") && said.contains("error: 22 images cannot be decoded"),
        "{said}"
    );
    // A repaired file is checked again.
    for number in 0..11 {
        project.image(&format!("photos/green/{number:02}.png"), [1, 2, 3], number);
        project.image(&format!("photos/red/{number:02}.png"), [9, 2, 3], number);
    }
    assert_eq!(project.plan(&[])["broken"], json!([]));
}

#[test]
fn validate_decodes_every_image_where_it_is_asked_to() {
    let project = Project::new();
    let validate = |arguments: &[&str]| project.defrost(&[&["validate", "colours.toml"], arguments].concat());
    let sound = validate(&["--decode"]);
    assert!(sound.status.success() && text(sound.stdout).contains("36 images can be decoded"));
    let damaged = project.path().join("photos/green/05.png");
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xFF;
    fs::write(&damaged, bytes).unwrap();
    assert!(validate(&[]).status.success(), "without it only names are read");
    let output = validate(&["--decode", "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &document["valid"], &document["decoded"]),
        (Some(2), &json!(false), &json!(36))
    );
    let image = &document["broken"][0]["images"][0];
    assert_eq!(image["file"], "green/05.png");
    assert!(image["cause"].as_str().unwrap().starts_with("the PNG data is damaged"), "{image}");
    let skipped = validate(&["--decode", "--set", "data.photos.broken=skip"]);
    assert_eq!(skipped.status.code(), Some(0));
    assert!(text(skipped.stderr).contains("1 of 36 images cannot be decoded and is left out"));
}

/// The class has no images left, so no number describes it.
#[test]
fn a_class_that_loses_all_its_images_ends_the_run_or_is_told() {
    let project = Project::new();
    project.edit("image_size = 32", "image_size = 32\nbroken     = \"skip\"");
    // Only decoding finds these.
    for number in 0..12 {
        let path = project.path().join(format!("photos/green/{number:02}.png"));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xFF;
        fs::write(path, bytes).unwrap();
    }
    let said = project.run_fails(1, &[]);
    assert!(
        said.contains("stage `frozen`: no image of class `green` is left in the training split: all "),
        "{said}"
    );
    assert!(!said.contains("epoch 2"), "the stage ends as soon as it is known: {said}");
    project.edit("test = 0.25, seed = 0 }", "test = 0.25, seed = 0, require_classes = false }");
    let output = ended(project.start(&["--until", "frozen"]));
    let said = text(output.stderr.clone());
    assert!(said.contains("no image of class `green` is left in the training split: all "), "{said}");
    let run = Run::of(&output);
    let list = run.read("stages/frozen/broken_images.csv");
    let left_out = run.metrics("frozen")["broken_images"].as_u64().unwrap();
    assert_eq!(list.lines().count() as u64, 1 + left_out);
    // A result computed while that was allowed is no longer accepted.
    project.edit(", require_classes = false }", " }");
    assert!(project.run_fails(1, &["--until", "frozen"]).contains("no image of class `green` is left"));

    // Errors in headers are reported before the run.
    spoil(&project, "green", 0..12);
    let said = project.run_fails(2, &["--until", "frozen"]);
    assert!(said.contains("no image of `green` is left in the training split"), "{said}");
}
