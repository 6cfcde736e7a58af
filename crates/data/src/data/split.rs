//! Assigns paths to splits: a pure function of the seed and the path's own name.
//!
//! The name's BLAKE3 hash is a number in [0, 1), and each split is an interval: first test, then validation, then
//! training. Adding or removing a photo therefore never moves another one. A larger validation fraction moves nothing
//! into or out of test, and a group is never divided. The price is that fractions are approximate. Exact fractions
//! would move a photo to another split whenever another photo is added.

use regex::{Regex, RegexBuilder};

use super::{Dataset, Split};
use crate::pipeline;
use crate::{Error, Result};

/// The validated fractions and the seed of a split.
pub struct SplitFractions {
    pub seed: u64,
    pub validation: f64,
    pub test: f64,
    /// Of a cross-validation, which then determines the fraction of validation images.
    pub folds: Option<HeldOutFold>,
}

/// The part of a cross-validation that is the validation split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldOutFold {
    /// The number of parts.
    pub count: u32,
    /// From 0.
    pub held_out: u32,
}

impl SplitFractions {
    pub fn new(split: &pipeline::Split) -> Result<Self> {
        let folds = match (split.folds, split.fold) {
            (Some(count), Some(fold)) if (1..=count).contains(&fold) => {
                Some(HeldOutFold { count, held_out: fold - 1 })
            }
            (None, None) => None,
            _ => return Err(Error::usage("`split.fold` is not a number from 1 to `split.folds`")),
        };
        let test = split.test;
        let validation = folds.map_or(split.validation, |folds| (1.0 - test) / f64::from(folds.count));
        for (name, share) in [("validation", validation), ("test", test)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Error::usage(format!(
                    "`split.{name}` is {share}, but must be a fraction between 0 and 1"
                )));
            }
        }
        if validation + test > 1.0 {
            return Err(Error::usage(format!(
                "`split.validation` and `split.test` add up to {}, more than 1",
                validation + test
            )));
        }
        Ok(Self { seed: split.seed, validation, test, folds })
    }

    /// The number of a key in [0, 1), which depends on the seed.
    pub fn hash(&self, key: &str) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(key.as_bytes());
        let bytes = hasher.finalize().as_bytes()[..8].try_into().expect("a digest has 32 bytes");
        u64::from_le_bytes(bytes)
    }

    /// The split of a key (a relative path or the name of a group).
    pub fn part(&self, key: &str) -> Split {
        let place = (self.hash(key) >> 11) as f64 / (1u64 << 53) as f64;
        if place < self.test {
            return Split::Test;
        }
        // The validation split is the first part after the test images, or another of that size.
        let part = match self.folds {
            None => u32::from(place >= self.test + self.validation),
            Some(folds) => {
                let part = ((place - self.test) / self.validation) as u32;
                u32::from(part.min(folds.count - 1) != folds.held_out)
            }
        };
        if part == 0 { Split::Validation } else { Split::Train }
    }

    /// The parts that images are divided into, with their fractions. The split of a part depends on the fold that is held
    /// out, but the parts do not.
    pub fn parts(&self) -> Vec<(Split, f64)> {
        let Some(folds) = self.folds else {
            return self.wanted().into_iter().map(|part| (part, self.share(part))).collect();
        };
        let of_fold = |fold| if fold == folds.held_out { Split::Validation } else { Split::Train };
        let test = (Split::Test, self.test);
        let all = std::iter::once(test).chain((0..folds.count).map(|fold| (of_fold(fold), self.validation)));
        all.filter(|(_, share)| *share > 1e-9).collect()
    }

    /// The requested fraction of a split.
    pub fn share(&self, part: Split) -> f64 {
        match part {
            Split::Train => 1.0 - self.validation - self.test,
            Split::Validation => self.validation,
            Split::Test => self.test,
        }
    }

    /// The splits that should have samples.
    pub fn wanted(&self) -> Vec<Split> {
        // Fractions such as 0.7 + 0.3 may leave a rounding error instead of zero.
        Split::ALL.into_iter().filter(|part| self.share(*part) > 1e-9).collect()
    }
}

/// The keys that determine the split of samples: their paths, or the names of their groups.
///
/// The expression matches the path below `root`. `^` and `$` also match at each `/`, so that `^(t\d+)_` finds the
/// turtle in `green/t12_004.jpg`.
///
/// # Errors
/// An invalid expression, one without a group, or one that does not match some path: an ungrouped image could end up
/// on both sides of the split.
pub fn keys(paths: &[String], group: Option<&str>) -> Result<Vec<String>> {
    let Some(expression) = group else { return Ok(paths.to_vec()) };
    let regex = group_regex(expression)?;
    let mut keys = Vec::with_capacity(paths.len());
    let mut unmatched = Vec::new();
    for path in paths {
        match regex.captures(path).and_then(|captures| captures.get(1)) {
            Some(group) => keys.push(group.as_str().to_owned()),
            None => unmatched.push(path),
        }
    }
    match unmatched.as_slice() {
        [] => Ok(keys),
        [first, ..] => Err(Error::usage(format!(
            "`split.group` does not match {} of {} paths, such as `{first}`",
            unmatched.len(),
            paths.len()
        ))
        .hint("make the expression match every path; of `(…)|(…)` only the first capture group is used")),
    }
}

