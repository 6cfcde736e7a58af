//! Images whose labels are probably wrong: those with which models disagree that did not train on them.
//!
//! Images are ranked by the margin of the given label: its probability minus the highest of the other classes (Northcutt,
//! Jiang, Chuang, *Confident Learning* (JAIR 2021), §3.2). Of several labels, it is the worst of them. Boxes
//! are checked one by one: `box_check.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use super::RunDirectory;
use super::box_check::check_boxes;
use super::comparison::ComparedSheet;
use super::evaluated::{EvaluatedRun, of_validation};
use super::stage_images::StageImages;
use crate::data::LABELS_BETWEEN;
use crate::error::{Error, Result};
use crate::metrics::{THRESHOLD, most_likely};
use crate::report::{self, CheckedLabel, ImageBox, SheetImage};
use crate::task::OutputForm;

/// The images of a sheet.
const IN_SHEET: usize = 24;

/// All evaluated images, or the boxes that detectors find otherwise; those that are most probably wrong first.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelCheck {
    /// The evaluate stage.
    pub stage: String,
    pub images: Vec<CheckedLabel>,
    /// The runs whose predictions are averaged.
    pub runs: Vec<String>,
    /// The first run, which says where its images are.
    first: RunDirectory,
}

/// Compares the labels of images with the mean prediction of all runs that evaluated them.
///
/// # Errors
/// No run has the stage, or finished it. The stage evaluates training images, or finds objects. Runs have different classes.
pub fn check_labels(runs: &[RunDirectory], stage: Option<&str>) -> Result<LabelCheck> {
    let (stage, split) = of_validation(runs, stage)?;
    if split == "train" {
        return Err(Error::usage(format!(
            "stage `{stage}` evaluates training images, whose labels the model has learnt"
        ))
        .hint("name a stage that evaluates another split with `--stage`; with folds, each image is in one"));
    }
    let mut evaluated = Vec::new();
    for run in runs {
        evaluated.extend(EvaluatedRun::read(run, &stage)?);
    }
    let Some(first) = evaluated.first() else {
        let (images, runs) = check_boxes(runs, &stage)?;
        let Some(first) = runs.first().cloned() else {
            return Err(Error::usage(format!("no run has predictions of stage `{stage}`"))
                .hint("finish the runs, or name another stage with `--stage`"));
        };
        let runs = runs.iter().map(|run| run.path().display().to_string()).collect();
        return Ok(LabelCheck { stage, images, runs, first });
    };
    if let Some(other) = evaluated.iter().find(|other| other.classes != first.classes) {
        let (one, other) = (first.run.path().display(), other.run.path().display());
        return Err(Error::usage(format!("`{one}` and `{other}` have different classes")));
    }
    let mut sums: BTreeMap<&str, (&str, Vec<f64>, usize)> = BTreeMap::new();
    for prediction in evaluated.iter().flat_map(|run| &run.predictions) {
        let (label, sum, runs) = sums
            .entry(&prediction.file)
            .or_insert_with(|| (&prediction.label, vec![0.0; first.classes.len()], 0));
        if *label != prediction.label {
            let file = &prediction.file;
            return Err(Error::usage(format!(
                "`{file}` has the label `{label}` in one run and `{}` in another",
                prediction.label
            ))
            .hint("name runs of one data set"));
        }
        sum.iter_mut().zip(&prediction.probabilities).for_each(|(sum, p)| *sum += f64::from(*p));
        *runs += 1;
    }
    let mut images: Vec<CheckedLabel> = sums
        .into_iter()
        .map(|(file, (label, sum, runs))| {
            let means: Vec<f32> = sum.iter().map(|sum| (sum / runs as f64) as f32).collect();
            let (suggested, margin) = match first.form {
                OutputForm::Independent => of_labels(label, &first.classes, &means),
                OutputForm::Exclusive | OutputForm::Boxes | OutputForm::Embeddings => {
                    of_class(label, &first.classes, &means)
                }
            };
            let (file, label) = (file.to_owned(), label.to_owned());
            CheckedLabel { file, label, suggested, margin, runs, given_box: None, suggested_box: None }
        })
        .collect();
    images.sort_by(|a, b| a.margin.total_cmp(&b.margin).then_with(|| a.file.cmp(&b.file)));
    let runs = evaluated.iter().map(|run| run.run.path().display().to_string()).collect();
    Ok(LabelCheck { stage, images, runs, first: first.run.clone() })
}

