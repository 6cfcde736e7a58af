//! A task that is in no list, through the real stages: a task is a folder and a line.
//!
//! Images have any number of numbers, as they would have boxes, and the loss is a mean over all numbers of a batch. The
//! network predicts one number for each image.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::*;
use crate::autograd::{Backward, Tape};
use crate::code_path::CodePath;
use crate::data::{BoxArea, LabelledBox};
use crate::error::Error;
use crate::metrics::{Direction, Metric, MetricFormat, TaskMetrics};
use crate::model::Outputs;
use crate::ops::Deferred;
use crate::task::{
    Annotations, EvaluatedImages, MeasuredImages, OutputDescription, Predictions, SingleModel, Task,
    TaskFile, TaskProblem, TaskSpec,
};
use crate::train::{self, BatchLoss, Scores};

struct Regression;

static METRICS: TaskMetrics = TaskMetrics {
    history: &[Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower).in_training()],
    evaluation: &[],
    headline: &["loss"],
};

#[derive(Clone, Default, Serialize, Deserialize)]
struct Meter {
    sum: f64,
    numbers: u64,
}

/// The squared errors of a batch, and how many there are.
struct Errors {
    sum: Deferred<f64>,
    numbers: u64,
}

/// Of the mean squared error: a column of [N, 2], the other is not used.
struct ByRow(Vec<[f32; 2]>);

impl Backward for ByRow {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let rows = self.0.len();
        let gradient = Tensor::from_vec(self.0.concat(), (rows, 2), grad.device())?;
        Ok(vec![Some(gradient.broadcast_mul(&grad)?)])
    }
}

/// The first column of [N, 2].
fn numbers(outputs: &Outputs) -> Result<Vec<f32>> {
    Ok(outputs.logits()?.tensor().to_vec2::<f32>()?.into_iter().map(|row| row[0]).collect())
}

impl train::TrainTask for Regression {
    /// The numbers of each image.
    type Targets = Vec<Vec<f32>>;
    type Meter = Meter;
    type BatchStats = Errors;

    fn metrics(&self) -> &'static TaskMetrics {
        &METRICS
    }

    fn meter(&self) -> Meter {
        Meter::default()
    }

    fn loss(&self, tape: &mut Tape, outputs: &Outputs, targets: &Vec<Vec<f32>>) -> Result<BatchLoss<Errors>> {
        let count: usize = targets.iter().map(Vec::len).sum();
        let (mut sum, mut gradient) = (0.0, Vec::new());
        for (predicted, expected) in numbers(outputs)?.into_iter().zip(targets) {
            let errors = expected.iter().map(|number| f64::from(predicted - number));
            sum += errors.clone().map(|error| error * error).sum::<f64>();
            gradient.push([(2.0 * errors.sum::<f64>() / count as f64) as f32, 0.0]);
        }
        let output = outputs.logits()?;
        let mean = Tensor::new((sum / count as f64) as f32, output.tensor().device())?;
        let mean = tape.record(&[output], mean, || ByRow(gradient));
        let stats = Errors { sum: Deferred::ready(vec![sum]), numbers: count as u64 };
        Ok(BatchLoss { mean, weight: count as f64, stats })
    }

    fn pack(&self, _: &Meter, stats: Errors) -> Result<train::Readings> {
        Ok(vec![stats.sum.wait()?, vec![stats.numbers as f64]])
    }

    fn unpack(&self, readings: train::Readings) -> Result<Errors> {
        let numbers = readings[1][0] as u64;
        Ok(Errors { sum: Deferred::ready(readings[0].clone()), numbers })
    }

    fn update(&self, meter: &mut Meter, stats: Errors) -> Result<()> {
        meter.sum += stats.sum.wait()?[0];
        meter.numbers += stats.numbers;
        Ok(())
    }

    fn progress(&self, meter: &Meter) -> Scores {
        Scores::from([("loss".to_owned(), meter.sum / meter.numbers as f64)])
    }

    fn scores(&self, meter: &Meter) -> Scores {
        self.progress(meter)
    }
}

impl Task for Regression {
    type Prediction = f32;

    const ANNOTATION: &'static str = "any number of numbers";

    const RECIPE_FIELD: Option<&'static str> = Some("numbers");

    fn accepts(_: &crate::pipeline::Data, _: &crate::pipeline::Head) -> bool {
        false
    }

    fn new(_: &TaskSpec) -> Self {
        Self
    }

    fn check(&self, _: &TaskSpec) -> std::result::Result<(), TaskProblem> {
        Ok(())
    }

    fn code_paths(&self, _: bool) -> Vec<CodePath> {
        Vec::new()
    }

    fn metric_code_paths(&self, _: &MeasuredImages) -> Vec<CodePath> {
        Vec::new()
    }

