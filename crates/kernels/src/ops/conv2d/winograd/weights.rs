//! Transforms kernels and packs them as right operands of the 16 products.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::{POSITIONS, transform};
use crate::ops::float::Float;
use crate::ops::gemm::Packed;
use crate::ops::profile::Profile;
use crate::ops::vector::{Registers, Vector, Vectorised, each, vectorised};

/// The convolution that the weights are used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ConvDirection {
    /// Forward: from inputs to outputs.
    Forward,
    /// Backward: from the output's gradient to the input's, with input and output channels exchanged and kernels
    /// flipped.
    Backward,
}

/// One packed operand for each position of a transformed tile.
pub struct TransformedWeights<T>(pub(super) Vec<Packed<T>>);

impl<T: Float> TransformedWeights<T> {
    /// `weight` is [O, I, 3, 3].
    pub fn new(profile: Profile, weight: &[T], [inputs, outputs]: [usize; 2], turn: ConvDirection) -> Self {
        let (depth, columns, inner, outer) = match turn {
            ConvDirection::Forward => (inputs, outputs, 9, inputs * 9),
            ConvDirection::Backward => (outputs, inputs, inputs * 9, 9),
        };
        let kernels = WeightTransform { weight, inner, outer, turned: turn == ConvDirection::Backward };
        let fill = |depth: Range<usize>,
                    columns: Range<usize>,
                    width: usize,
                    panels: &mut [&mut [MaybeUninit<T>]]| {
            vectorised(profile, PanelFill { kernels, depth, columns, width, panels });
        };
        // SAFETY: `PanelFill` writes `width` elements for each k of each panel.
        Self(unsafe { Packed::many(profile, depth, columns, POSITIONS, fill) })
    }
}

#[derive(Clone, Copy)]
struct WeightTransform<'a, T> {
    weight: &'a [T],
    /// The strides between kernels along the inner dimension of the product and along its columns.
    inner: usize,
    outer: usize,
    turned: bool,
}

/// Writes some k of one panel, for all positions.
struct PanelFill<'a, 'p, T> {
    kernels: WeightTransform<'a, T>,
    depth: Range<usize>,
    columns: Range<usize>,
    width: usize,
    panels: &'a mut [&'p mut [MaybeUninit<T>]],
}

impl<T: Float> Vectorised for PanelFill<'_, '_, T> {
    type Number = T;
    type Output = ();

    #[inline(always)]
    fn compute<V: Vector<Number = T>>(self, v: Registers<V>) {
        const MOST: usize = 16;
        let WeightTransform { weight, inner, outer, turned } = self.kernels;
        let half = V::splat(v, T::from_f64(0.5));
        for panel in self.panels.iter() {
            assert!(panel.len() >= self.depth.len() * self.width && V::LANES <= MOST);
        }
        for (slot, k) in self.depth.enumerate() {
            let mut lane = 0;
            while lane < self.width {
                // One kernel for each lane, tap by tap.
                let mut taps = [[T::ZERO; MOST]; 9];
                let first = self.columns.start + lane;
                for (place, column) in (first..self.columns.end.min(first + V::LANES)).enumerate() {
                    let kernel = &weight[k * inner + column * outer..][..9];
                    for tap in 0..9 {
                        taps[if turned { 8 - tap } else { tap }][place] = kernel[tap];
                    }
                }
                let taps: [V; 9] = each(
                    v,
                    #[inline(always)]
                    // SAFETY: each tap has room for the widest vector.
                    |tap| unsafe { V::load(v, taps[tap].as_ptr()) },
                );
                let count = V::LANES.min(self.width - lane);
                let values = transform::weight(taps, half);
                for (panel, value) in self.panels.iter_mut().zip(&values) {
                    // SAFETY: the panel holds `width` elements for each k, asserted above.
                    unsafe {
                        value.store_some(panel.as_mut_ptr().cast::<T>().add(slot * self.width + lane), count)
                    };
                }
                lane += V::LANES;
            }
        }
    }
}
