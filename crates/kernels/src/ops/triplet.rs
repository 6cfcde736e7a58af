//! The triplet loss with the hardest examples of a batch: Hermans, Beyer and Leibe, *In Defense of the Triplet Loss for Person
//! Re-Identification* (2017, arXiv 1703.07737), eq. 5, and its soft margin (§2).

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::class_loss::SavedGradient;
use super::float::{Float, by_dtype};
use super::on_host::{loss_like, on_host};
use super::unit_rows::UnitRows;
use crate::autograd::{Tape, Value};
use crate::error::{Error, Result};

/// Distances below it have no direction: the gradient of a distance is 0 there.
const NEAREST: f64 = 1e-12;

/// The loss of a batch of embeddings with classes.
pub struct MetricLoss {
    /// The mean over the anchors: a scalar on the tape.
    pub mean: Value,
    /// Sums over the anchors.
    pub statistics: AnchorStatistics,
}

/// Sums over the anchors of a batch: the rows that are compared with other rows of their class.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnchorStatistics {
    pub anchors: f64,
    pub loss: f64,
    /// Anchors whose nearest row is of their class. Of equally near ones, the first counts.
    pub matched: f64,
}

impl AnchorStatistics {
    /// Adds those of other anchors.
    pub fn add(&mut self, other: &Self) {
        self.anchors += other.anchors;
        self.loss += other.loss;
        self.matched += other.matched;
    }

    /// The divisor of the mean loss: 1 without anchors, whose loss is 0.
    pub fn denominator(&self) -> f64 {
        self.anchors.max(1.0)
    }

    pub(super) fn mean_loss(&self) -> f64 {
        self.loss / self.denominator()
    }
}

/// How far the nearest row of another class shall be behind the farthest of the own one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TripletMargin {
    /// max(0, margin + d(positive) − d(negative)).
    Hard(f64),
    /// log(1 + e^(d(positive) − d(negative))).
    Soft,
}

/// The batch-hard triplet loss of embeddings [N, D] with these classes.
///
/// An anchor is a row whose class another row has, and some row has not. Distances d are Euclidean, of embeddings at unit
/// length. Its positive is the farthest row of its class, its negative the nearest of another class; of equal ones, the first.
/// The loss is the mean over the anchors; 0 without any. Computed in f64. On a GPU, the host computes it: the embeddings are
/// copied there, and the gradient back. A loss that is not finite is returned unchanged.
///
/// # Errors
/// A bug: not one class for each row.
pub fn triplet(
    tape: &mut Tape,
    embeddings: &Value,
    classes: &[u32],
    margin: TripletMargin,
) -> Result<MetricLoss> {
    require_labels(embeddings.tensor(), classes)?;
    let host = on_host(embeddings.tensor())?;
    by_dtype!(host, T => forward::<T>(tape, embeddings, &host, classes, margin))
}

/// Checks that each row of [N, D] has a class.
pub(super) fn require_labels(embeddings: &Tensor, classes: &[u32]) -> Result<()> {
    let (rows, width) = embeddings.dims2()?;
    if rows != classes.len() || rows == 0 || width == 0 {
        return Err(Error::bug(format!("{} classes of {rows} rows of {width} numbers", classes.len())));
    }
    Ok(())
}

fn forward<T: Float>(
    tape: &mut Tape,
    embeddings: &Value,
    host: &Tensor,
    classes: &[u32],
    margin: TripletMargin,
) -> Result<MetricLoss> {
    let units = UnitRows::of::<T>(host)?;
    let found: Vec<Option<Triplet>> =
        (0..classes.len()).into_par_iter().map(|row| hardest(&units, classes, row, margin)).collect();
    let mut statistics = AnchorStatistics::default();
    found.iter().flatten().for_each(|triplet| statistics.add(&triplet.statistics));
    let mean = Tensor::new(T::from_f64(statistics.mean_loss()), &Device::Cpu)?;
    let mean = loss_like(&mean, embeddings.tensor())?;
    if embeddings.is_constant() {
        return Ok(MetricLoss { mean: Value::constant(mean), statistics });
    }
    // Of each row: the other rows whose distance to it is in the loss, in the order of the anchors.
    let mut slopes: Vec<Vec<(usize, f64)>> = vec![Vec::new(); classes.len()];
    for (anchor, triplet) in
        found.iter().enumerate().filter_map(|(anchor, found)| Some((anchor, found.as_ref()?)))
    {
        let slope = triplet.slope / statistics.denominator();
        for ((other, distance), slope) in [(triplet.positive, slope), (triplet.negative, -slope)] {
            if distance > NEAREST {
                slopes[anchor].push((other, slope / distance));
                slopes[other].push((anchor, slope / distance));
            }
        }
    }
    let slope_of = |row: usize| {
        let mut slope = vec![0.0; units.width()];
        for (other, factor) in &slopes[row] {
            for ((slope, x), y) in slope.iter_mut().zip(units.row(row)).zip(units.row(*other)) {
                *slope += factor * (x - y);
            }
        }
        slope
    };
    let gradient = units.gradient::<T>(embeddings.tensor(), slope_of)?;
    let mean = tape.record(&[embeddings], mean, || SavedGradient { gradient });
    Ok(MetricLoss { mean, statistics })
}

