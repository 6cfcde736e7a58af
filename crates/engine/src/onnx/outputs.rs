//! The outputs of a file: raw scores, and what people use of them.

use super::OnnxModel;
use super::graph::Attribute;
use super::operations::Translation;
use crate::error::{Error, Result};
use crate::model::trace::TracedTensor;
use crate::model::yolo11::{BINS, STRIDES};
use crate::model::{EMBEDDINGS, LOGITS};

pub use crate::task::OutputForm;

/// What the head reads, or the normalised output of an embedding head.
const EMBEDDING: &str = "embedding";
/// The sides of a box.
const SIDES: usize = 4;

/// Declares the outputs that fit the form.
pub fn declare(translation: &mut Translation, model: &OnnxModel) -> Result<()> {
    match model.form {
        OutputForm::Exclusive => scores(translation, model, "Softmax", &[Attribute::Int("axis", -1)])?,
        OutputForm::Independent => scores(translation, model, "Sigmoid", &[])?,
        OutputForm::Boxes => boxes(translation, model)?,
        OutputForm::Embeddings => {
            let embedding = translation.tensor(output(model, EMBEDDINGS)?)?;
            translation.graph.output("Identity", &[&embedding.name], EMBEDDING, &embedding.dims, &[]);
            return Ok(());
        }
    }
    let Some(embedding) = &model.trace.embedding else { return Ok(()) };
    let embedding = translation.tensor(embedding)?;
    translation.graph.output("Identity", &[&embedding.name], EMBEDDING, &embedding.dims, &[]);
    Ok(())
}

/// `logits` and `probabilities` [N, classes].
fn scores(
    translation: &mut Translation,
    model: &OnnxModel,
    operator: &str,
    attributes: &[Attribute],
) -> Result<()> {
    let logits = translation.tensor(output(model, LOGITS)?)?;
    translation.graph.output("Identity", &[&logits.name], LOGITS, &logits.dims, &[]);
    translation.graph.output(operator, &[&logits.name], "probabilities", &logits.dims, attributes);
    Ok(())
}

/// `boxes` [N, A, 4] (left, top, right, bottom in pixels of the input) and `scores` [N, A, classes], before
/// non-maximum suppression. A is the number of places of all maps.
fn boxes(translation: &mut Translation, model: &OnnxModel) -> Result<()> {
    let (mut corners, mut scores) = (Vec::new(), Vec::new());
    let (mut places, mut classes) = (0, 0);
    for stride in STRIDES {
        let logits = translation.tensor(output(model, &format!("box_logits_{stride}"))?)?;
        let [_, _, height, width] = logits.dims[..] else { return Err(Error::bug("box logits are no map")) };
        places += height * width;
        corners.push(level_boxes(translation, &logits.name, [height, width], stride));
        let logits = translation.tensor(output(model, &format!("class_logits_{stride}"))?)?;
        classes = logits.dims[1];
        let rows = translation.reshaped(&logits.name, &[0, 0, -1]);
        scores.push(translation.transposed(&rows, &[0, 2, 1]));
    }
    let axis = [Attribute::Int("axis", 1)];
    let corners: Vec<&str> = corners.iter().map(String::as_str).collect();
    translation.graph.output("Concat", &corners, "boxes", &[1, places, SIDES], &axis);
    let scores: Vec<&str> = scores.iter().map(String::as_str).collect();
    let scores = translation.graph.node("Concat", &scores, &axis);
    translation.graph.output("Sigmoid", &[&scores], "scores", &[1, places, classes], &[]);
    Ok(())
}

/// The boxes [N, H · W, 4] of one map: the mean of the bins, weighted by their softmax, is the distance of a side from the
/// place, in strides (Li et al., *Generalized Focal Loss*, NeurIPS 2020).
fn level_boxes(
    translation: &mut Translation,
    logits: &str,
    [height, width]: [usize; 2],
    stride: usize,
) -> String {
    let places = height * width;
    let logits = translation.reshaped(logits, &[0, SIDES as i64, BINS as i64, places as i64]);
    let shares = translation.graph.node("Softmax", &[&logits], &[Attribute::Int("axis", 2)]);
    let bins: Vec<f32> = (0..BINS).map(|bin| (bin * stride) as f32).collect();
    let bins = translation.graph.floats("bins", &[1, 1, BINS, 1], &bins);
    let weighted = translation.graph.node("Mul", &[&shares, &bins], &[]);
    let axes = translation.graph.ints("axes", &[2]);
    let sums = translation.graph.node("ReduceSum", &[&weighted, &axes], &[Attribute::Int("keepdims", 0)]);
    // Left and top are ahead of the place, right and bottom behind it.
    let signs = translation.graph.floats("signs", &[1, SIDES, 1], &[-1.0, -1.0, 1.0, 1.0]);
    let offsets = translation.graph.node("Mul", &[&sums, &signs], &[]);
    let middle = |place: usize| ((place as f64 + 0.5) * stride as f64) as f32;
    let x = || (0..places).map(|place| middle(place % width));
    let y = || (0..places).map(|place| middle(place / width));
    let points: Vec<f32> = x().chain(y()).chain(x()).chain(y()).collect();
    let points = translation.graph.floats("points", &[1, SIDES, places], &points);
    let corners = translation.graph.node("Add", &[&points, &offsets], &[]);
    translation.transposed(&corners, &[0, 2, 1])
}

fn output<'a>(model: &'a OnnxModel, name: &str) -> Result<&'a TracedTensor> {
    let found = model.trace.outputs.iter().find(|(known, _)| *known == name);
    found.map(|(_, tensor)| tensor).ok_or_else(|| Error::bug(format!("the network has no output `{name}`")))
}
