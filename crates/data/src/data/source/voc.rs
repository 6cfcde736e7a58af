//! Reads images with boxes from XML files in Pascal VOC's format.
//!
//! The XML files are next to the images, or the images are in `JPEGImages` and the XML files in `Annotations`. In the latter
//! case `ImageSets/Main` may have lists of the splits.

mod image_sets;
mod xml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use self::image_sets::ImageSets;
use self::xml::VocText;
use super::boxed::{
    BoxedImages, BoxedRules, FoundBox, FoundImage, LabelFiles, Units, require_one_origin, unreadable_pictures,
};
use super::format::DataFormat;
use super::split_place::SplitPlace;
use super::walk::WalkFindings;
use crate::data::LabelledBox;
use crate::data::dataset::{Dataset, require_folder};
use crate::data::outside::OutsideFolders;
use crate::error::InputErrors;
use crate::pipeline::{Difficult, Voc};
use crate::{Error, Result};

/// The number of the first pixel in Pascal VOC's own files.
const FIRST_PIXEL: u8 = 1;

const IMAGES: &str = "JPEGImages";
const ANNOTATIONS: &str = "Annotations";

impl DataFormat for Voc {
    fn key(&self) -> &'static str {
        "root"
    }

    fn read(&self, resolve: &dyn Fn(&str) -> Result<PathBuf>) -> Result<Dataset> {
        read_folder(self, &resolve(&self.root)?)
    }
}

fn read_folder(settings: &Voc, root: &Path) -> Result<Dataset> {
    require_folder(root)?;
    let (mut mistakes, mut finds) = (InputErrors::default(), WalkFindings::default());
    let (mut warnings, mut outside) = (Vec::new(), OutsideFolders::default());
    let found = match &settings.split.folders {
        Some(folders) => {
            let mut found = Vec::new();
            for place in SplitPlace::all(folders, root, &mut outside)? {
                let inside = folder_images(&place, &mut finds);
                if inside.is_empty() && finds.mistakes.is_empty() {
                    let message = format!("`{}` has no images", place.folder().display());
                    mistakes.add("folder without images", Error::usage(message));
                }
                found.extend(inside.into_iter().map(|image| (image, place.split)));
            }
            found
        }
        None => {
            let usual = settings.split.shares().usual();
            let inside = folder_images(&SplitPlace::root(root, usual), &mut finds);
            let sets = ImageSets::read(root, settings.split.image_sets && settings.split.all.is_none())?;
            match sets {
                Some(sets) => {
                    for (split, list) in sets.lists() {
                        let origin = format!("`{}`", list.display());
                        let cure = "set `split.image_sets = false`";
                        require_one_origin(&settings.split.shares(), split, &origin, cure)?;
                    }
                    sets.assign(inside, &mut mistakes, &mut warnings)
                }
                None => inside.into_iter().map(|image| (image, usual)).collect(),
            }
        }
    };
    std::mem::take(&mut finds.mistakes).into_result()?;
    let pairs: Vec<(String, PathBuf)> =
        found.iter().map(|(image, _)| (image.clone(), label_path(root, &outside, image))).collect();
    let files = LabelFiles { pairs: &pairs, extension: "xml", others: &[] };
    files.require_own(&mut mistakes);
    // Lists may use a part of the images only.
    if settings.split.folders.is_some() || settings.split.all.is_some() || !settings.split.image_sets {
        warnings.extend(files.orphans());
    }
    let first_pixel = settings.first_pixel.unwrap_or(FIRST_PIXEL);
    let read: Vec<VocText> =
        pairs.par_iter().map(|(_, file)| VocText::read(file, f64::from(first_pixel))).collect();
    let names = read.iter().flat_map(|text| &text.objects).map(|object| object.name.as_str());
    let numbers: BTreeMap<&str, u32> = names.map(|name| (name, 0)).collect();
    let numbers: BTreeMap<&str, u32> = numbers.into_keys().zip(0..).collect();
    let mut all = Vec::with_capacity(found.len());
    for (((path, split), (_, file)), text) in found.into_iter().zip(&pairs).zip(&read) {
        let object = |object: &xml::VocObject| {
            let difficult = object.difficult && settings.difficult == Difficult::Ignore;
            let class = numbers.get(object.name.as_str()).copied().unwrap_or_default();
            let labelled = LabelledBox { difficult, ..LabelledBox::new(class, object.area) };
            FoundBox { object: labelled, number: object.line }
        };
        all.push(FoundImage {
            path,
            split,
            named_in: None,
            listed_in: format!("`{}`", file.display()),
            is_labelled: text.exists,
            objects: text.objects.iter().map(object).collect(),
            units: Units::Pixels(text.size),
        });
    }
    let names: Vec<String> = numbers.into_keys().map(str::to_owned).collect();
    if settings.first_pixel.is_none() && !names.is_empty() {
        warnings.push(
            "coordinates are taken to start at 1, as in Pascal VOC. Most other tools start at 0: set `first_pixel`"
                .to_owned(),
        );
    }
    for text in read {
        text.mistakes.into_iter().for_each(|(kind, error)| mistakes.add(kind, error));
    }
    let found = BoxedImages {
        root: root.to_owned(),
        outside,
        names,
        category_ids: Vec::new(),
        images: all,
        numbered: "line",
        annotation: "XML file",
        ignored: unreadable_pictures(finds.others),
        unreadable: finds.unreadable,
        warnings,
        mistakes,
    };
    found.into_dataset(&BoxedRules {
        classes: settings.classes.as_ref(),
        split: &settings.split.shares(),
        broken: settings.broken,
        exif_orientation: settings.exif_orientation,
        names_classes: false,
        selectable: true,
    })
}

/// The images of a folder, in `JPEGImages` if it has Pascal VOC's layout.
fn folder_images(place: &SplitPlace, finds: &mut WalkFindings) -> Vec<String> {
    let folder = place.folder();
    match folder.join(IMAGES).is_dir() && folder.join(ANNOTATIONS).is_dir() {
        true => place.images(IMAGES, finds),
        false => place.images("", finds),
    }
}

/// The XML file of an image: in `Annotations` if the image is in `JPEGImages`, else next to it.
fn label_path(root: &Path, outside: &OutsideFolders, image: &str) -> PathBuf {
    let parts: Vec<&str> = image.split('/').collect();
    let folders = parts.len().saturating_sub(1);
    let file = |parts: &[&str]| outside.file(root, &parts.join("/"));
    let next_to_it = || file(&parts).with_extension("xml");
    let Some(place) = parts[..folders].iter().rposition(|part| *part == IMAGES) else { return next_to_it() };
    let mut moved = parts.clone();
    moved[place] = ANNOTATIONS;
    match file(&moved[..=place]).is_dir() {
        true => file(&moved).with_extension("xml"),
        false => next_to_it(),
    }
}

#[cfg(test)]
mod tests;
