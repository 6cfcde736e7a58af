//! Lists the samples of an image folder.
//!
//! A class is a folder below the root (or below each split folder). Its samples are all image files in it, at any
//! depth. Hidden files and folders are left out, and so are those of operating systems and storage devices, such as a
//! NAS's thumbnails in `@eaDir`. Links are followed, so that data may be stored elsewhere: only a sample's path below
//! the root and its bytes matter.

mod layout;
mod split_folders;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use self::layout::FolderLayout;
use self::split_folders::{NestingDepths, SplitFolder, images_beside};
use super::format::DataFormat;
use super::walk::{WalkFindings, listing};
use crate::data::Label;
use crate::data::class_presence::{self, PresenceRule, how_to_fix};
use crate::data::dataset::{Dataset, Sample, require_folder};
use crate::data::image::{OtherFormat, image_format_extensions};
use crate::data::outside::OutsideFolders;
use crate::data::split::SplitFractions;
use crate::error::InputErrors;
use crate::pipeline::{Broken, ImageFolder};
use crate::{Error, Result};

pub use layout::{list, part_folders, part_named, quoted, written_folders};

impl DataFormat for ImageFolder {
    fn key(&self) -> &'static str {
        "root"
    }

    fn read(&self, resolve: &dyn Fn(&str) -> Result<PathBuf>) -> Result<Dataset> {
        Dataset::scan(self, &resolve(&self.root)?)
    }
}

impl Dataset {
    /// Lists the samples below `root` and assigns each to a split. Reads names, not contents.
    ///
    /// # Errors
    /// A usage error that names the folder: a missing root or class, a class without images, classes that differ
    /// between split folders, an empty split, or an unusable `split.group`.
    pub fn scan(folder: &ImageFolder, root: &Path) -> Result<Self> {
        require_folder(root)?;
        let fractions = SplitFractions::new(&folder.split)?;
        let mut finds = WalkFindings::default();
        let mut outside = OutsideFolders::default();
        let parts = SplitFolder::all(folder, &fractions, root, &mut outside, &mut finds)?;
        let mut warnings = Vec::new();
        if folder.split.folders.is_none() {
            let found = &parts[0].listing.folders;
            let meant =
                folder.classes.as_ref().is_some_and(|named| named.iter().all(|name| found.contains(name)));
            if !meant {
                warnings.extend(FolderLayout::require_classes(root, found)?);
            }
        }
        let classes = classes(folder, &parts)?;
        let mut dataset = Self { root: root.to_owned(), outside, classes, warnings, ..Self::default() };
        let demand = PresenceRule {
            every_class: folder.split.require_classes,
            named: folder.classes.is_some(),
            selectable: true,
        };
        let depths = dataset.add_classes(&parts, &demand, folder.broken, &mut finds);
        dataset.ignored.extend(images_beside(root, &parts, &mut finds)?);
        dataset.ignored.append(&mut finds.others);
        dataset.samples.sort_by(|a, b| a.path.cmp(&b.path));
        dataset.ignored.sort();
        dataset.take_unreadable(std::mem::take(&mut finds.unreadable), folder.broken, &mut finds.mistakes);
        std::mem::take(&mut finds.mistakes).into_result()?;
        dataset.part_training(&folder.split, &fractions)?;
        dataset.warnings.extend(dataset.found_on_the_way(&finds, &depths));
        Ok(dataset)
    }

    /// Adds the samples of every class in every split, and records their depths in their class folders.
    fn add_classes(
        &mut self,
        parts: &[SplitFolder],
        demand: &PresenceRule,
        broken: Broken,
        finds: &mut WalkFindings,
    ) -> NestingDepths {
        let mut depths = NestingDepths::default();
        let mut gaps: Vec<(&SplitFolder, usize, Option<Vec<String>>)> = Vec::new();
        for part in parts {
            for class in 0..self.classes.len() {
                let name = &self.classes[class];
                let (folder, others) = (part.class_folder(name), finds.others.len());
                let before = (finds.mistakes.count(), finds.unreadable.len());
                let images = match part.has(name) {
                    true => part.place.images(name, finds),
                    false => Vec::new(),
                };
                if images.is_empty() {
                    // An unreadable folder or file is the cause, and its error is already reported.
                    let explained = finds.mistakes.count() > before.0
                        || broken == Broken::Error && finds.unreadable.len() > before.1;
                    gaps.push((part, class, (!explained).then(|| finds.others[others..].to_vec())));
                }
                depths.add(&folder, &images);
                let sample = |path| Sample {
                    path,
                    label: Label::Class(class as u32),
                    split: part.split(),
                    digest: None,
                };
                self.samples.extend(images.into_iter().map(sample));
            }
        }
        let has_gap = |class: usize| gaps.iter().any(|(_, gap, _)| *gap == class);
        let whole: Vec<String> = (0..self.classes.len())
            .filter(|class| !has_gap(*class))
            .map(|class| self.classes[class].clone())
            .collect();
        for (part, class, others) in gaps.iter().filter(|(part, ..)| !demand.allows_gap(part.split())) {
            let Some(others) = others else { continue };
            let error =
                self.gap(parts, part, *class, others.first(), &how_to_fix(part.split(), &whole, demand));
            finds.mistakes.add("class without images", error);
        }
        depths
    }

