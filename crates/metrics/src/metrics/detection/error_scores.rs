//! The numbers of an error analysis: what `metrics.json` contains under `errors`.

use serde::{Deserialize, Serialize};

use super::errors::ErrorKind;

/// The results of [`super::ErrorAnalysis`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectionErrors {
    /// From this intersection over union on, a detection and an object match.
    pub foreground_iou: f64,
    /// Below this intersection over union, a detection shows background.
    pub background_iou: f64,
    /// The confidence from which detections are counted as `confident`: `best_confidence` of the scores.
    pub confidence: Option<f64>,
    pub all: ErrorSummary,
    pub classes: Vec<ClassErrors>,
    /// The pairs of classes that are confused most, the most confident detections first.
    pub confusions: Vec<ClassConfusion>,
}

/// The errors of one class: detections of this class, and objects of this class that are not found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassErrors {
    pub class: String,
    pub instances: u64,
    pub errors: ErrorSummary,
}

/// The errors over all classes, or of one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorSummary {
    /// The average precision that costs are measured from.
    pub ap50: Option<f64>,
    /// Detections that find an object.
    pub hits: Tally,
    pub classification: ErrorCost,
    pub localisation: ErrorCost,
    pub both: ErrorCost,
    pub duplicate: ErrorCost,
    pub background: ErrorCost,
    pub missed: ErrorCost,
    pub false_positive: ErrorCost,
    pub false_negative: ErrorCost,
}

impl ErrorSummary {
    pub fn cost(&self, kind: ErrorKind) -> ErrorCost {
        match kind {
            ErrorKind::Classification => self.classification,
            ErrorKind::Localisation => self.localisation,
            ErrorKind::Both => self.both,
            ErrorKind::Duplicate => self.duplicate,
            ErrorKind::Background => self.background,
            ErrorKind::Missed => self.missed,
            ErrorKind::FalsePositive => self.false_positive,
            ErrorKind::FalseNegative => self.false_negative,
        }
    }
}

/// A number of detections or objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// With all detections that scores count.
    pub count: u64,
    /// With the detections from the best confidence on. `None` if there is no best confidence.
    pub confident: Option<u64>,
}

/// How often a type of error occurs, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorCost {
    /// With all detections that scores count.
    pub count: u64,
    /// With the detections from the best confidence on. `None` if there is no best confidence.
    pub confident: Option<u64>,
    /// How much higher AP50 is without this type of error. `None` without objects, or if no object is left without it.
    pub dap: Option<f64>,
}

/// How often objects of a class are detected as another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassConfusion {
    pub predicted: String,
    pub truth: String,
    pub count: u64,
    pub confident: Option<u64>,
}
