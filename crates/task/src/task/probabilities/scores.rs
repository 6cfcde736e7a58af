//! The fields of `metrics.json` that come from probabilities.

use serde::{Deserialize, Serialize};

use crate::metrics::probabilities::{
    Calibration, ClassRanking, DecisionCounts, LabelledProbabilities, ThresholdRule, fit_temperature,
    intervals,
};
use crate::metrics::shortest;
use crate::pipeline::{self, Thresholds};
use crate::task::Fits;
use crate::task::confidence_intervals::ConfidenceIntervals;

/// The specificities at which sensitivity is reported.
pub const SPECIFICITIES: [f64; 3] = [0.9, 0.95, 0.99];

/// All that is found in probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbabilityScores {
    /// The mean area under the ROC curves of the classes that some images have and others lack, each against all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
    /// The mean of the average precisions of the same classes. Multi-label scores have one of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<f64>,
    pub calibration: Calibration,
    /// In the order of the classes.
    pub one_vs_rest: Vec<RankingScores>,
    pub intervals: ConfidenceIntervals,
    /// What was fitted on the validation split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted: Option<FittedScores>,
}

/// A class against all others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankingScores {
    pub class: String,
    /// `None` if no image has the class, or all have it.
    pub auc: Option<f64>,
    pub average_precision: f64,
    pub sensitivity_at: Vec<SensitivityAt>,
}

/// The highest sensitivity of a threshold with at least this specificity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SensitivityAt {
    pub specificity: f64,
    pub sensitivity: Option<f64>,
}

/// What was fitted on the validation split, measured on the evaluated one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedScores {
    /// The number of validation images.
    pub images: usize,
    /// The number by which logits are divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// With this temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<ThresholdScores>>,
}

/// The threshold of a class, with its decisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThresholdScores {
    pub class: String,
    /// The class is predicted from this probability on; `None` if no threshold keeps the rule on the validation images:
    /// then it is never predicted.
    pub threshold: Option<f64>,
    /// On the evaluated images.
    pub evaluated: DecisionScores,
    /// On the validation images.
    pub validation: DecisionScores,
}

/// Decisions with their scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionScores {
    pub counts: DecisionCounts,
    pub sensitivity: f64,
    pub specificity: f64,
    pub precision: f64,
    pub f1: f64,
}

impl From<DecisionCounts> for DecisionScores {
    fn from(counts: DecisionCounts) -> Self {
        Self {
            counts,
            sensitivity: counts.sensitivity(),
            specificity: counts.specificity(),
            precision: counts.precision(),
            f1: counts.f1(),
        }
    }
}

impl ProbabilityScores {
    /// `groups` has the group of each image. `grouped` says whether a group may have several.
    pub fn of(
        classes: &[String],
        images: &LabelledProbabilities,
        rankings: &[ClassRanking],
        fitted: Option<FittedScores>,
        groups: &[usize],
        grouped: bool,
    ) -> Self {
        let one_vs_rest: Vec<RankingScores> = classes
            .iter()
            .zip(rankings)
            .map(|(class, ranking)| RankingScores {
                class: class.clone(),
                auc: ranking.auc(),
                average_precision: ranking.average_precision(),
                sensitivity_at: SPECIFICITIES
                    .iter()
                    .map(|&specificity| {
                        let sensitivity = ranking.sensitivity_at(specificity);
                        SensitivityAt { specificity, sensitivity }
                    })
                    .collect(),
            })
            .collect();
        let ranked = || one_vs_rest.iter().filter_map(|class| Some((class.auc?, class.average_precision)));
        let count = ranked().count();
        let mean = |sum: f64| (count > 0).then(|| sum / count as f64);
        Self {
            auc: mean(ranked().map(|(auc, _)| auc).sum()),
            map: mean(ranked().map(|(_, precision)| precision).sum()),
            calibration: Calibration::of(images),
            intervals: ConfidenceIntervals::new(intervals(images, groups), groups, grouped),
            one_vs_rest,
            fitted,
        }
    }
}

impl FittedScores {
    /// Fits on `validation`, and measures on `evaluated`.
    pub fn of(
        classes: &[String],
        fits: &Fits,
        validation: &LabelledProbabilities,
        evaluated: &LabelledProbabilities,
    ) -> Self {
        let temperature = fits.calibration.as_ref().map(|calibration| match calibration {
            pipeline::Calibration::Temperature(_) => fit_temperature(validation),
        });
        let corrected = temperature.map(|t| [validation, evaluated].map(|images| images.tempered(t)));
        let [validation_p, evaluated_p] = match &corrected {
            Some([validation, evaluated]) => [validation, evaluated],
            None => [validation, evaluated],
        };
        let threshold = |rule: ThresholdRule, (place, class): (usize, &String)| {
            let [chosen, measured] = [validation_p, evaluated_p].map(|images| images.ranking(place));
            let threshold = chosen.threshold(rule);
            ThresholdScores {
                class: class.clone(),
                threshold: threshold.map(shortest),
                evaluated: measured.decisions(threshold).into(),
                validation: chosen.decisions(threshold).into(),
            }
        };
        let thresholds = fits
            .thresholds
            .as_ref()
            .map(rule)
            .map(|rule| classes.iter().enumerate().map(|class| threshold(rule, class)).collect());
        Self {
            images: validation.len(),
            temperature,
            calibration: temperature.map(|_| Calibration::of(evaluated_p)),
            thresholds,
        }
    }
}

fn rule(thresholds: &Thresholds) -> ThresholdRule {
    match thresholds {
        Thresholds::BestF1(_) => ThresholdRule::BestF1,
        Thresholds::Youden(_) => ThresholdRule::Youden,
        Thresholds::Specificity(least) => ThresholdRule::Specificity(least.minimum),
        Thresholds::Sensitivity(least) => ThresholdRule::Sensitivity(least.minimum),
    }
}
