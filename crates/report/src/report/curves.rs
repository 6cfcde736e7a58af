//! The loss and the main metric over the epochs of a train stage, in two plots.

use super::axis::Axis;
use super::history::HistoryRow;
use super::svg::{Anchor, Font, Paint, Stroke, Svg};
use super::text::{percent, significant, width};
use crate::metrics::{AxisLabel, Direction, Metric, MetricFormat, TaskMetrics};

const SIZE: [f64; 2] = [960.0, 384.0];
const TOP: f64 = 108.0;
const BOTTOM: f64 = 332.0;
/// The left and right edges of the plots. The space to the right of each is for the values at the ends of its curves.
const PLOTS: [[f64; 2]; 2] = [[72.0, 412.0], [552.0, 888.0]];
/// The minimum distance between the values at the ends of two curves.
const LABEL_DISTANCE: f64 = 15.0;

struct Panel {
    label: AxisLabel,
    axis: Axis,
    series: Vec<CurveSeries>,
    show: fn(f64) -> String,
}

struct CurveSeries {
    paint: Paint,
    /// Epoch and value.
    points: Vec<[f64; 2]>,
}

/// Draws the history of a train stage by the metrics of its task; `title` usually is the stage's name.
pub fn curves(title: &str, history: &[HistoryRow], metrics: &TaskMetrics) -> Svg {
    let panels: Vec<Panel> =
        panels(history, metrics).into_iter().filter_map(|metric| Panel::of(metric, history)).collect();
    // The metrics that every stage of the task has, with or without values.
    let names: Vec<&str> =
        loss(metrics).into_iter().chain(metrics.headlines().last()).map(|m| m.title).collect();
    let mut svg = Svg::new(&format!("{title}: {} by epoch", names.join(" and ")), SIZE[0], SIZE[1]);
    svg.text([24.0, 34.0], title, Font::new(17.0, Paint::Ink, Anchor::Start).bold());
    let validated = history.iter().any(|row| row.validation.is_some());
    let best = history.iter().rev().find(|row| row.is_best).map(|row| row.epoch);
    legend(&mut svg, validated, best.is_some());

    let epochs = Axis::epochs(history.last().map_or(1, |row| row.epoch));
    for (panel, sides) in panels.iter().zip(PLOTS) {
        grid(&mut svg, panel, &epochs, sides);
        for (epoch, joined) in thaws(history) {
            mark_thaw(&mut svg, &epochs, sides, epoch, joined);
        }
        if let Some(best) = best {
            mark_epoch(&mut svg, &epochs, sides, best);
        }
        for series in &panel.series {
            draw(&mut svg, series, panel, &epochs, sides);
        }
        if let Some(best) = best {
            mark_best(&mut svg, panel, &epochs, sides, best);
        }
        end_values(&mut svg, panel, sides);
    }
    svg
}

/// The first metric for which lower is better.
fn loss(metrics: &TaskMetrics) -> Option<&'static Metric> {
    metrics.history.iter().find(|metric| metric.better == Direction::Lower)
}

/// The loss, and the first headline metric with a value. If there is none, the last one, which every stage of the task
/// has.
fn panels(history: &[HistoryRow], metrics: &TaskMetrics) -> Vec<&'static Metric> {
    let has_value = |metric: &&Metric| {
        history.iter().any(|row| row.validated(metric.name).or(row.train.get(metric.name).copied()).is_some())
    };
    let headline = metrics.headlines().find(has_value).or_else(|| metrics.headlines().last());
    loss(metrics).into_iter().chain(headline).collect()
}

impl Panel {
    /// `None` for a metric that is not plotted.
    fn of(metric: &Metric, history: &[HistoryRow]) -> Option<Self> {
        let label = metric.axis?;
        let series = series(history, metric.name);
        Some(match metric.format {
            MetricFormat::Percent | MetricFormat::Share => Self::of_shares(label, series),
            MetricFormat::Number => Self::of_numbers(label, series),
        })
    }

    fn of_numbers(label: AxisLabel, series: Vec<CurveSeries>) -> Self {
        let (low, high) = range(&series).unwrap_or((0.0, 1.0));
        // Zero is included if that costs less than half the height, because readers compare ratios of losses.
        let axis = Axis::covering(if low >= 0.0 && low < high * 0.5 { 0.0 } else { low }, high, 5.0);
        Self { label, axis, series, show: |value| significant(value, 3) }
    }

    fn of_shares(label: AxisLabel, series: Vec<CurveSeries>) -> Self {
        let (low, high) = range(&series).unwrap_or((0.0, 1.0));
        // In per cent, with a range of at least five points, within 0 and 100.
        let (low, high) = (low * 100.0, high * 100.0);
        let low = low.min(high - 5.0).max(0.0);
        let axis = Axis::covering(low, high.max(low + 5.0).min(100.0), 5.0);
        let series = series.into_iter().map(|s| CurveSeries {
            points: s.points.into_iter().map(|[x, y]| [x, y * 100.0]).collect(),
            ..s
        });
        Self { label, axis, series: series.collect(), show: |value| percent(value / 100.0) }
    }
}

