use insta::assert_snapshot;

use crate::synthetic::{Runs, Turtles};

#[test]
fn two_runs_differ_in_settings_inputs_and_results() {
    let runs = Runs::new();
    let first = runs.complete(&Turtles::default());
    let second = Turtles { lr: 3e-5, photos: "more photos", accuracy: 0.92, ..Turtles::default() };
    runs.complete(&second);
    assert_snapshot!(runs.say(&["diff", &first.id(), "turtles"]), @r"
    settings
      stage.finetune.optimizer.lr 1e-4 → 3e-5
      stage.finetune.inputs.photos a3db3bf2 → 9fe152ed
      stage.test.inputs.photos a3db3bf2 → 9fe152ed
    results
      test.accuracy 0.9 → 0.92  (+0.0200)
    ");
    assert_snapshot!(runs.say(&["diff", "turtles", "turtles"]), @r"
    settings  no differences
    results  no differences
    ");
    let diff = runs.json(&["diff", &first.id(), "turtles"]);
    assert_eq!(diff["settings"][0]["old"], 1e-4);
    assert_eq!(diff["results"][0]["field"], "test.accuracy");
}
