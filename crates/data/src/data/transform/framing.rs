//! Determines the region of a picture to show, its size, and its position in the result.

use crate::data::Region;
use crate::data::geometry::{AffineMap, Geometry};
use crate::data::image::{PixelData, Raster};

/// How to scale a picture without a random crop to the network's input size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FitMode {
    /// Scales the shorter side to `resize`, then crops the central square. Smaller pictures are padded with black.
    /// Equals torchvision's `Resize` and `CenterCrop`.
    CentreCrop { resize: u32 },
    /// Shows the whole picture: scales the longer side to the input size and pads each side with `pad` to a multiple
    /// of `stride`. 255 is full range.
    Letterbox { pad: f64, stride: u32 },
}

/// A region of a picture, scaled to a size; a window of the result is copied into the output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct CropPlan {
    pub region: Region,
    pub size: (u32, u32),
    pub window: Region,
    /// The position of the window in the output.
    pub place: (u32, u32),
    pub output: (u32, u32),
    /// The value of the pixels around the window, where 255 is full range.
    pub pad: f64,
}

impl CropPlan {
    /// A region that fills a square.
    pub fn filling(region: Region, side: u32) -> Self {
        let size = (side, side);
        Self { region, size, window: Region::whole(size), place: (0, 0), output: size, pad: 0.0 }
    }

    /// Whether the window is the whole output.
    pub fn fills(&self) -> bool {
        (self.window.width, self.window.height) == self.output
    }

    /// Copies the samples of the window into an output that is `pad` elsewhere.
    pub fn put<T: Copy>(&self, window: &[T], channels: usize, pad: T, out: &mut Vec<T>) {
        let line = self.output.0 as usize * channels;
        out.clear();
        out.resize(line * self.output.1 as usize, pad);
        let rows = out.chunks_exact_mut(line).skip(self.place.1 as usize);
        for (row, part) in rows.zip(window.chunks_exact(self.window.width as usize * channels)) {
            row[self.place.0 as usize * channels..][..part.len()].copy_from_slice(part);
        }
    }

    /// Pads a window of floats to the output.
    pub fn padded(&self, window: Vec<f32>, channels: usize) -> Raster {
        let (width, height) = self.output;
        let mut samples = window;
        if !self.fills() {
            let window = std::mem::take(&mut samples);
            self.put(&window, channels, (self.pad / 255.0) as f32, &mut samples);
        }
        Raster { width, height, channels, samples: PixelData::F32(samples) }
    }

    /// Maps coordinates in the picture to coordinates in the output.
    pub fn map(&self) -> AffineMap {
        let axis = |size: u32, (start, length): (u32, u32), window: u32, place: u32| {
            let scale = f64::from(size) / f64::from(length);
            (scale, f64::from(place) - f64::from(window) - f64::from(start) * scale)
        };
        let Self { region, size, window, place, .. } = self;
        let (across, right) = axis(size.0, (region.left, region.width), window.left, place.0);
        let (down, below) = axis(size.1, (region.top, region.height), window.top, place.1);
        [[across, 0.0, right], [0.0, down, below]]
    }

    /// The complete geometric change of a picture of this size.
    pub fn geometry(&self, picture: (u32, u32)) -> Geometry {
        Geometry::identity(picture).then(self.map(), self.output)
    }
}

impl FitMode {
    /// The plan for a picture of this size. Only the pixels inside the window are computed.
    pub(super) fn framing(self, picture: (u32, u32), side: u32) -> CropPlan {
        let region = Region::whole(picture);
        match self {
            Self::CentreCrop { resize } => {
                let size = resized(picture, resize);
                let (left, width, pad_left) = central(size.0, side);
                let (top, height, pad_top) = central(size.1, side);
                let window = Region { left, top, width, height };
                CropPlan { region, size, window, place: (pad_left, pad_top), output: (side, side), pad: 0.0 }
            }
            Self::Letterbox { pad, stride } => {
                let scale = f64::from(side) / f64::from(picture.0.max(picture.1));
                let axis = |length: u32| {
                    let length = ((f64::from(length) * scale).round_ties_even() as u32).max(1);
                    let output = length.next_multiple_of(stride);
                    // Of odd margins, the smaller half comes first.
                    (length, output, (output - length) / 2)
                };
                let ((width, across, left), (height, down, top)) = (axis(picture.0), axis(picture.1));
                let (size, output) = ((width, height), (across, down));
                CropPlan { region, size, window: Region::whole(size), place: (left, top), output, pad }
            }
        }
    }

