//! The samples of a data set: paths, classes and parts; those of an image folder are found here.
//!
//! A class is a folder below the root (or below each split folder), a sample any JPEG or PNG file in it, at any depth.
//! Hidden files and folders are left out, and so are those of systems, such as a NAS's thumbnails in `@eaDir`. Links are
//! followed, so that data may live elsewhere: a sample is its path below the root and its bytes, wherever they are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Split;
use super::folders::{Depths, Part, images_beside};
use super::layout::{self, Layout, quoted};
use super::presence::{self, Demand, cure};
use super::split::{Fractions, keys};
use super::walk::{Finds, images, listing};
use crate::digest::Digest;
use crate::error::Mistakes;
use crate::pipeline::{self, Broken, ImageFolder};
use crate::{Error, Result};

/// How far the search for a better split seed goes, in seeds and in hashes.
const SEEDS_TRIED: u64 = 10_000;
const HASHES_TRIED: usize = 2_000_000;

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The path below the data set's root, with `/`.
    pub path: String,
    /// What it shows, as positions in [`Dataset::classes`], ascending: one class, or any number of labels.
    pub classes: Vec<u32>,
    pub split: Split,
    /// The digest its bytes must have when they are read; not known from scanning.
    pub digest: Option<Digest>,
}

/// The images of a data set, in the order of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dataset {
    pub root: PathBuf,
    /// The names of the classes or labels, in the order of the model's outputs.
    pub classes: Vec<String>,
    /// Whether samples have any number of labels, rather than one class each.
    pub multi_label: bool,
    pub samples: Vec<Sample>,
    /// Files that are no samples: in class folders, those that are neither JPEG nor PNG by their name; elsewhere below
    /// the root, images.
    pub ignored: Vec<String>,
    /// Images that cannot be read and are left out, each with the cause, where the file allows it.
    pub unreadable: Vec<(String, String)>,
    /// What is probably not meant, in words.
    pub warnings: Vec<String>,
}

impl Dataset {
    /// Finds the samples below `root` and says which part each belongs to. Reads names, not contents.
    ///
    /// # Errors
    /// A usage error that names the folder: a missing root or class, a class without images, classes that differ
    /// between split folders, a part that would be empty, an unusable `split.group`.
    pub fn scan(folder: &ImageFolder, root: &Path) -> Result<Self> {
        require_folder(root)?;
        let fractions = Fractions::new(&folder.split)?;
        let mut finds = Finds::default();
        let parts = Part::all(folder, &fractions, root, &mut finds)?;
        let mut warnings = Vec::new();
        if folder.split.folders.is_none() {
            let found = &parts[0].listing.folders;
            let meant =
                folder.classes.as_ref().is_some_and(|named| named.iter().all(|name| found.contains(name)));
            if !meant {
                warnings.extend(Layout::require_classes(root, found)?);
            }
        }
        let classes = classes(folder, &parts, root)?;
        let mut dataset = Self { root: root.to_owned(), classes, warnings, ..Self::default() };
        let demand = Demand { every_class: folder.split.require_classes, named: folder.classes.is_some() };
        let depths = dataset.add_classes(&parts, &demand, &mut finds);
        dataset.ignored.extend(images_beside(root, &parts, &mut finds)?);
        dataset.ignored.append(&mut finds.others);
        dataset.samples.sort_by(|a, b| a.path.cmp(&b.path));
        dataset.ignored.sort();
        dataset.take_unreadable(std::mem::take(&mut finds.unreadable), folder.broken, &mut finds.mistakes);
        std::mem::take(&mut finds.mistakes).into_result()?;
        dataset.warnings.extend(dataset.found_on_the_way(&finds, &depths));
        dataset.part_training(&folder.split, &fractions)?;
        Ok(dataset)
    }

    /// The indices of a part's samples, in the order of their paths.
    pub fn split(&self, split: Split) -> Vec<usize> {
        (0..self.samples.len()).filter(|&index| self.samples[index].split == split).collect()
    }

    /// Per class or label, the numbers of training, validation and test samples.
    pub fn counts(&self) -> Vec<[usize; 3]> {
        let mut counts = vec![[0; 3]; self.classes.len()];
        for sample in &self.samples {
            sample.classes.iter().for_each(|class| counts[*class as usize][sample.split as usize] += 1);
        }
        counts
    }

    /// Where the bytes of a sample are.
    pub fn file(&self, index: usize) -> PathBuf {
        self.root.join(&self.samples[index].path)
    }

