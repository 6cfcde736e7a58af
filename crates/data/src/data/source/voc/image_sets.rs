//! The lists of splits in `ImageSets/Main`: a name without extension in each line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::data::Split;
use crate::error::InputErrors;
use crate::{Error, Result, regular_file};

/// The maximum size of a list in bytes.
const LARGEST_LIST: u64 = 1 << 28;

/// The lists that a data set has.
pub struct ImageSets(Vec<(Split, PathBuf, String)>);

impl ImageSets {
    /// Reads `train.txt`, or else `trainval.txt`, and `val.txt` and `test.txt`. `None` without lists of training images,
    /// or if they are not `wanted`.
    ///
    /// # Errors
    /// A list cannot be read, or is not text.
    pub fn read(root: &Path, wanted: bool) -> Result<Option<Self>> {
        let list = |name: &str| Some(root.join("ImageSets/Main").join(name)).filter(|list| list.is_file());
        let training = list("train.txt").map(|train| (train, list("val.txt")));
        let Some((train, validation)) = training.or_else(|| Some((list("trainval.txt")?, None))) else {
            return Ok(None);
        };
        if !wanted {
            return Ok(None);
        }
        let mut all = Vec::new();
        for (split, file) in
            [(Split::Train, Some(train)), (Split::Validation, validation), (Split::Test, list("test.txt"))]
        {
            let Some(file) = file else { continue };
            let bytes = regular_file::read(&file, LARGEST_LIST)
                .map_err(|refused| Error::io("read", &file, refused.into()).as_usage())?;
            let text = String::from_utf8(bytes).map_err(|_| {
                Error::usage(format!("`{}` is not UTF-8 text", file.display())).hint("save it as UTF-8")
            })?;
            all.push((split, file, text));
        }
        Ok(Some(Self(all)))
    }

    /// The splits with a list, and the list.
    pub fn lists(&self) -> impl Iterator<Item = (Split, &Path)> {
        self.0.iter().map(|(split, file, _)| (*split, file.as_path()))
    }

    /// The listed images. Those that no list names are left out, with a warning.
    pub fn assign(
        &self,
        images: Vec<String>,
        mistakes: &mut InputErrors,
        warnings: &mut Vec<String>,
    ) -> Vec<(String, Split)> {
        let stem = |image: &str| {
            let below = image.split_once("JPEGImages/").map_or(image, |(_, below)| below).to_owned();
            below.rsplit_once('.').map_or(below.clone(), |(stem, _)| stem.to_owned())
        };
        // Several images of one stem are an error of their labels.
        let mut by_stem: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        for image in &images {
            by_stem.entry(stem(image)).or_default().push(image);
        }
        let mut found = Vec::new();
        let mut used = std::collections::BTreeSet::new();
        for (split, file, text) in &self.0 {
            for (number, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
                // Lists of one class have a second column, which says whether an image shows it.
                let Some(name) = line.split_whitespace().next() else { continue };
                match by_stem.get(name).or_else(|| by_stem.get(name.rsplit_once('.')?.0)) {
                    Some(images) => {
                        found.extend(images.iter().map(|image| ((*image).clone(), *split)));
                        used.extend(images.iter().copied());
                    }
                    None => {
                        let error = Error::usage(format!("there is no image `{name}`"));
                        let place = format!("`{}`, line {}", file.display(), number + 1);
                        mistakes.add(
                            "image of a list",
                            error.within(place).hint("restore the image, or set `split.image_sets = false`"),
                        );
                    }
                }
            }
        }
        let left = images.len() - used.len();
        if let Some(first) = images.iter().find(|image| !used.contains(image)) {
            let are = if left == 1 { "image is" } else { "images are" };
            warnings
                .push(format!("{left} {are} in no list of `ImageSets/Main` and left out, such as `{first}`"));
        }
        found
    }
}
