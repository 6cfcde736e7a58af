//! The first convolution of a file for images with another number of channels.

use candle_core::{Device, Tensor};

use super::initialize;
use crate::error::Result;
use crate::model::{Description, LayerInput, TensorId, TensorRole, TensorSpec};
use crate::pipeline::FirstConv;

/// The weight of the convolution that reads the image: the first weight with four dimensions in a layer that reads it.
pub(super) fn first_conv(description: &Description) -> Option<TensorId> {
    let reads = |spec: &TensorSpec| description.layers[spec.layer].reads.contains(&LayerInput::Image);
    description
        .tensors
        .iter()
        .position(|spec| spec.role == TensorRole::Weight && spec.shape.len() == 4 && reads(spec))
}

/// Whether two shapes [O, C, kH, kW] differ in the number of input channels alone.
pub(super) fn differs_in_channels(model: &[usize], file: &[usize]) -> bool {
    match (model, file) {
        (&[outputs, own, height, width], &[file_outputs, file, file_height, file_width]) => {
            (outputs, height, width) == (file_outputs, file_height, file_width) && own != file && file > 0
        }
        _ => false,
    }
}

/// The weight [O, C, kH, kW] for the model's channels. Sums are computed in float64 in the order of the channels.
pub(super) fn adapted(method: FirstConv, spec: &TensorSpec, file: &Tensor, seed: u64) -> Result<Tensor> {
    let (outputs, given, height, width) = file.dims4()?;
    let (channels, area) = (spec.shape[1], height * width);
    let numbers: Vec<f32> = file.flatten_all()?.to_vec1()?;
    let mut adapted: Vec<f32> = match method {
        FirstConv::First => initialize(spec, seed)?.flatten_all()?.to_vec1()?,
        FirstConv::Sum | FirstConv::Mean | FirstConv::Repeat => vec![0.0; spec.elements()],
    };
    for output in 0..outputs {
        let file = &numbers[output * given * area..][..given * area];
        let own = &mut adapted[output * channels * area..][..channels * area];
        for (channel, own) in own.chunks_exact_mut(area).enumerate() {
            for (place, number) in own.iter_mut().enumerate() {
                let sum = || (0..given).map(|from| f64::from(file[from * area + place])).sum::<f64>();
                *number = match method {
                    FirstConv::Sum => (sum() / channels as f64) as f32,
                    FirstConv::Mean => (sum() / given as f64) as f32,
                    FirstConv::Repeat => {
                        let number = f64::from(file[channel % given * area + place]);
                        (number * given as f64 / channels as f64) as f32
                    }
                    FirstConv::First if channel < given => file[channel * area + place],
                    FirstConv::First => *number,
                };
            }
        }
    }
    Ok(Tensor::from_vec(adapted, spec.shape.as_slice(), &Device::Cpu)?)
}
