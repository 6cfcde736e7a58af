//! The gradients of an optimizer step: averaged over its batches, and clipped.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;

use super::arithmetic::{blend, scaled, sum_of_squares};
use crate::error::Result;
use crate::model::TensorId;
use crate::ops::Deferred;

/// The gradient of the mean loss over the batches since the last optimizer step. It equals the gradient of one
/// large batch, except for batch normalization, which sees each batch alone. Part of every checkpoint.
#[derive(Default)]
pub struct AccumulatedGradients {
    /// By parameter, for those with a gradient in some batch.
    pub mean: BTreeMap<TensorId, Tensor>,
    /// The sum of the batches' weights: the denominator of the mean.
    pub weight: f64,
}

impl AccumulatedGradients {
    /// Adds the gradients of a batch's mean loss; `weight` is the denominator of that mean. The first batch's
    /// gradients are taken unchanged.
    pub fn add(&mut self, gradients: Vec<(TensorId, Option<Tensor>)>, weight: f64) -> Result<()> {
        self.weight += weight;
        let share = weight / self.weight;
        for (id, gradient) in gradients {
            let mean = match (self.mean.remove(&id), gradient) {
                (Some(mean), Some(gradient)) => blend(&mean, &gradient, share)?,
                (None, Some(gradient)) if share == 1.0 => gradient,
                // One of the two is zero.
                (None, Some(gradient)) => scaled(&gradient, share)?,
                (Some(mean), None) => scaled(&mean, 1.0 - share)?,
                (None, None) => continue,
            };
            self.mean.insert(id, mean);
        }
        Ok(())
    }

    /// Whether no batch was added since the last step.
    pub fn is_empty(&self) -> bool {
        self.weight == 0.0
    }

    /// The gradients of (1 − `share`) times this loss plus `share` times another; the two are means with
    /// different weights.
    pub fn blended(mut self, mut other: AccumulatedGradients, share: f64) -> Result<Self> {
        let ids: BTreeSet<TensorId> = self.mean.keys().chain(other.mean.keys()).copied().collect();
        for id in ids {
            let both = match (self.mean.remove(&id), other.mean.remove(&id)) {
                (Some(own), Some(other)) => blend(&own, &other, share)?,
                (Some(own), None) => scaled(&own, 1.0 - share)?,
                (None, Some(other)) => scaled(&other, share)?,
                (None, None) => continue,
            };
            self.mean.insert(id, both);
        }
        Ok(self)
    }

    /// The sum over the batches in place of their mean.
    pub fn into_sum(self) -> Result<Self> {
        let weight = self.weight;
        self.times(weight)
    }

    /// All gradients multiplied by a factor.
    pub fn times(mut self, factor: f64) -> Result<Self> {
        for gradient in self.mean.values_mut() {
            *gradient = scaled(gradient, factor)?;
        }
        Ok(self)
    }