/// The name of the group of each image of a data set. `group` is the expression that split the images.
///
/// # Errors
/// As [`keys`].
pub fn image_groups(dataset: &Dataset, group: &str) -> Result<Vec<String>> {
    let paths: Vec<String> = dataset.samples.iter().map(|sample| sample.path.clone()).collect();
    keys(&paths, Some(group))
}

fn group_regex(expression: &str) -> Result<Regex> {
    let regex = path_regex(expression)
        .map_err(|error| Error::usage(format!("`split.group` is not a valid regular expression: {error}")))?;
    if regex.captures_len() < 2 {
        return Err(Error::usage(format!("`split.group` has no capture group: `{expression}`"))
            .hint("put parentheses around the part that identifies the group, as in `^(t\\d+)_`"));
    }
    Ok(regex)
}

/// An expression for paths, in which `^` and `$` also match at each `/`.
pub fn path_regex(expression: &str) -> Result<Regex, regex::Error> {
    let mut builder = RegexBuilder::new(expression);
    builder.multi_line(true).line_terminator(b'/').dot_matches_new_line(true).build()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fractions(seed: u64, validation: f64, test: f64) -> SplitFractions {
        SplitFractions { seed, validation, test, folds: None }
    }

    #[test]
    fn the_parts_of_known_paths_never_change() {
        let parts: Vec<Split> =
            (0..8).map(|i| fractions(0, 0.3, 0.3).part(&format!("green/t{i}.jpg"))).collect();
        insta::assert_compact_debug_snapshot!(parts, @"[Test, Train, Train, Validation, Train, Validation, Test, Validation]");
    }

    #[test]
    fn shares_hold_on_average_and_seeds_differ() {
        let keys: Vec<String> = (0..10_000).map(|i| format!("a/{i}.png")).collect();
        let count =
            |seed, part| keys.iter().filter(|key| fractions(seed, 0.2, 0.1).part(key) == part).count();
        assert!(count(0, Split::Validation).abs_diff(2000) < 150);
        assert!(count(0, Split::Test).abs_diff(1000) < 120);
        let moved =
            keys.iter().filter(|key| fractions(0, 0.2, 0.1).part(key) != fractions(1, 0.2, 0.1).part(key));
        assert!(moved.count() > 3000);
    }

    fn fold(held_out: u32) -> SplitFractions {
        let folds = Some(HeldOutFold { count: 5, held_out });
        SplitFractions { validation: 0.18, folds, ..fractions(3, 0.0, 0.1) }
    }

    #[test]
    fn each_image_is_held_out_in_one_fold_or_is_a_test_image_in_all() {
        let keys: Vec<String> = (0..5_000).map(|i| format!("a/{i}.png")).collect();
        let mut held_out = [0; 5];
        for key in &keys {
            let parts: Vec<Split> = (0..5).map(|part| fold(part).part(key)).collect();
            let validation = parts.iter().filter(|part| **part == Split::Validation).count();
            let tests = parts.iter().filter(|part| **part == Split::Test).count();
            assert!((validation, tests) == (1, 0) || (validation, tests) == (0, 5), "{key}: {parts:?}");
            if let Some(part) = parts.iter().position(|part| *part == Split::Validation) {
                held_out[part] += 1;
            }
        }
        assert!(held_out.iter().all(|images: &usize| images.abs_diff(900) < 120), "{held_out:?}");
        // The first fold is the validation split of the same fraction.
        let first = |key: &String| fold(0).part(key) == fractions(3, 0.18, 0.1).part(key);
        assert!(keys.iter().all(first));
    }

    #[test]
    fn a_fold_needs_its_number_of_parts() {
        let split = |folds, fold| SplitFractions::new(&pipeline::Split { folds, fold, ..Default::default() });
        assert_eq!(split(Some(4), Some(4)).unwrap().validation, 0.25);
        for (folds, fold) in [(Some(4), Some(5)), (Some(4), None), (None, Some(1))] {
            assert!(split(folds, fold).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_larger_validation_share_moves_nothing_into_or_out_of_test(
            key in "[a-z0-9/]{1,20}", seed: u64, test in 0.0..0.5, validation in 0.0..0.25, more in 0.0..0.25,
        ) {
            let before = fractions(seed, validation, test).part(&key);
            let after = fractions(seed, validation + more, test).part(&key);
            prop_assert_eq!(before == Split::Test, after == Split::Test);
            prop_assert!(before != Split::Validation || after == Split::Validation);
        }

        #[test]
        fn a_group_is_found_wherever_its_files_lie(id in 0u32..1000, class in "[a-z]{1,8}", shot in 0u32..100) {
            let paths = [format!("{class}/t{id}_{shot}.jpg"), format!("other/sub/t{id}_x.jpg")];
            let keys = keys(&paths, Some(r"^(t\d+)_")).unwrap();
            prop_assert_eq!(&keys[0], &format!("t{id}"));
            prop_assert_eq!(&keys[0], &keys[1]);
        }
    }

    #[test]
    fn a_group_that_cannot_be_found_is_an_error() {
        let paths = ["green/t1_a.jpg".to_owned(), "green/turtle.jpg".to_owned()];
        let message = |expression| keys(&paths, Some(expression)).unwrap_err().message;
        assert_eq!(
            message(r"^(t\d+)_"),
            "`split.group` does not match 1 of 2 paths, such as `green/turtle.jpg`"
        );
        assert_eq!(message(r"^t\d+_"), "`split.group` has no capture group: `^t\\d+_`");
        assert!(message("(").starts_with("`split.group` is not a valid regular expression"));
    }
}
