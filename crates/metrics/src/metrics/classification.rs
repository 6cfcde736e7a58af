//! Classification: accuracy, precision, recall, F1, loss and the confusion matrix, accumulated batch by batch.
//!
//! Definitions are scikit-learn's with `zero_division=0`: a class that is never predicted has precision 0, one
//! that never occurs has recall 0. Macro averages are over the classes that occur as labels or predictions.

use serde::{Deserialize, Serialize};

use super::rankings::Rankings;
use crate::error::{Error, Result};

/// The k of top-k accuracy, reported if there are more classes.
const TOP: usize = 5;

/// Running counts over the samples so far. They are part of a checkpoint, so that a stage can resume in
/// mid-epoch.
///
/// Losses are added in float64 in sample order, so the result does not depend on batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassificationMetrics {
    classes: usize,
    samples: u64,
    loss_sum: f64,
    /// The sum of the weights; `None` if each sample has weight 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loss_weight: Option<f64>,
    correct: u64,
    top_correct: u64,
    /// Row-major: `confusion[label * classes + predicted]`.
    confusion: Vec<u64>,
    /// Only if rankings are measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rankings: Option<Rankings>,
}

/// The results of [`ClassificationMetrics`]; the content of `metrics.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassificationScores {
    pub samples: u64,
    /// The mean over all samples.
    pub loss: f64,
    /// The share of samples whose most likely class is correct (top-1).
    pub accuracy: f64,
    /// The share of samples whose correct class is among the five most likely; only with more than five classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5_accuracy: Option<f64>,
    /// Unweighted means over the classes that occur as a label or prediction.
    pub macro_precision: f64,
    pub macro_recall: f64,
    pub macro_f1: f64,
    pub per_class: Vec<ClassMetrics>,
    /// Rows are the true classes, columns the predicted ones, both in the order of `per_class`.
    pub confusion_matrix: Vec<Vec<u64>>,
}

/// One class against all others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    pub class: String,
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
    /// The number of samples of this class.
    pub support: u64,
}

impl ClassificationMetrics {
    pub fn new(classes: usize) -> Self {
        let confusion = vec![0; classes * classes];
        Self {
            classes,
            samples: 0,
            loss_sum: 0.0,
            loss_weight: None,
            correct: 0,
            top_correct: 0,
            confusion,
            rankings: None,
        }
    }

    /// Measures rankings too. It keeps the probabilities of all samples.
    pub fn ranked(classes: usize) -> Self {
        Self { rankings: Some(Rankings::default()), ..Self::new(classes) }
    }

    /// Adds the probabilities of a batch, [N, K] row by row, if rankings are measured.
    pub fn rank(&mut self, probabilities: &[f32], labels: &[u32]) {
        if let Some(rankings) = &mut self.rankings {
            rankings.add(probabilities, labels);
        }
    }

    /// Replaces the rankings by their scores, after the last batch.
    pub fn finalize(mut self) -> Self {
        let classes = self.classes;
        self.rankings = self.rankings.map(|rankings| rankings.finalize(classes));
        self
    }

    /// The mean area under the classes' ROC curves and their mean average precision, if rankings are measured.
    pub fn ranking_scores(&self) -> Option<[f64; 2]> {
        self.rankings.as_ref()?.scores(self.classes)
    }

    /// Adds a batch: `scores` are logits or probabilities, [N, K] row by row; `losses` one loss per sample.
    ///
    /// Ties go to the first class, as in PyTorch's `argmax`. Fails if the lengths differ or a label is no class.
    pub fn update(&mut self, scores: &[f32], labels: &[u32], losses: &[f64]) -> Result<()> {
        let rows = rows(scores, labels, self.classes)?;
        if losses.len() != labels.len() {
            return Err(Error::failed(format!("{} losses for {} labels", losses.len(), labels.len())));
        }
        for ((row, &label), &loss) in rows.zip(labels).zip(losses) {
            let label = label as usize;
            let predicted = most_likely(row);
            self.samples += 1;
            self.loss_sum += loss;
            self.correct += u64::from(predicted == label);
            self.top_correct += u64::from(rank(row, label) < TOP);
            self.confusion[label * self.classes + predicted] += 1;
        }
        Ok(())
    }

    /// As [`ClassificationMetrics::update`], with weighted losses and their weights.
    pub fn update_weighted(
        &mut self,
        scores: &[f32],
        labels: &[u32],
        losses: &[f64],
        weights: &[f64],
    ) -> Result<()> {
        self.update(scores, labels, losses)?;
        // One by one, so that batches make no difference.
        let sum = weights.iter().fold(self.loss_weight.unwrap_or(0.0), |sum, weight| sum + weight);
        self.loss_weight = Some(sum);
        Ok(())
    }

    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The mean loss so far, weighted if there are weights; 0 before the first sample.
    pub fn loss(&self) -> f64 {
        let weight = self.loss_weight.unwrap_or(self.samples as f64);
        if weight == 0.0 { 0.0 } else { self.loss_sum / weight }
    }

