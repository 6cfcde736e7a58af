//! YOLO11 in five sizes, after its published description: Jocher and Qiu, *Ultralytics YOLO11* (2024). Layers, names, eps
//! and momentum are those of the published weights.
//!
//! The layers are `model.0` … `model.23`, as other tools count them: a backbone (0 to 10), a neck (11 to 22) in which maps
//! of three sizes exchange features (Liu et al., *Path Aggregation Network*, CVPR 2018), and the head. Six layers of the
//! neck have no tensors. With a head that classifies images, there is the backbone alone.

use super::activations::Activations;
use super::code_paths::YOLO11;
use super::description::{Init, LayerInput, LayerOutput, TensorRole};
use super::layers::BiasedConv2d;
use super::network::{ArchSpec, Architecture, Backbone, BuildOptions, Head, Network};
use super::pass::Pass;
use super::scope::{NormSettings, Scope};
use super::yolo11_blocks::{C2psa, C3k2, C3k2Settings, Conv, Sppf, same};
use crate::autograd::Value;
use crate::code_path::CodePath;
use crate::error::Result;
use crate::ops::Activation;
use crate::ops::code_paths::{ATTENTION_QKV, CONCAT, UPSAMPLE};
use crate::pipeline;

/// The outputs: for each of the four sides of a box (left, top, right, bottom) the logits of its bins, and of the
/// classes, at each place of the maps of stride 8, 16 and 32: [N, H, W, 4 · 16] and [N, H, W, classes].
pub const OUTPUTS: [&str; 6] = [
    "box_logits_8",
    "box_logits_16",
    "box_logits_32",
    "class_logits_8",
    "class_logits_16",
    "class_logits_32",
];

/// The strides of the maps that the head reads.
pub const STRIDES: [usize; 3] = [8, 16, 32];

/// The bins of the distance from a place to a side: Li et al., *Generalized Focal Loss* (NeurIPS 2020), §3.2.
pub const BINS: usize = 16;

const CODE_PATHS: &[CodePath] = &[YOLO11, CONCAT, UPSAMPLE, ATTENTION_QKV];

macro_rules! sizes {
    ($($name:ident = $size:expr;)+) => {
        $(pub const $name: ArchSpec = ArchSpec { build: |options| build($size, options), code_paths: CODE_PATHS };)+
    };
}

sizes! {
    NANO = Size { repeats: 1, quarters: 1, cap: 1024, nested: false };
    SMALL = Size { repeats: 1, quarters: 2, cap: 1024, nested: false };
    MEDIUM = Size { repeats: 1, quarters: 4, cap: 512, nested: true };
    LARGE = Size { repeats: 2, quarters: 4, cap: 512, nested: true };
    EXTRA_LARGE = Size { repeats: 2, quarters: 6, cap: 512, nested: true };
}

#[derive(Clone, Copy)]
struct Size {
    /// Of the blocks inside a layer.
    repeats: usize,
    /// The width in quarters of the nominal channels.
    quarters: usize,
    /// The most nominal channels of a layer.
    cap: usize,
    /// Whether the blocks of every C3k2 are C3k.
    nested: bool,
}

impl Size {
    /// Rounded up to a multiple of 8.
    fn channels(self, nominal: usize) -> usize {
        (nominal.min(self.cap) * self.quarters).div_ceil(4 * 8) * 8
    }
}

enum Layer {
    Conv(Conv),
    C3k2(C3k2),
    Sppf(Sppf),
    C2psa(C2psa),
    Upsample,
    Concat,
}

/// The layers ahead of the head.
struct Yolo11 {
    layers: Vec<Layer>,
    /// Whether the last layer ends in the global average.
    pools: bool,
}

