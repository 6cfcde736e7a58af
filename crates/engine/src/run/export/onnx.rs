//! An ONNX file.

use candle_core::{DType, Device, Tensor};
use serde_json::json;

use crate::autograd::Value;
use crate::error::{Error, Result};
use crate::onnx::{OnnxModel, OutputForm, onnx};
use crate::run::Predictor;

impl Predictor {
    /// The model as an ONNX file: the input `image` is float32 [N, C, H, W] in [0, 1], of any number of images. Images are
    /// normalised in the file; resizing and cropping is not part of it, and described in its metadata.
    ///
    /// The outputs are `logits`, `probabilities` and, of heads that have one, `embedding`. A detector has `boxes` [N, A, 4],
    /// in pixels of the input, and `scores` [N, A, classes], before non-maximum suppression. A model whose embeddings are
    /// compared has `embedding` alone.
    ///
    /// # Errors
    /// The model has no output of use, is on a GPU, is computed by another library, or exceeds the 2 GiB of the format.
    pub fn onnx(&self) -> Result<Vec<u8>> {
        if !self.choice.device.is_cpu() {
            return Err(Error::bug("an export from a GPU"));
        }
        let form = self.kind.output_form();
        if !self.kind.predicts() && form != OutputForm::Embeddings {
            let checkpoint = self.checkpoint.display();
            return Err(Error::usage(format!(
                "`{checkpoint}` predicts nothing: its head compares views of an image"
            ))
            .hint(
                "`defrost embed` computes its features, and `--format torch --out DIR` writes its weights",
            ));
        }
        let side = self.images.image_size;
        let image = Tensor::zeros((1, side, side, self.images.channels), DType::F32, &Device::Cpu)?;
        let trace = self.model.trace(&self.state, &Value::constant(image)).map_err(|error| {
            error.hint("`defrost embed` writes its embeddings, and its weights are a .safetensors file")
        })?;
        let metadata = [
            ("classes", json!(self.classes)),
            ("arch", json!(self.model.description.arch)),
            ("checkpoint", json!(self.checkpoint.display().to_string())),
            (
                "image",
                json!("RGB, divided by the value of white: [N, C, H, W] in [0, 1]; normalised in this file"),
            ),
            ("preprocessing", self.preprocessing.clone()),
            ("outputs", json!(meaning(form))),
        ];
        onnx(&OnnxModel {
            name: &self.model.description.arch,
            trace: &trace,
            state: &self.state,
            statistics: &self.images.statistics(),
            form,
            metadata: &metadata,
        })
    }
}

fn meaning(form: OutputForm) -> &'static str {
    match form {
        OutputForm::Exclusive => "logits; probabilities: their softmax; embedding: what the head reads",
        OutputForm::Independent => "logits; probabilities: their sigmoids; embedding: what the head reads",
        OutputForm::Embeddings => "embedding: of unit length",
        OutputForm::Boxes => {
            "boxes: left, top, right, bottom in pixels of the input; scores: of each class; before suppression"
        }
    }
}
