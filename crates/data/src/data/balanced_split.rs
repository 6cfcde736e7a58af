//! Assigns groups of images to splits so that sizes and class proportions are as close to the settings as possible.
//!
//! This is iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data",
//! 2011) for whole groups. The rarest remaining class goes first, its largest group first, each to the split that
//! needs it most. Then single groups move, or two groups swap, while that lowers the error. A hash of the seed breaks
//! ties, so equal seeds give equal splits. One more image may move others; this is why thresholds are the default.
//! Cache keys of stages list the images of each split, so a change here needs no version.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Split;
use super::split::SplitFractions;

/// Above this number of groups no swaps are tried: there are enough small groups for single moves.
const MOST_SWAPPED: usize = 400;
/// The maximum number of improvement rounds. Each one lowers the error, and few are needed.
const ROUNDS: usize = 20;
/// The weight of a class that a split would lack by its size alone. It outweighs the sizes of the splits.
const WEIGHT_OF_RARE: f64 = 10.0;
/// The smallest gain that counts, so that rounding errors never cause an endless loop.
const LEAST_GAIN: f64 = 1e-9;

/// Images that stay in one split.
struct BalanceGroup {
    /// The seed's hash of the group's key: breaks ties.
    order: u64,
    /// The number of images.
    images: f64,
    /// The number of its images with each class.
    classes: Vec<(usize, f64)>,
}

/// The split of each image, from the key of its group and its classes. With `every_class`, a class with at least as
/// many groups as there are splits is wanted in each split.
pub fn balanced(
    keys: &[String],
    classes: &[impl AsRef<[u32]>],
    fractions: &SplitFractions,
    every_class: bool,
) -> Vec<Split> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: Vec<BalanceGroup> = Vec::new();
    let mut group_of = Vec::with_capacity(keys.len());
    let count = classes.iter().flat_map(AsRef::as_ref).max().map_or(0, |most| *most as usize + 1);
    for (key, shown) in keys.iter().zip(classes) {
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(BalanceGroup { order: fractions.hash(key), images: 0.0, classes: Vec::new() });
            groups.len() - 1
        });
        let group = &mut groups[place];
        group.images += 1.0;
        // Images without a label count as a class of their own.
        let shown = shown.as_ref();
        let shown = if shown.is_empty() { vec![count] } else { shown.iter().map(|c| *c as usize).collect() };
        for class in shown {
            match group.classes.iter_mut().find(|(other, _)| *other == class) {
                Some((_, images)) => *images += 1.0,
                None => group.classes.push((class, 1.0)),
            }
        }
        group_of.push(place);
    }
    // Floating-point sums depend on their order.
    groups.iter_mut().for_each(|group| group.classes.sort_unstable_by_key(|(class, _)| *class));
    let parts = fractions.parts();
    let shares: Vec<f64> = parts.iter().map(|(_, share)| *share).collect();
    let mut table = BalanceTable::new(&groups, count + 1, &shares, every_class);
    table.deal();
    table.improve();
    group_of.into_iter().map(|group| parts[table.part_of[group]].0).collect()
}

/// The actual and the wanted number of images of each class in each split. The last column counts all images.
struct BalanceTable<'a> {
    groups: &'a [BalanceGroup],
    wanted: Vec<Vec<f64>>,
    has: Vec<Vec<f64>>,
    /// The weight of each class's error.
    weights: Vec<f64>,
    part_of: Vec<usize>,
}

impl<'a> BalanceTable<'a> {
    fn new(groups: &'a [BalanceGroup], classes: usize, shares: &[f64], every_class: bool) -> Self {
        let mut images = vec![0.0; classes + 1];
        let mut in_groups = vec![0; classes + 1];
        for group in groups {
            images[classes] += group.images;
            for (class, count) in &group.classes {
                images[*class] += count;
                in_groups[*class] += 1;
            }
        }
        let mut wanted: Vec<Vec<f64>> =
            shares.iter().map(|share| images.iter().map(|images| share * images).collect()).collect();
        let largest = (0..shares.len()).max_by(|a, b| shares[*a].total_cmp(&shares[*b])).unwrap_or(0);
        let mut weights = vec![1.0; classes + 1];
        for class in (0..classes).filter(|class| every_class && in_groups[*class] >= shares.len()) {
            for part in (0..shares.len()).filter(|part| *part != largest) {
                let lacking = 1.0 - wanted[part][class];
                if lacking > 0.0 {
                    wanted[part][class] += lacking;
                    wanted[largest][class] = (wanted[largest][class] - lacking).max(1.0);
                    weights[class] = WEIGHT_OF_RARE;
                }
            }
        }
        let has = vec![vec![0.0; classes + 1]; shares.len()];
        Self { groups, wanted, has, weights, part_of: vec![0; groups.len()] }
    }

    /// The index of the column of all images.
    fn all(&self) -> usize {
        self.wanted[0].len() - 1
    }

