//! The detection task: its loss, scores and predictions.

use serde_json::{Value as Json, json};

use super::found_in_image::FoundInImage;
use super::losses::DetectionMeter;
use super::predictions::FoundObjects;
use super::targets::ImageObjects;
use super::{METRICS, epochs, errors, examples, found, merge, pictures, predictions, subsets, targets};
use crate::autograd::{Tape, Value};
use crate::code_path::CodePath;
use crate::data::{BoxArea, LabelledBox, Sample};
use crate::error::{Error, Result};
use crate::metrics::TaskMetrics;
use crate::metrics::code_paths::{
    DETECTION_ERRORS, DETECTION_INTERVALS, DETECTION_METRICS, NON_MAXIMUM_SUPPRESSION,
};
use crate::metrics::detection::{self, DetectionMetrics, DetectionScores, NmsSettings, curve_position};
use crate::model::Outputs;
use crate::ops::code_paths::{DETECTION_DECODE, DETECTION_DISTILLATION, DETECTION_LOSS};
use crate::ops::{self, Deferred, DetectionGains, DistillationGains};
use crate::pipeline::{Data, DetectionLoss, Head, LabelKind, Loss, Reduction};
use crate::report::code_paths::{BOX_PICTURES, ERROR_PICTURES};
use crate::task::confidence_intervals::ConfidenceIntervals;
use crate::task::merged_predictions::MergedPredictions;
use crate::task::readings::optional;
use crate::task::{
    Analysis, Annotations, BoxThresholds, EvaluatedImages, EvaluatedPredictions, Evaluator, Examples,
    InputObjects, MeasuredImages, OutputDescription, OutputForm, Predictions, Task, TaskFile, TaskProblem,
    TaskSpec,
};
use crate::train::{self, BatchLoss, Readings, Scores};

/// The field of a recipe's model that is `true` for this task.
pub(super) const RECIPE_FIELD: &str = "detection";

pub struct Detection {
    classes: Vec<String>,
    gains: DetectionGains,
    reduction: Reduction,
    /// `None` without a teacher.
    distillation: Option<DistillationGains>,
}

/// What the meter takes from a batch.
pub struct DetectionStats {
    terms: Deferred<f64>,
    /// Of the distillation, if there is a teacher.
    distilled: Option<Deferred<f64>>,
    images: usize,
    boxes: Boxes,
}

/// What was found, which only a validation asks for.
enum Boxes {
    InOutputs(Outputs, Vec<ImageObjects>),
    Found(Vec<FoundInImage>),
}

impl Boxes {
    /// Image by image.
    fn found(self) -> Result<Vec<FoundInImage>> {
        match self {
            Self::Found(images) => Ok(images),
            Self::InOutputs(outputs, objects) => {
                let frames: Vec<_> = objects.iter().map(|image| image.frame.as_ref()).collect();
                let found = found::detections(&outputs, &frames, &NmsSettings::EVALUATION)?;
                let image = |(image, found): (ImageObjects, _)| FoundInImage { found, truth: image.truth };
                Ok(objects.into_iter().zip(found).map(image).collect())
            }
        }
    }
}

impl train::TrainTask for Detection {
    type Targets = Vec<ImageObjects>;
    type Meter = DetectionMeter;
    type BatchStats = DetectionStats;

