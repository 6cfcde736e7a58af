//! Reads images with boxes from JSON files in COCO's format.

mod json;

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use self::json::{CocoAnnotation, CocoFile, CocoId};
use super::boxed::{BoxedImages, BoxedRules, FoundBox, FoundImage, RootFolder, Units, absolute};
use super::files_of_splits::{files_of_splits, root_folder};
use super::format::DataFormat;
use super::is_image;
use super::split_place::of_splits;
use super::walk::join;
use crate::data::dataset::{Dataset, require_folder};
use crate::data::image::image_format_extensions;
use crate::data::outside::OutsideFolders;
use crate::data::{BoxArea, LabelledBox, Split};
use crate::error::InputErrors;
use crate::pipeline::Coco;
use crate::{Error, Result};

/// The relative difference below which an `area` is that of the box.
const SAME_AREA: f64 = 1e-6;

impl DataFormat for Coco {
    fn key(&self) -> &'static str {
        "file"
    }

    fn read(&self, resolve: &dyn Fn(&str) -> Result<PathBuf>) -> Result<Dataset> {
        let file = resolve(&self.file)?;
        let root = root_folder(&file, self.root.as_deref(), resolve)?;
        require_folder(&root)?;
        let files = files_of_splits((self.split.shares().usual(), file), self.split.files.as_ref(), resolve)?;
        read_files(self, &files, RootFolder::new(root))
    }
}

fn read_files(settings: &Coco, files: &[(Split, PathBuf)], root: RootFolder) -> Result<Dataset> {
    let mut found = BoxedImages {
        root: root.path.clone(),
        outside: OutsideFolders::default(),
        names: Vec::new(),
        category_ids: Vec::new(),
        images: Vec::new(),
        numbered: "annotation",
        annotation: "annotation",
        ignored: Vec::new(),
        unreadable: Vec::new(),
        warnings: Vec::new(),
        mistakes: InputErrors::default(),
    };
    let mut inside: Vec<Range<usize>> = Vec::new();
    for (place, (split, file)) in files.iter().enumerate() {
        let content = CocoFile::read(file)?;
        let categories = Categories::of(&content, file)?;
        if place == 0 {
            (found.names, found.category_ids) = (categories.names.clone(), categories.ids.clone());
        } else if categories.names != found.names {
            return Err(Error::usage(format!(
                "`{}` has other categories than `{}`",
                file.display(),
                files[0].1.display()
            ))
            .hint("all files of a data set need the same categories, with the same ids"));
        }
        let folders = settings.split.folders.as_ref();
        let folder = folders.and_then(|folders| of_splits(folders).find(|(other, _)| other == split));
        let folder = folder.map(|(_, folder)| folder);
        let from = folder.map_or_else(|| root.path.clone(), |folder| root.path.join(folder));
        let elsewhere = match folder.filter(|folder| root.below(&root.path, folder).is_none()) {
            None => None,
            Some(_) => {
                let folder = absolute(&from)?;
                let name = found.outside.name_of(&root.path, *split, folder.clone())?;
                Some((name, RootFolder::new(folder)))
            }
        };
        let elsewhere = elsewhere.as_ref().map(|(name, folder)| (name.as_str(), folder));
        let mut reader =
            CocoReader { file, root: &root, from: &from, elsewhere, split: *split, wrong_areas: 0 };
        let images = reader.images(content, &categories, &mut found.mistakes);
        if reader.elsewhere.is_none() {
            inside.push(found.images.len()..found.images.len() + images.len());
        }
        found.images.extend(images);
        if reader.wrong_areas > 0 {
            found.warnings.push(format!(
                "`{}`: the `area` of {} is not positive or larger than the box; the area of the box is used",
                file.display(),
                if reader.wrong_areas == 1 {
                    "1 annotation".to_owned()
                } else {
                    format!("{} annotations", reader.wrong_areas)
                }
            ));
        }
    }
    let inside = inside.into_iter().flat_map(|range| &found.images[range]);
    found.outside.require_unused(inside.map(|image| image.path.as_str()))?;
    found.into_dataset(&BoxedRules {
        classes: settings.classes.as_ref(),
        split: &settings.split.shares(),
        broken: settings.broken,
        exif_orientation: settings.exif_orientation,
        names_classes: true,
        selectable: true,
    })
}

/// The categories of a file in the order of their ids, which need not be contiguous: COCO's 80 run to 90.
struct Categories {
    names: Vec<String>,
    ids: Vec<i64>,
    class_of: BTreeMap<CocoId, u32>,
}

impl Categories {
    fn of(content: &CocoFile, file: &Path) -> Result<Self> {
        let wrong = |message: String| Error::usage(message).within(format!("`{}`", file.display()));
        let mut all: Vec<(&CocoId, String)> = content
            .categories
            .iter()
            .map(|category| (&category.id, category.name.trim().to_owned()))
            .collect();
        all.sort();
        if all.is_empty() {
            return Err(wrong("there are no categories".to_owned()));
        }
        if let Some(pair) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(wrong(format!("two categories have the id {}", pair[0].0)));
        }
        let mut seen: HashMap<&str, &CocoId> = HashMap::new();
        for (id, name) in &all {
            if name.is_empty() {
                return Err(wrong(format!("the category {id} has no name")));
            }
            if let Some(other) = seen.insert(name, id) {
                return Err(wrong(format!("the categories {other} and {id} are both named `{name}`"))
                    .hint("give them different names, or merge them"));
            }
        }
        // Ids that are texts get their places as numbers.
        let ids = all.iter().zip(0..).map(|((id, _), place)| id.number().unwrap_or(place)).collect();
        let class_of = all.iter().zip(0..).map(|((id, _), class)| ((*id).clone(), class)).collect();
        Ok(Self { names: all.into_iter().map(|(_, name)| name).collect(), ids, class_of })
    }
}

