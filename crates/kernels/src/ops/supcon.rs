//! The supervised contrastive loss of Khosla et al., *Supervised Contrastive Learning* (NeurIPS 2020, arXiv 2004.11362), eq. 2.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::class_loss::SavedGradient;
use super::float::{Float, by_dtype};
use super::normalize_rows::dot;
use super::on_host::{loss_like, on_host};
use super::triplet::{AnchorStatistics, MetricLoss, require_labels};
use super::unit_rows::UnitRows;
use crate::autograd::{Tape, Value};
use crate::error::Result;

/// The supervised contrastive loss of embeddings [N, D] with these classes.
///
/// An anchor is a row whose class another row has. With embeddings z of unit length, its loss is the mean over all other
/// rows p of its class of −log of the softmax of z·z' / `temperature` over all other rows, at p: L_out of the paper. The loss
/// is the mean over the anchors; 0 without any. Computed in f64. On a GPU, the host computes it: the embeddings are copied
/// there, and the gradient back. A loss that is not finite is returned unchanged.
///
/// # Errors
/// A bug: not one class for each row.
pub fn supcon(tape: &mut Tape, embeddings: &Value, classes: &[u32], temperature: f64) -> Result<MetricLoss> {
    require_labels(embeddings.tensor(), classes)?;
    let host = on_host(embeddings.tensor())?;
    by_dtype!(host, T => forward::<T>(tape, embeddings, &host, classes, temperature))
}

fn forward<T: Float>(
    tape: &mut Tape,
    embeddings: &Value,
    host: &Tensor,
    classes: &[u32],
    temperature: f64,
) -> Result<MetricLoss> {
    let units = UnitRows::of::<T>(host)?;
    let rows: Vec<RowTerms> =
        (0..classes.len()).into_par_iter().map(|row| row_terms(&units, classes, row, temperature)).collect();
    let mut statistics = AnchorStatistics::default();
    rows.iter().for_each(|row| statistics.add(&row.statistics));
    let mean = Tensor::new(T::from_f64(statistics.mean_loss()), &Device::Cpu)?;
    let mean = loss_like(&mean, embeddings.tensor())?;
    if embeddings.is_constant() {
        return Ok(MetricLoss { mean: Value::constant(mean), statistics });
    }
    let scale = 1.0 / (temperature * statistics.denominator());
    let slope_of = |row: usize| {
        // Each similarity is in the losses of both of its rows.
        let mut slope = vec![0.0; units.width()];
        for (other, terms) in rows.iter().enumerate() {
            let factor = scale * (rows[row].slope(other) + terms.slope(row));
            for (slope, x) in slope.iter_mut().zip(units.row(other)) {
                *slope += factor * x;
            }
        }
        slope
    };
    let gradient = units.gradient::<T>(embeddings.tensor(), slope_of)?;
    let mean = tape.record(&[embeddings], mean, || SavedGradient { gradient });
    Ok(MetricLoss { mean, statistics })
}

/// The loss of a row, and its slopes for the similarity to each row, times the temperature. A row that is no anchor has none.
struct RowTerms {
    statistics: AnchorStatistics,
    slopes: Vec<f64>,
}

impl RowTerms {
    fn slope(&self, other: usize) -> f64 {
        self.slopes.get(other).copied().unwrap_or(0.0)
    }
}

