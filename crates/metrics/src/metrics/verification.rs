//! Verification: whether two images show one identity, by a threshold on their similarity.
//!
//! A pair is accepted if its similarity is at least the threshold. The share of genuine pairs accepted is the
//! true accept rate (TAR; the ROC curve's TPR), the share of impostors the false accept rate (FAR; FPR). Curve
//! and area are scikit-learn's `roc_curve` and `roc_auc_score`: equal similarities are accepted together.

use serde::{Deserialize, Serialize};

use super::similarities::Similarities;
use crate::error::{Error, Result};

/// The resolution of the drawn curve: adjacent points differ this much in one of the rates, or by [`RATIO`] in
/// FAR.
const FINE: f64 = 1.0 / 2000.0;
const RATIO: f64 = 1.02;

/// The results of verification; part of the content of `metrics.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerificationMetrics {
    pub genuine_pairs: u64,
    pub impostor_pairs: u64,
    /// The area under the ROC curve: the share of (genuine, impostor) couples in which the genuine pair has the
    /// higher similarity; equal ones count half.
    pub auc: f64,
    /// The equal error rate: where the linearly interpolated ROC curve has FAR = 1 − TAR.
    pub eer: f64,
    /// The threshold whose two error rates are closest to each other; the higher of two.
    pub eer_threshold: f64,
    /// The share of correctly classified pairs at the best threshold.
    pub accuracy: f64,
    /// The highest of the best thresholds; `None` if accepting no pair is best.
    pub accuracy_threshold: Option<f64>,
    pub tar_at_far: Vec<TarAtFar>,
}

/// The share of genuine pairs accepted if at most a given share of impostors is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TarAtFar {
    /// The allowed share of impostors.
    pub far: f64,
    /// The maximum true accept rate among thresholds within this limit, without interpolation. With fewer than 1
    /// / `far` impostors it is the rate without any false accept.
    pub tar: f64,
    /// The lowest such threshold; `None` if the most similar impostors already exceed the limit.
    pub threshold: Option<f64>,
    pub false_accepts: u64,
}

/// A point of the ROC curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RocPoint {
    /// `None` at the start, where no pair is accepted.
    pub threshold: Option<f32>,
    pub far: f64,
    pub tar: f64,
}

/// The number of pairs that a threshold accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct AcceptedPairs {
    threshold: Option<f32>,
    genuine: u64,
    impostor: u64,
}

impl Similarities {
    /// All results, with the true accept rate at each of the given false accept rates.
    ///
    /// # Errors
    /// A false accept rate is outside of 0 to 1.
    pub fn verification(&self, fars: &[f64]) -> Result<VerificationMetrics> {
        if let Some(far) = fars.iter().find(|far| !(0.0..=1.0).contains(*far)) {
            return Err(Error::usage(format!("the false accept rate {far} is not between 0 and 1")));
        }
        let (genuine, impostor) = (self.genuine.len() as u64, self.impostor.len() as u64);
        let (eer, eer_threshold) = self.equal_error();
        // From accepting nothing: the first of the best has the highest threshold.
        let right = |at: &AcceptedPairs| at.genuine + impostor - at.impostor;
        let best = self
            .thresholds()
            .fold(AcceptedPairs::default(), |best, at| if right(&at) > right(&best) { at } else { best });
        Ok(VerificationMetrics {
            genuine_pairs: genuine,
            impostor_pairs: impostor,
            auc: self.area(),
            eer,
            eer_threshold: shortest(eer_threshold),
            accuracy: right(&best) as f64 / (genuine + impostor) as f64,
            accuracy_threshold: best.threshold.map(shortest),
            tar_at_far: fars.iter().map(|&far| self.tar_at(far)).collect(),
        })
    }

