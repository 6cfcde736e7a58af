//! Upsampling of components: libjpeg's "fancy" triangle filter, and repetition.

use std::ops::Range;

use super::geometry::ComponentLayout;
use crate::ops::multiversion::multiversion;

/// Writes `columns` of a component's samples for one pixel row to the start of `out`.
pub fn row(
    layout: &ComponentLayout,
    plane: &[u8],
    y: usize,
    columns: Range<usize>,
    between: &mut Vec<i16>,
    out: &mut Vec<u8>,
) {
    let (first_column, first_row) = layout.origin();
    let line = |row: usize| &plane[(row - first_row) * layout.stride()..][..layout.stride()];
    out.clear();
    let near = line(y / layout.down);
    match (layout.across, layout.down, layout.smooth) {
        (1, 1, _) => out.extend_from_slice(&near[columns.start - first_column..columns.end - first_column]),
        (1, 2, true) => {
            // For the lower of two rows the neighbour below; rounded up there and down for the upper one.
            let (far, bias) = (line(neighbour(y, layout.height)), 1 + (y % 2) as u16);
            let span = columns.start - first_column..columns.end - first_column;
            let mix = |(near, far): (&u8, &u8)| ((3 * u16::from(*near) + u16::from(*far) + bias) >> 2) as u8;
            out.extend(near[span.clone()].iter().zip(&far[span]).map(mix));
        }
        (2, 1 | 2, true) => {
            let twice = layout.down == 2;
            let far = if twice { line(neighbour(y, layout.height)) } else { near };
            // With one more sample on either side; at the edges the outermost is repeated.
            let (start, end) = (columns.start / 2, columns.end.div_ceil(2));
            let (left, right) = (start.saturating_sub(1), (end + 1).min(layout.width));
            between.clear();
            between.resize(end - start + 2, 0);
            let skipped = usize::from(start == 0);
            let span = left - first_column..right - first_column;
            let filled = skipped..skipped + span.len();
            blend(&near[span.clone()], &far[span], twice, &mut between[filled.clone()]);
            between[0] = between[skipped];
            let last = between[filled.end - 1];
            between[filled.end..].fill(last);
            out.resize(2 * (end - start), 0);
            spread(between, twice, out);
            out.truncate(columns.end - 2 * start);
            out.drain(..columns.start - 2 * start);
        }
        (across, _, _) => out.extend(columns.map(|x| near[x / across - first_column])),
    }
}

/// The neighbouring sample row on the nearer side of pixel row `y`; at the edges the row itself.
fn neighbour(y: usize, height: usize) -> usize {
    let row = y / 2;
    if y.is_multiple_of(2) { row.saturating_sub(1) } else { (row + 1).min(height - 1) }
}

multiversion! {
    /// Three quarters of the near row and one quarter of the far one, or the near row alone.
    fn blend(near: &[u8], far: &[u8], twice: bool, out: &mut [i16]) {
        if twice {
            for ((out, near), far) in out.iter_mut().zip(near).zip(far) {
                *out = 3 * i16::from(*near) + i16::from(*far);
            }
        } else {
            for (out, near) in out.iter_mut().zip(near) {
                *out = i16::from(*near);
            }
        }
    }
}

multiversion! {
    /// Two pixels per sample except the outermost: three quarters of the sample and one quarter of the neighbour
    /// on that side.
    fn spread(samples: &[i16], twice: bool, out: &mut [u8]) {
        let (left_bias, right_bias, shift) = if twice { (8, 7, 4) } else { (1, 2, 2) };
        let count = out.len() / 2;
        let (before, here, after) = (&samples[..count], &samples[1..][..count], &samples[2..][..count]);
        for (((pair, before), here), after) in out.chunks_exact_mut(2).zip(before).zip(here).zip(after) {
            pair[0] = ((3 * here + before + left_bias) >> shift) as u8;
            pair[1] = ((3 * here + after + right_bias) >> shift) as u8;
        }
    }
}
