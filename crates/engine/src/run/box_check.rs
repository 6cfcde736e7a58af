//! Annotated boxes that are probably wrong: what a detector that did not train on the image finds otherwise.
//!
//! The kinds are those of Tkachenko, Thyagarajan, Mueller, *ObjectLab* (2023): objects that nobody annotated, boxes of
//! another class, and boxes in another place. Objects that the detector does not find are listed too.

use std::collections::BTreeMap;

use super::evaluated::finished_task;
use super::{RunDirectory, StageRecord};
use crate::error::{Error, Result};
use crate::metrics::detection::intersection_over_union;
use crate::report::{CheckedLabel, ComparedImage, ComparedImages, ImageBox, StageFiles, Verdict};

/// Boxes are considered from this confidence on, as in predictions for people. The best one of the evaluation would hide
/// what wrong labels make a mistake.
const CONFIDENCE: f64 = 0.25;
/// From this intersection over union on, two boxes show the same object.
const SAME: f64 = 0.5;
/// Below it, a box shows none of the annotated objects.
const APART: f64 = 0.1;

/// A disagreement between the annotation and one detector.
struct Finding {
    given: Option<ImageBox>,
    found: Option<ImageBox>,
    /// The confidences of the runs that agree.
    confidences: Vec<f32>,
}

/// The disagreements of all runs that evaluated boxes in this stage, by falling suspicion, with the runs that did. Empty if
/// there is no such run.
///
/// # Errors
/// A file of a run cannot be read. Runs have different classes.
pub(super) fn check_boxes(
    runs: &[RunDirectory],
    stage: &str,
) -> Result<(Vec<CheckedLabel>, Vec<RunDirectory>)> {
    let (mut evaluated, mut classes): (Vec<RunDirectory>, Vec<String>) = Default::default();
    let mut by_file: BTreeMap<String, (usize, Vec<Finding>)> = BTreeMap::new();
    for run in runs {
        let Some(images) = evaluated_boxes(run, stage)? else { continue };
        if evaluated.is_empty() {
            classes.clone_from(&images.classes);
        } else if classes != images.classes {
            let (one, other) = (evaluated[0].path().display(), run.path().display());
            return Err(Error::usage(format!("`{one}` and `{other}` have different classes")));
        }
        evaluated.push(run.clone());
        for (file, image) in images.images {
            let (runs, findings) = by_file.entry(file).or_default();
            *runs += 1;
            disagreements(&image).into_iter().for_each(|finding| add(findings, finding));
        }
    }
    let name = |shown: &Option<ImageBox>| {
        let class = shown.as_ref().and_then(|shown| classes.get(shown.class));
        class.cloned().unwrap_or_default()
    };
    let rows = by_file.into_iter().flat_map(|(file, (runs, findings))| {
        let row = |finding: Finding| CheckedLabel {
            file: file.clone(),
            label: name(&finding.given),
            suggested: name(&finding.found),
            margin: -f64::from(finding.confidences.iter().sum::<f32>()) / runs as f64,
            runs,
            given_box: finding.given.map(corners),
            suggested_box: finding.found.map(corners),
        };
        findings.into_iter().map(row).collect::<Vec<_>>()
    });
    let mut rows: Vec<CheckedLabel> = rows.collect();
    // Stable: of one image in the order of its findings.
    rows.sort_by(|a, b| a.margin.total_cmp(&b.margin).then_with(|| a.file.cmp(&b.file)));
    Ok((rows, evaluated))
}

/// The images of a finished evaluation of boxes.
fn evaluated_boxes(run: &RunDirectory, stage: &str) -> Result<Option<ComparedImages>> {
    let record = run.record()?;
    let has_boxes =
        |record: &&StageRecord| crate::task::TaskKind::of_recipe(&record.document["model"]).finds_boxes();
    if record.stage(stage).filter(has_boxes).is_none() {
        return Ok(None);
    }
    let Some(task) = finished_task(run, stage)? else { return Ok(None) };
    (task.compared_images)(&StageFiles::new(run.path(), stage), Some(CONFIDENCE)).map(Some)
}

/// Where a detector and the annotation of one image disagree.
fn disagreements(image: &ComparedImage) -> Vec<Finding> {
    let truth: Vec<ImageBox> = image.truth.boxes.iter().map(|judged| judged.shown).collect();
    let judged = |verdict| image.predicted.boxes.iter().filter(move |judged| judged.verdict == verdict);
    let mut findings: Vec<Finding> = judged(Verdict::FalseAlarm)
        .map(|alarm| {
            let found = alarm.shown;
            let nearest = truth.iter().map(|given| (overlap(given, &found), *given));
            let nearest = nearest.filter(|(overlap, _)| *overlap >= APART).max_by(|a, b| a.0.total_cmp(&b.0));
            // A second box on an object that was found is a mistake of the detector alone.
            let duplicate = nearest.is_some_and(|(overlap, given)| {
                overlap >= SAME && given.class == found.class && hit(image, &given)
            });
            let confidence = if duplicate { 0.0 } else { found.score.unwrap_or_default() };
            let given = nearest.map(|(_, given)| given);
            Finding { given, found: Some(found), confidences: vec![confidence] }
        })
        .filter(|finding| finding.confidences[0] > 0.0)
        .collect();
    for missed in judged(Verdict::Missed) {
        let told = |finding: &Finding| finding.given.is_some_and(|given| same_place(&given, &missed.shown));
        if !findings.iter().any(told) {
            findings.push(Finding { given: Some(missed.shown), found: None, confidences: Vec::new() });
        }
    }
    findings
}

