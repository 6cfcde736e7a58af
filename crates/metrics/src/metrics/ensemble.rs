//! The mean class probabilities of several models for one sample.

/// The predictions of several models for one sample, averaged in float64.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeanProbabilities {
    /// The sum of the probabilities of each class.
    sums: Vec<f64>,
    /// The logarithm of each model's probability of the correct class.
    log_likelihoods: Vec<f64>,
}

impl MeanProbabilities {
    /// Adds the scores of one more model; all models have the same classes.
    pub fn add(&mut self, logits: &[f32], label: usize) {
        let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let exponentials: Vec<f64> =
            logits.iter().map(|&logit| libm::exp(f64::from(logit) - largest)).collect();
        let sum: f64 = exponentials.iter().sum();
        self.sums.resize(logits.len(), 0.0);
        self.sums.iter_mut().zip(&exponentials).for_each(|(all, one)| *all += one / sum);
        self.log_likelihoods.push(f64::from(logits[label]) - largest - libm::log(sum));
    }

    /// One per class.
    pub fn probabilities(&self) -> Vec<f32> {
        self.sums.iter().map(|sum| (sum / self.log_likelihoods.len() as f64) as f32).collect()
    }

    /// The cross-entropy of the mean. It stays finite if the probability of the correct class underflows.
    pub fn loss(&self) -> f64 {
        let largest = self.log_likelihoods.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.log_likelihoods.iter().map(|one| libm::exp(one - largest)).sum();
        libm::log(self.log_likelihoods.len() as f64) - largest - libm::log(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::cross_entropy;

    fn mean(models: &[&[f32]], label: usize) -> MeanProbabilities {
        let mut mean = MeanProbabilities::default();
        models.iter().for_each(|logits| mean.add(logits, label));
        mean
    }

    #[test]
    fn probabilities_are_averaged_and_not_scores() {
        // Softmax of the two: (0.8, 0.2) and (0.1, 0.9).
        let [four, nine] = [libm::logf(4.0), libm::logf(9.0)];
        let mean = mean(&[&[four, 0.0], &[0.0, nine]], 0);
        let found = mean.probabilities();
        assert!((found[0] - 0.45).abs() < 1e-7 && (found[1] - 0.55).abs() < 1e-7, "{found:?}");
        assert!((mean.loss() + libm::log(0.45)).abs() < 1e-7);
    }

    #[test]
    fn one_model_alone_is_what_it_says_by_itself() {
        let logits = [1.5, -0.25, 3.0];
        let alone = mean(&[&logits], 1);
        assert_eq!(vec![alone.loss()], cross_entropy(&logits, 3, &[1]).unwrap());
        let twice = mean(&[&logits, &logits], 1);
        assert_eq!(twice.probabilities(), alone.probabilities());
        assert!((twice.loss() - alone.loss()).abs() < 1e-15);
    }

    #[test]
    fn models_that_are_sure_and_wrong_have_a_finite_loss() {
        let mean = mean(&[&[2000.0, 0.0], &[1000.0, 0.0]], 1);
        assert_eq!(mean.probabilities(), [1.0, 0.0]);
        assert!((mean.loss() - (1000.0 + libm::log(2.0))).abs() < 1e-9, "{}", mean.loss());
    }
}
