//! What the formats with boxes have in common: from the images and objects that annotation files list to a data set.
//!
//! Annotations of real data sets have many small faults. What cannot change the meaning of a label is corrected and
//! counted: boxes that are repeated, reach beyond their image or have no area. Everything else is an error at its place,
//! and one pass reports all errors. The folders of the data set are only read.

mod cleaning;
mod pairing;
mod paths;
mod sizes;

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::io::ErrorKind;
use std::path::PathBuf;

use self::cleaning::Cleaning;
use crate::data::class_presence::{self, PresenceRule};
use crate::data::dataset::{Dataset, Derived, Sample};
use crate::data::outside::OutsideFolders;
use crate::data::split::SplitFractions;
use crate::data::{Label, LabelKind, LabelledBox, Split};
use crate::error::InputErrors;
use crate::pipeline::{self, Broken, suggest};
use crate::regular_file::{self, ReadRefusal};
use crate::{Error, Result};

pub use pairing::{LabelFiles, unreadable_pictures};
pub use paths::{RootFolder, absolute};

/// The largest number of missing images that a message names.
const NAMED: usize = 4;

/// An image with its objects, as annotations describe it.
pub struct FoundImage {
    /// The path below the root, with `/`.
    pub path: String,
    pub split: Split,
    /// The list that names the image, if there is one, for messages: `` `train.txt`, line 3 ``.
    pub named_in: Option<String>,
    /// What has its objects, for messages: `` `labels/a.txt` ``.
    pub listed_in: String,
    /// Whether there are annotations of the image, even if they list no object.
    pub is_labelled: bool,
    pub objects: Vec<FoundBox>,
    pub units: Units,
}

/// An object, with what identifies it in its file.
pub struct FoundBox {
    pub object: LabelledBox,
    /// A line, or the id of an annotation.
    pub number: i64,
}

/// The units of an image's boxes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Units {
    /// Fractions of width and height.
    Fractions,
    /// Pixels of a picture of this width and height, if the annotations have it.
    Pixels(Option<[u32; 2]>),
}

/// What a format has read.
pub struct BoxedImages {
    pub root: PathBuf,
    pub outside: OutsideFolders,
    /// All classes of the annotations, by the numbers in [`LabelledBox::class`].
    pub names: Vec<String>,
    /// COCO's category id of each of them.
    pub category_ids: Vec<i64>,
    pub images: Vec<FoundImage>,
    /// What [`FoundBox::number`] is: `line`.
    pub numbered: &'static str,
    /// What an image without annotations lacks: `label file`.
    pub annotation: &'static str,
    pub ignored: Vec<String>,
    pub unreadable: Vec<(String, String)>,
    pub warnings: Vec<String>,
    pub mistakes: InputErrors,
}

/// The settings by which a data set is made of them.
pub struct BoxedRules<'a> {
    /// The classes to use, in this order.
    pub classes: Option<&'a Vec<String>>,
    pub split: &'a pipeline::Split,
    pub broken: Broken,
    pub exif_orientation: bool,
    /// Whether the data set itself names its classes.
    pub names_classes: bool,
    /// Whether `classes` selects classes.
    pub selectable: bool,
}

impl FoundImage {
    /// The place of one of its objects, for messages.
    pub fn place(&self, numbered: &str, number: i64) -> String {
        format!("{}, {numbered} {number}", self.listed_in)
    }
}

impl BoxedImages {
    /// Checks everything, and splits the images.
    ///
    /// # Errors
    /// A usage error with every mistake in the data.
    pub fn into_dataset(mut self, rules: &BoxedRules) -> Result<Dataset> {
        self.require_once();
        self.require_files(rules.broken);
        if self.images.is_empty() && self.mistakes.is_empty() {
            return Err(Error::usage("the data set has no images"));
        }
        let (areas, messages) = sizes::into_fractions(&mut self, rules);
        self.warnings.extend(messages);
        let mut cleaning = Cleaning::default();
        for image in &mut self.images {
            cleaning.clean(image, self.numbered, &mut self.mistakes);
        }
        // Classes and splits are unknown if not all annotations could be read.
        std::mem::take(&mut self.mistakes).into_result()?;
        self.warnings.extend(cleaning.in_words());
        self.require_labels()?;
        let classes = self.classes(rules)?;
        self.leave_out_others(&classes);
        let box_sizes = areas.map(|areas| cleaning::box_sizes(&self.images, &areas));
        self.split(classes, box_sizes, rules)
    }