    /// Whether the output is a square for every picture.
    pub(super) fn is_square(self, side: u32) -> bool {
        match self {
            Self::CentreCrop { .. } => true,
            Self::Letterbox { stride, .. } => stride == side,
        }
    }
}

/// The size with the given shorter side. The longer side is in proportion, rounded down as in torchvision's `Resize`.
fn resized((width, height): (u32, u32), shorter: u32) -> (u32, u32) {
    let longer = |short: u32, long: u32| ((u64::from(shorter) * u64::from(long)) / u64::from(short)) as u32;
    if width <= height { (shorter, longer(width, height)) } else { (longer(height, width), shorter) }
}

/// For an axis of this length: the offset and length of the central crop, and the black padding before it.
fn central(length: u32, size: u32) -> (u32, u32, u32) {
    // Odd margins: padding puts the smaller half first, cropping rounds half to even.
    match length.checked_sub(size) {
        Some(spare) => ((f64::from(spare) / 2.0).round_ties_even() as u32, size, 0),
        None => (0, length, (size - length) / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_offsets_are_computed_as_torchvision_does() {
        for (shorter, step) in [(1u32, 97usize), (64, 61), (183, 53), (256, 37), (257, 31), (4096, 89)] {
            for width in (1u32..6000).step_by(step) {
                for height in (1u32..6000).step_by(step + 2) {
                    // `_compute_resized_image_output_size`: int(requested * long / short), a float division.
                    let (short, long) = (f64::from(width.min(height)), f64::from(width.max(height)));
                    let longer = (f64::from(shorter) * long / short) as u32;
                    let expected = if width <= height { (shorter, longer) } else { (longer, shorter) };
                    assert_eq!(
                        resized((width, height), shorter),
                        expected,
                        "{width} × {height} to {shorter}"
                    );
                }
            }
        }
        for (length, size) in (1u32..300).flat_map(|length| (1u32..300).map(move |size| (length, size))) {
            let (offset, kept, padding) = central(length, size);
            if length >= size {
                // `center_crop`: int(round((image - crop) / 2.0)), where Python rounds half to even.
                let half = (length - size) / 2;
                let expected = half + (length - size) % 2 * (half % 2);
                assert_eq!((offset, kept, padding), (expected, size, 0), "{length} {size}");
            } else {
                // Padding of (crop - image) // 2 at the start.
                assert_eq!((offset, kept, padding), (0, length, (size - length) / 2), "{length} {size}");
            }
        }
    }

    #[test]
    fn a_letterbox_shows_the_whole_picture_in_multiples_of_the_stride() {
        let fit = FitMode::Letterbox { pad: 114.0, stride: 32 };
        let framing = |picture| {
            let CropPlan { size, place, output, .. } = fit.framing(picture, 64);
            (size, place, output)
        };
        assert_eq!(framing((640, 480)), ((64, 48), (0, 8), (64, 64)));
        assert_eq!(framing((100, 31)), ((64, 20), (0, 6), (64, 32)));
        assert_eq!(framing((31, 100)), ((20, 64), (6, 0), (32, 64)));
        assert_eq!(framing((32, 8)), ((64, 16), (0, 8), (64, 32)), "a small picture is enlarged");
        assert_eq!(framing((9, 1)), ((64, 7), (0, 12), (64, 32)), "the smaller half is ahead");
        assert!(!fit.is_square(64) && FitMode::Letterbox { pad: 0.0, stride: 64 }.is_square(64));
    }
}
