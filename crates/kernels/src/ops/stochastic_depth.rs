//! Stochastic depth: Huang et al., *Deep Networks with Stochastic Depth* (ECCV 2016), drawn per image as in
//! torchvision's `row` mode.

#[cfg(feature = "cuda")]
mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::buffer::{build, rows_per_task};
use super::float::{Float, by_dtype, tensor, with_slice};
use super::multiversion::multiversion;
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};
use crate::random::Stream;

/// Sets each row of x [N, …], the residual branch of one image, to zero with probability `p`, and multiplies the
/// others by 1 / (1 − p).
///
/// Row n takes one draw from `streams[n]`, so the result of an image depends on no other image of the batch.
pub fn stochastic_depth(tape: &mut Tape, x: &Value, p: f64, streams: &mut [Stream]) -> Result<Value> {
    let rows = x.tensor().dims().first().copied();
    if rows != Some(streams.len()) || !(0.0..=1.0).contains(&p) {
        let (dims, streams) = (x.tensor().dims(), streams.len());
        return Err(Error::bug(format!("stochastic depth of {dims:?} from {streams} streams, p = {p}")));
    }
    if p == 0.0 {
        return Ok(x.clone());
    }
    let factor = |stream: &mut Stream| if f64::from(stream.uniform()) < p { 0.0 } else { 1.0 / (1.0 - p) };
    let rows = RowScales { factors: streams.iter_mut().map(factor).collect() };
    let output = rows.scale(x.tensor())?;
    Ok(tape.record(&[x], output, || rows))
}

/// The factor of each row.
struct RowScales {
    factors: Vec<f64>,
}

impl RowScales {
    fn scale(&self, x: &Tensor) -> Result<Tensor> {
        on_cuda!(x, cuda::scale(x, &self.factors));
        by_dtype!(x, T => self.product::<T>(x))
    }

    fn product<T: Float>(&self, x: &Tensor) -> Result<Tensor> {
        let output = with_slice(x, |x: &[T]| {
            let width = (x.len() / self.factors.len().max(1)).max(1);
            let factors: Vec<T> = self.factors.iter().map(|factor| T::from_f64(*factor)).collect();
            let rows = rows_per_task(width);
            let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                let first = task * rows;
                let x = &x[first * width..][..out.len()];
                scale_rows(x, &factors[first..], width, out);
            };
            // SAFETY: `scale_rows` writes every row, and chunks are whole rows.
            unsafe { build(x.len(), rows * width, write) }
        })?;
        tensor(output, x.shape())
    }
}

impl Backward for RowScales {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.scale(&grad)?)])
    }
}

multiversion! {
    fn scale_rows<T: Float>(x: &[T], factors: &[T], width: usize, out: &mut [MaybeUninit<T>]) {
        assert!(out.len().is_multiple_of(width) && x.len() == out.len() && factors.len() >= out.len() / width);
        for ((x, factor), out) in x.chunks_exact(width).zip(factors).zip(out.chunks_exact_mut(width)) {
            let dropped = *factor == T::ZERO;
            for (out, x) in out.iter_mut().zip(x) {
                // A dropped branch is zero even if it is not finite.
                out.write(if dropped { T::ZERO } else { *x * *factor });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, normal, numbers};
    use crate::random::Purpose;

    fn streams(samples: std::ops::Range<u64>) -> Vec<Stream> {
        samples.map(|sample| Stream::new(1, Purpose::StochasticDepth, 0, sample)).collect()
    }

    fn run(x: &Tensor, p: f64, streams: &mut [Stream]) -> Vec<f64> {
        let x = Value::constant(x.clone());
        numbers(stochastic_depth(&mut Tape::new(), &x, p, streams).unwrap().tensor())
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        check_gradients(&[normal("x", &[6, 2, 3, 4])], |tape, inputs| {
            stochastic_depth(tape, &inputs[0], 0.4, &mut streams(0..6))
        });
    }

    #[test]
    fn whole_images_are_dropped_each_by_its_own_draw() {
        let x = normal("x", &[400, 1, 2, 2]);
        let whole = run(&x, 0.25, &mut streams(0..400));
        let dropped = whole.chunks_exact(4).filter(|row| **row == [0.0; 4]).count();
        assert!((70..130).contains(&dropped), "{dropped} of 400 dropped");
        let before = numbers(&x);
        for (row, before) in whole.chunks_exact(4).zip(before.chunks_exact(4)) {
            let kept = row.iter().zip(before).all(|(y, x)| *y == x * (1.0 / 0.75));
            assert!(kept || *row == [0.0; 4]);
        }

        let mut last = streams(390..400);
        let rows = x.narrow(0, 390, 10).unwrap();
        assert_eq!(whole[1560..], run(&rows, 0.25, &mut last));
        assert_ne!(whole[1560..], run(&rows, 0.25, &mut last), "a second block draws anew");
    }

    #[test]
    fn the_ends_of_the_range() {
        let x = normal("x", &[2, 3]);
        assert_eq!(run(&x, 0.0, &mut streams(0..2)), numbers(&x));
        assert_eq!(run(&x, 1.0, &mut streams(0..2)), [0.0; 6]);
        let x = Value::constant(x);
        assert!(stochastic_depth(&mut Tape::new(), &x, 1.5, &mut streams(0..2)).is_err());
        assert!(stochastic_depth(&mut Tape::new(), &x, 0.5, &mut streams(0..1)).is_err());
    }
}
