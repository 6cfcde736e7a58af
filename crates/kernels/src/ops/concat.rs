//! Channels put side by side and taken apart again, as blocks need that branch and join.
//!
//! Both copy rows and compute nothing: the bits of a number never change.

#[cfg(feature = "cuda")]
mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::buffer::{build, copy_run, rows_per_task};
use super::float::{Float, by_dtype, tensor, with_slice};
use super::on_cuda::on_cuda;
use super::profile::Profile;
use crate::autograd::{Backward, BackwardOfSeveral, Tape, Value};
use crate::error::{Error, Result};

/// The channels of all `parts` in one tensor: [.., C1], [.., C2], … to [.., C1 + C2 + …].
pub fn concat(tape: &mut Tape, parts: &[&Value]) -> Result<Value> {
    let tensors: Vec<&Tensor> = parts.iter().map(|part| part.tensor()).collect();
    let fits = |dims: &[usize]| {
        dims.len() == tensors[0].rank() && !dims.is_empty() && dims[..dims.len() - 1] == *leading(tensors[0])
    };
    if tensors.is_empty() || !tensors.iter().all(|tensor| fits(tensor.dims())) {
        let shapes: Vec<&[usize]> = tensors.iter().map(|tensor| tensor.dims()).collect();
        return Err(Error::bug(format!("a concatenation of {shapes:?}")));
    }
    let output = joined(&tensors)?;
    let shapes = || tensors.iter().map(|tensor| tensor.dims().to_vec()).collect();
    Ok(tape.record(parts, output, || Concat { shapes: shapes() }))
}

/// The channels of x [.., G · (C1 + C2 + …)] as tensors of their own: [.., G · C1], [.., G · C2], … Each of the G
/// groups of channels is taken apart. `sizes` are the channels C1, C2, … of a group.
pub fn split_channels(tape: &mut Tape, x: &Value, groups: usize, sizes: &[usize]) -> Result<Vec<Value>> {
    let (dims, group) = (x.tensor().dims(), sizes.iter().sum::<usize>());
    if groups == 0 || group == 0 || dims.last() != Some(&(groups * group)) {
        return Err(Error::bug(format!("{dims:?} in {groups} groups of {sizes:?} channels")));
    }
    let rows = leading(x.tensor()).iter().product::<usize>() * groups;
    let mut shapes = Vec::new();
    let mut outputs = Vec::new();
    let mut first = 0;
    for size in sizes {
        let shape = [leading(x.tensor()), &[groups * size]].concat();
        outputs.push(part(x.tensor(), rows, first, *size, &shape)?);
        shapes.push(shape);
        first += size;
    }
    let split = || Split { shapes, rows, sizes: sizes.to_vec(), shape: dims.to_vec() };
    Ok(tape.record_several(&[x], outputs, split))
}

/// All axes but that of the channels.
fn leading(tensor: &Tensor) -> &[usize] {
    &tensor.dims()[..tensor.rank().saturating_sub(1)]
}

struct Concat {
    shapes: Vec<Vec<usize>>,
}

impl Backward for Concat {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let rows = leading(&grad).iter().product();
        let mut first = 0;
        let mut gradient = |(shape, wanted): (&Vec<usize>, &bool)| {
            let (from, width) = (first, shape[shape.len() - 1]);
            first += width;
            wanted.then(|| part(&grad, rows, from, width, shape)).transpose()
        };
        self.shapes.iter().zip(wanted).map(&mut gradient).collect()
    }
}

struct Split {
    /// Of the outputs.
    shapes: Vec<Vec<usize>>,
    /// With a row for each group of channels.
    rows: usize,
    sizes: Vec<usize>,
    /// Of the input.
    shape: Vec<usize>,
}

