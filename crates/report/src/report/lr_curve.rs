//! The plot of loss over learning rate from a range test.

use super::axis::Axis;
use super::svg::{Anchor, Font, Paint, Stroke, Svg};
use super::text::{number, significant, width};

const SIZE: [f64; 2] = [720.0, 420.0];
const TOP: f64 = 84.0;
const BOTTOM: f64 = 356.0;
const SIDES: [f64; 2] = [76.0, 688.0];

/// Draws losses and smoothed losses over learning rates in ascending order, and marks `suggested`.
pub fn lr_curve(title: &str, points: &[[f64; 3]], suggested: Option<f64>) -> Svg {
    let mut svg = Svg::new(&format!("{title}: loss by learning rate"), SIZE[0], SIZE[1]);
    svg.text([24.0, 34.0], title, Font::new(17.0, Paint::Ink, Anchor::Start).bold());
    let smoothed = points.iter().map(|point| point[2]);
    let (low, high) = smoothed.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)));
    let losses = if low <= high { Axis::covering(low, high, 5.0) } else { Axis::covering(0.0, 1.0, 5.0) };
    let rates = decades(points);
    grid(&mut svg, &rates, &losses);
    let place = |rate: f64, loss: f64| {
        [rates.place(libm::log10(rate), SIDES), losses.place(loss, [BOTTOM, TOP]).clamp(TOP, BOTTOM)]
    };
    for [rate, loss, _] in points {
        svg.dot(place(*rate, *loss), 1.6, Paint::Axis);
    }
    let curve: Vec<[f64; 2]> = points.iter().map(|[rate, _, smoothed]| place(*rate, *smoothed)).collect();
    svg.polyline(&curve, Stroke::new(Paint::Train, 2.0));
    if let Some(rate) = suggested {
        let x = rates.place(libm::log10(rate), SIDES);
        let text = format!("steepest fall: {}", number(rate));
        let half = width(&text, 12.0) / 2.0;
        svg.line([x, TOP - 4.0], [x, BOTTOM], Stroke::new(Paint::Validation, 1.5).dashed());
        let at = x.clamp(SIDES[0] + half, SIDES[1] - half);
        svg.text([at, TOP - 10.0], &text, Font::new(12.0, Paint::Validation, Anchor::Middle).bold());
    }
    svg
}

/// A logarithmic axis, with whole powers of ten as its ticks.
fn decades(points: &[[f64; 3]]) -> Axis {
    let exponent = |point: Option<&[f64; 3]>| point.map_or(0.0, |point| libm::log10(point[0]));
    let (low, high) = (exponent(points.first()), exponent(points.last()));
    let high = if high > low { high } else { low + 1.0 };
    let first = libm::ceil(low - 1e-9) as i32;
    let last = libm::floor(high + 1e-9) as i32;
    let ticks =
        (first..=last).map(|power| (f64::from(power), significant(libm::pow(10.0, f64::from(power)), 1)));
    Axis { low, high, ticks: ticks.collect() }
}

fn grid(svg: &mut Svg, rates: &Axis, losses: &Axis) {
    let label = Font::new(12.0, Paint::Muted, Anchor::End);
    let [left, right] = SIDES;
    for (value, text) in &losses.ticks {
        let y = losses.place(*value, [BOTTOM, TOP]);
        svg.line([left, y], [right, y], Stroke::new(Paint::Grid, 1.0));
        svg.text([left - 8.0, y + 4.2], text, label);
    }
    svg.line([left, BOTTOM], [right, BOTTOM], Stroke::new(Paint::Axis, 1.0));
    let middle = Font { anchor: Anchor::Middle, ..label };
    for (exponent, text) in &rates.ticks {
        let x = rates.place(*exponent, SIDES);
        svg.line([x, BOTTOM], [x, BOTTOM + 4.0], Stroke::new(Paint::Axis, 1.0));
        svg.text([x, BOTTOM + 18.0], text, middle);
    }
    svg.text([(left + right) / 2.0, BOTTOM + 38.0], "learning rate", middle);
    svg.text([left - 52.0, (TOP + BOTTOM) / 2.0], "loss of the batch, and smoothed", middle.rotated(-90.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_points_is_a_picture() {
        let curve = [[1e-5, 2.0, 2.0], [1e-3, 1.0, 1.5], [0.1, 9.0, 3.0]];
        for points in [&curve[..], &curve[..1], &[]] {
            let text = lr_curve("head & all", points, points.first().map(|point| point[0])).document();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
        let text = lr_curve("head", &curve, Some(1e-3)).document();
        assert!(text.contains("steepest fall: 0.001") && text.contains("1e-5"), "{text}");
    }
}
