//! Declares the tensors of an architecture while it is built.

use super::description::{
    Description, Init, LayerInput, LayerOutput, LayerSpec, NormSpec, TensorId, TensorRole, TensorSpec,
};
use super::layers::{BatchNorm, BiasedConv2d, Conv2d, Dense, LayerNorm, Linear, Padding};
use crate::pipeline::Variant;

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
    /// Whether a part of a position is left out.
    rounds_down: bool,
    /// Whether convolutions pad as TensorFlow does, instead of by their own padding.
    pads_same: bool,
    /// The channels of what was last declared.
    channels: usize,
    form: Form,
}

/// The form of what layers put out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Map,
    Tokens,
    Vector,
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
        let prefix = String::new();
        let (stride, rounds_down, pads_same, channels, form) = (1, false, false, 3, Form::Map);
        Self { description, prefix, norm, stride, rounds_down, pads_same, channels, form }
    }

    /// The same with the convention of another library: `norm` is that of torchvision.
    pub fn of_variant(arch: &str, norm: NormSettings, variant: Variant) -> Self {
        let eps = match variant {
            Variant::Torchvision => norm.eps,
            Variant::Timm => 1e-5,
            Variant::Tensorflow => 1e-3,
        };
        let pads_same = variant == Variant::Tensorflow;
        Self { pads_same, ..Self::new(arch, NormSettings { eps, ..norm }) }
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
        let output = self.current_output();
        let layer = LayerSpec { name: name.to_owned(), reads: reads.to_vec(), kind: None, output };
        self.description.layers.push(layer);
    }

    /// Says what the layer is.
    pub fn kind(&mut self, kind: &'static str) {
        if let Some(layer) = self.description.layers.last_mut() {
            layer.kind = Some(kind);
        }
    }

    /// From here on, layers put out tensors of this form.
    pub fn form(&mut self, form: Form) {
        self.form = form;
        self.output(self.current_output());
    }

    /// Says how many channels the layer puts out, where the last tensor does not tell.
    pub fn channels(&mut self, channels: usize) {
        self.channels = channels;
        self.output(self.current_output());
    }

    /// Says what the layer puts out, where nothing else tells; nothing is declared in it after that.
    pub fn output(&mut self, output: LayerOutput) {
        if let Some(layer) = self.description.layers.last_mut() {
            layer.output = output;
        }
    }

    fn current_output(&self) -> LayerOutput {
        let (channels, stride) = (self.channels, self.stride);
        match self.form {
            Form::Map => LayerOutput::Map { channels, stride, rounds_down: self.rounds_down },
            Form::Tokens => LayerOutput::Tokens { channels, stride },
            Form::Vector => LayerOutput::Vector { channels },
        }
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
        self.set_stride(self.stride * stride);
    }

    /// From here on, maps have another size: those of a layer that enlarges them, or that reads an earlier one.
    pub fn set_stride(&mut self, stride: usize) {
        self.stride = stride;
        self.output(self.current_output());
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
        let fan_out = conv.kernel * conv.kernel * conv.outputs / conv.groups;
        self.declare_conv2d(name, conv, Init::Normal { std: (2.0 / fan_out as f64).sqrt() })
    }

    /// A convolution without bias, initialised as PyTorch's `Conv2d`: uniform in ±1/√fan-in.
    pub fn conv2d_uniform(&mut self, name: &str, conv: ConvSettings) -> Conv2d {
        let fan_in = conv.kernel * conv.kernel * conv.inputs / conv.groups;
        self.declare_conv2d(name, conv, Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() })
    }

    fn declare_conv2d(&mut self, name: &str, conv: ConvSettings, init: Init) -> Conv2d {
        let ConvSettings { inputs, outputs, kernel, stride, groups, padding } = conv;
        let padding = if self.pads_same && kernel > 1 { Padding::Same } else { padding };
        let shape = vec![outputs, inputs / groups, kernel, kernel];
        let weight = self.within(name, |scope| scope.declare("weight", shape, TensorRole::Weight, init));
        self.rounds_down |= stride == kernel && stride > 1 && padding == Padding::Fixed(0);
        self.stride *= stride;
        self.channels(outputs);
        Conv2d { weight, kernel, stride, groups, padding }
    }

    /// A convolution with bias: its weight is initialised by `init`, the bias with zeros.
    pub fn biased_conv2d(&mut self, name: &str, conv: ConvSettings, init: Init) -> BiasedConv2d {
        self.biased_conv2d_with(name, conv, [init, Init::Zeros])
    }

    /// A convolution with bias; `init` is for its weight and its bias.
    pub fn biased_conv2d_with(&mut self, name: &str, conv: ConvSettings, init: [Init; 2]) -> BiasedConv2d {
        let outputs = conv.outputs;
        let conv = self.declare_conv2d(name, conv, init[0]);
        let bias = |scope: &mut Self| scope.declare("bias", vec![outputs], TensorRole::Bias, init[1]);
        BiasedConv2d { conv, bias: self.within(name, bias) }
    }

    /// Layer normalization: a weight and a bias.
    pub fn layer_norm(&mut self, name: &str, channels: usize, eps: f64) -> LayerNorm {
        self.channels(channels);
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
        self.channels(outputs);
        self.within(name, |scope| Linear {
            weight: scope.declare("weight", vec![outputs, inputs], TensorRole::Weight, init),
            bias: Some(scope.declare("bias", vec![outputs], TensorRole::Bias, init)),
        })
    }

    /// A linear layer over pixels or tokens; `init` is for its weight and its bias.
    pub fn dense(&mut self, name: &str, [inputs, outputs]: [usize; 2], init: [Init; 2]) -> Dense {
        self.channels(outputs);
        let dense = self.within(name, |scope| Dense {
            weight: scope.declare("weight", vec![outputs, inputs], TensorRole::Weight, init[0]),
            bias: scope.declare("bias", vec![outputs], TensorRole::Bias, init[1]),
        });
        self.linear_layer(dense.weight);
        dense
    }

    /// Says that a weight is that of a linear layer over pixels or tokens, which [`Pass::pointwise`](super::Pass)
    /// computes: adapters may change it.
    pub fn linear_layer(&mut self, weight: TensorId) {
        self.description.linear_layers.push(weight);
    }

    /// A parameter outside the standard layers.
    pub fn tensor(&mut self, name: &str, shape: Vec<usize>, role: TensorRole, init: Init) -> TensorId {
        self.declare(name, shape, role, init)
    }

    /// As [`Scope::linear`], without bias.
    pub fn linear_without_bias(&mut self, name: &str, inputs: usize, outputs: usize) -> Linear {
        self.declare_weight(name, inputs, outputs, Init::Uniform { bound: 1.0 / (inputs as f64).sqrt() })
    }

    /// As [`Scope::linear_without_bias`], initialised by `init`.
    pub fn linear_without_bias_by(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        init: Init,
    ) -> Linear {
        self.declare_weight(name, inputs, outputs, init)
    }

    /// A linear layer without bias whose rows are class directions: normally distributed with about unit length,
    /// so that none is preferred.
    pub fn cosine_classifier(&mut self, name: &str, inputs: usize, outputs: usize) -> Linear {
        self.declare_weight(name, inputs, outputs, Init::Normal { std: 1.0 / (inputs as f64).sqrt() })
    }

    fn declare_weight(&mut self, name: &str, inputs: usize, outputs: usize, init: Init) -> Linear {
        let shape = vec![outputs, inputs];
        self.channels(outputs);
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

    /// Adds a module to the neck: `@neck`.
    pub fn neck(&mut self, module: &str) {
        self.description.neck.push(module.to_owned());
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
