//! Grad-CAM, which places of an image speak for a class: Selvaraju et al., *Grad-CAM: Visual Explanations from Deep
//! Networks via Gradient-based Localization* (ICCV 2017), §3.
//!
//! The feature map is the last one before the global average. For a vision transformer, it is the normalised patch
//! tokens that the attention of the last block reads.

use candle_core::{DType, Device, Tensor};

use super::build::Model;
use super::pass::{Pass, StateDict};
use crate::autograd::{Backward, Tape, Value};
use crate::error::Result;
use crate::ops::SpinGuard;

/// How much each place of an image speaks for a class.
#[derive(Clone, Debug, PartialEq)]
pub struct SaliencyMap {
    /// Height and width of the feature map.
    pub size: [usize; 2],
    /// From 0 to 1, row by row: 1 at the strongest place, unless no place speaks for the class.
    pub values: Vec<f64>,
}

impl SaliencyMap {
    /// The map of one image from its last feature map and the gradient of the logit, both [H · W, C] row by row: the
    /// channels weighted by the mean of their gradient (equation 1), the positive part of their sum (equation 2),
    /// divided by its maximum. A value that is not finite counts as 0.
    pub fn new(size: [usize; 2], features: &[f64], gradient: &[f64]) -> Self {
        let places = size[0] * size[1];
        let channels = features.len() / places.max(1);
        let mut weights = vec![0.0; channels];
        for row in gradient.chunks_exact(channels.max(1)) {
            weights.iter_mut().zip(row).for_each(|(weight, gradient)| *weight += gradient / places as f64);
        }
        let value = |row: &[f64]| {
            let sum: f64 = row.iter().zip(&weights).map(|(feature, weight)| feature * weight).sum();
            if sum.is_finite() { sum.max(0.0) } else { 0.0 }
        };
        let mut values: Vec<f64> = features.chunks_exact(channels.max(1)).map(value).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        if most > 0.0 {
            values.iter_mut().for_each(|value| *value /= most);
        }
        Self { size, values }
    }
}

impl Model {
    /// For each of `images` [N, H, W, C], which places speak for its class in `classes`. Empty if the network is
    /// computed without gradients, or ends in no feature map.
    ///
    /// All layers up to the feature map run as inference.
    ///
    /// # Errors
    /// As those of [`Model::forward`].
    pub fn saliency(
        &self,
        state: &StateDict,
        images: &Tensor,
        classes: &[usize],
    ) -> Result<Vec<SaliencyMap>> {
        if self.is_opaque() {
            return Ok(Vec::new());
        }
        let _awake = images.device().is_cpu().then(SpinGuard::new);
        let mut pass = Pass::explaining(state);
        let outputs = self.run(&mut pass, Value::constant(images.clone()).into())?;
        // Images do not affect each other, so the gradient of the sum has those of all logits.
        let sum = selected_sum(pass.tape(), outputs.logits()?, classes)?;
        let Some(found) = pass.into_feature_gradient(&sum)? else { return Ok(Vec::new()) };
        let [features, gradients] = [found.features, found.gradient].map(|tensor| rows(&tensor));
        let maps = features?.into_iter().zip(gradients?);
        Ok(maps.map(|(features, gradient)| SaliencyMap::new(found.size, &features, &gradient)).collect())
    }
}

/// The values of each image.
fn rows(tensor: &Tensor) -> Result<Vec<Vec<f64>>> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_from(1)?.to_vec2()?)
}

/// The sum of one logit of each row of [N, classes], as a scalar.
fn selected_sum(tape: &mut Tape, logits: &Value, classes: &[usize]) -> Result<Value> {
    let (images, outputs) = logits.tensor().dims2()?;
    let mut selected = vec![0.0; images * outputs];
    for (row, class) in selected.chunks_exact_mut(outputs.max(1)).zip(classes) {
        if let Some(place) = row.get_mut(*class) {
            *place = 1.0;
        }
    }
    let sum = rows(logits.tensor())?.concat().iter().zip(&selected).map(|(logit, one)| logit * one).sum();
    let like = |tensor: Tensor| -> candle_core::Result<Tensor> {
        tensor.to_dtype(logits.tensor().dtype())?.to_device(logits.tensor().device())
    };
    let sum: Tensor = like(Tensor::new::<f64>(sum, &Device::Cpu)?)?;
    let selected = like(Tensor::from_vec(selected, (images, outputs), &Device::Cpu)?)?;
    Ok(tape.record(&[logits], sum, || SelectedSum { selected }))
}

/// It ends the tape, so its own gradient is 1.
struct SelectedSum {
    /// 1 for each summand, else 0.
    selected: Tensor,
}

