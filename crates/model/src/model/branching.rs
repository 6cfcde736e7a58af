//! A small network that branches, for tests: a skip across two layers, and a head that reads two layers and has two outputs.

use super::activations::{Activations, LOGITS};
use super::build::Model;
use super::description::LayerInput;
use super::layers::{BatchNorm, Conv2d, Linear, Padding};
use super::network::{Architecture, Head, Network};
use super::pass::Pass;
use super::scope::{ConvSettings, NormSettings, Scope};
use crate::autograd::Value;
use crate::error::Result;
use crate::ops::Activation;

/// The second output: [N, 2].
pub const OFFSETS: &str = "offsets";

/// The layers are `stem`, `body.0`, `body.1`, `join`, which adds what the stem has made, and `down`.
struct Branching {
    layers: Vec<(Conv2d, BatchNorm)>,
}

/// Reads `join` and `down`: offsets come of the larger maps, logits of the smaller ones.
struct TwoOutputs {
    logits: Linear,
    offsets: Linear,
}

impl Model {
    pub fn branching(classes: usize) -> Self {
        const WIDTHS: [usize; 2] = [4, 6];
        let mut scope = Scope::new("branching", NormSettings { eps: 1e-3, momentum: 0.1 });
        let convolution = |scope: &mut Scope, name: &str, inputs, outputs, stride| {
            let padding = Padding::Fixed(1);
            let conv = ConvSettings { inputs, outputs, kernel: 3, stride, groups: 1, padding };
            scope.within(name, |scope| (scope.conv2d("conv", conv), scope.batch_norm("norm", outputs)))
        };
        let mut layers = Vec::new();
        scope.layer("stem");
        layers.push(convolution(&mut scope, "stem", 3, WIDTHS[0], 2));
        for name in ["body.0", "body.1"] {
            scope.layer(name);
            layers.push(convolution(&mut scope, name, WIDTHS[0], WIDTHS[0], 1));
        }
        scope.layer_of("join", &[LayerInput::Layer(2), LayerInput::Layer(0)]);
        layers.push(convolution(&mut scope, "join", WIDTHS[0], WIDTHS[0], 1));
        scope.layer("down");
        layers.push(convolution(&mut scope, "down", WIDTHS[0], WIDTHS[1], 2));
        scope.layer_of("head", &[LayerInput::Layer(3), LayerInput::Layer(4)]);
        scope.head("head");
        let head = scope.within("head", |scope| TwoOutputs {
            logits: scope.linear(LOGITS, WIDTHS[1], classes),
            offsets: scope.linear(OFFSETS, WIDTHS[0], 2),
        });
        Self::of(Architecture { scope, network: Box::new(Branching { layers }), head: Box::new(head) })
    }
}

impl Network for Branching {
    fn layer(&self, index: usize, pass: &mut Pass, inputs: Activations) -> Result<Value> {
        let (conv, norm) = &self.layers[index];
        if index == 3 {
            let [body, stem] = inputs.exactly()?;
            return pass.conv_norm(conv, norm, Activation::Silu, &body, Some(&stem));
        }
        pass.conv_norm(conv, norm, Activation::Silu, &inputs.only()?, None)
    }
}

