//! Image patches as rows of a matrix that is never built: one row per window position.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::ops::buffer::copy_run;
use crate::ops::float::Float;
use crate::ops::gemm::{BLOCK_COLUMNS, LeftSource, Matrix, PackLayout, ROW_STRIDE, RightSource, TileLayout};
use crate::ops::profile::Profile;

/// Element (position, (tap y, tap x, channel)) of the im2col matrix over some channels of [N, H, W, C]; zero if
/// a tap is outside the image.
pub(super) struct Patches<'a, T> {
    pub image: &'a [T],
    /// Height and width of the image.
    pub size: [usize; 2],
    /// The number of all channels, and the channels used.
    pub pixel: usize,
    pub channels: Range<usize>,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// The coordinates of the first tap at the first position; negative because of padding.
    pub origin: [isize; 2],
    /// The height and width of the grid of positions.
    pub grid: [usize; 2],
    /// The position of row 0, counted through all images.
    pub first: usize,
}

impl<'a, T: Float> Patches<'a, T> {
    /// The patches of single-pixel windows: the image itself, as one long line.
    pub fn pixels(image: &'a [T], pixel: usize, channels: Range<usize>) -> Self {
        let width = image.len() / pixel;
        let (kernel, stride, size) = ([1, 1], [1, 1], [1, width]);
        Self { image, size, pixel, channels, kernel, stride, origin: [0, 0], grid: size, first: 0 }
    }

    /// Single pixels, one after another, are a matrix in memory.
    fn as_matrix(&self) -> Option<Matrix<'_, T>> {
        let pixels =
            self.kernel == [1, 1] && self.stride == [1, 1] && self.origin == [0, 0] && self.grid == self.size;
        pixels.then(|| Matrix {
            data: &self.image[(self.first * self.pixel + self.channels.start).min(self.image.len())..],
            row_stride: self.pixel,
            column_stride: 1,
        })
    }

    /// Packs `rows` × `columns` into panels of `width` columns.
    #[inline(always)]
    fn pack_rows(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        width: usize,
        panels: &mut [MaybeUninit<T>],
    ) {
        let [grid_height, grid_width] = self.grid;
        let length = self.kernel[1] * self.channels.len();
        let (first, last) = (self.first + rows.start, self.first + rows.end);
        let mut row = first;
        // Positions in one line of the grid, and columns in one line of the kernel, are handled together.
        while row < last {
            let (line, x) = (row / grid_width, row % grid_width);
            let count = (grid_width - x).min(last - row);
            let mut column = columns.start;
            while column < columns.end {
                let (tap_y, start) = (column / length, column % length);
                let part = start..length.min(start + columns.end - column);
                let y = (line % grid_height * self.stride[0] + tap_y) as isize + self.origin[0];
                let source = (0..self.size[0] as isize)
                    .contains(&y)
                    .then(|| (line / grid_height * self.size[0] + y as usize) * self.size[1]);
                let (panel, lane) = ((column - columns.start) / width, (column - columns.start) % width);
                let place =
                    PanelSpan { panel: panel * rows.len() * width, lane, width, stride: rows.len() * width };
                column += part.len();
                self.pack_part(source, x..x + count, part, place, (row - first) * width, panels);
            }
            row += count;
        }
    }

    /// Packs a part of one kernel line for adjacent positions. `source` is the first pixel of the image line, if
    /// the line exists, and `slot` the index of the first position in its panel.
    #[inline(always)]
    fn pack_part(
        &self,
        source: Option<usize>,
        positions: Range<usize>,
        part: Range<usize>,
        place: PanelSpan,
        slot: usize,
        panels: &mut [MaybeUninit<T>],
    ) {
        let (step, channels) = (self.stride[1] as isize, self.channels.len());
        // The positions where all taps of the part are inside.
        let low = -self.origin[1] - (part.start / channels) as isize;
        let high = self.size[1] as isize - self.origin[1] - ((part.end - 1) / channels) as isize;
        let inside = match source {
            Some(_) if channels == self.pixel => {
                (low + step - 1).div_euclid(step)..(high + step - 1).div_euclid(step)
            }
            _ => 0..0,
        };
        for (index, position) in positions.enumerate() {
            let x = position as isize * step + self.origin[1];
            let slot = slot + index * place.width;
            if inside.contains(&(position as isize)) {
                let source = source.unwrap_or(0) as isize;
                let at = (source + x) * self.pixel as isize + part.start as isize;
                place.copy(&self.image[at as usize..][..part.len()], slot, panels);
            } else {
                self.pack_border(source, x, part.clone(), place, slot, panels);
            }
        }
    }

    /// Packs one position through a buffer: it is near or outside the border, or uses only some channels.
    #[inline(never)]
    fn pack_border(
        &self,
        source: Option<usize>,
        x: isize,
        part: Range<usize>,
        place: PanelSpan,
        slot: usize,
        panels: &mut [MaybeUninit<T>],
    ) {
        let channels = self.channels.len();
        let mut line = [T::ZERO; BLOCK_COLUMNS];
        let line = &mut line[..part.len()];
        let mut column = part.start;
        while let (Some(source), true) = (source, column < part.end) {
            let (tap, channel) = (column / channels, column % channels);
            let count = (channels - channel).min(part.end - column);
            let pixel = x + tap as isize;
            if (0..self.size[1] as isize).contains(&pixel) {
                let at = (source + pixel as usize) * self.pixel + self.channels.start + channel;
                line[column - part.start..][..count].copy_from_slice(&self.image[at..][..count]);
            }
            column += count;
        }
        place.copy(line, slot, panels);
    }
}