    /// A cat has one number, a dog two. An image with boxes has their widths.
    fn targets(&self, annotations: &Annotations) -> Result<Vec<Vec<f32>>> {
        if annotations.shares.is_some() {
            return Err(Error::usage("numbers of mixed images"));
        }
        if let Some(objects) = &annotations.objects {
            let widths = |object: &LabelledBox| (object.area.right - object.area.left) as f32;
            return Ok(objects.iter().map(|row| row.boxes.iter().map(widths).collect()).collect());
        }
        let of = |class: u32| if class == 0 { vec![1.0] } else { vec![2.0, 3.0] };
        Ok(annotations.samples.iter().filter_map(|sample| sample.label.class()).map(of).collect())
    }

    fn synthetic_targets(&self, rows: usize) -> Vec<Vec<f32>> {
        vec![vec![0.0]; rows]
    }

    fn first(&self, targets: &Vec<Vec<f32>>, rows: usize) -> Vec<Vec<f32>> {
        targets[..rows].to_vec()
    }

    fn predict(&self, outputs: &Outputs, _: &Annotations) -> Result<Vec<f32>> {
        numbers(outputs)
    }

    fn describe(&self, number: &f32) -> OutputDescription {
        let document = serde_json::Map::from_iter([("number".to_owned(), json!(number))]);
        OutputDescription { text: number.to_string(), document, boxes: None }
    }

    fn new_images_files(&self, predictions: &[(String, f32)]) -> Result<Vec<TaskFile>> {
        let table = predictions.iter().map(|(file, number)| format!("{file},{number}\n")).collect::<String>();
        Ok(vec![TaskFile::new("predictions.csv", table)])
    }

    fn predictions_files(&self, predictions: Predictions<Self>) -> Result<Vec<TaskFile>> {
        let row = |(sample, number): (&crate::data::Sample, f32)| format!("{},{number}\n", sample.path);
        let table = predictions.into_iter().map(row).collect::<String>();
        Ok(vec![TaskFile::new("predictions.csv", table)])
    }

    fn document(&self, meter: &Meter) -> Result<Json> {
        Ok(json!({ "loss": train::TrainTask::progress(self, meter)["loss"] }))
    }

    fn files(&self, _: &str, meter: &Meter) -> Result<Vec<TaskFile>> {
        Ok(vec![TaskFile::new("numbers.txt", meter.numbers.to_string())])
    }
}

/// Two batches to a step, which are joined by how many numbers each has.
fn joined(train: &mut Staged) {
    train.settings.accumulate = 2;
    train.settings.epochs = 4;
}

pub(super) fn work(stage: &Staged, context: &StageContext) -> Result<()> {
    stage.fit(&Regression, &stage.dataset, context)
}

#[test]
fn a_third_task_trains_resumes_and_moves_nothing_that_is_frozen() {
    let scene = Scene::new();
    let stage = scene.stage(&joined);
    let work = |context: &StageContext| work(&stage, context);
    let run =
        |folders: &Folders| scene.execute(folders, &NullObserver, &Interrupt::default(), &work).unwrap();
    let whole = run(&scene.folders(None));
    assert_same(&whole, &run(&scene.folders(ROOM)), "on features that are kept");

    let metrics: Json = serde_json::from_slice(&whole["metrics.json"]).unwrap();
    let loss = |epoch: &str| metrics[epoch]["validation_loss"].as_f64().unwrap();
    assert!(metrics["best"].is_object() && loss("best") < 2.0, "{metrics}");
    assert_eq!(whole["numbers.txt"], b"4", "two cats and a dog can be decoded");

    let folders = scene.folders(ROOM);
    let mut stops = 0;
    let resumed = loop {
        let impatient = Impatient::default();
        impatient.steps.store(stops % 2, Ordering::Relaxed);
        match scene.execute(&folders, &impatient, &impatient.interrupt, &work) {
            Ok(files) => break files,
            Err(error) => assert_eq!(error.kind, ErrorKind::Interrupted, "{error}"),
        }
        stops += 1;
    };
    assert!(stops >= 2, "{stops} stops");
    assert_same(&whole, &resumed, "stopped");

    // What the stage proves of its files, seen from outside.
    let output = tempfile::tempdir().unwrap();
    let result = output.path().join(LAST);
    std::fs::write(&result, &whole[LAST]).unwrap();
    let open = |path: &Path| crate::weights::WeightsFile::open(path).unwrap();
    let (before, after) = (open(&scene.path("start").join(MODEL)), open(&result));
    let frozen = stage.frozen();
    assert!(frozen.len() > 100);
    assert!(crate::freeze::changed_tensors(&before, &after, &frozen).unwrap().is_empty());
    let head: Vec<String> =
        stage.table.rows.iter().filter(|row| row.trainable).map(|row| row.name.clone()).collect();
    assert_eq!(
        crate::freeze::changed_tensors(&before, &after, &head).unwrap().len(),
        head.len(),
        "the head trains"
    );
}

