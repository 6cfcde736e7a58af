//! Decisions from probabilities, in whole runs: curves, calibration, chosen thresholds, and `predict` with them.

use serde_json::Value;

use crate::project::{Project, document};

/// A pipeline whose evaluation fits thresholds and a temperature on the validation images.
fn project(thresholds: &str) -> Project {
    let project = Project::new();
    let fitted = format!("thresholds = {thresholds}\ncalibration = {{ kind = \"temperature\" }}\n");
    project.edit("from = \"finetune@best\"\n", &format!("from = \"finetune@best\"\n{fitted}"));
    project.edit("batch_size = 5", "batch_size = 5\nmonitor = \"validation/auc\"");
    project
}

fn rows(table: &str) -> Vec<csv::StringRecord> {
    csv::Reader::from_reader(table.as_bytes()).records().map(Result::unwrap).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn an_evaluation_has_curves_intervals_a_temperature_and_thresholds() {
    let project = project("{ kind = \"best_f1\" }");
    let run = project.run(&[]);
    let test = run.metrics("test");
    let predictions = rows(&run.read("stages/test/predictions.csv"));

    // The area under the ROC curve is the part of pairs in the right order.
    for (class, scores) in test["one_vs_rest"].as_array().unwrap().iter().enumerate() {
        let name = scores["class"].as_str().unwrap();
        let p = |row: &csv::StringRecord| row[3 + class].parse::<f64>().unwrap();
        let (mut right, mut pairs) = (0.0, 0.0);
        for with in predictions.iter().filter(|row| &row[1] == name) {
            for without in predictions.iter().filter(|row| &row[1] != name) {
                right +=
                    if p(with) > p(without) { 1.0 } else { 0.5 * f64::from(u8::from(p(with) == p(without))) };
                pairs += 1.0;
            }
        }
        assert!((number(&scores["auc"]) - right / pairs).abs() < 1e-12, "{scores}");
    }
    let [low, high] = [0, 1].map(|side| number(&test["intervals"]["scores"]["accuracy"][side]));
    let accuracy = number(&test["accuracy"]);
    assert!(low <= accuracy && accuracy <= high, "{low} {accuracy} {high}");

    // The decisions of each threshold are those of the calibrated probabilities.
    let temperature = number(&test["fitted"]["temperature"]);
    let calibrated: Vec<Vec<f64>> = predictions
        .iter()
        .map(|row| {
            let powers: Vec<f64> =
                row.iter().skip(3).map(|p| p.parse::<f64>().unwrap().powf(1.0 / temperature)).collect();
            let sum: f64 = powers.iter().sum();
            powers.iter().map(|power| power / sum).collect()
        })
        .collect();
    for (class, row) in test["fitted"]["thresholds"].as_array().unwrap().iter().enumerate() {
        let counts = &row["evaluated"]["counts"];
        let found = ["true_positives", "false_positives", "true_negatives", "false_negatives"]
            .map(|count| counts[count].as_u64().unwrap());
        let mut expected = [0; 4];
        for (row_of_image, p) in predictions.iter().zip(&calibrated) {
            let is = &row_of_image[1] == row["class"].as_str().unwrap();
            let told = row["threshold"].as_f64().is_some_and(|least| p[class] >= least - 1e-6);
            expected[match (told, is) {
                (true, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (false, true) => 3,
            }] += 1;
        }
        assert_eq!(found, expected, "{row}");
    }
    assert!(run.read("stages/test/thresholds.csv").starts_with("class,threshold,sensitivity,specificity,"));
    for file in ["ROC_curve", "PR_curve", "reliability"] {
        assert!(run.read(&format!("stages/test/{file}.svg")).contains("</svg>"));
    }
    let report = run.read("report.html");
    for text in ["Each class against the others", "With temperature", "Thresholds are chosen on", "AUC"] {
        assert!(report.contains(text), "{text}");
    }

    // The monitored area is in the history, and decides the best epoch.
    let history = run.read("stages/frozen/history.csv");
    assert!(history.lines().next().unwrap().contains("validation_auc"), "{history}");
}

#[test]
fn predict_uses_the_decisions_of_an_evaluation_or_those_that_are_given() {
    let project = project("{ kind = \"sensitivity\", minimum = 1 }");
    let run = project.run(&[]);
    let test = run.metrics("test");
    let row = &rows(&run.read("stages/test/predictions.csv"))[0];
    let image = format!("photos/{}", &row[0]);
    let predict = |more: &[&str]| {
        document(&project.defrost(&[&["predict", "colours", &image, "--json"], more].concat()))
    };

    let usual = predict(&["--stage", "finetune@best"]);
    let fitted = predict(&["--decisions", "test"]);
    assert_eq!(fitted["temperature"], test["fitted"]["temperature"]);
    for class in test["fitted"]["thresholds"].as_array().unwrap() {
        assert_eq!(fitted["thresholds"][class["class"].as_str().unwrap()], class["threshold"]);
    }
    assert_eq!(usual["checkpoint"], fitted["checkpoint"]);
    assert_ne!(usual["predictions"][0]["probabilities"], fitted["predictions"][0]["probabilities"]);

    // A threshold that no probability reaches leaves no class; one for a class alone decides for it.
    assert_eq!(predict(&["--threshold", "1"])["predictions"][0]["label"], Value::Null);
    let rarest =
        usual["predictions"][0]["probabilities"].as_object().unwrap().keys().next_back().unwrap().clone();
    let told = predict(&["--threshold", &format!("{rarest}=0")]);
    assert_eq!(told["predictions"][0]["label"], rarest.as_str());
    assert_eq!(told["thresholds"][&rarest], 0.0);

    for (arguments, expected) in [
        (&["--threshold", "grey=0.5"][..], "the model has no class `grey`"),
        (&["--threshold", "2"], "use a number from 0 to 1"),
        (&["--decisions", "tset"], "the run has no evaluation `tset` of one model"),
        (&["--decisions", "test", "--stage", "frozen@last"], "stage `test` evaluates"),
    ] {
        let output = project.defrost(&[&["predict", "colours", &image], arguments].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && text.contains(expected), "{arguments:?}: {text}");
    }
}

#[test]
fn thresholds_belong_to_the_key_of_their_evaluation_alone() {
    let project = project("{ kind = \"youden\" }");
    project.run(&[]);
    project.edit("youden", "best_f1");
    let plan = document(&project.defrost(&["plan", "colours.toml", "--json"]));
    let statuses: Vec<(&str, &str)> = plan["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| (stage["name"].as_str().unwrap(), stage["status"].as_str().unwrap()))
        .collect();
    for (stage, status) in statuses {
        assert_eq!(status, if stage == "test" { "miss" } else { "hit" }, "{stage}");
    }
}
