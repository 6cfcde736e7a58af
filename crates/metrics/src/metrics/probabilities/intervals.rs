//! Confidence intervals of the scores of probabilities.

use std::collections::BTreeMap;

use super::{LabelledProbabilities, Truths};
use crate::metrics::THRESHOLD;
use crate::metrics::bootstrap::{Intervals, bootstrap};
use crate::metrics::classification::ratio;

/// Rankings of more probabilities than this get no interval, since every sample needs all of them.
const MOST_RANKED: usize = 1_000_000;

/// The intervals of the scores of an evaluation: `accuracy` and `macro_f1`, with several labels also `micro_f1`, and of up
/// to a million probabilities `auc` and `map`.
///
/// `groups` has the group of each image, counted from 0. A score that some sample lacks has no interval.
pub fn intervals(images: &LabelledProbabilities, groups: &[usize]) -> Intervals {
    let decisions = Decisions::of(images);
    let ranked = images.len() * images.classes() <= MOST_RANKED;
    let rankings: Vec<Ranked> =
        (0..if ranked { images.classes() } else { 0 }).map(|class| Ranked::of(images, class)).collect();
    bootstrap(groups, |weights| {
        let mut scores = decisions.scores(weights);
        scores.extend(ranked_scores(&rankings, weights));
        scores
    })
}

/// What each image is, and is predicted to be.
enum Decisions {
    /// True and predicted class.
    Classes { classes: usize, pairs: Vec<[usize; 2]> },
    /// For each image and label, whether it is true and predicted.
    Labels { classes: usize, pairs: Vec<[bool; 2]> },
}

impl Decisions {
    fn of(images: &LabelledProbabilities) -> Self {
        let classes = images.classes();
        match images.truths() {
            Truths::Classes(truths) => {
                let pair = |(image, class): (usize, &u32)| [*class as usize, images.most_likely(image)];
                Self::Classes { classes, pairs: truths.iter().enumerate().map(pair).collect() }
            }
            Truths::Labels(truths) => {
                let predicted = (0..images.len()).flat_map(|image| images.row(image));
                let pairs = truths.iter().zip(predicted).map(|(truth, p)| [*truth, *p >= THRESHOLD]);
                Self::Labels { classes, pairs: pairs.collect() }
            }
        }
    }

    /// The scores of a sample that has each image as often as `weights` says.
    fn scores(&self, weights: &[u64]) -> BTreeMap<&'static str, Option<f64>> {
        let classes = match self {
            Self::Classes { classes, .. } | Self::Labels { classes, .. } => *classes,
        };
        // By class: true positives, false positives, false negatives.
        let mut counts = vec![[0u64; 3]; classes];
        let (mut right, mut total) = (0, 0);
        match self {
            Self::Classes { pairs, .. } => {
                for ([class, predicted], weight) in pairs.iter().zip(weights) {
                    total += weight;
                    if class == predicted {
                        right += weight;
                        counts[*class][0] += weight;
                    } else {
                        counts[*predicted][1] += weight;
                        counts[*class][2] += weight;
                    }
                }
            }
            Self::Labels { pairs, .. } => {
                for (row, weight) in pairs.chunks(classes).zip(weights) {
                    total += weight;
                    right += if row.iter().all(|[truth, told]| truth == told) { *weight } else { 0 };
                    for (count, [truth, told]) in counts.iter_mut().zip(row) {
                        let kind = match (truth, told) {
                            (true, true) => 0,
                            (false, true) => 1,
                            (true, false) => 2,
                            (false, false) => continue,
                        };
                        count[kind] += weight;
                    }
                }
            }
        }
        let f1 = |[hits, excess, missed]: &[u64; 3]| ratio(2 * hits, 2 * hits + excess + missed);
        let mut scores = BTreeMap::from([("accuracy", Some(ratio(right, total)))]);
        match self {
            Self::Classes { .. } => {
                let occurring: Vec<f64> =
                    counts.iter().filter(|count| count.iter().sum::<u64>() > 0).map(f1).collect();
                let mean = occurring.iter().sum::<f64>() / occurring.len().max(1) as f64;
                scores.insert("macro_f1", Some(mean));
            }
            Self::Labels { .. } => {
                let all =
                    counts.iter().fold([0; 3], |sum, count| [0, 1, 2].map(|kind| sum[kind] + count[kind]));
                scores.insert("macro_f1", Some(counts.iter().map(f1).sum::<f64>() / classes as f64));
                scores.insert("micro_f1", Some(f1(&all)));
            }
        }
        scores
    }
}

/// The images by falling probability of a class.
struct Ranked {
    /// Each image with whether it has the class, and whether the next one has another probability.
    order: Vec<(u32, bool, bool)>,
    /// Whether a class without images counts with 0, as scikit-learn counts labels.
    counts_absent: bool,
}

impl Ranked {
    fn of(images: &LabelledProbabilities, class: usize) -> Self {
        let mut order: Vec<usize> = (0..images.len()).collect();
        let probability = |image: usize| images.row(image)[class];
        order.sort_by(|a, b| probability(*b).total_cmp(&probability(*a)));
        let ends = |place: usize| {
            order.get(place + 1).is_none_or(|next| probability(*next) != probability(order[place]))
        };
        let ranked =
            |(place, image): (usize, &usize)| (*image as u32, images.has(*image, class), ends(place));
        Self {
            order: order.iter().enumerate().map(ranked).collect(),
            counts_absent: matches!(images.truths(), Truths::Labels(_)),
        }
    }

    /// Area under the ROC curve, and average precision.
    fn scores(&self, weights: &[u64]) -> [Option<f64>; 2] {
        let positives: u64 =
            self.order.iter().filter(|(_, has, _)| *has).map(|(image, ..)| weights[*image as usize]).sum();
        let (mut hits, mut false_alarms, mut before) = (0u64, 0u64, [0u64; 2]);
        let (mut twice, mut precision) = (0u128, 0.0);
        for (image, has, ends) in &self.order {
            let weight = weights[*image as usize];
            match has {
                true => hits += weight,
                false => false_alarms += weight,
            }
            if *ends {
                let [hits_before, false_before] = before;
                twice += u128::from(false_alarms - false_before) * u128::from(hits + hits_before);
                precision += ratio(hits - hits_before, positives) * ratio(hits, hits + false_alarms);
                before = [hits, false_alarms];
            }
        }
        let pairs = u128::from(positives) * u128::from(false_alarms);
        let area = (pairs > 0).then(|| twice as f64 / (2 * pairs) as f64);
        [area, (positives > 0 || self.counts_absent).then_some(precision)]
    }
}

/// The means over the classes that a sample has.
fn ranked_scores(rankings: &[Ranked], weights: &[u64]) -> BTreeMap<&'static str, Option<f64>> {
    if rankings.is_empty() {
        return BTreeMap::new();
    }
    let scores: Vec<[Option<f64>; 2]> = rankings.iter().map(|ranking| ranking.scores(weights)).collect();
    let mean = |which: usize| {
        let values: Vec<f64> = scores.iter().filter_map(|of_class| of_class[which]).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    BTreeMap::from([("auc", mean(0)), ("map", mean(1))])
}