/// Whether some box found this object.
fn hit(image: &ComparedImage, given: &ImageBox) -> bool {
    image.predicted.boxes.iter().any(|judged| {
        judged.verdict == Verdict::Hit
            && judged.shown.class == given.class
            && overlap(&judged.shown, given) >= SAME
    })
}

/// Adds a finding of another run to the same one of earlier runs.
fn add(findings: &mut Vec<Finding>, finding: Finding) {
    let alike = |one: &Option<ImageBox>, other: &Option<ImageBox>| match (one, other) {
        (Some(one), Some(other)) => one.class == other.class && overlap(one, other) >= SAME,
        (None, None) => true,
        _ => false,
    };
    let same =
        |other: &&mut Finding| alike(&other.given, &finding.given) && alike(&other.found, &finding.found);
    match findings.iter_mut().find(same) {
        Some(known) => known.confidences.extend(finding.confidences),
        None => findings.push(finding),
    }
}

fn corners(shown: ImageBox) -> [f32; 4] {
    [shown.left, shown.top, shown.right, shown.bottom]
}

fn overlap(one: &ImageBox, other: &ImageBox) -> f64 {
    intersection_over_union(corners(*one).map(f64::from), corners(*other).map(f64::from))
}

fn same_place(one: &ImageBox, other: &ImageBox) -> bool {
    corners(*one) == corners(*other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{ImageAnswer, JudgedBox};

    fn shown(class: usize, score: Option<f32>, left: f32, verdict: Verdict) -> JudgedBox {
        let shown = ImageBox { class, score, left, top: 0.0, right: left + 10.0, bottom: 10.0 };
        JudgedBox { shown, verdict }
    }

    fn found(
        truth: &[(usize, f32)],
        boxes: &[(usize, f32, f32, Verdict)],
    ) -> Vec<(Option<usize>, Option<usize>, f32)> {
        let answer = |boxes| ImageAnswer { caption: None, boxes };
        let image = ComparedImage {
            truth: answer(
                truth.iter().map(|(class, left)| shown(*class, None, *left, Verdict::Truth)).collect(),
            ),
            predicted: answer(
                boxes
                    .iter()
                    .map(|(class, score, left, verdict)| shown(*class, Some(*score), *left, *verdict))
                    .collect(),
            ),
            mistakes: 0,
        };
        let class = |shown: Option<ImageBox>| shown.map(|shown| shown.class);
        let all = disagreements(&image).into_iter();
        all.map(|finding| (class(finding.given), class(finding.found), finding.confidences.iter().sum()))
            .collect()
    }

    #[test]
    fn disagreements_are_of_class_place_annotation_or_detection() {
        use Verdict::{FalseAlarm, Hit, Missed};
        // Another class on the same place; the object counts as missed and is listed once.
        assert_eq!(
            found(&[(0, 0.0)], &[(1, 0.9, 1.0, FalseAlarm), (0, 0.0, 0.0, Missed)]),
            [(Some(0), Some(1), 0.9)]
        );
        // The same class in another place.
        assert_eq!(
            found(&[(0, 0.0)], &[(0, 0.8, 6.0, FalseAlarm), (0, 0.0, 0.0, Missed)]),
            [(Some(0), Some(0), 0.8)]
        );
        // Nobody annotated it; and nothing was found.
        assert_eq!(found(&[], &[(1, 0.7, 50.0, FalseAlarm)]), [(None, Some(1), 0.7)]);
        assert_eq!(found(&[(1, 0.0)], &[(1, 0.0, 0.0, Missed)]), [(Some(1), None, 0.0)]);
        // What is right, and a second box on it, is no disagreement.
        assert_eq!(found(&[(0, 0.0)], &[(0, 0.9, 0.0, Hit), (0, 0.5, 2.0, FalseAlarm)]), []);
    }

    #[test]
    fn runs_that_agree_are_one_finding() {
        let finding = |left, score| Finding {
            given: None,
            found: Some(shown(0, Some(score), left, Verdict::FalseAlarm).shown),
            confidences: vec![score],
        };
        let mut findings = Vec::new();
        [finding(0.0, 0.5), finding(1.0, 0.25), finding(30.0, 1.0)]
            .into_iter()
            .for_each(|each| add(&mut findings, each));
        let confidences: Vec<&[f32]> = findings.iter().map(|finding| &finding.confidences[..]).collect();
        assert_eq!(confidences, [&[0.5, 0.25][..], &[1.0]]);
    }
}
