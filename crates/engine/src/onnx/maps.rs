//! Operations on maps [N, C, H, W].

use super::graph::{Attribute, values};
use super::operations::Translation;
use crate::error::Result;
use crate::model::TensorId;
use crate::model::trace::{TracedNorm, TracedTensor};
use crate::ops::Window;

/// Weights or a bias: their shape and values.
pub type Weights = (Vec<usize>, Vec<f32>);

impl Translation<'_> {
    /// The weight and bias of a convolution with its normalisation folded in: w · s and b − mean · s for each output
    /// channel, with s = scale / √(variance + eps). Folded in float64.
    pub fn folded(&self, weight: TensorId, norm: &TracedNorm) -> Result<[Weights; 2]> {
        let of = |id: TensorId| values(self.parameter(id));
        let (scale, shift) = (of(norm.weight)?, of(norm.bias)?);
        let (mean, variance) = (of(norm.running_mean)?, of(norm.running_var)?);
        let factor =
            |channel: usize| f64::from(scale[channel]) / (f64::from(variance[channel]) + norm.eps).sqrt();
        let dims = self.parameter(weight).dims().to_vec();
        let mut weights = of(weight)?;
        let of_channel = weights.len() / scale.len().max(1);
        for (channel, weights) in weights.chunks_mut(of_channel.max(1)).enumerate() {
            let factor = factor(channel);
            weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * factor) as f32);
        }
        let bias =
            |channel: usize| (f64::from(shift[channel]) - f64::from(mean[channel]) * factor(channel)) as f32;
        Ok([(dims, weights), (vec![scale.len()], (0..scale.len()).map(bias).collect())])
    }

    pub fn weights(&self, weight: TensorId, bias: TensorId) -> Result<[Weights; 2]> {
        let of = |id: TensorId| -> Result<Weights> {
            Ok((self.parameter(id).dims().to_vec(), values(self.parameter(id))?))
        };
        Ok([of(weight)?, of(bias)?])
    }

    pub fn conv(
        &mut self,
        x: &TracedTensor,
        weight: Weights,
        bias: Weights,
        window: Window,
        groups: usize,
    ) -> Result<String> {
        let x = self.tensor(x)?;
        let weight = self.graph.floats("weight", &weight.0, &weight.1);
        let bias = self.graph.floats("bias", &bias.0, &bias.1);
        let [kernel, strides, pads] = attributes(window);
        let attributes = [
            Attribute::Ints("kernel_shape", &kernel),
            Attribute::Ints("strides", &strides),
            Attribute::Ints("pads", &pads),
            Attribute::Int("group", groups as i64),
        ];
        Ok(self.graph.node("Conv", &[&x.name, &weight, &bias], &attributes))
    }

    pub fn max_pool(&mut self, x: &TracedTensor, window: Window) -> Result<String> {
        let x = self.tensor(x)?;
        let [kernel, strides, pads] = attributes(window);
        let attributes = [
            Attribute::Ints("kernel_shape", &kernel),
            Attribute::Ints("strides", &strides),
            Attribute::Ints("pads", &pads),
        ];
        Ok(self.graph.node("MaxPool", &[&x.name], &attributes))
    }

    pub fn global_average_pool(&mut self, x: &TracedTensor) -> Result<String> {
        let x = self.tensor(x)?;
        let attributes = [Attribute::Ints("axes", &[2, 3]), Attribute::Int("keepdims", 0)];
        Ok(self.graph.node("ReduceMean", &[&x.name], &attributes))
    }

    pub fn scale_channels(&mut self, reads: &[TracedTensor]) -> Result<String> {
        let (x, scale) = (self.tensor(&reads[0])?, self.tensor(&reads[1])?);
        let scale = self.reshaped(&scale.name, &[0, -1, 1, 1]);
        Ok(self.graph.node("Mul", &[&x.name, &scale], &[]))
    }

    pub fn concat(&mut self, reads: &[TracedTensor]) -> Result<String> {
        let parts = reads.iter().map(|part| self.tensor(part)).collect::<Result<Vec<_>>>()?;
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        // Channels are the second axis of maps, and the last one of tokens and vectors.
        let axis = if parts[0].dims.len() == 4 { 1 } else { -1 };
        Ok(self.graph.node("Concat", &names, &[Attribute::Int("axis", axis)]))
    }

    /// The parts of each group of channels; parts of the same place in all groups are one tensor.
    pub fn split_channels(
        &mut self,
        x: &TracedTensor,
        groups: usize,
        sizes: &[usize],
    ) -> Result<Vec<String>> {
        let x = self.tensor(x)?;
        let [_, _, height, width] = x.dims[..] else {
            return Err(crate::error::Error::bug("channels of a tensor that is no map"));
        };
        let sizes: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
        let (height, width) = (height as i64, width as i64);
        let name = match groups {
            1 => x.name,
            _ => self.reshaped(&x.name, &[0, groups as i64, -1, height * width]),
        };
        let split = self.graph.ints("split", &sizes);
        let axis = if groups == 1 { 1 } else { 2 };
        let parts = self.graph.nodes("Split", &[&name, &split], sizes.len(), &[Attribute::Int("axis", axis)]);
        if groups == 1 {
            return Ok(parts);
        }
        Ok(parts.iter().map(|part| self.reshaped(part, &[0, -1, height, width])).collect())
    }

    /// Twice the height and width.
    pub fn upsample(&mut self, x: &TracedTensor) -> Result<String> {
        let x = self.tensor(x)?;
        let scales = self.graph.floats("scales", &[4], &[1.0, 1.0, 2.0, 2.0]);
        let attributes = [
            Attribute::Text("mode", "nearest"),
            Attribute::Text("coordinate_transformation_mode", "asymmetric"),
            Attribute::Text("nearest_mode", "floor"),
        ];
        Ok(self.graph.node("Resize", &[&x.name, "", &scales], &attributes))
    }
}

/// Kernel, strides and pads as ONNX has them: pads are those of all beginnings, then of all ends.
fn attributes(window: Window) -> [Vec<i64>; 3] {
    let Window { kernel, stride, padding: [top, left, bottom, right] } = window;
    let ints = |values: &[usize]| values.iter().map(|&value| value as i64).collect();
    [ints(&kernel), ints(&stride), ints(&[top, left, bottom, right])]
}
