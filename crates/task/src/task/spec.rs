//! The parameters of a task, and operations on any task that do not depend on its types.

use super::evaluator::SingleModel;
use super::new_images::CollectedPredictions;
use super::{
    BoxThresholds, Decisions, EvaluatedImages, Evaluator, NewImages, Task, TaskKind, TaskProblem, TaskVisitor,
};
use crate::code_path::CodePath;
use crate::data::{Dataset, Split};
use crate::error::Result;
use crate::metrics::TaskMetrics;
use crate::pipeline::{self, Head, Monitor};

/// The parameters of a task.
#[derive(Clone, Copy)]
pub struct TaskSpec<'a> {
    pub kind: TaskKind,
    /// The names of the classes or labels, in the order of the network's outputs.
    pub classes: &'a [String],
    pub head: &'a Head,
    /// The train stage; `None` if the task only evaluates or predicts, with its default loss.
    pub training: Option<TaskTraining<'a>>,
}

/// The train stage of a task.
#[derive(Clone, Copy)]
pub struct TaskTraining<'a> {
    pub settings: &'a pipeline::Train,
    /// `None` if images are not read yet, or are synthetic.
    pub dataset: Option<&'a Dataset>,
}

/// The images that scores are computed on.
#[derive(Clone, Copy)]
pub struct MeasuredImages<'a> {
    /// `None` if images are not read yet.
    pub dataset: Option<&'a Dataset>,
    pub split: Split,
    /// Whether images that cannot be decoded are skipped.
    pub skips_broken: bool,
    /// The number of models that predict together.
    pub models: usize,
}

impl<'a> TaskSpec<'a> {
    /// Refuses a train stage whose loss, head or monitor does not fit the task or the data set.
    pub fn check(&self) -> Result<(), TaskProblem> {
        struct Check<'a>(TaskSpec<'a>);
        impl TaskVisitor for Check<'_> {
            type Output = Result<(), TaskProblem>;

            fn visit<T: Task>(self, task: T) -> Self::Output {
                self.0.check_views()?;
                self.0.check_embeddings()?;
                task.check(&self.0)?;
                self.0.check_monitor(task.metrics())
            }
        }
        self.visit(Check(*self))
    }

    /// A loss that compares views needs a head that projects them, and such a head no other loss.
    fn check_views(&self) -> Result<(), TaskProblem> {
        let Some(training) = self.training else { return Ok(()) };
        let (message, help) = match (training.settings.loss.compares_views(), self.head.compares_views()) {
            (true, false) => (
                "this loss compares projections of views, which this head does not compute",
                "use `head = { kind = \"projection\", hidden = 512, width = 128 }` in the model, or another loss",
            ),
            (false, true) => (
                "the head projects views of images, and this loss learns from annotations",
                "write `loss = { kind = \"nt_xent\" }`, or use another head",
            ),
            _ => return Ok(()),
        };
        Err(TaskProblem {
            setting: "loss".to_owned(),
            code: "conflict",
            message: message.to_owned(),
            help: Some(help.to_owned()),
        })
    }

    /// A loss that compares embeddings needs a head that has nothing else, and such a head no other loss.
    fn check_embeddings(&self) -> Result<(), TaskProblem> {
        let Some(training) = self.training else { return Ok(()) };
        let loss = &training.settings.loss;
        let (message, help) = match (loss.compares_embeddings(), self.head.compares_embeddings()) {
            (true, false) => (
                "this loss compares embeddings, and this head computes class scores",
                "use `head = { kind = \"embedding\", dimension = 128, classifier = false }` in the model, or another loss",
            ),
            (false, true) => (
                "the head computes embeddings only, and this loss needs class scores",
                "write `loss = { kind = \"triplet\" }` or `loss = { kind = \"supcon\" }`, or remove `classifier = false`",
            ),
            _ => return Ok(()),
        };
        Err(TaskProblem {
            setting: "loss".to_owned(),
            code: "conflict",
            message: message.to_owned(),
            help: Some(help.to_owned()),
        })
    }

    fn check_monitor(&self, metrics: &TaskMetrics) -> Result<(), TaskProblem> {
        let monitor = self.training.map(|training| training.settings.monitor.score());
        match monitor.filter(|score| metrics.of_epoch(score).is_none()) {
            Some(score) => Err(TaskProblem {
                setting: "monitor".to_owned(),
                code: "conflict",
                message: format!("these images have no score `validation/{score}`"),
                help: pipeline::suggest::help(
                    score,
                    "scores",
                    metrics.history.iter().map(|metric| metric.name),
                ),
            }),
            None => Ok(()),
        }
    }

    /// The code paths of the loss and of predictions.
    pub fn code_paths(&self, mixes: bool) -> Vec<CodePath> {
        struct Paths(bool);
        impl TaskVisitor for Paths {
            type Output = Vec<CodePath>;

            fn visit<T: Task>(self, task: T) -> Self::Output {
                task.code_paths(self.0)
            }
        }
        self.visit(Paths(mixes))
    }

    /// The code paths of the scores.
    pub fn metric_code_paths(&self, measured: &MeasuredImages) -> Vec<CodePath> {
        struct Paths<'a>(&'a MeasuredImages<'a>);
        impl TaskVisitor for Paths<'_> {
            type Output = Vec<CodePath>;

            fn visit<T: Task>(self, task: T) -> Self::Output {
                task.metric_code_paths(self.0)
            }
        }
        self.visit(Paths(measured))
    }

    /// The code paths of what an evaluation finds in addition to scores.
    pub fn analysis_code_paths(&self) -> Vec<CodePath> {
        struct Paths;
        impl TaskVisitor for Paths {
            type Output = Vec<CodePath>;

            fn visit<T: Task>(self, task: T) -> Self::Output {
                task.analysis_code_paths()
            }
        }
        self.visit(Paths)
    }

    /// An evaluation of one model, or of several together.
    ///
    /// # Errors
    /// There are several models, and the task cannot average them.
    pub fn evaluator(&self, images: EvaluatedImages, models: usize) -> Result<Box<dyn Evaluator>> {
        struct Evaluators(EvaluatedImages, usize);
        impl TaskVisitor for Evaluators {
            type Output = Result<Box<dyn Evaluator>>;

            fn visit<T: Task>(self, task: T) -> Self::Output {
                let Self(images, models) = self;
                match models {
                    1 => Ok(Box::new(SingleModel::new(task, images))),
                    _ => task.ensemble(images),
                }
            }
        }
        self.visit(Evaluators(images, models))
    }

    /// Predictions of new images, of which there are none yet.
    /// They are kept for tables if `keeps` is true.
    pub fn new_images(
        &self,
        thresholds: BoxThresholds,
        decisions: Decisions,
        keeps: bool,
    ) -> Box<dyn NewImages> {
        struct Collect(BoxThresholds, Decisions, bool);
        impl TaskVisitor for Collect {
            type Output = Box<dyn NewImages>;

            fn visit<T: Task>(self, task: T) -> Self::Output {
                Box::new(CollectedPredictions::new(task.deciding(self.1), self.0, self.2))
            }
        }
        self.visit(Collect(thresholds, decisions, keeps))
    }
}

/// Whether a train stage monitors a metric of rankings, which need the probabilities of all validation images.
pub(super) fn monitors_ranking(spec: &TaskSpec) -> bool {
    let monitor = spec.training.map(|training| training.settings.monitor);
    matches!(monitor, Some(Monitor::ValidationAuc | Monitor::ValidationMap))
}
