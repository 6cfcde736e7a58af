//! Real-world CSV data sets: errors in many rows, almost correct paths, classes missing from a split.

use std::fs;

use crate::datasets::{SPLIT, Verdict, setting};
use crate::project::Project;

/// The project's images as a CSV file.
fn listed(project: &Project, row: impl Fn(&str, u32, String) -> Option<String>) {
    let mut rows = vec!["path,colour,part".to_owned()];
    for class in ["blue", "green", "red"] {
        rows.extend((0..12).filter_map(|number| row(class, number, format!("{class}/{number:02}.png"))));
    }
    fs::write(project.path().join("photos.csv"), rows.join("\n") + "\n").unwrap();
}

fn table(split: &str) -> Project {
    let project = Project::new();
    project.edit(
        "format     = \"image_folder\"\n",
        "format     = \"csv\"\nfile       = \"photos.csv\"\nclass_column = \"colour\"\n",
    );
    project.edit(SPLIT, split);
    project
}

fn part(number: u32) -> &'static str {
    ["train", "train", "validation", "test"][number as usize % 4]
}

#[test]
fn a_class_that_no_training_image_of_a_table_shows_is_an_error_unless_it_is_meant() {
    let project = table("split      = { column = \"part\" }");
    let without_red = |class: &str, number, path| match (class, part(number)) {
        ("red", "train") => None,
        (_, part) => Some(format!("{path},{class},{part}")),
    };
    listed(&project, without_red);
    let verdict = Verdict::of(&project);
    let (message, help) = verdict.error();
    assert_eq!(message, "the training split has no image of class `red`");
    assert_eq!(setting(help, "classes"), "classes = [\"blue\", \"green\"]");
    // `files` report the same.
    project.edit("column = \"part\"", "files = { validation = \"others.csv\" }");
    let all = fs::read_to_string(project.path().join("photos.csv")).unwrap();
    let kept = |wanted: &[&str]| {
        let rows = all.lines().filter(|row| wanted.iter().any(|part| row.ends_with(part)));
        rows.collect::<Vec<_>>().join("\n") + "\n"
    };
    fs::write(project.path().join("photos.csv"), kept(&["part", "train"])).unwrap();
    fs::write(project.path().join("others.csv"), kept(&["part", "validation"])).unwrap();
    project.edit("from = \"finetune@best\"", "from = \"finetune@best\"\nsplit = \"validation\"");
    assert_eq!(Verdict::of(&project).error().0, "the training split has no image of class `red`");

    // Splits other than training: only the setting decides.
    let project = table("split      = { column = \"part\" }");
    listed(&project, |class, number, path| match (class, part(number)) {
        ("red", "validation" | "test") => None,
        (_, part) => Some(format!("{path},{class},{part}")),
    });
    let verdict = Verdict::of(&project);
    let messages: Vec<&str> = verdict.errors.iter().map(|(message, _)| message.as_str()).collect();
    assert_eq!(
        messages,
        ["the validation split has no image of class `red`", "the test split has no image of class `red`"]
    );
    let allowed = setting(&verdict.errors[0].1, " = false").trim_start_matches("split.").to_owned();
    let allowing = format!("split      = {{ column = \"part\", {allowed} }}");
    project.edit("split      = { column = \"part\" }", &allowing);
    Verdict::of(&project).passes();

    // Training splits also need their images, because balanced weights are undefined for an empty class.
    listed(&project, without_red);
    assert_eq!(Verdict::of(&project).error().0, "the training split has no image of class `red`");
    project.edit(&allowing, &format!("{allowing}\nclasses = [\"blue\", \"green\", \"red\"]"));
    let text = Verdict::of(&project).passes().to_owned();
    assert!(text.contains("no training image has `red`"), "{text}");
    project.edit(
        "epochs    = 3",
        "epochs    = 3\nloss = { kind = \"cross_entropy\", class_weights = \"balanced\" }",
    );
    let verdict = Verdict::of(&project);
    assert_eq!(verdict.error().0, "no training image has `red`, so its balanced weight is undefined");
}

