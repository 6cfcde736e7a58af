//! One plot of a figure: a frame with two axes, and curves in it.

use super::axis::Axis;
use super::svg::{Anchor, Font, Paint, Stroke, Svg};
use super::text::significant;

/// A plot in a rectangle of the figure; fractions are in per cent.
pub struct Plot {
    pub title: &'static str,
    pub x: Axis,
    pub x_title: &'static str,
    pub y: Axis,
    pub y_title: &'static str,
    /// Left and right, bottom and top.
    pub sides: [f64; 2],
    pub ends: [f64; 2],
}

impl Plot {
    pub fn place(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        [self.x.place(x, self.sides), self.y.place(y, self.ends)]
    }

    /// Title, grid, ticks and the names of the axes.
    pub fn frame(&self, svg: &mut Svg) {
        let ([left, right], [bottom, top]) = (self.sides, self.ends);
        let label = Font::new(12.0, Paint::Muted, Anchor::End);
        let middle = Font { anchor: Anchor::Middle, ..label };
        svg.text([left, top - 20.0], self.title, Font::new(14.0, Paint::Ink, Anchor::Start).bold());
        for (value, text) in &self.y.ticks {
            let y = self.y.place(*value, self.ends);
            svg.line([left, y], [right, y], Stroke::new(Paint::Grid, 1.0));
            svg.text([left - 8.0, y + 4.2], text, label);
        }
        svg.line([left, bottom], [right, bottom], Stroke::new(Paint::Axis, 1.0));
        for (value, text) in &self.x.ticks {
            let x = self.x.place(*value, self.sides);
            svg.line([x, bottom], [x, bottom + 4.0], Stroke::new(Paint::Axis, 1.0));
            svg.text([x, bottom + 18.0], text, middle);
        }
        svg.text([(left + right) / 2.0, bottom + 38.0], self.x_title, middle);
        svg.text([left - 48.0, (top + bottom) / 2.0], self.y_title, middle.rotated(-90.0));
    }

    pub fn curve(&self, svg: &mut Svg, points: &[[f64; 2]], paint: Paint) {
        let points: Vec<[f64; 2]> = points.iter().map(|&point| self.place(point)).collect();
        svg.polyline(&points, Stroke::new(paint, 2.0));
    }
}

/// Fractions of 1 from 0 to 100 per cent.
pub fn shares() -> Axis {
    Axis::covering(0.0, 100.0, 5.0)
}

/// Fractions of 1 on a logarithmic scale, `decades` powers of ten up to 100 per cent.
pub fn logarithmic_shares(decades: u32) -> Axis {
    let tick = |decade: u32| (-f64::from(decade), significant(100.0 / libm::pow(10.0, f64::from(decade)), 3));
    Axis { low: -f64::from(decades), high: 0.0, ticks: (0..=decades).rev().map(tick).collect() }
}
