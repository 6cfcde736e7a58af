//! Softmax over classes, and the log-sum-exp used by it and the loss, stable for logits of any size.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::Tensor;
use rayon::prelude::*;

use super::float::{Float, by_dtype, tensor, with_slice};
use super::on_cuda::on_cuda;
use crate::error::Result;

/// The probabilities of logits [N, K], row by row. For inference: nothing is recorded.
pub fn softmax(logits: &Tensor) -> Result<Tensor> {
    on_cuda!(logits, cuda::rows(logits));
    by_dtype!(logits, T => rows::<T>(logits))
}

fn rows<T: Float>(logits: &Tensor) -> Result<Tensor> {
    let (_, classes) = logits.dims2()?;
    let probabilities = with_slice(logits, |logits: &[T]| {
        let mut probabilities = vec![T::ZERO; logits.len()];
        let rows = probabilities.par_chunks_mut(classes.max(1)).zip(logits.par_chunks(classes.max(1)));
        rows.for_each(|(probabilities, logits)| {
            let row = LogitRow::new(logits);
            probabilities.iter_mut().zip(&row.exponentials).for_each(|(p, x)| *p = T::from_f64(x / row.sum));
        });
        probabilities
    })?;
    tensor(probabilities, logits.shape())
}

/// One row of logits in f64, relative to its maximum.
pub struct LogitRow {
    pub maximum: f64,
    /// exp(logit − maximum)
    pub exponentials: Vec<f64>,
    pub sum: f64,
}

impl LogitRow {
    pub fn new<T: Float>(logits: &[T]) -> Self {
        let maximum = logits.iter().fold(f64::NEG_INFINITY, |max, x| max.max(x.widen()));
        let exponentials: Vec<f64> = logits.iter().map(|x| libm::exp(x.widen() - maximum)).collect();
        let sum = exponentials.iter().sum();
        Self { maximum, exponentials, sum }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::ops::testing::{Fixture, normal, numbers};

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("cross_entropy");
        for dtype in [DType::F32, DType::F64] {
            fixture.assert("softmax", &softmax(&fixture.input("logits", dtype)).unwrap());
        }
    }

    #[test]
    fn rows_are_probabilities_and_depend_on_no_other() {
        let logits = (normal("logits", &[5, 7]) * 100.0).unwrap();
        let all = numbers(&softmax(&logits).unwrap());
        assert!(all.chunks(7).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-14));
        assert_eq!(all[28..], numbers(&softmax(&logits.narrow(0, 4, 1).unwrap()).unwrap()));
        let not_a_number = Tensor::new(&[[f32::NAN, 0.0]], &Device::Cpu).unwrap();
        assert!(numbers(&softmax(&not_a_number).unwrap()).iter().all(|p| p.is_nan()));
    }
}
