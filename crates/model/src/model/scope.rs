//! Declares the tensors of an architecture while it is built.

use super::description::{
    Description, Init, LayerInput, LayerSpec, NormSpec, TensorId, TensorRole, TensorSpec,
};
use super::layers::{BatchNorm, BiasedConv2d, Conv2d, Dense, LayerNorm, Linear, Padding};

/// Builds a [`Description`], and returns layers with the ids of their tensors.
///
/// Declaring in the order of the PyTorch module's definition gives the order of its `state_dict`.
pub struct Scope {
    description: Description,
    /// The name prefix, such as `layer1.0.`; empty at the root.
    prefix: String,
    norm: NormSettings,
    /// The pixels of an image per position of the current feature maps, along each side.
    stride: usize,
}

/// The settings shared by all batch normalization layers of an architecture.
#[derive(Clone, Copy)]
pub struct NormSettings {
    pub eps: f64,
    /// The share of the batch's statistics in the updated running ones, as in PyTorch.
    pub momentum: f64,
}

/// The geometry of a convolution.
#[derive(Clone, Copy)]
pub struct ConvSettings {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub groups: usize,
    pub padding: Padding,
}

impl Scope {
    pub fn new(arch: &str, norm: NormSettings) -> Self {
        let description = Description { arch: arch.to_owned(), ..Description::default() };
        Self { description, prefix: String::new(), norm, stride: 1 }
    }

    /// Begins the next layer, which reads the one before it: what is declared from here on belongs to it.
    pub fn layer(&mut self, name: &str) {
        let last = self.description.layers.len().checked_sub(1);
        self.layer_of(name, &[last.map_or(LayerInput::Image, LayerInput::Layer)]);
    }

    /// Begins the next layer, which reads some of what is there: in any order, each once.
    pub fn layer_of(&mut self, name: &str, reads: &[LayerInput]) {
        debug_assert!(
            (1..reads.len()).all(|place| !reads[..place].contains(&reads[place])),
            "`{name}` reads once"
        );
        self.description.layers.push(LayerSpec { name: name.to_owned(), reads: reads.to_vec() });
    }

    /// Declares inside the module `name`.
    pub fn within<T>(&mut self, name: &str, declare: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.prefix.len();
        self.prefix.push_str(name);
        self.prefix.push('.');
        let result = declare(self);
        self.prefix.truncate(length);
        result
    }

    /// A pooling that keeps one of `stride` positions along each side. All windows here are padded for ⌈size /
    /// stride⌉ positions.
    pub fn pool(&mut self, stride: usize) {
        self.stride *= stride;
    }

    /// The current reduction of the feature maps, for [`Scope::branch`].
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Declares a branch that starts from maps of an earlier `stride` and is added to the current ones.
    pub fn branch<T>(&mut self, stride: usize, declare: impl FnOnce(&mut Self) -> T) -> T {
        let joined = std::mem::replace(&mut self.stride, stride);
        let result = declare(self);
        debug_assert_eq!(self.stride, joined, "branches that are joined have maps of one size");
        self.stride = joined;
        result
    }

    /// A convolution without bias: normal with variance 2 / fan-out (He et al. 2015, §2.2), fan-out counted per group.
    pub fn conv2d(&mut self, name: &str, conv: ConvSettings) -> Conv2d {
        let ConvSettings { inputs, outputs, kernel, stride, groups, padding } = conv;
        let fan_out = kernel * kernel * outputs / groups;
        let init = Init::Normal { std: (2.0 / fan_out as f64).sqrt() };
        let shape = vec![outputs, inputs / groups, kernel, kernel];
        let weight = self.within(name, |scope| scope.declare("weight", shape, TensorRole::Weight, init));
        self.stride *= stride;
        Conv2d { weight, kernel, stride, groups, padding }
    }

    /// A convolution with bias: its weight is initialised by `init`, the bias with zeros.
    pub fn biased_conv2d(&mut self, name: &str, conv: ConvSettings, init: Init) -> BiasedConv2d {
        let ConvSettings { inputs, outputs, kernel, stride, groups, padding } = conv;
        let shape = vec![outputs, inputs / groups, kernel, kernel];
        self.stride *= stride;
        self.within(name, |scope| {
            let weight = scope.declare("weight", shape, TensorRole::Weight, init);
            let bias = scope.declare("bias", vec![outputs], TensorRole::Bias, Init::Zeros);
            BiasedConv2d { conv: Conv2d { weight, kernel, stride, groups, padding }, bias }
        })
    }

    /// Layer normalization: a weight and a bias.
    pub fn layer_norm(&mut self, name: &str, channels: usize, eps: f64) -> LayerNorm {
        self.within(name, |scope| LayerNorm {
            weight: scope.declare("weight", vec![channels], TensorRole::NormWeight, Init::Ones),
            bias: scope.declare("bias", vec![channels], TensorRole::NormBias, Init::Zeros),
            eps,
        })
    }

