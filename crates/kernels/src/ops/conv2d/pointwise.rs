//! The linear layer over every pixel or token: a 1×1 convolution.

#[cfg(feature = "cuda")]
mod cuda;

use candle_core::{Shape, Tensor};

use super::geometry::ConvGeometry;
use super::gradient::column_sums;
use super::method::{Prepared, input_gradient, weight_gradient};
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};
use crate::ops::float::{Float, by_dtype, tensor, with_optional_slice, with_slice};
use crate::ops::gemm::{Epilogue, written};
use crate::ops::on_cuda::on_cuda;
use crate::ops::profile::Profile;
use crate::ops::{Activation, Window};

/// A window of one pixel.
pub(super) const PIXEL: Window = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 4] };

/// x [.., in] · weightᵀ + bias + residual, for a weight of [out, in] and a bias of [out]; the residual and the
/// result are [.., out].
///
/// A row has the same bits as with [`crate::ops::linear`]. This operation packs the weight first, which is
/// faster for many rows.
pub fn pointwise(
    tape: &mut Tape,
    x: &Value,
    weight: &Value,
    bias: &Value,
    residual: Option<&Value>,
) -> Result<Value> {
    let (geometry, shape) = of_rows(x.tensor(), weight.tensor())?;
    let fits = bias.tensor().dims() == [geometry.channels[1]]
        && residual.is_none_or(|residual| residual.tensor().shape() == &shape);
    if !fits {
        return Err(Error::bug(format!("bias or residual of a linear layer to {shape:?}")));
    }
    let residual_tensor = residual.map(Value::tensor);
    let output = output(&geometry, shape, [x.tensor(), weight.tensor(), bias.tensor()], residual_tensor)?;
    let mut inputs = vec![x, weight, bias];
    inputs.extend(residual);
    let keep = |needed: bool, value: &Value| needed.then(|| value.tensor().clone());
    Ok(tape.record(&inputs, output, || Pointwise {
        geometry,
        x: keep(!weight.is_constant(), x),
        weight: keep(!x.is_constant(), weight),
        shapes: [x, weight].map(|value| value.tensor().shape().clone()),
    }))
}

/// The geometry of a linear layer over rows, and the shape of its result.
pub(super) fn of_rows(x: &Tensor, weight: &Tensor) -> Result<(ConvGeometry, Shape)> {
    let (dims, &[outputs, inputs]) = (x.dims(), weight.dims()) else {
        return Err(Error::bug(format!("a linear layer with {:?}", weight.dims())));
    };
    let rows = x.elem_count() / inputs.max(1);
    let geometry = ConvGeometry::new(&[1, 1, rows, inputs], &[outputs, inputs, 1, 1], PIXEL, 1)?;
    match dims.split_last() {
        Some((&last, rest)) if last == inputs => Ok((geometry, Shape::from([rest, &[outputs]].concat()))),
        _ => Err(Error::bug(format!("a linear layer of {dims:?} with {:?}", weight.dims()))),
    }
}

fn output(
    geometry: &ConvGeometry,
    shape: Shape,
    [x, weight, bias]: [&Tensor; 3],
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    on_cuda!(x, cuda::forward([x, weight, bias], residual)?.reshape(shape).map_err(Error::from));
    by_dtype!(x, T => tensor(forward::<T>(geometry, x, weight, bias, residual)?, shape))
}

fn forward<T: Float>(
    geometry: &ConvGeometry,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    residual: Option<&Tensor>,
) -> Result<Vec<T>> {
    let profile = Profile::current();
    let bias: Vec<T> = with_slice(bias, <[T]>::to_vec)?;
    with_slice(x, |x: &[T]| {
        with_slice(weight, |weight: &[T]| {
            with_optional_slice(residual, |residual| {
                let weights = Prepared::new(profile, geometry, weight);
                let epilogue = Epilogue { bias: Some(&bias), residual, activation: Activation::None };
                // SAFETY: the forward pass writes every row.
                unsafe {
                    written(geometry.output_length(), |output| {
                        weights.forward(profile, geometry, x, epilogue, output);
                    })
                }
            })
        })
    })??
}