/// The most likely class, and the probability of the given one minus the highest other.
fn of_class(label: &str, classes: &[String], probabilities: &[f32]) -> (String, f64) {
    let own = classes.iter().position(|class| class == label);
    let others = (0..classes.len()).filter(|class| Some(*class) != own).map(|class| probabilities[class]);
    let highest = others.fold(0.0, f32::max);
    let given = own.map_or(0.0, |class| probabilities[class]);
    (classes[most_likely(probabilities)].clone(), f64::from(given) - f64::from(highest))
}

/// The likely labels, and the smallest margin: the probability that a label is as given, minus the opposite.
fn of_labels(label: &str, classes: &[String], probabilities: &[f32]) -> (String, f64) {
    let shown: Vec<&str> = label.split(LABELS_BETWEEN).collect();
    let named = || classes.iter().zip(probabilities);
    let margin = |(class, p): (&String, &f32)| {
        let signed = 2.0 * f64::from(*p) - 1.0;
        if shown.contains(&class.as_str()) { signed } else { -signed }
    };
    let likely: Vec<&str> =
        named().filter(|(_, p)| **p >= THRESHOLD).map(|(class, _)| class.as_str()).collect();
    (likely.join(LABELS_BETWEEN), named().map(margin).fold(f64::INFINITY, f64::min))
}

/// The names of boxes on sheets.
const BOX_NAMES: [&str; 2] = ["given", "found"];

/// The boxes of a suspect, if it has any.
fn boxes(suspect: &CheckedLabel) -> Vec<ImageBox> {
    let shown = |(class, corners): (usize, Option<[f32; 4]>)| {
        let [left, top, right, bottom] = corners?;
        Some(ImageBox { class, score: None, left, top, right, bottom })
    };
    [suspect.given_box, suspect.suggested_box].into_iter().enumerate().filter_map(shown).collect()
}

impl LabelCheck {
    /// The images whose given label is not the likely one.
    pub fn suspects(&self) -> &[CheckedLabel] {
        let count = self.images.iter().take_while(|image| image.margin < 0.0).count();
        &self.images[..count]
    }

    /// Sheets of up to `most` suspects.
    ///
    /// # Errors
    /// The folder of the images is unknown, or an image cannot be read. `folder` names it, if the run knows another one.
    pub fn sheets(&self, folder: Option<&Path>, most: usize) -> Result<Vec<ComparedSheet>> {
        let shown = &self.suspects()[..self.suspects().len().min(most)];
        if shown.is_empty() {
            return Ok(Vec::new());
        }
        let images = StageImages::of(&self.first, &self.stage, folder)?;
        let mut sheets = Vec::new();
        for (number, suspects) in shown.chunks(IN_SHEET).enumerate() {
            let pictures = suspects.iter().map(|suspect| images.picture(&suspect.file));
            let pictures = pictures.collect::<Result<Vec<_>>>()?;
            let captions: Vec<String> = suspects.iter().map(CheckedLabel::in_words).collect();
            let boxes: Vec<Vec<ImageBox>> = suspects.iter().map(boxes).collect();
            let cells = pictures.iter().zip(suspects).zip(captions.iter().zip(&boxes));
            let cells: Vec<SheetImage> = cells
                .map(|((image, suspect), (caption, boxes))| SheetImage {
                    image,
                    name: &suspect.file,
                    caption: Some(caption),
                    boxes,
                })
                .collect();
            let title = "Labels that are probably wrong: given → likely";
            let jpeg = report::jpeg(&report::sheet(title, &cells, &BOX_NAMES.map(str::to_owned))?)?;
            sheets.push(ComparedSheet { name: format!("label_check_{number}.jpg"), jpeg });
        }
        Ok(sheets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_of_a_class_is_its_distance_from_the_best_other() {
        let classes = ["a", "b", "c"].map(str::to_owned);
        let (suggested, margin) = of_class("a", &classes, &[0.25, 0.5, 0.25]);
        assert_eq!((suggested.as_str(), margin), ("b", -0.25));
        let (suggested, margin) = of_class("b", &classes, &[0.25, 0.5, 0.25]);
        assert_eq!((suggested.as_str(), margin), ("b", 0.25));
    }

    #[test]
    fn the_margin_of_labels_is_the_worst_of_them() {
        let labels = ["a", "b"].map(str::to_owned);
        let (suggested, margin) = of_labels("a", &labels, &[0.75, 0.875]);
        assert_eq!((suggested.as_str(), margin), ("a;b", -0.75));
        let (suggested, margin) = of_labels("", &labels, &[0.25, 0.0]);
        assert_eq!((suggested.as_str(), margin), ("", 0.5));
    }
}
