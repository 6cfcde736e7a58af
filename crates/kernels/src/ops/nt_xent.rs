//! NT-Xent, the contrastive loss of Chen et al., *A Simple Framework for Contrastive Learning of Visual Representations*
//! (ICML 2020, arXiv 2002.05709), eq. 1.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::class_loss::SavedGradient;
use super::float::{Float, by_dtype};
use super::normalize_rows::dot;
use super::on_host::{loss_like, on_host};
use super::unit_rows::UnitRows;
use crate::autograd::{Tape, Value};
use crate::error::{Error, Result};

/// The loss of a batch of pairs.
pub struct ContrastiveLoss {
    /// The mean over all rows: a scalar on the tape.
    pub mean: Value,
    /// Sums over the rows.
    pub statistics: PairStatistics,
}

/// How the projections of a batch lie to one another, summed over its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairStatistics {
    pub rows: f64,
    pub loss: f64,
    /// Rows whose nearest row is the other view of their image.
    pub matched: f64,
    /// Σ ‖z − z'‖² of the two views of an image: Wang and Isola, *Understanding Contrastive Representation Learning through
    /// Alignment and Uniformity* (ICML 2020, arXiv 2005.10242), §4.1.1.
    pub squared_distance: f64,
    /// Σ e^(−2‖z − z'‖²) over all other rows, of §4.1.2 there.
    pub closeness: f64,
}

/// The contrastive loss of projections [2N, D], where the rows 2k and 2k + 1 are two views of an image.
///
/// With projections z of unit length, the loss of a row is −log of the softmax of z·z' / `temperature` over all other rows,
/// at the other view of its image. Computed in f64. On a GPU, the host computes it: the projections are copied there, and
/// the gradient back. A loss that is not finite is returned unchanged.
///
/// # Errors
/// A bug: no pairs of rows.
pub fn nt_xent(tape: &mut Tape, projections: &Value, temperature: f64) -> Result<ContrastiveLoss> {
    let (rows, width) = projections.tensor().dims2()?;
    if rows == 0 || rows % 2 != 0 || width == 0 {
        return Err(Error::bug(format!("pairs of views in {rows} rows of {width} numbers")));
    }
    let host = on_host(projections.tensor())?;
    by_dtype!(host, T => forward::<T>(tape, projections, &host, temperature))
}

fn forward<T: Float>(
    tape: &mut Tape,
    projections: &Value,
    host: &Tensor,
    temperature: f64,
) -> Result<ContrastiveLoss> {
    let rows = host.dim(0)?;
    let units = UnitRows::of::<T>(host)?;
    let of_rows: Vec<RowTerms> =
        (0..rows).into_par_iter().map(|row| row_terms(&units, row, temperature)).collect();
    let mut statistics = PairStatistics::default();
    of_rows.iter().for_each(|row| statistics.add(&row.statistics));
    let mean = Tensor::new(T::from_f64(statistics.loss / rows as f64), &Device::Cpu)?;
    let mean = loss_like(&mean, projections.tensor())?;
    if projections.is_constant() {
        return Ok(ContrastiveLoss { mean: Value::constant(mean), statistics });
    }
    let slope_of = |row: usize| {
        // Each similarity is in the losses of both of its rows.
        let mut slope = vec![0.0; units.width()];
        for (other, terms) in of_rows.iter().enumerate() {
            let factor = (of_rows[row].slopes[other] + terms.slopes[row]) / (temperature * rows as f64);
            for (slope, x) in slope.iter_mut().zip(units.row(other)) {
                *slope += factor * x;
            }
        }
        slope
    };
    let gradient = units.gradient::<T>(projections.tensor(), slope_of)?;
    let mean = tape.record(&[projections], mean, || SavedGradient { gradient });
    Ok(ContrastiveLoss { mean, statistics })
}

/// The loss of a row, and its slopes for the similarity to each row, times the temperature.
struct RowTerms {
    statistics: PairStatistics,
    slopes: Vec<f64>,
}