    /// The samples of every class in every part, and how they lie in the folders of their classes.
    fn add_classes(&mut self, parts: &[Part], demand: &Demand, finds: &mut Finds) -> Depths {
        let mut depths = Depths::default();
        let mut gaps: Vec<(&Part, usize, Vec<String>)> = Vec::new();
        for part in parts {
            for class in 0..self.classes.len() {
                let name = &self.classes[class];
                let (folder, others) = (part.class_folder(name), finds.others.len());
                let images = match part.has(name) {
                    true => images(&self.root, &folder, finds),
                    false => Vec::new(),
                };
                if images.is_empty() {
                    gaps.push((part, class, finds.others[others..].to_vec()));
                }
                depths.add(&folder, &images);
                let sample =
                    |path| Sample { path, classes: vec![class as u32], split: part.split, digest: None };
                self.samples.extend(images.into_iter().map(sample));
            }
        }
        let has_gap = |class: usize| gaps.iter().any(|(_, gap, _)| *gap == class);
        let whole: Vec<String> = (0..self.classes.len())
            .filter(|class| !has_gap(*class))
            .map(|class| self.classes[class].clone())
            .collect();
        for (part, class, others) in gaps.iter().filter(|(part, ..)| !demand.allows_gap(part.split)) {
            let error = self.gap(parts, part, *class, others.first(), &cure(part.split, &whole, demand));
            finds.mistakes.add("class without images", error);
        }
        depths
    }

    /// What is wrong where a part shows no image of a class.
    fn gap(&self, parts: &[Part], part: &Part, class: usize, other: Option<&String>, cure: &str) -> Error {
        let name = &self.classes[class];
        if part.has(name) {
            let error = Error::usage(format!("the class folder `{}` has no images", part.class_folder(name)));
            return match other {
                Some(other) => error.hint(format!(
                    "only .jpg, .jpeg and .png files are images here: convert `{other}` and its like, or {cure}"
                )),
                None => error.hint(cure),
            };
        }
        match parts.iter().find(|part| part.has(name)) {
            Some(there) => Error::usage(format!(
                "the class `{name}` is in `{}` but not in `{}`",
                there.below, part.below
            ))
            .hint(cure),
            None => missing_class(name, &self.root.join(&part.below), &part.listing.folders),
        }
    }

    /// Images that cannot be read are left out where the file allows it, and mistakes elsewhere.
    pub(super) fn take_unreadable(
        &mut self,
        unreadable: Vec<(String, String)>,
        broken: Broken,
        mistakes: &mut Mistakes,
    ) {
        if broken == Broken::Skip {
            self.unreadable = unreadable;
            self.unreadable.sort();
            return;
        }
        for (path, cause) in unreadable {
            let error = Error::usage(format!("`{}` cannot be read: {cause}", self.root.join(path).display()));
            let hint = "restore or remove it, or set `broken = \"skip\"` to leave out such images";
            mistakes.add("image that cannot be read", error.hint(hint));
        }
    }

    /// What a person should know of the folders.
    fn found_on_the_way(&self, finds: &Finds, depths: &Depths) -> Vec<String> {
        let mut said: Vec<String> = presence::untrained(self).into_iter().collect();
        if !finds.of_systems.is_empty() {
            let names = finds.of_systems.iter().map(|(name, count)| format!("`{name}` ({count})"));
            let names: Vec<String> = names.collect();
            said.push(format!("folders and files of systems are left out: {}", names.join(", ")));
        }
        if let Some(first) = finds.dangling.first() {
            let count = finds.dangling.len();
            let links = if count == 1 { "link leads" } else { "links lead" };
            said.push(format!("{count} {links} nowhere (`{first}`)"));
        }
        said.extend(depths.said());
        said
    }

