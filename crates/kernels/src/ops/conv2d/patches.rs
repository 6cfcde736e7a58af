//! Patches of an image as the rows of a matrix that is never built: one row for each position of the window.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::ops::float::Float;
use crate::ops::gemm::{BLOCK_COLUMNS, Layout, LeftSource, ROW_STRIDE, RightSource, Tiles, copy_run};
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
        // Positions of one line of the grid, and columns of one line of the kernel, go together.
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
                    Place { panel: panel * rows.len() * width, lane, width, stride: rows.len() * width };
                column += part.len();
                self.pack_part(source, x..x + count, part, place, (row - first) * width, panels);
            }
            row += count;
        }
    }

    /// Packs a part of one line of the kernel for neighbouring positions; `source` is the first pixel of the image's
    /// line, if it has that line, and `slot` the place of the first position within a panel.
    #[inline(always)]
    fn pack_part(
        &self,
        source: Option<usize>,
        positions: Range<usize>,
        part: Range<usize>,
        place: Place,
        slot: usize,
        panels: &mut [MaybeUninit<T>],
    ) {
        let (step, channels) = (self.stride[1] as isize, self.channels.len());
        // The positions for which all taps of the part lie inside.
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

    /// One position near the border of the image or outside, or whose channels are not all taken: by way of a buffer.
    #[inline(never)]
    fn pack_border(
        &self,
        source: Option<usize>,
        x: isize,
        part: Range<usize>,
        place: Place,
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

/// Where a part of a row goes: from a lane of one panel on, then into the next panels.
#[derive(Clone, Copy)]
struct Place {
    /// The start of the first panel.
    panel: usize,
    lane: usize,
    width: usize,
    /// The distance of two panels.
    stride: usize,
}

impl Place {
    #[inline(always)]
    fn copy<T: Copy>(self, mut from: &[T], slot: usize, panels: &mut [MaybeUninit<T>]) {
        let (mut at, mut room) = (self.panel + slot + self.lane, self.width - self.lane);
        while from.len() > room {
            let (run, rest) = from.split_at(room);
            copy_run(&mut panels[at..at + room], run);
            // The next panel's first lane.
            at = at + room - self.width + self.stride;
            (from, room) = (rest, self.width);
        }
        copy_run(&mut panels[at..at + from.len()], from);
    }
}

// SAFETY: of each row every part is packed, whether inside the image or not.
unsafe impl<T: Float> LeftSource<T> for Patches<'_, T> {
    fn layout(&self) -> Layout {
        Layout::Rows
    }

    fn pack(
        &self,
        profile: Profile,
        rows: Range<usize>,
        depth: Range<usize>,
        _: Tiles,
        block: &mut [MaybeUninit<T>],
    ) {
        profile.run(
            #[inline(always)]
            || self.pack_rows(rows, depth, ROW_STRIDE, block),
        );
    }
}

// SAFETY: of each k every part is packed, whether inside the image or not, and the last panel is filled up before.
unsafe impl<T: Float> RightSource<T> for Patches<'_, T> {
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
