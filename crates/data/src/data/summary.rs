//! Statistics of a data set: images per class and split, groups, and duplicate files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dataset::Dataset;
use super::near_names::{NearNames, near_names};
use super::split::{SplitFractions, keys};
use super::{LabelKind, LabelledBox, Sample, Split};
use crate::digest::Digest;
use crate::pipeline;

/// The maximum number of duplicate pairs to list; all are counted.
const MOST_DOUBLES: usize = 100;

/// The statistics of a data set. Deterministic, and without a path of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetSummary {
    pub images: usize,
    /// Whether an image has any number of labels instead of one class.
    pub multi_label: bool,
    /// The number of images without a label.
    pub unlabelled: usize,
    /// Training, validation and test.
    pub parts: Vec<SplitSummary>,
    /// In the order of the model's outputs.
    pub classes: Vec<ClassSummary>,
    /// Names of classes that are probably one class, or none.
    pub near_names: Vec<NearNames>,
    pub doubles: Duplicates,
    /// Of images with boxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boxes: Option<BoxSummary>,
}

/// The boxes of a data set. Arrays of three are of training, validation and test, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoxSummary {
    pub boxes: [usize; 3],
    /// The boxes of each class, in the order of the model's outputs.
    pub of_classes: Vec<[usize; 3]>,
    /// Images without a box.
    pub background: [usize; 3],
    /// Boxes that are ignored: crowds, and objects that are marked as difficult.
    pub ignored: [usize; 3],
    /// Small, medium and large boxes by COCO's areas in the files' pixels (below 32², below 96², others), if the sizes of
    /// all images are known.
    pub sizes: Option<[usize; 3]>,
}

impl BoxSummary {
    fn of(dataset: &Dataset) -> Option<Self> {
        if dataset.label_kind != LabelKind::Boxes {
            return None;
        }
        let mut all = Self {
            boxes: [0; 3],
            of_classes: vec![[0; 3]; dataset.classes.len()],
            background: [0; 3],
            ignored: [0; 3],
            sizes: dataset.box_sizes,
        };
        for sample in &dataset.samples {
            let (part, boxes) = (sample.split as usize, sample.label.boxes());
            all.background[part] += usize::from(boxes.is_empty());
            all.boxes[part] += boxes.len();
            all.ignored[part] += boxes.iter().filter(|object| LabelledBox::is_ignored(object)).count();
            boxes.iter().for_each(|object| all.of_classes[object.class as usize][part] += 1);
        }
        Some(all)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitSummary {
    pub part: Split,
    pub images: usize,
    /// The number of groups, if the split has groups.
    pub groups: Option<usize>,
    /// The requested fraction, if there is one.
    pub asked: Option<f64>,
    /// The actual fraction of the images.
    pub got: f64,
    /// Whether the two differ by more than is expected.
    pub differs: bool,
}

/// The image counts of one class or label by split: training, validation, test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassSummary {
    pub name: String,
    pub images: [usize; 3],
    pub groups: Option<[usize; 3]>,
}

/// Files with the same bytes that are in different splits or classes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Duplicates {
    /// The number of distinct contents for which either is true.
    pub count: usize,
    /// The number of contents in more than one split.
    pub across_parts: usize,
    /// The number of contents in more than one class.
    pub across_classes: usize,
    /// One pair of files per content, for the first hundred.
    pub pairs: Vec<Duplicate>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Duplicate {
    pub files: [String; 2],
    pub parts: [Split; 2],
    /// The classes of both, joined by `;` if there are several.
    pub classes: [String; 2],
}

impl DatasetSummary {
    /// `split` is the setting that split the images; it has the requested fractions and groups.
    pub fn of(dataset: &Dataset, split: &pipeline::Split) -> Arc<Self> {
        let key = serde_json::to_string(split).unwrap_or_default();
        dataset.derived.summary(key, || Self::compute(dataset, split))
    }

