//! The scores of subsets of images or objects.
//!
//! As with COCO's sizes, objects outside a subset are ignored, and so are detections that take no object and are outside
//! themselves. Precision, recall and F1 are at the best confidence of all images.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::predictions::FoundObjects;
use super::targets::ground_truth;
use crate::data::{Mask, Sample};
use crate::error::{Error, Result};
use crate::metrics::detection::{
    Detection, DetectionMetrics, GroundTruth, SizeRange, SubsetScores, box_area,
};
use crate::report::{ReportTable, SubsetColumns, SubsetRow, subset_table, subsets_csv};
use crate::task::{Division, Subset, TaskFile};

/// The file of the table.
pub const FILE: &str = "subsets.csv";

const COLUMNS: SubsetColumns = SubsetColumns {
    counts: &[("images", "images"), ("instances", "objects")],
    scores: &[
        ("ap50_95", "AP50-95"),
        ("ap50", "AP50"),
        ("precision", "precision"),
        ("recall", "recall"),
        ("f1", "F1"),
    ],
};

/// Scores by the name of the subset and the value.
pub type ScoresBySubset = BTreeMap<String, BTreeMap<String, SubsetScores>>;

/// The scores of every subset. `point` is the best one of all images in [`DetectionMetrics::curves`].
///
/// # Errors
/// A mask cannot be read, or has another size than its image.
pub fn of_evaluation(
    classes: &[String],
    point: Option<usize>,
    predictions: &[(&Sample, FoundObjects)],
    subsets: &[Subset],
) -> Result<ScoresBySubset> {
    let of_subset = |Subset { name, division }: &Subset| {
        let mut values: BTreeMap<String, Value> = BTreeMap::new();
        let images: Vec<Vec<Part>> =
            predictions.par_iter().map(|image| parts(image, division)).collect::<Result<_>>()?;
        for ((_, found), parts) in predictions.iter().zip(images) {
            for Part { value, truth, counts, has_image } in parts {
                let known = values.entry(value).or_insert_with(|| Value::new(classes.len()));
                known.images += u64::from(has_image);
                known.metrics.update_within(&found.objects, &truth, &counts)?;
            }
        }
        let scores = |(value, Value { images, metrics }): (String, Value)| {
            Ok((value, SubsetScores::of(images, &metrics.finish_at(classes, point)?)))
        };
        Ok((name.clone(), values.into_iter().map(scores).collect::<Result<_>>()?))
    };
    subsets.iter().map(of_subset).collect()
}

/// A value of a subset, over the images so far.
struct Value {
    images: u64,
    metrics: DetectionMetrics,
}

impl Value {
    fn new(classes: usize) -> Self {
        Self { images: 0, metrics: DetectionMetrics::new(classes) }
    }
}

/// An image as a value of a subset sees it.
struct Part {
    value: String,
    /// All objects of the image; those outside are ignored.
    truth: Vec<GroundTruth>,
    /// Whether each detection counts if it takes no object.
    counts: Vec<bool>,
    /// Whether the image belongs to the value: by itself, or with an object to find.
    has_image: bool,
}

fn parts((sample, found): &(&Sample, FoundObjects), division: &Division) -> Result<Vec<Part>> {
    let truth = ground_truth(sample, found.size);
    let part = |value: &str, truth: Vec<GroundTruth>, counts: Vec<bool>| Part {
        value: value.to_owned(),
        has_image: truth.iter().any(GroundTruth::counts),
        truth,
        counts,
    };
    let everywhere = || vec![true; found.objects.len()];
    Ok(match division {
        Division::Images(values) => {
            let unknown = || Error::bug(format!("`{}` has no value of the subset", sample.path));
            let value = values.get(&sample.path).ok_or_else(unknown)?;
            vec![Part { has_image: true, ..part(value, truth, everywhere()) }]
        }
        Division::Difficult => {
            let marked = |object: &GroundTruth| GroundTruth { ignored: !object.ignored, ..*object };
            let difficult = truth.iter().map(marked).collect();
            vec![part("difficult", difficult, everywhere()), part("others", truth, everywhere())]
        }
        Division::Size => {
            let of_size = |(value, range): (&str, SizeRange)| {
                let inside = |object: &GroundTruth| !range.excludes(object.area);
                let counts =
                    found.objects.iter().map(|each| !range.excludes(box_area(each.corners))).collect();
                part(value, only(&truth, inside), counts)
            };
            [("small", SizeRange::Small), ("medium", SizeRange::Medium), ("large", SizeRange::Large)]
                .map(of_size)
                .into()
        }
        Division::Masks { minimum, read } => {
            let mask = read(&sample.path)?;
            same_size(&mask, sample, found.size)?;
            let is_inside = |corners: [f64; 4]| mask.share(corners) >= *minimum;
            let side = |(value, inside): (&str, bool)| {
                let of_object = |object: &GroundTruth| is_inside(object.corners) == inside;
                let of_detection = |each: &Detection| is_inside(each.corners) == inside;
                part(value, only(&truth, of_object), found.objects.iter().map(of_detection).collect())
            };
            [("inside", true), ("outside", false)].map(side).into()
        }
    })
}

/// The objects, of which those outside are ignored.
fn only(truth: &[GroundTruth], inside: impl Fn(&GroundTruth) -> bool) -> Vec<GroundTruth> {
    let object = |object: &GroundTruth| GroundTruth { ignored: object.ignored || !inside(object), ..*object };
    truth.iter().map(object).collect()
}