    /// The share of samples so far whose most likely class is correct; 0 before the first.
    pub fn accuracy(&self) -> f64 {
        ratio(self.correct, self.samples)
    }

    /// The results, with the classes' names in label order.
    pub fn finish(&self, names: &[String]) -> Result<ClassificationScores> {
        if names.len() != self.classes {
            return Err(Error::failed(format!("{} names for {} classes", names.len(), self.classes)));
        }
        let per_class: Vec<ClassMetrics> = names
            .iter()
            .enumerate()
            .map(|(class, name)| {
                let hits = self.count(class, class);
                let support = (0..self.classes).map(|predicted| self.count(class, predicted)).sum();
                let predicted = (0..self.classes).map(|label| self.count(label, class)).sum();
                ClassMetrics {
                    class: name.clone(),
                    precision: ratio(hits, predicted),
                    recall: ratio(hits, support),
                    f1: ratio(2 * hits, predicted + support),
                    support,
                }
            })
            .collect();
        let occurs = |class: usize| {
            (0..self.classes).any(|other| self.count(class, other) + self.count(other, class) > 0)
        };
        let occurring: Vec<&ClassMetrics> = per_class
            .iter()
            .enumerate()
            .filter(|(class, _)| occurs(*class))
            .map(|(_, metrics)| metrics)
            .collect();
        let mean = |of: fn(&ClassMetrics) -> f64| {
            occurring.iter().map(|class| of(class)).sum::<f64>() / occurring.len().max(1) as f64
        };
        Ok(ClassificationScores {
            samples: self.samples,
            loss: self.loss(),
            accuracy: self.accuracy(),
            top5_accuracy: (self.classes > TOP).then(|| ratio(self.top_correct, self.samples)),
            macro_precision: mean(|class| class.precision),
            macro_recall: mean(|class| class.recall),
            macro_f1: mean(|class| class.f1),
            confusion_matrix: self.confusion.chunks(self.classes.max(1)).map(<[u64]>::to_vec).collect(),
            per_class,
        })
    }

    fn count(&self, label: usize, predicted: usize) -> u64 {
        self.confusion[label * self.classes + predicted]
    }
}

/// The index of the largest score, the first of equals. A NaN is larger than any number, as in PyTorch's
/// `argmax`.
pub fn most_likely(scores: &[f32]) -> usize {
    (0..scores.len()).reduce(|best, i| if above(scores[i], scores[best]) { i } else { best }).unwrap_or(0)
}

/// The cross-entropy of each sample in float64, from `logits` [N, K] row by row.
///
/// For inference; in training the losses come from the tape.
pub fn cross_entropy(logits: &[f32], classes: usize, labels: &[u32]) -> Result<Vec<f64>> {
    let loss = |(row, &label): (&[f32], &u32)| {
        let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = row.iter().map(|&logit| libm::exp(f64::from(logit) - largest)).sum();
        libm::log(sum) + largest - f64::from(row[label as usize])
    };
    Ok(rows(logits, labels, classes)?.zip(labels).map(loss).collect())
}

/// The rows of [N, K] scores, after checking that there is one per label and that each label is a class.
fn rows<'a>(scores: &'a [f32], labels: &[u32], classes: usize) -> Result<std::slice::Chunks<'a, f32>> {
    if scores.len() != labels.len() * classes {
        let (scores, labels) = (scores.len(), labels.len());
        return Err(Error::failed(format!("{scores} scores for {labels} labels of {classes} classes")));
    }
    match labels.iter().find(|&&label| label as usize >= classes) {
        Some(label) => Err(Error::failed(format!("label {label}, but there are {classes} classes"))),
        None => Ok(scores.chunks(classes.max(1))),
    }
}

/// The number of classes more likely than `class`, with ties in class order: 0 is the class that [`most_likely`]
/// picks.
fn rank(scores: &[f32], class: usize) -> usize {
    let own = scores[class];
    let ahead = |(i, &score): (usize, &f32)| above(score, own) || (i < class && !above(own, score));
    scores.iter().enumerate().filter(|&entry| ahead(entry)).count()
}

fn above(a: f32, b: f32) -> bool {
    a > b || (a.is_nan() && !b.is_nan())
}

