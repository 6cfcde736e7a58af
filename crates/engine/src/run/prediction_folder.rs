//! The folder of a prediction: tables, pictures with boxes, and label files. A folder holds one prediction, and its
//! `predictions.json` lists all files. By this list, the next prediction replaces these files and no others.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::output_names::output_names;
use crate::error::{Error, Result};
use crate::report::{ImageBoxes, yolo_text};
use crate::store;
use crate::task::TaskFile;

const DOCUMENT: &str = "predictions.json";
const LABELS: &str = "labels";
/// First folders that pictures do not have, because a prediction has other files there.
const RESERVED: [&str; 5] =
    [LABELS, DOCUMENT, "predictions.csv", "predictions_coco.json", "predictions_coco_ids.json"];

/// An output folder.
pub struct PredictionFolder {
    path: PathBuf,
    /// What the previous prediction wrote, relative to the folder.
    previous: BTreeSet<String>,
    written: BTreeSet<String>,
}

/// The files of one image, relative to the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrawnFiles {
    pub picture: String,
    /// The boxes in YOLO's format.
    pub label_file: String,
}

impl DrawnFiles {
    fn new(name: &str) -> Self {
        Self { picture: format!("{name}.jpg"), label_file: format!("{LABELS}/{name}.txt") }
    }
}

impl PredictionFolder {
    /// A folder that does not exist yet, is empty or holds a prediction. Nothing is written.
    ///
    /// # Errors
    /// It holds other files, or is no folder.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = |previous| Self { path: path.to_owned(), previous, written: BTreeSet::new() };
        let entries = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(Error::usage(format!("`{}` is not a folder", path.display()))
                    .hint("predictions are several files: name a new folder"));
            }
            Err(error) => return Err(Error::io("read", path, error)),
        };
        match (entries, previous(path)) {
            (false, _) => Ok(opened(BTreeSet::new())),
            (true, Some(previous)) => Ok(opened(previous)),
            (true, None) => Err(Error::usage(format!(
                "`{}` is not empty, and holds no previous prediction",
                path.display()
            ))
            .hint("name a new or empty folder, so that no file of yours is overwritten")),
        }
    }

    /// Whether the folder holds a prediction that [`PredictionFolder::begin`] removes.
    pub fn is_replaced(&self) -> bool {
        !self.previous.is_empty()
    }

    /// Whether the previous prediction wrote a file.
    pub fn has_written(&self, file: &Path) -> bool {
        let inside = || -> Option<String> {
            let (file, folder) = (file.canonicalize().ok()?, self.path.canonicalize().ok()?);
            let names: Vec<&str> =
                file.strip_prefix(folder).ok()?.iter().map(|name| name.to_str()).collect::<Option<_>>()?;
            Some(names.join("/"))
        };
        self.is_replaced() && inside().is_some_and(|name| self.previous.contains(&name))
    }

    /// Removes the previous prediction, and lists the files to come, so that the next prediction replaces them even if
    /// this one is interrupted. Returns a name for each image file; with `drawn`, each gets its [`DrawnFiles`].
    ///
    /// # Errors
    /// The folder has another file with one of these names, or cannot be written.
    pub fn begin(&mut self, files: &[PathBuf], drawn: bool) -> Result<Vec<String>> {
        let names = output_names(files, &RESERVED);
        let mut coming: BTreeSet<String> = RESERVED[1..].iter().map(|name| (*name).to_owned()).collect();
        if drawn {
            coming.extend(
                names
                    .iter()
                    .map(|name| DrawnFiles::new(name))
                    .flat_map(|DrawnFiles { picture, label_file }| [picture, label_file]),
            );
        }
        let exists = |name: &&String| self.path.join(name).symlink_metadata().is_ok();
        if let Some(other) = coming.difference(&self.previous).find(exists) {
            let other = self.path.join(other);
            return Err(Error::usage(format!(
                "`{}` exists, and is not of the previous prediction",
                other.display()
            ))
            .hint("name a new or empty folder, so that no file of yours is overwritten"));
        }
        coming.extend(self.previous.iter().cloned());
        self.write(DOCUMENT, format!("{:#}\n", json!({ "files": coming })).as_bytes())?;
        self.written.clear();
        for name in self.previous.iter().filter(|name| *name != DOCUMENT) {
            let file = self.path.join(name);
            match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::io("remove", &file, error));
                }
                _ => {}
            }
            // Folders that are empty now; the first other one ends it.
            let folders = Path::new(name).ancestors().skip(1).filter(|folder| *folder != Path::new(""));
            let _ =
                folders.map(|folder| fs::remove_dir(self.path.join(folder))).find(|removed| removed.is_err());
        }
        Ok(names)
    }

    /// Writes the picture of an image, as the bytes of a JPEG file, and its boxes.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_image(&mut self, name: &str, picture: &[u8], boxes: &ImageBoxes) -> Result<DrawnFiles> {
        let files = DrawnFiles::new(name);
        self.write(&files.picture, picture)?;
        self.write(&files.label_file, yolo_text(boxes).as_bytes())?;
        Ok(files)
    }

    /// Writes the tables. Returns the names of all files of the prediction, with that of the document.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write_tables(&mut self, tables: &[TaskFile]) -> Result<Vec<String>> {
        tables.iter().try_for_each(|table| self.write(table.name, &table.bytes))?;
        self.written.insert(DOCUMENT.to_owned());
        Ok(self.written.iter().cloned().collect())
    }

    /// Writes the document, which ends the prediction. Its `files` are those of [`PredictionFolder::write_tables`].
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_document(mut self, document: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(document).map_err(|error| Error::bug(error.to_string()))?;
        self.write(DOCUMENT, format!("{text}\n").as_bytes())
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        store::write_output(&self.path.join(name), bytes)?;
        self.written.insert(name.to_owned());
        Ok(())
    }
}

