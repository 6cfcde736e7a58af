//! What a stage works on: a model with its classes, and images as the model wants them.

use serde_json::{Value, json};

use crate::code_path::CodePath;
use crate::data::{Dataset, Split};
use crate::digest::{Digest, Hasher};
use crate::error::Result;
use crate::metrics::code_paths::{ABSENT_CLASSES, CLASSIFICATION, MULTI_LABEL};
use crate::model::Model;
use crate::model::code_paths::of_backbone;
use crate::ops::code_paths::{BINARY_CROSS_ENTROPY, NORMALIZE_ROWS, SIGMOID};
use crate::pipeline::{self, Arch, Broken, Head, ImageFolder};
use crate::weights::Source;

/// A model and the classes its head tells apart, in the order of its outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    pub model: pipeline::Model,
    pub classes: Vec<String>,
    /// Whether an image shows any number of them, each told by itself, rather than one.
    pub multi_label: bool,
    /// The side of the images that position embeddings are for, where the architecture has any.
    pub image_size: usize,
}

impl Subject {
    pub fn build(&self) -> Model {
        Model::build_for(&self.model, self.classes.len(), self.image_size)
    }

    /// Its weights before they are there, by name and shape, for whoever checks whether they will fit; `name` is what
    /// messages call them.
    pub fn source(&self, name: &str) -> Result<Source> {
        let description = self.build().description;
        let metadata = super::context::metadata(self, &description)?;
        Source::planned(name, &description, metadata)
    }

    /// What every recipe says of the model: of its head only where it is not one linear layer. Dropout is training's.
    pub fn document(&self) -> Value {
        let mut document = json!({ "arch": self.model.arch, "classes": self.classes });
        if self.multi_label {
            document["multi_label"] = json!(true);
        }
        if self.model.arch.has_sized_positions() {
            document["image_size"] = json!(self.image_size);
        }
        if !self.model.position_resampling.is_default() {
            document["position_resampling"] = json!(self.model.position_resampling);
        }
        if !matches!(self.model.head, Head::Linear(_)) {
            let mut head = json!(self.model.head);
            head.as_object_mut().map(|fields| fields.remove("dropout"));
            document["head"] = head;
        }
        document
    }

    /// What the model takes beyond what is common.
    pub(super) fn code_paths(&self) -> Vec<CodePath> {
        let mut paths = of_backbone(&self.model);
        match &self.model.head {
            Head::Linear(_) | Head::Mlp(_) => {}
            Head::Embedding(_) => paths.push(NORMALIZE_ROWS),
        }
        if self.multi_label {
            paths.extend([BINARY_CROSS_ENTROPY, SIGMOID]);
        }
        paths
    }

    /// What measures its predictions of a part of the images.
    pub(super) fn metrics(&self, view: &View, dataset: Option<&Dataset>, split: Split) -> Vec<CodePath> {
        if self.multi_label {
            return vec![MULTI_LABEL];
        }
        let counts = dataset.map(Dataset::counts).unwrap_or_default();
        let images: Vec<usize> = counts.iter().map(|class| class[split as usize]).collect();
        // An image that cannot be read may be the last of its class.
        let lacks_one = view.0.broken == Broken::Skip || images.contains(&0);
        match lacks_one && images.iter().any(|images| *images > 0) {
            true => vec![CLASSIFICATION, ABSENT_CLASSES],
            false => vec![CLASSIFICATION],
        }
    }
}

/// How images become tensors in a stage: the data set's settings, with the stage's own image size, and the channel statistics
/// of the model where the data set has none.
#[derive(Clone, Debug, PartialEq)]
pub struct View(pub ImageFolder);

impl View {
    pub fn new(data: &ImageFolder, image_size: Option<usize>, arch: Arch) -> Self {
        let mut data = data.clone();
        data.normalize = data.normalize.or_else(|| Some(arch.normalize()));
        if let Some(size) = image_size {
            // The crop keeps its share of the image.
            data.resize = data.resize.map(|resize| (resize * size).div_ceil(data.image_size));
            data.image_size = size;
        }
        Self(data)
    }

    /// What a recipe says of it; splits and roots are known by the images they lead to.
    pub fn document(&self) -> Value {
        let data = &self.0;
        json!({
            "image_size": data.image_size,
            "resize": data.resize,
            "normalize": data.normalize.unwrap_or_default(),
            "broken": data.broken,
            "decode": data.decode,
        })
    }
}

/// What a recipe says of the images of one split: how many, and a digest of paths, classes and contents in order.
pub fn split_document(dataset: &Dataset, split: Split) -> Option<Value> {
    let samples = dataset.split(split);
    let mut hasher = Hasher::default();
    for &index in &samples {
        let sample = &dataset.samples[index];
        let digest: Digest = sample.digest?;
        let classes: Vec<String> = sample.classes.iter().map(u32::to_string).collect();
        hasher.update(format!("{}\0{}\0{digest}\n", sample.path, classes.join(",")).as_bytes());
    }
    Some(json!({ "images": samples.len(), "digest": hasher.finish() }))
}
