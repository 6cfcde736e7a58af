//! Chains of inverted bottlenecks, shared by MobileNetV2 and the EfficientNets. Each architecture's file
//! declares its tensors and their names.

use super::activations::Activations;
use super::layers::{BatchNorm, Conv2d, Linear};
use super::network::Network;
use super::pass::Pass;
use crate::autograd::Value;
use crate::error::Result;
use crate::ops::Activation;

/// The layers are the stem, the blocks, and the last convolution, which ends in the global average.
pub struct InvertedBottlenecks {
    pub stem: (Conv2d, BatchNorm),
    pub blocks: Vec<Block>,
    pub last: (Conv2d, BatchNorm),
    /// After every convolution except the projections.
    pub activation: Activation,
    /// The drop probability that a block after the last would have; it rises linearly from zero before the first
    /// (Huang et al. 2016, §3, counted from 0 as torchvision does).
    pub stochastic_depth: f64,
}

/// An inverted bottleneck: expand, depthwise convolution, project without an activation (MobileNetV2, Sandler et
/// al. 2018, §3.3). With squeeze-and-excitation, the channels are scaled before the projection.
pub struct Block {
    pub expand: Option<(Conv2d, BatchNorm)>,
    pub depthwise: (Conv2d, BatchNorm),
    pub excitation: Option<Excitation>,
    pub project: (Conv2d, BatchNorm),
    pub shortcut: bool,
}

/// Scales each channel by a function of all channels: Hu et al., *Squeeze-and-Excitation Networks* (CVPR 2018).
pub struct Excitation {
    pub squeeze: Linear,
    pub excite: Linear,
}

impl Block {
    /// `left_out` is the probability of dropping the branch.
    fn forward(&self, pass: &mut Pass, input: Value, activation: Activation, left_out: f64) -> Result<Value> {
        let mut value = input.clone();
        for (conv, norm) in self.expand.iter().chain([&self.depthwise]) {
            value = pass.conv_norm(conv, norm, activation, &value, None)?;
        }
        if let Some(excitation) = &self.excitation {
            value = excitation.forward(pass, &value, activation)?;
        }
        let (conv, norm) = &self.project;
        if self.shortcut {
            return pass.conv_norm_residual(conv, norm, &value, &input, left_out);
        }
        pass.conv_norm(conv, norm, Activation::None, &value, None)
    }
}

impl Excitation {
    fn forward(&self, pass: &mut Pass, x: &Value, activation: Activation) -> Result<Value> {
        let averages = pass.global_average_pool(x)?;
        let squeezed = pass.linear(&self.squeeze, &averages)?;
        let squeezed = pass.activation(&squeezed, activation)?;
        let excited = pass.linear(&self.excite, &squeezed)?;
        let weights = pass.activation(&excited, Activation::Sigmoid)?;
        pass.scale_channels(x, &weights)
    }
}

impl Network for InvertedBottlenecks {
    fn layer(&self, index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value> {
        let input = inputs.only()?;
        if index == 0 {
            let (conv, norm) = &self.stem;
            return pass.conv_norm(conv, norm, self.activation, &input, None);
        }
        if let Some(block) = self.blocks.get(index - 1) {
            let left_out = self.stochastic_depth * (index - 1) as f64 / self.blocks.len() as f64;
            return block.forward(pass, input, self.activation, left_out);
        }
        let (conv, norm) = &self.last;
        let value = pass.conv_norm(conv, norm, self.activation, &input, None)?;
        pass.global_average_pool(&value)
    }
}
