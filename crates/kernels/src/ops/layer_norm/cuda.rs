//! Layer normalisation on CUDA.

use candle_core::{DType, Shape, Tensor};

use crate::autograd::{Backward, Tape, Value};
use crate::cuda::{Engine, address, arguments, column_products, column_sums, kernel};
use crate::error::Result;

pub(super) fn forward(tape: &mut Tape, x: &Value, weight: &Value, bias: &Value, eps: f64) -> Result<Value> {
    let input = x.tensor();
    let channels = weight.tensor().elem_count();
    let (rows, engine) = (input.elem_count() / channels, Engine::of(input)?);
    let (output, to) = engine.tensor(input.dtype(), input.shape())?;
    let (moments, rows_moments) = engine.tensor(DType::F32, (rows, 2))?;
    let [scale, shift] = [address(weight.tensor())?, address(bias.tensor())?];
    let arguments = arguments![channels as i32, address(input)?, scale, shift, eps, to, rows_moments];
    engine.rows(&kernel("layer_norm", input.dtype())?, rows, arguments)?;
    Ok(tape.record(&[x, weight, bias], output, || Normalization {
        x: input.clone(),
        weight: weight.tensor().clone(),
        moments,
        shape: weight.tensor().shape().clone(),
    }))
}

struct Normalization {
    x: Tensor,
    weight: Tensor,
    /// The mean of each row, and 1 / deviation.
    moments: Tensor,
    shape: Shape,
}

impl Backward for Normalization {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let towards_weight = || -> Result<Tensor> {
            Ok(column_products(&grad, &self.x, Some(&self.moments))?.reshape(self.shape.clone())?)
        };
        Ok(vec![
            wanted[0].then(|| self.input_gradient(&grad)).transpose()?,
            wanted[1].then(towards_weight).transpose()?,
            wanted[2].then(|| column_sums(&grad)).transpose()?,
        ])
    }
}

impl Normalization {
    fn input_gradient(&self, grad: &Tensor) -> Result<Tensor> {
        let channels = self.weight.elem_count();
        let (rows, engine) = (grad.elem_count() / channels, Engine::of(grad)?);
        let (out, to) = engine.tensor(grad.dtype(), grad.shape())?;
        let [x, weight, moments] = [&self.x, &self.weight, &self.moments].map(address);
        let arguments = arguments![channels as i32, address(grad)?, x?, weight?, moments?, to];
        engine.rows(&kernel("layer_norm_input", grad.dtype())?, rows, arguments)?;
        Ok(out)
    }
}
