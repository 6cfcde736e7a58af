//! Reads images with boxes from YOLO's text files: `images/a.jpg` has its boxes in `labels/a.txt`.
//!
//! A `data.yaml` names the classes and, for each split, folders or lists of images. Caches and arrays of other programs
//! in the folders of the images are never read.

mod data_yaml;
mod label_file;
mod lists;
mod yaml;

use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use self::data_yaml::{DataYaml, ImagePlace};
use self::label_file::{LabelRules, LabelText};
use super::boxed::{
    BoxedImages, BoxedRules, FoundImage, LabelFiles, RootFolder, Units, absolute, require_one_origin,
    unreadable_pictures,
};
use super::format::DataFormat;
use super::split_place::{named_images, of_splits};
use super::walk::{WalkFindings, images, listing};
use super::{part_named, written_folders};
use crate::data::Split;
use crate::data::dataset::{Dataset, require_folder};
use crate::data::outside::OutsideFolders;
use crate::error::InputErrors;
use crate::pipeline::{SplitFolders, Yolo};
use crate::{Error, Result};

impl DataFormat for Yolo {
    fn key(&self) -> &'static str {
        if self.file.is_some() { "file" } else { "root" }
    }

    fn read(&self, resolve: &dyn Fn(&str) -> Result<PathBuf>) -> Result<Dataset> {
        let root = self.root.as_deref().map(resolve).transpose()?;
        match &self.file {
            Some(file) => read_listed(self, &DataYaml::read(&resolve(file)?)?, root),
            None => read_folder(self, root.unwrap_or_default()),
        }
    }
}

/// Reads what a `data.yaml` names.
fn read_listed(settings: &Yolo, yaml: &DataYaml, root: Option<PathBuf>) -> Result<Dataset> {
    let root = match root {
        Some(root) => root,
        None => yaml.root()?,
    };
    require_folder(&root)?;
    let places = match &settings.split.folders {
        Some(folders) => named_places(folders),
        None => yaml.places(settings.split.all)?,
    };
    if settings.split.folders.is_none() {
        let cure = "leave the images to the training split in `split.folders`";
        for place in &places {
            require_one_origin(&settings.split, place.split, &place.key(), cure)?;
        }
    }
    read_places(settings, &RootFolder::new(root), places, yaml.names.clone(), settings.classes.as_ref())
}

/// Reads a folder with `images` and `labels`.
fn read_folder(settings: &Yolo, root: PathBuf) -> Result<Dataset> {
    require_folder(&root)?;
    let places = match &settings.split.folders {
        Some(folders) => named_places(folders),
        None => {
            require_unsplit(&root)?;
            vec![ImagePlace { split: settings.split.usual(), path: "images".to_owned(), line: None }]
        }
    };
    read_places(settings, &RootFolder::new(root), places, settings.classes.clone().unwrap_or_default(), None)
}

fn read_places(
    settings: &Yolo,
    root: &RootFolder,
    places: Vec<ImagePlace>,
    names: Vec<String>,
    classes: Option<&Vec<String>>,
) -> Result<Dataset> {
    let mut mistakes = InputErrors::default();
    let mut finds = WalkFindings::default();
    let mut warnings = Vec::new();
    let mut outside = OutsideFolders::default();
    let mut found: Vec<((String, Option<String>), Split)> = Vec::new();
    let mut inside: Vec<Range<usize>> = Vec::new();
    for place in &places {
        let (folders, before) = (outside.folders().len(), found.len());
        match images_of(root, place, &mut outside, &mut finds, &mut mistakes, &mut warnings) {
            Ok(images) => found.extend(images.into_iter().map(|image| (image, place.split))),
            Err(error) => mistakes.add("missing folder or list", error),
        }
        if outside.folders().len() == folders {
            inside.push(before..found.len());
        }
    }
    std::mem::take(&mut finds.mistakes).into_result()?;
    let inside = inside.into_iter().flat_map(|range| &found[range]);
    outside.require_unused(inside.map(|((path, _), _)| path.as_str()))?;
    let labels = |image: &str| label_path(&outside.file(root.absolute(), image));
    let pairs: Vec<(String, PathBuf)> =
        found.iter().map(|((image, _), _)| (image.clone(), labels(image))).collect();
    let files = LabelFiles { pairs: &pairs, extension: "txt", others: &["classes.txt"] };
    files.require_own(&mut mistakes);
    warnings.extend(files.orphans());
    let rules = LabelRules { classes: names.len(), clip: settings.clip };
    let read: Vec<LabelText> = pairs.par_iter().map(|(_, labels)| LabelText::read(labels, &rules)).collect();
    let mut all = Vec::with_capacity(found.len());
    for ((((path, named_in), split), (_, labels)), text) in found.into_iter().zip(&pairs).zip(read) {
        text.mistakes.into_iter().for_each(|(kind, error)| mistakes.add(kind, error));
        all.push(FoundImage {
            path,
            split,
            named_in,
            listed_in: format!("`{}`", labels.display()),
            is_labelled: text.exists,
            objects: text.objects,
            units: Units::Fractions,
        });
    }
    let found = BoxedImages {
        root: root.path.clone(),
        outside,
        names,
        category_ids: Vec::new(),
        images: all,
        numbered: "line",
        annotation: "label file",
        ignored: unreadable_pictures(finds.others),
        unreadable: finds.unreadable,
        warnings,
        mistakes,
    };
    found.into_dataset(&BoxedRules {
        classes,
        split: &settings.split,
        broken: settings.broken,
        exif_orientation: settings.exif_orientation,
        names_classes: true,
        selectable: settings.file.is_some(),
    })
}

