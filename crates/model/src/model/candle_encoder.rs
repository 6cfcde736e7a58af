//! Encoders whose forward pass is that of candle-transformers: features without gradients, image by image.
//!
//! candle's matrix products give the same row other bits among other rows, so each image goes through by itself: what comes
//! out depends on neither batch, position nor threads. Their blocks follow the processor's caches, and exponentials are
//! those of the system's libm, so between unlike machines the last bits may differ, as nothing else here does.

use std::collections::HashMap;

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use rayon::prelude::*;

use super::activations::Activations;
use super::description::{Description, Init, TensorId, TensorRole};
use super::network::Network;
use super::pass::Pass;
use super::scope::Scope;
use crate::autograd::Value;
use crate::error::{Error, Result};

/// What initialises the weights, in case none are loaded.
pub const INIT: Init = Init::Normal { std: 0.02 };

type Build = Box<dyn Fn(VarBuilder) -> candle_core::Result<Box<dyn Module + Send + Sync>> + Send + Sync>;

/// A network of one layer, from images [N, H, W, 3] to features [N, C].
pub struct CandleEncoder {
    /// The names under which candle asks for them.
    parameters: Vec<(String, TensorId)>,
    /// Of one image.
    multiply_adds: usize,
    build: Build,
}

impl CandleEncoder {
    /// An encoder of all that is declared so far; `build` makes candle's network of it.
    pub fn new<M: Module + Send + Sync + 'static>(
        description: &Description,
        multiply_adds: usize,
        build: impl Fn(VarBuilder) -> candle_core::Result<M> + Send + Sync + 'static,
    ) -> Self {
        let names = description.tensors.iter().enumerate().map(|(id, spec)| (spec.name.clone(), id));
        let build: Build = Box::new(move |builder| Ok(Box::new(build(builder)?)));
        Self { parameters: names.collect(), multiply_adds, build }
    }
}

impl Network for CandleEncoder {
    fn is_opaque(&self) -> bool {
        true
    }

    fn layer(&self, _index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value> {
        let input = inputs.only()?;
        if input.tensor().device().is_cuda() {
            return Err(Error::bug("an encoder of candle-transformers was given images on a GPU"));
        }
        let tensors = self.parameters.iter().map(|(name, id)| Ok((name.clone(), pass.frozen(*id)?.clone())));
        let tensors: HashMap<String, Tensor> = tensors.collect::<Result<_>>()?;
        let images = input.tensor().permute((0, 3, 1, 2))?.contiguous()?;
        let builder = VarBuilder::from_tensors(tensors, images.dtype(), images.device());
        let network = (self.build)(builder)?;
        let count = images.dim(0)?;
        let features = |image| Ok(network.forward(&images.narrow(0, image, 1)?)?);
        let features = (0..count).into_par_iter().map(features).collect::<Result<Vec<Tensor>>>()?;
        if features.is_empty() {
            return Err(Error::bug("features of no image"));
        }
        pass.count_products(count * self.multiply_adds);
        Ok(Value::constant(Tensor::cat(&features, 0)?))
    }
}

/// The sizes of a vision transformer that CLIP and SigLIP share.
#[derive(Clone, Copy)]
pub struct EncoderSizes {
    pub channels: usize,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    /// The sides in pixels of the images and of their patches.
    pub image: usize,
    pub patch: usize,
}

impl EncoderSizes {
    pub fn patches(self) -> usize {
        (self.image / self.patch).pow(2)
    }

    /// The products that an image's patches and `tokens` take.
    pub fn multiply_adds(self, tokens: usize) -> usize {
        let Self { channels, hidden, layers, patch, .. } = self;
        let dense = 4 * channels * channels + 2 * channels * hidden;
        let attention = 2 * tokens * tokens * channels;
        self.patches() * 3 * patch * patch * channels + layers * (tokens * dense + attention)
    }