    /// Batch normalization with the architecture's settings: two parameters and three buffers.
    pub fn batch_norm(&mut self, name: &str, channels: usize) -> BatchNorm {
        self.declare_norm(name, channels, self.norm, Some(self.stride))
    }

    /// Batch normalization of vectors, with the defaults of PyTorch's `BatchNorm1d`.
    pub fn batch_norm_1d(&mut self, name: &str, columns: usize) -> BatchNorm {
        self.declare_norm(name, columns, NormSettings { eps: 1e-5, momentum: 0.1 }, None)
    }

    fn declare_norm(
        &mut self,
        name: &str,
        channels: usize,
        settings: NormSettings,
        stride: Option<usize>,
    ) -> BatchNorm {
        let NormSettings { eps, momentum } = settings;
        let spec = self.within(name, |scope| NormSpec {
            name: scope.prefix[..scope.prefix.len() - 1].to_owned(),
            stride,
            weight: scope.declare("weight", vec![channels], TensorRole::NormWeight, Init::Ones),
            bias: scope.declare("bias", vec![channels], TensorRole::NormBias, Init::Zeros),
            running_mean: scope.declare("running_mean", vec![channels], TensorRole::RunningMean, Init::Zeros),
            running_var: scope.declare("running_var", vec![channels], TensorRole::RunningVar, Init::Ones),
            batch_count: scope.declare("num_batches_tracked", vec![], TensorRole::BatchCount, Init::Zeros),
        });
        self.description.norms.push(spec.clone());
        BatchNorm { index: self.description.norms.len() - 1, spec, eps, momentum }
    }

    /// A linear layer with bias, initialised as PyTorch's `Linear`: uniform in ±1/√fan-in.
    pub fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Linear {
        let init = Init::Uniform { bound: 1.0 / (inputs as f64).sqrt() };
        self.within(name, |scope| Linear {
            weight: scope.declare("weight", vec![outputs, inputs], TensorRole::Weight, init),
            bias: Some(scope.declare("bias", vec![outputs], TensorRole::Bias, init)),
        })
    }

    /// A linear layer over pixels or tokens; `init` is for its weight and its bias.
    pub fn dense(&mut self, name: &str, [inputs, outputs]: [usize; 2], init: [Init; 2]) -> Dense {
        self.within(name, |scope| Dense {
            weight: scope.declare("weight", vec![outputs, inputs], TensorRole::Weight, init[0]),
            bias: scope.declare("bias", vec![outputs], TensorRole::Bias, init[1]),
        })
    }

    /// A parameter outside the standard layers.
    pub fn tensor(&mut self, name: &str, shape: Vec<usize>, role: TensorRole, init: Init) -> TensorId {
        self.declare(name, shape, role, init)
    }

    /// As [`Scope::linear`], without bias.
    pub fn linear_without_bias(&mut self, name: &str, inputs: usize, outputs: usize) -> Linear {
        self.declare_weight(name, inputs, outputs, Init::Uniform { bound: 1.0 / (inputs as f64).sqrt() })
    }

    /// A linear layer without bias whose rows are class directions: normally distributed with about unit length,
    /// so that none is preferred.
    pub fn cosine_classifier(&mut self, name: &str, inputs: usize, outputs: usize) -> Linear {
        self.declare_weight(name, inputs, outputs, Init::Normal { std: 1.0 / (inputs as f64).sqrt() })
    }

    fn declare_weight(&mut self, name: &str, inputs: usize, outputs: usize, init: Init) -> Linear {
        let shape = vec![outputs, inputs];
        let weight = self.within(name, |scope| scope.declare("weight", shape, TensorRole::Weight, init));
        Linear { weight, bias: None }
    }

    /// A 1×1 convolution with bias for single-pixel images [N, C]: a linear layer except for the weight's shape.
    /// Initialised as the other convolutions, the bias with zeros.
    pub fn pointwise(&mut self, name: &str, inputs: usize, outputs: usize) -> Linear {
        let init = Init::Normal { std: (2.0 / outputs as f64).sqrt() };
        self.within(name, |scope| Linear {
            weight: scope.declare("weight", vec![outputs, inputs, 1, 1], TensorRole::Weight, init),
            bias: Some(scope.declare("bias", vec![outputs], TensorRole::Bias, Init::Zeros)),
        })
    }

    /// Sets the module that computes class scores from features: `@head`.
    pub fn head(&mut self, module: &str) {
        self.description.head.push(module.to_owned());
    }

    /// Sets names in published files that are not part of the model.
    pub fn ignore(&mut self, modules: &[&str]) {
        self.description.ignored.extend(modules.iter().map(|module| (*module).to_owned()));
    }

    /// The current description.
    pub fn description(&self) -> &Description {
        &self.description
    }

    pub fn finish(self) -> Description {
        self.description
    }

    fn declare(&mut self, name: &str, shape: Vec<usize>, role: TensorRole, init: Init) -> TensorId {
        let layer = self.description.layers.len() - 1;
        let name = format!("{}{name}", self.prefix);
        self.description.tensors.push(TensorSpec { name, shape, role, init, layer });
        self.description.tensors.len() - 1
    }
}
