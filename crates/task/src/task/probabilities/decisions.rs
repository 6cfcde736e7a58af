//! What is decided from the probabilities of a new image.

use serde::Serialize;

use crate::metrics::probabilities::{LabelledProbabilities, Truths};
use crate::metrics::{THRESHOLD, most_likely};

/// How classes or labels are decided. By default, the most likely class, or labels of at least 0.5.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Decisions {
    /// The number by which logits are divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The probability from which each class is predicted, in the order of the classes; infinite of a class that is never
    /// predicted, `None` of one without a threshold. Empty if no class has one.
    #[serde(skip)]
    pub thresholds: Vec<Option<f64>>,
}

impl Decisions {
    /// The probabilities of an image with the temperature. `truths` says whether they are of classes or of labels.
    pub fn corrected(&self, probabilities: Vec<f32>, truths: Truths) -> Vec<f32> {
        let Some(temperature) = self.temperature else { return probabilities };
        match LabelledProbabilities::new(probabilities.len(), probabilities.clone(), truths) {
            Ok(image) => image.tempered(temperature).row(0).to_vec(),
            Err(_) => probabilities,
        }
    }

    /// The class of an image. Of classes whose threshold is reached, it is the one furthest above its threshold. If there is
    /// none, it is the most likely class without a threshold, and `None` if all have one.
    pub fn class(&self, probabilities: &[f32]) -> Option<usize> {
        let above = |class: &usize| {
            let threshold = (*self.thresholds.get(*class)?)?;
            let margin = f64::from(probabilities[*class]) - threshold;
            (margin >= 0.0).then_some(margin)
        };
        let classes = 0..probabilities.len();
        let reached = classes.clone().filter_map(|class| Some((class, above(&class)?)));
        let furthest = reached.reduce(|best, next| if next.1 > best.1 { next } else { best });
        if let Some((class, _)) = furthest {
            return Some(class);
        }
        let free: Vec<usize> =
            classes.filter(|class| self.thresholds.get(*class).is_none_or(Option::is_none)).collect();
        let scores: Vec<f32> = free.iter().map(|class| probabilities[*class]).collect();
        free.get(most_likely(&scores)).copied()
    }

    /// Whether an image has a label.
    pub fn has_label(&self, label: usize, probability: f32) -> bool {
        let threshold = self.thresholds.get(label).copied().flatten();
        match threshold {
            Some(threshold) => f64::from(probability) >= threshold,
            None => probability >= THRESHOLD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions(thresholds: &[Option<f64>]) -> Decisions {
        Decisions { temperature: None, thresholds: thresholds.to_vec() }
    }

    #[test]
    fn a_class_that_reaches_its_threshold_comes_before_more_likely_ones() {
        let of =
            |thresholds: &[Option<f64>], probabilities: &[f32]| decisions(thresholds).class(probabilities);
        assert_eq!(of(&[], &[0.2, 0.5, 0.3]), Some(1));
        assert_eq!(of(&[None, Some(0.3)], &[0.6, 0.4]), Some(1));
        assert_eq!(of(&[None, Some(0.3)], &[0.8, 0.2]), Some(0));
        // The probability is the threshold.
        assert_eq!(of(&[None, Some(0.25)], &[0.75, 0.25]), Some(1));
        // All have one: none is reached, one is, two are.
        assert_eq!(of(&[Some(0.9); 2], &[0.6, 0.4]), None);
        assert_eq!(of(&[Some(0.5); 3], &[0.1, 0.7, 0.2]), Some(1));
        assert_eq!(of(&[Some(0.5), Some(0.1)], &[0.6, 0.4]), Some(1));
        assert_eq!(of(&[Some(f64::INFINITY), None], &[1.0, 0.0]), Some(1));
    }

    #[test]
    fn labels_have_a_threshold_of_their_own_or_one_half() {
        let decisions = decisions(&[Some(0.25), None]);
        assert!(decisions.has_label(0, 0.25) && !decisions.has_label(0, 0.2));
        assert!(decisions.has_label(1, 0.5) && !decisions.has_label(1, 0.4));
    }

    #[test]
    fn a_temperature_changes_probabilities_and_not_their_order() {
        let decisions = Decisions { temperature: Some(2.0), thresholds: Vec::new() };
        let classes = decisions.corrected(vec![0.9, 0.1], Truths::Classes(vec![0]));
        // The square roots of 0.9 and 0.1 are 3 to 1.
        assert!((classes[0] - 0.75).abs() < 1e-6 && (classes[1] - 0.25).abs() < 1e-6, "{classes:?}");
        let labels = decisions.corrected(vec![0.9, 0.5], Truths::Labels(vec![false; 2]));
        assert!((labels[0] - 0.75).abs() < 1e-6 && labels[1] == 0.5, "{labels:?}");
        assert_eq!(Decisions::default().corrected(vec![0.9], Truths::Labels(vec![true])), [0.9]);
    }
}
