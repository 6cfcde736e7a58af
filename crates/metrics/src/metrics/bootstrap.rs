//! Confidence intervals of scores by the bootstrap (Efron 1979): images are drawn with replacement, as many as there are,
//! and the interval is the middle of the scores of such samples (percentile method).
//!
//! Where images come in groups, such as several photos of a patient, whole groups are drawn (Davison, Hinkley 1997,
//! §3.8): images of a group resemble each other, so that drawing them one by one gives intervals that are too narrow.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::random::{Purpose, Stream};

/// The share of the samples in the interval.
pub const CONFIDENCE_LEVEL: f64 = 0.95;

/// The number of samples.
pub const RESAMPLES: u32 = 1000;

/// The lower and upper bound of each score, by its name.
pub type Intervals = BTreeMap<String, [f64; 2]>;

/// The scores of a sample, by name; `None` of a score that it lacks.
pub(super) type SampleScores = BTreeMap<&'static str, Option<f64>>;

/// The intervals of what `scores` computes of samples. It gets how often each image is in the sample. `groups` has the
/// group of each image, counted from 0. A score that some sample lacks has no interval.
pub(super) fn bootstrap(groups: &[usize], scores: impl Fn(&[u64]) -> SampleScores + Sync) -> Intervals {
    let units = groups.iter().max().map_or(0, |last| last + 1);
    let samples: Vec<SampleScores> = (0..RESAMPLES)
        .into_par_iter()
        .map(|sample| {
            let drawn = drawn(units, sample);
            let weights: Vec<u64> = groups.iter().map(|group| drawn[*group]).collect();
            scores(&weights)
        })
        .collect();
    let Some(first) = samples.first() else { return Intervals::new() };
    let interval = |name: &&str| {
        let values: Option<Vec<f64>> = samples.iter().map(|scores| scores[name]).collect();
        Some(((*name).to_owned(), middle(values?)?))
    };
    first.keys().filter_map(interval).collect()
}

/// How often each of `units` is drawn in a sample.
fn drawn(units: usize, sample: u32) -> Vec<u64> {
    let mut counts = vec![0; units];
    let Ok(bound) = u32::try_from(units) else { return counts };
    let mut stream = Stream::new(0, Purpose::Bootstrap, sample, 0);
    for _ in 0..units {
        counts[stream.below(bound) as usize] += 1;
    }
    counts
}

/// The bounds of the middle, with linear interpolation between neighbours as in numpy's `quantile`.
fn middle(mut values: Vec<f64>) -> Option<[f64; 2]> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let outside = (1.0 - CONFIDENCE_LEVEL) / 2.0;
    Some([outside, 1.0 - outside].map(|share| {
        let place = share * last as f64;
        let below = (place as usize).min(last);
        let above = (below + 1).min(last);
        values[below] + (values[above] - values[below]) * (place - below as f64)
    }))
}