/// The destination of a part of a row: from a lane of one panel, then in the next panels.
#[derive(Clone, Copy)]
struct PanelSpan {
    /// The start of the first panel.
    panel: usize,
    lane: usize,
    width: usize,
    /// The distance between two panels.
    stride: usize,
}

impl PanelSpan {
    #[inline(always)]
    fn copy<T: Copy>(self, mut from: &[T], slot: usize, panels: &mut [MaybeUninit<T>]) {
        let (mut at, mut room) = (self.panel + slot + self.lane, self.width - self.lane);
        while from.len() > room {
            let (run, rest) = from.split_at(room);
            copy_run(&mut panels[at..at + room], run);
            // The first lane of the next panel.
            at = at + room - self.width + self.stride;
            (from, room) = (rest, self.width);
        }
        copy_run(&mut panels[at..at + from.len()], from);
    }
}

// SAFETY: every part of each row is packed, inside or outside the image.
unsafe impl<T: Float> LeftSource<T> for Patches<'_, T> {
    fn as_matrix(&self) -> Option<Matrix<'_, T>> {
        self.as_matrix()
    }

    fn layout(&self) -> PackLayout {
        PackLayout::Rows
    }

    fn pack(
        &self,
        profile: Profile,
        rows: Range<usize>,
        depth: Range<usize>,
        _: TileLayout,
        block: &mut [MaybeUninit<T>],
    ) {
        profile.run(
            #[inline(always)]
            || self.pack_rows(rows, depth, ROW_STRIDE, block),
        );
    }
}

// SAFETY: every part of each k is packed, inside or outside the image; the last panel was padded before.
unsafe impl<T: Float> RightSource<T> for Patches<'_, T> {
    fn as_matrix(&self) -> Option<Matrix<'_, T>> {
        self.as_matrix()
    }

    fn pack(
        &self,
        profile: Profile,
        depth: Range<usize>,
        columns: Range<usize>,
        width: usize,
        block: &mut [MaybeUninit<T>],
    ) {
        profile.run(
            #[inline(always)]
            || {
                let whole = columns.len() / width * width;
                if whole < columns.len() {
                    block[depth.len() * whole..][..depth.len() * width].fill(MaybeUninit::new(T::ZERO));
                }
                self.pack_rows(depth, columns, width, block);
            },
        );
    }
}
