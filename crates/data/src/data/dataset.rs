//! The samples of a data set: paths, labels and splits. The readers in `source` list them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::balanced_split::balanced;
use super::outside::OutsideFolders;
use super::split::{SplitFractions, keys};
use super::{DatasetSummary, Label, LabelKind, Split};
use crate::digest::Digest;
use crate::pipeline::{self, SplitMethod};
use crate::{Error, Result};

/// The limit of the search for a better split seed, in seeds and in hashes.
const SEEDS_TRIED: u64 = 10_000;
const HASHES_TRIED: usize = 2_000_000;

/// One image.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The path below the data set's root, with `/`; in a folder outside of it, below the name of that folder.
    pub path: String,
    pub label: Label,
    pub split: Split,
    /// The digest that the file's bytes must have when they are read; `None` after a scan.
    pub digest: Option<Digest>,
}

/// The images of a data set, in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dataset {
    pub root: PathBuf,
    /// Folders outside of the root.
    pub outside: OutsideFolders,
    /// The names of the classes or labels, in the order of the model's outputs.
    pub classes: Vec<String>,
    /// The kind of every sample's label.
    pub label_kind: LabelKind,
    pub samples: Vec<Sample>,
    /// Files that are not samples: in class folders, files without an image extension; elsewhere below the root,
    /// images.
    pub ignored: Vec<String>,
    /// Unreadable images, each with the cause. They are left out if the settings allow it.
    pub unreadable: Vec<(String, String)>,
    /// COCO's category id of each class, which tables of predictions need; empty for other formats.
    pub category_ids: Vec<i64>,
    /// The numbers of small, medium and large boxes by COCO's areas, if the sizes of all images are known.
    pub box_sizes: Option<[usize; 3]>,
    /// Warnings about probable mistakes.
    pub warnings: Vec<String>,
    /// What was computed of it before. A changed copy starts without it.
    pub derived: Derived,
}

/// Values that follow from a data set, computed once for all stages and runs that read it.
#[derive(Debug, Default)]
pub struct Derived {
    digests: Mutex<BTreeMap<(&'static str, bool), Digest>>,
    summary: Mutex<Option<(String, Arc<DatasetSummary>)>>,
}

impl Derived {
    /// The digest of a split, with the labels of its images or without.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn digest(
        &self,
        split: Split,
        labels: bool,
        compute: impl FnOnce() -> Result<Digest>,
    ) -> Result<Digest> {
        let mut known = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = known.get(&(split.name(), labels)) {
            return Ok(*digest);
        }
        let digest = compute()?;
        known.insert((split.name(), labels), digest);
        Ok(digest)
    }

    pub(super) fn summary(
        &self,
        of: String,
        compute: impl FnOnce() -> DatasetSummary,
    ) -> Arc<DatasetSummary> {
        let mut known = self.summary.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((known, summary)) if *known == of => Arc::clone(summary),
            _ => {
                let summary = Arc::new(compute());
                *known = Some((of, Arc::clone(&summary)));
                summary
            }
        }
    }
}

impl Clone for Derived {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Derived {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Dataset {
    /// The indices of a split's samples, in the order of their paths.
    pub fn split(&self, split: Split) -> Vec<usize> {
        (0..self.samples.len()).filter(|&index| self.samples[index].split == split).collect()
    }

    /// Per class or label, the numbers of training, validation and test samples.
    pub fn counts(&self) -> Vec<[usize; 3]> {
        let mut counts = vec![[0; 3]; self.classes.len()];
        for sample in &self.samples {
            for class in sample.label.classes().iter() {
                counts[*class as usize][sample.split as usize] += 1;
            }
        }
        counts
    }

    /// Whether samples have any number of labels instead of one class each.
    pub fn is_multi_label(&self) -> bool {
        self.label_kind == LabelKind::Labels
    }

    /// The path of a sample's file.
    pub fn file(&self, index: usize) -> PathBuf {
        self.outside.file(&self.root, &self.samples[index].path)
    }

