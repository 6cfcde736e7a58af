//! Scores and predictions of boxes that are where the objects are.

use candle_core::{Device, Tensor};

use super::Detection;
use super::targets;
use crate::autograd::Tape;
use crate::data::{
    BoxArea, BoxFilter, ComposedPart, Dataset, Geometry, GeometryChain, Label, LabelKind, LabelledBox,
    Sample, Split,
};
use crate::model::{Activations, Outputs};
use crate::pipeline::Head;
use crate::task::{
    Annotations, BoxThresholds, Division, Examples, InputPicture, Subset, Task, TaskKind, TaskSpec,
};
use crate::task::{EvaluatedImages, EvaluatedPredictions};
use crate::train::TrainTask;

const NAMES: [&str; 6] = [
    "box_logits_8",
    "class_logits_8",
    "box_logits_16",
    "class_logits_16",
    "box_logits_32",
    "class_logits_32",
];

fn detection() -> Detection {
    let (classes, head) = (["a", "b"].map(str::to_owned), Head::default());
    Detection::new(&TaskSpec { kind: TaskKind::Detection, classes: &classes, head: &head, training: None })
}

/// One picture of 320 × 160 pixels in a letterbox of 64, with an object of each of COCO's sizes, a crowd and a difficult
/// one.
fn dataset() -> Dataset {
    let object = |class, [left, top, right, bottom]: [f64; 4]| {
        let area =
            BoxArea { left: left / 320.0, top: top / 160.0, right: right / 320.0, bottom: bottom / 160.0 };
        LabelledBox::new(class, area)
    };
    let boxes = vec![
        object(0, [40.0, 40.0, 60.0, 60.0]),
        object(1, [100.0, 40.0, 150.0, 90.0]),
        object(0, [180.0, 20.0, 300.0, 140.0]),
        LabelledBox { crowd: true, ..object(1, [0.0, 0.0, 30.0, 30.0]) },
        LabelledBox { difficult: true, ..object(1, [0.0, 100.0, 30.0, 130.0]) },
    ];
    let sample = Sample {
        path: "1.png".to_owned(),
        label: Label::Boxes(boxes),
        split: Split::Validation,
        digest: None,
    };
    Dataset {
        classes: vec!["a".to_owned(), "b".to_owned()],
        label_kind: LabelKind::Boxes,
        samples: vec![sample],
        ..Dataset::default()
    }
}

fn letterboxed(dataset: &Dataset) -> Annotations<'_> {
    let geometry = Geometry::identity((320, 160)).then([[0.2, 0.0, 0.0], [0.0, 0.2, 16.0]], (64, 64));
    let moves = GeometryChain(vec![geometry]);
    Annotations::of_images(
        dataset,
        &[0],
        &[vec![ComposedPart { sample: 0, moves, filter: BoxFilter::VISIBLE }]],
    )
}

fn outputs() -> Outputs {
    let maps = [8, 4, 2].into_iter().flat_map(|side| [64, 2].map(|channels| (side, channels)));
    let maps =
        maps.map(|(side, channels)| Tensor::full(0.25f32, (1, side, side, channels), &Device::Cpu).unwrap());
    Outputs::new(&NAMES, Activations::constants(maps)).unwrap()
}

#[test]
fn objects_are_learnt_in_the_input_and_measured_in_the_picture() {
    let dataset = dataset();
    let images = targets::of(&letterboxed(&dataset)).unwrap();
    let corners: Vec<[f64; 4]> =
        images[0].targets([64.0, 64.0]).iter().map(|target| target.corners).collect();
    assert_eq!(corners.len(), 3, "neither the crowd nor the difficult one is learnt");
    let near = |a: [f64; 4], b: [f64; 4]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9);
    assert!(near(corners[0], [8.0, 24.0, 12.0, 28.0]), "{corners:?}");
    let truth = &images[0].truth;
    assert_eq!(truth.len(), 5);
    assert!(near(truth[2].corners, [180.0, 20.0, 300.0, 140.0]) && (truth[2].area - 14_400.0).abs() < 1e-6);
    assert!(truth[3].crowd && truth[4].ignored);
    let frame = images[0].frame.as_ref().unwrap();
    assert!(near(targets::in_picture(frame, [8.0, 24.0, 12.0, 28.0], [64.0; 2]), [40.0, 40.0, 60.0, 60.0]));
    assert!(near(targets::in_picture(frame, [-5.0, 0.0, 99.0, 64.0], [64.0; 2]), [0.0, 0.0, 320.0, 160.0]));
}

#[test]
fn a_validation_with_objects_has_every_score() {
    let (task, dataset) = (detection(), dataset());
    let annotations = letterboxed(&dataset);
    let mut meter = task.validation_meter();
    let targets = task.targets(&annotations).unwrap();
    let loss = task.loss(&mut Tape::new(), &outputs(), &targets).unwrap();
    task.update(&mut meter, loss.stats).unwrap();
    let scores: Vec<String> = task.scores(&meter).into_keys().collect();
    // A validation has no teacher.
    let of_validation = task.metrics().history.iter().filter(|metric| !metric.name.contains("distill"));
    let mut declared: Vec<String> = of_validation.map(|metric| metric.name.to_owned()).collect();
    declared.sort();
    assert_eq!(scores, declared);
    let document = task.document(&meter).unwrap();
    for metric in task.metrics().evaluation {
        assert!(document[metric.name].is_number(), "{}", metric.name);
    }
}