    /// Scales all gradients so that their global L2 norm is at most `most`, as PyTorch's `clip_grad_norm_`
    /// (Pascanu et al., *On the Difficulty of Training Recurrent Neural Networks*, ICML 2013). Returns the norm
    /// before. If it is not finite, nothing is scaled.
    pub fn clip(&mut self, most: f64) -> Result<Deferred<f64>> {
        #[cfg(feature = "cuda")]
        if self.mean.values().next().is_some_and(|first| first.device().is_cuda()) {
            return super::arithmetic::cuda::clip(&mut self.mean, most);
        }
        let mut squares = 0.0;
        for gradient in self.mean.values() {
            squares += sum_of_squares(gradient)?;
        }
        let norm = squares.sqrt();
        let factor = most / (norm + 1e-6);
        if factor < 1.0 && norm.is_finite() {
            for gradient in self.mean.values_mut() {
                *gradient = scaled(gradient, factor)?;
            }
        }
        Ok(Deferred::ready(vec![norm]))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{assert_close, assert_same_on_any_threads, normal, numbers};

    /// The gradients of a batch.
    type BatchGradients = Vec<(TensorId, Option<Tensor>)>;

    fn gradients(names: [&str; 2]) -> BatchGradients {
        names.iter().enumerate().map(|(id, name)| (id, Some(normal(name, &[40, 1000])))).collect()
    }

    fn mean(parts: &[(BatchGradients, f64)]) -> AccumulatedGradients {
        let mut mean = AccumulatedGradients::default();
        parts.iter().for_each(|(part, weight)| mean.add(part.clone(), *weight).unwrap());
        mean
    }

    #[test]
    fn batches_count_by_their_weights() {
        let (first, second, third) = (gradients(["a", "b"]), gradients(["c", "d"]), gradients(["e", "f"]));
        for weights in [[4.0, 4.0, 1.0], [0.125, 1000.5, 3.0]] {
            let parts = [&first, &second, &third].map(Clone::clone);
            let mean = mean(&parts.into_iter().zip(weights).collect::<Vec<_>>());
            let all: f64 = weights.iter().sum();
            assert_eq!(mean.weight, all);
            for id in 0..2 {
                let of = |part: &[(TensorId, Option<Tensor>)], weight: f64| {
                    part[id].1.as_ref().unwrap().affine(weight / all, 0.0).unwrap()
                };
                let [one, two, three] = weights;
                let expected = ((of(&first, one) + of(&second, two)).unwrap() + of(&third, three)).unwrap();
                assert_close("mean", &mean.mean[&id], &expected, 1e-14);
            }
            let sum = mean.into_sum().unwrap();
            let whole = (first[0].1.as_ref().unwrap().affine(weights[0], 0.0).unwrap()
                + second[0].1.as_ref().unwrap().affine(weights[1], 0.0).unwrap())
            .unwrap();
            let whole = (whole + third[0].1.as_ref().unwrap().affine(weights[2], 0.0).unwrap()).unwrap();
            assert_close("sum", &sum.mean[&0], &whole, 1e-14);
        }
    }

    #[test]
    fn two_losses_are_blended_by_their_shares_also_where_one_has_no_gradient() {
        let (one, other) = (gradients(["a", "b"]), gradients(["c", "d"]));
        let part = |part: &BatchGradients, id: usize, share: f64| {
            part[id].1.as_ref().unwrap().affine(share, 0.0).unwrap()
        };
        let labels = mean(&[(vec![(0, one[0].1.clone()), (1, one[1].1.clone())], 7.0)]);
        let teacher = mean(&[(vec![(1, other[1].1.clone()), (2, other[0].1.clone())], 3.0)]);
        let both = labels.blended(teacher, 0.3).unwrap().mean;
        assert_close("of the labels", &both[&0], &part(&one, 0, 0.7), 1e-14);
        assert_close("of both", &both[&1], &(part(&one, 1, 0.7) + part(&other, 1, 0.3)).unwrap(), 1e-14);
        assert_close("of the teacher", &both[&2], &part(&other, 0, 0.3), 1e-14);
    }

    #[test]
    fn a_batch_without_a_gradient_counts_as_zero() {
        let some = gradients(["a", "b"]);
        let none = vec![(0, None), (1, some[1].1.clone())];
        let half = some[0].1.as_ref().unwrap().affine(0.5, 0.0).unwrap();
        for order in [[some.clone(), none.clone()], [none, some.clone()]] {
            let [first, second] = order;
            let mean = mean(&[(first, 3.0), (second, 3.0)]);
            assert_eq!(numbers(&mean.mean[&0]), numbers(&half));
            assert_eq!(numbers(&mean.mean[&1]), numbers(some[1].1.as_ref().unwrap()));
        }
        assert!(mean(&[(vec![(0, None)], 1.0)]).mean.is_empty());
    }

    /// The norm over both parameters together.
    #[test]
    fn clipping_keeps_the_direction() {
        let given = gradients(["a", "b"]);
        let squares = given.iter().flat_map(|(_, gradient)| numbers(gradient.as_ref().unwrap()));
        let norm = squares.map(|x| x * x).sum::<f64>().sqrt();
        for most in [norm * 2.0, norm / 3.0] {
            let mut clipped = mean(&[(given.clone(), 8.0)]);
            let before = clipped.clip(most).unwrap().wait().unwrap()[0];
            assert!((before / norm - 1.0).abs() < 1e-12);
            let factor = (most / (norm + 1e-6)).min(1.0);
            for (id, gradient) in &given {
                let expected = gradient.as_ref().unwrap().affine(factor, 0.0).unwrap();
                assert_close("clipped", &clipped.mean[id], &expected, 1e-12);
            }
        }
        let mut broken =
            mean(&[(vec![(0, Some(normal("a", &[2]).affine(f64::INFINITY, 0.0).unwrap()))], 1.0)]);
        assert!(!broken.clip(1.0).unwrap().wait().unwrap()[0].is_finite());
    }

    #[test]
    fn threads_do_not_matter() {
        let single = |name: &str| Some(normal(name, &[70, 1000]).to_dtype(DType::F32).unwrap());
        assert_same_on_any_threads(|| {
            let mut mean = AccumulatedGradients::default();
            mean.add(vec![(0, single("a"))], 3.0).unwrap();
            mean.add(vec![(0, single("b"))], 5.0).unwrap();
            mean.clip(1.0).unwrap();
            mean.mean.into_values().collect()
        });
    }
}