    fn metrics(&self) -> &'static TaskMetrics {
        &METRICS
    }

    fn sums_batches(&self) -> bool {
        self.reduction == Reduction::Sum
    }

    fn meter(&self) -> DetectionMeter {
        DetectionMeter::new(None)
    }

    fn validation_meter(&self) -> DetectionMeter {
        DetectionMeter::new(Some(DetectionMetrics::new(self.classes.len())))
    }

    fn loss(
        &self,
        tape: &mut Tape,
        outputs: &Outputs,
        objects: &Vec<ImageObjects>,
    ) -> Result<BatchLoss<DetectionStats>> {
        let levels = found::levels(outputs)?;
        let size = found::input_size(&levels)?;
        let boxes: Vec<Vec<ops::TargetBox>> = objects.iter().map(|image| image.targets(size)).collect();
        let ops::DetectionLoss { total, terms } = ops::detection_loss(tape, &levels, &boxes, &self.gains)?;
        let outputs = outputs.map(|tensor| Ok(tensor.clone()))?;
        let boxes = Boxes::InOutputs(outputs, objects.clone());
        let stats = DetectionStats { terms, distilled: None, images: objects.len(), boxes };
        Ok(BatchLoss { mean: total, weight: objects.len() as f64, stats })
    }

    fn update(&self, meter: &mut DetectionMeter, stats: DetectionStats) -> Result<()> {
        let DetectionStats { terms, distilled, images, boxes } = stats;
        meter.add(&terms.wait()?, images as f64);
        if let Some(terms) = distilled {
            meter.add_distillation(&terms.wait()?, images as f64);
        }
        let Some(metrics) = &mut meter.metrics else { return Ok(()) };
        boxes.found()?.iter().try_for_each(|image| metrics.update(&image.found, &image.truth))
    }

    fn pack(&self, meter: &DetectionMeter, stats: DetectionStats) -> Result<Readings> {
        let DetectionStats { terms, distilled, images, boxes } = stats;
        let distilled = distilled.map(|terms| terms.wait()).transpose()?.unwrap_or_default();
        let mut readings = vec![vec![images as f64], terms.wait()?, distilled];
        if meter.metrics.is_some() {
            readings.extend(boxes.found()?.iter().map(FoundInImage::to_column));
        }
        Ok(readings)
    }

    fn unpack(&self, readings: Readings) -> Result<DetectionStats> {
        let mut columns = readings.into_iter();
        let mut next = || columns.next().ok_or_else(|| Error::bug("readings of another task"));
        let (images, terms, distilled) = (next()?, next()?, next()?);
        let images = images.first().map_or(0, |images| *images as usize);
        let found = columns.map(|column| FoundInImage::of_column(&column)).collect::<Result<_>>()?;
        Ok(DetectionStats {
            terms: Deferred::ready(terms),
            distilled: optional(distilled).map(Deferred::ready),
            images,
            boxes: Boxes::Found(found),
        })
    }

    /// The meter has its terms apart from the loss of the labels, which training and validation share.
    fn distillation_loss(
        &self,
        tape: &mut Tape,
        outputs: &Outputs,
        teacher: &Outputs,
        stats: Option<&mut DetectionStats>,
    ) -> Result<Value> {
        let Some(gains) = &self.distillation else {
            return Err(Error::bug("a teacher in a stage without distillation"));
        };
        let (student, teacher) = (found::levels(outputs)?, found::levels(teacher)?);
        let ops::DetectionDistillation { total, terms } =
            ops::detection_distillation(tape, &student, &teacher, gains)?;
        if let Some(stats) = stats {
            stats.distilled = Some(terms);
        }
        Ok(total)
    }

    fn progress(&self, meter: &DetectionMeter) -> Scores {
        meter.losses()
    }

    fn scores(&self, meter: &DetectionMeter) -> Scores {
        let mut scores = meter.losses();
        let all = meter.metrics.as_ref().and_then(|metrics| metrics.finish(&self.classes).ok());
        scores.extend(all.iter().flat_map(headline_scores));
        scores
    }
}

/// What is found in the picture of each row.
fn objects(
    outputs: &Outputs,
    annotations: &Annotations,
    settings: &NmsSettings,
) -> Result<Vec<FoundObjects>> {
    let frames = targets::frames(annotations)?;
    let known: Vec<_> = frames.iter().map(Some).collect();
    let found = found::detections(outputs, &known, settings)?;
    let image = |(frame, objects): (&InputObjects, _)| FoundObjects {
        size: frame.picture_size().unwrap_or_default(),
        objects,
    };
    Ok(frames.iter().zip(found).map(image).collect())
}

/// The scores of an epoch. Without objects to find, there are none.
fn headline_scores(all: &DetectionScores) -> impl Iterator<Item = (String, f64)> {
    let named = [
        ("ap50_95", all.ap50_95),
        ("ap50", all.ap50),
        ("ap75", all.ap75),
        ("ap_small", all.ap_small),
        ("ap_medium", all.ap_medium),
        ("ap_large", all.ap_large),
        ("precision", all.precision),
        ("recall", all.recall),
        ("f1", all.f1),
    ];
    named.into_iter().filter_map(|(name, score)| Some((name.to_owned(), score?)))
}

