//! Multi-label metrics: precision of rankings, and F1 at a threshold.
//!
//! Definitions are scikit-learn's: `average_precision_score`, `f1_score` with `zero_division=0`,
//! `accuracy_score` of whole label sets. A class that never occurs enters the means with an average precision
//! and F1 of 0, as with scikit-learn's indicator matrices.

use serde::{Deserialize, Serialize};

use super::classification::ratio;
use super::probabilities::ClassRanking;
use super::rankings::mean;
use crate::error::{Error, Result};

/// The probability from which a class is predicted.
pub const THRESHOLD: f32 = 0.5;

/// Counts and probabilities of the samples so far; part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MultiLabelMetrics {
    samples: u64,
    loss_sum: f64,
    exact: u64,
    /// By class: true positives, false positives, and false negatives.
    hits: Vec<u64>,
    excess: Vec<u64>,
    missed: Vec<u64>,
    /// By class, the probabilities that rank the samples; `None` if no rankings are needed, because they keep
    /// every value. A meter in a checkpoint no longer has them.
    #[serde(skip)]
    rankings: Option<Vec<Ranking>>,
    /// By class, the average precision of the rankings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    average_precisions: Option<Vec<f64>>,
    /// The mean area under the classes' ROC curves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auc: Option<f64>,
}

/// The probabilities of one class with the truth, sample by sample.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ranking {
    probabilities: Vec<f32>,
    truths: Vec<bool>,
}

/// The results of [`MultiLabelMetrics`]; the content of `metrics.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MultiLabelScores {
    pub samples: u64,
    /// The mean over all samples and classes.
    pub loss: f64,
    /// The share of samples whose label set is predicted exactly.
    pub accuracy: f64,
    /// Over all decisions together.
    pub micro_f1: f64,
    /// The unweighted mean over all classes.
    pub macro_f1: f64,
    /// The mean of the classes' average precisions, if rankings were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map: Option<f64>,
    pub per_class: Vec<LabelMetrics>,
}

/// One class alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelMetrics {
    pub class: String,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average_precision: Option<f64>,
    /// The number of samples with this label.
    pub support: u64,
}

impl MultiLabelMetrics {
    /// `ranked` enables average precisions.
    pub fn new(classes: usize, ranked: bool) -> Self {
        let counts = vec![0; classes];
        let rankings = ranked.then(|| vec![Ranking::default(); classes]);
        let (hits, excess, missed) = (counts.clone(), counts.clone(), counts);
        let (average_precisions, auc) = Default::default();
        Self { samples: 0, loss_sum: 0.0, exact: 0, hits, excess, missed, rankings, average_precisions, auc }
    }

    /// Adds a batch: probabilities and truths are [N, K] row by row, `losses` one for each sample.
    pub fn update(&mut self, probabilities: &[f32], truths: &[bool], losses: &[f64]) -> Result<()> {
        let classes = self.hits.len();
        if probabilities.len() != truths.len() || truths.len() != losses.len() * classes {
            let (scores, losses) = (probabilities.len(), losses.len());
            return Err(Error::failed(format!("{scores} scores for {losses} samples of {classes} classes")));
        }
        for (row, loss) in losses.iter().enumerate() {
            self.samples += 1;
            self.loss_sum += loss;
            let mut exact = true;
            for class in 0..classes {
                let (probability, truth) =
                    (probabilities[row * classes + class], truths[row * classes + class]);
                let told = probability >= THRESHOLD;
                exact &= told == truth;
                self.hits[class] += u64::from(told && truth);
                self.excess[class] += u64::from(told && !truth);
                self.missed[class] += u64::from(!told && truth);
                if let Some(rankings) = &mut self.rankings {
                    rankings[class].probabilities.push(probability);
                    rankings[class].truths.push(truth);
                }
            }
            self.exact += u64::from(exact);
        }
        Ok(())
    }

    /// Replaces the rankings by their scores, after the last batch.
    pub fn finalize(mut self) -> Self {
        self.average_precisions = self.average_precisions();
        self.auc = self.auc();
        self.rankings = None;
        self
    }

    fn average_precisions(&self) -> Option<Vec<f64>> {
        let ranked = |rankings: &Vec<Ranking>| {
            rankings.iter().map(|ranking| ranking.of_class().average_precision()).collect()
        };
        self.rankings.as_ref().map(ranked).or_else(|| self.average_precisions.clone())
    }

    /// The mean area under the ROC curves of the classes that some samples have and others lack, if rankings were kept.
    pub fn auc(&self) -> Option<f64> {
        let Some(rankings) = &self.rankings else { return self.auc };
        mean(rankings.iter().filter_map(|ranking| ranking.of_class().auc()))
    }

    /// The mean loss of the samples so far; 0 before the first.
    pub fn loss(&self) -> f64 {
        if self.samples == 0 { 0.0 } else { self.loss_sum / self.samples as f64 }
    }

    /// The share of samples so far whose label set is predicted exactly; 0 before the first.
    pub fn accuracy(&self) -> f64 {
        ratio(self.exact, self.samples)
    }

