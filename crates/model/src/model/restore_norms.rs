//! Batch normalisation that was merged into convolutions, put back.
//!
//! A fused convolution computes w∗x + b. Let μ and σ² be mean and variance of w∗x over some images. Batch normalisation
//! with running mean μ, running variance σ², weight γ = √(σ² + ε) and bias β = b + μ computes the same in evaluation, and in
//! training starts near it: a batch has about the same statistics.

use candle_core::{DType, Device, Tensor};

use super::build::Model;
use super::description::TensorId;
use super::pass::{Measured, Pass, StateDict};
use crate::autograd::Value;
use crate::error::{Error, Result};

impl Model {
    /// Puts the normalisations `norms` (indices in [`Description::norms`](super::Description::norms)) back. `state` has the
    /// biases of their convolutions as their `bias`, and stays on its device; `batches` are images [N, H, W, C] on any
    /// device, computed on `device`.
    ///
    /// One pass over the images is enough: outputs do not depend on the statistics, so each convolution reads the
    /// network's own activations. Returns the number of images. The result depends on how images are divided into
    /// batches only in its last bits.
    ///
    /// # Errors
    /// No images, activations that are not finite, or a batch that cannot be made.
    pub fn restore_batch_norms(
        &self,
        state: &mut StateDict,
        norms: &[usize],
        device: &Device,
        batches: impl IntoIterator<Item = Result<Tensor>>,
    ) -> Result<usize> {
        let mut wanted = vec![false; self.description.norms.len()];
        norms.iter().for_each(|&norm| wanted[norm] = true);
        let placed = state.to_device(device)?;
        let mut pass = Pass::measuring(&placed, wanted);
        let mut images = 0;
        for batch in batches {
            let batch = batch?.to_device(device)?;
            images += batch.dims().first().copied().unwrap_or(0);
            self.forward(&mut pass, 0, Value::constant(batch))?;
        }
        if images == 0 {
            return Err(Error::usage("batch normalisation cannot be restored without images")
                .hint("add training images to the data set"));
        }
        let found = pass.into_measured();
        for &norm in norms {
            let measured = found
                .get(&norm)
                .ok_or_else(|| Error::bug("a normalisation to restore does not follow a convolution"))?;
            self.restore(state, norm, measured)?;
        }
        Ok(images)
    }

    fn restore(&self, state: &mut StateDict, norm: usize, measured: &Measured) -> Result<()> {
        let spec = &self.description.norms[norm];
        let Measured { eps, moments } = measured;
        if moments.mean.iter().chain(&moments.squares).any(|number| !number.is_finite()) {
            return Err(Error::usage(format!(
                "batch normalisation `{}` cannot be restored: the activations before it are not finite",
                spec.name
            ))
            .hint("check the weights and the image settings of the data set, such as `normalize`"));
        }
        let biases: Vec<f64> = state.tensors[spec.bias].to_dtype(DType::F64)?.to_vec1()?;
        // From the stored, rounded statistics, so that evaluation undoes them exactly.
        let stored = |id: TensorId, numbers: Vec<f64>| -> Result<Vec<f64>> {
            let dtype = state.tensors[id].dtype();
            let tensor =
                Tensor::from_vec(numbers, state.tensors[id].dims(), &Device::Cpu)?.to_dtype(dtype)?;
            Ok(tensor.to_dtype(DType::F64)?.to_vec1()?)
        };
        let variance = moments.squares.iter().map(|squares| squares / moments.count).collect();
        let mean = stored(spec.running_mean, moments.mean.clone())?;
        let variance = stored(spec.running_var, variance)?;
        let weight = variance.iter().map(|variance| (variance + eps).sqrt()).collect();
        let bias = biases.iter().zip(&mean).map(|(bias, mean)| bias + mean).collect();
        for (id, numbers) in [
            (spec.running_mean, mean),
            (spec.running_var, variance),
            (spec.weight, weight),
            (spec.bias, bias),
        ] {
            let old = &state.tensors[id];
            let new = Tensor::from_vec(numbers, old.dims(), &Device::Cpu)?.to_dtype(old.dtype())?;
            state.tensors[id] = new.to_device(old.device())?;
        }
        state.tensors[spec.batch_count] = state.tensors[spec.batch_count].zeros_like()?;
        Ok(())
    }
}