    /// Leaves out the boxes of classes that are not used.
    fn leave_out_others(&mut self, classes: &[String]) {
        let is_used: Vec<bool> = self.names.iter().map(|name| classes.contains(name)).collect();
        let mut emptied: Vec<&str> = Vec::new();
        for image in &mut self.images {
            let before = image.objects.len();
            image.objects.retain(|found| is_used[found.object.class as usize]);
            if before > 0 && image.objects.is_empty() {
                emptied.push(&image.path);
            }
        }
        if let Some(first) = emptied.first() {
            let show = if emptied.len() == 1 { "image shows" } else { "images show" };
            let count = emptied.len();
            self.warnings.push(format!(
                "{count} {show} only objects of classes that are left out and will be background, such as `{first}`"
            ));
        }
    }

    /// An image is one sample, of one split.
    fn require_once(&mut self) {
        let mut seen: HashMap<&str, &FoundImage> = HashMap::new();
        for image in &self.images {
            match seen.entry(&image.path) {
                Entry::Vacant(place) => {
                    place.insert(image);
                }
                Entry::Occupied(first) => {
                    let other = first.get();
                    let error = match other.split == image.split {
                        true => Error::usage(format!("`{}` is listed twice", image.path))
                            .hint("list each image once"),
                        false => Error::usage(format!(
                            "`{}` is in the {} split and in the {} split",
                            image.path,
                            other.split.in_words(),
                            image.split.in_words()
                        ))
                        .hint("an image that was trained on cannot measure the model: name it in one split"),
                    };
                    self.mistakes.add("image listed twice", error);
                }
            }
        }
        let mut paths = std::collections::HashSet::new();
        self.images.retain(|image| paths.insert(image.path.clone()));
    }

    /// Images that cannot be read are an error, or are left out. One error covers all missing ones.
    fn require_files(&mut self, broken: Broken) {
        let (root, outside, mistakes) = (&self.root, &self.outside, &mut self.mistakes);
        let mut missing: Vec<(String, Option<String>)> = Vec::new();
        self.images.retain(|image| {
            let file = outside.file(root, &image.path);
            let Some(refused) = regular_file::refusal(&file) else { return true };
            if broken == Broken::Skip {
                self.unreadable.push((image.path.clone(), refused.to_string()));
                return false;
            }
            match refused {
                ReadRefusal::Io(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    missing.push((image.path.clone(), image.named_in.clone()));
                }
                refused => {
                    let error = Error::usage(format!("cannot read `{}`: {refused}", file.display()));
                    let hint = "restore or remove it, or set `broken = \"skip\"` to leave out such images";
                    mistakes.add("image that cannot be read", error.hint(hint));
                }
            }
            false
        });
        if broken == Broken::Error {
            for (path, cause) in self.unreadable.drain(..) {
                let file = outside.file(root, &path);
                let error = Error::usage(format!("cannot read `{}`: {cause}", file.display()));
                let hint = "restore or remove it, or set `broken = \"skip\"` to leave out such images";
                mistakes.add("image that cannot be read", error.hint(hint));
            }
        }
        self.unreadable.sort();
        if let [(path, place), rest @ ..] = &missing[..] {
            let named: Vec<String> = rest.iter().take(NAMED).map(|(path, _)| format!("`{path}`")).collect();
            let others = match rest.len().saturating_sub(NAMED) {
                _ if rest.is_empty() => String::new(),
                0 => format!(", nor {}", named.join(", ")),
                more => format!(", nor {} and {more} more", named.join(", ")),
            };
            let message = format!("`{path}` is not in `{}`{others}", root.display());
            let hint = "set `root` to the folder that the paths are relative to, or restore the images";
            let error = Error::usage(message).hint(hint);
            let error = match place {
                Some(place) => error.within(place),
                None => error,
            };
            self.mistakes.add("missing image", error);
        }
    }

    /// Images without annotations are background, but a data set of them is a mistake.
    fn require_labels(&mut self) -> Result<()> {
        let (all, what) = (self.images.len(), self.annotation);
        let without: Vec<&FoundImage> = self.images.iter().filter(|image| !image.is_labelled).collect();
        if let Some(first) = without.first().filter(|_| without.len() == all) {
            return Err(Error::usage(format!("none of the {all} images has a {what}")).hint(format!(
                "`{}` needs {}: correct the folders or the names",
                first.path, first.listed_in
            )));
        }
        if !self.images.iter().any(|image| !image.objects.is_empty()) {
            return Err(Error::usage(format!("none of the {all} images has a box"))
                .hint("check that the labels are those of these images"));
        }
        if let Some(first) = without.first().filter(|_| 2 * without.len() > all) {
            self.warnings.push(format!(
                "{} of {all} images have no {what} and are used as background, such as `{}`",
                without.len(),
                first.path
            ));
        }
        Ok(())
    }

