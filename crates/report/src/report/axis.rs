//! Axes: round tick values, and the mapping from values to pixels.

/// Round values that cover a range: multiples of 1, 2 or 5 times a power of ten.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub low: f64,
    pub high: f64,
    /// Each tick and its label, ascending.
    pub ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis for values from `low` to `high` (finite) with about `wanted` ticks, ending in ticks at both ends.
    pub fn covering(low: f64, high: f64, wanted: f64) -> Self {
        let (low, high) = if high > low { (low, high) } else { widened(low) };
        let (step, decimals) = round_step((high - low) / wanted);
        // A small tolerance, so that rounding of a value on a tick does not add another tick.
        let first = (low / step + 1e-6).floor();
        let last = (high / step - 1e-6).ceil();
        let tick = |index: f64| (index * step, label(index * step, decimals));
        let count = (last - first) as usize;
        Self {
            low: first * step,
            high: last * step,
            ticks: (0..=count).map(|i| tick(first + i as f64)).collect(),
        }
    }

    /// An axis of epochs 1 to `last`, with ticks on whole epochs only. It starts at the first epoch and ends at the
    /// last.
    pub fn epochs(last: u32) -> Self {
        if last <= 1 {
            return Self { low: 0.5, high: 1.5, ticks: vec![(1.0, "1".to_owned())] };
        }
        let step = (round_step(f64::from(last) / 8.0).0.max(1.0)) as u32;
        // The last epoch is always labelled. A round tick too close to it is not.
        let mut ticks: Vec<u32> =
            std::iter::once(1).chain((1..).map(|i| i * step)).take_while(|&t| t < last).collect();
        ticks.dedup();
        ticks.retain(|&t| t == 1 && last > 1 || (last - t) * 10 >= step * 6);
        if ticks.get(1).is_some_and(|&second| step > 2 && (second - 1) * 10 < step * 6) {
            ticks.remove(1);
        }
        ticks.push(last);
        Self {
            low: 1.0,
            high: f64::from(last),
            ticks: ticks.into_iter().map(|t| (f64::from(t), t.to_string())).collect(),
        }
    }

    /// The position of a value between two pixels.
    pub fn place(&self, value: f64, [from, to]: [f64; 2]) -> f64 {
        from + (value - self.low) / (self.high - self.low) * (to - from)
    }
}

/// A range around a single value.
fn widened(value: f64) -> (f64, f64) {
    let margin = if value == 0.0 { 0.5 } else { value.abs() * 0.1 };
    (value - margin, value + margin)
}

/// The smallest of 1, 2, 5 × 10ⁿ not below `least`, and the number of decimals that its multiples need.
fn round_step(least: f64) -> (f64, usize) {
    let exponent = libm::floor(libm::log10(least)) as i32;
    let power = libm::pow(10.0, f64::from(exponent));
    let (factor, exponent) = match least / power {
        m if m <= 1.0 + 1e-9 => (1.0, exponent),
        m if m <= 2.0 + 1e-9 => (2.0, exponent),
        m if m <= 5.0 + 1e-9 => (5.0, exponent),
        _ => (1.0, exponent + 1),
    };
    // Dividing by a power of ten gives the nearest number to 0.1, 0.02, …; multiplying by 10⁻ⁿ would not.
    let step = match exponent {
        0.. => factor * libm::pow(10.0, f64::from(exponent)),
        _ => factor / libm::pow(10.0, f64::from(-exponent)),
    };
    (step, (-exponent).max(0) as usize)
}

fn label(value: f64, decimals: usize) -> String {
    if decimals > 5 || value.abs() >= 1e6 {
        return super::text::number(value);
    }
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.')) { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        assert_eq!(labels(&Axis::covering(0.0, 0.69, 5.0)), ["0", "0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(labels(&Axis::covering(88.2, 99.1, 5.0)), ["85", "90", "95", "100"]);
        assert_eq!(labels(&Axis::covering(-0.3, 0.3, 5.0)), ["-0.4", "-0.2", "0", "0.2", "0.4"]);
        assert_eq!(labels(&Axis::covering(3.0, 3.0, 5.0)), ["2.6", "2.8", "3.0", "3.2", "3.4"]);
        assert_eq!(labels(&Axis::covering(0.0, 3e-9, 3.0)), ["0", "1e-9", "2e-9", "3e-9"]);
    }

    #[test]
    fn epochs_are_whole_and_end_where_training_ended() {
        assert_eq!(labels(&Axis::epochs(1)), ["1"]);
        assert_eq!(labels(&Axis::epochs(2)), ["1", "2"]);
        assert_eq!(labels(&Axis::epochs(10)), ["1", "2", "4", "6", "8", "10"]);
        assert_eq!(labels(&Axis::epochs(31)), ["1", "5", "10", "15", "20", "25", "31"]);
        assert_eq!(labels(&Axis::epochs(100)), ["1", "20", "40", "60", "80", "100"]);
    }
}
