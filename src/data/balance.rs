//! Groups of images dealt to the parts so that shares and class proportions come as near as can be.
//!
//! This is iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011) for whole
//! groups: the rarest class that is left goes first, its largest group first, each to the part that needs it most. Then single groups
//! change parts, or two change places, while that helps. Ties go by a hash of the seed, so equal seeds give equal
//! parts. One more image may move others: that is the price, and why thresholds are the default. Keys of stages name the
//! images of each part, so a change here needs no version.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Split;
use super::split::Fractions;

/// Above this many groups no pairs are tried: there are enough small ones for single moves.
const MOST_SWAPPED: usize = 400;
/// Rounds of improvement. Each one lowers the error, and few are ever needed.
const ROUNDS: usize = 20;
/// What counts as better, so that rounding never goes round in circles.
const LEAST_GAIN: f64 = 1e-9;

/// Images that stay together.
struct Group {
    /// The seed's hash of its key: the order among equals.
    order: u64,
    /// The images in it.
    images: f64,
    /// How many of them show each class.
    classes: Vec<(usize, f64)>,
}

/// The part of each image, by the key of its group and the classes that it shows. With `every_class`, a class in as many groups as there are
/// parts is wanted in each of them.
pub fn balanced(keys: &[String], classes: &[&[u32]], fractions: &Fractions, every_class: bool) -> Vec<Split> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of = Vec::with_capacity(keys.len());
    let count = classes.iter().flat_map(|shown| *shown).max().map_or(0, |most| *most as usize + 1);
    for (key, shown) in keys.iter().zip(classes) {
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(Group { order: fractions.hash(key), images: 0.0, classes: Vec::new() });
            groups.len() - 1
        });
        let group = &mut groups[place];
        group.images += 1.0;
        // An image without a label counts as one of a class of its own.
        let shown = if shown.is_empty() { vec![count] } else { shown.iter().map(|c| *c as usize).collect() };
        for class in shown {
            match group.classes.iter_mut().find(|(other, _)| *other == class) {
                Some((_, images)) => *images += 1.0,
                None => group.classes.push((class, 1.0)),
            }
        }
        group_of.push(place);
    }
    // Sums of fractions depend on their order.
    groups.iter_mut().for_each(|group| group.classes.sort_unstable_by_key(|(class, _)| *class));
    let parts = fractions.wanted();
    let mut table = Table::new(&groups, count + 1, &parts, fractions, every_class);
    table.deal();
    table.improve();
    group_of.into_iter().map(|group| parts[table.part_of[group]]).collect()
}

/// How many images of each class each part has, and should have. The last column counts all images.
struct Table<'a> {
    groups: &'a [Group],
    wanted: Vec<Vec<f64>>,
    has: Vec<Vec<f64>>,
    part_of: Vec<usize>,
}

impl<'a> Table<'a> {
    fn new(
        groups: &'a [Group],
        classes: usize,
        parts: &[Split],
        fractions: &Fractions,
        every_class: bool,
    ) -> Self {
        let mut images = vec![0.0; classes + 1];
        let mut in_groups = vec![0; classes + 1];
        for group in groups {
            images[classes] += group.images;
            for (class, count) in &group.classes {
                images[*class] += count;
                in_groups[*class] += 1;
            }
        }
        let shares: Vec<f64> = parts.iter().map(|part| fractions.share(*part)).collect();
        let mut wanted: Vec<Vec<f64>> =
            shares.iter().map(|share| images.iter().map(|images| share * images).collect()).collect();
        let largest = (0..parts.len()).max_by(|a, b| shares[*a].total_cmp(&shares[*b])).unwrap_or(0);
        for class in (0..classes).filter(|class| every_class && in_groups[*class] >= parts.len()) {
            for part in (0..parts.len()).filter(|part| *part != largest) {
                let lacking = (1.0 - wanted[part][class]).max(0.0);
                wanted[part][class] += lacking;
                wanted[largest][class] = (wanted[largest][class] - lacking).max(1.0);
            }
        }
        let has = vec![vec![0.0; classes + 1]; parts.len()];
        Self { groups, wanted, has, part_of: vec![0; groups.len()] }
    }

    /// The column of all images.
    fn all(&self) -> usize {
        self.wanted[0].len() - 1
    }