/// The training and validation curves of a metric, for epochs with values.
fn series(history: &[HistoryRow], metric: &str) -> Vec<CurveSeries> {
    let points = |value: &dyn Fn(&HistoryRow) -> Option<f64>| {
        let point = |row| value(row).filter(|y| y.is_finite()).map(|y| [f64::from(row.epoch), y]);
        history.iter().filter_map(point).collect::<Vec<_>>()
    };
    let train = points(&|row| row.train.get(metric).copied());
    let validation = points(&|row| row.validated(metric));
    [(Paint::Train, train), (Paint::Validation, validation)]
        .into_iter()
        .map(|(paint, points)| CurveSeries { paint, points })
        .filter(|s| !s.points.is_empty())
        .collect()
}

fn range(series: &[CurveSeries]) -> Option<(f64, f64)> {
    let values = series.iter().flat_map(|series| &series.points).map(|point| (point[1], point[1]));
    values.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// The legend, in the upper right corner.
fn legend(svg: &mut Svg, validated: bool, best: bool) {
    let font = Font::new(13.0, Paint::Ink, Anchor::Start);
    let entries = [("training", Paint::Train, true), ("validation", Paint::Validation, validated)];
    let mut right = SIZE[0] - 24.0;
    if best {
        right -= width("best epoch", font.size);
        svg.text([right, 34.0], "best epoch", font);
        svg.ring([right - 13.0, 29.5], 4.5, Stroke::new(Paint::Validation, 2.0));
        right -= 42.0;
    }
    for (name, paint, _) in entries.into_iter().rev().filter(|entry| entry.2) {
        right -= width(name, font.size);
        svg.text([right, 34.0], name, font);
        svg.line([right - 30.0, 29.5], [right - 8.0, 29.5], Stroke::new(paint, 2.5));
        right -= 54.0;
    }
}

fn grid(svg: &mut Svg, panel: &Panel, epochs: &Axis, [left, right]: [f64; 2]) {
    let label = Font::new(12.0, Paint::Muted, Anchor::End);
    svg.text([left, TOP - 28.0], panel.label.heading, Font::new(14.0, Paint::Ink, Anchor::Start).bold());
    for (value, text) in &panel.axis.ticks {
        let y = panel.axis.place(*value, [BOTTOM, TOP]);
        svg.line([left, y], [right, y], Stroke::new(Paint::Grid, 1.0));
        svg.text([left - 8.0, y + 4.2], text, label);
    }
    svg.line([left, BOTTOM], [right, BOTTOM], Stroke::new(Paint::Axis, 1.0));
    for (epoch, text) in &epochs.ticks {
        let x = epochs.place(*epoch, [left, right]);
        svg.line([x, BOTTOM], [x, BOTTOM + 4.0], Stroke::new(Paint::Axis, 1.0));
        svg.text([x, BOTTOM + 18.0], text, Font { anchor: Anchor::Middle, ..label });
    }
    let middle = Font { anchor: Anchor::Middle, ..label };
    svg.text([(left + right) / 2.0, BOTTOM + 38.0], "epoch", middle);
    svg.text([left - 48.0, (TOP + BOTTOM) / 2.0], panel.label.unit, middle.rotated(-90.0));
}

fn draw(svg: &mut Svg, series: &CurveSeries, panel: &Panel, epochs: &Axis, sides: [f64; 2]) {
    let place = |&[x, y]: &[f64; 2]| [epochs.place(x, sides), panel.axis.place(y, [BOTTOM, TOP])];
    let points: Vec<[f64; 2]> = series.points.iter().map(place).collect();
    svg.polyline(&points, Stroke::new(series.paint, 2.0));
    if points.len() <= 30 {
        points.iter().for_each(|&point| svg.dot(point, 2.6, series.paint));
    }
}

/// A dashed line at the best epoch, with a label above the plot.
fn mark_epoch(svg: &mut Svg, epochs: &Axis, [left, right]: [f64; 2], best: u32) {
    let x = epochs.place(f64::from(best), [left, right]);
    let text = format!("best: epoch {best}");
    let half = width(&text, 12.0) / 2.0;
    svg.line([x, TOP - 4.0], [x, BOTTOM], Stroke::new(Paint::Axis, 1.0).dashed());
    let at = x.clamp(left + half, right - half);
    svg.text([at, TOP - 9.0], &text, Font::new(12.0, Paint::Muted, Anchor::Middle));
}

/// The epochs in which parameters were unfrozen, and the number of parameters.
fn thaws(history: &[HistoryRow]) -> Vec<(u32, u64)> {
    let joined = |pair: &[HistoryRow]| {
        let (before, now) = (pair[0].trainable_parameters?, pair[1].trainable_parameters?);
        (now > before).then_some((pair[1].epoch, now - before))
    };
    history.windows(2).filter_map(joined).collect()
}

/// A line before the first epoch with more trainable parameters, labelled with their number.
fn mark_thaw(svg: &mut Svg, epochs: &Axis, sides: [f64; 2], epoch: u32, joined: u64) {
    let x = epochs.place(f64::from(epoch) - 0.5, sides);
    svg.line([x, TOP], [x, BOTTOM], Stroke::new(Paint::Axis, 1.0));
    let text = format!("thaws {}", short(joined));
    let middle = TOP + 6.0 + width(&text, 11.0) / 2.0;
    svg.text([x - 4.0, middle], &text, Font::new(11.0, Paint::Muted, Anchor::Middle).rotated(-90.0));
}

/// A short form of a count, for a label in a plot: `1.2k`, `8.39M`.
fn short(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{}k", significant(count as f64 / 1e3, 3)),
        _ => format!("{}M", significant(count as f64 / 1e6, 3)),
    }
}