struct CocoReader<'a> {
    file: &'a Path,
    root: &'a RootFolder,
    /// The folder that file names start at.
    from: &'a Path,
    /// That folder if it is outside of the root, and its name.
    elsewhere: Option<(&'a str, &'a RootFolder)>,
    split: Split,
    /// The number of areas that cannot be right.
    wrong_areas: usize,
}

impl CocoReader<'_> {
    /// The images of a file with their objects.
    fn images(
        &mut self,
        content: CocoFile,
        categories: &Categories,
        mistakes: &mut InputErrors,
    ) -> Vec<FoundImage> {
        let in_file = format!("`{}`", self.file.display());
        let mut images: Vec<FoundImage> = Vec::with_capacity(content.images.len());
        // The place of each image; `None` if it has a mistake of its own.
        let mut place_of: HashMap<CocoId, Option<usize>> = HashMap::new();
        for image in content.images {
            let Entry::Vacant(entry) = place_of.entry(image.id) else {
                let error = Error::usage(format!("two images have the id of `{}`", image.file_name));
                mistakes.add("image id twice", error.within(&in_file));
                continue;
            };
            let name = &image.file_name;
            let (below, allowed) = match self.elsewhere {
                None => (self.root.below(self.from, name), &self.root.path),
                Some((prefix, folder)) => {
                    (folder.below(&folder.path, name).map(|image| join(prefix, &image)), &folder.path)
                }
            };
            let error = match &below {
                None => Some(
                    Error::usage(format!("`{name}` is outside of `{}`", allowed.display()))
                        .hint("set `root` to the folder that contains all images"),
                ),
                Some(_) if !is_image(Path::new(name)) => {
                    Some(Error::usage(format!("`{name}` is not a {} file", image_format_extensions("or"))))
                }
                Some(_) => None,
            };
            if let Some(error) = error {
                mistakes.add("file name of an image", error.within(&in_file));
                entry.insert(None);
                continue;
            }
            entry.insert(Some(images.len()));
            images.push(FoundImage {
                path: below.unwrap_or_default(),
                split: self.split,
                named_in: Some(in_file.clone()),
                listed_in: in_file.clone(),
                is_labelled: false,
                objects: Vec::new(),
                units: Units::Pixels(size(image.width, image.height)),
            });
        }
        for (number, annotation) in (1..).zip(&content.annotations) {
            let number = annotation.id.as_ref().and_then(CocoId::number).unwrap_or(number);
            let object = self.object(annotation, categories);
            let image = match annotation.image_id.as_ref().map(|id| (id, place_of.get(id))) {
                Some((_, Some(place))) => Ok(*place),
                Some((id, None)) => Err(Error::usage(format!("there is no image with the id {id}"))),
                None => Err(Error::usage("there is no `image_id`")),
            };
            match (image, object) {
                (Ok(Some(place)), Ok(object)) => {
                    images[place].is_labelled = true;
                    images[place].objects.push(FoundBox { object, number });
                }
                // The image's mistake is already reported.
                (Ok(None), Ok(_)) => {}
                (Err(error), _) | (_, Err(error)) => {
                    mistakes.add("annotation", error.within(format!("{in_file}, annotation {number}")));
                }
            }
        }
        images
    }

    fn object(&mut self, annotation: &CocoAnnotation, categories: &Categories) -> Result<LabelledBox> {
        let Some(category) = &annotation.category_id else {
            return Err(Error::usage("there is no `category_id`"));
        };
        let Some(class) = categories.class_of.get(category) else {
            return Err(Error::usage(format!("there is no category with the id {category}")));
        };
        let Some(&[x, y, width, height]) = annotation.bbox.as_deref() else {
            let message = match annotation.bbox.as_deref() {
                None | Some([]) => "there is no `bbox`".to_owned(),
                Some(numbers) => format!("`bbox` has {} numbers", numbers.len()),
            };
            return Err(Error::usage(message).hint("write `bbox` as x, y, width and height in pixels"));
        };
        if ![x, y, width, height].iter().all(|number| number.is_finite()) {
            return Err(Error::usage("a number of `bbox` is not finite"));
        }
        if width < 0.0 || height < 0.0 {
            return Err(Error::usage(format!("`bbox` has width {width} and height {height}"))
                .hint("write `bbox` as x, y, width and height in pixels, not as two corners"));
        }
        let area = BoxArea { left: x, top: y, right: x + width, bottom: y + height };
        let of_box = width * height;
        let pixel_area = match annotation.area {
            Some(area) if (area - of_box).abs() <= SAME_AREA * of_box => None,
            // An object is within its box.
            Some(area) if area > 0.0 && area <= of_box * 1.01 => Some(area),
            Some(_) if of_box > 0.0 => {
                self.wrong_areas += 1;
                None
            }
            _ => None,
        };
        Ok(LabelledBox { crowd: annotation.iscrowd, pixel_area, ..LabelledBox::new(*class, area) })
    }
}

/// A size that can be one: some tools write 0 or nothing.
fn size(width: Option<f64>, height: Option<f64>) -> Option<[u32; 2]> {
    let side = |side: Option<f64>| {
        let side = side?;
        (side >= 1.0 && side <= f64::from(u32::MAX) && side.fract() == 0.0).then_some(side as u32)
    };
    Some([side(width)?, side(height)?])
}

#[cfg(test)]
mod tests;
