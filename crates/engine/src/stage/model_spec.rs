//! The model and the preprocessing of a stage.

use serde_json::{Value, json};

use super::recipe::{ModelRecipe, PreprocessRecipe};
use crate::code_path::CodePath;
use crate::csv_cells;
use crate::data::{Dataset, Split};
use crate::error::Result;
use crate::model::code_paths::LORA;
use crate::model::{AdapterSpec, Description, Model, StateDict, backbone_code_paths};
use crate::ops::code_paths::{LOW_RANK, NORMALIZE_ROWS};
use crate::pipeline::{self, Arch, Head, ImageSettings, ResizeRounding};
use crate::report::code_paths::TEXT_CELLS;
use crate::task::{TaskKind, TaskSpec, TaskTraining};
use crate::weights::{self, LoadRules, WeightsFile};

/// What models with low-rank adapters take beyond that.
pub(super) const ADAPTER_CODE_PATHS: [CodePath; 2] = [LORA, LOW_RANK];

/// A model, and the classes of its head in the order of its outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    pub model: pipeline::Model,
    pub classes: Vec<String>,
    /// The task of its head.
    pub task: TaskKind,
    /// The image size of the position embeddings, if the architecture has any.
    pub image_size: usize,
    /// The number of channels of the images.
    pub channels: usize,
    /// The low-rank adapters of linear layers, if there are any.
    pub adapter: Option<AdapterSpec>,
}

impl ModelSpec {
    pub fn build(&self) -> Model {
        Model::build_for_channels(&self.model, self.classes.len(), self.image_size, self.channels)
            .with_adapters(self.adapter.as_ref())
    }

    /// The task of a stage on this model. `training` is `None` if the stage does not train.
    pub fn task<'a>(&'a self, training: Option<TaskTraining<'a>>) -> TaskSpec<'a> {
        TaskSpec { kind: self.task, classes: &self.classes, head: &self.model.head, training }
    }

    /// Its future weights, by name and shape, for checking whether they will fit; messages use `name`.
    pub fn weights_file(&self, name: &str) -> Result<WeightsFile> {
        let description = self.build().description;
        let metadata = super::context::metadata(self, &description)?;
        WeightsFile::planned(name, &description, metadata)
    }

    /// The model and its classes, in every recipe.
    pub fn document(&self) -> Value {
        json!(ModelRecipe::of(self))
    }

    /// What the model takes beyond what is common.
    pub(super) fn code_paths(&self) -> Vec<CodePath> {
        let mut paths = backbone_code_paths(&self.model);
        paths.extend(self.adapter.iter().flat_map(|_| ADAPTER_CODE_PATHS));
        match &self.model.head {
            Head::Linear(_) | Head::Mlp(_) | Head::Detect(_) | Head::Projection(_) => {}
            Head::Embedding(_) => paths.push(NORMALIZE_ROWS),
        }
        paths.extend(self.task(None).code_paths(false));
        paths
    }

    /// The weights from which a stage starts that adds the adapters of this model: those of `source`, and new adapters.
    ///
    /// # Errors
    /// As those of [`weights::load`].
    pub(super) fn load_adding_adapters(
        &self,
        description: &Description,
        source: &WeightsFile,
        seed: u64,
    ) -> Result<StateDict> {
        let base = description.without_adapters();
        let mut state = weights::load(&base, source, &LoadRules::default(), 0)?;
        let added = &description.tensors[base.tensors.len()..];
        state
            .tensors
            .extend(added.iter().map(|spec| weights::initialize(spec, seed)).collect::<Result<Vec<_>>>()?);
        Ok(state)
    }

    /// How names of classes and images are written to CSV files: a separate code path if one needs an
    /// apostrophe.
    pub(super) fn names(&self, dataset: &Dataset, parts: &[Split]) -> Option<CodePath> {
        let paths = dataset
            .samples
            .iter()
            .filter(|sample| parts.contains(&sample.split))
            .map(|sample| sample.path.as_str());
        self.classes.iter().map(String::as_str).chain(paths).any(csv_cells::is_formula).then_some(TEXT_CELLS)
    }
}

/// How images become tensors in a stage: the data set's settings, the stage's own image size, and the model's
/// channel statistics if the data set has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocess(pub ImageSettings);

impl Preprocess {
    pub fn new(data: &ImageSettings, image_size: Option<usize>, arch: Arch) -> Self {
        let mut data = data.clone();
        let normalize = data.normalize.unwrap_or_else(|| arch.normalize());
        // One of another length is an error of the file.
        data.normalize = Some(normalize.of_channels(data.channels).unwrap_or(normalize));
        if let Some(size) = image_size {
            // The crop keeps its fraction of the image.
            let share = |resize: usize| match data.resize_rounding {
                ResizeRounding::Nearest => (resize * size).div_ceil(data.image_size),
                ResizeRounding::Down => resize * size / data.image_size,
            };
            data.resize = data.resize.map(share);
            data.image_size = size;
        }
        Self(data)
    }

    /// The preprocessing, in every recipe.
    pub fn document(&self) -> Value {
        json!(PreprocessRecipe::of(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(settings: Value) -> Preprocess {
        let mut all = json!({ "image_size": 224, "resize": 256 });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        Preprocess::new(&serde_json::from_value(all).unwrap(), None, Arch::ResNet18)
    }

    #[test]
    fn what_changes_pixels_changes_the_recipe_and_defaults_do_not() {
        let usual = view(json!({})).document();
        let mut keys: Vec<&String> = usual.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["broken", "decode", "image_size", "normalize", "resize"]);
        let defaults = json!({
            "exif_orientation": true,
            "transparency": "white",
            "grey16": "high_byte",
            "resize_rounding": "nearest",
            "range": null,
            "channels": 3,
            "color": "srgb",
        });
        assert_eq!(view(defaults).document(), usual);
        for (key, value) in [
            ("exif_orientation", json!(false)),
            ("transparency", json!("drop")),
            ("grey16", json!("clip")),
            ("resize_rounding", json!("down")),
            ("range", json!([0.0, 4095.0])),
            ("color", json!({ "kind": "log_chromaticity", "from": "linear", "floor": 0.01 })),
        ] {
            let document = view(json!({ key: value })).document();
            assert_eq!(document[key], value);
            assert_eq!(document.as_object().unwrap().len(), 6, "{key}");
        }
    }

    /// Every setting of a data set either enters the recipe or selects images, which the recipe identifies by
    /// content.
    #[test]
    fn no_setting_of_a_data_set_is_left_out_of_the_recipe() {
        let images: ImageSettings = serde_json::from_value(json!({})).unwrap();
        let document = view(json!({
            "exif_orientation": false,
            "transparency": "drop",
            "grey16": "clip",
            "resize_rounding": "down",
        }))
        .document();
        for (key, _) in json!(images).as_object().unwrap() {
            assert_eq!(document.get(key).is_none(), key == "split", "{key}");
        }
    }

    #[test]
    fn a_stage_with_its_own_size_keeps_the_share_of_the_crop() {
        let resize = |rounding: &str| {
            let data = json!({ "image_size": 224, "resize": 256, "resize_rounding": rounding });
            Preprocess::new(&serde_json::from_value(data).unwrap(), Some(160), Arch::ResNet18).0.resize
        };
        assert_eq!((resize("nearest"), resize("down")), (Some(183), Some(182)));
    }
}
