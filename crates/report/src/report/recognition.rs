//! The quality of embeddings: the ROC curve and the cumulative match characteristic, as figures and tables.

use serde::{Deserialize, Serialize};

use super::axis::Axis;
use super::plot::{Plot, logarithmic_shares, shares};
use super::svg::{Anchor, Font, Paint, Stroke, Svg};
use super::tables::{IN_MEMORY, text, unreadable};
use super::text::{percent, significant};
use crate::csv_cells;
use crate::error::Result;
use crate::metrics::{RocPoint, VerificationMetrics};

const ENDS: [f64; 2] = [332.0, 92.0];
/// The lowest false accept rate that is plotted: one in a million.
const DECADES: u32 = 6;

/// Two images whose embeddings are too similar, or not similar enough: a row of `hardest_pairs.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HardPair {
    /// The error that this pair causes at an unsuitable threshold: `false reject` or `false accept`.
    pub risk: String,
    pub similarity: f32,
    /// Paths relative to the data set's root.
    pub first: String,
    pub second: String,
}

/// Draws the ROC curve, on a linear and on a logarithmic axis of false accepts. `title` usually is the stage's name.
pub fn roc_curve(title: &str, verification: &VerificationMetrics, curve: &[RocPoint]) -> Svg {
    let mut svg = Svg::new(&format!("{title}: ROC curve"), 960.0, 384.0);
    svg.text([24.0, 34.0], title, Font::new(17.0, Paint::Ink, Anchor::Start).bold());
    let auc = format!("AUC {}, EER {}", significant(verification.auc, 4), percent(verification.eer));
    svg.text([936.0, 34.0], &auc, Font::new(13.0, Paint::Ink, Anchor::End));

    let y_title = "genuine pairs accepted, %";
    let x_title = "impostors accepted, %";
    let plain =
        Plot { title: "ROC", x: shares(), x_title, y: shares(), y_title, sides: [72.0, 412.0], ends: ENDS };
    plain.frame(&mut svg);
    let corners = [[0.0, 0.0], [100.0, 100.0]].map(|corner| plain.place(corner));
    svg.line(corners[0], corners[1], Stroke::new(Paint::Axis, 1.0).dashed());
    let points: Vec<[f64; 2]> = curve.iter().map(|point| [point.far * 100.0, point.tar * 100.0]).collect();
    plain.curve(&mut svg, &points, Paint::Train);
    let eer = plain.place([verification.eer * 100.0, (1.0 - verification.eer) * 100.0]);
    svg.ring(eer, 4.5, Stroke::new(Paint::Validation, 2.0));
    svg.text([eer[0] + 10.0, eer[1] + 16.0], "EER", Font::new(12.0, Paint::Validation, Anchor::Start).bold());

    // The axis ends at the lowest rate that the number of impostor pairs allows.
    let impostors = verification.impostor_pairs.max(10) as f64;
    let decades = (libm::ceil(libm::log10(impostors)) as u32).min(DECADES);
    let low = logarithmic_shares(decades);
    let rare =
        Plot { title: "At low false accept rates", x: low, sides: [552.0, 920.0], y: shares(), ..plain };
    rare.frame(&mut svg);
    rare.curve(&mut svg, &steps(curve, -f64::from(decades)), Paint::Train);
    for at in verification.tar_at_far.iter().filter(|at| at.far > 0.0) {
        let exponent = libm::log10(at.far);
        if exponent >= -f64::from(decades) {
            let place = rare.place([exponent, at.tar * 100.0]);
            svg.ring(place, 4.5, Stroke::new(Paint::Validation, 2.0));
        }
    }
    svg
}

/// The curve without interpolation, as `tar_at_far` reports it: first horizontal, then vertical.
fn steps(curve: &[RocPoint], low: f64) -> Vec<[f64; 2]> {
    let exponent = |far: f64| if far > 0.0 { libm::log10(far).max(low) } else { low };
    let mut points: Vec<[f64; 2]> = Vec::new();
    let mut height = 0.0;
    for point in curve {
        points.push([exponent(point.far), height]);
        height = point.tar * 100.0;
        points.push([exponent(point.far), height]);
    }
    points.push([0.0, height]);
    points.dedup();
    points
}

/// Draws the fraction of queries found within rank 1, 2, …; `title` usually is the stage's name.
pub fn match_curve(title: &str, mean_average_precision: f64, found: &[f64]) -> Svg {
    let mut svg = Svg::new(&format!("{title}: cumulative match characteristic"), 480.0, 384.0);
    svg.text([24.0, 34.0], title, Font::new(17.0, Paint::Ink, Anchor::Start).bold());
    let precision = format!("mAP {}", percent(mean_average_precision));
    svg.text([456.0, 34.0], &precision, Font::new(13.0, Paint::Ink, Anchor::End));
    let lowest = found.first().copied().unwrap_or(0.0) * 100.0;
    let plot = Plot {
        title: "Queries found (CMC)",
        x: Axis::epochs(found.len() as u32),
        x_title: "rank",
        y: Axis::covering(lowest.min(95.0), 100.0, 5.0),
        y_title: "queries, %",
        sides: [72.0, 456.0],
        ends: ENDS,
    };
    plot.frame(&mut svg);
    let points: Vec<[f64; 2]> =
        found.iter().enumerate().map(|(place, share)| [place as f64 + 1.0, share * 100.0]).collect();
    plot.curve(&mut svg, &points, Paint::Train);
    if points.len() <= 30 {
        points.iter().for_each(|&point| svg.dot(plot.place(point), 2.6, Paint::Train));
    }
    svg
}

