//! A model that teaches another: frozen, and shown the very images that the other learns from, changed and mixed as they
//! are.

use candle_core::{Device, Tensor};

use super::{Context, Subject};
use crate::autograd::Value;
use crate::device::placed;
use crate::error::Result;
use crate::model::{Model, Outputs, Pass, State};

pub(super) struct Teacher {
    model: Model,
    state: State,
    /// Where it computes.
    device: Device,
}

impl Teacher {
    /// With the weights that a train stage reads beside those it starts from.
    pub fn open(subject: &Subject, context: &Context) -> Result<Self> {
        let model = subject.build();
        let state = context.load_model(1, &model.description)?;
        Ok(Self { model, state, device: context.device.clone() })
    }

    /// One for a series of batches.
    pub fn pass(&self) -> Pass<'_> {
        Pass::inference(&self.state)
    }

    /// The outputs for images [N, H, W, 3], each as if it were alone.
    pub fn outputs(&self, pass: &mut Pass, images: &Tensor) -> Result<Outputs> {
        self.model.forward(pass, 0, Value::constant(placed(images, &self.device)?))
    }
}