impl Network for Yolo11 {
    fn layer(&self, index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value> {
        let inputs = inputs.into_values();
        let joined: Vec<&Value> = inputs.iter().collect();
        let y = match &self.layers[index] {
            Layer::Conv(conv) => conv.forward(pass, joined[0])?,
            Layer::C3k2(block) => block.forward(pass, joined[0])?,
            Layer::Sppf(block) => block.forward(pass, joined[0])?,
            Layer::C2psa(block) => block.forward(pass, joined[0])?,
            Layer::Upsample => pass.upsample_nearest(joined[0])?,
            Layer::Concat => pass.concat(&joined)?,
        };
        if self.pools && index + 1 == self.layers.len() { pass.average_features(y) } else { Ok(y) }
    }
}

/// Declares layers one after the other.
struct Builder {
    scope: Scope,
    size: Size,
    layers: Vec<Layer>,
    /// The channels of each layer so far.
    channels: Vec<usize>,
}

fn build(size: Size, options: &BuildOptions) -> Architecture {
    let scope = Scope::new(options.name(), NormSettings { eps: 1e-3, momentum: 0.03 });
    let mut builder = Builder { scope, size, layers: Vec::new(), channels: Vec::new() };
    builder.backbone();
    let pipeline::Head::Detect(head) = &options.settings.head else {
        let Builder { scope, layers, channels, .. } = builder;
        let (network, features) = (Box::new(Yolo11 { layers, pools: true }), channels[channels.len() - 1]);
        return Backbone { scope, network, features, head: "classifier" }.with_head(options);
    };
    builder.neck();
    let read = [16, 19, 22];
    let channels = read.map(|layer| builder.channels[layer]);
    let width = head.class_width.unwrap_or(channels[0].max(options.classes.min(100)));
    let Builder { mut scope, layers, .. } = builder;
    scope.layer_of("model.23", &read.map(LayerInput::Layer));
    scope.kind("Detect");
    scope.head("model.23");
    let head = scope.within("model.23", |scope| Detect::new(scope, channels, width, options.classes));
    scope.output(LayerOutput::Points { channels: 4 * BINS + options.classes, strides: &STRIDES });
    Architecture { scope, network: Box::new(Yolo11 { layers, pools: false }), head: Box::new(head) }
}

impl Builder {
    fn backbone(&mut self) {
        self.conv(64);
        self.conv(128);
        self.c3k2(256, 4, false);
        self.conv(256);
        self.c3k2(512, 4, false);
        self.conv(512);
        self.c3k2(512, 2, true);
        self.conv(1024);
        self.c3k2(1024, 2, true);
        let channels = self.size.channels(1024);
        self.layer("SPPF", None, channels, |scope, name, _| Layer::Sppf(Sppf::new(scope, name, channels)));
        let repeats = self.size.repeats;
        self.layer("C2PSA", None, channels, |scope, name, _| {
            Layer::C2psa(C2psa::new(scope, name, channels, repeats))
        });
    }

    fn neck(&mut self) {
        self.upsample(16);
        self.concat([11, 6]);
        self.c3k2(512, 2, false);
        self.upsample(8);
        self.concat([14, 4]);
        self.c3k2(256, 2, false);
        self.conv(256);
        self.concat([17, 13]);
        self.c3k2(512, 2, false);
        self.conv(512);
        self.concat([20, 10]);
        self.c3k2(1024, 2, true);
        for layer in 11..self.layers.len() {
            self.scope.neck(&format!("model.{layer}"));
        }
    }

    /// Begins the next layer, which reads the one before it unless `reads` says otherwise. `declare` gets its name and
    /// the number of channels that it reads.
    fn layer(
        &mut self,
        kind: &'static str,
        reads: Option<[usize; 2]>,
        outputs: usize,
        declare: impl FnOnce(&mut Scope, &str, usize) -> Layer,
    ) {
        let name = format!("model.{}", self.layers.len());
        match reads {
            Some(layers) => self.scope.layer_of(&name, &layers.map(LayerInput::Layer)),
            None => self.scope.layer(&name),
        }
        self.scope.kind(kind);
        let inputs = self.channels.last().copied().unwrap_or(3);
        self.layers.push(declare(&mut self.scope, &name, inputs));
        self.scope.channels(outputs);
        self.channels.push(outputs);
    }

    fn conv(&mut self, nominal: usize) {
        let outputs = self.size.channels(nominal);
        self.layer("Conv", None, outputs, |scope, name, inputs| {
            Layer::Conv(Conv::down(scope, name, inputs, outputs))
        });
    }

