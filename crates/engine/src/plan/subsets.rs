//! The subsets of an evaluation: the value of each image from tables and paths, and where masks are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::resolve::Resolver;
use crate::data::{self, Dataset};
use crate::error::{Error, Result};
use crate::pipeline::{self, MaskSubset, PathSubset, Subset, TagSubset};
use crate::regular_file;
use crate::stage::{MaskFile, SubsetDivision, SubsetSpec};

impl Resolver<'_> {
    /// The subsets of a stage. Without a data set, their values are not known.
    pub(super) fn subsets(
        &mut self,
        stage: &str,
        evaluate: &pipeline::Evaluate,
        dataset: Option<&Dataset>,
    ) -> Option<Vec<SubsetSpec>> {
        let mut found = Vec::new();
        for (name, subset) in &evaluate.subsets {
            let at = format!("stage.{stage}.subsets.{name}");
            let division = self.division(&at, subset, evaluate.split, dataset);
            found.push(division.map(|division| SubsetSpec { name: name.clone(), division }));
        }
        found.into_iter().collect()
    }

    fn division(
        &mut self,
        at: &str,
        subset: &Subset,
        split: data::Split,
        dataset: Option<&Dataset>,
    ) -> Option<SubsetDivision> {
        Some(match subset {
            Subset::Tag(TagSubset { file, path_column, column }) => {
                let Some(dataset) = dataset else { return Some(SubsetDivision::Images(BTreeMap::new())) };
                let at = format!("{at}.file");
                let path = self.or_diagnose(&at, "unset-variable", self.pipeline.path(file))?;
                let read = regular_file::read_text(&path)
                    .map_err(|error| Error::io("read", &path, error))
                    .and_then(|text| data::read_image_values(&text, [path_column, column], dataset, split));
                SubsetDivision::Images(self.or_diagnose(&at, "subset", in_file(file, read))?)
            }
            Subset::Path(PathSubset { pattern }) => {
                let Some(dataset) = dataset else { return Some(SubsetDivision::Images(BTreeMap::new())) };
                let values = data::values_in_paths(pattern, dataset, split);
                SubsetDivision::Images(self.or_diagnose(&format!("{at}.pattern"), "subset", values)?)
            }
            Subset::Difficult(_) => SubsetDivision::Difficult,
            Subset::Size(_) => SubsetDivision::Size,
            Subset::Mask(MaskSubset { folder, minimum }) => {
                let mut masks = BTreeMap::new();
                if let Some(dataset) = dataset {
                    let at = format!("{at}.folder");
                    let path = self.or_diagnose(&at, "unset-variable", self.pipeline.path(folder))?;
                    let files = data::mask_files(&path, dataset, split);
                    let files = self.or_diagnose(&at, "subset", files)?;
                    let file = |(image, path): (String, PathBuf)| (image, MaskFile { path, digest: None });
                    masks = files.into_iter().map(file).collect();
                }
                SubsetDivision::Masks { minimum: *minimum, masks }
            }
        })
    }
}

/// Says in which file each mistake is.
fn in_file<T>(file: &str, read: Result<T>) -> Result<T> {
    let within = |error: Error| error.within(format!("`{file}`"));
    read.map_err(|mut error| {
        let others = std::mem::take(&mut error.others);
        let mut error = within(error);
        error.others = others.into_iter().map(within).collect();
        error
    })
}
