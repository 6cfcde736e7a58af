//! The weight gradient: products of transformed inputs and transformed output gradients, summed over all tiles.

// Index loops over arrays of vectors are intended: iterators over several arrays at once are harder to read.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use rayon::prelude::*;

use super::tiles::{PixelOffsets, Tiles};
use super::{POSITIONS, transform};
use crate::ops::buffer;
use crate::ops::conv2d::geometry::ConvGeometry;
use crate::ops::conv2d::gradient::add;
use crate::ops::float::Float;
use crate::ops::gemm::{PanelShape, Panels, written};
use crate::ops::profile::Profile;
use crate::ops::vector::{Registers, Vector, Vectorised, each, load, store, vectorised};

/// Sums of at least this many elements are kept separate, so that threads need not wait for each other.
const PARTS_LENGTH: usize = 1 << 20;
const MOST_PARTS: usize = 16;

/// The gradient of the weight, [O, I, 3, 3].
pub fn weight_gradient<T: Float>(
    profile: Profile,
    geometry: &ConvGeometry,
    x: &[T],
    gradient: &[T],
) -> Vec<T> {
    let [inputs, outputs] = geometry.channels;
    let tiles = Tiles::forward(geometry);
    let panels = Panels::of::<T>(profile, outputs, inputs);
    let length = POSITIONS * panels.output_length();
    let blocks = tiles.blocks(panels.depth());
    let parts = (PARTS_LENGTH / length).clamp(1, MOST_PARTS).min(blocks.len());
    let sums: Vec<Vec<T>> = (0..parts)
        .into_par_iter()
        .with_max_len(1)
        .map(|part| {
            let mut sums = vec![T::ZERO; length];
            for block in &blocks[part * blocks.len() / parts..(part + 1) * blocks.len() / parts] {
                add_block(profile, &tiles, &panels, block.clone(), [x, gradient], &mut sums);
            }
            sums
        })
        .collect();
    let mut sums = sums.into_iter();
    let mut total = sums.next().unwrap_or_default();
    for part in sums {
        total
            .par_chunks_mut(1 << 14)
            .zip(part.par_chunks(1 << 14))
            .for_each(|(to, from)| add(profile, to, from));
    }
    let kernel = inputs * 9;
    let write = |output: usize, kernels: &mut [std::mem::MaybeUninit<T>]| {
        vectorised(profile, KernelGradientTransform { panels: &panels, sums: &total, output, kernels });
    };
    // SAFETY: every kernel of every output is written.
    unsafe { buffer::build(outputs * kernel, kernel, write) }
}

/// Adds the products of one block of tiles to `sums`: for each right panel, for each position, [outputs, width].
fn add_block<T: Float>(
    profile: Profile,
    tiles: &Tiles,
    panels: &Panels,
    block: Range<usize>,
    [x, gradient]: [&[T]; 2],
    sums: &mut [T],
) {
    let depth = block.len();
    let transformed = |shape: PanelShape, of_input: bool, source: &[T]| {
        let (length, outside) = (POSITIONS * depth * shape.width, vec![T::ZERO; shape.all]);
        let pixels = &tiles.pixels(block.clone(), of_input, source, &outside);
        let fill = |numbers: &mut [std::mem::MaybeUninit<T>]| {
            numbers.par_chunks_exact_mut(length).enumerate().for_each(|(panel, numbers)| {
                let (channels, width) = (shape.channels(panel), shape.width);
                vectorised(profile, TileTransform { pixels, of_input, channels, width, numbers });
            });
        };
        // SAFETY: the transform writes each whole panel.
        unsafe { written(shape.count() * length, fill) }
    };
    let right = transformed(panels.right, true, x);
    let left = transformed(panels.left, false, gradient);
    let left_length = depth * panels.left.width;
    let right_length = POSITIONS * depth * panels.right.width;
    let chunks = sums
        .par_chunks_exact_mut(POSITIONS * panels.panel_length())
        .zip(right.par_chunks_exact(right_length));
    chunks.enumerate().for_each(|(panel, (sums, right))| {
        let positions = right.chunks_exact(depth * panels.right.width);
        for (position, (sums, right)) in
            sums.chunks_exact_mut(panels.panel_length()).zip(positions).enumerate()
        {
            panels.multiply(
                profile,
                depth,
                &left,
                (position * left_length, POSITIONS * left_length),
                right,
                panel,
                sums,
            );
        }
    });
}

/// Transforms the tiles of a block for one panel of channels: [positions, tiles, width], with zeros beyond the
/// channels.
struct TileTransform<'a, T> {
    pixels: &'a PixelOffsets<'a, T>,
    of_input: bool,
    channels: Range<usize>,
    width: usize,
    numbers: &'a mut [std::mem::MaybeUninit<T>],
}

impl<T: Float> Vectorised for TileTransform<'_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) {
        let Self { width, channels, .. } = self;
        let size = self.pixels.places.len() * width;
        assert!(self.numbers.len() == POSITIONS * size);
        let numbers = self.numbers.as_mut_ptr().cast::<T>();
        for (slot, sources) in self.pixels.places.iter().enumerate() {
            let mut lane = 0;
            while lane < width {
                let count = V::LANES.min(channels.len().saturating_sub(lane));
                // SAFETY: the sources hold all channels, and `numbers` holds `size` for each position.
                unsafe {
                    let values = match self.of_input {
                        true => transform::input(each(
                            v,
                            #[inline(always)]
                            |pixel| load(v, sources[pixel].wrapping_add(channels.start + lane), count),
                        )),
                        false => transform::output_gradient(each(
                            v,
                            #[inline(always)]
                            |pixel| load(v, sources[pixel].wrapping_add(channels.start + lane), count),
                        )),
                    };
                    let to = numbers.add(slot * width + lane);
                    for position in 0..POSITIONS {
                        store(values[position], to.add(position * size), V::LANES.min(width - lane));
                    }
                }
                lane += V::LANES;
            }
        }
    }
}

/// Transforms the gradients of transformed kernels to those of the kernels of one output channel, [I, 3, 3].
struct KernelGradientTransform<'a, T> {
    panels: &'a Panels,
    sums: &'a [T],
    output: usize,
    kernels: &'a mut [std::mem::MaybeUninit<T>],
}

impl<T: Float> Vectorised for KernelGradientTransform<'_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) {
        const MOST: usize = 16;
        let (shape, position) = (self.panels.right, self.panels.panel_length());
        let half = V::splat(v, T::from_f64(0.5));
        assert!(V::LANES <= MOST);
        for panel in 0..shape.count() {
            let channels = shape.channels(panel);
            let mut lane = 0;
            while lane < channels.len() {
                let start = panel * POSITIONS * position + self.output * shape.width + lane;
                let count = V::LANES.min(shape.width - lane);
                let sums: [V; POSITIONS] = each(
                    v,
                    #[inline(always)]
                    // SAFETY: the slice has `count` elements.
                    |i| unsafe { load(v, self.sums[start + i * position..][..count].as_ptr(), count) },
                );
                let mut taps = [[T::ZERO; MOST]; 9];
                let values = transform::weight_gradient(sums, half);
                for (taps, value) in taps.iter_mut().zip(&values) {
                    // SAFETY: there is room for the widest vector.
                    unsafe { value.store(taps.as_mut_ptr()) };
                }
                for place in 0..count.min(channels.len() - lane) {
                    let kernel = &mut self.kernels[(channels.start + lane + place) * 9..][..9];
                    for (number, taps) in kernel.iter_mut().zip(&taps) {
                        number.write(taps[place]);
                    }
                }
                lane += V::LANES;
            }
        }
    }
}
