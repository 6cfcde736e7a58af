//! The file that describes a YOLO data set (`data.yaml`): its folder, the images of each split, and the classes.

use std::path::{Path, PathBuf};

use super::yaml::{Yaml, YamlValue};
use crate::data::Split;
use crate::{Error, Result, regular_file};

/// The maximum size of the file in bytes. A list of 10,000 classes takes less than 1 MiB.
const LARGEST_YAML: u64 = 4 << 20;

/// A folder or list of images.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePlace {
    pub split: Split,
    /// Relative to the root.
    pub path: String,
    /// The YAML file and the line that name it; `None` for a pipeline file.
    pub line: Option<(PathBuf, usize)>,
}

impl ImagePlace {
    /// What names the place, for messages.
    pub fn key(&self) -> String {
        match &self.line {
            Some((file, line)) => format!("`{}`, line {line}", file.display()),
            None => format!("the {} split", self.split.in_words()),
        }
    }

    pub fn error(&self, message: String) -> Error {
        Error::usage(message).within(self.key())
    }
}

/// The content of the file.
pub struct DataYaml {
    file: PathBuf,
    tree: Yaml,
    /// The names of the classes, by number.
    pub names: Vec<String>,
}

impl DataYaml {
    /// # Errors
    /// A usage error with file and line.
    pub fn read(file: &Path) -> Result<Self> {
        let bytes = regular_file::read(file, LARGEST_YAML)
            .map_err(|refused| Error::io("read", file, refused.into()).as_usage())?;
        let text = String::from_utf8(bytes).map_err(|_| {
            Error::usage(format!("`{}` is not UTF-8 text", file.display())).hint("save it as UTF-8")
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let tree = Yaml::parse(text).map_err(|(line, cause)| {
            Error::usage(format!("`{}`, line {line}: this is not YAML: {cause}", file.display()))
        })?;
        let mut read = Self { file: file.to_owned(), tree, names: Vec::new() };
        if !matches!(read.tree.value, YamlValue::Map(_)) {
            return Err(Error::usage(format!(
                "`{}` has no keys such as `train` and `names`",
                file.display()
            ))
            .hint("name the data set's YAML file in `file`"));
        }
        read.names = read.read_names()?;
        read.require_boxes()?;
        Ok(read)
    }

    fn error(&self, line: usize, message: impl Into<String>) -> Error {
        Error::usage(message).within(format!("`{}`, line {line}", self.file.display()))
    }

    fn read_names(&self) -> Result<Vec<String>> {
        let Some(names) = self.tree.get("names") else {
            return Err(Error::usage(format!("`{}` has no `names`", self.file.display()))
                .hint("list the names of the classes by number: `names: [car, tram]`"));
        };
        let name = |node: &Yaml| {
            let text = node.text().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
            text.ok_or_else(|| self.error(node.line, "a class has no name"))
        };
        let list: Vec<String> = match &names.value {
            YamlValue::List(items) => items.iter().map(name).collect::<Result<_>>()?,
            YamlValue::Map(entries) => {
                let number = |key: &Yaml| key.text().and_then(|text| text.trim().parse::<usize>().ok());
                let mut all: Vec<(usize, String)> = Vec::new();
                for (key, value) in entries {
                    let Some(number) = number(key) else {
                        return Err(self
                            .error(key.line, "the key of a class is not its number")
                            .hint("write `0: car`, or a list of names"));
                    };
                    all.push((number, name(value)?));
                }
                all.sort();
                if let Some((place, (number, _))) =
                    all.iter().enumerate().find(|(place, (number, _))| place != number)
                {
                    let message = match place.checked_sub(1).is_some_and(|before| all[before].0 == *number) {
                        true => format!("the class {number} is named twice"),
                        false => format!("the class {place} has no name, but there is a class {number}"),
                    };
                    return Err(self
                        .error(names.line, message)
                        .hint("number the classes from 0, without gaps"));
                }
                all.into_iter().map(|(_, name)| name).collect()
            }
            YamlValue::Null | YamlValue::Text(_) => {
                return Err(self.error(names.line, "`names` is neither a list nor a table of names"));
            }
        };
        if list.is_empty() {
            return Err(self.error(names.line, "`names` is empty"));
        }
        if let Some((_, twice)) = list.iter().enumerate().find(|(place, name)| list[..*place].contains(name))
        {
            return Err(self.error(names.line, format!("the class `{twice}` is listed twice")));
        }
        if let Some(count) = self.tree.get("nc")
            && count.text().and_then(|text| text.parse().ok()) != Some(list.len())
        {
            let (is, named) = (count.text().unwrap_or("no number"), list.len());
            let message = format!("`nc` is {is}, but `names` has {named} classes");
            return Err(self.error(count.line, message).hint("correct `nc`, or remove it"));
        }
        Ok(list)
    }

    /// Refuses data sets whose labels look like boxes or polygons, but are not.
    fn require_boxes(&self) -> Result<()> {
        if let Some(points) = self.tree.get("kpt_shape") {
            return Err(self
                .error(points.line, "`kpt_shape`: the labels have key points, which are not read")
                .hint("convert the labels to boxes: class, centre, width and height"));
        }
        match self.tree.get("channels") {
            Some(channels) if channels.text() != Some("3") => {
                let is = channels.text().unwrap_or("no number");
                Err(self.error(channels.line, format!("`channels` is {is}, but images have 3 channels")))
            }
            _ => Ok(()),
        }
    }

    /// The folder that its paths are relative to.
    pub fn root(&self) -> Result<PathBuf> {
        let folder = match self.file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let Some(path) = self.tree.get("path") else { return Ok(folder.to_owned()) };
        let Some(text) = path.text() else { return Err(self.error(path.line, "`path` is not a path")) };
        let root = folder.join(text);
        match root.is_dir() {
            true => Ok(root),
            false => Err(self
                .error(path.line, format!("`path`: `{}` is not a folder", root.display()))
                .hint("a relative `path` starts at the folder of the YAML file: correct it, or set `root`")),
        }
    }

    /// The folders and lists of images. With `all`, all of them are in that split.
    pub fn places(&self, all: Option<Split>) -> Result<Vec<ImagePlace>> {
        let mut places = Vec::new();
        for (split, keys) in [
            (Split::Train, &["train"][..]),
            (Split::Validation, &["val", "validation"]),
            (Split::Test, &["test"]),
        ] {
            let mut given = keys.iter().filter_map(|key| self.tree.get(key));
            let Some(node) = given.next() else { continue };
            if let Some(other) = given.next() {
                return Err(self
                    .error(other.line, "`val` and `validation` are both given")
                    .hint("keep one of them"));
            }
            let nodes = match &node.value {
                YamlValue::List(items) => items.iter().collect(),
                _ => vec![node],
            };
            for node in nodes {
                let Some(path) = node.text() else {
                    return Err(self.error(node.line, format!("`{}` is not a path", keys[0])));
                };
                places.push(ImagePlace {
                    split: all.unwrap_or(split),
                    path: path.trim().to_owned(),
                    line: Some((self.file.clone(), node.line)),
                });
            }
        }
        match !places.is_empty() && (all.is_some() || places.iter().any(|place| place.split == Split::Train))
        {
            true => Ok(places),
            false => Err(Error::usage(format!("`{}` has no `train`", self.file.display()))
                .hint("name the folder or the list of the training images, or set `split.folders`")),
        }
    }
}