/// A ring on the validation curve at the best epoch.
fn mark_best(svg: &mut Svg, panel: &Panel, epochs: &Axis, sides: [f64; 2], best: u32) {
    let validation = panel.series.iter().find(|series| series.paint == Paint::Validation);
    let point = validation.and_then(|series| series.points.iter().find(|point| point[0] == f64::from(best)));
    if let Some([x, y]) = point {
        let at = [epochs.place(*x, sides), panel.axis.place(*y, [BOTTOM, TOP])];
        svg.ring(at, 4.5, Stroke::new(Paint::Validation, 2.0));
    }
}

/// The last value of each curve, written at its end. Values that would overlap are moved apart.
fn end_values(svg: &mut Svg, panel: &Panel, [_, right]: [f64; 2]) {
    let last = |series: &CurveSeries| {
        let value = series.points.last().expect("series without points are left out")[1];
        (panel.axis.place(value, [BOTTOM, TOP]), (panel.show)(value), series.paint)
    };
    let mut labels: Vec<(f64, String, Paint)> = panel.series.iter().map(last).collect();
    labels.sort_by(|a, b| a.0.total_cmp(&b.0));
    if let [upper, lower] = labels.as_mut_slice() {
        let overlap = (LABEL_DISTANCE - (lower.0 - upper.0)).max(0.0) / 2.0;
        upper.0 -= overlap;
        lower.0 += overlap;
    }
    for (y, text, paint) in labels {
        svg.text([right + 9.0, y + 4.2], &text, Font::new(12.0, paint, Anchor::Start).bold());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static METRICS: TaskMetrics = TaskMetrics {
        history: &[
            Metric::new("loss", "loss", MetricFormat::Number, Direction::Lower)
                .drawn("Loss", "mean per image"),
            Metric::new("accuracy", "accuracy", MetricFormat::Percent, Direction::Higher)
                .drawn("Accuracy", "images classified correctly, %"),
        ],
        evaluation: &[],
        headline: &["accuracy"],
    };

    fn curves(title: &str, history: &[HistoryRow]) -> Svg {
        super::curves(title, history, &METRICS)
    }

    fn row(epoch: u32, train: f64, validation: Option<f64>, is_best: bool) -> HistoryRow {
        let scores =
            |loss: f64| [("loss".to_owned(), loss), ("accuracy".to_owned(), 1.0 - loss / 2.0)].into();
        HistoryRow {
            epoch,
            lr: 1e-3,
            train: scores(train),
            validation: validation.map(scores),
            is_best,
            trainable_parameters: None,
            skipped_steps: None,
        }
    }

    #[test]
    fn draws_curves_and_the_best_epoch() {
        let history =
            [row(1, 0.69, Some(0.66), true), row(2, 0.41, Some(0.45), true), row(3, 0.22, Some(0.47), false)];
        insta::assert_snapshot!(curves("fine & tune", &history).document());
    }

    #[test]
    fn a_line_stands_where_more_began_to_train() {
        let mut history = [0.69, 0.41, 0.22].map(|loss| row(1, loss, None, false));
        for (place, (row, trainable)) in history.iter_mut().zip([5_130, 5_130, 8_398_858]).enumerate() {
            (row.epoch, row.trainable_parameters) = (place as u32 + 1, Some(trainable));
        }
        let text = curves("gradual", &history).document();
        assert_eq!(text.matches("thaws 8.39M").count(), 2, "{text}");
        assert_eq!(text.matches("thaws").count(), 2);
    }

    #[test]
    fn says_nothing_of_validation_where_there_is_none() {
        let text = curves("frozen", &[row(1, 0.69, None, false)]).document();
        assert!(text.contains("training") && !text.contains("validation") && !text.contains("best"));
    }

    #[test]
    fn empty_and_unfinished_histories_are_pictures_too() {
        for history in [vec![], vec![row(1, f64::NAN, Some(f64::INFINITY), false)]] {
            let text = curves("frozen", &history).document();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
