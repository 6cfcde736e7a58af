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

impl<T: Float> Patches<'_, T> {
    /// Calls `visit` with image, y and x of the first tap of each of the positions.
    #[inline(always)]
    fn for_each_position(&self, rows: Range<usize>, mut visit: impl FnMut(usize, isize, isize)) {
        let [height, width] = self.grid;
        let first = self.first + rows.start;
        let (mut image, mut y, mut x) = (first / (height * width), first / width % height, first % width);
        for _ in rows {
            let place = |axis: usize, at: usize| (at * self.stride[axis]) as isize + self.origin[axis];
            visit(image, place(0, y), place(1, x));
            x += 1;
            if x == width {
                (x, y) = (0, y + 1);
            }
            if y == height {
                (y, image) = (0, image + 1);
            }
        }
    }

    /// Copies the `columns` of one row to `to`, the first of them being in line `line.0` of the kernel at `line.1`.
    #[inline(always)]
    fn gather(&self, [image, y, x]: [isize; 3], line: (usize, usize), mut to: &mut [T]) {
        let channels = self.channels.len();
        let length = self.kernel[1] * channels;
        let (mut tap_y, mut start) = line;
        while !to.is_empty() {
            let run;
            (run, to) = to.split_at_mut((length - start).min(to.len()));
            let row = y + tap_y as isize;
            if row < 0 || row >= self.size[0] as isize {
                run.fill(T::ZERO);
            } else {
                let row = (image as usize * self.size[0] + row as usize) * self.size[1];
                if channels == self.pixel {
                    self.gather_line(row, x, start, run);
                } else {
                    self.gather_pixels(row, x, start, run);
                }
            }
            (tap_y, start) = (tap_y + 1, 0);
        }
    }

    /// With all channels taken, neighbouring taps are neighbours in memory: one run between the borders.
    #[inline(always)]
    fn gather_line(&self, row: usize, x: isize, start: usize, to: &mut [T]) {
        let end = start + to.len();
        let inside = |taps: isize| (taps.max(0) as usize * self.pixel).clamp(start, end);
        let (from, until) = (inside(-x), inside(self.size[1] as isize - x));
        to[..from - start].fill(T::ZERO);
        if from < until {
            let at = (row as isize + x) * self.pixel as isize + from as isize;
            copy_run(&mut to[from - start..until - start], &self.image[at as usize..]);
        }
        to[until.max(from) - start..].fill(T::ZERO);
    }

    #[inline(always)]
    fn gather_pixels(&self, row: usize, x: isize, start: usize, mut to: &mut [T]) {
        let channels = self.channels.len();
        let (mut tap, mut channel) = (start / channels, start % channels);
        while !to.is_empty() {
            let run;
            (run, to) = to.split_at_mut((channels - channel).min(to.len()));
            let column = x + tap as isize;
            if column < 0 || column >= self.size[1] as isize {
                run.fill(T::ZERO);
            } else {
                let at = (row + column as usize) * self.pixel + self.channels.start + channel;
                copy_run(run, &self.image[at..]);
            }
            (tap, channel) = (tap + 1, 0);
        }
    }

    /// Packs `rows` × `columns`, each row at `stride`.
    #[inline(always)]
    fn pack_rows(&self, rows: Range<usize>, columns: Range<usize>, stride: usize, panel: &mut [T]) {
        let length = self.kernel[1] * self.channels.len();
        let line = (columns.start / length, columns.start % length);
        let mut slots = panel.chunks_mut(stride);
        self.for_each_position(
            rows,
            #[inline(always)]
            |image, y, x| {
                let slot = slots.next().expect("a panel has a slot for each row");
                self.gather([image as isize, y, x], line, &mut slot[..columns.len()]);
            },
        );
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