    fn columns<'g>(&self, group: &'g Group) -> impl Iterator<Item = (usize, f64)> + use<'g> {
        group.classes.iter().copied().chain([(self.all(), group.images)])
    }

    /// By how much the error grows where a part gets (or, with -1, loses) a group. The error is Pearson's Σ (has − wanted)² / wanted,
    /// which fills parts of different sizes alike.
    fn growth(&self, part: usize, group: &Group, sign: f64) -> f64 {
        let (has, wanted) = (&self.has[part], &self.wanted[part]);
        self.columns(group)
            .map(|(class, images)| {
                let images = sign * images;
                images * (images + 2.0 * (has[class] - wanted[class])) / wanted[class]
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

    /// Gives every group to a part.
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

    /// Lets groups change parts while that lowers the error.
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

    /// Moves a group to the part where it lowers the error most, if any.
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

    /// Lets two groups change places if that lowers the error.
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHARES: [(Split, f64); 3] = [(Split::Train, 0.7), (Split::Validation, 0.2), (Split::Test, 0.1)];

    fn fractions(seed: u64) -> Fractions {
        Fractions { seed, validation: 0.2, test: 0.1 }
    }

    /// Images in groups of 1 to 20; a group shows one class mostly, and a third of its images another.
    fn scene(groups: u64, classes: u32, draw: u64) -> (Vec<String>, Vec<Vec<u32>>) {
        let hash = |what: String| Fractions { seed: draw, validation: 0.0, test: 0.0 }.hash(&what) >> 20;
        let (mut keys, mut shown) = (Vec::new(), Vec::new());
        for group in 0..groups {
            let size = 1 + hash(format!("size {group}")) % 20;
            // Class c is half as common as class c - 1.
            let class = |what: &str| (hash(format!("{what} {group}")).trailing_ones()).min(classes - 1);
            for image in 0..size {
                keys.push(format!("g{group}"));
                shown.push(vec![class(if image % 3 == 2 { "other" } else { "class" })]);
            }
        }
        (keys, shown)
    }

    fn deal(keys: &[String], shown: &[Vec<u32>], seed: u64) -> Vec<Split> {
        let shown: Vec<&[u32]> = shown.iter().map(Vec::as_slice).collect();
        balanced(keys, &shown, &fractions(seed), true)
    }

    /// The largest distances from the shares: of all images, and of those of one class.
    fn errors(shown: &[Vec<u32>], parts: &[Split]) -> (f64, f64) {
        let off = |class: Option<u32>| {
            let of = |place: &usize| class.is_none_or(|class| shown[*place].contains(&class));
            let all: Vec<usize> = (0..parts.len()).filter(of).collect();
            let got = |part| all.iter().filter(|place| parts[**place] == part).count() as f64;
            SHARES
                .map(|(part, share)| (got(part) / all.len() as f64 - share).abs())
                .into_iter()
                .fold(0.0, f64::max)
        };
        (off(None), (0..4).map(|class| off(Some(class))).fold(0.0, f64::max))
    }

    #[test]
    fn shares_and_proportions_are_near_where_thresholds_stray() {
        let (mut worst, mut by_hash) = ((0.0f64, 0.0f64), (0.0f64, 0.0f64));
        for draw in 0..20 {
            let (keys, shown) = scene(120, 4, draw);
            let (all, class) = errors(&shown, &deal(&keys, &shown, draw));
            worst = (worst.0.max(all), worst.1.max(class));
            let parts: Vec<Split> = keys.iter().map(|key| fractions(draw).part(key)).collect();
            let (all, class) = errors(&shown, &parts);
            by_hash = (by_hash.0.max(all), by_hash.1.max(class));
        }
        assert!(worst.0 < 0.005 && worst.1 < 0.02, "{worst:?}");
        assert!(by_hash.0 > 0.05 && by_hash.1 > 0.1, "{by_hash:?}");
    }

    #[test]
    fn single_images_are_counted_off_exactly() {
        let keys: Vec<String> = (0..1000).map(|image| format!("a/{image}.png")).collect();
        let shown: Vec<Vec<u32>> = (0..1000).map(|image| vec![u32::from(image % 10 == 0)]).collect();
        let parts = deal(&keys, &shown, 3);
        let count = |class: u32, part| {
            (0..1000).filter(|image| shown[*image] == [class] && parts[*image] == part).count()
        };
        assert_eq!(SHARES.map(|(part, _)| count(0, part)), [630, 180, 90]);
        assert_eq!(SHARES.map(|(part, _)| count(1, part)), [70, 20, 10]);
    }

    #[test]
    fn a_rare_class_is_in_every_part_and_labels_and_images_without_any_are_shared_out() {
        let keys: Vec<String> = (0..103).map(|image| format!("{image}.png")).collect();
        let shown: Vec<Vec<u32>> = (0..103)
            .map(|image| match image {
                0..50 => vec![0, 1],
                50..80 => vec![1],
                80..100 => vec![],
                _ => vec![2],
            })
            .collect();
        let parts = deal(&keys, &shown, 0);
        let count =
            |places: std::ops::Range<usize>, part| parts[places].iter().filter(|p| **p == part).count();
        assert_eq!(SHARES.map(|(part, _)| count(100..103, part)), [1, 1, 1]);
        assert_eq!(SHARES.map(|(part, _)| count(80..100, part)), [14, 4, 2]);
        assert_eq!(SHARES.map(|(part, _)| count(0..50, part)), [35, 10, 5]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn groups_stay_whole_and_the_order_of_files_does_not_matter(draw in 0u64..1000, seed: u64, groups in 3u64..60) {
            let (mut keys, mut shown) = scene(groups, 3, draw);
            let parts = deal(&keys, &shown, seed);
            let mut by_key: BTreeMap<String, Split> = BTreeMap::new();
            for (key, part) in keys.iter().zip(&parts) {
                prop_assert_eq!(*by_key.entry(key.clone()).or_insert(*part), *part);
            }
            keys.reverse();
            shown.reverse();
            for (key, part) in keys.iter().zip(deal(&keys, &shown, seed)) {
                prop_assert_eq!(by_key[key], part);
            }
        }
    }
}
