//! CSV data sets, through the binary.

use std::fs;

use serde_json::Value;

use crate::project::Project;

/// The data of the pipeline's folders, as rows with a split for each image.
fn rows(project: &Project) -> Vec<String> {
    let mut rows = Vec::new();
    for class in ["blue", "green", "red"] {
        for number in 0..12 {
            let part = ["train", "train", "validation", "test"][number % 4];
            rows.push(format!("{class},{part},{class}/{number:02}.png"));
        }
    }
    // The order of rows has no effect.
    rows.reverse();
    write(project, &rows);
    rows
}

fn write(project: &Project, rows: &[String]) {
    fs::write(project.path().join("photos.csv"), format!("colour,part,file\n{}\n", rows.join("\n"))).unwrap();
}

const FOLDER: &str = "format     = \"image_folder\"\n";
const TABLE: &str =
    "format     = \"csv\"\nfile       = \"photos.csv\"\npath_column = \"file\"\nclass_column = \"colour\"\n";
const FRACTIONS: &str = "split      = { validation = 0.25, test = 0.25, seed = 0 }";

/// The first error of `validate`.
fn error(project: &Project) -> Value {
    let output = project.defrost(&["validate", "colours.toml", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["errors"][0].clone()
}

#[test]
fn a_table_that_says_what_folders_say_is_the_same_data() {
    let project = Project::new();
    let folders = project.run(&["--until", "frozen"]);
    rows(&project);
    project.edit(FOLDER, TABLE);
    let table = project.run(&["--until", "frozen"]);
    assert_eq!(table.those("cached"), ["start", "frozen"]);
    assert_eq!(table.directory, folders.directory);

    // Splits by column differ.
    project.edit(FRACTIONS, "split      = { column = \"part\" }");
    assert_eq!(project.misses(&[]), ["frozen", "finetune", "test"]);
    let run = project.run(&[]);
    assert_eq!(run.metrics("test")["samples"], 9);
    let counted = run.read("stages/test/predictions.csv");
    assert!(
        counted
            .lines()
            .skip(1)
            .all(|line| ["03", "07", "11"].iter().any(|n| line.contains(&format!("/{n}.png"))))
    );
}

#[test]
fn the_mistakes_of_a_table_are_told_before_anything_runs() {
    let project = Project::new();
    let rows = rows(&project);
    project.edit(FOLDER, TABLE);
    let mut wrong = rows.clone();
    wrong[4] = wrong[4].replace(".png", "0.png");
    write(&project, &wrong);
    let found = error(&project);
    assert_eq!((&found["code"], &found["line"]), (&"data".into(), &6.into()));
    assert!(
        found["message"].as_str().unwrap().contains("photos.csv`, line 6: `red/070.png` is not in"),
        "{found}"
    );

    // Errors that only the CSV file reveals.
    project.edit(FRACTIONS, "split      = { column = \"part\" }");
    write(&project, &rows.iter().map(|row| row.replace("validation", "train")).collect::<Vec<_>>());
    let found = error(&project);
    assert_eq!(found["code"], "no-validation");
    assert!(found["message"].as_str().unwrap().starts_with("`frozen` has no validation images"), "{found}");
    write(&project, &rows.iter().map(|row| row.replace(",test", ",train")).collect::<Vec<_>>());
    assert_eq!(error(&project)["code"], "no-split");
    fs::remove_file(project.path().join("photos.csv")).unwrap();
    assert_eq!(error(&project)["code"], "missing-file");
    project.edit("file       = \"photos.csv\"", "file       = \"fotos.csv\"");
    write(&project, &rows);
    assert_eq!(error(&project)["help"], "did you mean `photos.csv`?");
}
