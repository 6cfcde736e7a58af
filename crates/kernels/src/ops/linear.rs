//! The linear layer: a matrix product with a bias.

#[cfg(feature = "cuda")]
pub(super) mod cuda;

use std::mem::MaybeUninit;

use candle_core::{Shape, Tensor};

use super::Activation;
use super::buffer::build;
use super::float::{Float, by_dtype, from_f64, tensor, with_optional_slice, with_slice};
use super::gemm::{Epilogue, Matrix, Output, Product, Right, RowOffsets};
use super::on_cuda::on_cuda;
use super::profile::Profile;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// x [N, in] · weightᵀ + bias, for a weight of [out, in] and a bias of [out].
///
/// The weight may have the shape of a 1×1 convolution, [out, in, 1, 1]: on one pixel the two are equal.
pub fn linear(tape: &mut Tape, x: &Value, weight: &Value, bias: Option<&Value>) -> Result<Value> {
    let dims = (x.tensor().dims(), weight.tensor().dims(), bias.map(|bias| bias.tensor().dims()));
    let fits = match dims {
        ([_, inputs], [outputs, width] | [outputs, width, 1, 1], bias) => {
            inputs == width && bias.is_none_or(|bias| bias == [*outputs])
        }
        _ => false,
    };
    if !fits {
        return Err(Error::bug(format!("a linear layer over x, weight and bias of {dims:?}")));
    }
    let bias_tensor = bias.map(Value::tensor);
    let output = output(x.tensor(), weight.tensor(), bias_tensor)?;
    let mut inputs = vec![x, weight];
    inputs.extend(bias);
    let keep = |needed: bool, value: &Value| needed.then(|| value.tensor().clone());
    Ok(tape.record(&inputs, output, || Linear {
        x: keep(!weight.is_constant(), x),
        weight: keep(!x.is_constant(), weight),
        weight_shape: weight.tensor().shape().clone(),
    }))
}

fn output(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    on_cuda!(x, cuda::forward(x, weight, bias, None));
    by_dtype!(x, T => forward::<T>(x, weight, bias))
}

fn forward<T: Float>(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (rows, inputs) = x.dims2()?;
    let outputs = weight.dim(0)?;
    let output = with_slice(x, |x: &[T]| {
        with_slice(weight, |weight: &[T]| {
            with_optional_slice(bias, |bias| {
                let weight = Matrix::row_major(weight, inputs).transposed();
                product([rows, outputs, inputs], &Matrix::row_major(x, inputs), &weight, bias)
            })
        })
    })???;
    tensor(output, (rows, outputs))
}

/// left [m, k] · right [k, n] + bias, for the dimensions [m, n, k].
///
/// The right operand is packed on demand: the rows are those of a batch, so few that each part is used once.
fn product<T: Float>(
    [rows, columns, depth]: [usize; 3],
    left: &Matrix<T>,
    right: &Matrix<T>,
    bias: Option<&[T]>,
) -> Vec<T> {
    let right = Right::Source(right);
    let epilogue = Epilogue { bias, residual: None, activation: Activation::None };
    let product = Product { profile: Profile::current(), rows, columns, depth, left, right, epilogue };
    let write = |_, output: &mut [MaybeUninit<T>]| {
        product.compute(Output::uninitialized(output, RowOffsets::Even { start: 0, stride: columns }));
    };
    // SAFETY: a product writes all its rows, which cover the output.
    unsafe { build(rows * columns, rows * columns, write) }
}

/// left [m, k] · right [k, n], in row-major order.
pub(super) fn matrix_product<T: Float>(left: &Tensor, right: &Tensor) -> Result<Vec<T>> {
    let ((rows, depth), columns) = (left.dims2()?, right.dim(1)?);
    with_slice(left, |left: &[T]| {
        with_slice(right, |right: &[T]| {
            let (left, right) = (Matrix::row_major(left, depth), Matrix::row_major(right, columns));
            product([rows, columns, depth], &left, &right, None)
        })
    })?
}

/// Saves x for the weight's gradient and the weight for the gradient of x, each only if needed.
struct Linear {
    x: Option<Tensor>,
    weight: Option<Tensor>,
    weight_shape: Shape,
}

