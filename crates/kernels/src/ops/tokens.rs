//! Images as token sequences for vision transformers (Dosovitskiy et al., *An Image is Worth 16x16 Words*, ICLR
//! 2021, §3.1): a class token followed by patches, plus positions; and the extraction of the class token.

#[cfg(feature = "cuda")]
mod cuda;

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::average_pool::image_dims;
use super::buffer::build;
use super::float::{Float, by_dtype, from_f64, tensor, with_slice};
use super::multiversion::multiversion;
use super::on_cuda::on_cuda;
use crate::autograd::{Backward, Tape, Value};
use crate::error::{Error, Result};

/// The class token and then the patches [N, H, W, C] line by line, plus `positions`: [N, 1 + H · W, C]. The
/// token is [1, 1, C], the positions [1, 1 + H · W, C].
///
/// # Errors
/// The number of positions does not match.
pub fn tokens(tape: &mut Tape, patches: &Value, class_token: &Value, positions: &Value) -> Result<Value> {
    let [images, height, width, channels] = image_dims(patches)?;
    let count = 1 + height * width;
    if channels == 0 || class_token.tensor().dims() != [1, 1, channels] {
        let token = class_token.tensor().dims();
        return Err(Error::bug(format!("a class token of {token:?} for {channels} channels")));
    }
    if positions.tensor().dims() != [1, count, channels] {
        let known = positions.tensor().dims().get(1).map_or(0, |count| count.saturating_sub(1));
        return Err(Error::failed(format!(
            "an image of {height}×{width} patches does not fit position embeddings for {known}"
        ))
        .hint("give every stage of the model the same `image_size`"));
    }
    let output = joined(patches.tensor(), class_token.tensor(), positions.tensor(), images)?;
    Ok(tape.record(&[patches, class_token, positions], output, || Tokens {
        grid: [images, height, width, channels],
    }))
}

fn joined(patches: &Tensor, class_token: &Tensor, positions: &Tensor, images: usize) -> Result<Tensor> {
    on_cuda!(patches, cuda::tokens(patches, class_token, positions, images));
    let (_, count, channels) = positions.dims3()?;
    by_dtype!(patches, T => {
        let output = with_slice(patches, |patches: &[T]| {
            with_slice(class_token, |class_token: &[T]| {
                with_slice(positions, |positions: &[T]| {
                    let size = count * channels;
                    let write = |image: usize, out: &mut [MaybeUninit<T>]| {
                        let (first, rest) = out.split_at_mut(channels);
                        let patches = &patches[image * (size - channels)..][..size - channels];
                        sum(class_token, &positions[..channels], first);
                        sum(patches, &positions[channels..], rest);
                    };
                    // SAFETY: `sum` writes every element.
                    unsafe { build(images * size, size, write) }
                })
            })
        })???;
        tensor(output, (images, count, channels))
    })
}

struct Tokens {
    /// Images, height, width, channels.
    grid: [usize; 4],
}

impl Backward for Tokens {
    fn backward(self: Box<Self>, grad: Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        on_cuda!(grad, self.gradients_on_cuda(&grad, wanted));
        by_dtype!(grad, T => self.gradients::<T>(&grad, wanted))
    }
}

impl Tokens {
    fn gradients<T: Float>(&self, grad: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let [images, height, width, channels] = self.grid;
        let size = (1 + height * width) * channels;
        let patches = || -> Result<Tensor> {
            let patches = with_slice(grad, |grad: &[T]| {
                let write = |image: usize, out: &mut [MaybeUninit<T>]| {
                    out.write_copy_of_slice(&grad[image * size + channels..][..out.len()]);
                };
                // SAFETY: all patches of each image are written.
                unsafe { build(images * (size - channels), size - channels, write) }
            })?;
            tensor(patches, self.grid.as_slice())
        };
        let over_images = |length: usize| -> Result<Vec<T>> {
            let mut sums = vec![0.0; length];
            with_slice(grad, |grad: &[T]| {
                grad.chunks_exact(size).for_each(|grad| add(&grad[..length], &mut sums));
            })?;
            Ok(from_f64(&sums))
        };
        Ok(vec![
            wanted[0].then(patches).transpose()?,
            wanted[1].then(|| tensor(over_images(channels)?, (1, 1, channels))).transpose()?,
            wanted[2].then(|| tensor(over_images(size)?, (1, size / channels, channels))).transpose()?,
        ])
    }
}

/// The first token of each image: [N, T, C] to [N, C].
pub fn first_token(tape: &mut Tape, x: &Value) -> Result<Value> {
    let tokens = x.tensor().dims3()?.1;
    let output = first_of(x.tensor())?;
    Ok(tape.record(&[x], output, || FirstToken { tokens }))
}

fn first_of(x: &Tensor) -> Result<Tensor> {
    on_cuda!(x, cuda::first_token(x));
    let (images, tokens, channels) = x.dims3()?;
    by_dtype!(x, T => {
        let output = with_slice(x, |x: &[T]| {
            x.chunks_exact((tokens * channels).max(1)).flat_map(|image| image[..channels].iter().copied()).collect()
        })?;
        tensor::<T>(output, (images, channels))
    })
}

struct FirstToken {
    tokens: usize,
}

impl Backward for FirstToken {
    fn backward(self: Box<Self>, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        on_cuda!(grad, Ok(vec![Some(self.gradient_on_cuda(&grad)?)]));
        let (images, channels) = grad.dims2()?;
        let zeros = Tensor::zeros((images, self.tokens - 1, channels), grad.dtype(), grad.device())?;
        Ok(vec![Some(Tensor::cat(&[&grad.unsqueeze(1)?, &zeros], 1)?.contiguous()?)])
    }
}

multiversion! {
    fn sum<T: Float>(left: &[T], right: &[T], out: &mut [MaybeUninit<T>]) {
        assert!(left.len() == out.len() && right.len() == out.len());
        for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
            out.write(*left + *right);
        }
    }
}

multiversion! {
    fn add<T: Float>(numbers: &[T], sums: &mut [f64]) {
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += number.widen();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{check_gradients, normal, numbers};

    fn run(tape: &mut Tape, inputs: &[Value]) -> Result<Value> {
        tokens(tape, &inputs[0], &inputs[1], &inputs[2])
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let inputs = [normal("x", &[2, 3, 2, 4]), normal("token", &[1, 1, 4]), normal("p", &[1, 7, 4])];
        check_gradients(&inputs, run);
        check_gradients(&inputs, |tape, inputs| {
            let tokens = run(tape, inputs)?;
            first_token(tape, &tokens)
        });
    }

    #[test]
    fn the_class_token_comes_first_and_the_patches_line_by_line() {
        let inputs = [normal("x", &[2, 3, 2, 4]), normal("token", &[1, 1, 4]), normal("p", &[1, 7, 4])];
        let values = inputs.clone().map(Value::constant);
        let found = numbers(run(&mut Tape::new(), &values).unwrap().tensor());
        let [x, token, positions] = inputs.map(|input| numbers(&input));
        assert_eq!(found[0], token[0] + positions[0]);
        // The patch at (2, 1) of the second image is its last token.
        assert_eq!(found[2 * 28 - 1], x[2 * 24 - 1] + positions[27]);
    }

    #[test]
    fn positions_of_another_grid_are_an_error() {
        let inputs = [normal("x", &[2, 3, 3, 4]), normal("token", &[1, 1, 4]), normal("p", &[1, 7, 4])];
        let error = run(&mut Tape::new(), &inputs.map(Value::constant)).unwrap_err();
        assert!(error.to_string().contains("3×3 patches does not fit position embeddings for 6"), "{error}");
    }
}
