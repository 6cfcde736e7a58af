//! The value of each image of a split by which an evaluation divides it: a column of a table, or a part of the path. And
//! the masks that divide its objects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::dataset::Dataset;
use super::split::path_regex;
use super::{IMAGE_FORMATS, Split};
use crate::csv_cells;
use crate::error::{Error, InputErrors, Result};

/// The value of each image of a split, by its path below the data set's root.
pub type ImageValues = BTreeMap<String, String>;

/// The values in a column of a table. Rows of images outside the split are not used.
///
/// # Errors
/// A table without these columns, an image of the split without a row or without a value, or with two values.
pub fn read_image_values(
    text: &str,
    [path_column, column]: [&str; 2],
    dataset: &Dataset,
    split: Split,
) -> Result<ImageValues> {
    let images = paths(dataset, split);
    let mut table = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let unreadable = |error: csv::Error| Error::usage(format!("not a table: {error}"));
    let header = table.headers().map_err(unreadable)?.clone();
    let place = |name: &str| {
        let place = header.iter().position(|column| column.trim_start_matches('\u{feff}') == name);
        place.ok_or_else(|| {
            let columns: Vec<String> = header.iter().map(|column| format!("`{column}`")).collect();
            Error::usage(format!("the table has no column `{name}`"))
                .hint(format!("its columns are {}", columns.join(", ")))
        })
    };
    let [path_place, value_place] = [place(path_column)?, place(column)?];
    let mut found: BTreeMap<&str, (String, u64)> = BTreeMap::new();
    let mut mistakes = InputErrors::default();
    for row in table.records() {
        let row = row.map_err(unreadable)?;
        let line = row.position().map_or(0, |position| position.line());
        let cell = |place: usize| row.get(place).unwrap_or_default();
        let path = cell(path_place);
        let Some(&path) = images.get(path).or_else(|| images.get(csv_cells::name(path))) else { continue };
        let value = csv_cells::name(cell(value_place)).to_owned();
        if value.is_empty() {
            let error = Error::usage(format!("line {line}: `{path}` has no value in the column `{column}`"));
            mistakes.add("image without a value", error.hint("write a value, such as `unknown`"));
            continue;
        }
        match found.get(path) {
            Some((other, before)) if *other != value => {
                let error = Error::usage(format!(
                    "line {line}: `{path}` is `{value}`, but `{other}` in line {before}"
                ));
                mistakes.add("image with two values", error.hint("keep one of the rows"));
            }
            Some(_) => {}
            None => drop(found.insert(path, (value, line))),
        }
    }
    mistakes.into_result()?;
    let missing: Vec<&&str> = images.iter().filter(|path| !found.contains_key(**path)).collect();
    if let [first, ..] = missing[..] {
        let (missing, all, split) = (missing.len(), images.len(), split.name());
        return Err(Error::usage(format!(
            "{missing} of {all} images of the {split} split have no row, such as `{first}`"
        ))
        .hint("write a row for each, with its path below the data set's root"));
    }
    Ok(found.into_iter().map(|(path, (value, _))| (path.to_owned(), value)).collect())
}

/// What the group of a regular expression matches in the path of each image. `^` and `$` also match at each `/`.
///
/// # Errors
/// An expression that is invalid or has no group, or an image that it does not match.
pub fn values_in_paths(pattern: &str, dataset: &Dataset, split: Split) -> Result<ImageValues> {
    let regex = path_regex(pattern)
        .map_err(|error| Error::usage(format!("`pattern` is not a valid regular expression: {error}")))?;
    let images = paths(dataset, split);
    let value = |path: &str| Some(regex.captures(path)?.get(1)?.as_str().to_owned());
    let values: ImageValues =
        images.iter().filter_map(|path| Some(((*path).to_owned(), value(path)?))).collect();
    match images.iter().find(|path| !values.contains_key(**path)) {
        None => Ok(values),
        Some(first) => {
            let (missing, all) = (images.len() - values.len(), images.len());
            Err(Error::usage(format!("`pattern` does not match {missing} of {all} paths, such as `{first}`"))
                .hint("make the expression match the path of every image of the split"))
        }
    }
}

/// The mask of each image of a split, by the image's path: the file at the same path below `folder`, with any extension of
/// an image. If there is none, the last folder `images` of the path is left out, as in the layout of YOLO:
/// `images/val/1.jpg` has the mask `val/1.png`.
///
/// # Errors
/// An image without a mask, or with several.
pub fn mask_files(folder: &Path, dataset: &Dataset, split: Split) -> Result<BTreeMap<String, PathBuf>> {
    let images = paths(dataset, split);
    let (mut masks, mut missing) = (BTreeMap::new(), Vec::new());
    for path in images.iter() {
        let mut files = masks_of(folder, path);
        if let (true, Some(shorter)) = (files.is_empty(), without_images(path)) {
            files = masks_of(folder, &shorter);
        }
        match files.len() {
            0 => missing.push(*path),
            1 => drop(masks.insert((*path).to_owned(), files.remove(0))),
            _ => {
                let names: Vec<String> = files.iter().map(|file| format!("`{}`", file.display())).collect();
                return Err(Error::usage(format!("`{path}` has several masks: {}", names.join(", ")))
                    .hint("keep one of them"));
            }
        }
    }
    match missing[..] {
        [] => Ok(masks),
        [first, ..] => {
            let (missing, all, split) = (missing.len(), images.len(), split.name());
            Err(Error::usage(format!(
                "{missing} of {all} images of the {split} split have no mask, such as `{first}`"
            ))
            .hint(format!("its mask would be `{}`", folder.join(first).with_extension("png").display())))
        }
    }
}

