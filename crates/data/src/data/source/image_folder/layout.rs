//! Recognises split folders by their names: `train` and `val` above the class folders, instead of classes.

use std::path::Path;

use crate::data::Split;
use crate::data::source::walk::{FolderListing, WalkFindings, join, listing};
use crate::pipeline::SplitFolders;
use crate::{Error, Result};

/// The meaning of a root's folders.
pub enum FolderLayout {
    /// Probably classes.
    Classes,
    /// Classes with the names of splits, such as `train` and `test`.
    Doubtful(Vec<String>),
    /// Splits, each with a folder for each class.
    Parts(SplitFolders),
    /// Splits without one for training.
    WithoutTraining(Vec<String>),
}

/// The split that a folder of this name usually holds.
pub fn part_named(name: &str) -> Option<Split> {
    match name.to_lowercase().as_str() {
        "train" | "training" => Some(Split::Train),
        "val" | "valid" | "validation" | "eval" => Some(Split::Validation),
        "test" | "testing" => Some(Split::Test),
        _ => None,
    }
}

/// The split folders in a folder, in the form of `split.folders`. `None` if its folders are classes, or splits
/// without one for training.
pub fn part_folders(root: &Path) -> Option<SplitFolders> {
    let names = listing(root, "", &mut WalkFindings::default()).ok()?.folders;
    match FolderLayout::of(root, "", &names) {
        FolderLayout::Parts(folders) => Some(folders),
        _ => None,
    }
}

impl FolderLayout {
    /// Determines the layout of `names`, the folders of `root/below`.
    pub fn of(root: &Path, below: &str, names: &[String]) -> Self {
        let look = |name: &String| {
            let part = part_named(name)?;
            let inside = listing(root, &join(below, name), &mut WalkFindings::default()).unwrap_or_default();
            Some((name.clone(), part, inside))
        };
        let parts: Vec<(String, Split, FolderListing)> = names.iter().filter_map(look).collect();
        let training =
            parts.iter().find(|(_, part, inside)| *part == Split::Train && !inside.folders.is_empty());
        let alone = names.len() == 1;
        match training {
            Some((train, _, inside)) if parts.len() > 1 || alone => {
                let alike = |other: Split| {
                    let same = |(name, part, there): &&(String, Split, FolderListing)| {
                        *part == other && name != train && are_alike(&inside.folders, &there.folders)
                    };
                    parts.iter().find(same).map(|(name, ..)| name.clone())
                };
                let (validation, test) = (alike(Split::Validation), alike(Split::Test));
                // Classes that have the name of a split by chance have images directly in their folders.
                let holds_classes = inside.folders.len() > 1 && inside.images.is_empty();
                if validation.is_some() || test.is_some() || holds_classes {
                    return Self::Parts(SplitFolders { train: train.clone(), validation, test });
                }
            }
            _ => {}
        }
        let names: Vec<String> = parts.iter().map(|(name, ..)| name.clone()).collect();
        let pairs = parts.iter().enumerate().flat_map(|(i, a)| parts[..i].iter().map(move |b| (a, b)));
        match pairs.into_iter().any(|(a, b)| are_alike(&a.2.folders, &b.2.folders)) {
            true => Self::WithoutTraining(names),
            false if names.len() > 1 => Self::Doubtful(names),
            false => Self::Classes,
        }
    }

    /// Fails if `names`, the folders of the root, are splits that would become classes. Returns a warning if they may
    /// be splits.
    ///
    /// # Errors
    /// A usage error with the setting to write.
    pub fn require_classes(root: &Path, names: &[String]) -> Result<Option<String>> {
        let named = |names: &[String]| quoted(names, " and ");
        let message = |names: &[String]| {
            format!(
                "the folders {} of `{}` are named like splits, but would become classes",
                named(names),
                root.display()
            )
        };
        let classes =
            |names: &[String]| format!("if they are classes, list them: `classes = [{}]`", list(names));
        match Self::of(root, "", names) {
            Self::Classes => Ok(None),
            Self::Doubtful(names) => {
                Ok(Some(format!("classes are named like splits: {}; {}", named(&names), classes(&names))))
            }
            Self::Parts(folders) => {
                let names = names_of(&folders);
                let split = written(&folders);
                Err(Error::usage(message(&names)).hint(match names.len() {
                    1 => format!("write `split = {split}`"),
                    _ => format!("write `split = {split}`; {}", classes(&names)),
                }))
            }
            Self::WithoutTraining(names) => Err(Error::usage(message(&names)).hint(format!(
                "add the folder of the training images: `split = {{ folders = {{ train = … }} }}`; {}",
                classes(&names)
            ))),
        }
    }
}

/// The `split` setting for these folders, with a validation fraction if no folder is for validation.
pub fn written(folders: &SplitFolders) -> String {
    let share = if folders.validation.is_some() { "" } else { "validation = 0.2, " };
    format!("{{ {share}{} }}", written_folders(folders))
}

/// `folders = { train = "train", validation = "val" }`
pub fn written_folders(folders: &SplitFolders) -> String {
    let SplitFolders { train, validation, test } = folders;
    let given = [("train", Some(train)), ("validation", validation.as_ref()), ("test", test.as_ref())];
    let given = given.into_iter().filter_map(|(key, name)| Some(format!("{key} = {}", text(name?))));
    format!("folders = {{ {} }}", given.collect::<Vec<_>>().join(", "))
}

fn names_of(folders: &SplitFolders) -> Vec<String> {
    let SplitFolders { train, validation, test } = folders;
    [Some(train), validation.as_ref(), test.as_ref()].into_iter().flatten().cloned().collect()
}

/// Whether most subfolders of two folders have the same names.
fn are_alike(one: &[String], other: &[String]) -> bool {
    let common = one.iter().filter(|name| other.contains(name)).count();
    common > 0 && common * 2 >= one.len().min(other.len())
}

/// Formats a TOML string.
fn text(name: &str) -> String {
    toml::Value::String(name.to_owned()).to_string()
}

/// Formats the items of a TOML array.
pub fn list(names: &[String]) -> String {
    names.iter().map(|name| text(name)).collect::<Vec<_>>().join(", ")
}

/// Quotes the first names, for a message.
pub fn quoted(names: &[String], between: &str) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(between),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}
