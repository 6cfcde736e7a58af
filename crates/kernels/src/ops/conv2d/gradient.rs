//! The gradients of weight and bias: sums over all output pixels, in chunks cut by shape and added in order.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::geometry::ConvGeometry;
use super::patches::Patches;
use crate::ops::float::Float;
use crate::ops::gemm::{Epilogue, Matrix, Output, Product, Right, RowOffsets, written};
use crate::ops::profile::Profile;

/// The number of pixels that are worth a separate sum.
const CHUNK: usize = 2048;
/// The columns that one thread sums.
const COLUMNS: usize = 64;
/// The number of parts that keeps enough threads busy.
const PARTS: usize = 16;

/// The gradient of a dense or grouped weight, [O, I, kH, kW].
pub(super) fn weight_gradient<T: Float>(
    profile: Profile,
    geometry: &ConvGeometry,
    x: &[T],
    gradient: &[T],
) -> Vec<T> {
    let [inputs, outputs] = geometry.group_channels();
    let (taps, pixels) = (geometry.taps(), geometry.output_pixels());
    let columns = taps * inputs;
    // The product itself is cut into parts of about this size.
    let parts = outputs.div_ceil(448) * columns.div_ceil(256);
    let chunks = PARTS.div_ceil(parts.max(1)).min(pixels.div_ceil(CHUNK)).max(1);
    let chunk = pixels.div_ceil(chunks);
    let mut result = Vec::with_capacity(geometry.weight_length());
    for group in 0..geometry.groups {
        let compute = |(index, sums): (usize, &mut [MaybeUninit<T>])| {
            let first = (index * chunk).min(pixels);
            let depth = chunk.min(pixels - first);
            let left = Matrix {
                data: &gradient[(first * geometry.channels[1] + group * outputs).min(gradient.len())..],
                row_stride: 1,
                column_stride: geometry.channels[1],
            };
            let right = Patches { first, ..geometry.patches(group, x) };
            Product {
                profile,
                rows: outputs,
                columns,
                depth,
                left: &left,
                right: Right::Source(&right),
                epilogue: Epilogue::NONE,
            }
            .compute(Output::uninitialized(sums, RowOffsets::Even { start: 0, stride: columns }));
        };
        // SAFETY: each product writes its whole chunk.
        let mut sums = unsafe {
            written(chunks * outputs * columns, |sums| {
                sums.par_chunks_exact_mut(outputs * columns).enumerate().for_each(compute);
            })
        };
        let (total, rest) = sums.split_at_mut(outputs * columns);
        for sums in rest.chunks_exact(outputs * columns) {
            add(profile, total, sums);
        }
        sums.truncate(outputs * columns);
        if taps == 1 {
            result.append(&mut sums);
            continue;
        }
        // Transposes [O, kH, kW, I] to [O, I, kH, kW].
        for kernel in sums.chunks_exact(columns) {
            result.extend((0..inputs).flat_map(|input| kernel[input..].iter().step_by(inputs)));
        }
    }
    result
}

/// The gradient of the bias: the column sums of a row-major matrix, in f64 and rounded once.
pub(super) fn column_sums<T: Float>(profile: Profile, columns: usize, data: &[T]) -> Vec<T> {
    let mut total = vec![0.0; columns];
    // If there are few, wide rows, threads share the columns, which are independent.
    total.par_chunks_mut(COLUMNS).enumerate().for_each(|(block, total)| {
        let first = block * COLUMNS;
        let mut sums = vec![0.0; total.len()];
        for rows in data.chunks(CHUNK * columns) {
            sums.fill(0.0);
            profile.run(
                #[inline(always)]
                || {
                    for row in rows.chunks_exact(columns) {
                        for (sum, number) in sums.iter_mut().zip(&row[first..]) {
                            *sum += number.widen();
                        }
                    }
                },
            );
            add(profile, total, &sums);
        }
    });
    total.into_iter().map(T::from_f64).collect()
}

/// to += from.
pub(super) fn add<T: Float>(profile: Profile, to: &mut [T], from: &[T]) {
    profile.run(
        #[inline(always)]
        || to.iter_mut().zip(from).for_each(|(to, &from)| *to += from),
    );
}