    fn compute(dataset: &Dataset, split: &pipeline::Split) -> Self {
        // An expression that does not match was already an error when the images were split.
        let paths = || dataset.samples.iter().map(|sample| sample.path.clone()).collect::<Vec<_>>();
        let keys = split.group.as_deref().and_then(|group| keys(&paths(), Some(group)).ok());
        let mut groups: [BTreeSet<&str>; 3] = Default::default();
        let mut of_class: BTreeSet<(u32, usize, &str)> = BTreeSet::new();
        for (sample, key) in dataset.samples.iter().zip(keys.iter().flatten()) {
            groups[sample.split as usize].insert(key);
            let part = sample.split as usize;
            of_class.extend(sample.label.classes().iter().map(|class| (*class, part, key.as_str())));
        }
        let mut class_groups = vec![[0; 3]; dataset.classes.len()];
        of_class.iter().for_each(|(class, part, _)| class_groups[*class as usize][*part] += 1);

        let total = dataset.samples.len();
        let asked = |part| {
            let shares = SplitFractions::new(split).ok().filter(|_| split.folders.is_none())?;
            (shares.wanted().len() > 1).then(|| shares.share(part))
        };
        let part = |part: Split| {
            let images = dataset.samples.iter().filter(|sample| sample.split == part).count();
            let got = images as f64 / total.max(1) as f64;
            SplitSummary {
                part,
                images,
                groups: keys.as_ref().map(|_| groups[part as usize].len()),
                asked: asked(part),
                got,
                differs: part != Split::Train && asked(part).is_some_and(|asked| differs(asked, got, total)),
            }
        };
        let class = |((name, images), groups): ((&String, [usize; 3]), [usize; 3])| ClassSummary {
            name: name.clone(),
            images,
            groups: keys.as_ref().map(|_| groups),
        };
        let counts = dataset.counts();
        Self {
            images: total,
            multi_label: dataset.is_multi_label(),
            unlabelled: match dataset.label_kind {
                // These are background, which is meant.
                LabelKind::Boxes => 0,
                _ => dataset.samples.iter().filter(|sample| sample.label.classes().is_empty()).count(),
            },
            parts: Split::ALL.map(part).into(),
            near_names: near_names(&dataset.classes, &counts),
            classes: dataset.classes.iter().zip(counts).zip(class_groups).map(class).collect(),
            doubles: Duplicates::of(dataset),
            boxes: BoxSummary::of(dataset),
        }
    }
}

/// Whether a fraction is so far from the requested one that a warning is needed.
///
/// A fair hash over n single images has a standard deviation of √(s(1 − s)/n). A small data set therefore often
/// deviates by a third of a fraction, and the numbers alone show that. A deviation above both a third of the fraction
/// and twice the standard deviation has another cause, mostly few groups of uneven sizes. Then the split measures
/// less, or leaves less to train on, than the file suggests.
/// less to train on, than the file seems to say.
fn differs(asked: f64, got: f64, images: usize) -> bool {
    let chance = (asked * (1.0 - asked) / images.max(1) as f64).sqrt();
    (got - asked).abs() > (asked / 3.0).max(2.0 * chance)
}

impl Duplicates {
    /// `None` if digests are unknown.
    fn of(dataset: &Dataset) -> Self {
        let mut by_content: HashMap<Digest, Vec<&Sample>> = HashMap::new();
        for sample in &dataset.samples {
            if let Some(digest) = sample.digest {
                by_content.entry(digest).or_default().push(sample);
            }
        }
        // In the order of paths, independent of the order of digests.
        let mut found: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
        found.extend(
            by_content.into_values().filter(|same| same.len() > 1).map(|same| (&*same[0].path, same)),
        );
        let mut doubles = Self::default();
        for same in found.into_values() {
            let other_part = same.iter().find(|sample| sample.split != same[0].split);
            let other_class = same.iter().find(|sample| sample.label != same[0].label);
            doubles.across_parts += usize::from(other_part.is_some());
            doubles.across_classes += usize::from(other_class.is_some());
            let Some(other) = other_part.or(other_class) else { continue };
            doubles.count += 1;
            if doubles.pairs.len() < MOST_DOUBLES {
                let classes = |sample: &Sample| {
                    let classes = sample.label.classes();
                    let names = classes.iter().map(|class| &*dataset.classes[*class as usize]);
                    names.collect::<Vec<_>>().join(";")
                };
                doubles.pairs.push(Duplicate {
                    files: [same[0].path.clone(), other.path.clone()],
                    parts: [same[0].split, other.split],
                    classes: [classes(same[0]), classes(other)],
                });
            }
        }
        doubles
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Label;

    fn dataset(samples: &[(&str, &[u32], Split, u8)]) -> Dataset {
        let sample = |&(path, classes, split, content): &(&str, &[u32], Split, u8)| Sample {
            path: path.to_owned(),
            label: Label::Labels(classes.to_vec()),
            split,
            digest: Some(Digest::of(&[content])),
        };
        Dataset {
            root: "unused".into(),
            classes: vec!["ant".into(), "bee".into()],
            samples: samples.iter().map(sample).collect(),
            ..Dataset::default()
        }
    }

    #[test]
    fn counts_images_and_groups_by_part_and_class() {
        let split = pipeline::Split { validation: 0.25, group: Some(r"^(\d)_".into()), ..Default::default() };
        let found = DatasetSummary::of(
            &dataset(&[
                ("ant/1_a.png", &[0], Split::Train, 0),
                ("ant/1_b.png", &[0], Split::Train, 1),
                ("ant/2_a.png", &[0], Split::Validation, 2),
                ("bee/1_a.png", &[1], Split::Train, 3),
            ]),
            &split,
        );
        let parts: Vec<_> = found.parts.iter().map(|part| (part.images, part.groups, part.asked)).collect();
        assert_eq!(parts, [(3, Some(1), Some(0.75)), (1, Some(1), Some(0.25)), (0, Some(0), Some(0.0))]);
        assert_eq!((found.classes[0].images, found.classes[0].groups), ([2, 1, 0], Some([1, 1, 0])));
        assert_eq!((found.classes[1].images, found.classes[1].groups), ([1, 0, 0], Some([1, 0, 0])));
        let ungrouped =
            DatasetSummary::of(&dataset(&[("ant/1.png", &[0], Split::Train, 0)]), &Default::default());
        assert_eq!((ungrouped.parts[0].groups, ungrouped.parts[0].asked), (None, None));
    }

    #[test]
    fn equal_files_are_told_across_parts_and_classes_alone() {
        let found = DatasetSummary::of(
            &dataset(&[
                ("ant/1.png", &[0], Split::Train, 0),
                ("ant/2.png", &[0], Split::Train, 0),
                ("ant/3.png", &[0], Split::Train, 1),
                ("ant/4.png", &[0], Split::Test, 1),
                ("bee/1.png", &[1], Split::Train, 2),
                ("ant/5.png", &[0], Split::Train, 2),
            ]),
            &Default::default(),
        );
        assert_eq!(
            (found.doubles.count, found.doubles.across_parts, found.doubles.across_classes),
            (2, 1, 1)
        );
        let files: Vec<_> = found.doubles.pairs.iter().map(|double| double.files.clone()).collect();
        assert_eq!(files, [["ant/3.png", "ant/4.png"], ["bee/1.png", "ant/5.png"]]);
    }

    #[test]
    fn a_share_differs_beyond_a_third_and_beyond_chance() {
        assert!(differs(0.2, 0.27, 2000) && differs(0.2, 0.05, 2000));
        assert!(!differs(0.2, 0.25, 2000), "less than a third");
        assert!(!differs(0.2, 0.1, 30), "three of thirty images");
    }
}