    /// The results, with the classes' names in column order.
    pub fn finish(&self, names: &[String]) -> Result<MultiLabelScores> {
        if names.len() != self.hits.len() {
            return Err(Error::failed(format!("{} names for {} classes", names.len(), self.hits.len())));
        }
        let average_precisions = self.average_precisions();
        let per_class: Vec<LabelMetrics> = names
            .iter()
            .enumerate()
            .map(|(class, name)| {
                let [hits, excess, missed] = [&self.hits, &self.excess, &self.missed].map(|all| all[class]);
                LabelMetrics {
                    class: name.clone(),
                    precision: ratio(hits, hits + excess),
                    recall: ratio(hits, hits + missed),
                    f1: ratio(2 * hits, 2 * hits + excess + missed),
                    average_precision: average_precisions.as_ref().map(|all| all[class]),
                    support: hits + missed,
                }
            })
            .collect();
        let [hits, excess, missed] =
            [&self.hits, &self.excess, &self.missed].map(|all| all.iter().sum::<u64>());
        let classes = per_class.len().max(1) as f64;
        Ok(MultiLabelScores {
            samples: self.samples,
            loss: self.loss(),
            accuracy: self.accuracy(),
            micro_f1: ratio(2 * hits, 2 * hits + excess + missed),
            macro_f1: per_class.iter().map(|class| class.f1).sum::<f64>() / classes,
            map: average_precisions.map(|all| all.iter().sum::<f64>() / classes),
            per_class,
        })
    }
}

impl Ranking {
    fn of_class(&self) -> ClassRanking {
        ClassRanking::new(&self.probabilities, &self.truths)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    struct Case {
        classes: usize,
        probabilities: Vec<f32>,
        truths: Vec<bool>,
        losses: Vec<f64>,
        expected: Value,
    }

    /// The cases of `tests/fixtures/metrics/make_multi_label.py`.
    fn cases() -> Vec<Case> {
        let text = include_str!("../../../../tests/fixtures/metrics/multi_label.json");
        let cases: Vec<Value> = serde_json::from_str(text).unwrap();
        let read = |case: Value| {
            let rows =
                |key: &str| -> Vec<f64> { case[key].as_array().unwrap().iter().flat_map(numbers).collect() };
            Case {
                classes: case["classes"].as_u64().unwrap() as usize,
                probabilities: rows("probabilities").iter().map(|x| *x as f32).collect(),
                truths: rows("truths").iter().map(|x| *x == 1.0).collect(),
                losses: numbers(&case["losses"]),
                expected: case,
            }
        };
        cases.into_iter().map(read).collect()
    }

    #[test]
    fn agrees_with_scikit_learn() {
        let close = |a: f64, b: &Value| assert!((a - b.as_f64().unwrap()).abs() < 1e-12, "{a} {b}");
        for Case { classes, probabilities, truths, losses, expected } in cases() {
            let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
            let mut metrics = MultiLabelMetrics::new(classes, true);
            metrics.update(&probabilities, &truths, &losses).unwrap();
            let result = metrics.finish(&names).unwrap();
            close(result.loss, &expected["loss"]);
            close(result.accuracy, &expected["accuracy"]);
            close(result.micro_f1, &expected["micro_f1"]);
            close(result.macro_f1, &expected["macro_f1"]);
            close(result.map.unwrap(), &expected["map"]);
            for (i, class) in result.per_class.iter().enumerate() {
                close(class.precision, &expected["precision"][i]);
                close(class.recall, &expected["recall"][i]);
                close(class.f1, &expected["f1"][i]);
                close(class.average_precision.unwrap(), &expected["average_precision"][i]);
                assert_eq!(class.support, expected["support"][i].as_u64().unwrap());
            }
        }
    }

    #[test]
    fn neither_batching_nor_a_checkpoint_in_between_changes_a_bit() {
        let Case { classes, probabilities, truths, losses, .. } = cases().pop().unwrap();
        let mut whole = MultiLabelMetrics::new(classes, false);
        whole.update(&probabilities, &truths, &losses).unwrap();
        let (mut parts, mut ranked) = (whole.clone(), MultiLabelMetrics::new(classes, true));
        parts = MultiLabelMetrics::new(parts.hits.len(), false);
        for at in [0..7, 7..8, 8..losses.len()] {
            let cells = at.start * classes..at.end * classes;
            parts.update(&probabilities[cells.clone()], &truths[cells.clone()], &losses[at.clone()]).unwrap();
            parts = serde_json::from_str(&serde_json::to_string(&parts).unwrap()).unwrap();
            ranked.update(&probabilities[cells.clone()], &truths[cells], &losses[at]).unwrap();
        }
        assert_eq!(parts, whole);
        let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        let before = ranked.finish(&names).unwrap();
        let settled = ranked.finalize();
        let kept: MultiLabelMetrics = toml::from_str(&toml::to_string(&settled).unwrap()).unwrap();
        assert_eq!(kept.finish(&names).unwrap(), before);
        assert!(before.map.is_some() && whole.finish(&names).unwrap().map.is_none());
        assert!(whole.update(&[0.5], &[true], &[]).is_err() && whole.finish(&[]).is_err());
    }
}
