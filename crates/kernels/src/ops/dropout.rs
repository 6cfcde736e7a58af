//! Dropout: Srivastava et al., *Dropout: A Simple Way to Prevent Neural Networks from Overfitting* (JMLR 2014).

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::Tensor;

use super::float::{Float, by_dtype, tensor, with_slice};
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};
use crate::random::Stream;

/// Sets each element of x [N, C] to zero with probability `p`, and multiplies the others by 1 / (1 − p).
///
/// Row n uses `streams[n]`, one draw per element, and advances it for the next dropout of the row. The result of
/// a sample therefore depends on no other sample of the batch.
pub fn dropout(tape: &mut Tape, x: &Value, p: f64, streams: &mut [Stream]) -> Result<Value> {
    let (rows, columns) = x.tensor().dims2()?;
    if rows != streams.len() || !(0.0..=1.0).contains(&p) {
        let streams = streams.len();
        return Err(Error::bug(format!("dropout of {rows} rows from {streams} streams, p = {p}")));
    }
    if p == 0.0 {
        return Ok(x.clone());
    }
    on_cuda!(x.tensor(), cuda::forward(tape, x, p, streams));
    let draw = |stream: &mut Stream| -> Vec<bool> {
        (0..columns).map(|_| f64::from(stream.uniform()) >= p).collect()
    };
    let kept: Vec<bool> = streams.iter_mut().flat_map(draw).collect();
    let mask = Mask { kept, scale: if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 } };
    let output = mask.apply(x.tensor())?;
    Ok(tape.record(&[x], output, || mask))
}

struct Mask {
    kept: Vec<bool>,
    scale: f64,
}

impl Mask {
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        by_dtype!(x, T => tensor(with_slice(x, |x| self.select::<T>(x))?, x.shape()))
    }

    fn select<T: Float>(&self, x: &[T]) -> Vec<T> {
        let scale = T::from_f64(self.scale);
        x.iter().zip(&self.kept).map(|(x, kept)| if *kept { *x * scale } else { T::ZERO }).collect()
    }
}

impl Backward for Mask {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.apply(&grad)?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, normal, numbers};
    use crate::random::Purpose;

    fn streams(samples: std::ops::Range<u64>) -> Vec<Stream> {
        samples.map(|sample| Stream::new(1, Purpose::Dropout, 0, sample)).collect()
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        check_gradients(&[normal("x", &[3, 8])], |tape, inputs| {
            dropout(tape, &inputs[0], 0.3, &mut streams(0..3))
        });
    }

    #[test]
    fn what_is_dropped_of_a_row_is_its_own_matter() {
        let x = normal("x", &[4, 500]);
        let run = |x: &Tensor, p, streams: &mut [Stream]| {
            numbers(dropout(&mut Tape::new(), &Value::constant(x.clone()), p, streams).unwrap().tensor())
        };
        let whole = run(&x, 0.25, &mut streams(0..4));
        let mut last = streams(3..4);
        let row = x.narrow(0, 3, 1).unwrap();
        assert_eq!(whole[1500..], run(&row, 0.25, &mut last));
        assert_ne!(whole[1500..], run(&row, 0.25, &mut last), "a second layer draws anew");

        let dropped = whole.iter().filter(|x| **x == 0.0).count();
        assert!((430..570).contains(&dropped), "{dropped} of 2000 dropped");
        let x = numbers(&x);
        assert!(whole.iter().zip(&x).all(|(y, x)| *y == 0.0 || *y == x * (1.0 / 0.75)));
    }

    #[test]
    fn the_ends_of_the_range() {
        let x = Value::constant(normal("x", &[2, 3]));
        let run = |p, streams: &mut [Stream]| dropout(&mut Tape::new(), &x, p, streams);
        assert_eq!(numbers(run(0.0, &mut streams(0..2)).unwrap().tensor()), numbers(x.tensor()));
        assert_eq!(numbers(run(1.0, &mut streams(0..2)).unwrap().tensor()), [0.0; 6]);
        assert!(run(1.5, &mut streams(0..2)).is_err());
        assert!(run(0.5, &mut streams(0..1)).is_err());
    }
}
