//! Split folders outside of the data set's root: absolute paths, variables, and what keys and files say of them.

use std::fs;
use std::path::Path;

use crate::datasets::{SPLIT, Verdict};
use crate::project::{Project, Run, document, ended};

/// A project whose images are in three folders, two of them outside of the root.
fn parted() -> (Project, tempfile::TempDir) {
    let (project, elsewhere) = (Project::new(), tempfile::tempdir().unwrap());
    let copy = |from: &Path, to: &Path, numbers: std::ops::Range<u32>| {
        for class in ["blue", "green", "red"] {
            fs::create_dir_all(to.join(class)).unwrap();
            for number in numbers.clone() {
                let name = format!("{class}/{number:02}.png");
                fs::rename(from.join(&name), to.join(&name)).unwrap();
            }
        }
    };
    let photos = project.path().join("photos");
    copy(&photos, &elsewhere.path().join("held out/b"), 0..3);
    copy(&photos, &elsewhere.path().join("c"), 3..6);
    copy(&photos, &photos.join("learn"), 6..12);
    ["blue", "green", "red"].iter().for_each(|class| fs::remove_dir(photos.join(class)).unwrap());
    (project, elsewhere)
}

fn folders(validation: &str, test: &str) -> String {
    format!(
        "split      = {{ folders = {{ train = \"learn\", validation = \"{validation}\", test = \"{test}\" }} }}"
    )
}

fn run(project: &Project, elsewhere: &Path) -> Run {
    let mut command = project.command(&["run", "colours.toml", "--json"]);
    command.env("ELSEWHERE", elsewhere).stdout(std::process::Stdio::piped());
    Run::of(&ended(command.spawn().unwrap()))
}

#[test]
fn keys_and_files_do_not_depend_on_where_the_folders_are() {
    let split = folders("${ELSEWHERE}/held out/b", "${ELSEWHERE}/c");
    let mut manifests = Vec::new();
    for _ in 0..2 {
        let (project, elsewhere) = parted();
        project.edit(SPLIT, &split);
        let with_variable = run(&project, elsewhere.path());
        manifests.push(with_variable.manifest());
        let table = with_variable.read("stages/test/predictions.csv");
        assert!(table.lines().nth(1).unwrap().starts_with("test/blue/03.png,"), "{table}");
        let text = elsewhere.path().to_str().unwrap();
        for name in with_variable.files().keys() {
            let bytes = fs::read(with_variable.directory.join(name)).unwrap();
            assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{name}");
        }
        // The same as a path: nothing is computed again.
        project.edit(&split, &folders(&format!("{text}/held out/b"), &format!("{text}/c")));
        assert_eq!(project.misses(&[]), [""; 0]);
        let within = project.path().join("photos/learn");
        project.edit("\"learn\"", &format!("\"{}\"", within.display()));
        assert_eq!(project.misses(&[]), [""; 0], "a path into the root is one below it");
        // The images are found again by commands that read the run.
        project.edit("from = \"finetune@best\"\n", "from = \"finetune@best\"\nsplit = \"validation\"\n");
        project.run(&[]);
        document(&project.defrost(&["check-labels", "colours", "--out", "suspects", "--json"]));
    }
    assert_eq!(manifests[0], manifests[1]);
}

#[test]
fn a_relative_folder_above_the_root_keeps_its_path() {
    let (project, elsewhere) = parted();
    fs::rename(elsewhere.path().join("c"), project.path().join("final")).unwrap();
    project.edit(SPLIT, &folders(&format!("{}/held out/b", elsewhere.path().display()), "../final"));
    let run = project.run(&[]);
    let table = run.read("stages/test/predictions.csv");
    assert!(table.lines().nth(1).unwrap().starts_with("../final/blue/03.png,"), "{table}");
}

#[test]
fn folders_that_cannot_be_meant_are_refused() {
    let (project, elsewhere) = parted();
    let (text, root) = (elsewhere.path().display(), project.path().display());
    let refused = |validation: String, test: String| {
        let text = project.text();
        project.edit(SPLIT, &folders(&validation, &test));
        let verdict = Verdict::of(&project);
        project.write(&text);
        let (message, help) = verdict.error();
        (message.to_owned(), help.to_owned())
    };
    let (message, _) = refused(format!("{text}/held out/b"), format!("{text}/nowhere"));
    assert_eq!(message, format!("no such folder: `{text}/nowhere`"));
    let (message, _) = refused(format!("{text}/c"), format!("{text}/c"));
    assert_eq!(message, format!("the split folders `{text}/c` and `{text}/c` overlap"));
    let (message, help) = refused(format!("{text}/c"), format!("{root}"));
    assert!(message.contains("contains `root`") && help.contains("set `root`"), "{message} {help}");
    let (message, _) = refused(format!("{text}/c"), "${NOWHERE}/c".to_owned());
    assert_eq!(message, "the environment variable `NOWHERE` is not set");
    // Their names are those of splits, so a folder of the root may not begin with one.
    fs::rename(project.path().join("photos/learn"), project.path().join("photos/test")).unwrap();
    project.edit(SPLIT, &folders(&format!("{text}/held out/b"), &format!("{text}/c")));
    project.edit("\"learn\"", "\"test\"");
    let verdict = Verdict::of(&project);
    assert!(verdict.error().0.contains("begins with `test`"), "{}", verdict.text);
}