/// The hardest rows of an anchor, each with its distance.
struct Triplet {
    positive: (usize, f64),
    negative: (usize, f64),
    statistics: AnchorStatistics,
    /// The slope of the loss for the distance of the positive; that of the negative is its opposite.
    slope: f64,
}

fn hardest(units: &UnitRows, classes: &[u32], row: usize, margin: TripletMargin) -> Option<Triplet> {
    let own = units.row(row);
    let distance = |other: &[f64]| own.iter().zip(other).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt();
    let distances: Vec<f64> = units.rows().map(distance).collect();
    let choose = |same: bool, harder: fn(f64, f64) -> bool| {
        let others =
            (0..classes.len()).filter(|other| *other != row && (classes[*other] == classes[row]) == same);
        others.fold(None, |best: Option<(usize, f64)>, other| match best {
            Some((_, best_distance)) if !harder(distances[other], best_distance) => best,
            _ => Some((other, distances[other])),
        })
    };
    let positive = choose(true, |one, other| one > other)?;
    let negative = choose(false, |one, other| one < other)?;
    let nearest_positive = choose(true, |one, other| one < other)?;
    let gap = positive.1 - negative.1;
    let (loss, slope) = match margin {
        // NaN stays NaN.
        TripletMargin::Hard(margin) if gap + margin <= 0.0 => (0.0, 0.0),
        TripletMargin::Hard(margin) => (gap + margin, 1.0),
        // |gap| is at most 2, so nothing overflows.
        TripletMargin::Soft => (libm::log1p(libm::exp(gap)), 1.0 / (1.0 + libm::exp(-gap))),
    };
    let own_first = nearest_positive.1 < negative.1
        || (nearest_positive.1 == negative.1 && nearest_positive.0 < negative.0);
    let matched = f64::from(u8::from(own_first));
    Some(Triplet { positive, negative, statistics: AnchorStatistics { anchors: 1.0, loss, matched }, slope })
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{Fixture, assert_same_on_any_threads, check_gradients, normal, numbers};

    const MARGINS: [(&str, TripletMargin); 3] =
        [("0.2", TripletMargin::Hard(0.2)), ("1", TripletMargin::Hard(1.0)), ("soft", TripletMargin::Soft)];

    fn constant(tensor: &Tensor) -> Value {
        Value::constant(tensor.clone())
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for (_, margin) in MARGINS {
            // The last row has no other of its class.
            check_gradients(&[normal("embeddings", &[7, 5])], |tape, inputs| {
                Ok(triplet(tape, &inputs[0], &[2, 0, 2, 0, 2, 0, 9], margin)?.mean)
            });
        }
    }

    #[test]
    fn pytorch_agrees() {
        let fixture = Fixture::open("metric");
        let classes: Vec<u32> =
            numbers(&fixture.get("classes")).into_iter().map(|class| class as u32).collect();
        for (name, margin) in MARGINS {
            fixture.assert_gradients(&format!("triplet.{name}"), &["embeddings"], |tape, inputs| {
                Ok(triplet(tape, &inputs[0], &classes, margin)?.mean)
            });
        }
        let embeddings = constant(&fixture.get("embeddings"));
        let found = triplet(&mut Tape::new(), &embeddings, &classes, TripletMargin::Soft).unwrap().statistics;
        let expected = numbers(&fixture.get("statistics"));
        assert_eq!([found.anchors, found.matched / found.anchors], expected[..]);
    }

    #[test]
    fn the_hardest_rows_make_the_loss() {
        // At angles of 0°, 60° and 90° of one class, and 100° of another: chords are 2 sin(half the angle).
        let row = |degrees: f64| [degrees.to_radians().cos() * 3.0, degrees.to_radians().sin() * 3.0];
        let rows = Tensor::new(&[row(0.0), row(60.0), row(90.0), row(100.0)], &Device::Cpu).unwrap();
        let chord = |degrees: f64| 2.0 * (degrees.to_radians() / 2.0).sin();
        let margin = 0.1;
        let expected = [chord(90.0) - chord(100.0), chord(60.0) - chord(40.0), chord(90.0) - chord(10.0)];
        let expected: f64 = expected.iter().map(|gap| (gap + margin).max(0.0)).sum::<f64>() / 3.0;
        let found =
            triplet(&mut Tape::new(), &constant(&rows), &[5, 5, 5, 1], TripletMargin::Hard(margin)).unwrap();
        assert!((numbers(found.mean.tensor())[0] - expected).abs() < 1e-12);
        assert_eq!((found.statistics.anchors, found.statistics.matched), (3.0, 2.0));
    }

    #[test]
    fn equal_rows_have_the_margin_as_loss_and_finite_gradients() {
        let mut tape = Tape::new();
        let leaf = tape.leaf(Tensor::ones((6, 3), DType::F64, &Device::Cpu).unwrap());
        let found = triplet(&mut tape, &leaf, &[0, 0, 0, 1, 1, 1], TripletMargin::Hard(0.3)).unwrap();
        assert!((numbers(found.mean.tensor())[0] - 0.3).abs() < 1e-12);
        let gradient = tape.backward(&found.mean).unwrap().take(&leaf).unwrap();
        assert!(numbers(&gradient).iter().all(|slope| *slope == 0.0));
        // A row without length has no direction.
        let mut data = numbers(&normal("embeddings", &[4, 3]));
        data[..3].fill(0.0);
        let mut tape = Tape::new();
        let leaf = tape.leaf(Tensor::from_vec(data, (4, 3), &Device::Cpu).unwrap());
        let mean = triplet(&mut tape, &leaf, &[0, 0, 1, 1], TripletMargin::Soft).unwrap().mean;
        let gradient = tape.backward(&mean).unwrap().take(&leaf).unwrap();
        assert!(numbers(&gradient).iter().all(|slope| slope.is_finite()));
    }

    #[test]
    fn a_batch_of_one_class_has_no_loss() {
        let mut tape = Tape::new();
        let leaf = tape.leaf(normal("embeddings", &[3, 4]));
        for classes in [[0, 0, 0], [0, 1, 2]] {
            let found = triplet(&mut tape, &leaf, &classes, TripletMargin::Soft).unwrap();
            assert_eq!((numbers(found.mean.tensor())[0], found.statistics.anchors), (0.0, 0.0));
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let rows = normal("embeddings", &[33, 19]).to_dtype(DType::F32).unwrap();
        let classes: Vec<u32> = (0..33).map(|row| row % 5).collect();
        assert_same_on_any_threads(|| {
            let mut tape = Tape::new();
            let leaf = tape.leaf(rows.clone());
            let mean = triplet(&mut tape, &leaf, &classes, TripletMargin::Hard(0.2)).unwrap().mean;
            vec![mean.tensor().clone(), tape.backward(&mean).unwrap().take(&leaf).unwrap()]
        });
    }

    #[test]
    fn no_numbers_have_no_loss_and_rows_need_classes() {
        let mut data = numbers(&normal("embeddings", &[4, 3]));
        data[0] = f64::NAN;
        let broken = Tensor::from_vec(data, (4, 3), &Device::Cpu).unwrap();
        let mean =
            triplet(&mut Tape::new(), &constant(&broken), &[0, 0, 1, 1], TripletMargin::Soft).unwrap().mean;
        assert!(numbers(mean.tensor())[0].is_nan());
        assert!(triplet(&mut Tape::new(), &constant(&broken), &[0, 0, 1], TripletMargin::Soft).is_err());
    }
}