    /// Splits the training samples by the fractions. Fails if a split is empty.
    pub(super) fn part_training(
        &mut self,
        settings: &pipeline::Split,
        fractions: &SplitFractions,
    ) -> Result<()> {
        if fractions.validation == 0.0 && fractions.test == 0.0 {
            return Ok(());
        }
        if fractions.folds.is_some() && !self.split(Split::Validation).is_empty() {
            return Err(Error::usage(
                "`split.folds` divides the training images, but the data already say which images \
                                     are for validation",
            )
            .hint("remove `split.folds` and `split.fold`"));
        }
        let training = self.split(Split::Train);
        let paths: Vec<String> = training.iter().map(|&index| self.samples[index].path.clone()).collect();
        let keys = keys(&paths, settings.group.as_deref())?;
        let parts: Vec<Split> = match settings.method {
            SplitMethod::Hash => keys.iter().map(|key| fractions.part(key)).collect(),
            SplitMethod::Balanced => {
                let shown: Vec<Cow<[u32]>> =
                    training.iter().map(|&index| self.samples[index].label.classes()).collect();
                balanced(&keys, &shown, fractions, settings.require_classes)
            }
        };
        let part_of: BTreeMap<&str, Split> = keys.iter().map(String::as_str).zip(parts).collect();
        for (&index, key) in training.iter().zip(&keys) {
            self.samples[index].split = part_of[key.as_str()];
        }
        let classes = |index: usize| match settings.require_classes {
            true => self.samples[index].label.classes(),
            false => Cow::Borrowed(&[0][..]),
        };
        let mut members: BTreeSet<(u32, &str)> = BTreeSet::new();
        for (&index, key) in training.iter().zip(&keys) {
            members.extend(classes(index).iter().map(|class| (*class, key.as_str())));
        }
        let wanted = fractions.wanted();
        let Some((class, part)) = gap(&members, &wanted, |key| part_of[key]) else { return Ok(()) };
        let what = if settings.require_classes {
            format!(
                "no image of class `{}` falls into the {} split",
                self.classes[class as usize],
                part.in_words()
            )
        } else {
            format!("the {} split has no images", part.in_words())
        };
        let tries = SEEDS_TRIED.min((HASHES_TRIED / members.len().max(1)) as u64);
        let fills = |seed: &u64| {
            let fractions = SplitFractions { seed: *seed, ..*fractions };
            gap(&members, &wanted, |key| fractions.part(key)).is_none()
        };
        let better = (0..tries).find(|seed| settings.method == SplitMethod::Hash && fills(seed));
        let hint = match better {
            Some(seed) => format!("set `split.seed = {seed}`, which leaves no split empty"),
            None if settings.require_classes => {
                "raise the fraction, add images, or set `split.require_classes = false`".to_owned()
            }
            None => "raise the fraction or add images".to_owned(),
        };
        Err(Error::usage(what).hint(hint))
    }
}

pub(super) fn require_folder(root: &Path) -> Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    let what = if root.exists() { "is not a folder" } else { "does not exist" };
    Err(Error::usage(format!("the data folder `{}` {what}", root.display())))
}

/// A class and a split without images of it, if there is one.
fn gap(
    members: &BTreeSet<(u32, &str)>,
    wanted: &[Split],
    part_of: impl Fn(&str) -> Split,
) -> Option<(u32, Split)> {
    let mut present: BTreeMap<u32, [bool; 3]> = BTreeMap::new();
    for (class, key) in members {
        present.entry(*class).or_default()[part_of(key) as usize] = true;
    }
    present.into_iter().find_map(|(class, parts)| {
        wanted.iter().find(|part| !parts[**part as usize]).map(|part| (class, *part))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::pipeline::{ImageFolder, SplitFolders};

    fn folder(root: &Path, paths: &[&str]) {
        for path in paths {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
    }

    fn settings() -> ImageFolder {
        serde_json::from_value(serde_json::json!({ "root": "unused" })).unwrap()
    }

    fn many(root: &Path, per_class: usize) {
        for class in ["cat", "dog"] {
            let paths: Vec<String> = (0..per_class).map(|i| format!("{class}/{i:03}.jpg")).collect();
            folder(root, &paths.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    #[test]
    fn finds_images_by_class_and_leaves_out_the_rest() {
        let root = tempfile::tempdir().unwrap();
        folder(
            root.path(),
            &["b/2.JPG", "b/deep/1.png", "a/x.jpeg", "a/notes.txt", "a/.hidden.png", ".git/x.png", "top.png"],
        );
        let dataset = Dataset::scan(&settings(), root.path()).unwrap();
        assert_eq!(dataset.classes, ["a", "b"]);
        let paths: Vec<_> =
            dataset.samples.iter().map(|sample| (sample.path.as_str(), sample.label.classes()[0])).collect();
        assert_eq!(paths, [("a/x.jpeg", 0), ("b/2.JPG", 1), ("b/deep/1.png", 1)]);
        assert_eq!(dataset.ignored, ["a/notes.txt", "top.png"]);
        assert_eq!(dataset.counts(), [[1, 0, 0], [2, 0, 0]]);
    }

    #[test]
    fn named_classes_keep_their_order_and_must_exist() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path(), &["green/1.jpg", "loggerhead/1.jpg", "other/1.jpg"]);
        let mut settings = settings();
        settings.classes = Some(vec!["loggerhead".into(), "green".into()]);
        let dataset = Dataset::scan(&settings, root.path()).unwrap();
        assert_eq!(dataset.classes, ["loggerhead", "green"]);
        assert_eq!(
            dataset.samples.iter().map(|sample| sample.label.classes()[0]).collect::<Vec<_>>(),
            [1, 0]
        );
        settings.classes = Some(vec!["logerhead".into(), "green".into()]);
        let error = Dataset::scan(&settings, root.path()).unwrap_err();
        assert!(error.message.starts_with("the class `logerhead` has no folder in"));
        assert_eq!(
            error.hint.unwrap(),
            "did you mean `loggerhead`? there are `green`, `loggerhead`, `other`"
        );
    }

    #[test]
    fn an_empty_class_or_a_lone_one_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path(), &["photos/cat/1.jpg", "photos/dog/1.cr2"]);
        let error = Dataset::scan(&settings(), root.path()).unwrap_err();
        assert!(error.message.ends_with("of at least two classes, but has only `photos`"), "{error}");
        let error = Dataset::scan(&settings(), &root.path().join("photos")).unwrap_err();
        assert_eq!(error.message, "the class folder `dog` has no images");
        assert!(error.hint.unwrap().contains("`dog/1.cr2` is a camera raw file, which is not read"));
    }

    #[test]
    fn adding_a_photo_moves_no_other() {
        let root = tempfile::tempdir().unwrap();
        many(root.path(), 40);
        let mut settings = settings();
        settings.split.validation = 0.2;
        settings.split.test = 0.2;
        let before = Dataset::scan(&settings, root.path()).unwrap();
        folder(root.path(), &["cat/000a.jpg", "dog/new.png", "dog/zzz.jpg"]);
        let after = Dataset::scan(&settings, root.path()).unwrap();
        let kept: Vec<_> = after
            .samples
            .iter()
            .filter(|sample| before.samples.iter().any(|old| old.path == sample.path))
            .collect();
        assert_eq!(kept, before.samples.iter().collect::<Vec<_>>());
        assert_eq!(after.samples.len(), before.samples.len() + 3);
        settings.split.seed = 1;
        assert_ne!(Dataset::scan(&settings, root.path()).unwrap().samples, after.samples);
    }

    #[test]
    fn a_group_is_never_on_two_sides_even_across_classes() {
        let root = tempfile::tempdir().unwrap();
        for person in 0..30 {
            folder(root.path(), &[&format!("happy/p{person}_1.jpg"), &format!("sad/p{person}_2.jpg")]);
        }
        let mut settings = settings();
        settings.split.validation = 0.4;
        settings.split.group = Some(r"^(p\d+)_".into());
        let dataset = Dataset::scan(&settings, root.path()).unwrap();
        let (happy, sad): (Vec<_>, Vec<_>) =
            dataset.samples.iter().partition(|sample| sample.label == Label::Class(0));
        assert!(happy.iter().zip(&sad).all(|(a, b)| a.path[6..8] == b.path[4..6] && a.split == b.split));
        assert!(dataset.counts().iter().all(|[train, validation, _]| *train > 0 && *validation > 0));
    }

    #[test]
    fn a_balanced_split_fills_parts_where_a_hash_leaves_one_empty() {
        let root = tempfile::tempdir().unwrap();
        many(root.path(), 4);
        let mut settings = settings();
        settings.split.validation = 0.1;
        settings.split.method = SplitMethod::Balanced;
        let dataset = Dataset::scan(&settings, root.path()).unwrap();
        assert_eq!(dataset.counts(), [[3, 1, 0], [3, 1, 0]]);
        assert_eq!(Dataset::scan(&settings, root.path()).unwrap(), dataset);
        let another = (1..9).any(|seed| {
            settings.split.seed = seed;
            Dataset::scan(&settings, root.path()).unwrap().samples != dataset.samples
        });
        assert!(another, "the seed decides between equals");
        settings.split.group = Some("^(0)".into());
        let error = Dataset::scan(&settings, root.path()).unwrap_err();
        assert_eq!(error.message, "no image of class `cat` falls into the validation split");
        assert!(error.hint.unwrap().ends_with("or set `split.require_classes = false`"));
    }

    #[test]
    fn an_empty_part_is_an_error_with_a_seed_that_helps() {
        let root = tempfile::tempdir().unwrap();
        many(root.path(), 4);
        let mut settings = settings();
        settings.split.validation = 0.1;
        let error = Dataset::scan(&settings, root.path()).unwrap_err();
        assert_eq!(error.message, "no image of class `dog` falls into the validation split");
        let hint = error.hint.unwrap();
        let seed = hint.split(['=', ',']).nth(1).unwrap().trim_matches([' ', '`']).parse().unwrap();
        settings.split.seed = seed;
        assert!(Dataset::scan(&settings, root.path()).is_ok(), "{hint}");
    }

    #[test]
    fn split_folders_hold_the_parts() {
        let root = tempfile::tempdir().unwrap();
        many(&root.path().join("train"), 20);
        many(&root.path().join("val"), 2);
        let mut settings = settings();
        let folders = SplitFolders { train: "train/".into(), validation: Some("val".into()), test: None };
        settings.split.folders = Some(folders);
        let dataset = Dataset::scan(&settings, root.path()).unwrap();
        assert_eq!(dataset.counts(), [[20, 2, 0], [20, 2, 0]]);
        assert_eq!(dataset.samples[0].path, "train/cat/000.jpg");
        folder(
            root.path(),
            &["testing/cat/9.png", "notes/today.txt", ".old/cat/1.png", "val/loose.png", "loose.png"],
        );
        let dataset = Dataset::scan(&settings, root.path()).unwrap();
        assert_eq!(dataset.ignored, ["loose.png", "testing/cat/9.png", "val/loose.png"]);
        settings.split.test = 0.3;
        let parts = Dataset::scan(&settings, root.path()).unwrap().counts();
        assert!(
            parts.iter().all(|[train, validation, test]| train + test == 20 && *validation == 2 && *test > 0)
        );
        settings.split.validation = 0.1;
        let message = |settings: &ImageFolder| Dataset::scan(settings, root.path()).unwrap_err().message;
        assert_eq!(message(&settings), "`split.validation` and `split.folders.validation` are both given");
        settings.split.validation = 0.0;
        folder(root.path(), &["val/mouse/1.png"]);
        assert_eq!(message(&settings), "the class `mouse` is in `val` but not in `train`");
    }
}
