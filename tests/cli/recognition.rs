//! Evaluations of embeddings: with identities unknown to the head, and with its classes.

use crate::project::{Project, document};

/// Two identities that no stage trains on, and three evaluations after the first training.
fn project() -> Project {
    let project = Project::new();
    for (name, colour) in [("amber", [220, 150, 10]), ("violet", [130, 20, 180])] {
        for number in 0..12 {
            project.image(&format!("strangers/{name}/{number:02}.png"), colour, 100 + number);
        }
    }
    let known = project.text();
    let (data, stages) = known.split_once("[model.net]").unwrap();
    let (stages, _) = stages.split_once("[stage.finetune]").unwrap();
    let stages = stages.replace("batch_size = 5", "batch_size = 5\ndata = \"photos\"");
    let stages = stages.replace("kind = \"init_weights\"", "kind = \"init_weights\"\ndata = \"photos\"");
    let more = r#"
[data.strangers]
format     = "image_folder"
root       = "strangers"
image_size = 32
resize     = 32

[stage.verify]
kind  = "evaluate"
from  = "frozen@best"
data  = "strangers"
split = "train"
verification   = { far = [0.1] }
identification = {}

[stage.listed]
kind  = "evaluate"
from  = "frozen@best"
data  = "strangers"
split = "train"
verification = { pairs = "pairs.csv" }

[stage.identify]
kind = "evaluate"
from = "frozen@best"
data = "photos"
identification = { gallery = "train", query = "validation" }
"#;
    project.write(&format!("{data}{more}\n[model.net]{stages}"));
    pairs(&project, "amber/00.png,amber/01.png\namber/02.png,violet/03.png\n");
    project
}

fn pairs(project: &Project, rows: &str) {
    std::fs::write(project.path().join("pairs.csv"), format!("first,second\n{rows}")).unwrap();
}

#[test]
fn strangers_are_verified_and_looked_up_and_shown() {
    let project = project();
    let run = project.run(&[]);
    let metrics = run.metrics("verify");
    // Twelve images of each of two.
    assert_eq!(metrics["verification"]["genuine_pairs"], 132.0);
    assert_eq!(metrics["verification"]["impostor_pairs"], 144.0);
    assert!(metrics["verification"]["auc"].as_f64().unwrap() > 0.6, "{metrics}");
    assert_eq!(metrics["identification"]["queries"], 24.0);
    assert_eq!(metrics["identification"]["gallery"], 23.0);
    for file in ["roc.csv", "roc.svg", "roc.png", "cmc.csv", "cmc.svg", "cmc.png", "hardest_pairs.csv"] {
        assert!(run.files().contains_key(&format!("stages/verify/{file}")), "{file}");
    }
    let page = run.read("report.html");
    for shown in ["equal error rate", "TAR at FAR 10\u{a0}%", "Queries found (CMC)", "false accept"] {
        assert!(page.contains(shown), "{shown}");
    }

    // The similarity of a pair equals that of the embeddings from `embed`.
    let table = run.read("stages/verify/hardest_pairs.csv");
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    let row = rows.records().next().unwrap().unwrap();
    let files = [&row[2], &row[3]].map(|file| format!("strangers/{file}"));
    let embedded = document(&project.defrost(&["embed", "colours", &files[0], &files[1], "--json"]));
    let vector = |place: usize| -> Vec<f64> {
        serde_json::from_value(embedded["embeddings"][place]["embedding"].clone()).unwrap()
    };
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (a, b) = (vector(0), vector(1));
    let cosine = product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt();
    assert!((cosine - row[1].parse::<f64>().unwrap()).abs() < 1e-5, "{cosine} {row:?}");

    let identified = run.metrics("identify");
    assert_eq!(identified["identification"]["unmatched_queries"], 0.0);
    assert!(identified["identification"]["rank1"].as_f64().unwrap() > 0.5, "{identified}");
}

#[test]
fn the_list_of_pairs_is_an_input_of_its_stage_alone() {
    let project = project();
    let run = project.run(&[]);
    assert_eq!(run.metrics("listed")["verification"]["impostor_pairs"], 1.0);
    pairs(&project, " amber/00.png , amber/01.png\namber/02.png,violet/03.png\n");
    assert!(project.misses(&[]).is_empty(), "spaces change no pair");
    pairs(&project, "amber/00.png,amber/01.png\namber/02.png,violet/04.png\n");
    assert_eq!(project.misses(&[]), ["listed"]);
    pairs(&project, "amber/00.png,amber/99.png\n");
    let output = project.defrost(&["validate", "colours.toml"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("line 2: `amber/99.png` is not an image of the train split"), "{text}");
}