    /// The ROC curve from (0, 0) to (1, 1): its corners, without those within 1/2000 of the previous in both
    /// rates and 2 % in FAR, which no figure could show.
    pub fn roc(&self) -> Vec<RocPoint> {
        let point = |at: &AcceptedPairs| RocPoint {
            threshold: at.threshold,
            far: at.impostor as f64 / self.impostor.len() as f64,
            tar: at.genuine as f64 / self.genuine.len() as f64,
        };
        let mut curve = vec![point(&AcceptedPairs::default())];
        let (mut before, mut at) = (AcceptedPairs::default(), AcceptedPairs::default());
        for next in self.thresholds() {
            if at != before && !is_collinear(&before, &at, &next) {
                let (last, corner) = (curve[curve.len() - 1], point(&at));
                let near = corner.tar - last.tar < FINE && corner.far - last.far < FINE;
                if !(near && corner.far <= last.far * RATIO) {
                    curve.push(corner);
                }
                before = at;
            }
            at = next;
        }
        curve.push(point(&at));
        curve
    }

    /// The accepted pairs of each threshold that changes their number, from the highest.
    fn thresholds(&self) -> impl Iterator<Item = AcceptedPairs> {
        let (genuine, impostor) = (&self.genuine, &self.impostor);
        let (mut i, mut j) = (0, 0);
        std::iter::from_fn(move || {
            let threshold = match (genuine.get(i), impostor.get(j)) {
                (Some(&one), Some(&other)) => one.max(other),
                (Some(&one), None) | (None, Some(&one)) => one,
                (None, None) => return None,
            };
            i += genuine[i..].iter().take_while(|&&similarity| similarity == threshold).count();
            j += impostor[j..].iter().take_while(|&&similarity| similarity == threshold).count();
            Some(AcceptedPairs { threshold: Some(threshold), genuine: i as u64, impostor: j as u64 })
        })
    }

    /// By trapezoids, in integers until the final division.
    fn area(&self) -> f64 {
        let (mut before, mut twice) = (AcceptedPairs::default(), 0u128);
        for at in self.thresholds() {
            twice += u128::from(at.impostor - before.impostor) * u128::from(at.genuine + before.genuine);
            before = at;
        }
        twice as f64 / (2 * self.genuine.len() as u128 * self.impostor.len() as u128) as f64
    }

    fn equal_error(&self) -> (f64, f32) {
        let (genuine, impostor) = (self.genuine.len() as i128, self.impostor.len() as i128);
        // FAR − (1 − TAR), times all couples: increases along the curve from −1 to 1.
        let excess = |at: &AcceptedPairs| {
            i128::from(at.impostor) * genuine + i128::from(at.genuine) * impostor - genuine * impostor
        };
        let mut before = AcceptedPairs::default();
        for at in self.thresholds() {
            if excess(&at) >= 0 {
                let (under, over) = (-excess(&before), excess(&at));
                let way = under as f64 / (under + over) as f64;
                let accepted = before.impostor as f64 + way * (at.impostor - before.impostor) as f64;
                let nearest = if under <= over { before.threshold } else { None };
                let threshold = nearest.or(at.threshold).unwrap_or_default();
                return (accepted / impostor as f64, threshold);
            }
            before = at;
        }
        unreachable!("the last threshold accepts all pairs")
    }

    fn tar_at(&self, far: f64) -> TarAtFar {
        let impostors = self.impostor.len() as f64;
        let within = |at: &AcceptedPairs| at.impostor as f64 / impostors <= far;
        let mut best = AcceptedPairs::default();
        for at in self.thresholds().take_while(within) {
            // Thresholds that only accept more impostors are no better.
            if at.genuine > best.genuine {
                best = at;
            }
        }
        TarAtFar {
            far,
            tar: best.genuine as f64 / self.genuine.len() as f64,
            threshold: best.threshold.map(shortest),
            false_accepts: best.impostor,
        }
    }
}

/// Whether the middle one of three points is on the line between the others.
fn is_collinear(a: &AcceptedPairs, b: &AcceptedPairs, c: &AcceptedPairs) -> bool {
    let step = |from: &AcceptedPairs, to: &AcceptedPairs| {
        (u128::from(to.genuine - from.genuine), u128::from(to.impostor - from.impostor))
    };
    let (one, other) = (step(a, b), step(b, c));
    one.0 * other.1 == one.1 * other.0
}

/// The f64 with the same decimal representation: 0.3 instead of 0.30000001192092896.
pub fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}