/// The images of a folder, or of a list, as paths below the root, each with its place in a list.
fn images_of(
    root: &RootFolder,
    place: &ImagePlace,
    outside: &mut OutsideFolders,
    finds: &mut WalkFindings,
    mistakes: &mut InputErrors,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, Option<String>)>> {
    let mut written = place.path.as_str();
    // Exports of a labelling service have `../train/images` in a file that is itself above `train`.
    if let Some(inner) = written.strip_prefix("../")
        && !root.path.join(written).exists()
        && root.path.join(inner).exists()
    {
        warnings.push(format!("{} says `{written}`; `{inner}` is used, which exists", place.key()));
        written = inner;
    }
    let whole = root.path.join(written);
    if whole.is_dir() {
        let (before, unread) = (mistakes.count(), finds.unreadable.len());
        let found = match root.below(&root.path, written) {
            Some(below) => images(&root.path, &below, finds),
            None => {
                let folder = absolute(&whole)?;
                let name = outside.add(&root.path, place.split, folder.clone());
                let name = name.map_err(|error| error.within(place.key()))?;
                named_images(&folder, "", &name, finds)
            }
        };
        if found.is_empty() && mistakes.count() == before && finds.unreadable.len() == unread {
            return Err(place.error(format!("`{}` has no images", whole.display())));
        }
        return Ok(found.into_iter().map(|image| (image, None)).collect());
    }
    match whole.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt")) {
        true => lists::read(&whole, root, mistakes),
        false => {
            let what =
                if whole.exists() { "is neither a folder nor a list (`.txt`)" } else { "does not exist" };
            Err(place.error(format!("`{}` {what}", whole.display())).hint(
                "paths are relative to the data set's folder: correct `path` in the YAML file, or set `root`",
            ))
        }
    }
}

/// The label file of an image: the last folder `images` of its path is `labels` instead, if there is one.
fn label_path(image: &Path) -> PathBuf {
    let whole = image.with_extension("txt");
    let parts: Vec<_> = whole.iter().collect();
    let folders = parts.len().saturating_sub(1);
    match parts[..folders].iter().rposition(|part| *part == "images") {
        Some(place) => parts
            .iter()
            .enumerate()
            .map(|(at, part)| if at == place { "labels".as_ref() } else { *part })
            .collect(),
        None => whole,
    }
}

fn named_places(folders: &SplitFolders) -> Vec<ImagePlace> {
    let place = |(split, path): (Split, &String)| ImagePlace { split, path: path.clone(), line: None };
    of_splits(folders).map(place).collect()
}

/// Without `split.folders`, all images below `images` are training images. Folders with the names of splits are
/// probably meant to be splits.
fn require_unsplit(root: &Path) -> Result<()> {
    let mut finds = WalkFindings::default();
    let below = listing(root, "images", &mut finds).ok();
    // Either `images/train`, or `train/images`.
    let (folders, form): (Vec<String>, fn(&str) -> String) = match &below {
        Some(inner) => (inner.folders.clone(), |name| format!("images/{name}")),
        None => {
            let outer = listing(root, "", &mut finds)?.folders;
            (outer.into_iter().filter(|name| root.join(name).join("images").is_dir()).collect(), |name| {
                format!("{name}/images")
            })
        }
    };
    let of =
        |split: Split| folders.iter().find(|name| part_named(name) == Some(split)).map(|name| form(name));
    let meant = of(Split::Train).map(|train| SplitFolders {
        train,
        validation: of(Split::Validation),
        test: of(Split::Test),
    });
    match (below.is_some(), meant) {
        (_, Some(meant)) => {
            Err(Error::usage(format!("the images in `{}` are in folders of splits", root.display()))
                .hint(format!("write `split = {{ {} }}`", written_folders(&meant))))
        }
        (false, None) => Err(Error::usage(format!("`{}` has no folder `images`", root.display()))
            .hint("set `root` to the folder that contains `images` and `labels`, or name folders in `split.folders`")),
        (true, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
