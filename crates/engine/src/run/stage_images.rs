//! The images of an evaluation of a finished run, where the run found them.

use std::path::{Path, PathBuf};

use image::RgbImage;

use super::predict::encoded;
use super::{RunDirectory, read_events};
use crate::data::{OutsideFolders, Transform};
use crate::error::{Error, Result};
use crate::events::Event;
use crate::pipeline::ImageSettings;

const HINT: &str = "name the folder of the data set with `--images DIR`";

/// Reads the images of a stage as its model saw them, but whole.
pub(super) struct StageImages {
    root: PathBuf,
    outside: OutsideFolders,
    transform: Transform,
}

impl StageImages {
    /// # Errors
    /// The run does not say where its images are, or they are no longer there. `folder` names it then.
    pub fn of(run: &RunDirectory, stage: &str, folder: Option<&Path>) -> Result<Self> {
        let (root, outside) = match folder {
            Some(folder) => (folder.to_owned(), OutsideFolders::default()),
            None => known_folders(run, stage)?,
        };
        Ok(Self { root, outside, transform: transform(run, stage)? })
    }

    /// The whole upright picture. `file` is its path below the data set's root.
    ///
    /// # Errors
    /// The image cannot be read or decoded.
    pub fn picture(&self, file: &str) -> Result<RgbImage> {
        let path = self.outside.file(&self.root, file);
        let bytes = encoded(&path).map_err(|error| error.hint(HINT))?;
        let picture = self.transform.reader().picture(&bytes);
        picture.map_err(|cause| Error::failed(format!("cannot decode `{}`: {cause}", path.display())))
    }
}

/// How the stage reads its images.
fn transform(run: &RunDirectory, stage: &str) -> Result<Transform> {
    let unreadable = |cause: String| Error::failed(format!("the run's `plan.json` cannot be read: {cause}"));
    let record = run.record()?;
    let stage = record.stage(stage).ok_or_else(|| unreadable(format!("no stage `{stage}`")))?;
    let view: ImageSettings = serde_json::from_value(stage.document["images"].clone())
        .map_err(|error| unreadable(error.to_string()))?;
    Ok(Transform::evaluation(&view, None))
}

/// Where the run found the images of the stage, which only its events say.
fn known_folders(run: &RunDirectory, stage: &str) -> Result<(PathBuf, OutsideFolders)> {
    let starts = read_events(run).into_iter().rev().filter_map(|(_, event)| match event {
        Event::RunStarted { images, mut outside, .. } => {
            let folders = outside.remove(stage).unwrap_or_default().into_iter();
            let folders = folders.map(|(name, folder)| (name, folder.into())).collect();
            Some((PathBuf::from(images.get(stage)?), OutsideFolders::of(folders)))
        }
        _ => None,
    });
    let run = run.path().display();
    let found = starts.into_iter().next();
    let (root, outside) =
        found.ok_or_else(|| Error::usage(format!("`{run}` does not say where its images are")).hint(HINT))?;
    let mut folders = std::iter::once(&root).chain(outside.folders().values());
    if let Some(missing) = folders.find(|folder| !folder.is_dir()) {
        let missing = missing.display();
        return Err(Error::usage(format!("the images of `{run}` are no longer in `{missing}`")).hint(HINT));
    }
    Ok((root, outside))
}
