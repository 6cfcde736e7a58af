//! The metric against each setting: a dot for each sample, in the colour of the highest rung that it finished.

use super::SearchReport;
use super::groups::value_text;
use crate::report::axis::Axis;
use crate::report::plot::Plot;
use crate::report::svg::{Anchor, Font, Paint, Svg};

const WIDTH: f64 = 340.0;
const HEIGHT: f64 = 270.0;
const COLUMNS: usize = 3;
const TOP: f64 = 64.0;
/// Further choices have no place on an axis.
const MOST_CHOICES: usize = 12;

/// Draws the figure. `None` if no sample has finished.
pub fn search_svg(search: &SearchReport) -> Option<Svg> {
    let metrics: Vec<f64> = search.samples.iter().filter_map(|sample| sample.metric()).collect();
    let low = metrics.iter().copied().reduce(f64::min)?;
    let high = metrics.iter().copied().reduce(f64::max)?;
    let columns = search.settings.len().clamp(1, COLUMNS);
    let rows = search.settings.len().div_ceil(columns);
    let (width, height) = (WIDTH * columns as f64, TOP + HEIGHT * rows as f64);
    let title = format!("{}: {} of {} samples", search.name, search.metric, search.samples.len());
    let mut svg = Svg::new(&title, width, height);
    svg.text([20.0, 26.0], &title, Font::new(16.0, Paint::Ink, Anchor::Start).bold());
    legend(search, &mut svg);
    for (index, setting) in search.settings.iter().enumerate() {
        let left = WIDTH * (index % columns) as f64 + 74.0;
        let top = TOP + HEIGHT * (index / columns) as f64 + 30.0;
        let values = Values::of(search, index);
        let plot = Plot {
            title: &setting.name,
            x: values.axis.clone(),
            x_title: "",
            y: Axis::covering(low, high, 4.0),
            y_title: &search.metric,
            sides: [left, left + WIDTH - 100.0],
            ends: [top + HEIGHT - 90.0, top],
        };
        plot.frame(&mut svg);
        // The samples of the last rung are drawn last, so that they are visible.
        for (place, sample) in search.samples.iter().enumerate().rev() {
            if let (Some(metric), Some(x)) = (sample.metric(), values.places[place]) {
                svg.dot(plot.place([x, metric]), 3.5, rung_paint(sample.metrics.len()));
            }
        }
    }
    Some(svg)
}

fn rung_paint(rung: usize) -> Paint {
    Paint::Series(rung.saturating_sub(1))
}

fn legend(search: &SearchReport, svg: &mut Svg) {
    let mut x = 24.0;
    for (rung, of) in search.rungs.iter().enumerate().filter(|_| search.rungs.len() > 1) {
        let text =
            of.epochs.map_or_else(|| format!("rung {}", rung + 1), |epochs| format!("after {epochs} epochs"));
        svg.dot([x, 46.0], 4.5, rung_paint(rung + 1));
        svg.text([x + 10.0, 50.0], &text, Font::new(12.0, Paint::Muted, Anchor::Start));
        x += 120.0;
    }
}

/// The places of the samples on the axis of a setting.
struct Values {
    axis: Axis,
    /// In the order of the samples; `None` for a value without a place.
    places: Vec<Option<f64>>,
}

impl Values {
    fn of(search: &SearchReport, setting: usize) -> Self {
        let values = || search.samples.iter().map(|sample| sample.values.get(setting));
        let searched = &search.settings[setting];
        if searched.choice {
            let mut known: Vec<String> = values().flatten().map(value_text).collect();
            known.sort();
            known.dedup();
            known.truncate(MOST_CHOICES);
            let place =
                |text: &String| known.iter().position(|known| known == text).map(|place| place as f64);
            let places = values().map(|value| place(&value_text(value?))).collect();
            let ticks = known.iter().enumerate().map(|(place, text)| (place as f64, text.clone())).collect();
            let axis = Axis { low: -0.5, high: known.len() as f64 - 0.5, ticks };
            return Self { axis, places };
        }
        let scaled = |number: f64| if searched.logarithmic { libm::log10(number) } else { number };
        let places: Vec<Option<f64>> = values().map(|value| Some(scaled(value?.as_f64()?))).collect();
        let known = || places.iter().copied().flatten();
        let low = known().reduce(f64::min).unwrap_or(0.0);
        let high = known().reduce(f64::max).unwrap_or(1.0);
        let axis = if searched.logarithmic { decades(low, high) } else { Axis::covering(low, high, 4.0) };
        Self { axis, places }
    }
}

/// An axis of logarithms, with ticks at powers of ten. Between them are ticks at 2 and 5 if it covers few.
fn decades(low: f64, high: f64) -> Axis {
    let (low, high) = (libm::floor(low * 4.0) / 4.0, libm::ceil(high * 4.0) / 4.0);
    let (low, high) = if high > low { (low, high) } else { (low - 0.5, high + 0.5) };
    let factors: &[f64] = if high - low < 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let powers = libm::floor(low) as i32..=libm::ceil(high) as i32;
    let tick = |power: i32, factor: f64| {
        let text = match power {
            -3..=4 => format!("{}", factor * libm::pow(10.0, f64::from(power + 9)) / 1e9),
            _ => format!("{factor}e{power}"),
        };
        (f64::from(power) + libm::log10(factor), text)
    };
    let ticks = powers.flat_map(|power| factors.iter().map(move |factor| tick(power, *factor)));
    Axis { low, high, ticks: ticks.filter(|(at, _)| (low - 1e-9..=high + 1e-9).contains(at)).collect() }
}