impl Head for TwoOutputs {
    fn outputs(&self) -> &'static [&'static str] {
        &[LOGITS, OFFSETS]
    }

    fn forward(&self, pass: &mut Pass, features: Activations) -> Result<Activations> {
        let [join, down] = features.exactly()?;
        let (join, down) = (pass.global_average_pool(&join)?, pass.global_average_pool(&down)?);
        let logits = pass.linear(&self.logits, &down)?;
        Ok(Activations::new(vec![logits, pass.linear(&self.offsets, &join)?]))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::model::{NormMode, ParameterGradients, StateDict, TensorRole, TensorSpec};
    use crate::ops;
    use crate::ops::testing::{normal, numbers, weighted_sum};

    const CLASSES: usize = 3;
    const LAYERS: usize = 6;

    fn state(model: &Model, dtype: DType) -> StateDict {
        let tensor = |spec: &TensorSpec| match spec.role {
            TensorRole::BatchCount => Tensor::new(3i64, &Device::Cpu).unwrap(),
            TensorRole::RunningVar => normal(&spec.name, &spec.shape).sqr().unwrap().to_dtype(dtype).unwrap(),
            _ => normal(&spec.name, &spec.shape).affine(0.3, 0.1).unwrap().to_dtype(dtype).unwrap(),
        };
        StateDict { tensors: model.description.tensors.iter().map(tensor).collect() }
    }

    fn images(dtype: DType) -> Activations {
        Activations::constants([normal("images", &[2, 9, 10, 3]).to_dtype(dtype).unwrap()])
    }

    /// A loss of both outputs and its gradients, of the layers from `trained` on.
    fn step(
        model: &Model,
        state: &StateDict,
        trained: usize,
        from: usize,
        input: Activations,
    ) -> (f64, ParameterGradients) {
        let trains = |spec: &TensorSpec| spec.role.is_parameter() && spec.layer >= trained;
        let trainable: Vec<bool> = model.description.tensors.iter().map(trains).collect();
        let mode = |weight: usize| if trainable[weight] { NormMode::Training } else { NormMode::Frozen };
        let norms: Vec<NormMode> = model.description.norms.iter().map(|norm| mode(norm.weight)).collect();
        let mut pass = Pass::training(state, &trainable, &norms, 0, 0, &[0, 1]);
        let outputs = model.forward(&mut pass, from, input).unwrap();
        let (labels, _) = ops::cross_entropy(pass.tape(), outputs.logits().unwrap(), &[2, 0], 0.0).unwrap();
        let weights = normal("weights", &[2, 2]).to_dtype(labels.tensor().dtype()).unwrap();
        let offsets = weighted_sum(pass.tape(), outputs.get(OFFSETS).unwrap(), &weights);
        let loss = ops::blend_losses(pass.tape(), &labels, &offsets, [0.6, 0.4]).unwrap();
        let value = loss.tensor().to_dtype(DType::F64).unwrap().to_scalar().unwrap();
        (value, pass.backward(&loss).unwrap().0)
    }

    #[test]
    fn gradients_through_branches_are_difference_quotients() {
        let model = Model::branching(CLASSES);
        let state = state(&model, DType::F64);
        let loss = |state: &StateDict| step(&model, state, 0, 0, images(DType::F64)).0;
        let (_, gradients) = step(&model, &state, 0, 0, images(DType::F64));
        assert_eq!(gradients.len(), model.description.parameters().count());
        for (id, gradient) in gradients {
            let (found, numbers) = (numbers(&gradient.unwrap()), numbers(&state.tensors[id]));
            for place in (0..numbers.len()).step_by(7) {
                let moved = |step: f64| {
                    let (mut state, mut numbers) = (state.clone(), numbers.clone());
                    numbers[place] += step;
                    let shape = state.tensors[id].shape().clone();
                    state.tensors[id] = Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap();
                    loss(&state)
                };
                let quotient = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                let name = &model.description.tensors[id].name;
                let bound = 1e-7 * quotient.abs().max(1.0);
                assert!((found[place] - quotient).abs() < bound, "{name}: {} for {quotient}", found[place]);
            }
        }
    }

    #[test]
    fn a_network_cut_anywhere_computes_the_same_bits() {
        let model = Model::branching(CLASSES);
        let state = state(&model, DType::F32);
        let bits =
            |tensors: &mut dyn Iterator<Item = &Tensor>| -> Vec<Vec<f64>> { tensors.map(numbers).collect() };
        let whole = model.forward(&mut Pass::inference(&state), 0, images(DType::F32)).unwrap();
        assert_eq!((whole.tensors().count(), model.description.outputs), (2, &[LOGITS, OFFSETS][..]));
        assert_eq!(model.description.layers.len(), LAYERS);
        for (cut, crossing) in [1, 1, 2, 2, 1, 2, 2].into_iter().enumerate() {
            let mut pass = Pass::inference(&state);
            let kept = model.forward_layers(&mut pass, 0..cut, images(DType::F32)).unwrap();
            assert_eq!(kept.count(), crossing, "at layer {cut}");
            let outputs = model.forward(&mut pass, cut, kept.clone()).unwrap();
            assert_eq!(bits(&mut outputs.tensors()), bits(&mut whole.tensors()), "at layer {cut}");
            if cut == LAYERS {
                continue;
            }
            // What is frozen is the same in a training pass, and what trains sees no difference.
            let norms = vec![NormMode::Frozen; model.description.norms.len()];
            let trains = |spec: &TensorSpec| spec.role.is_parameter() && spec.layer >= cut;
            let trainable: Vec<bool> = model.description.tensors.iter().map(trains).collect();
            let mut pass = Pass::training(&state, &trainable, &norms, 0, 0, &[0, 1]);
            let frozen = model.forward_layers(&mut pass, 0..cut, images(DType::F32)).unwrap();
            assert_eq!(bits(&mut frozen.tensors()), bits(&mut kept.tensors()), "at layer {cut}");
            assert!(frozen.into_values().iter().all(Value::is_constant));
            let (loss, gradients) = step(&model, &state, cut, cut, kept);
            let (expected, all) = step(&model, &state, cut, 0, images(DType::F32));
            assert_eq!(loss, expected);
            assert_eq!(gradients.len(), all.len());
            for ((id, gradient), (_, expected)) in gradients.into_iter().zip(all) {
                let name = &model.description.tensors[id].name;
                assert_eq!(
                    numbers(&gradient.unwrap()),
                    numbers(&expected.unwrap()),
                    "{name} from layer {cut}"
                );
            }
        }
    }
}
