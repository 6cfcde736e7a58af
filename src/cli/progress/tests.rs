use super::*;

fn metrics() -> &'static TaskMetrics {
    task::named("classification").unwrap().metrics
}

#[test]
fn a_step_says_where_it_stands() {
    let step = |epochs, accuracy, seconds_left| Event::Step {
        stage: "frozen".into(),
        epoch: 3,
        epochs,
        step: 12,
        steps: 40,
        scores: [("loss", Some(0.41018)), ("accuracy", accuracy)]
            .into_iter()
            .filter_map(|(name, value): (&str, Option<f64>)| Some((name.to_owned(), value?)))
            .collect(),
        images_per_second: 123.4,
        seconds_left,
    };
    assert_eq!(
        step_line(&step(10, Some(0.832), 187.0), metrics().history),
        "epoch 3/10  step 12/40  loss 0.4102  accuracy 83.2\u{a0}%  3:07 left  123 images/s"
    );
    let shown = step_line(&step(1, None, f64::NAN), metrics().history);
    assert_eq!(shown, "step 12/40  loss 0.4102  123 images/s");
}

#[test]
fn an_epoch_says_how_it_went() {
    let row = [("train_loss", 0.4), ("train_accuracy", 0.8), ("lr", 0.1), ("validation_loss", 0.39)];
    let row = row.map(|(name, value)| (name.to_owned(), value));
    assert_eq!(
        epoch_line(3, 10, &row, true, metrics()),
        "epoch 3/10  training loss 0.4000, accuracy 80.0\u{a0}%  validation loss 0.3900  best"
    );
}

#[test]
fn the_closing_table_lines_up() {
    let row = |stage: &str, status, seconds, numbers: &[(&str, f64)]| EndedStage {
        stage: stage.into(),
        status,
        seconds,
        reached: None,
        below: None,
        numbers: numbers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        metrics: metrics(),
    };
    let counts =
        [("parameters.trainable_parameters", 4098.0), ("parameters.frozen_parameters", 23_508_032.0)];
    let frozen = [counts[0], counts[1], ("best.validation_accuracy", 0.93125)];
    insta::assert_snapshot!(table(&[
        row("pretrained", "cached", None, &[]),
        row("frozen", "resumed", Some(83.0), &frozen),
        row("test", "ran", Some(1.26), &[("accuracy", 0.9), ("loss", 0.3)]),
    ]));
}

#[test]
fn a_run_that_fails_tells_of_all_its_stages() {
    let mut screen = Progress::new().screen.into_inner().unwrap();
    let stages = ["start", "frozen", "test"].map(str::to_owned).to_vec();
    let (name, run_dir, tasks) = ("turtles".into(), "runs".into(), BTreeMap::new());
    screen.event(&Event::RunStarted {
        name,
        run_dir,
        stages,
        tasks,
        images: BTreeMap::new(),
        outside: BTreeMap::new(),
    });
    let (stage, metrics) = ("start".to_owned(), BTreeMap::new());
    screen.event(&Event::StageFinished { stage, outcome: StageOutcome::Cached, seconds: 0.1, metrics });
    let (row, stage) = (Vec::new(), "frozen".to_owned());
    screen.event(&Event::EpochFinished { stage: stage.clone(), epoch: 2, epochs: 8, row, best: true });
    screen.event(&Event::StageStopped { stage, how: defrost::events::StopReason::Failed, seconds: 12.0 });
    let error = Some("stage `frozen`: the disk is full".to_owned());
    screen.event(&Event::RunFinished { state: "failed".into(), seconds: 13.0, error, hint: None });
    insta::assert_snapshot!(table(&screen.ended).replace(char::from(27), ""), @r"
    [2mstage   status   time  result              trainable  frozen[0m
    start   cached
    frozen  failed   12 s  after epoch 2 of 8
    test    not run
    ");
}