pub fn roc_csv(curve: &[RocPoint]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["threshold", "false_accept_rate", "true_accept_rate"]).expect(IN_MEMORY);
    curve
        .iter()
        .for_each(|point| writer.serialize((point.threshold, point.far, point.tar)).expect(IN_MEMORY));
    text(writer)
}

/// Reads what [`roc_csv`] wrote.
pub fn read_roc(text: &str) -> Result<Vec<RocPoint>> {
    let point = |row: csv::Result<(Option<f32>, f64, f64)>| {
        let (threshold, far, tar) = row.map_err(unreadable)?;
        Ok(RocPoint { threshold, far, tar })
    };
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(point).collect()
}

/// `found` is the fraction of queries found within rank 1, 2, ….
pub fn match_csv(found: &[f64]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["rank", "queries_found"]).expect(IN_MEMORY);
    for (place, share) in found.iter().enumerate() {
        writer.serialize((place + 1, share)).expect(IN_MEMORY);
    }
    text(writer)
}

/// Reads what [`match_csv`] wrote.
pub fn read_matches(text: &str) -> Result<Vec<f64>> {
    let share = |row: csv::Result<(u64, f64)>| Ok(row.map_err(unreadable)?.1);
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(share).collect()
}

pub fn hard_pairs_csv(pairs: &[HardPair]) -> String {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(["risk", "similarity", "first", "second"]).expect(IN_MEMORY);
    for HardPair { risk, similarity, first, second } in pairs {
        let fields = (risk, similarity, csv_cells::text(first), csv_cells::text(second));
        writer.serialize(fields).expect(IN_MEMORY);
    }
    text(writer)
}

/// Reads what [`hard_pairs_csv`] wrote.
pub fn read_hard_pairs(text: &str) -> Result<Vec<HardPair>> {
    let read = |row: csv::Result<HardPair>| {
        let HardPair { risk, similarity, first, second } = row.map_err(unreadable)?;
        let [first, second] = [first, second].map(|cell| csv_cells::name(&cell).to_owned());
        Ok(HardPair { risk, similarity, first, second })
    };
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::TarAtFar;

    fn verification() -> VerificationMetrics {
        let at = |far, tar| TarAtFar { far, tar, threshold: Some(0.5), false_accepts: 0 };
        VerificationMetrics {
            genuine_pairs: 20,
            impostor_pairs: 1000,
            auc: 0.9,
            eer: 0.2,
            eer_threshold: 0.4,
            accuracy: 0.98,
            accuracy_threshold: None,
            tar_at_far: vec![at(0.01, 0.5), at(0.0, 0.25)],
        }
    }

    fn curve() -> Vec<RocPoint> {
        let point = |threshold, far, tar| RocPoint { threshold, far, tar };
        vec![
            point(None, 0.0, 0.0),
            point(Some(0.9), 0.0, 0.25),
            point(Some(0.1 + 0.2), 0.1, 0.75),
            point(Some(-1.0), 1.0, 1.0),
        ]
    }

    #[test]
    fn tables_read_back_what_was_written() {
        assert_eq!(read_roc(&roc_csv(&curve())).unwrap(), curve());
        assert!(
            roc_csv(&curve()).starts_with("threshold,false_accept_rate,true_accept_rate\n,0.0,0.0\n0.9,")
        );
        let found = [1.0 / 3.0, 1.0];
        assert_eq!(read_matches(&match_csv(&found)).unwrap(), found);
        let (first, second) = ("a,b/1.jpg".to_owned(), "=c/2.jpg".to_owned());
        let pairs = [HardPair { risk: "false accept".to_owned(), similarity: 0.1, first, second }];
        assert!(hard_pairs_csv(&pairs).ends_with("false accept,0.1,\"a,b/1.jpg\",'=c/2.jpg\n"));
        assert_eq!(read_hard_pairs(&hard_pairs_csv(&pairs)).unwrap(), pairs);
        assert!(read_roc("threshold\nx\n").is_err());
    }

    #[test]
    fn draws_the_curve_on_both_scales() {
        insta::assert_snapshot!(roc_curve("verify", &verification(), &curve()).document());
    }

    #[test]
    fn the_rarest_accepts_are_reached_in_steps() {
        let steps = steps(&curve(), -3.0);
        assert_eq!(steps, [[-3.0, 0.0], [-3.0, 25.0], [-1.0, 25.0], [-1.0, 75.0], [0.0, 75.0], [0.0, 100.0]]);
    }

    #[test]
    fn draws_what_is_found_by_rank() {
        insta::assert_snapshot!(match_curve("identify", 0.8, &[0.7, 0.8, 0.95, 1.0]).document());
        let text = match_curve("one", 1.0, &[1.0]).document();
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
