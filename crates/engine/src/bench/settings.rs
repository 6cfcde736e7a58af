//! Settings of timings.

use schemars::schema_for;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::pipeline::{self, Arch, DetectHead, Head, ImageSizes, Precision, Train, suggest};
use crate::task::TaskKind;

/// The step of a network that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every parameter trains.
    Train,
    /// The head trains. The backbone runs again in each step, as with augmented images.
    Frozen,
    /// Nothing trains: evaluation, with batch normalization folded into the convolutions.
    Infer,
}

/// The step to time, and how often.
#[derive(Clone, Debug)]
pub struct NetworkSettings {
    pub arch: Arch,
    pub mode: Mode,
    /// The precision of training steps.
    pub precision: Precision,
    /// Images in each step.
    pub batch: usize,
    /// Side length of the square images, in pixels.
    pub image_size: usize,
    pub classes: usize,
    /// Warmup steps.
    pub warmup: usize,
    /// Timed steps.
    pub steps: usize,
}

impl NetworkSettings {
    /// The number of classes that published weights of an architecture have: those of COCO or of ImageNet.
    pub fn published_classes(arch: Arch) -> usize {
        if arch.is_detector() { 80 } else { 1000 }
    }

    /// Detectors have the head that finds objects, all others that of one class per image.
    pub(super) fn model(&self) -> pipeline::Model {
        let mut model = pipeline::Model::of(self.arch);
        if self.arch.is_detector() {
            model.head = Head::Detect(DetectHead { class_width: None });
        }
        model
    }

    pub(super) fn task(&self) -> TaskKind {
        if self.arch.is_detector() { TaskKind::Detection } else { TaskKind::default() }
    }

    /// Refuses counts of zero, and images that the architecture does not take.
    pub(super) fn check(&self) -> Result<()> {
        require(&[
            ("batch size", self.batch),
            ("image size", self.image_size),
            ("number of classes", self.classes),
            ("number of steps", self.steps),
        ])?;
        let (name, size) = (self.arch.name(), self.image_size);
        match self.arch.image_sizes() {
            ImageSizes::MultipleOf(of) if !size.is_multiple_of(of) => {
                let near = (size / of).max(1) * of;
                Err(Error::usage(format!(
                    "`{name}` takes image sizes that are multiples of {of}, not {size}"
                ))
                .hint(format!("use `--image-size {near}`, or another multiple of {of}")))
            }
            ImageSizes::Only(only) if size != only => {
                Err(Error::usage(format!("`{name}` takes images of {only} × {only} pixels only"))
                    .hint(format!("use `--image-size {only}`")))
            }
            _ => Ok(()),
        }
    }

    /// The train stage whose step is timed: SGD with momentum, in one epoch of all steps.
    ///
    /// The learning rate does not affect the time; it is small enough for random weights and one repeated batch.
    pub(super) fn stage(&self) -> Result<Train> {
        let mut stage = serde_json::json!({
            "from": "synthetic",
            "epochs": 1,
            "batch_size": self.batch,
            "precision": self.precision,
            "optimizer": { "kind": "sgd", "lr": 1e-4, "momentum": 0.9 },
        });
        if self.task() == TaskKind::Detection {
            stage["loss"] = serde_json::json!({ "kind": "detection" });
        }
        if self.mode == Mode::Frozen {
            stage["train"] = serde_json::json!(["@head"]);
        }
        serde_json::from_value(stage).map_err(|error| Error::bug(format!("the train stage to time: {error}")))
    }
}

/// The architecture of this name.
///
/// # Errors
/// An unknown name; the hint suggests a similar one.
pub fn arch(name: &str) -> Result<Arch> {
    serde_json::from_value(Value::from(name)).map_err(|_| {
        let error = Error::usage(format!("unknown architecture `{name}`"));
        let schema = schema_for!(Arch);
        let names = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        match suggest::help(name, "architectures", names.filter_map(Value::as_str)) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// The precision of this name.
///
/// # Errors
/// An unknown name.
pub fn precision(name: &str) -> Result<Precision> {
    serde_json::from_value(Value::from(name)).map_err(|_| {
        Error::usage(format!("unknown precision `{name}`")).hint("`f32`, `tf32`, `bf16` or `f16`")
    })
}

/// Rejects settings without anything to time.
pub(super) fn require(counts: &[(&str, usize)]) -> Result<()> {
    match counts.iter().find(|(_, count)| *count == 0) {
        None => Ok(()),
        Some((what, _)) => Err(Error::usage(format!("the {what} must be at least 1"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_architecture_is_answered_with_the_one_meant_and_a_strange_one_with_all() {
        assert_eq!(arch("resnet50").unwrap(), Arch::ResNet50);
        assert_eq!(arch("resnet-18").unwrap_err().hint.unwrap(), "did you mean `resnet18`?");
        let hint = arch("transformer").unwrap_err().hint.unwrap();
        assert!(hint.starts_with("architectures: `resnet18`, `resnet34`"), "{hint}");
    }
}