/// The path without its last folder `images`.
fn without_images(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let (_, folders) = parts.split_last()?;
    let at = folders.iter().rposition(|folder| *folder == "images")?;
    Some([&parts[..at], &parts[at + 1..]].concat().join("/"))
}

fn masks_of(folder: &Path, path: &str) -> Vec<PathBuf> {
    let own = folder.join(path);
    if own.is_file() {
        return vec![own];
    }
    let extensions = IMAGE_FORMATS.iter().flat_map(|format| format.extensions);
    let named = |extension: String| Some(own.with_extension(extension)).filter(|file| file.is_file());
    let lower = extensions.clone().filter_map(|extension| named((*extension).to_owned()));
    let found: Vec<PathBuf> = lower.collect();
    match found.is_empty() {
        true => extensions.filter_map(|extension| named(extension.to_uppercase())).collect(),
        false => found,
    }
}

/// The paths of a split's images.
fn paths(dataset: &Dataset, split: Split) -> BTreeSet<&str> {
    let path = |sample: usize| dataset.samples[sample].path.as_str();
    dataset.split(split).into_iter().map(path).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::{Label, Sample};

    fn dataset() -> Dataset {
        let sample = |path: &str, split| Sample {
            path: path.to_owned(),
            label: Label::Boxes(Vec::new()),
            split,
            digest: None,
        };
        let samples = vec![
            sample("day/a.jpg", Split::Test),
            sample("night/b.jpg", Split::Test),
            sample("night/=c.jpg", Split::Train),
        ];
        Dataset { samples, ..Dataset::default() }
    }

    #[test]
    fn every_image_of_the_split_has_a_value_and_every_mistake_is_at_its_line() {
        let read = |text: &str| read_image_values(text, ["file", "light"], &dataset(), Split::Test);
        let values =
            read("\u{feff}file,light\nnight/b.jpg, dark \nday/a.jpg,'=x\nother.jpg,\nday/a.jpg,'=x\n");
        let values: Vec<_> = values.unwrap().into_iter().collect();
        let pair = |path: &str, value: &str| (path.to_owned(), value.to_owned());
        assert_eq!(values, [pair("day/a.jpg", "=x"), pair("night/b.jpg", "dark")]);
        for (text, expected) in [
            (
                "file,light\nday/a.jpg,1\n",
                "1 of 2 images of the test split have no row, such as `night/b.jpg`",
            ),
            (
                "file,light\nday/a.jpg,\nnight/b.jpg,1\n",
                "line 2: `day/a.jpg` has no value in the column `light`",
            ),
            ("file,light\nday/a.jpg,1\nday/a.jpg,2\n", "line 3: `day/a.jpg` is `2`, but `1` in line 2"),
            ("path,light\n", "the table has no column `file`"),
            ("file,light\nday/a.jpg\n", "not a table"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message.contains(expected), "{}", error.message);
        }
    }

    #[test]
    fn the_group_is_the_value() {
        let of = |pattern: &str| values_in_paths(pattern, &dataset(), Split::Test);
        let values: Vec<String> = of(r"^(\w+)/").unwrap().into_values().collect();
        assert_eq!(values, ["day", "night"]);
        let unmatched = of("^(day)/").unwrap_err().message;
        assert_eq!(unmatched, "`pattern` does not match 1 of 2 paths, such as `night/b.jpg`");
        assert!(of("(").is_err());
    }

    #[test]
    fn every_image_has_one_mask() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let find = || mask_files(root, &dataset(), Split::Test);
        for part in ["day", "night"] {
            fs::create_dir(root.join(part)).unwrap();
        }
        fs::write(root.join("day/a.PNG"), "").unwrap();
        let missing = find().unwrap_err();
        let expected = "1 of 2 images of the test split have no mask, such as `night/b.jpg`";
        assert_eq!(missing.message, expected);
        assert!(missing.hint.unwrap().ends_with("night/b.png`"));
        fs::write(root.join("night/b.png"), "").unwrap();
        let files: Vec<PathBuf> = find().unwrap().into_values().collect();
        assert_eq!(files, [root.join("day/a.PNG"), root.join("night/b.png")]);
        fs::write(root.join("night/b.tif"), "").unwrap();
        assert!(find().unwrap_err().message.starts_with("`night/b.jpg` has several masks"));
        let yolo = |path: &str| without_images(path);
        assert_eq!(yolo("images/val/1.jpg").as_deref(), Some("val/1.jpg"));
        assert_eq!(yolo("images/a/images/1.jpg").as_deref(), Some("images/a/1.jpg"));
        assert_eq!((yolo("val/1.jpg"), yolo("images")), (None, None));
    }
}
