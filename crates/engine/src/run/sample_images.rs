//! The sample images of a run's data sets: which images the report shows, and their small pictures.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::directory::{RunDirectory, SAMPLES};
use super::predict::encoded;
use crate::data::{Dataset, ImageReader, Sample, Split};
use crate::digest::Digest;
use crate::error::Result;
use crate::events::Interrupt;
use crate::plan::Plan;
use crate::report::{ClassSamples, ImageBox, SampleImage, SampleImages};
use crate::stage::Preprocess;
use crate::store::Store;

const PARTS: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

/// Writes the sample images of a run. A run with the same recipe has the same images, so an intact file stays.
///
/// # Errors
/// Interrupted, or the file cannot be written. An image that cannot be read or decoded is left out.
pub(super) fn write(
    plan: &Plan,
    directory: &RunDirectory,
    store: &Store,
    interrupt: &Interrupt,
) -> Result<()> {
    if directory.is_intact(store, SAMPLES) {
        return Ok(());
    }
    let mut all = BTreeMap::new();
    for (name, (dataset, view)) in plan.datasets() {
        let stages = plan.stages.iter().filter(|stage| stage.data == name);
        let parts: Vec<Split> = stages.flat_map(|stage| stage.work.parts()).collect();
        all.insert(name, of_dataset(dataset, view, &parts, interrupt)?);
    }
    let text = serde_json::to_string_pretty(&all).expect("pictures are plain data") + "\n";
    directory.write(SAMPLES, text.as_bytes())
}

/// The samples of the splits that stages read: only their bytes are part of a recipe.
fn of_dataset(
    dataset: &Dataset,
    view: &Preprocess,
    parts: &[Split],
    interrupt: &Interrupt,
) -> Result<SampleImages> {
    let reader = ImageReader::new(&view.0);
    let (shown, chosen) = chosen(dataset, parts);
    let pictures: Vec<Option<(usize, SampleImage)>> = chosen
        .into_par_iter()
        .map(|(class, index)| {
            interrupt.check()?;
            Ok(picture(dataset, &reader, class, index)?.map(|picture| (class, picture)))
        })
        .collect::<Result<_>>()?;
    let of_class = |name: &String| ClassSamples { name: name.clone(), images: Vec::new() };
    let mut classes: Vec<ClassSamples> = dataset.classes[..shown].iter().map(of_class).collect();
    for (class, picture) in pictures.into_iter().flatten() {
        classes[class].images.push(picture);
    }
    Ok(SampleImages { classes, more_classes: dataset.classes.len() - shown })
}

/// The number of classes that are shown, and for each of them the indices of its samples: in the order of classes, splits
/// and digests of their paths. So they are a fair choice, and another image changes it rarely.
fn chosen(dataset: &Dataset, parts: &[Split]) -> (usize, Vec<(usize, usize)>) {
    let (shown, room) = SampleImages::room(dataset.classes.len());
    let mut candidates: Vec<[Vec<(Digest, usize)>; 3]> = vec![Default::default(); shown];
    for (index, sample) in
        dataset.samples.iter().enumerate().filter(|(_, sample)| parts.contains(&sample.split))
    {
        let order = Digest::of(sample.path.as_bytes());
        for class in sample.label.classes().iter().map(|class| *class as usize).filter(|class| *class < shown)
        {
            candidates[class][sample.split as usize].push((order, index));
        }
    }
    let mut chosen = Vec::new();
    for (class, mut of_class) in candidates.into_iter().enumerate() {
        for part in PARTS {
            let candidates = &mut of_class[part as usize];
            candidates.sort_unstable();
            chosen.extend(candidates.iter().take(room[part as usize]).map(|(_, index)| (class, *index)));
        }
    }
    (shown, chosen)
}

/// The picture of a sample with the boxes of a class; `None` if the file changed or cannot be decoded.
fn picture(
    dataset: &Dataset,
    reader: &ImageReader,
    class: usize,
    index: usize,
) -> Result<Option<SampleImage>> {
    let Sample { path, label, split, digest } = &dataset.samples[index];
    let Ok(bytes) = encoded(&dataset.file(index)) else { return Ok(None) };
    if digest.is_some_and(|digest| digest != Digest::of(&bytes)) {
        return Ok(None);
    }
    let Ok(image) = reader.picture(&bytes) else { return Ok(None) };
    let size = [image.width(), image.height()];
    let boxes: Vec<ImageBox> = label
        .boxes()
        .iter()
        .filter(|object| object.class as usize == class)
        .map(|object| ImageBox::of_label(object, size))
        .collect();
    SampleImage::of(path, *split, &image, &boxes).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Label;

    fn dataset(classes: usize, of_each: usize) -> Dataset {
        let sample = |number: usize| Sample {
            path: format!("{number:04}.png"),
            label: Label::Class((number % classes) as u32),
            split: PARTS[number / classes % 3],
            digest: None,
        };
        Dataset {
            classes: (0..classes).map(|class| format!("c{class}")).collect(),
            samples: (0..classes * of_each).map(sample).collect(),
            ..Dataset::default()
        }
    }

    #[test]
    fn each_class_and_split_has_its_images() {
        let data = dataset(3, 60);
        let (shown, chosen_images) = chosen(&data, &PARTS);
        assert_eq!((shown, chosen_images.len()), (3, 3 * 8));
        for (class, index) in &chosen_images {
            assert_eq!(data.samples[*index].label, Label::Class(*class as u32));
        }
        let (_, without_test) = chosen(&data, &PARTS[..2]);
        assert!(without_test.iter().all(|(_, index)| data.samples[*index].split != Split::Test));
        assert_eq!(without_test.len(), 3 * 6);
    }

    #[test]
    fn other_images_change_the_choice_little() {
        let data = dataset(2, 300);
        let mut more = data.clone();
        more.samples.push(Sample { path: "new.png".into(), ..data.samples[0].clone() });
        more.samples.reverse();
        let paths = |data: &Dataset| -> Vec<String> {
            chosen(data, &PARTS).1.iter().map(|(_, index)| data.samples[*index].path.clone()).collect()
        };
        let (before, after) = (paths(&data), paths(&more));
        let kept = before.iter().filter(|path| after.contains(path)).count();
        assert!(kept + 1 >= before.len(), "{before:?} {after:?}");
        let first: Vec<&str> = before.iter().take(4).map(String::as_str).collect();
        assert_ne!(first, ["0000.png", "0006.png", "0012.png", "0018.png"], "not the first by name");
    }

    #[test]
    fn of_many_classes_some_are_shown() {
        let (shown, images) = chosen(&dataset(100, 6), &PARTS);
        assert_eq!((shown, images.len()), (32, 96));
        assert_eq!(chosen(&Dataset::default(), &PARTS), (0, Vec::new()));
    }
}
