//! One plot of a figure: a frame with two axes, and curves in it.

use super::axis::Axis;
use super::svg::{Anchor, Font, Paint, Stroke, Svg};
use super::text::significant;

/// A plot in a rectangle of the figure; fractions are in per cent.
pub struct Plot<'a> {
    pub title: &'a str,
    pub x: Axis,
    pub x_title: &'a str,
    pub y: Axis,
    pub y_title: &'a str,
    /// Left and right, bottom and top.
    pub sides: [f64; 2],
    pub ends: [f64; 2],
}

impl Plot<'_> {
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

    /// A curve of many points, without those whose absence cannot be seen.
    pub fn dense_curve(&self, svg: &mut Svg, points: &[[f64; 2]], stroke: Stroke) {
        let points: Vec<[f64; 2]> = points.iter().map(|&point| self.place(point)).collect();
        svg.polyline(&simplified(&points), stroke);
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

/// The largest distance in pixels between a curve and its simplified form.
const UNSEEN: f64 = 0.1;

/// The points that a curve needs (Douglas and Peucker 1973): a part between two kept points is a straight line if no
/// point in it is further than [`UNSEEN`] from that line; otherwise its furthest point is kept.
fn simplified(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let mut kept = vec![false; points.len()];
    let [first, .., last] = kept.as_mut_slice() else { return points.to_vec() };
    (*first, *last) = (true, true);
    let mut open = vec![(0, points.len() - 1)];
    while let Some((from, to)) = open.pop() {
        let mut furthest = (UNSEEN, None);
        for place in from + 1..to {
            let distance = distance_to_line(points[place], points[from], points[to]);
            if distance > furthest.0 {
                furthest = (distance, Some(place));
            }
        }
        if let Some(place) = furthest.1 {
            kept[place] = true;
            open.extend([(from, place), (place, to)]);
        }
    }
    points.iter().zip(kept).filter(|(_, kept)| *kept).map(|(&point, _)| point).collect()
}

fn distance_to_line(point: [f64; 2], from: [f64; 2], to: [f64; 2]) -> f64 {
    let [along, away] = [[to[0] - from[0], to[1] - from[1]], [point[0] - from[0], point[1] - from[1]]];
    let length = (along[0] * along[0] + along[1] * along[1]).sqrt();
    if length == 0.0 {
        return (away[0] * away[0] + away[1] * away[1]).sqrt();
    }
    (along[0] * away[1] - along[1] * away[0]).abs() / length
}

/// Fractions of 1 as such.
pub fn fractions() -> Axis {
    Axis::covering(0.0, 1.0, 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simplified_curve_keeps_its_corners_alone() {
        let steps: Vec<[f64; 2]> =
            (0..100).map(|x| [f64::from(x), if x < 50 { 0.0 } else { 80.0 }]).collect();
        assert_eq!(simplified(&steps), [[0.0, 0.0], [49.0, 0.0], [50.0, 80.0], [99.0, 80.0]]);
        for few in 0..3 {
            assert_eq!(simplified(&steps[..few]), steps[..few]);
        }
    }
}