    fn columns<'g>(&self, group: &'g BalanceGroup) -> impl Iterator<Item = (usize, f64)> + use<'g> {
        group.classes.iter().copied().chain([(self.all(), group.images)])
    }

    /// The change of the error if a split gains a group (or, with sign -1, loses it). The error is Pearson's Σ
    /// (actual − wanted)² / wanted, which fills splits of different sizes evenly.
    fn growth(&self, part: usize, group: &BalanceGroup, sign: f64) -> f64 {
        let (has, wanted) = (&self.has[part], &self.wanted[part]);
        self.columns(group)
            .map(|(class, images)| {
                let images = sign * images;
                self.weights[class] * images * (images + 2.0 * (has[class] - wanted[class])) / wanted[class]
            })
            .sum()
    }

    fn change(&mut self, part: usize, group: usize, sign: f64) {
        let groups = self.groups;
        for (class, images) in self.columns(&groups[group]) {
            self.has[part][class] += sign * images;
        }
        if sign > 0.0 {
            self.part_of[group] = part;
        }
    }

    /// Assigns every group to a split.
    fn deal(&mut self) {
        let groups = self.groups;
        let mut members: Vec<Vec<(f64, usize)>> = vec![Vec::new(); self.all()];
        for (place, group) in groups.iter().enumerate() {
            group.classes.iter().for_each(|(class, images)| members[*class].push((*images, place)));
        }
        let mut left: Vec<usize> = members.iter().map(Vec::len).collect();
        let mut rarest: BTreeSet<(usize, usize)> = left
            .iter()
            .enumerate()
            .filter(|(_, left)| **left > 0)
            .map(|(class, left)| (*left, class))
            .collect();
        let mut dealt = vec![false; groups.len()];
        while let Some((_, class)) = rarest.pop_first() {
            let mut next = std::mem::take(&mut members[class]);
            next.retain(|(_, group)| !dealt[*group]);
            next.sort_by(|a, b| b.0.total_cmp(&a.0).then(groups[a.1].order.cmp(&groups[b.1].order)));
            for (_, group) in next {
                let cost = |part: &usize| self.growth(*part, &groups[group], 1.0);
                let part = (0..self.has.len()).min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or(0);
                self.change(part, group, 1.0);
                dealt[group] = true;
                for (other, _) in groups[group].classes.iter().filter(|(other, _)| *other != class) {
                    rarest.remove(&(left[*other], *other));
                    left[*other] -= 1;
                    if left[*other] > 0 {
                        rarest.insert((left[*other], *other));
                    }
                }
            }
        }
    }

    /// Moves and swaps groups while that lowers the error.
    fn improve(&mut self) {
        let mut order: Vec<usize> = (0..self.groups.len()).collect();
        order.sort_by_key(|group| (Reverse(self.groups[*group].images as u64), self.groups[*group].order));
        for _ in 0..ROUNDS {
            let mut better = false;
            for &group in &order {
                better |= self.moved(group);
            }
            if order.len() <= MOST_SWAPPED {
                for (place, &one) in order.iter().enumerate() {
                    for &other in &order[place + 1..] {
                        better |= self.swapped(one, other);
                    }
                }
            }
            if !better {
                break;
            }
        }
    }

    /// Moves a group to the split where it lowers the error most, if any.
    fn moved(&mut self, group: usize) -> bool {
        let (groups, from) = (self.groups, self.part_of[group]);
        let leaving = self.growth(from, &groups[group], -1.0);
        let cost = |part: &usize| leaving + self.growth(*part, &groups[group], 1.0);
        let others = (0..self.has.len()).filter(|part| *part != from);
        let Some(to) = others.min_by(|a, b| cost(a).total_cmp(&cost(b))) else { return false };
        if cost(&to) > -LEAST_GAIN {
            return false;
        }
        self.change(from, group, -1.0);
        self.change(to, group, 1.0);
        true
    }

    /// Swaps two groups between splits if that lowers the error.
    fn swapped(&mut self, one: usize, other: usize) -> bool {
        let (groups, a, b) = (self.groups, self.part_of[one], self.part_of[other]);
        if a == b {
            return false;
        }
        let mut gain = self.growth(a, &groups[one], -1.0);
        self.change(a, one, -1.0);
        gain += self.growth(b, &groups[one], 1.0);
        self.change(b, one, 1.0);
        gain += self.growth(b, &groups[other], -1.0);
        self.change(b, other, -1.0);
        gain += self.growth(a, &groups[other], 1.0);
        self.change(a, other, 1.0);
        if gain < -LEAST_GAIN {
            return true;
        }
        self.change(a, other, -1.0);
        self.change(b, other, 1.0);
        self.change(b, one, -1.0);
        self.change(a, one, 1.0);
        false
    }
}

#[cfg(test)]
mod tests;