    /// Parts the training samples by the fractions, and makes sure that no part is empty.
    pub(super) fn part_training(&mut self, settings: &pipeline::Split, fractions: &Fractions) -> Result<()> {
        if fractions.validation == 0.0 && fractions.test == 0.0 {
            return Ok(());
        }
        let training = self.split(Split::Train);
        let paths: Vec<String> = training.iter().map(|&index| self.samples[index].path.clone()).collect();
        let keys = keys(&paths, settings.group.as_deref())?;
        for (&index, key) in training.iter().zip(&keys) {
            self.samples[index].split = fractions.part(key);
        }
        let classes =
            |index: usize| if settings.require_classes { &self.samples[index].classes[..] } else { &[0] };
        let mut members: BTreeSet<(u32, &str)> = BTreeSet::new();
        for (&index, key) in training.iter().zip(&keys) {
            members.extend(classes(index).iter().map(|class| (*class, key.as_str())));
        }
        let Some((class, part)) = gap(&members, fractions) else { return Ok(()) };
        let what = if settings.require_classes {
            format!("no image of class `{}` falls into the {} part", self.classes[class as usize], name(part))
        } else {
            format!("no image falls into the {} part", name(part))
        };
        let tries = SEEDS_TRIED.min((HASHES_TRIED / members.len().max(1)) as u64);
        let better = (0..tries).find(|&seed| gap(&members, &Fractions { seed, ..*fractions }).is_none());
        let hint = match better {
            Some(seed) => format!("set `split.seed = {seed}`, which leaves no part empty"),
            None if settings.require_classes => {
                "raise the share, add images, or set `split.require_classes = false` to allow it".to_owned()
            }
            None => "raise the share or add images".to_owned(),
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

/// The classes to use: those that are named, else all folders of all parts.
fn classes(folder: &ImageFolder, parts: &[Part], root: &Path) -> Result<Vec<String>> {
    let classes = match &folder.classes {
        Some(named) => named.clone(),
        None => {
            let found: BTreeSet<&String> = parts.iter().flat_map(|part| &part.listing.folders).collect();
            found.into_iter().cloned().collect()
        }
    };
    if let Some(twice) = classes.iter().enumerate().find(|(i, name)| classes[..*i].contains(name)) {
        return Err(Error::usage(format!("the class `{}` is named twice", twice.1)));
    }
    if classes.len() > 1 {
        return Ok(classes);
    }
    let found = classes.first().map_or("none".to_owned(), |only| format!("only `{only}`"));
    let part = root.join(&parts[0].below);
    let message =
        format!("`{}` needs a folder for each of at least two classes, and has {found}", part.display());
    let deeper = classes.first().map(|only| part.join(only)).and_then(|below| {
        let folders = listing(&below, "", &mut Finds::default()).ok()?.folders;
        let split = match Layout::of(&below, "", &folders) {
            Layout::Parts(folders) => format!(", and write `split = {}`", layout::written(&folders)),
            _ => String::new(),
        };
        (folders.len() > 1).then(|| format!("point `root` at `{}`{split}", below.display()))
    });
    let usual = || "point `root` at the folder whose folders are the classes".to_owned();
    Err(Error::usage(message).hint(deeper.unwrap_or_else(usual)))
}

fn missing_class(name: &str, folder: &Path, found: &[String]) -> Error {
    let nearest = found
        .iter()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let there = quoted(found, ", ");
    Error::usage(format!("the class `{name}` has no folder in `{}`", folder.display())).hint(match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`? there are {there}"),
        None => format!("there are {there}"),
    })
}

/// A class and a part without any of its members, if there is one.
fn gap(members: &BTreeSet<(u32, &str)>, fractions: &Fractions) -> Option<(u32, Split)> {
    let mut present: BTreeMap<u32, [bool; 3]> = BTreeMap::new();
    for (class, key) in members {
        present.entry(*class).or_default()[fractions.part(key) as usize] = true;
    }
    let wanted = fractions.wanted();
    present.into_iter().find_map(|(class, parts)| {
        wanted.iter().find(|part| !parts[**part as usize]).map(|part| (class, *part))
    })
}

fn name(part: Split) -> &'static str {
    match part {
        Split::Train => "training",
        Split::Validation => "validation",
        Split::Test => "test",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::pipeline::SplitFolders;

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
            dataset.samples.iter().map(|sample| (sample.path.as_str(), sample.classes[0])).collect();
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
        assert_eq!(dataset.samples.iter().map(|sample| sample.classes[0]).collect::<Vec<_>>(), [1, 0]);
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
        folder(root.path(), &["photos/cat/1.jpg", "photos/dog/1.webp"]);
        let error = Dataset::scan(&settings(), root.path()).unwrap_err();
        assert!(error.message.ends_with("of at least two classes, and has only `photos`"), "{error}");
        let error = Dataset::scan(&settings(), &root.path().join("photos")).unwrap_err();
        assert_eq!(error.message, "the class folder `dog` has no images");
        assert!(error.hint.unwrap().contains("dog/1.webp"));
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
        let (happy, sad): (Vec<_>, Vec<_>) = dataset.samples.iter().partition(|sample| sample.classes == [0]);
        assert!(happy.iter().zip(&sad).all(|(a, b)| a.path[6..8] == b.path[4..6] && a.split == b.split));
        assert!(dataset.counts().iter().all(|[train, validation, _]| *train > 0 && *validation > 0));
    }

    #[test]
    fn an_empty_part_is_an_error_with_a_seed_that_helps() {
        let root = tempfile::tempdir().unwrap();
        many(root.path(), 4);
        let mut settings = settings();
        settings.split.validation = 0.1;
        let error = Dataset::scan(&settings, root.path()).unwrap_err();
        assert_eq!(error.message, "no image of class `dog` falls into the validation part");
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
