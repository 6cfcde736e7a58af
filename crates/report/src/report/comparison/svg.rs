//! The figure of a comparison: the curves of all runs in one plot, and below it a bar for each column of the table.

use super::{Column, MeanStd, RunComparison};
use crate::metrics::{AxisLabel, MetricFormat};
use crate::report::axis::Axis;
use crate::report::svg::{Anchor, Font, Paint, SERIES, Stroke, Svg};
use crate::report::text::{fit, width};

const WIDTH: f64 = 960.0;
/// The plot of the curves.
const PLOT: [f64; 2] = [72.0, 928.0];
const TOP: f64 = 84.0;
const BOTTOM: f64 = 324.0;
/// The layout of the rows below it: first position, height, end of the label, and start of the bars.
const ROWS: f64 = 424.0;
const ROW: f64 = 34.0;
const LABELS: [f64; 2] = [24.0, 210.0];
const BARS: [f64; 2] = [218.0, 936.0];
/// The gap between two columns of bars.
const GAP: f64 = 14.0;

/// Draws the runs: a metric by epoch in one plot, and a row for each group with mean and standard deviation.
///
/// Everything except the columns of the machine, such as `time`, depends only on the results.
pub fn comparison_svg(data: &RunComparison) -> Svg {
    let height = ROWS + ROW * data.groups.len() as f64 + 20.0;
    let mut svg = Svg::new(&format!("{}: runs compared", data.title), WIDTH, height);
    svg.text([24.0, 34.0], &data.title, Font::new(17.0, Paint::Ink, Anchor::Start).bold());
    curves(&mut svg, data);
    // A bar for the number of runs would add nothing to its text.
    let columns: Vec<Column> = data.columns().into_iter().filter(|column| column.name != "runs").collect();
    rows(&mut svg, data, &columns);
    svg
}

/// From the smallest to the largest value of all curves. Fractions are in per cent, with a range of at least five
/// points.
fn axis(values: impl Iterator<Item = f64> + Clone, is_share: bool) -> Axis {
    let (low, high) = (values.clone().reduce(f64::min), values.reduce(f64::max));
    match low.zip(high) {
        Some((low, high)) if is_share => {
            let (low, high) = (low.min(100.0), high.max(0.0));
            let low = low.min(high - 5.0).max(0.0);
            Axis::covering(low, high.max(low + 5.0).min(100.0), 5.0)
        }
        Some((low, high)) => Axis::covering(low, high, 5.0),
        None => Axis::covering(0.0, if is_share { 100.0 } else { 1.0 }, 5.0),
    }
}

fn curves(svg: &mut Svg, data: &RunComparison) {
    let is_share = data.curve.is_none_or(|metric| metric.format != MetricFormat::Number);
    let factor = if is_share { 100.0 } else { 1.0 };
    let points = || data.groups.iter().flat_map(|group| &group.runs).flat_map(|run| &run.curve);
    let last = points().map(|point| point[0]).fold(1.0, f64::max);
    let values = axis(points().map(|point| point[1] * factor), is_share);
    let epochs = Axis::epochs(last as u32);

    let label = Font::new(12.0, Paint::Muted, Anchor::End);
    if let Some(AxisLabel { heading, unit }) = data.curve.and_then(|metric| metric.axis) {
        svg.text([PLOT[0], TOP - 22.0], heading, Font::new(14.0, Paint::Ink, Anchor::Start).bold());
        let unit = format!("validation {unit}; a line for each run");
        let left = PLOT[0] + (width(heading, 14.0) * 1.08 + 8.0).max(76.0);
        svg.text([left, TOP - 22.0], &unit, Font { anchor: Anchor::Start, ..label });
    }
    for (value, text) in &values.ticks {
        let y = values.place(*value, [BOTTOM, TOP]);
        svg.line([PLOT[0], y], [PLOT[1], y], Stroke::new(Paint::Grid, 1.0));
        svg.text([PLOT[0] - 8.0, y + 4.2], text, label);
    }
    svg.line([PLOT[0], BOTTOM], [PLOT[1], BOTTOM], Stroke::new(Paint::Axis, 1.0));
    let middle = Font { anchor: Anchor::Middle, ..label };
    for (epoch, text) in &epochs.ticks {
        let x = epochs.place(*epoch, PLOT);
        svg.line([x, BOTTOM], [x, BOTTOM + 4.0], Stroke::new(Paint::Axis, 1.0));
        svg.text([x, BOTTOM + 18.0], text, middle);
    }
    let ends = "epoch, train stages one after the other";
    svg.text([(PLOT[0] + PLOT[1]) / 2.0, BOTTOM + 38.0], ends, middle);
    for (index, group) in data.groups.iter().enumerate() {
        for run in &group.runs {
            let place = |&[x, y]: &[f64; 2]| [epochs.place(x, PLOT), values.place(y * factor, [BOTTOM, TOP])];
            let line: Vec<[f64; 2]> = run.curve.iter().map(place).collect();
            svg.polyline(&line, stroke(index, 1.8));
            if let [point] = line[..] {
                svg.dot(point, 2.6, Paint::Series(index));
            }
        }
    }
}

/// The line of a group. It is dashed if its colour is already used.
fn stroke(index: usize, width: f64) -> Stroke {
    let stroke = Stroke::new(Paint::Series(index), width);
    if index < SERIES.len() { stroke } else { stroke.dashed() }
}