#[test]
fn a_report_links_every_file_of_a_stage() {
    let (task, dataset) = (detection(), dataset());
    let annotations = letterboxed(&dataset);
    let mut meter = task.validation_meter();
    let targets = task.targets(&annotations).unwrap();
    let loss = task.loss(&mut Tape::new(), &outputs(), &targets).unwrap();
    task.update(&mut meter, loss.stats).unwrap();
    let predicted = task.predict(&outputs(), &annotations).unwrap().pop().unwrap();
    let mut files = task.files("check", &meter).unwrap();
    let predictions = vec![(&dataset.samples[0], predicted)];
    let subsets = vec![Subset { name: "size".to_owned(), division: Division::Size }];
    let images = EvaluatedImages { subsets, ..EvaluatedImages::of(dataset.clone().into(), Split::Test) };
    let (stage, meter, validation) = ("check", &meter, Vec::new());
    let evaluated = EvaluatedPredictions {
        stage,
        meter,
        predictions,
        validation,
        positions: vec![0],
        groups: vec![0],
        images: &images,
    };
    files.extend(task.analysis(&evaluated).unwrap().files);
    files.extend(task.predictions_files(evaluated.predictions).unwrap());
    files.extend(task.epoch_files(&[]));
    let pictures = vec![InputPicture { size: [64, 64], pixels: vec![120; 64 * 64 * 3] }];
    let examples = Examples { pictures, annotations, outputs: outputs() };
    for batch in 0..Detection::EXAMPLE_BATCHES {
        files.extend(task.example_files(batch, &examples).unwrap());
    }
    let mut written: Vec<&str> = files.iter().map(|file| file.name).collect();
    let mut linked = super::REPORTING.files.concat();
    written.sort_unstable();
    linked.sort_unstable();
    assert_eq!(written, linked);
}

#[test]
fn an_evaluation_has_the_objects_that_its_scores_count() {
    let (task, dataset) = (detection(), dataset());
    let predicted = task.predict(&outputs(), &letterboxed(&dataset)).unwrap().pop().unwrap();
    let files = task.predictions_files(vec![(&dataset.samples[0], predicted)]).unwrap();
    let file = files.iter().find(|file| file.name == "ground_truth_coco.json").unwrap();
    let truth: serde_json::Value = serde_json::from_slice(&file.bytes).unwrap();
    let ids: serde_json::Value = serde_json::from_slice(&files[2].bytes).unwrap();
    assert_eq!((&truth["images"], &truth["categories"]), (&ids["images"], &ids["categories"]));
    let fields = |at: usize| {
        let object = &truth["annotations"][at];
        (object["id"].clone(), object["category_id"].clone(), object["bbox"].clone(), object["area"].clone())
    };
    let expected = serde_json::json!([2, 2, [100.0, 40.0, 50.0, 50.0], 2500.0]);
    let (id, category, area_box, area) = fields(1);
    assert_eq!(serde_json::json!([id, category, area_box, area]), expected);
    let marks = |name: &str| -> Vec<u64> {
        truth["annotations"].as_array().unwrap().iter().map(|object| object[name].as_u64().unwrap()).collect()
    };
    assert_eq!((marks("iscrowd"), marks("ignore")), (vec![0, 0, 0, 1, 0], vec![0, 0, 0, 0, 1]));
}

#[test]
fn a_checkpoint_holds_the_meter() {
    let (task, dataset) = (detection(), dataset());
    let mut meter = task.validation_meter();
    let targets = task.targets(&letterboxed(&dataset)).unwrap();
    let loss = task.loss(&mut Tape::new(), &outputs(), &targets).unwrap();
    task.update(&mut meter, loss.stats).unwrap();
    let restored = toml::from_str(&toml::to_string(&meter).unwrap()).unwrap();
    assert_eq!(meter, restored);
}

#[test]
fn predictions_of_new_images_have_their_own_thresholds() {
    let (task, dataset) = (detection(), dataset());
    let annotations = letterboxed(&dataset);
    let evaluated = task.predict(&outputs(), &annotations).unwrap().remove(0);
    let shown = |thresholds: BoxThresholds| {
        task.predict_new(&outputs(), &annotations, &thresholds).unwrap().remove(0).objects
    };
    // Both classes of each box have the score 0.562.
    let of_class = |class| evaluated.objects.iter().filter(|object| object.class == class).count();
    assert!(of_class(0) > 0 && of_class(0) == of_class(1));
    let usual = BoxThresholds::default();
    assert_eq!((usual.confidence, usual.iou), (0.25, 0.7));
    assert_eq!(shown(usual).len(), of_class(0), "the best class only");
    assert!(shown(usual).iter().all(|object| object.class == 0));
    assert!(shown(BoxThresholds { iou: 0.0, ..usual }).len() < of_class(0));
    assert!(shown(BoxThresholds { confidence: 0.6, ..usual }).is_empty());
    let described = task.describe(&evaluated);
    let boxes = described.boxes.unwrap();
    assert_eq!((boxes.width, boxes.height, boxes.boxes.len()), (320, 160, evaluated.objects.len()));
    assert_eq!(described.document["boxes"].as_array().unwrap().len(), boxes.boxes.len());
}