/// The files that the prediction in a folder wrote; `None` if there is none.
fn previous(folder: &Path) -> Option<BTreeSet<String>> {
    let document: Json = serde_json::from_slice(&fs::read(folder.join(DOCUMENT)).ok()?).ok()?;
    let names = document["files"].as_array()?.iter().map(|name| Some(name.as_str()?.to_owned()));
    let names: BTreeSet<String> = names.collect::<Option<_>>()?;
    (names.contains(DOCUMENT) && names.iter().all(|name| is_own(name))).then_some(names)
}

/// Whether a prediction could have written a file of this name. The list is a file that anybody can change.
fn is_own(name: &str) -> bool {
    let path = Path::new(name);
    let is_inside = path.components().all(|component| matches!(component, Component::Normal(_)));
    let is_labels = path.starts_with(LABELS) && path.extension().is_some_and(|end| end == "txt");
    is_inside
        && (RESERVED[1..].contains(&name) || is_labels || path.extension().is_some_and(|end| end == "jpg"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxes() -> ImageBoxes {
        ImageBoxes { file: String::new(), width: 10, height: 10, boxes: Vec::new() }
    }

    /// A finished prediction of these images.
    fn predict(folder: &Path, images: &[&str]) -> Result<Vec<String>> {
        let mut out = PredictionFolder::open(folder)?;
        let names = out.begin(&images.iter().map(PathBuf::from).collect::<Vec<_>>(), true)?;
        names.iter().try_for_each(|name| out.write_image(name, b"picture", &boxes()).map(drop))?;
        let files = out.write_tables(&[TaskFile::new("predictions.csv", "file\n")])?;
        out.write_document(&json!({ "files": files }))?;
        Ok(files)
    }

    fn files(folder: &Path) -> Vec<String> {
        let entries =
            walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.file_type().is_file());
        files.map(|file| file.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_prediction_replaces_the_previous_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new/out");
        predict(&out, &["a/1.png", "b/1.png"]).unwrap();
        let expected =
            ["a/1.jpg", "b/1.jpg", "labels/a/1.txt", "labels/b/1.txt", "predictions.csv", DOCUMENT];
        assert_eq!(files(&out), expected);
        fs::write(out.join("b/mine.txt"), "mine").unwrap();
        assert!(PredictionFolder::open(&out).unwrap().has_written(&out.join("a/../a/1.jpg")));
        assert!(!PredictionFolder::open(&out).unwrap().has_written(&out.join("b/mine.txt")));
        predict(&out, &["2.png"]).unwrap();
        assert_eq!(files(&out), ["2.jpg", "b/mine.txt", "labels/2.txt", "predictions.csv", DOCUMENT]);
        assert!(!out.join("a").exists() && !out.join("labels/a").exists());

        fs::write(out.join("3.jpg"), "mine").unwrap();
        let error = predict(&out, &["3.png"]).unwrap_err();
        assert!(error.to_string().contains("3.jpg` exists"), "{error}");
        assert_eq!(fs::read(out.join("3.jpg")).unwrap(), b"mine");
        assert!(out.join("2.jpg").exists(), "nothing is removed");
    }

    #[test]
    fn an_interrupted_prediction_is_replaced_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut out = PredictionFolder::open(folder.path()).unwrap();
        let names = out.begin(&["1.png".into(), "x/2.png".into()], true).unwrap();
        out.write_image(&names[0], b"picture", &boxes()).unwrap();
        assert_eq!(files(folder.path()), ["1.jpg", "labels/1.txt", DOCUMENT]);
        predict(folder.path(), &["3.png"]).unwrap();
        assert_eq!(files(folder.path()), ["3.jpg", "labels/3.txt", "predictions.csv", DOCUMENT]);
    }

    #[test]
    fn folders_of_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |text: &str| {
            fs::write(folder.path().join(DOCUMENT), text).unwrap();
            PredictionFolder::open(folder.path()).err().map(|error| error.to_string())
        };
        for foreign in [
            "no JSON",
            "{}",
            r#"{ "files": [] }"#,
            r#"{ "files": ["predictions.json", "../1.jpg"] }"#,
            r#"{ "files": ["predictions.json", "/1.jpg"] }"#,
            r#"{ "files": ["predictions.json", "notes.txt"] }"#,
            r#"{ "files": ["predictions.json", 3] }"#,
        ] {
            assert!(refused(foreign).is_some_and(|error| error.contains("is not empty")), "{foreign}");
        }
        assert_eq!(refused(r#"{ "files": ["predictions.json", "1.jpg", "labels/1.txt"] }"#), None);
        let file = folder.path().join(DOCUMENT);
        let error = PredictionFolder::open(&file).err().unwrap().to_string();
        assert!(error.contains("is not a folder"), "{error}");
    }
}
