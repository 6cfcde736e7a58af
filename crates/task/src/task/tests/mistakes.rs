//! Which images of an evaluation are shown, in which order, and with which words.

use std::sync::Arc;

use crate::data::{Dataset, Label, LabelKind, Sample, Split};
use crate::pipeline::Head;
use crate::task::classification::Classification;
use crate::task::multi_label::MultiLabel;
use crate::task::{EvaluatedImages, EvaluatedPredictions, ImageSheet, Task, TaskKind, TaskSpec};
use crate::train::TrainTask;

const NAMES: [&str; 2] = ["green", "red"];

/// The sheets of predictions, by label and probabilities. The first sample of the data set is none of them.
fn sheets<T>(kind: TaskKind, label_kind: LabelKind, rows: Vec<(Label, [f32; 2])>) -> Vec<ImageSheet>
where
    T: Task<Prediction = Vec<f32>> + TrainTask,
{
    let (classes, head) = (NAMES.map(str::to_owned), Head::default());
    let task = T::new(&TaskSpec { kind, classes: &classes, head: &head, training: None });
    let sample = |(place, label): (usize, Label)| Sample {
        path: format!("{place:03}.png"),
        label,
        split: Split::Test,
        digest: None,
    };
    let labels = std::iter::once(rows[0].0.clone()).chain(rows.iter().map(|(label, _)| label.clone()));
    let dataset = Arc::new(Dataset {
        classes: classes.to_vec(),
        label_kind,
        samples: labels.enumerate().map(sample).collect(),
        ..Dataset::default()
    });
    let predictions = dataset.samples[1..].iter().zip(rows.iter().map(|(_, row)| row.to_vec())).collect();
    let evaluated = EvaluatedPredictions {
        stage: "test",
        meter: &task.meter(),
        predictions,
        positions: (1..dataset.samples.len()).collect(),
        validation: Vec::new(),
        groups: (0..rows.len()).collect(),
        images: &EvaluatedImages::of(Arc::clone(&dataset), Split::Test),
    };
    task.analysis(&evaluated).unwrap().sheets
}

fn shown(sheet: &ImageSheet) -> Vec<(usize, &str, usize)> {
    sheet.images.iter().map(|shown| (shown.sample, shown.caption.as_str(), shown.class)).collect()
}

#[test]
fn the_surest_mistake_and_the_least_sure_hit_come_first() {
    let of = |rows: &[(u32, [f32; 2])]| {
        let rows = rows.iter().map(|(class, row)| (Label::Class(*class), *row)).collect();
        sheets::<Classification>(TaskKind::Classification, LabelKind::Class, rows)
    };
    let rows = [
        (0, [0.25, 0.75]),
        (0, [0.875, 0.125]),
        (1, [0.75, 0.25]),
        (0, [0.0625, 0.9375]),
        (1, [0.375, 0.625]),
    ];
    let all = of(&rows);
    let [mistakes, hits] = &all[..] else { panic!("two sheets: {all:?}") };
    assert_eq!((mistakes.file, hits.file), ("surest_mistakes.jpg", "least_sure_hits.jpg"));
    assert_eq!(mistakes.title, "test: mistakes, the surest first");
    let nbsp = |text: &str| text.replace('_', "\u{a0}");
    let expected = ["green → red 93.8_%", "green → red 75.0_%", "red → green 75.0_%"].map(nbsp);
    let [first, second, third] = expected.each_ref().map(String::as_str);
    assert_eq!(shown(mistakes), [(4, first, 1), (1, second, 1), (3, third, 0)], "equal ones by path");
    let expected = ["red 62.5_%", "green 87.5_%"].map(nbsp);
    assert_eq!(shown(hits), [(5, expected[0].as_str(), 1), (2, expected[1].as_str(), 0)]);

    // A sheet without an image is left out, and one with many has the first twelve.
    let many = of(&[(0, [0.75, 0.25]); 1234]);
    assert_eq!((many.len(), many[0].file, many[0].images.len()), (1, "least_sure_hits.jpg", 12));
    assert_eq!(many[0].title, "test: the 12 least sure of 1,234 right predictions");
    assert_eq!(shown(&many[0]).last().unwrap().0, 12);
}

#[test]
fn labels_are_right_together_and_the_worst_one_is_explained() {
    let rows = vec![
        (Label::Labels(vec![0]), [0.75, 0.9375]),
        (Label::Labels(vec![0, 1]), [0.9375, 0.25]),
        (Label::Labels(Vec::new()), [0.25, 0.375]),
        (Label::Labels(vec![1]), [0.125, 0.75]),
    ];
    let all = sheets::<MultiLabel>(TaskKind::MultiLabel, LabelKind::Labels, rows);
    let [mistakes, hits] = &all[..] else { panic!("two sheets: {all:?}") };
    let nbsp = |text: &str| text.replace('_', "\u{a0}");
    let expected = ["green → green, red: red 93.8_%", "green, red → green: red 25.0_%"].map(nbsp);
    assert_eq!(shown(mistakes), [(1, expected[0].as_str(), 1), (2, expected[1].as_str(), 1)]);
    let expected = ["no label: red 37.5_%", "red: red 75.0_%"].map(nbsp);
    assert_eq!(shown(hits), [(3, expected[0].as_str(), 1), (4, expected[1].as_str(), 1)]);
}