    /// Declares `encoder.layers.0` and on under the names of Hugging Face's transformers; `parts` are in the order of the
    /// published state dict.
    pub fn declare_layers(self, scope: &mut Scope, eps: f64, parts: [&str; 4]) {
        for index in 0..self.layers {
            scope.within(&format!("encoder.layers.{index}"), |scope| {
                for part in parts {
                    self.declare_part(scope, eps, part);
                }
            });
        }
    }

    fn declare_part(self, scope: &mut Scope, eps: f64, part: &str) {
        let Self { channels, hidden, .. } = self;
        match part {
            "self_attn" => scope.within(part, |scope| {
                for name in ["k_proj", "v_proj", "q_proj", "out_proj"] {
                    scope.dense(name, [channels, channels], [INIT, Init::Zeros]);
                }
            }),
            "mlp" => declare_perceptron(scope, channels, hidden),
            norm => drop(scope.layer_norm(norm, channels, eps)),
        }
    }
}

/// Declares `mlp`.
pub fn declare_perceptron(scope: &mut Scope, channels: usize, hidden: usize) {
    scope.within("mlp", |scope| {
        scope.dense("fc1", [channels, hidden], [INIT, Init::Zeros]);
        scope.dense("fc2", [hidden, channels], [INIT, Init::Zeros]);
    });
}

/// Declares a weight of the encoder that belongs to no layer of a kind.
pub fn declare_weight(scope: &mut Scope, name: &str, shape: Vec<usize>) {
    scope.tensor(name, shape, TensorRole::Weight, INIT);
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::model::{Model, StateDict, clip};
    use crate::ops::testing::{normal, numbers};

    /// candle's own batches would not do: [`CandleEncoder`] says why.
    #[test]
    fn features_depend_on_neither_batch_nor_position_nor_threads() {
        let sizes = clip::BASE_32_SIZES;
        let backbone = clip::build(
            "tiny",
            EncoderSizes { channels: 192, hidden: 768, layers: 2, heads: 3, image: 96, ..sizes },
        );
        let single = |tensor: Tensor| tensor.to_dtype(DType::F32).unwrap();
        let specs = &backbone.scope.description().tensors;
        let tensors =
            specs.iter().map(|spec| single(normal(&spec.name, &spec.shape).affine(0.05, 0.0).unwrap()));
        let state = StateDict { tensors: tensors.collect() };
        let images = single(normal("images", &[5, 96, 96, 3]));
        let features = |images: &Tensor, threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut pass = Pass::inference(&state);
            let images = Value::constant(images.clone());
            numbers(pool.install(|| backbone.network.layer(0, &mut pass, images.into())).unwrap().tensor())
        };
        let all = features(&images, 1);
        assert!(all.iter().all(|number| number.is_finite()) && all[..192] != all[192..384]);
        assert_eq!(features(&images, 3), all);
        for image in 0..5 {
            let alone = features(&images.narrow(0, image, 1).unwrap(), 2);
            assert_eq!(alone, all[image * 192..][..192]);
        }
    }

    #[test]
    fn parameters_that_are_to_train_are_refused() {
        let model = Model::build(&crate::pipeline::Model::of(crate::pipeline::Arch::ClipVitB32), 2);
        let tensors = model.description.tensors.iter();
        let zeros =
            tensors.map(|spec| Tensor::zeros(spec.shape.as_slice(), DType::F32, &candle_core::Device::Cpu));
        let state = StateDict { tensors: zeros.collect::<Result<_, _>>().unwrap() };
        let trainable = vec![true; state.tensors.len()];
        let mut pass = Pass::training(&state, &trainable, &[], 0, 0, &[0]);
        let image = Tensor::zeros((1, 224, 224, 3), DType::F32, &candle_core::Device::Cpu).unwrap();
        let image = Activations::constants([image]);
        assert!(
            model.forward_layers(&mut pass, 0..1, image).unwrap_err().message.contains("without gradients")
        );
    }
}