impl BackwardOfSeveral for Split {
    fn backward(self: Box<Self>, grads: Vec<Option<Tensor>>, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Some(like) = grads.iter().flatten().next().cloned() else { return Ok(vec![None]) };
        let grads = grads.into_iter().zip(&self.shapes).map(|(grad, shape)| match grad {
            Some(grad) => Ok(grad),
            None => Ok(Tensor::zeros(shape.as_slice(), like.dtype(), like.device())?),
        });
        let rows = |(grad, size): (Result<Tensor>, &usize)| Ok(grad?.reshape((self.rows, *size))?);
        let grads = grads.zip(&self.sizes).map(rows).collect::<Result<Vec<Tensor>>>()?;
        let whole = joined(&grads.iter().collect::<Vec<_>>())?;
        Ok(vec![Some(whole.reshape(self.shape.as_slice())?)])
    }
}

fn joined(parts: &[&Tensor]) -> Result<Tensor> {
    on_cuda!(parts[0], cuda::joined(parts));
    let widths: Vec<usize> = parts.iter().map(|part| part.dims()[part.rank() - 1]).collect();
    let width = widths.iter().sum::<usize>();
    let shape = [leading(parts[0]), &[width]].concat();
    let rows: usize = leading(parts[0]).iter().product();
    let profile = Profile::current();
    by_dtype!(parts[0], T => {
        let joined = with_slices(parts, &mut Vec::new(), &mut |parts: &[&[T]]| {
            let step = rows_per_task(width);
            let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                profile.run(
                    #[inline(always)]
                    || {
                        for (place, out) in out.chunks_exact_mut(width).enumerate() {
                            let (row, mut rest) = (task * step + place, out);
                            for (part, width) in parts.iter().zip(&widths) {
                                let (here, after) = rest.split_at_mut(*width);
                                copy_run(here, &part[row * width..]);
                                rest = after;
                            }
                        }
                    },
                );
            };
            // SAFETY: the parts of a row fill it.
            unsafe { build(rows * width, step * width, write) }
        })?;
        tensor(joined, shape)
    })
}

/// Calls `f` with the elements of all `tensors`.
fn with_slices<'a, T: Float, R>(
    tensors: &[&Tensor],
    slices: &mut Vec<&'a [T]>,
    f: &mut dyn FnMut(&[&[T]]) -> R,
) -> Result<R> {
    let Some((first, rest)) = tensors.split_first() else { return Ok(f(slices)) };
    with_slice(first, |slice: &[T]| {
        let mut slices: Vec<&[T]> = slices.iter().copied().chain([slice]).collect();
        with_slices(rest, &mut slices, f)
    })?
}