    /// The error for a split without an image of a class.
    fn gap(
        &self,
        parts: &[SplitFolder],
        part: &SplitFolder,
        class: usize,
        other: Option<&String>,
        cure: &str,
    ) -> Error {
        let name = &self.classes[class];
        if part.has(name) {
            let error = Error::usage(format!("the class folder `{}` has no images", part.class_folder(name)));
            return match other.map(|other| (other, OtherFormat::of_name(Path::new(other)))) {
                Some((other, Some(format))) => error.hint(format!(
                    "`{other}` is {} file, which is not read: {}, or {cure}",
                    format.with_article(),
                    format.conversion()
                )),
                Some((other, None)) => error.hint(format!(
                    "only {} files are read: convert files such as `{other}`, or {cure}",
                    image_format_extensions("and")
                )),
                None => error.hint(cure),
            };
        }
        match parts.iter().find(|part| part.has(name)) {
            Some(there) => Error::usage(format!(
                "the class `{name}` is in `{}` but not in `{}`",
                there.place.below(),
                part.place.below()
            ))
            .hint(cure),
            None => missing_class(name, &part.place.folder(), &part.listing.folders),
        }
    }

    /// Leaves out unreadable images if the settings allow it; otherwise reports them as errors.
    fn take_unreadable(
        &mut self,
        unreadable: Vec<(String, String)>,
        broken: Broken,
        mistakes: &mut InputErrors,
    ) {
        if broken == Broken::Skip {
            self.unreadable = unreadable;
            self.unreadable.sort();
            return;
        }
        for (path, cause) in unreadable {
            let file = self.outside.file(&self.root, &path);
            let error = Error::usage(format!("cannot read `{}`: {cause}", file.display()));
            let hint = "restore or remove it, or set `broken = \"skip\"` to leave out such images";
            mistakes.add("image that cannot be read", error.hint(hint));
        }
    }

    /// Warnings about the folders.
    fn found_on_the_way(&self, finds: &WalkFindings, depths: &NestingDepths) -> Vec<String> {
        let mut said: Vec<String> = class_presence::untrained(self).into_iter().collect();
        if !finds.of_systems.is_empty() {
            let names = finds.of_systems.iter().map(|(name, count)| format!("`{name}` ({count})"));
            let names: Vec<String> = names.collect();
            said.push(format!("system files and folders are ignored: {}", names.join(", ")));
        }
        if let Some(first) = finds.dangling.first() {
            let count = finds.dangling.len();
            let links = if count == 1 { "link points" } else { "links point" };
            said.push(format!("{count} {links} to a missing target (`{first}`)"));
        }
        said.extend(depths.said());
        said
    }
}

/// The classes to use: the named ones, or else all folders of all splits.
fn classes(folder: &ImageFolder, parts: &[SplitFolder]) -> Result<Vec<String>> {
    let classes = match &folder.classes {
        Some(named) => named.clone(),
        None => {
            let found: BTreeSet<&String> = parts.iter().flat_map(|part| &part.listing.folders).collect();
            found.into_iter().cloned().collect()
        }
    };
    if let Some(twice) = classes.iter().enumerate().find(|(i, name)| classes[..*i].contains(name)) {
        return Err(Error::usage(format!("the class `{}` is listed twice", twice.1)));
    }
    if classes.len() > 1 {
        return Ok(classes);
    }
    let found = classes.first().map_or("none".to_owned(), |only| format!("only `{only}`"));
    let part = parts[0].place.folder();
    let message =
        format!("`{}` needs a folder for each of at least two classes, but has {found}", part.display());
    let deeper = classes.first().map(|only| part.join(only)).and_then(|below| {
        let folders = listing(&below, "", &mut WalkFindings::default()).ok()?.folders;
        let split = match FolderLayout::of(&below, "", &folders) {
            FolderLayout::Parts(folders) => format!(", and write `split = {}`", layout::written(&folders)),
            _ => String::new(),
        };
        (folders.len() > 1).then(|| format!("set `root` to `{}`{split}", below.display()))
    });
    let usual = || "set `root` to the folder whose subfolders are the classes".to_owned();
    Err(Error::usage(message).hint(deeper.unwrap_or_else(usual)))
}

fn missing_class(name: &str, folder: &Path, found: &[String]) -> Error {
    let nearest = found
        .iter()
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let there = quoted(found, ", ");
    Error::usage(format!("the class `{name}` has no folder in `{}`", folder.display())).hint(match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`? there are {there}"),
        None => format!("there are {there}"),
    })
}
