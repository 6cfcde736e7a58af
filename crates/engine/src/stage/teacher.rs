//! The teacher of a distillation: a frozen model that sees the same images as the student, augmented and mixed.

use candle_core::{Device, Tensor};

use super::{ModelSpec, StageContext};
use crate::autograd::Value;
use crate::device::to_device;
use crate::error::Result;
use crate::model::{Model, Outputs, Pass, StateDict};

pub(super) struct Teacher {
    model: Model,
    state: StateDict,
    /// The device of the computation.
    device: Device,
}

impl Teacher {
    /// With the weights that a train stage reads besides its own.
    pub fn open(model_spec: &ModelSpec, context: &StageContext) -> Result<Self> {
        let model = model_spec.build();
        let state = context.load_model(1, &model.description)?;
        Ok(Self { model, state, device: context.device.clone() })
    }

    /// One pass for a series of batches.
    pub fn pass(&self) -> Pass<'_> {
        Pass::inference(&self.state)
    }

    /// The outputs for images [N, H, W, 3]; each image's output is independent of the others.
    pub fn outputs(&self, pass: &mut Pass, images: &Tensor) -> Result<Outputs> {
        self.model.forward(pass, 0, Value::constant(to_device(images, &self.device)?))
    }
}
