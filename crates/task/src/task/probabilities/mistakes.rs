//! The images to look at: the surest mistakes, and the right predictions that were the least sure.

use crate::data::Sample;
use crate::error::{Error, Result};
use crate::metrics::most_likely;
use crate::report::{Photo, ReportPart, StageFiles, count, percent};
use crate::task::{Decisions, EvaluatedPredictions, ImageSheet, OutputForm, ShownImage, Task};

/// The files in the order of a report's links.
pub const FILES: &[&str] = &["surest_mistakes.jpg", "least_sure_hits.jpg"];

/// What the files show, in words.
const SHOWN: [&str; 2] = [
    "images that the model got wrong, the surest first, with the places that speak for the class",
    "images that the model got right, the least sure first, with the places that speak for the class",
];

/// The most images of a sheet.
const IMAGES: usize = 12;

/// A prediction and its truth.
struct Judged {
    /// The position of the prediction.
    place: usize,
    right: bool,
    /// The predicted class, or the label that is decided with the least reason.
    class: usize,
    /// Images with higher values come first.
    rank: f32,
}

/// The sheets that have an image.
///
/// # Errors
/// A bug: an image without the annotations of the task.
pub fn sheets<T: Task<Prediction = Vec<f32>>>(
    classes: &[String],
    evaluated: &EvaluatedPredictions<T>,
) -> Result<Vec<ImageSheet>> {
    let judge = match T::OUTPUT_FORM {
        OutputForm::Independent => judged_labels,
        OutputForm::Exclusive | OutputForm::Boxes | OutputForm::Embeddings => judged_class,
    };
    let predictions = &evaluated.predictions;
    let judged = predictions.iter().enumerate().map(|(place, (sample, row))| judge(place, sample, row));
    let (right, wrong): (Vec<Judged>, Vec<Judged>) =
        judged.collect::<Result<Vec<_>>>()?.into_iter().partition(|judged| judged.right);
    let mut sheets = Vec::new();
    for (file, mut all, [few, of_many, what]) in [
        (FILES[0], wrong, ["mistakes, the surest first", "surest", "mistakes"]),
        (FILES[1], right, ["right predictions, the least sure first", "least sure", "right predictions"]),
    ] {
        let path = |judged: &Judged| predictions[judged.place].0.path.as_str();
        all.sort_by(|a, b| b.rank.total_cmp(&a.rank).then_with(|| path(a).cmp(path(b))));
        let title = match all.len() {
            0 => continue,
            1..=IMAGES => few.to_owned(),
            more => format!("the {IMAGES} {of_many} of {} {what}", count(more as u64)),
        };
        let shown = |judged: &Judged| {
            let (sample, row) = &predictions[judged.place];
            ShownImage {
                sample: evaluated.positions[judged.place],
                caption: caption(classes, T::OUTPUT_FORM, sample, row, judged),
                class: judged.class,
            }
        };
        let images = all.iter().take(IMAGES).map(shown).collect();
        sheets.push(ImageSheet { file, title: format!("{}: {title}", evaluated.stage), images });
    }
    Ok(sheets)
}

/// A class is right if it is the most likely one.
fn judged_class(place: usize, sample: &Sample, probabilities: &[f32]) -> Result<Judged> {
    let truth = sample.label.class().ok_or_else(|| Error::bug(format!("`{}` has no class", sample.path)))?;
    let class = most_likely(probabilities);
    let right = class == truth as usize;
    let sure = probabilities[class];
    Ok(Judged { place, right, class, rank: if right { -sure } else { sure } })
}

/// Labels are right if all are: those of the image have a probability of at least one half, and no others. The class is
/// the one whose probability is the furthest from the truth.
fn judged_labels(place: usize, sample: &Sample, probabilities: &[f32]) -> Result<Judged> {
    let shown = sample.label.classes();
    let decisions = Decisions::default();
    let mut judged = Judged { place, right: true, class: 0, rank: f32::NEG_INFINITY };
    for (label, probability) in probabilities.iter().enumerate() {
        let is_shown = shown.contains(&(label as u32));
        judged.right &= decisions.has_label(label, *probability) == is_shown;
        let error = if is_shown { 1.0 - probability } else { *probability };
        if error > judged.rank {
            (judged.class, judged.rank) = (label, error);
        }
    }
    Ok(judged)
}

/// Such as `green → loggerhead 97.0 %`, or `cat → cat, dog: dog 97.0 %`. A right prediction has its name once.
fn caption(
    classes: &[String],
    form: OutputForm,
    sample: &Sample,
    probabilities: &[f32],
    judged: &Judged,
) -> String {
    let named = |all: Vec<usize>| match all.is_empty() {
        true => "no label".to_owned(),
        false => all.iter().map(|class| classes[*class].as_str()).collect::<Vec<_>>().join(", "),
    };
    let (class, sure) = (&classes[judged.class], percent(f64::from(probabilities[judged.class])));
    let truth = named(match form {
        OutputForm::Independent => sample.label.classes().iter().map(|class| *class as usize).collect(),
        OutputForm::Exclusive | OutputForm::Boxes | OutputForm::Embeddings => {
            sample.label.class().map(|class| class as usize).into_iter().collect()
        }
    });
    match (form, judged.right) {
        (OutputForm::Independent, true) => format!("{truth}: {class} {sure}"),
        (OutputForm::Independent, false) => {
            let decisions = Decisions::default();
            let has = |label: &usize| decisions.has_label(*label, probabilities[*label]);
            let predicted = named((0..probabilities.len()).filter(has).collect());
            format!("{truth} → {predicted}: {class} {sure}")
        }
        (_, true) => format!("{class} {sure}"),
        (_, false) => format!("{truth} → {class} {sure}"),
    }
}

/// The sheets of a run; none of a run that is older than they are.
///
/// # Errors
/// A file cannot be read.
pub fn report_parts(files: &StageFiles) -> Result<Vec<ReportPart>> {
    let mut parts = Vec::new();
    for (file, alt) in FILES.iter().zip(SHOWN) {
        parts.extend(files.bytes(file)?.map(|jpeg| ReportPart::Photo(Photo { jpeg, alt })));
    }
    Ok(parts)
}