    /// `share` is how many times a half is narrower than the output.
    fn c3k2(&mut self, nominal: usize, share: usize, nested: bool) {
        let Size { repeats, nested: all_nested, .. } = self.size;
        let outputs = self.size.channels(nominal);
        let (hidden, nested) = (outputs / share, nested || all_nested);
        self.layer("C3k2", None, outputs, |scope, name, inputs| {
            let settings = C3k2Settings { inputs, outputs, hidden, repeats, nested };
            Layer::C3k2(C3k2::new(scope, name, settings))
        });
    }

    fn upsample(&mut self, stride: usize) {
        let channels = self.channels[self.channels.len() - 1];
        self.layer("Upsample", None, channels, |scope, _, _| {
            scope.set_stride(stride);
            Layer::Upsample
        });
    }

    fn concat(&mut self, layers: [usize; 2]) {
        let channels = layers.map(|layer| self.channels[layer]).iter().sum();
        self.layer("Concat", Some(layers), channels, |_, _, _| Layer::Concat);
    }
}

/// A branch for boxes and one for classes, for each of three maps.
struct Detect {
    boxes: Vec<([Conv; 2], BiasedConv2d)>,
    classes: Vec<([Conv; 4], BiasedConv2d)>,
}

impl Detect {
    /// `width` is the number of channels of the class branches.
    fn new(scope: &mut Scope, channels: [usize; 3], width: usize, classes: usize) -> Self {
        let box_width = (channels[0] / 4).max(64);
        let levels = || channels.into_iter().zip(STRIDES).enumerate();
        let mut boxes = Vec::new();
        for (level, (inputs, stride)) in levels() {
            scope.set_stride(stride);
            boxes.push(scope.within(&format!("cv2.{level}"), |scope| {
                let convs = [("0", inputs), ("1", box_width)]
                    .map(|(name, inputs)| Conv::plain(scope, name, inputs, box_width, 3));
                (convs, last(scope, box_width, 4 * BINS, 2.0))
            }));
        }
        let mut branches = Vec::new();
        for (level, (inputs, stride)) in levels() {
            scope.set_stride(stride);
            branches.push(scope.within(&format!("cv3.{level}"), |scope| {
                let convs = [
                    Conv::depthwise(scope, "0.0", inputs, Activation::Silu),
                    Conv::plain(scope, "0.1", inputs, width, 1),
                    Conv::depthwise(scope, "1.0", width, Activation::Silu),
                    Conv::plain(scope, "1.1", width, width, 1),
                ];
                (convs, last(scope, width, classes, class_bias(classes, stride)))
            }));
        }
        // Published files keep the numbers of the bins as if they were weights.
        let shape = vec![1, BINS, 1, 1];
        scope.within("dfl.conv", |scope| scope.tensor("weight", shape, TensorRole::Constant, Init::Index));
        Self { boxes, classes: branches }
    }
}

/// The convolution that ends a branch.
fn last(scope: &mut Scope, inputs: usize, outputs: usize, bias: f64) -> BiasedConv2d {
    let weight = Init::Uniform { bound: 1.0 / (inputs as f64).sqrt() };
    scope.biased_conv2d_with("2", same(inputs, outputs, 1), [weight, Init::Constant { value: bias }])
}

/// The logit of about five objects among the places of an image of 640 pixels, also for other image sizes.
fn class_bias(classes: usize, stride: usize) -> f64 {
    let places = (640.0 / stride as f64) * (640.0 / stride as f64);
    libm::log(5.0 / classes as f64 / places)
}

impl Head for Detect {
    fn outputs(&self) -> &'static [&'static str] {
        &OUTPUTS
    }

    fn forward(&self, pass: &mut Pass, features: Activations) -> Result<Activations> {
        let maps: [Value; 3] = features.exactly()?;
        let mut outputs = Vec::new();
        for ((convs, last), map) in self.boxes.iter().zip(&maps) {
            outputs.push(branch(pass, convs, last, map)?);
        }
        for ((convs, last), map) in self.classes.iter().zip(&maps) {
            outputs.push(branch(pass, convs, last, map)?);
        }
        Ok(Activations::new(outputs))
    }
}

fn branch(pass: &mut Pass, convs: &[Conv], last: &BiasedConv2d, map: &Value) -> Result<Value> {
    let mut x = map.clone();
    for conv in convs {
        x = conv.forward(pass, &x)?;
    }
    pass.conv(last, &x)
}