impl Backward for Linear {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        on_cuda!(grad, self.gradients_on_cuda(&grad, wanted));
        by_dtype!(grad, T => self.gradients::<T>(&grad, wanted))
    }
}

impl Linear {
    fn gradients<T: Float>(&self, grad: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (rows, outputs) = grad.dims2()?;
        let towards_x = |weight: &Tensor| -> Result<Tensor> {
            tensor(matrix_product::<T>(grad, weight)?, (rows, weight.dim(1)?))
        };
        let towards_weight = |x: &Tensor| -> Result<Tensor> {
            let inputs = x.dim(1)?;
            let gradient = with_slice(grad, |grad: &[T]| {
                with_slice(x, |x: &[T]| {
                    let grad = Matrix::row_major(grad, outputs).transposed();
                    product([outputs, inputs, rows], &grad, &Matrix::row_major(x, inputs), None)
                })
            })??;
            tensor(gradient, self.weight_shape.clone())
        };
        let towards_bias = || -> Result<Tensor> {
            let mut sums = vec![0.0; outputs];
            with_slice(grad, |grad: &[T]| {
                for row in grad.chunks_exact(outputs.max(1)) {
                    sums.iter_mut().zip(row).for_each(|(sum, grad)| *sum += grad.widen());
                }
            })?;
            tensor::<T>(from_f64(&sums), outputs)
        };
        let mut gradients = vec![
            self.weight.as_ref().filter(|_| wanted[0]).map(towards_x).transpose()?,
            self.x.as_ref().filter(|_| wanted[1]).map(towards_weight).transpose()?,
        ];
        if wanted.len() == 3 {
            gradients.push(wanted[2].then(towards_bias).transpose()?);
        }
        Ok(gradients)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{
        Fixture, assert_same_on_any_threads, check_gradients, gradients, normal, numbers,
    };

    fn run(tape: &mut Tape, inputs: &[Value]) -> Result<Value> {
        linear(tape, &inputs[0], &inputs[1], inputs.get(2))
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let inputs = [normal("x", &[3, 5]), normal("weight", &[4, 5]), normal("bias", &[4])];
        check_gradients(&inputs, run);
        check_gradients(&inputs[..2], run);
        let pointwise = [normal("x", &[3, 5]), normal("weight", &[4, 5, 1, 1]), normal("bias", &[4])];
        check_gradients(&pointwise, run);
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("linear");
        for dtype in [DType::F32, DType::F64] {
            let inputs = ["x", "weight", "bias"].map(|name| fixture.input(name, dtype));
            for (prefix, inputs) in [("bias", &inputs[..]), ("plain", &inputs[..2])] {
                let (y, grads) = gradients(inputs, &fixture.input("weights", dtype), run);
                fixture.assert(&format!("{prefix}.y"), &y);
                for (grad, name) in grads.iter().zip(["x", "weight", "bias"]) {
                    fixture.assert(&format!("{prefix}.{name}"), grad);
                }
            }
        }
    }

    #[test]
    fn a_row_depends_on_no_other_and_threads_do_not_matter() {
        let inputs = [normal("x", &[33, 300]), normal("weight", &[70, 300]), normal("bias", &[70])]
            .map(|input| input.to_dtype(DType::F32).unwrap());
        let values = inputs.clone().map(Value::constant);
        let whole = run(&mut Tape::new(), &values).unwrap();
        let x = Value::constant(inputs[0].narrow(0, 32, 1).unwrap());
        let alone = linear(&mut Tape::new(), &x, &values[1], Some(&values[2])).unwrap();
        assert_eq!(numbers(&whole.tensor().narrow(0, 32, 1).unwrap()), numbers(alone.tensor()));

        let weights = whole.into_tensor();
        assert_same_on_any_threads(|| gradients(&inputs, &weights, run).1);
    }

    #[test]
    fn shapes_must_agree() {
        let values = [normal("x", &[3, 5]), normal("weight", &[4, 6])].map(Value::constant);
        assert!(run(&mut Tape::new(), &values).is_err());
        let values = [normal("x", &[3, 5]), normal("weight", &[4, 5, 3, 3])].map(Value::constant);
        assert!(run(&mut Tape::new(), &values).is_err());
    }
}
