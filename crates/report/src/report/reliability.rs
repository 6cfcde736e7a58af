//! The reliability diagram: how often predictions of a probability come true.

use super::plot::{Plot, fractions};
use super::svg::{Anchor, Font, Paint, Stroke, Svg};
use super::tables::{IN_MEMORY, text};
use super::text::{fit, significant};
use crate::metrics::probabilities::{Calibration, ReliabilityBin};

const SIZE: [f64; 2] = [560.0, 576.0];
const SIDES: [f64; 2] = [72.0, 528.0];
const ENDS: [f64; 2] = [462.0, 92.0];
/// The bottom and the greatest height of the bars with the counts, below the axis of the plot.
const BARS: [f64; 2] = [560.0, 44.0];

/// Draws frequencies by probability, as predicted and with a calibration, and the number of predictions in each bin.
/// `title` usually is the stage's name.
pub fn reliability_diagram(title: &str, predicted: &Calibration, calibrated: Option<&Calibration>) -> Svg {
    let heading = "Reliability";
    let mut svg = Svg::new(&format!("{title}: {heading}"), SIZE[0], SIZE[1]);
    let font = Font::new(17.0, Paint::Ink, Anchor::Start).bold();
    svg.text([24.0, 34.0], &fit(title, font.size, SIZE[0] - 48.0), font);
    let plot = Plot {
        title: heading,
        x: fractions(),
        x_title: "predicted probability",
        y: fractions(),
        y_title: "part for which it came true",
        sides: SIDES,
        ends: ENDS,
    };
    plot.frame(&mut svg);
    let corners = [[0.0, 0.0], [1.0, 1.0]].map(|corner| plot.place(corner));
    svg.line(corners[0], corners[1], Stroke::new(Paint::Axis, 1.0).dashed());
    let series =
        [("as predicted", Some(predicted), Paint::Train), ("calibrated", calibrated, Paint::Validation)];
    let drawn: Vec<_> = series.into_iter().filter_map(|(name, of, paint)| Some((name, of?, paint))).collect();
    let most = drawn.iter().flat_map(|(_, of, _)| &of.reliability).map(|bin| bin.count).max().unwrap_or(1);
    for (place, (name, of, paint)) in drawn.iter().enumerate() {
        let points: Vec<[f64; 2]> =
            of.reliability.iter().map(|bin| [bin.confidence, bin.frequency]).collect();
        plot.curve(&mut svg, &points, *paint);
        points.iter().for_each(|&point| svg.dot(plot.place(point), 3.0, *paint));
        for bin in &of.reliability {
            bar(&mut svg, &plot, bin, most, (place, drawn.len()), *paint);
        }
        let label = format!("{name}: ECE {}", significant(of.ece, 3));
        let font = Font::new(13.0, *paint, Anchor::Start).bold();
        svg.text([SIDES[0] + 12.0, ENDS[1] + 18.0 + 18.0 * place as f64], &label, font);
    }
    svg.line([SIDES[0], BARS[0]], [SIDES[1], BARS[0]], Stroke::new(Paint::Axis, 1.0));
    let font = Font::new(12.0, Paint::Muted, Anchor::Middle).rotated(-90.0);
    svg.text([SIDES[0] - 48.0, BARS[0] - BARS[1] / 2.0], "count", font);
    svg
}

/// The bar of a bin: the series side by side.
fn bar(
    svg: &mut Svg,
    plot: &Plot,
    bin: &ReliabilityBin,
    most: u64,
    (place, series): (usize, usize),
    paint: Paint,
) {
    let [left, right] = [bin.low, bin.high].map(|x| plot.place([x, 0.0])[0]);
    let width = (right - left - 2.0) / series as f64;
    let height = (BARS[1] * bin.count as f64 / most as f64).max(1.0);
    svg.rectangle([left + 1.0 + width * place as f64, BARS[0] - height], [width, height], paint, 1.0);
}

/// A row for each bin, as predicted and with a calibration.
pub fn reliability_csv(predicted: &Calibration, calibrated: Option<&Calibration>) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer
        .write_record(["probabilities", "low", "high", "count", "confidence", "frequency"])
        .expect(IN_MEMORY);
    for (name, of) in [("predicted", Some(predicted)), ("calibrated", calibrated)] {
        for bin in of.iter().flat_map(|of| &of.reliability) {
            let ReliabilityBin { low, high, count, confidence, frequency } = bin;
            writer.serialize((name, low, high, count, confidence, frequency)).expect(IN_MEMORY);
        }
    }
    text(writer)
}

#[cfg(test)]
mod tests {
    use super::super::png;
    use super::*;

    fn calibration() -> Calibration {
        let bin = |low, high, count, confidence, frequency| ReliabilityBin {
            low,
            high,
            count,
            confidence,
            frequency,
        };
        let reliability = vec![bin(0.4, 0.5, 10, 0.45, 0.3), bin(0.9, 1.0, 30, 0.97, 0.8)];
        Calibration { ece: 0.165, brier: 0.2, log_loss: 0.5, reliability }
    }

    #[test]
    fn draws_one_or_two_series_with_their_error() {
        let one = reliability_diagram("test", &calibration(), None).document();
        assert!(one.contains("as predicted: ECE 0.165") && !one.contains("calibrated:"));
        let both = reliability_diagram("test", &calibration(), Some(&calibration()));
        assert!(both.document().contains("calibrated: ECE 0.165"));
        assert!(!png(&both).unwrap().is_empty());
        let empty = Calibration { reliability: Vec::new(), ..calibration() };
        assert!(!reliability_diagram("test", &empty, None).document().contains("NaN"));
    }

    #[test]
    fn the_table_has_a_row_for_each_bin() {
        insta::assert_snapshot!(reliability_csv(&calibration(), None), @r"
        probabilities,low,high,count,confidence,frequency
        predicted,0.4,0.5,10,0.45,0.3
        predicted,0.9,1.0,30,0.97,0.8
        ");
    }
}
