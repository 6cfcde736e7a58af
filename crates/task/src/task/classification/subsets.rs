//! The accuracy of subsets of images.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::Sample;
use crate::error::{Error, Result};
use crate::metrics::most_likely;
use crate::report::{ReportTable, SubsetColumns, SubsetRow, subset_table, subsets_csv};
use crate::task::{Division, Subset, TaskFile};

/// The file of the table.
pub const FILE: &str = "subsets.csv";

const COLUMNS: SubsetColumns =
    SubsetColumns { counts: &[("images", "images")], scores: &[("accuracy", "accuracy")] };

/// The scores of the images of one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SubsetAccuracy {
    pub images: u64,
    pub accuracy: f64,
}

/// Scores by the name of the subset and the value.
pub type AccuracyBySubset = BTreeMap<String, BTreeMap<String, SubsetAccuracy>>;

/// The accuracy of every subset.
///
/// # Errors
/// A bug: a subset of objects, or an image without a class or a value.
pub fn of_evaluation(predictions: &[(&Sample, Vec<f32>)], subsets: &[Subset]) -> Result<AccuracyBySubset> {
    let of_subset = |Subset { name, division }: &Subset| {
        let Division::Images(values) = division else {
            return Err(Error::bug(format!("the subset `{name}` divides objects")));
        };
        let mut counts: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
        for (sample, probabilities) in predictions {
            let unknown = || Error::bug(format!("`{}` has no class or no value", sample.path));
            let (value, class) = values.get(&sample.path).zip(sample.label.class()).ok_or_else(unknown)?;
            let [images, right] = counts.entry(value).or_default();
            *images += 1;
            *right += u64::from(most_likely(probabilities) == class as usize);
        }
        let accuracy = |(value, [images, right]): (&str, [u64; 2])| {
            (value.to_owned(), SubsetAccuracy { images, accuracy: right as f64 / images as f64 })
        };
        Ok((name.clone(), counts.into_iter().map(accuracy).collect()))
    };
    subsets.iter().map(of_subset).collect()
}

/// `subsets.csv`.
pub fn file(scores: &AccuracyBySubset) -> TaskFile {
    TaskFile::new(FILE, subsets_csv(&COLUMNS, &rows(scores)))
}

/// The table of a report.
pub fn table(scores: &AccuracyBySubset) -> ReportTable {
    subset_table(&COLUMNS, &rows(scores))
}

fn rows(scores: &AccuracyBySubset) -> Vec<SubsetRow<'_>> {
    let values = scores.iter().flat_map(|(subset, values)| {
        values.iter().map(move |(value, SubsetAccuracy { images, accuracy })| {
            let (counts, scores) = (vec![*images], vec![Some(*accuracy)]);
            SubsetRow { subset, value, counts, scores }
        })
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Label, Split};

    #[test]
    fn images_are_counted_by_their_value() {
        let sample = |path: &str, class| Sample {
            path: path.to_owned(),
            label: Label::Class(class),
            split: Split::Test,
            digest: None,
        };
        let samples = [sample("a", 0), sample("b", 1), sample("c", 1)];
        let predictions: Vec<(&Sample, Vec<f32>)> =
            samples.iter().map(|each| (each, vec![0.3, 0.7])).collect();
        let values = [("a", "day"), ("b", "day"), ("c", "night")];
        let values = values.map(|(path, value)| (path.to_owned(), value.to_owned()));
        let images = Subset { name: "light".to_owned(), division: Division::Images(values.into()) };
        let scores = of_evaluation(&predictions, &[images]).unwrap();
        assert_eq!(scores["light"]["day"], SubsetAccuracy { images: 2, accuracy: 0.5 });
        assert_eq!(scores["light"]["night"], SubsetAccuracy { images: 1, accuracy: 1.0 });
        let text = String::from_utf8(file(&scores).bytes).unwrap();
        assert_eq!(text, "subset,value,images,accuracy\nlight,day,2,0.5\nlight,night,1,1\n");
        assert_eq!(table(&scores).rows.len(), 2);
        let size = Subset { name: "size".to_owned(), division: Division::Size };
        assert!(of_evaluation(&predictions, &[size]).is_err());
    }
}