fn same_size(mask: &Mask, sample: &Sample, [width, height]: [u32; 2]) -> Result<()> {
    let [wide, high] = mask.size();
    if [wide, high] == [width, height] {
        return Ok(());
    }
    let path = &sample.path;
    Err(Error::failed(format!(
        "the mask of `{path}` has {wide} × {high} pixels, and the image {width} × {height}"
    ))
    .hint("write each mask in the size of its image, upright"))
}

/// `subsets.csv`.
pub fn file(scores: &ScoresBySubset) -> TaskFile {
    TaskFile::new(FILE, subsets_csv(&COLUMNS, &rows(scores)))
}

/// The table of a report.
pub fn table(scores: &ScoresBySubset) -> ReportTable {
    subset_table(&COLUMNS, &rows(scores))
}

fn rows(scores: &ScoresBySubset) -> Vec<SubsetRow<'_>> {
    let values = scores.iter().flat_map(|(subset, values)| {
        values.iter().map(move |(value, scores)| {
            let SubsetScores { images, instances, ap50_95, ap50, precision, recall, f1 } = *scores;
            let (counts, scores) = (vec![images, instances], vec![ap50_95, ap50, precision, recall, f1]);
            SubsetRow { subset, value, counts, scores }
        })
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::data::{BoxArea, Label, LabelledBox, Split};
    use crate::report::{image_png, rgb_image};

    /// A picture of 40 × 10 pixels with an object at the left, one at the right, and a difficult one between them.
    fn sample() -> Sample {
        let object = |left: f64| {
            let area = BoxArea { left: left / 40.0, top: 0.0, right: (left + 10.0) / 40.0, bottom: 1.0 };
            LabelledBox::new(0, area)
        };
        let difficult = LabelledBox { difficult: true, ..object(15.0) };
        let label = Label::Boxes(vec![object(0.0), object(30.0), difficult]);
        Sample { path: "1.png".to_owned(), label, split: Split::Test, digest: None }
    }

    fn found(boxes: &[(f32, f64)]) -> FoundObjects {
        let detection = |&(score, left): &(f32, f64)| Detection {
            class: 0,
            score,
            corners: [left, 0.0, left + 10.0, 10.0],
        };
        FoundObjects { size: [40, 10], objects: boxes.iter().map(detection).collect() }
    }

    /// Images, objects, AP50, precision and recall of each value.
    fn scores(boxes: &[(f32, f64)], division: Division) -> Vec<(String, u64, u64, [Option<f64>; 3])> {
        let (sample, found) = (sample(), found(boxes));
        let mut all = DetectionMetrics::new(1);
        all.update(&found.objects, &ground_truth(&sample, found.size)).unwrap();
        let subset = Subset { name: "part".to_owned(), division };
        let scores =
            of_evaluation(&["a".to_owned()], all.curves().best_point(), &[(&sample, found)], &[subset])
                .unwrap();
        let row = |(value, scores): (&String, &SubsetScores)| {
            let SubsetScores { images, instances, ap50, precision, recall, .. } = *scores;
            (value.clone(), images, instances, [ap50, precision, recall])
        };
        scores["part"].iter().map(row).collect()
    }

    /// A mask of the left half of a picture.
    fn left_half(width: u32) -> Division {
        let pixels = (0..width * 10).flat_map(|pixel| [u8::from(pixel % width < width / 2); 3]).collect();
        let png = image_png(&rgb_image([width, 10], pixels).unwrap()).unwrap();
        let read = move |_: &str| Mask::decode(&png, true).map_err(Error::failed);
        Division::Masks { minimum: 0.5, read: Arc::new(read) }
    }

    #[test]
    fn difficult_objects_count_in_their_own_value_only() {
        let boxes = [(0.9, 0.0), (0.9, 15.0), (0.9, 30.0)];
        let found = scores(&boxes, Division::Difficult);
        let full = [Some(1.0); 3];
        assert_eq!(found, [("difficult".to_owned(), 1, 1, full), ("others".to_owned(), 1, 2, full)]);
        // A box that finds nothing is wrong in both.
        let boxes = [(0.9, 5.0), (0.9, 15.0), (0.9, 30.0)];
        let found = scores(&boxes, Division::Difficult);
        assert_eq!(found[0].3[1..], [Some(0.5), Some(1.0)]);
        assert_eq!(found[1].3[1..], [Some(0.5), Some(0.5)]);
    }

    #[test]
    fn a_box_that_finds_nothing_counts_on_its_own_side_of_a_mask() {
        let boxes = [(0.9, 0.0), (0.9, 22.0), (0.9, 30.0)];
        let found = scores(&boxes, left_half(40));
        let numbers =
            |at: usize| (found[at].0.as_str(), found[at].1, found[at].2, found[at].3[1], found[at].3[2]);
        assert_eq!(numbers(0), ("inside", 1, 1, Some(1.0), Some(1.0)));
        assert_eq!(numbers(1), ("outside", 1, 1, Some(0.5), Some(1.0)));
    }

    #[test]
    fn a_mask_has_the_size_of_its_picture() {
        let Division::Masks { read, .. } = left_half(30) else { unreachable!() };
        let error = same_size(&read("1.png").unwrap(), &sample(), [40, 10]).unwrap_err();
        assert_eq!(error.message, "the mask of `1.png` has 30 × 10 pixels, and the image 40 × 10");
    }
}
