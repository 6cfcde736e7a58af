//! The contrastive task: its loss and its scores.

use std::convert::Infallible;

use serde_json::{Value as Json, json};

use super::METRICS;
use super::meter::ContrastiveMeter;
use crate::autograd::Tape;
use crate::code_path::CodePath;
use crate::data::code_paths::TWO_VIEWS;
use crate::error::{Error, Result};
use crate::metrics::TaskMetrics;
use crate::model::Outputs;
use crate::ops::code_paths::NT_XENT;
use crate::ops::{self, PairStatistics};
use crate::pipeline::{Data, Head, Loss};
use crate::task::readings::columns;
use crate::task::{
    Annotations, MeasuredImages, OutputDescription, Predictions, Task, TaskFile, TaskProblem, TaskSpec,
};
use crate::train::{self, BatchLoss, Readings, Scores};

/// The field of a recipe's model that is `true` for this task.
pub(super) const RECIPE_FIELD: &str = "contrastive";

pub struct Contrastive {
    temperature: f64,
}

impl train::TrainTask for Contrastive {
    /// A batch alone says what to learn: rows 2k and 2k + 1 are views of the same image.
    type Targets = ();
    type Meter = ContrastiveMeter;
    type BatchStats = PairStatistics;

    fn metrics(&self) -> &'static TaskMetrics {
        &METRICS
    }

    fn meter(&self) -> ContrastiveMeter {
        ContrastiveMeter::default()
    }

    fn loss(&self, tape: &mut Tape, outputs: &Outputs, (): &()) -> Result<BatchLoss<PairStatistics>> {
        let ops::ContrastiveLoss { mean, statistics } =
            ops::nt_xent(tape, outputs.logits()?, self.temperature)?;
        Ok(BatchLoss { mean, weight: statistics.rows, stats: statistics })
    }

    fn update(&self, meter: &mut ContrastiveMeter, stats: PairStatistics) -> Result<()> {
        meter.add(&stats);
        Ok(())
    }

    fn pack(&self, _: &ContrastiveMeter, stats: PairStatistics) -> Result<Readings> {
        let PairStatistics { rows, loss, matched, squared_distance, closeness } = stats;
        Ok(vec![vec![rows, loss, matched, squared_distance, closeness]])
    }

    fn unpack(&self, readings: Readings) -> Result<PairStatistics> {
        let [statistics] = columns(readings)?;
        let [rows, loss, matched, squared_distance, closeness] =
            statistics[..].try_into().map_err(|_| Error::bug("other statistics of pairs"))?;
        Ok(PairStatistics { rows, loss, matched, squared_distance, closeness })
    }

    fn progress(&self, meter: &ContrastiveMeter) -> Scores {
        meter.scores()
    }

    fn scores(&self, meter: &ContrastiveMeter) -> Scores {
        meter.scores()
    }
}

impl Task for Contrastive {
    /// There is none: a projection says nothing about one image.
    type Prediction = Infallible;

    const ANNOTATION: &'static str = "views of images without annotations";

    const USES_LABELS: bool = false;

    const PREDICTS: bool = false;

    const VIEWS: usize = 2;

    const RECIPE_FIELD: Option<&'static str> = Some(RECIPE_FIELD);

    fn accepts(_: &Data, head: &Head) -> bool {
        head.compares_views()
    }

    fn new(spec: &TaskSpec) -> Self {
        let temperature = match spec.training.map(|training| &training.settings.loss) {
            Some(Loss::NtXent(loss)) => loss.temperature,
            // Validation refuses every other loss.
            _ => 1.0,
        };
        Self { temperature }
    }

    /// Everything else is refused with the file's settings.
    fn check(&self, _: &TaskSpec) -> Result<(), TaskProblem> {
        Ok(())
    }

    fn code_paths(&self, _: bool) -> Vec<CodePath> {
        vec![NT_XENT, TWO_VIEWS]
    }

    fn metric_code_paths(&self, _: &MeasuredImages) -> Vec<CodePath> {
        Vec::new()
    }

    fn targets(&self, _: &Annotations) -> Result<()> {
        Ok(())
    }

    fn synthetic_targets(&self, _: usize) {}

    fn first(&self, (): &(), _: usize) {}

    fn predict(&self, _: &Outputs, _: &Annotations) -> Result<Vec<Infallible>> {
        Err(Error::bug("a prediction of a projection"))
    }

    fn describe(&self, prediction: &Infallible) -> OutputDescription {
        match *prediction {}
    }

    fn new_images_files(&self, _: &[(String, Infallible)]) -> Result<Vec<TaskFile>> {
        Ok(Vec::new())
    }

    fn predictions_files(&self, _: Predictions<Self>) -> Result<Vec<TaskFile>> {
        Ok(Vec::new())
    }

    fn document(&self, meter: &ContrastiveMeter) -> Result<Json> {
        Ok(json!(meter.scores()))
    }

    fn files(&self, _: &str, _: &ContrastiveMeter) -> Result<Vec<TaskFile>> {
        Ok(Vec::new())
    }
}