/// A part of a whole; 0 of nothing.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn names(classes: usize) -> Vec<String> {
        (0..classes).map(|class| class.to_string()).collect()
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    /// The cases of `tests/fixtures/metrics/make.py`: logits by row, labels, and scikit-learn's results.
    fn cases() -> Vec<(usize, Vec<f32>, Vec<u32>, Value)> {
        let text = include_str!("../../../../tests/fixtures/metrics/scikit_learn.json");
        let cases: Vec<Value> = serde_json::from_str(text).unwrap();
        let read = |case: Value| {
            let logits = case["logits"].as_array().unwrap().iter().flat_map(numbers).map(|x| x as f32);
            let labels = numbers(&case["labels"]).iter().map(|&x| x as u32).collect();
            (case["classes"].as_u64().unwrap() as usize, logits.collect(), labels, case)
        };
        cases.into_iter().map(read).collect()
    }

    #[test]
    fn agrees_with_scikit_learn() {
        let close = |a: f64, b: &Value| (a - b.as_f64().unwrap()).abs() < 1e-12;
        for (classes, logits, labels, expected) in cases() {
            let mut metrics = ClassificationMetrics::new(classes);
            let losses = cross_entropy(&logits, classes, &labels).unwrap();
            metrics.update(&logits, &labels, &losses).unwrap();
            let result = metrics.finish(&names(classes)).unwrap();
            assert!(close(result.loss, &expected["loss"]), "{} {}", result.loss, expected["loss"]);
            assert!(close(result.accuracy, &expected["accuracy"]));
            assert!(close(result.macro_precision, &expected["macro_precision"]));
            assert!(close(result.macro_recall, &expected["macro_recall"]));
            assert!(close(result.macro_f1, &expected["macro_f1"]));
            assert_eq!(result.top5_accuracy.is_some(), expected["top5_accuracy"].is_f64());
            assert!(result.top5_accuracy.is_none_or(|top5| close(top5, &expected["top5_accuracy"])));
            for (i, class) in result.per_class.iter().enumerate() {
                assert!(close(class.precision, &expected["precision"][i]), "precision of class {i}");
                assert!(close(class.recall, &expected["recall"][i]), "recall of class {i}");
                assert!(close(class.f1, &expected["f1"][i]), "f1 of class {i}");
                assert_eq!(class.support, expected["support"][i].as_u64().unwrap());
            }
            assert_eq!(serde_json::to_value(&result.confusion_matrix).unwrap(), expected["confusion"]);
        }
    }

    #[test]
    fn neither_batching_nor_a_checkpoint_in_between_changes_a_bit() {
        let (classes, logits, labels, _) = cases().pop().unwrap();
        let losses = cross_entropy(&logits, classes, &labels).unwrap();
        let mut whole = ClassificationMetrics::new(classes);
        whole.update(&logits, &labels, &losses).unwrap();
        let mut parts = ClassificationMetrics::new(classes);
        for at in [0..7, 7..8, 8..labels.len()] {
            parts
                .update(&logits[at.start * classes..at.end * classes], &labels[at.clone()], &losses[at])
                .unwrap();
            parts = serde_json::from_str(&serde_json::to_string(&parts).unwrap()).unwrap();
        }
        assert_eq!(parts, whole);
    }

    #[test]
    fn weights_say_what_a_loss_counts() {
        let mut metrics = ClassificationMetrics::new(2);
        metrics.update_weighted(&[0.1, 0.9], &[1], &[3.0], &[2.0]).unwrap();
        metrics.update_weighted(&[0.1, 0.9], &[0], &[1.0], &[0.5]).unwrap();
        assert_eq!((metrics.loss(), metrics.accuracy()), (4.0 / 2.5, 0.5));
    }

    #[test]
    fn a_class_that_does_not_occur_is_in_no_macro_average() {
        let mut metrics = ClassificationMetrics::new(2);
        metrics.update(&[0.9, 0.1, 0.8, 0.2], &[0, 0], &[0.1, 0.2]).unwrap();
        let all = metrics.finish(&names(2)).unwrap();
        assert_eq!((all.macro_precision, all.macro_recall, all.macro_f1), (1.0, 1.0, 1.0));
        assert_eq!((all.per_class[1].f1, all.per_class[1].support), (0.0, 0));
        // A wrong prediction makes the class occur.
        metrics.update(&[0.1, 0.9], &[0], &[2.0]).unwrap();
        assert_eq!(metrics.finish(&names(2)).unwrap().macro_recall, 1.0 / 3.0);
        assert_eq!(ClassificationMetrics::new(2).finish(&names(2)).unwrap().macro_f1, 0.0);
    }

    #[test]
    fn ties_go_to_the_first_class() {
        assert_eq!(most_likely(&[1.0, 3.0, 3.0]), 1);
        assert_eq!(most_likely(&[1.0, f32::NAN, 3.0, f32::NAN]), 1);
        let flat = [0.5; 7];
        assert_eq!((0..7).map(|class| rank(&flat, class)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut metrics = ClassificationMetrics::new(2);
        assert!(metrics.update(&[0.1, 0.9], &[2], &[0.0]).is_err());
        assert!(metrics.update(&[0.1, 0.9, 0.3], &[1], &[0.0]).is_err());
        assert!(metrics.update(&[0.1, 0.9], &[1], &[]).is_err());
        assert_eq!(metrics, ClassificationMetrics::new(2));
        assert!(metrics.finish(&names(3)).is_err());
    }
}
