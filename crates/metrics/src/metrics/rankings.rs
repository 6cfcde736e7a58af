//! The probabilities of a validation, from which scores of rankings are computed at its end.

use serde::{Deserialize, Serialize};

use super::probabilities::{LabelledProbabilities, Truths};

/// Probabilities of the samples so far. A checkpoint has the scores alone, since it is written after a validation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rankings {
    /// [N, K], row by row.
    #[serde(skip)]
    probabilities: Vec<f32>,
    /// The class of each row.
    #[serde(skip)]
    labels: Vec<u32>,
    /// The mean area under the ROC curves, and the mean average precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scores: Option<[f64; 2]>,
}

impl Rankings {
    pub fn add(&mut self, probabilities: &[f32], labels: &[u32]) {
        self.probabilities.extend(probabilities);
        self.labels.extend(labels);
    }

    /// Without the probabilities.
    pub fn finalize(self, classes: usize) -> Self {
        Self { scores: self.scores(classes), ..Self::default() }
    }

    /// The mean area under the ROC curves of the classes, each against all others, and the mean of their average
    /// precisions: over the classes that some samples have and others lack.
    pub fn scores(&self, classes: usize) -> Option<[f64; 2]> {
        if self.labels.is_empty() {
            return self.scores;
        }
        let truths = Truths::Classes(self.labels.clone());
        let all = LabelledProbabilities::new(classes, self.probabilities.clone(), truths).ok()?;
        let rankings: Vec<_> = (0..classes).map(|class| all.ranking(class)).collect();
        let ranked = || rankings.iter().filter_map(|ranking| Some((ranking.auc()?, ranking)));
        let area = mean(ranked().map(|(area, _)| area))?;
        Some([area, mean(ranked().map(|(_, ranking)| ranking.average_precision()))?])
    }
}

/// `None` of no value.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}
