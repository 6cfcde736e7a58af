//! The forward pass; with flipped weights, the input gradient.

// Index loops over arrays of vectors are intended: iterators over several arrays at once are harder to read.
#![allow(clippy::needless_range_loop)]

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::{POSITIONS, Tiles, TransformedWeights, transform};
use crate::ops::buffer::poison;
use crate::ops::float::Float;
use crate::ops::gemm::{Epilogue, LeftRows, written};
use crate::ops::profile::Profile;
use crate::ops::vector::{Registers, Vector, Vectorised, each, load, store, vectorised};

/// The number of tiles transformed and multiplied together. With 64 channels they stay in the second-level
/// cache, and with 512 the weights are not reloaded too often.
const FEW: usize = 56;
const MANY: usize = 112;

/// Writes all of `output`, [N, H', W', columns], from `x`, [N, H, W, channels].
pub fn forward<T: Float>(
    profile: Profile,
    tiles: &Tiles,
    x: &[T],
    weights: &TransformedWeights<T>,
    epilogue: Epilogue<'_, T>,
    output: &mut [MaybeUninit<T>],
) {
    let (channels, columns) = (weights.0[0].depth(), weights.0[0].columns());
    let pixels = |size: [usize; 2]| tiles.images * size[0] * size[1];
    assert_eq!((x.len(), output.len()), (pixels(tiles.input) * channels, pixels(tiles.output) * columns));
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == columns));
    assert!(epilogue.residual.is_none_or(|residual| residual.len() == output.len()));
    let zeros = vec![T::ZERO; channels];
    let output = SharedOutput(output.as_mut_ptr().cast::<T>());
    let most = if channels * columns > 1 << 14 { MANY } else { FEW };
    tiles.blocks(most).into_par_iter().with_max_len(1).for_each(|block| {
        let rows = block.len();
        let left = LeftRows::new(rows, channels);
        let length = left.length();
        let mut transformed = Box::new_uninit_slice(POSITIONS * length);
        poison(&mut transformed);
        let input = InputTransform {
            tiles,
            block: block.clone(),
            x,
            zeros: &zeros,
            channels,
            left,
            transformed: &mut transformed,
        };
        vectorised(profile, input);
        let multiply = |products: &mut [MaybeUninit<T>]| {
            let along =
                products.par_chunks_exact_mut(rows * columns).zip(transformed.par_chunks_exact(length));
            along.zip(&weights.0).for_each(|((products, transformed), weights)| {
                // SAFETY: the transform wrote every channel of each row; gaps between rows are not read.
                unsafe { left.multiply(profile, transformed, weights, products) };
            });
        };
        // SAFETY: each product writes its whole chunk.
        let products = unsafe { written(POSITIONS * rows * columns, multiply) };
        vectorised(
            profile,
            OutputTransform { tiles, block, products: &products, columns, epilogue, output: &output },
        );
    });
}

/// The output; each block writes different pixels.
struct SharedOutput<T>(*mut T);

// SAFETY: a pixel belongs to one tile, and a tile to one block.
unsafe impl<T: Send> Sync for SharedOutput<T> {}

/// Transforms the input tiles of a block into left operands, one for each position of a transformed tile.
struct InputTransform<'a, T> {
    tiles: &'a Tiles,
    block: Range<usize>,
    x: &'a [T],
    /// A pixel outside the image.
    zeros: &'a [T],
    channels: usize,
    left: LeftRows,
    transformed: &'a mut [MaybeUninit<T>],
}

impl<T: Float> Vectorised for InputTransform<'_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) {
        let Self { channels, left, .. } = self;
        let (length, transformed) = (left.length(), self.transformed.as_mut_ptr().cast::<T>());
        for (row, tile) in self.block.enumerate() {
            let mut sources = [self.zeros.as_ptr(); POSITIONS];
            for (source, pixel) in sources.iter_mut().zip(self.tiles.inputs(tile)) {
                if let Some(pixel) = pixel {
                    *source = self.x[pixel * channels..][..channels].as_ptr();
                }
            }
            for (depth, start) in left.depth_blocks() {
                let mut channel = depth.start;
                while channel < depth.end {
                    let count = V::LANES.min(depth.end - channel);
                    let at = start + left.row(row) + channel - depth.start;
                    // SAFETY: each source holds `channels` numbers; a row of the left operand has room for its depth.
                    unsafe {
                        let pixels = each(
                            v,
                            #[inline(always)]
                            |pixel| load(v, sources[pixel].add(channel), count),
                        );
                        let values = transform::input(pixels);
                        for position in 0..POSITIONS {
                            store(values[position], transformed.add(position * length + at), count);
                        }
                    }
                    channel += count;
                }
            }
        }
    }
}

/// Transforms products into outputs.
struct OutputTransform<'a, T> {
    tiles: &'a Tiles,
    block: Range<usize>,
    /// [positions, tiles, columns]
    products: &'a [T],
    columns: usize,
    epilogue: Epilogue<'a, T>,
    output: &'a SharedOutput<T>,
}

impl<T: Float> Vectorised for OutputTransform<'_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) {
        let Self { columns, epilogue, .. } = self;
        let size = self.block.len() * columns;
        for (row, tile) in self.block.enumerate() {
            let pixels = self.tiles.outputs(tile);
            let mut column = 0;
            while column < columns {
                let count = V::LANES.min(columns - column);
                // SAFETY: the products of a position have `size` elements; pixels lie within output and
                // residual, whose lengths were compared; each column has a bias.
                unsafe {
                    let products = self.products.as_ptr().add(row * columns + column);
                    let products: [V; POSITIONS] = each(
                        v,
                        #[inline(always)]
                        |position| load(v, products.add(position * size), count),
                    );
                    let values = transform::output(products);
                    for (index, &pixel) in pixels.iter().enumerate() {
                        let (Some(pixel), mut value) = (pixel, values[index]) else { continue };
                        let at = pixel * columns + column;
                        if let Some(bias) = epilogue.bias {
                            value = value.add(load(v, bias.as_ptr().add(column), count));
                        }
                        if let Some(residual) = epilogue.residual {
                            value = value.add(load(v, residual.as_ptr().add(at), count));
                        }
                        store(epilogue.activation.of(value), self.output.0.add(at), count);
                    }
                }
                column += count;
            }
        }
    }
}