fn row_terms(units: &UnitRows, classes: &[u32], row: usize, temperature: f64) -> RowTerms {
    let own = units.row(row);
    let others = || (0..classes.len()).filter(move |other| *other != row);
    let positives = others().filter(|other| classes[*other] == classes[row]).count();
    if positives == 0 {
        return RowTerms { statistics: AnchorStatistics::default(), slopes: Vec::new() };
    }
    let cosines: Vec<f64> = units.rows().map(|other| dot(own, other)).collect();
    let nearest = others().fold(None, |best: Option<usize>, other| match best {
        Some(best) if cosines[best] >= cosines[other] => Some(best),
        _ => Some(other),
    });
    let nearest = nearest.unwrap_or(row);
    let largest = cosines[nearest];
    let mut slopes: Vec<f64> =
        cosines.iter().map(|cosine| libm::exp((cosine - largest) / temperature)).collect();
    slopes[row] = 0.0;
    let sum: f64 = slopes.iter().sum();
    slopes.iter_mut().for_each(|share| *share /= sum);
    let share = 1.0 / positives as f64;
    let mut similarity = 0.0;
    for positive in others().filter(|other| classes[*other] == classes[row]) {
        slopes[positive] -= share;
        similarity += share * (cosines[positive] - largest) / temperature;
    }
    let loss = libm::log(sum) - similarity;
    let matched = f64::from(u8::from(classes[nearest] == classes[row]));
    RowTerms { statistics: AnchorStatistics { anchors: 1.0, loss, matched }, slopes }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::nt_xent;
    use crate::ops::testing::{Fixture, assert_same_on_any_threads, check_gradients, normal, numbers};

    fn constant(tensor: &Tensor) -> Value {
        Value::constant(tensor.clone())
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for temperature in [0.1, 1.0] {
            // The last row has no other of its class.
            check_gradients(&[normal("embeddings", &[7, 5])], |tape, inputs| {
                Ok(supcon(tape, &inputs[0], &[2, 0, 2, 0, 2, 0, 9], temperature)?.mean)
            });
        }
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("metric");
        let classes: Vec<u32> =
            numbers(&fixture.get("classes")).into_iter().map(|class| class as u32).collect();
        for temperature in [0.1, 0.5] {
            fixture.assert_gradients(&format!("supcon.{temperature}"), &["embeddings"], |tape, inputs| {
                Ok(supcon(tape, &inputs[0], &classes, temperature)?.mean)
            });
        }
        let embeddings = constant(&fixture.get("embeddings"));
        let found = supcon(&mut Tape::new(), &embeddings, &classes, 0.1).unwrap().statistics;
        let expected = numbers(&fixture.get("statistics"));
        assert_eq!([found.anchors, found.matched / found.anchors], expected[..]);
    }

    #[test]
    fn with_pairs_as_classes_it_is_nt_xent() {
        let rows = normal("embeddings", &[8, 5]);
        let pairs = nt_xent(&mut Tape::new(), &constant(&rows), 0.3).unwrap().mean;
        let classes = [0, 0, 1, 1, 2, 2, 3, 3];
        let found = supcon(&mut Tape::new(), &constant(&rows), &classes, 0.3).unwrap().mean;
        assert!((numbers(found.tensor())[0] - numbers(pairs.tensor())[0]).abs() < 1e-12);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let rows = normal("embeddings", &[33, 19]).to_dtype(DType::F32).unwrap();
        let classes: Vec<u32> = (0..33).map(|row| row % 5).collect();
        assert_same_on_any_threads(|| {
            let mut tape = Tape::new();
            let leaf = tape.leaf(rows.clone());
            let mean = supcon(&mut tape, &leaf, &classes, 0.1).unwrap().mean;
            vec![mean.tensor().clone(), tape.backward(&mean).unwrap().take(&leaf).unwrap()]
        });
    }

    #[test]
    fn a_batch_without_anchors_has_no_loss_and_no_gradient() {
        let mut tape = Tape::new();
        let leaf = tape.leaf(normal("embeddings", &[3, 4]));
        let found = supcon(&mut tape, &leaf, &[0, 1, 2], 0.1).unwrap();
        assert_eq!((numbers(found.mean.tensor())[0], found.statistics.anchors), (0.0, 0.0));
        let gradient = tape.backward(&found.mean).unwrap().take(&leaf).unwrap();
        assert!(numbers(&gradient).iter().all(|slope| *slope == 0.0));
    }

    #[test]
    fn no_numbers_have_no_loss_and_rows_need_classes() {
        let mut data = numbers(&normal("embeddings", &[4, 3]));
        data[0] = f64::NAN;
        let broken = Tensor::from_vec(data, (4, 3), &Device::Cpu).unwrap();
        let mean = supcon(&mut Tape::new(), &constant(&broken), &[0, 0, 1, 1], 0.5).unwrap().mean;
        assert!(numbers(mean.tensor())[0].is_nan());
        assert!(supcon(&mut Tape::new(), &constant(&broken), &[0, 0, 1], 0.5).is_err());
    }
}
