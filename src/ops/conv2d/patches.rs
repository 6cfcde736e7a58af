//! Patches of an image as the rows of a matrix that is never built: one row for each position of the window.

use std::ops::Range;

use crate::ops::float::Float;
use crate::ops::gemm::{Layout, LeftSource, ROW_STRIDE, RightSource, copy_run};
use crate::ops::profile::Profile;

/// Element (position, (tap y, tap x, channel)) of the im2col matrix of some channels of [N, H, W, C]; zero where a
/// tap lies outside the image.
pub(super) struct Patches<'a, T> {
    pub image: &'a [T],
    /// Height and width of the image.
    pub size: [usize; 2],
    /// All channels of the image, and those taken.
    pub pixel: usize,
    pub channels: Range<usize>,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Where the first tap of the first position lies; negative by the padding.
    pub origin: [isize; 2],
    /// Height and width of the positions.
    pub grid: [usize; 2],
    /// The position that row 0 stands for, counted through all images.
    pub first: usize,
}

impl<'a, T: Float> Patches<'a, T> {
    /// The patches of an image whose windows are single pixels, side by side: the image itself, as one long line.
    pub fn pixels(image: &'a [T], pixel: usize, channels: Range<usize>) -> Self {
        let width = image.len() / pixel;
        let (kernel, stride, size) = ([1, 1], [1, 1], [1, width]);
        Self { image, size, pixel, channels, kernel, stride, origin: [0, 0], grid: size, first: 0 }
    }

    /// Packs `rows` × `columns`, each row at `stride`.
    #[inline(always)]
    fn pack_rows(&self, rows: Range<usize>, columns: Range<usize>, stride: usize, panel: &mut [T]) {
        let [height, width] = self.grid;
        let length = self.kernel[1] * self.channels.len();
        let last = self.first + rows.end;
        let (mut row, mut slot) = (self.first + rows.start, 0);
        // Positions of one line of the grid, and columns of one line of the kernel, go together.
        while row < last {
            let (line, x) = (row / width, row % width);
            let count = (width - x).min(last - row);
            let mut column = columns.start;
            while column < columns.end {
                let (tap_y, start) = (column / length, column % length);
                let part = start..length.min(start + columns.end - column);
                let slots = &mut panel[slot * stride + column - columns.start..];
                column += part.len();
                let y = (line % height * self.stride[0] + tap_y) as isize + self.origin[0];
                let source = (0..self.size[0] as isize)
                    .contains(&y)
                    .then(|| (line / height * self.size[0] + y as usize) * self.size[1]);
                self.pack_part(source, x..x + count, part, stride, slots);
            }
            row += count;
            slot += count;
        }
    }

    /// Packs a part of one line of the kernel for neighbouring positions; `source` is the first pixel of the image's
    /// line, if it has that line.
    #[inline(always)]
    fn pack_part(
        &self,
        source: Option<usize>,
        positions: Range<usize>,
        part: Range<usize>,
        stride: usize,
        slots: &mut [T],
    ) {
        let slots = slots.chunks_mut(stride).map(|slot| &mut slot[..part.len()]);
        let Some(source) = source else {
            slots.take(positions.len()).for_each(|slot| slot.fill(T::ZERO));
            return;
        };
        let (step, channels) = (self.stride[1] as isize, self.channels.len());
        let place = |position: usize| position as isize * step + self.origin[1];
        if channels != self.pixel {
            for (position, slot) in positions.zip(slots) {
                self.gather_pixels(source, place(position), part.start, slot);
            }
            return;
        }
        // The positions for which all taps of the part lie inside.
        let low = -self.origin[1] - (part.start / channels) as isize;
        let high = self.size[1] as isize - self.origin[1] - ((part.end - 1) / channels) as isize;
        let inside = (low + step - 1).div_euclid(step)..(high + step - 1).div_euclid(step);
        for (position, slot) in positions.zip(slots) {
            let x = place(position);
            if inside.contains(&(position as isize)) {
                let at = (source as isize + x) * self.pixel as isize + part.start as isize;
                copy_run(slot, &self.image[at as usize..]);
            } else {
                self.gather_line(source, x, part.start, slot);
            }
        }
    }

    /// With all channels taken, neighbouring taps are neighbours in memory: one run between the borders.
    #[inline(never)]
    fn gather_line(&self, source: usize, x: isize, start: usize, to: &mut [T]) {
        let end = start + to.len();
        let inside = |taps: isize| (taps.max(0) as usize * self.pixel).clamp(start, end);
        let (from, until) = (inside(-x), inside(self.size[1] as isize - x));
        to[..from - start].fill(T::ZERO);
        if from < until {
            let at = (source as isize + x) * self.pixel as isize + from as isize;
            copy_run(&mut to[from - start..until - start], &self.image[at as usize..]);
        }
        to[until.max(from) - start..].fill(T::ZERO);
    }

    #[inline(always)]
    fn gather_pixels(&self, source: usize, x: isize, start: usize, mut to: &mut [T]) {
        let channels = self.channels.len();
        let (mut tap, mut channel) = (start / channels, start % channels);
        while !to.is_empty() {
            let run;
            (run, to) = to.split_at_mut((channels - channel).min(to.len()));
            let column = x + tap as isize;
            if column < 0 || column >= self.size[1] as isize {
                run.fill(T::ZERO);
            } else {
                let at = (source + column as usize) * self.pixel + self.channels.start + channel;
                copy_run(run, &self.image[at..]);
            }
            (tap, channel) = (tap + 1, 0);
        }
    }
}

impl<T: Float> LeftSource<T> for Patches<'_, T> {
    fn layout(&self) -> Layout {
        Layout::Rows
    }

    fn pack(
        &self,
        profile: Profile,
        rows: Range<usize>,
        depth: Range<usize>,
        _lanes: usize,
        panel: &mut [T],
    ) {
        profile.run(
            #[inline(always)]
            || self.pack_rows(rows, depth, ROW_STRIDE, panel),
        );
    }
}

impl<T: Float> RightSource<T> for Patches<'_, T> {
    fn pack(
        &self,
        profile: Profile,
        depth: Range<usize>,
        columns: Range<usize>,
        width: usize,
        panel: &mut [T],
    ) {
        profile.run(
            #[inline(always)]
            || {
                if columns.len() < width {
                    panel.fill(T::ZERO);
                }
                self.pack_rows(depth, columns, width, panel);
            },
        );
    }
}