#[test]
fn a_third_task_is_evaluated_with_its_own_predictions_and_files() {
    let scene = Scene::new();
    let (folder, dataset) = scene.images();
    let evaluate = EvaluateStage {
        members: vec![EnsembleMember { model_spec: scene.model_spec(), layers: 0 }],
        preprocess: Preprocess::new(&folder, None, Arch::ResNet18),
        split: crate::data::Split::Validation,
        recognition: None,
        subsets: Vec::new(),
        fits: Default::default(),
        tta: None,
    };
    let work = |context: &StageContext| {
        let evaluator =
            SingleModel::new(Regression, EvaluatedImages::of(Arc::clone(&dataset), evaluate.split));
        evaluate.measure(&dataset, Box::new(evaluator), context)
    };
    let files = scene.execute(&scene.folders(None), &NullObserver, &Interrupt::default(), &work).unwrap();
    let metrics: Json = serde_json::from_slice(&files["metrics.json"]).unwrap();
    assert_eq!((&metrics["broken_images"], &metrics["split"]), (&json!(1), &json!("validation")));
    assert!(metrics["loss"].as_f64().unwrap() > 0.0);
    let rows = String::from_utf8(files["predictions.csv"].clone()).unwrap();
    assert_eq!(rows.lines().count(), 3);
    assert!(rows.starts_with("judge/cat/0.png,"), "{rows}");
    assert_eq!(files["numbers.txt"], b"4");
}

/// Each image has one box, of its class.
pub(super) fn with_boxes(train: &mut Staged) {
    let dataset = Arc::make_mut(&mut train.dataset);
    dataset.label_kind = LabelKind::Boxes;
    for sample in &mut dataset.samples {
        let area = BoxArea { left: 0.1, top: 0.2, right: 0.9, bottom: 0.8 };
        let class = sample.label.class().unwrap();
        sample.label = Label::Boxes(vec![LabelledBox::new(class, area)]);
    }
}

/// Images with boxes: mosaics until the last epoch, and batches of 32 and 64 pixels.
fn boxes(train: &mut Staged) {
    with_boxes(train);
    train.settings.augment = toml::from_str(
        "mosaic = {}\nclose_mosaic = 1\naffine = { scale = 0.2 }\nhsv = {}\nhorizontal_flip = 0.5\n\
         mixup = { alpha = 32, probability = 0.3 }\nmulti_scale = 1.0",
    )
    .unwrap();
    train.settings.epochs = 3;
    train.prefixes[0].recomputed = Some("`mosaic` changes the images every epoch");
}

#[test]
fn boxes_reach_the_targets_where_the_network_sees_them_and_a_stage_resumes_on_its_mosaics() {
    let scene = Scene::new();
    let stage = scene.stage(&boxes);
    let work = |context: &StageContext| work(&stage, context);
    let whole = scene.execute(&scene.folders(None), &NullObserver, &Interrupt::default(), &work).unwrap();
    // Validation: four boxes of whole images in a centre crop, of which one image is broken.
    assert_eq!(whole["numbers.txt"], b"3");
    let folders = scene.folders(ROOM);
    let mut stops = 0;
    let resumed = loop {
        let impatient = Impatient::default();
        impatient.steps.store(stops % 2, Ordering::Relaxed);
        match scene.execute(&folders, &impatient, &impatient.interrupt, &work) {
            Ok(files) => break files,
            Err(error) => assert_eq!(error.kind, ErrorKind::Interrupted, "{error}"),
        }
        stops += 1;
    };
    assert!(stops >= 1);
    assert_same(&whole, &resumed, "stopped");
}

#[test]
fn a_preview_shows_mosaics_with_their_boxes_until_they_are_closed() {
    let scene = Scene::new();
    let stage = scene.stage(&boxes);
    let preview = |epoch, workers| stage.preview(&stage.dataset, epoch, 5, workers).unwrap();
    let first = preview(0, 2);
    assert!(!first.is_empty() && first.iter().all(|image| image.parts.len() >= 4));
    assert!(first.iter().any(|image| image.boxes.as_ref().is_some_and(|boxes| boxes.len() > 1)));
    for image in &first {
        let [width, height] = image.size;
        assert!([32, 64].contains(&width) && image.pixels.len() == (width * height * 3) as usize);
        assert!(image.shares.is_empty() && image.parts[0] == image.path);
    }
    assert_eq!(preview(0, 1), first);
    let last = preview(2, 2);
    assert!(last.len() == 5 && last.iter().all(|image| image.parts.len() == 1));
    // Classes instead of boxes, and images of batches that are mixed.
    let stage = scene.stage(&mixing);
    let shown = stage.preview(&stage.dataset, 0, 4, 2).unwrap();
    assert_eq!(shown.len(), 4);
    for image in shown {
        let total: f64 = image.shares.iter().map(|(_, share)| share).sum();
        assert!((total - 1.0).abs() < 1e-9 && image.boxes.is_none(), "{image:?}");
    }
}
