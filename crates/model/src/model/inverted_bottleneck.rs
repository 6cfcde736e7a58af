//! Chains of inverted bottlenecks, shared by the MobileNets and the EfficientNets. Each architecture's file
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
    /// After the stem and the last convolution.
    pub activation: Activation,
    /// The drop probability that a block after the last would have; it rises linearly from zero before the first
    /// (Huang et al. 2016, §3, counted from 0 as torchvision does).
    pub stochastic_depth: f64,
}

/// An inverted bottleneck: expand, depthwise convolution, project without an activation (MobileNetV2, Sandler et
/// al. 2018, §3.3). With squeeze-and-excitation, the channels are scaled before the projection.
pub struct Block {
    /// The convolutions that an activation follows: the expansion, if there is one, and the depthwise convolution; or one
    /// that does the work of both (EfficientNetV2, Tan and Le 2021, §3.2).
    pub convs: Vec<(Conv2d, BatchNorm)>,
    pub activation: Activation,
    pub excitation: Option<Excitation>,
    /// `None` in a block of one convolution, which ends in its activation.
    pub project: Option<(Conv2d, BatchNorm)>,
    pub shortcut: bool,
}

/// Scales each channel by a function of all channels: Hu et al., *Squeeze-and-Excitation Networks* (CVPR 2018).
pub struct Excitation {
    pub squeeze: Linear,
    pub excite: Linear,
    /// After the squeeze.
    pub activation: Activation,
    /// From the excited numbers to the scales: a sigmoid of some kind.
    pub gate: Activation,
}

impl Block {
    /// `left_out` is the probability of dropping the branch.
    fn forward(&self, pass: &mut Pass, input: Value, left_out: f64) -> Result<Value> {
        let mut value = input.clone();
        for (conv, norm) in &self.convs {
            value = pass.conv_norm(conv, norm, self.activation, &value, None)?;
        }
        if let Some(excitation) = &self.excitation {
            value = excitation.forward(pass, &value)?;
        }
        match &self.project {
            Some((conv, norm)) if self.shortcut => {
                pass.conv_norm_residual(conv, norm, &value, &input, left_out)
            }
            Some((conv, norm)) => pass.conv_norm(conv, norm, Activation::None, &value, None),
            None if self.shortcut => {
                let branch = pass.stochastic_depth(value, left_out)?;
                pass.add(&branch, &input)
            }
            None => Ok(value),
        }
    }
}

impl Excitation {
    pub fn forward(&self, pass: &mut Pass, x: &Value) -> Result<Value> {
        let averages = pass.global_average_pool(x)?;
        let squeezed = pass.linear(&self.squeeze, &averages)?;
        let squeezed = pass.activation(&squeezed, self.activation)?;
        let excited = pass.linear(&self.excite, &squeezed)?;
        let weights = pass.activation(&excited, self.gate)?;
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
            return block.forward(pass, input, left_out);
        }
        let (conv, norm) = &self.last;
        let value = pass.conv_norm(conv, norm, self.activation, &input, None)?;
        pass.average_features(value)
    }
}
