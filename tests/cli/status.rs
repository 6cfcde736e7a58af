use insta::assert_snapshot;

use crate::synthetic::{Runs, Turtles};

#[test]
fn a_run_is_shown_stage_by_stage() {
    let runs = Runs::new();
    runs.complete(&Turtles::default());
    assert_snapshot!(runs.say(&["status", "turtles"]), @r"
    turtles/ad44b9d9  complete, started 2026-11-22 01:59 UTC
    [runs]/turtles/ad44b9d9
      pretrained  load_weights  ran
      finetune    train         ran         best validation/accuracy 0.9000 at epoch 2
      test        evaluate      ran         accuracy 0.9000, loss 0.2500
    ");
    runs.interrupted(&Turtles { lr: 3e-5, ..Turtles::default() });
    assert_snapshot!(runs.say(&["status", "turtles"]), @r"
    turtles/d2b4ec8f  interrupted, started 2026-11-22 01:59 UTC
    [runs]/turtles/d2b4ec8f
      pretrained  load_weights  ran
      finetune    train         unfinished  best validation/accuracy 0.8000 at epoch 1
      test        evaluate      waiting
    ");
    let status = runs.json(&["status", "turtles"]);
    assert_eq!(status["stages"][1]["status"], "unfinished");
}

#[test]
fn a_run_that_is_not_there_is_an_error_with_a_suggestion() {
    let runs = Runs::new();
    runs.complete(&Turtles::default());
    assert_eq!(runs.defrost(&["status", "turtels"]).status.code(), Some(2));
    assert_snapshot!(runs.say(&["status", "turtels"]), @r"
    error: no run `turtels` in `[runs]`
    hint: did you mean `turtles`?
    ");
}
