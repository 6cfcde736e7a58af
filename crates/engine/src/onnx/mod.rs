//! Models as ONNX files: a trace of a model is translated operation by operation. Maps are [N, C, H, W] there.
//!
//! ONNX, the Open Neural Network Exchange, is specified at onnx.ai: messages of Protocol Buffers (IR version 8) and
//! operators (opset 17). Nothing here reads a run or writes a file.

mod attention;
mod graph;
mod maps;
mod operations;
mod outputs;
mod vectors;
mod windows;

use serde_json::Value as Json;

use self::graph::Graph;
use self::operations::Translation;
use crate::error::{Error, Result};
use crate::model::StateDict;
use crate::model::trace::ModelTrace;

pub use self::outputs::OutputForm;

/// Protocol Buffers cannot hold more in one message.
const MOST_BYTES: usize = i32::MAX as usize;

/// A model to export.
pub struct OnnxModel<'a> {
    pub name: &'a str,
    /// Of one image [1, H, W, C].
    pub trace: &'a ModelTrace,
    pub state: &'a StateDict,
    /// Mean and standard deviation of each channel: the file normalises images itself.
    pub statistics: &'a [(f64, f64)],
    pub form: OutputForm,
    /// Documents for the programs that read the file, by name.
    pub metadata: &'a [(&'a str, Json)],
}

/// The bytes of an ONNX file. Its input is `image`, float32 [N, C, H, W] in [0, 1].
///
/// # Errors
/// The file would exceed 2 GiB, or a tensor cannot be read.
pub fn onnx(model: &OnnxModel) -> Result<Vec<u8>> {
    let mut graph = Graph::default();
    let image = graph.image(&model.trace.image.0, model.statistics)?;
    let mut translation = Translation::new(&mut graph, model.state, &model.trace.image, image);
    model.trace.trace.steps.iter().try_for_each(|step| translation.step(step))?;
    outputs::declare(&mut translation, model)?;
    let bytes = graph.file(model.name, model.metadata);
    if bytes.len() > MOST_BYTES {
        let size = bytes.len() >> 20;
        return Err(Error::usage(format!(
            "the ONNX file would have {size} MiB, and the format ends at 2 GiB"
        )));
    }
    Ok(bytes)
}
