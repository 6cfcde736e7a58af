//! Tokens on CUDA.

use candle_core::Tensor;

use super::{FirstToken, Tokens};
use crate::cuda::{Engine, address, arguments, column_sums, kernel};
use crate::error::Result;

pub(super) fn tokens(
    patches: &Tensor,
    class_token: &Tensor,
    positions: &Tensor,
    images: usize,
) -> Result<Tensor> {
    let (_, tokens, channels) = positions.dims3()?;
    let engine = Engine::of(patches)?;
    let (out, to) = engine.tensor(patches.dtype(), (images, tokens, channels))?;
    let (count, size) = (out.elem_count(), tokens * channels);
    let [patches_at, token, places] = [patches, class_token, positions].map(address);
    let arguments = arguments![count as i64, size as i32, channels as i32, patches_at?, token?, places?, to];
    engine.numbers(&kernel("tokens", patches.dtype())?, count, arguments)?;
    Ok(out)
}

impl Tokens {
    pub(super) fn gradients_on_cuda(&self, grad: &Tensor, wanted: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let [images, height, width, channels] = self.grid;
        let count = 1 + height * width;
        let patches = || take(grad, images, channels, &[images, height, width, channels]);
        let over_images = || column_sums(&grad.reshape((images, count * channels))?);
        let sums = (wanted[1] || wanted[2]).then(over_images).transpose()?;
        let of = |wanted: bool, tokens: usize| -> Result<Option<Tensor>> {
            let Some(sums) = sums.as_ref().filter(|_| wanted) else { return Ok(None) };
            Ok(Some(sums.narrow(0, 0, tokens * channels)?.reshape((1, tokens, channels))?))
        };
        Ok(vec![wanted[0].then(patches).transpose()?, of(wanted[1], 1)?, of(wanted[2], count)?])
    }
}

pub(super) fn first_token(x: &Tensor) -> Result<Tensor> {
    let (images, _, channels) = x.dims3()?;
    take(x, images, 0, &[images, channels])
}

impl FirstToken {
    pub(super) fn gradient_on_cuda(&self, grad: &Tensor) -> Result<Tensor> {
        let (images, channels) = grad.dims2()?;
        let engine = Engine::of(grad)?;
        let (out, to) = engine.tensor(grad.dtype(), (images, self.tokens, channels))?;
        let (count, outer) = (out.elem_count(), self.tokens * channels);
        let arguments = arguments![count as i64, channels as i32, outer as i32, 0i32, address(grad)?, to];
        engine.numbers(&kernel("put", grad.dtype())?, count, arguments)?;
        Ok(out)
    }
}

/// From each of x's `rows`, the elements from `offset` on, as many as `shape` needs.
fn take(x: &Tensor, rows: usize, offset: usize, shape: &[usize]) -> Result<Tensor> {
    let engine = Engine::of(x)?;
    let (out, to) = engine.tensor(x.dtype(), shape)?;
    let count = out.elem_count();
    let [inner, outer, offset] = [count / rows, x.elem_count() / rows, offset].map(|size| size as i32);
    engine.numbers(
        &kernel("take", x.dtype())?,
        count,
        arguments![count as i64, inner, outer, offset, address(x)?, to],
    )?;
    Ok(out)
}
