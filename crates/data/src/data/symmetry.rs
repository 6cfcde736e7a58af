//! The symmetries of a square: the versions of an image in test-time augmentation.

use candle_core::Tensor;

use super::geometry::Geometry;
use super::{BoxArea, LabelledBox};
use crate::error::Result;
use crate::pipeline::TestTimeAugmentation;

/// One of the eight symmetries of a square: rows and columns are exchanged, then mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Symmetry {
    /// Exchanges rows and columns: a mirror image at the diagonal.
    pub transpose: bool,
    /// Mirrors left and right.
    pub horizontal: bool,
    /// Mirrors top and bottom.
    pub vertical: bool,
}

impl Symmetry {
    /// The versions of an image, the image itself first: all that the enabled symmetries generate.
    pub fn versions(settings: &TestTimeAugmentation) -> Vec<Self> {
        let TestTimeAugmentation { horizontal_flip, vertical_flip, quarter_turns } = *settings;
        let flips = horizontal_flip || vertical_flip;
        let mut versions = Vec::new();
        for transpose in [false, true] {
            for (horizontal, vertical) in [(false, false), (true, false), (false, true), (true, true)] {
                let included = match (quarter_turns, transpose) {
                    (false, true) => false,
                    (false, false) => (horizontal_flip || !horizontal) && (vertical_flip || !vertical),
                    // A quarter turn is a transposition and one flip; half a turn is both flips.
                    (true, transpose) => flips || (horizontal ^ vertical) == transpose,
                };
                if included {
                    versions.push(Self { transpose, horizontal, vertical });
                }
            }
        }
        versions
    }

    pub fn is_identity(&self) -> bool {
        *self == Self::default()
    }

    /// Applies it to images [N, height, width, channels].
    pub fn apply(&self, images: &Tensor) -> Result<Tensor> {
        let mut turned = match self.transpose {
            true => images.transpose(1, 2)?.contiguous()?,
            false => images.clone(),
        };
        for (mirrors, axis) in [(self.horizontal, 2), (self.vertical, 1)] {
            if mirrors {
                turned = turned.flip(&[axis])?.contiguous()?;
            }
        }
        Ok(turned)
    }

    /// The geometric change of an image of this width and height.
    pub fn geometry(&self, [width, height]: [u32; 2]) -> Geometry {
        let source = (width, height);
        let size = if self.transpose { (height, width) } else { source };
        let [mut across, mut down] = match self.transpose {
            true => [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
            false => [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
        };
        for (mirrors, row, length) in
            [(self.horizontal, &mut across, size.0), (self.vertical, &mut down, size.1)]
        {
            if mirrors {
                *row = row.map(|factor| -factor);
                row[2] += f64::from(length);
            }
        }
        Geometry::identity(source).then([across, down], size)
    }

    /// Moves a box, in fractions of the image.
    pub fn moved(&self, object: &LabelledBox) -> LabelledBox {
        let BoxArea { mut left, mut top, mut right, mut bottom } = object.area;
        if self.transpose {
            (left, top, right, bottom) = (top, left, bottom, right);
        }
        if self.horizontal {
            (left, right) = (1.0 - right, 1.0 - left);
        }
        if self.vertical {
            (top, bottom) = (1.0 - bottom, 1.0 - top);
        }
        LabelledBox { area: BoxArea { left, top, right, bottom }, ..*object }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::GeometryChain;
    use super::*;

    fn versions(horizontal_flip: bool, vertical_flip: bool, quarter_turns: bool) -> Vec<Symmetry> {
        Symmetry::versions(&TestTimeAugmentation { horizontal_flip, vertical_flip, quarter_turns })
    }

    fn image() -> Tensor {
        Tensor::arange(0f32, 16., &Device::Cpu).unwrap().reshape((1, 4, 4, 1)).unwrap()
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_enabled_symmetries_generate_the_versions() {
        let counts = |h, v, q| versions(h, v, q).len();
        assert_eq!([counts(false, false, false), counts(true, false, false)], [1, 2]);
        assert_eq!([counts(false, true, false), counts(true, true, false)], [2, 4]);
        assert_eq!(
            [counts(false, false, true), counts(true, false, true), counts(true, true, true)],
            [4, 8, 8]
        );
        assert!(versions(true, true, true)[0].is_identity());
        // A version of a version is a version, so each set is closed; and all are different pictures.
        for (h, v, q) in [(true, true, false), (false, false, true), (true, false, true)] {
            let all = versions(h, v, q);
            let pictures: Vec<_> = all.iter().map(|each| numbers(&each.apply(&image()).unwrap())).collect();
            for first in &all {
                let turned = first.apply(&image()).unwrap();
                for second in &all {
                    let twice = numbers(&second.apply(&turned).unwrap());
                    assert_eq!(pictures.iter().filter(|picture| **picture == twice).count(), 1);
                }
            }
        }
    }

    #[test]
    fn pixels_boxes_and_geometry_move_alike() {
        let area = BoxArea { left: 0.25, top: 0.5, right: 0.5, bottom: 0.75 };
        for symmetry in versions(true, true, true) {
            // The pixel in the box.
            let place = numbers(&symmetry.apply(&image()).unwrap()).iter().position(|pixel| *pixel == 9.0);
            let corner = [place.unwrap() % 4, place.unwrap() / 4].map(|place| place as f64 / 4.0);
            let moved = symmetry.moved(&LabelledBox::new(0, area)).area;
            assert_eq!([moved.left, moved.top], corner, "{symmetry:?}");
            let chain = GeometryChain(vec![symmetry.geometry([4, 4])]);
            assert_eq!(chain.boxes(&[LabelledBox::new(0, area)], 0.0)[0].area, moved, "{symmetry:?}");
            assert_eq!(chain.source_area(&moved), Some(area), "{symmetry:?}");
        }
        let wide = Symmetry { transpose: true, horizontal: true, vertical: false }.geometry([6, 2]);
        assert_eq!(wide.output, [2, 6]);
    }
}
