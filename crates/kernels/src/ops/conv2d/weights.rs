//! Convolution weights [O, I, kH, kW] as the right operands of products.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::ops::float::Float;
use crate::ops::gemm::RightSource;
use crate::ops::profile::Profile;

/// Element ((tap, inner channel), column channel): in the forward pass the inner channels are the input's, for
/// the input gradient the output's.
pub(super) struct ConvWeights<'a, T> {
    /// From the first weight of the group.
    pub data: &'a [T],
    /// The offset of each tap in a kernel, in summation order.
    pub taps: Vec<usize>,
    pub inner: usize,
    pub inner_stride: usize,
    pub column_stride: usize,
}

// SAFETY: each k of a panel is written for every column, and missing columns are zeroed before.
unsafe impl<T: Float> RightSource<T> for ConvWeights<'_, T> {
    fn pack(
        &self,
        profile: Profile,
        depth: Range<usize>,
        columns: Range<usize>,
        width: usize,
        block: &mut [MaybeUninit<T>],
    ) {
        let &Self { data, inner, inner_stride, column_stride, .. } = self;
        let panels = columns.clone().step_by(width).map(|first| first..columns.end.min(first + width));
        profile.run(
            #[inline(always)]
            || {
                for (mut panel, columns) in block.chunks_exact_mut(depth.len() * width).zip(panels) {
                    if columns.len() < width {
                        panel.fill(MaybeUninit::new(T::ZERO));
                    }
                    let mut k = depth.start;
                    while k < depth.end {
                        // Handles a few k of one tap at a time, so that both source and destination stay in the
                        // cache.
                        let (tap, channel) = (k / inner, k % inner);
                        let count = (inner - channel).min(depth.end - k).min(16);
                        let slots;
                        (slots, panel) = panel.split_at_mut(count * width);
                        for (lane, column) in columns.clone().enumerate() {
                            let start = self.taps[tap] + channel * inner_stride + column * column_stride;
                            for (step, slot) in slots.chunks_exact_mut(width).enumerate() {
                                slot[lane].write(data[start + step * inner_stride]);
                            }
                        }
                        k += count;
                    }
                }
            },
        );
    }
}