/// The columns from `first` on, `width` of them, of x as a matrix with this many rows.
fn part(x: &Tensor, rows: usize, first: usize, width: usize, shape: &[usize]) -> Result<Tensor> {
    on_cuda!(x, cuda::part(x, rows, first, shape));
    let profile = Profile::current();
    by_dtype!(x, T => {
        let part = with_slice(x, |x: &[T]| {
            let (step, row_stride) = (rows_per_task(width), x.len() / rows.max(1));
            let write = |task: usize, out: &mut [MaybeUninit<T>]| {
                profile.run(
                    #[inline(always)]
                    || {
                        for (place, out) in out.chunks_exact_mut(width.max(1)).enumerate() {
                            let start = (task * step + place) * row_stride + first;
                            copy_run(out, &x[start..]);
                        }
                    },
                );
            };
            // SAFETY: each row is written completely.
            unsafe { build(rows * width, step * width, write) }
        })?;
        tensor(part, shape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::add;
    use crate::ops::testing::{
        assert_same_on_any_threads, check_gradients, gradients, normal, numbers, weighted_sum,
    };

    fn values(tensors: &[Tensor]) -> Vec<Value> {
        tensors.iter().cloned().map(Value::constant).collect()
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let parts = [normal("a", &[2, 3, 2, 4]), normal("b", &[2, 3, 2, 1]), normal("c", &[2, 3, 2, 3])];
        check_gradients(&parts, |tape, inputs| concat(tape, &inputs.iter().collect::<Vec<_>>()));
        let x = normal("x", &[2, 3, 2, 10]);
        for (groups, sizes) in [(1, [5, 2, 3]), (2, [1, 3, 1])] {
            // Another order, so that what is joined is not what was split.
            check_gradients(std::slice::from_ref(&x), |tape, inputs| {
                let parts = split_channels(tape, &inputs[0], groups, &sizes)?;
                let twice = add(tape, &parts[2], &parts[2])?;
                concat(tape, &[&twice, &parts[0], &parts[1], &parts[0]])
            });
        }
    }

    #[test]
    fn candle_agrees_bit_for_bit() {
        let parts =
            [normal("a", &[2, 30, 17, 40]), normal("b", &[2, 30, 17, 3]), normal("c", &[2, 30, 17, 65])];
        let expected = Tensor::cat(&parts, 3).unwrap();
        let inputs = values(&parts);
        let joined = concat(&mut Tape::new(), &inputs.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(numbers(joined.tensor()), numbers(&expected));
        let found = split_channels(&mut Tape::new(), &joined, 1, &[40, 3, 65]).unwrap();
        for (found, part) in found.iter().zip(&parts) {
            assert_eq!(numbers(found.tensor()), numbers(part));
        }
        let groups = split_channels(&mut Tape::new(), &joined, 4, &[20, 7]).unwrap();
        let by_group = expected.reshape((2, 30, 17, 4, 27)).unwrap();
        for (found, (first, size)) in groups.iter().zip([(0, 20), (20, 7)]) {
            assert_eq!(found.tensor().dims(), [2, 30, 17, 4 * size]);
            let part = by_group.narrow(4, first, size).unwrap().contiguous().unwrap();
            assert_eq!(numbers(found.tensor()), numbers(&part));
        }
    }

    #[test]
    fn threads_do_not_matter() {
        let x = normal("x", &[2, 40, 41, 48]).to_dtype(candle_core::DType::F32).unwrap();
        let weights = x.narrow(3, 0, 32).unwrap().contiguous().unwrap();
        assert_same_on_any_threads(|| {
            let (output, grads) = gradients(std::slice::from_ref(&x), &weights, |tape, inputs| {
                let parts = split_channels(tape, &inputs[0], 2, &[8, 8, 8])?;
                concat(tape, &[&parts[2], &parts[0]])
            });
            [vec![output], grads].concat()
        });
    }

    #[test]
    fn parts_without_a_gradient_get_zeros_and_constants_record_nothing() {
        let x = normal("x", &[2, 6]);
        let mut tape = Tape::new();
        let leaf = tape.leaf(x.clone());
        let parts = split_channels(&mut tape, &leaf, 1, &[2, 3, 1]).unwrap();
        let weights = normal("weights", &[2, 3]);
        let loss = weighted_sum(&mut tape, &parts[1], &weights);
        let grad = numbers(&tape.backward(&loss).unwrap().take(&leaf).unwrap());
        let weights = numbers(&weights);
        assert_eq!(grad[..6], [0.0, 0.0, weights[0], weights[1], weights[2], 0.0]);
        let parts = split_channels(&mut Tape::new(), &Value::constant(x), 1, &[2, 4]).unwrap();
        assert!(parts.iter().all(Value::is_constant));
    }

    #[test]
    fn shapes_must_agree() {
        let inputs = values(&[normal("a", &[2, 3, 4]), normal("b", &[3, 2, 4]), normal("c", &[2, 4])]);
        for other in [1, 2] {
            assert!(concat(&mut Tape::new(), &[&inputs[0], &inputs[other]]).is_err());
        }
        assert!(concat(&mut Tape::new(), &[]).is_err());
        assert!(split_channels(&mut Tape::new(), &inputs[0], 1, &[2, 3]).is_err());
        assert!(split_channels(&mut Tape::new(), &inputs[0], 0, &[]).is_err());
    }
}