impl Task for Detection {
    type Prediction = FoundObjects;

    const ANNOTATION: &'static str = "boxes around objects";

    const FINDS_BOXES: bool = true;

    const OUTPUT_FORM: OutputForm = OutputForm::Boxes;

    const RECIPE_FIELD: Option<&'static str> = Some(RECIPE_FIELD);

    fn accepts(data: &Data, _: &Head) -> bool {
        data.label_kind() == LabelKind::Boxes
    }

    fn new(spec: &TaskSpec) -> Self {
        let settings = match spec.training.map(|training| &training.settings.loss) {
            Some(Loss::Detection(settings)) => settings.clone(),
            _ => DetectionLoss::default(),
        };
        let DetectionLoss { box_gain, class_gain, dfl_gain, reduction } = settings;
        let gains = DetectionGains { box_gain, class_gain, dfl_gain };
        let distill = spec.training.and_then(|training| training.settings.distill.as_ref());
        let distillation = distill.map(|distill| {
            let [class_gain, box_gain] = distill.detection_weights();
            DistillationGains { class_gain, box_gain, temperature: distill.temperature }
        });
        Self { classes: spec.classes.to_vec(), gains, reduction, distillation }
    }

    fn check(&self, spec: &TaskSpec) -> Result<(), TaskProblem> {
        let problem = |setting: &str, message: &str, help: &str| TaskProblem {
            setting: setting.to_owned(),
            code: "conflict",
            message: message.to_owned(),
            help: Some(help.to_owned()),
        };
        let Some(training) = spec.training else { return Ok(()) };
        if !matches!(spec.head, Head::Detect(_)) {
            let help = "set `head = { kind = \"detect\" }` in the model";
            return Err(problem("data", "the images have boxes, but the head predicts one class each", help));
        }
        if !matches!(training.settings.loss, Loss::Detection(_)) {
            let help = "write `loss = { kind = \"detection\" }`";
            return Err(problem(
                "loss",
                "the images have boxes, and this loss is for classes of images",
                help,
            ));
        }
        Ok(())
    }

    fn code_paths(&self, _: bool) -> Vec<CodePath> {
        let mut paths = vec![DETECTION_LOSS, DETECTION_DECODE];
        paths.extend(self.distillation.as_ref().map(|_| DETECTION_DISTILLATION));
        paths
    }

    fn metric_code_paths(&self, _: &MeasuredImages) -> Vec<CodePath> {
        vec![DETECTION_METRICS, NON_MAXIMUM_SUPPRESSION, BOX_PICTURES]
    }

    fn targets(&self, annotations: &Annotations) -> Result<Vec<ImageObjects>> {
        targets::of(annotations)
    }

    /// Seven objects each, as an image of COCO has on average.
    fn synthetic_targets(&self, rows: usize) -> Vec<ImageObjects> {
        let object = |number: usize| {
            let place = number as f64 / 10.0;
            let area =
                BoxArea { left: place, top: 0.5 * place, right: place + 0.3, bottom: 0.5 * place + 0.4 };
            LabelledBox::new((number % self.classes.len().max(1)) as u32, area)
        };
        let image = ImageObjects { boxes: (0..7).map(object).collect(), ..ImageObjects::default() };
        vec![image; rows]
    }

    fn first(&self, targets: &Vec<ImageObjects>, rows: usize) -> Vec<ImageObjects> {
        targets[..rows].to_vec()
    }

    /// With the settings of an evaluation: all that scores count.
    fn predict(&self, outputs: &Outputs, annotations: &Annotations) -> Result<Vec<FoundObjects>> {
        objects(outputs, annotations, &NmsSettings::EVALUATION)
    }

    fn predict_new(
        &self,
        outputs: &Outputs,
        annotations: &Annotations,
        &BoxThresholds { confidence, iou }: &BoxThresholds,
    ) -> Result<Vec<FoundObjects>> {
        objects(outputs, annotations, &NmsSettings { confidence, iou, ..NmsSettings::PREDICTION })
    }