fn rows(svg: &mut Svg, data: &RunComparison, columns: &[Column]) {
    let room = (BARS[1] - BARS[0] + GAP) / columns.len() as f64;
    let heading = Font::new(12.0, Paint::Muted, Anchor::Start);
    for (place, column) in columns.iter().enumerate() {
        let left = BARS[0] + room * place as f64;
        // The stage, and below it the metric.
        let (above, below) = column.name.split_once(' ').unwrap_or(("", &column.name));
        // Test columns are visually separate, because they must not be used to select a run.
        if column.of_test && (place == 0 || !columns[place - 1].of_test) {
            let x = left - GAP / 2.0;
            let bottom = ROWS + ROW * data.groups.len() as f64 - 8.0;
            svg.line([x, ROWS - 42.0], [x, bottom], Stroke::new(Paint::Axis, 1.0));
        }
        for (line, y) in [(above, ROWS - 30.0), (below, ROWS - 15.0)] {
            svg.text_with_title([left, y], &fit(line, 12.0, room - GAP / 2.0), Some(&column.name), heading);
        }
    }
    for (index, group) in data.groups.iter().enumerate() {
        let y = ROWS + ROW * index as f64;
        svg.line([LABELS[0], y + 8.0], [LABELS[0] + 20.0, y + 8.0], stroke(index, 3.0));
        let label = match group.runs.len() {
            1 => group.label.clone(),
            runs => format!("{} (n = {runs})", group.label),
        };
        let text = fit(&label, 12.5, LABELS[1] - LABELS[0] - 30.0);
        let font = Font::new(12.5, Paint::Ink, Anchor::Start);
        svg.text_with_title([LABELS[0] + 30.0, y + 12.4], &text, Some(&label), font);
        for (place, column) in columns.iter().enumerate() {
            let left = BARS[0] + room * place as f64;
            bar(svg, column, index, [left, left + room - GAP], y);
        }
    }
}

/// A group's bar in one column, from zero to the column's largest value, with a whisker of one standard deviation.
fn bar(svg: &mut Svg, column: &Column, index: usize, [left, right]: [f64; 2], y: f64) {
    let reach = |measure: &MeanStd| measure.mean + measure.sd.unwrap_or(0.0);
    let most = column.values.iter().flatten().map(reach).fold(0.0, f64::max);
    let font = Font::new(11.5, Paint::Ink, Anchor::Start);
    let Some(measure) = &column.values[index] else {
        return svg.text([left, y + 12.4], "–", Font { paint: Paint::Muted, ..font });
    };
    let (cell, room) = (&column.cells[index], right - left + GAP / 2.0);
    // Without room for the deviation, which the whisker shows, the mean alone.
    let shown = match cell.split_once(" ± ") {
        Some((mean, _)) if width(cell, font.size) > room => mean,
        _ => cell,
    };
    svg.text_with_title([left, y + 6.0], &fit(shown, font.size, room), Some(cell), font);
    if most <= 0.0 || !most.is_finite() || width(cell, font.size) <= 0.0 {
        return;
    }
    let x = |value: f64| left + (value / most).clamp(0.0, 1.0) * (right - left);
    svg.rectangle([left, y + 11.0], [right - left, 7.0], Paint::Grid, 1.0);
    svg.rectangle([left, y + 11.0], [x(measure.mean) - left, 7.0], Paint::Series(index), 1.0);
    if let Some(sd) = measure.sd {
        let ends = [x(measure.mean - sd), x(measure.mean + sd)];
        svg.line([ends[0], y + 14.5], [ends[1], y + 14.5], Stroke::new(Paint::Ink, 1.5));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ComparedRun, Heading, RunGroup};
    use super::*;
    use crate::metrics::{Direction, Metric};

    static ACCURACY: Metric = Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher)
        .drawn("Accuracy", "%")
        .column(0);

    fn group(label: &str, accuracies: &[f64]) -> RunGroup {
        let run = |&accuracy: &f64| ComparedRun {
            metrics: [("test/accuracy".to_owned(), accuracy)].into(),
            headings: [("test/accuracy".to_owned(), Heading::of("test accuracy".into(), &ACCURACY))].into(),
            curve: vec![[1.0, accuracy / 2.0], [2.0, accuracy]],
            seconds: Some(12.0),
            ..ComparedRun::default()
        };
        RunGroup::new(label.into(), accuracies.iter().map(run).collect(), Some((2_000, 11_000_000)))
    }

    #[test]
    fn draws_a_line_for_each_run_and_a_row_for_each_group() {
        let groups = vec![group("arch=resnet18", &[0.8, 0.9]), group("arch=<lite>", &[0.7])];
        let curve = Some(&ACCURACY);
        let data = RunComparison { title: "turtles".into(), groups, curve, ..RunComparison::default() };
        let text = comparison_svg(&data).document();
        assert_eq!(text.matches("<polyline").count(), 3);
        assert!(
            text.contains(">Accuracy<")
                && text.contains("arch=resnet18 (n = 2)")
                && text.contains("arch=&lt;lite&gt;"),
            "{text}"
        );
        assert!(text.contains("85.0 ± 7.1\u{a0}%") && text.contains(">–<"), "{text}");
    }

    #[test]
    fn runs_without_results_are_a_picture_too() {
        let empty = RunGroup::new("a".into(), vec![ComparedRun::default()], None);
        for groups in [vec![], vec![empty]] {
            let text =
                comparison_svg(&RunComparison { title: "t".into(), groups, ..RunComparison::default() })
                    .document();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