fn row_terms(units: &UnitRows, row: usize, temperature: f64) -> RowTerms {
    let own = units.row(row);
    let partner = row ^ 1;
    let cosines: Vec<f64> = units.rows().map(|other| dot(own, other)).collect();
    let others = || (0..cosines.len()).filter(|other| *other != row);
    let nearest =
        others().fold(partner, |best, other| if cosines[other] > cosines[best] { other } else { best });
    let largest = cosines[nearest];
    let mut slopes: Vec<f64> =
        cosines.iter().map(|cosine| libm::exp((cosine - largest) / temperature)).collect();
    slopes[row] = 0.0;
    let sum: f64 = slopes.iter().sum();
    slopes.iter_mut().for_each(|share| *share /= sum);
    slopes[partner] -= 1.0;
    let loss = libm::log(sum) - (cosines[partner] - largest) / temperature;
    let squared_distance = |other: usize| 2.0 - 2.0 * cosines[other];
    let statistics = PairStatistics {
        rows: 1.0,
        loss,
        matched: f64::from(u8::from(nearest == partner)),
        squared_distance: squared_distance(partner),
        closeness: others().map(|other| libm::exp(-2.0 * squared_distance(other))).sum(),
    };
    RowTerms { statistics, slopes }
}

impl PairStatistics {
    /// Adds those of other rows.
    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.loss += other.loss;
        self.matched += other.matched;
        self.squared_distance += other.squared_distance;
        self.closeness += other.closeness;
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{Fixture, assert_same_on_any_threads, check_gradients, normal, numbers};

    fn value(tensor: &Tensor) -> Value {
        Value::constant(tensor.clone())
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for temperature in [0.1, 1.0] {
            check_gradients(&[normal("projections", &[6, 5])], |tape, inputs| {
                Ok(nt_xent(tape, &inputs[0], temperature)?.mean)
            });
        }
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("nt_xent");
        for temperature in [0.1, 0.5] {
            fixture.assert_gradients(&format!("{temperature}"), &["projections"], |tape, inputs| {
                Ok(nt_xent(tape, &inputs[0], temperature)?.mean)
            });
            let found = nt_xent(&mut Tape::new(), &value(&fixture.get("projections")), temperature).unwrap();
            let PairStatistics { rows, matched, squared_distance, closeness, .. } = found.statistics;
            let expected = numbers(&fixture.get("statistics"));
            let pairs = rows * (rows - 1.0);
            let found = [matched / rows, squared_distance / rows, libm::log(closeness / pairs)];
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
            }
        }
    }

    #[test]
    fn equal_projections_have_the_loss_of_a_guess() {
        let rows = Tensor::ones((8, 3), DType::F64, &Device::Cpu).unwrap();
        let ContrastiveLoss { mean, statistics } = nt_xent(&mut Tape::new(), &value(&rows), 0.1).unwrap();
        assert!((numbers(mean.tensor())[0] - 7f64.ln()).abs() < 1e-12);
        assert!(
            (statistics.closeness / 56.0 - 1.0).abs() < 1e-12 && statistics.squared_distance.abs() < 1e-12
        );
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let rows = normal("projections", &[34, 19]).to_dtype(DType::F32).unwrap();
        assert_same_on_any_threads(|| {
            let mut tape = Tape::new();
            let leaf = tape.leaf(rows.clone());
            let mean = nt_xent(&mut tape, &leaf, 0.1).unwrap().mean;
            vec![mean.tensor().clone(), tape.backward(&mean).unwrap().take(&leaf).unwrap()]
        });
    }

    #[test]
    fn rows_without_length_have_finite_gradients_and_no_numbers_no_loss() {
        let mut data = numbers(&normal("projections", &[4, 3]));
        data[..3].fill(0.0);
        let mut tape = Tape::new();
        let leaf = tape.leaf(Tensor::from_vec(data.clone(), (4, 3), &Device::Cpu).unwrap());
        let mean = nt_xent(&mut tape, &leaf, 0.5).unwrap().mean;
        let gradient = tape.backward(&mean).unwrap().take(&leaf).unwrap();
        assert!(numbers(&gradient).iter().all(|slope| slope.is_finite()));
        data[0] = f64::NAN;
        let broken = Tensor::from_vec(data, (4, 3), &Device::Cpu).unwrap();
        let mean = nt_xent(&mut Tape::new(), &value(&broken), 0.5).unwrap().mean;
        assert!(numbers(mean.tensor())[0].is_nan());
    }

    #[test]
    fn a_view_without_its_other_is_an_error() {
        assert!(nt_xent(&mut Tape::new(), &value(&normal("x", &[3, 4])), 0.1).is_err());
    }
}
