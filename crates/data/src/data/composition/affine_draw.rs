//! The random affine map of a whole image: translation, shear, rotation and scale about its centre.

use crate::data::geometry::AffineMap;
use crate::pipeline;
use crate::random::Stream;

/// The random values of one map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AffineDraw {
    degrees: f64,
    scale: f64,
    /// Along x and along y, in degrees.
    shear: [f64; 2],
    /// Where the centre of the source is in the result, as fractions of its side.
    centre: [f64; 2],
}

impl AffineDraw {
    /// Draws the same number of values for all settings.
    pub fn draw(settings: &pipeline::Affine, stream: &mut Stream) -> Self {
        let mut around = |middle: f64, most: f64| middle - most + 2.0 * most * stream.uniform_f64();
        Self {
            degrees: around(0.0, settings.degrees),
            scale: around(1.0, settings.scale),
            shear: [around(0.0, settings.shear), around(0.0, settings.shear)],
            centre: [around(0.5, settings.translate), around(0.5, settings.translate)],
        }
    }

    /// The map from a source of this size to a square: x′ = T · Sh · R · C · x, where C moves the centre of the source
    /// to the origin, R rotates and scales, Sh shears, and T moves the origin to its place in the result.
    pub fn map(&self, (width, height): (u32, u32), side: u32) -> AffineMap {
        let radians = self.degrees.to_radians();
        let (cosine, sine) = (self.scale * libm::cos(radians), self.scale * libm::sin(radians));
        let [across, down] = self.shear.map(|degrees| libm::tan(degrees.to_radians()));
        // Sh · R, of [[1, across], [down, 1]] and [[cosine, sine], [−sine, cosine]].
        let linear =
            [[cosine - across * sine, sine + across * cosine], [down * cosine - sine, down * sine + cosine]];
        let (middle_x, middle_y) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
        let row =
            |[a, b]: [f64; 2], centre: f64| [a, b, centre * f64::from(side) - a * middle_x - b * middle_y];
        [row(linear[0], self.centre[0]), row(linear[1], self.centre[1])]
    }
}

#[cfg(test)]
impl AffineDraw {
    pub fn of([degrees, scale, shear_x, shear_y, centre_x, centre_y]: [f64; 6]) -> Self {
        Self { degrees, scale, shear: [shear_x, shear_y], centre: [centre_x, centre_y] }
    }
}