    /// The classes to use: the named ones, or all.
    fn classes(&self, rules: &BoxedRules) -> Result<Vec<String>> {
        let Some(named) = rules.classes.filter(|_| rules.selectable) else {
            return match self.names.is_empty() {
                true => Err(Error::usage("the data set has no classes")),
                false => Ok(self.names.clone()),
            };
        };
        match named.iter().find(|name| !self.names.contains(name)) {
            // If a split may lack a class, all splits may lack it.
            Some(missing) if rules.split.require_classes || rules.names_classes => {
                let error = Error::usage(match rules.names_classes {
                    true => format!("the data set has no class `{missing}`"),
                    false => format!("no box is of the class `{missing}`"),
                });
                Err(match suggest::help(missing, "there are", self.names.iter().map(String::as_str)) {
                    Some(help) => error.hint(help),
                    None => error,
                })
            }
            _ => Ok(named.clone()),
        }
    }

    fn split(
        self,
        classes: Vec<String>,
        box_sizes: Option<[usize; 3]>,
        rules: &BoxedRules,
    ) -> Result<Dataset> {
        let place_of: BTreeMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        // For each class of the annotations, its place among the classes to use.
        let places: Vec<Option<u32>> =
            self.names.iter().map(|name| place_of.get(name.as_str()).copied()).collect();
        let sample = |image: FoundImage| {
            let objects = image.objects.iter().filter_map(|found| {
                let class = places.get(found.object.class as usize).copied().flatten()?;
                Some(LabelledBox { class, ..found.object })
            });
            let label = Label::Boxes(objects.collect());
            Sample { path: image.path, label, split: image.split, digest: None }
        };
        let category_ids = match self.category_ids.is_empty() {
            true => Vec::new(),
            false => {
                let id_of: BTreeMap<&str, i64> =
                    self.names.iter().map(String::as_str).zip(self.category_ids.iter().copied()).collect();
                classes.iter().filter_map(|class| id_of.get(class.as_str()).copied()).collect()
            }
        };
        let mut samples: Vec<Sample> = self.images.into_iter().map(sample).collect();
        samples.sort_by(|a, b| a.path.cmp(&b.path));
        let mut ignored = self.ignored;
        ignored.sort();
        let mut dataset = Dataset {
            root: self.root,
            outside: self.outside,
            classes,
            label_kind: LabelKind::Boxes,
            samples,
            ignored,
            unreadable: self.unreadable,
            category_ids,
            box_sizes,
            warnings: self.warnings,
            derived: Derived::default(),
        };
        let usual = rules.split.usual();
        if dataset.split(usual).is_empty() {
            return Err(Error::usage(format!("no image is in the {} split", usual.in_words())));
        }
        let parts: Vec<Split> = Split::ALL
            .into_iter()
            .filter(|part| *part == usual || !dataset.split(*part).is_empty())
            .collect();
        let demand = PresenceRule {
            every_class: rules.split.require_classes,
            named: rules.names_classes || rules.classes.is_some(),
            selectable: rules.selectable,
        };
        let mut mistakes = InputErrors::default();
        class_presence::require(&dataset, &parts, &demand, &mut mistakes);
        mistakes.into_result()?;
        let shares = pipeline::Split { folders: None, ..rules.split.clone() };
        dataset.part_training(&shares, &SplitFractions::new(&shares)?)?;
        dataset.warnings.extend(class_presence::untrained(&dataset));
        Ok(dataset)
    }
}

/// Refuses a fraction for a split that a list or folder of the data already has.
///
/// # Errors
/// A usage error that names both. `cure` says how to use the fraction.
pub fn require_one_origin(split: &pipeline::Split, part: Split, origin: &str, cure: &str) -> Result<()> {
    let share = match part {
        Split::Train => 0.0,
        Split::Validation => split.validation,
        Split::Test => split.test,
    };
    match share > 0.0 {
        true => Err(Error::usage(format!(
            "`split.{}` and {origin} both make the {} split",
            part.name(),
            part.in_words()
        ))
        .hint(format!("remove `split.{}`, or {cure}", part.name()))),
        false => Ok(()),
    }
}