/// Saves x for the weight's gradient and the weight for the gradient of x, each only if needed.
struct Pointwise {
    geometry: ConvGeometry,
    x: Option<Tensor>,
    weight: Option<Tensor>,
    shapes: [Shape; 2],
}

impl Backward for Pointwise {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        on_cuda!(grad, self.gradients_on_cuda(grad, wanted));
        by_dtype!(grad, T => self.gradients::<T>(grad, wanted))
    }
}

impl Pointwise {
    fn gradients<T: Float>(&self, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (profile, geometry) = (Profile::current(), &self.geometry);
        let [x_shape, weight_shape] = &self.shapes;
        let mut result = vec![None; wanted.len()];
        if let (true, Some(weight)) = (wanted[0], &self.weight) {
            let gradient = with_slice(&grad, |grad: &[T]| {
                with_slice(weight, |weight: &[T]| {
                    // SAFETY: it writes every row.
                    unsafe {
                        written(geometry.input_length(), |output| {
                            input_gradient(profile, geometry, grad, weight, output);
                        })
                    }
                })
            })??;
            result[0] = Some(tensor(gradient, x_shape)?);
        }
        if let (true, Some(x)) = (wanted[1], &self.x) {
            let compute = |x: &[T], grad: &[T]| weight_gradient(profile, geometry, x, grad);
            let gradient = with_slice(&grad, |grad| with_slice(x, |x| compute(x, grad)))??;
            result[1] = Some(tensor(gradient, weight_shape)?);
        }
        if wanted[2] {
            let outputs = geometry.channels[1];
            let gradient = with_slice(&grad, |grad: &[T]| column_sums(profile, outputs, grad))?;
            result[2] = Some(tensor(gradient, outputs)?);
        }
        if wanted.get(3) == Some(&true) {
            result[3] = Some(grad);
        }
        Ok(result)
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
        pointwise(tape, &inputs[0], &inputs[1], &inputs[2], inputs.get(3))
    }

    fn inputs() -> [Tensor; 4] {
        [
            normal("x", &[2, 3, 5]),
            normal("weight", &[4, 5]),
            normal("bias", &[4]),
            normal("residual", &[2, 3, 4]),
        ]
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        check_gradients(&inputs(), run);
        check_gradients(&inputs()[..3], run);
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("pointwise");
        let names = ["x", "weight", "bias", "residual"];
        for dtype in [DType::F32, DType::F64] {
            let (y, grads) = gradients(
                &names.map(|name| fixture.input(name, dtype)),
                &fixture.input("weights", dtype),
                run,
            );
            fixture.assert("all.y", &y);
            for (grad, name) in grads.iter().zip(names) {
                fixture.assert(&format!("all.{name}"), grad);
            }
        }
    }

    #[test]
    fn rows_have_the_bits_of_a_linear_layer_and_threads_do_not_matter() {
        let inputs = [normal("x", &[3, 80, 150]), normal("weight", &[70, 150]), normal("bias", &[70])]
            .map(|input| input.to_dtype(DType::F32).unwrap());
        let values = inputs.clone().map(Value::constant);
        let whole = run(&mut Tape::new(), &values).unwrap().into_tensor();
        let x = Value::constant(inputs[0].flatten(0, 1).unwrap().narrow(0, 239, 1).unwrap());
        let alone = crate::ops::linear(&mut Tape::new(), &x, &values[1], Some(&values[2])).unwrap();
        assert_eq!(
            numbers(&whole.flatten(0, 1).unwrap().narrow(0, 239, 1).unwrap()),
            numbers(alone.tensor())
        );
        assert_same_on_any_threads(|| gradients(&inputs, &whole, run).1);
    }

    #[test]
    fn shapes_must_agree() {
        let values = inputs().map(Value::constant);
        let refused =
            |order: [usize; 4]| run(&mut Tape::new(), &order.map(|index| values[index].clone())).is_err();
        assert!(refused([1, 0, 2, 3]) && refused([0, 1, 3, 3]) && refused([0, 1, 2, 0]));
    }
}