/// A file named relative to its own folder: the folder of a bare name is empty.
#[test]
fn the_paths_of_a_table_start_from_its_own_folder() {
    let project = table(SPLIT);
    listed(&project, |class, _, path| Some(format!("photos/{path},{class},x")));
    project.edit("root       = \"photos\"\n", "");
    Verdict::of(&project).passes();
}

#[test]
fn every_mistake_of_a_table_comes_in_one_pass() {
    let project = table(SPLIT);
    listed(&project, |class, number, path| {
        Some(match number {
            0 => format!("{path},,x"),
            1 => format!("{path},{class},x,y"),
            _ => format!("{path},{class},x"),
        })
    });
    let verdict = Verdict::of(&project);
    let messages: Vec<&str> = verdict.errors.iter().map(|(message, _)| message.as_str()).collect();
    assert_eq!(messages.len(), 6, "{}", verdict.text);
    assert!(messages[0].ends_with("line 2: `blue/00.png` has no class"), "{messages:?}");
    assert!(messages[5].contains("line 27: 4 fields, but the first line names 3 columns"), "{messages:?}");

    // Of very many errors, the first and the counts of the rest.
    let rows: Vec<String> = (0..2000).map(|number| format!("{number}.png,,x")).collect();
    fs::write(project.path().join("photos.csv"), format!("path,colour,part\n{}\n", rows.join("\n"))).unwrap();
    let verdict = Verdict::of(&project);
    assert_eq!(verdict.errors.len(), 41);
    assert_eq!(verdict.errors[40].0, "1960 more errors (no class: 1960)");
    assert!(verdict.text.len() < 10_000);
}

#[test]
fn paths_of_a_table_may_be_absolute_and_missing_ones_are_counted() {
    let project = table(SPLIT);
    listed(&project, |class, _, path| Some(format!("{path},{class},x")));
    let before = project.plan(&[])["run_dir"].clone();
    let photos = project.path().join("photos");
    listed(&project, |class, _, path| Some(format!("{},{class},x", photos.join(path).display())));
    assert_eq!(project.plan(&[])["run_dir"], before, "a sample is its path below the root");
    listed(&project, |class, _, path| Some(format!("/elsewhere/{path},{class},x")));
    let verdict = Verdict::of(&project);
    assert_eq!(verdict.errors.len(), 36);
    assert!(
        verdict.errors[0].1.contains(&photos.canonicalize().unwrap().display().to_string()),
        "{}",
        verdict.text
    );

    // In upper case, or missing.
    listed(&project, |class, _, path| Some(format!("{},{class},x", path.replace(".png", ".PNG"))));
    let verdict = Verdict::of(&project);
    let (message, help) = verdict.error();
    assert!(
        message.contains("line 2: `blue/00.PNG` is not in `photos`, nor `blue/01.PNG` (line 3)"),
        "{message}"
    );
    assert!(message.ends_with("and 31 more images"), "{message}");
    assert_eq!(
        help,
        "write names as the files have them, such as `blue/00.png`: 36 of 36 differ only in case"
    );
    listed(&project, |class, number, path| {
        Some(format!("{},{class},x", if number == 3 { path.replace('3', "99") } else { path }))
    });
    let missing = Verdict::of(&project);
    assert!(
        missing.error().0.ends_with("nor `green/099.png` (line 17), `red/099.png` (line 29)"),
        "{}",
        missing.text
    );
    project.edit("resize     = 32", "resize     = 32\nbroken = \"skip\"");
    let text = Verdict::of(&project).passes().to_owned();
    assert!(
        text.contains("3 images cannot be read and are left out")
            && text.contains("`red/099.png`: no such file"),
        "{text}"
    );

    // Without these rows it is the same data.
    let skipping = project.plan(&[])["run_dir"].clone();
    listed(&project, |class, number, path| (number != 3).then(|| format!("{path},{class},x")));
    assert_eq!(project.plan(&[])["run_dir"], skipping);
}