    fn merged(
        &self,
        found: Vec<FoundObjects>,
        inputs: &[InputObjects],
        thresholds: &BoxThresholds,
    ) -> Result<FoundObjects> {
        Ok(merge::merged(found, inputs, thresholds.iou))
    }

    fn measured(
        &self,
        mut losses: DetectionMeter,
        predictions: &[(&Sample, &FoundObjects)],
    ) -> Result<DetectionMeter> {
        let mut metrics = DetectionMetrics::new(self.classes.len());
        for (sample, found) in predictions {
            metrics.update(&found.objects, &targets::ground_truth(sample, found.size))?;
        }
        losses.metrics = Some(metrics);
        Ok(losses)
    }

    fn describe(&self, found: &FoundObjects) -> OutputDescription {
        predictions::describe(&self.classes, found)
    }

    fn new_images_files(&self, predictions: &[(String, FoundObjects)]) -> Result<Vec<TaskFile>> {
        predictions::files(&self.classes, predictions.iter().map(|(file, found)| (file, found)))
    }

    fn predictions_files(&self, predictions: Predictions<Self>) -> Result<Vec<TaskFile>> {
        let found = predictions.iter().map(|(sample, found)| (&sample.path, found));
        let mut files = predictions::files(&self.classes, found)?;
        let truth = predictions.iter().map(|(sample, found)| (*sample, found));
        files.push(predictions::ground_truth_file(&self.classes, truth));
        Ok(files)
    }

    fn document(&self, meter: &DetectionMeter) -> Result<Json> {
        let metrics = meter.metrics.as_ref().ok_or_else(|| Error::bug("scores of a training meter"))?;
        let mut document = json!(metrics.finish(&self.classes)?);
        for (name, loss) in meter.losses() {
            document[name] = json!(loss);
        }
        Ok(document)
    }

    fn files(&self, stage: &str, meter: &DetectionMeter) -> Result<Vec<TaskFile>> {
        match &meter.metrics {
            Some(metrics) => pictures::files(stage, &self.classes, metrics),
            None => Ok(Vec::new()),
        }
    }

    /// The types of errors, and the scores of subsets.
    fn analysis(&self, evaluated: &EvaluatedPredictions<Self>) -> Result<Analysis> {
        let EvaluatedPredictions { stage, meter, predictions, groups, images, .. } = evaluated;
        let subsets = &images.subsets;
        let metrics = meter.metrics.as_ref().ok_or_else(|| Error::bug("scores of a training meter"))?;
        let point = metrics.curves().best_point();
        let (errors, files) =
            errors::of_evaluation(stage, &self.classes, predictions, point.map(curve_position))?;
        let mut analysis = Analysis { files, ..Analysis::default() };
        analysis.fields.insert("errors".to_owned(), json!(errors));
        let truth = |(sample, found): &(&Sample, FoundObjects)| {
            (found.objects.clone(), targets::ground_truth(sample, found.size))
        };
        let boxes: Vec<_> = predictions.iter().map(truth).collect();
        let intervals = detection::intervals(&boxes, self.classes.len(), groups);
        let intervals = ConfidenceIntervals::new(intervals, groups, images.groups.is_some());
        analysis.fields.insert("intervals".to_owned(), json!(intervals));
        if !subsets.is_empty() {
            let scores = subsets::of_evaluation(&self.classes, point, predictions, subsets)?;
            analysis.fields.insert("subsets".to_owned(), json!(scores));
            analysis.files.push(subsets::file(&scores));
        }
        Ok(analysis)
    }

    fn analysis_code_paths(&self) -> Vec<CodePath> {
        vec![DETECTION_ERRORS, DETECTION_INTERVALS, ERROR_PICTURES]
    }

    fn epoch_files(&self, rows: &[train::EpochRow]) -> Vec<TaskFile> {
        epochs::files(rows)
    }

    fn ensemble(self, images: EvaluatedImages) -> Result<Box<dyn Evaluator>> {
        Ok(Box::new(MergedPredictions::new(self, images)))
    }

    const EXAMPLE_BATCHES: usize = examples::FILES.len();

    fn example_files(&self, batch: usize, examples: &Examples) -> Result<Vec<TaskFile>> {
        examples::files(batch, &self.classes, examples)
    }
}