impl Backward for SelectedSum {
    fn backward(self: Box<Self>, _: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.selected)])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::model::parity;
    use crate::pipeline::{self, Arch, Head};

    #[derive(Deserialize)]
    struct Fixture {
        input: String,
        shape: [usize; 4],
        classes: Vec<usize>,
        size: [usize; 2],
        maps: Vec<Vec<f64>>,
    }

    fn state(model: &Model, dtype: DType) -> StateDict {
        let tensors = model.description.tensors.iter();
        StateDict { tensors: tensors.map(|spec| parity::weights(spec, dtype)).collect() }
    }

    /// `tests/fixtures/model/make_saliency.py` has the hooks.
    #[test]
    fn maps_are_those_of_hooks_in_pytorch() {
        let text = std::fs::read_to_string("../../tests/fixtures/model/saliency.json").unwrap();
        let fixtures: BTreeMap<String, Fixture> = serde_json::from_str(&text).unwrap();
        assert_eq!(fixtures.len(), 2);
        for (arch, Fixture { input, shape, classes, size, maps }) in fixtures {
            let settings = toml::from_str(&format!("arch = \"{arch}\"")).unwrap();
            let model = Model::build_for(&settings, 10, shape[1]);
            for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-3)] {
                let images = parity::images(&input, shape, dtype);
                let found = model.saliency(&state(&model, dtype), images.tensor(), &classes).unwrap();
                assert_eq!(found.len(), maps.len());
                for (found, expected) in found.iter().zip(&maps) {
                    assert_eq!((found.size, found.values.len()), (size, expected.len()));
                    let pairs = found.values.iter().zip(expected);
                    let furthest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                    assert!(furthest < tolerance, "{arch} {dtype:?}: {furthest}");
                }
            }
        }
    }

    #[test]
    fn every_architecture_and_head_has_a_map_but_encoders_without_gradients() {
        let embedding: Head = toml::from_str("kind = \"embedding\"\ndimension = 8").unwrap();
        let mlp: Head = toml::from_str("kind = \"mlp\"\nhidden = [5]").unwrap();
        let settings = |arch| pipeline::Model::of(arch);
        let models = [
            (settings(Arch::MobileNetV2), [2, 2]),
            (settings(Arch::EfficientNetB0), [2, 2]),
            (settings(Arch::EfficientNetLite0), [2, 2]),
            (settings(Arch::ConvNextTiny), [2, 2]),
            (settings(Arch::MobileNetV3Small), [2, 2]),
            (settings(Arch::EfficientNetV2S), [2, 2]),
            (settings(Arch::RegNetY400Mf), [2, 2]),
            (settings(Arch::SwinT), [2, 2]),
            (settings(Arch::Yolo11N), [2, 2]),
            (settings(Arch::DinoV2VitS14), [4, 4]),
            (pipeline::Model { head: embedding, ..settings(Arch::ResNet18) }, [2, 2]),
            (pipeline::Model { head: mlp, ..settings(Arch::ResNet18) }, [2, 2]),
        ];
        // With random weights, nothing may speak for a class.
        let mut with_places = 0;
        for (settings, size) in models {
            let side = if settings.arch == Arch::DinoV2VitS14 { 56 } else { 64 };
            let model = Model::build_for(&settings, 4, side);
            let state = state(&model, DType::F32);
            let images = parity::images("images", [3, side, side, 3], DType::F32);
            let images = images.tensor();
            let all = model.saliency(&state, images, &[0, 3, 1]).unwrap();
            assert_eq!(all.len(), 3, "{}", settings.arch.name());
            for (image, map) in all.iter().enumerate() {
                assert_eq!(map.size, size, "{}", settings.arch.name());
                let most = map.values.iter().copied().fold(0.0, f64::max);
                assert!([0.0, 1.0].contains(&most) && map.values.iter().all(|value| *value >= 0.0));
                let alone = images.narrow(0, image, 1).unwrap().contiguous().unwrap();
                let alone = model.saliency(&state, &alone, &[[0, 3, 1][image]]).unwrap();
                let furthest = alone[0].values.iter().zip(&map.values).map(|(a, b)| (a - b).abs());
                assert!(furthest.fold(0.0, f64::max) < 1e-4, "{}", settings.arch.name());
            }
            with_places += usize::from(all.iter().any(|map| map.values.contains(&1.0)));
        }
        assert!(with_places > 6, "{with_places} networks with a map");
        let encoder = Model::build(&settings(Arch::ClipVitB32), 4);
        let images = Tensor::zeros((1, 224, 224, 3), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(encoder.saliency(&StateDict { tensors: Vec::new() }, &images, &[0]).unwrap(), []);
    }

    #[test]
    fn a_map_is_the_positive_part_of_the_weighted_sum() {
        let features = [1.0, 2.0, 3.0, 0.0, 0.0, 4.0, f64::NAN, 1.0];
        // The means are 1 and -0.5.
        let gradient = [1.0, -1.0, 3.0, 0.0, 0.0, -1.0, 0.0, 0.0];
        let map = SaliencyMap::new([2, 2], &features, &gradient);
        assert_eq!(map.values, [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(SaliencyMap::new([1, 2], &[1.0, 1.0], &[-1.0, -1.0]).values, [0.0, 0.0]);
        assert_eq!(SaliencyMap::new([0, 0], &[], &[]).values, [0.0; 0]);
    }
}
