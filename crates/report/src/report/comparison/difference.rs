//! The difference of a group of runs from the baseline, over the seeds that both have.

use serde::Serialize;

use super::{ComparedRun, MeanStd, RunGroup};

/// A metric minus that of the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Of the pairs. Without pairs, the difference of the two means.
    pub mean: f64,
    /// The sample standard deviation of the pairs' differences, if there are several pairs.
    pub sd: Option<f64>,
    /// The number of pairs: runs of both groups with the same seed and fold.
    pub pairs: usize,
    /// The 95 % confidence interval of the mean: Student's t over the pairs. None of pairs that all differ by the same,
    /// such as counts of epochs: they do not say how much others would vary.
    pub interval: Option<[f64; 2]>,
}

impl Difference {
    /// `None` if a group has no value of the metric.
    pub fn of(group: &RunGroup, baseline: &RunGroup, metric: &str) -> Option<Self> {
        let value = |run: &ComparedRun| run.metrics.get(metric).copied();
        let pairs: Vec<f64> = group
            .runs
            .iter()
            .filter_map(|run| {
                let same =
                    baseline.runs.iter().find(|other| other.seed == run.seed && other.fold == run.fold)?;
                Some(value(run)? - value(same)?)
            })
            .collect();
        match MeanStd::of(&pairs) {
            Some(MeanStd { mean, sd, n }) => {
                Some(Self { mean, sd, pairs: n, interval: interval(mean, sd, n) })
            }
            None => {
                let mean = group.metrics.get(metric)?.mean - baseline.metrics.get(metric)?.mean;
                Some(Self { mean, sd: None, pairs: 0, interval: None })
            }
        }
    }
}

fn interval(mean: f64, sd: Option<f64>, n: usize) -> Option<[f64; 2]> {
    let reach = student_t(n.checked_sub(1)?)? * sd.filter(|sd| *sd > 0.0)? / (n as f64).sqrt();
    Some([mean - reach, mean + reach])
}

/// The quantile 0.975 of Student's t with this many degrees of freedom; `None` for 0.
///
/// A table for up to 30 (any statistics textbook has it), and above the expansion of Fisher and Cornish in 1/freedom
/// (Abramowitz and Stegun 26.7.5), which is exact to four digits there.
fn student_t(freedom: usize) -> Option<f64> {
    const TABLE: [f64; 30] = [
        12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788,
        2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639,
        2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
    ];
    const NORMAL: f64 = 1.959_964;
    let at = freedom.checked_sub(1)?;
    Some(TABLE.get(at).copied().unwrap_or_else(|| {
        let (z, n) = (NORMAL, freedom as f64);
        let (z3, z5) = (z * z * z, z * z * z * z * z);
        z + (z3 + z) / (4.0 * n) + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * n * n)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(label: &str, values: &[(u64, f64)]) -> RunGroup {
        let run = |&(seed, value): &(u64, f64)| ComparedRun {
            seed,
            metrics: [("test/accuracy".to_owned(), value)].into(),
            ..ComparedRun::default()
        };
        RunGroup::new(label.to_owned(), values.iter().map(run).collect(), None)
    }

    /// Whether the interval contains 0: these seeds do not show a difference.
    fn is_within_noise(difference: &Difference) -> Option<bool> {
        difference.interval.map(|[low, high]| low <= 0.0 && high >= 0.0)
    }

    #[test]
    fn equal_seeds_are_pairs() {
        let baseline = group("none", &[(0, 0.5), (1, 0.7), (2, 0.6), (9, 0.1)]);
        let frozen = group("frozen", &[(2, 0.64), (0, 0.53), (1, 0.75)]);
        let found = Difference::of(&frozen, &baseline, "test/accuracy").unwrap();
        assert!((found.mean - 0.04).abs() < 1e-12 && (found.sd.unwrap() - 0.01).abs() < 1e-12);
        assert_eq!(found.pairs, 3);
        // scipy.stats.t.interval(0.95, 2, loc=0.04, scale=0.01 / 3 ** 0.5)
        let [low, high] = found.interval.unwrap();
        assert!((low - 0.015_158_6).abs() < 1e-6 && (high - 0.064_841_4).abs() < 1e-6, "{low} {high}");
        assert_eq!(is_within_noise(&found), Some(false));
        assert_eq!(Difference::of(&frozen, &baseline, "test/other"), None);
    }

    #[test]
    fn without_pairs_there_is_no_interval() {
        let found =
            Difference::of(&group("a", &[(5, 0.5)]), &group("b", &[(6, 0.25)]), "test/accuracy").unwrap();
        assert_eq!(found, Difference { mean: 0.25, sd: None, pairs: 0, interval: None });
        let one =
            Difference::of(&group("a", &[(5, 0.5)]), &group("b", &[(5, 0.25)]), "test/accuracy").unwrap();
        assert_eq!((one.pairs, one.interval, is_within_noise(&one)), (1, None, None));
        let alike = |start: f64| group("a", &[(1, start), (2, start + 1.0)]);
        let same = Difference::of(&alike(1.0), &alike(3.0), "test/accuracy").unwrap();
        assert_eq!((same.mean, same.sd, same.interval), (-2.0, Some(0.0), None));
    }

    #[test]
    fn quantiles_of_many_pairs_follow_the_expansion() {
        assert_eq!(student_t(0), None);
        // scipy.stats.t.ppf(0.975, [31, 100, 1000])
        for (freedom, expected) in [(31, 2.039_513), (100, 1.983_972), (1000, 1.962_339)] {
            assert!((student_t(freedom).unwrap() - expected).abs() < 1e-4, "{freedom}");
        }
    }
}
