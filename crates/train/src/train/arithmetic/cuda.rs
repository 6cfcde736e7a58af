//! Arithmetic over whole tensors on CUDA, with the CPU's bits except for the order of long sums.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use crate::cuda::{Engine, address, arguments};
use crate::error::Result;
use crate::model::TensorId;
use crate::ops::Deferred;

/// The number of elements that one block squares and sums. It affects results.
const CHUNK: usize = 1 << 14;

/// As [`super::blend`].
pub(super) fn blend(from: &Tensor, to: &Tensor, share: f64) -> Result<Tensor> {
    let (engine, count) = (Engine::of(from)?, from.elem_count());
    let (out, address_of_out) = engine.tensor(DType::F32, from.shape())?;
    let arguments = arguments![count as i64, address(from)?, address(to)?, share as f32, address_of_out];
    engine.numbers("blend", count, arguments)?;
    Ok(out)
}

/// As [`AccumulatedGradients::clip`]. The device computes the factor, so the host does not wait.
///
/// [`AccumulatedGradients::clip`]: crate::train::gradients::Gradients::clip
pub(in crate::train) fn clip(gradients: &mut BTreeMap<TensorId, Tensor>, most: f64) -> Result<Deferred<f64>> {
    let Some(first) = gradients.values().next() else { return Ok(Deferred::ready(vec![0.0])) };
    let engine = Engine::of(first)?;
    let chunks = |gradient: &Tensor| gradient.elem_count().div_ceil(CHUNK);
    let all = gradients.values().map(chunks).sum();
    let (sums, norm) = (engine.buffer::<f64>(all)?, engine.buffer::<f64>(1)?);
    let mut to = engine.address(&sums);
    for gradient in gradients.values() {
        let (count, chunks) = (gradient.elem_count(), chunks(gradient));
        let arguments = arguments![count as i64, CHUNK as i64, address(gradient)?, to];
        engine.rows("squares", chunks, arguments)?;
        to = to.plus(chunks * size_of::<f64>());
    }
    let (factor, at) = engine.tensor(DType::F32, ())?;
    let (sums, norm_at) = (engine.address(&sums), engine.address(&norm));
    engine.rows("clip_factor", 1, arguments![all as i64, sums, most, norm_at, at])?;
    for gradient in gradients.values_mut() {
        let (out, to) = engine.tensor(DType::F32, gradient.shape())?;
        let count = out.elem_count();
        let arguments = arguments![count as i64, address(gradient)?, address(&factor)?, to];
        engine.numbers("scale_f32", count, arguments)?;
        *gradient = out;
    }
    Ok(Deferred::from_readback(engine.read_back(norm_at, 1)?))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::{blend, scaled};
    use super::{DType, Tensor};
    use crate::ops::testing::{normal, numbers};
    use crate::train::gradients::AccumulatedGradients;

    #[test]
    #[ignore = "asks for a GPU, or tests/cuda/emulated"]
    fn cuda_arithmetic_has_the_bits_of_the_cpus() {
        let gpu = crate::device::choose("cuda:0").unwrap().device;
        let on = |device: &Device, name: &str| {
            normal(name, &[3, 20_011]).to_dtype(candle_core::DType::F32).unwrap().to_device(device).unwrap()
        };
        let host = |tensor: Tensor| numbers(&tensor.to_device(&Device::Cpu).unwrap());
        let run = |device: &Device| {
            let (from, to) = (on(device, "from"), on(device, "to"));
            let blends = [&to, &from].map(|to| host(blend(&from, to, 0.3).unwrap()));
            (blends, host(scaled(&from, 0.7).unwrap()))
        };
        assert_eq!(run(&gpu), run(&Device::Cpu));
    }

    #[test]
    #[ignore = "asks for a GPU, or tests/cuda/emulated"]
    fn cuda_gradients_are_clipped_as_on_the_cpu() {
        let gpu = crate::device::choose("cuda:0").unwrap().device;
        let run = |device: &Device, most: f64, size: f64| {
            let of = |name: &str, factor: f64| {
                let gradient = normal(name, &[3, 20_011]).affine(factor, 0.0).unwrap();
                Some(gradient.to_dtype(DType::F32).unwrap().to_device(device).unwrap())
            };
            let mut gradients = AccumulatedGradients::default();
            gradients.add(vec![(0, of("a", 1.0)), (3, of("b", size))], 4.0).unwrap();
            let norm = gradients.clip(most).unwrap().wait().unwrap()[0];
            let clipped = gradients.mean.into_values();
            (norm, clipped.map(|x| numbers(&x.to_device(&Device::Cpu).unwrap())).collect::<Vec<_>>())
        };
        for most in [1.0, 1e6] {
            let ((norm, clipped), (expected, exact)) = (run(&gpu, most, 2.0), run(&Device::Cpu, most, 2.0));
            assert!((norm / expected - 1.0).abs() < 1e-12, "{norm} beside {expected}");
            let pairs = clipped.concat().into_iter().zip(exact.concat());
            // The factor may be rounded differently.
            assert!(pairs.into_iter().all(|(x, y)| (x - y).abs() <= 2e-7 * y.abs()));
            assert_eq!(run(&gpu, most, 2.0), (norm, clipped), "two runs differ");
        }
        assert!(!run(&gpu, 1.0, f64::INFINITY).0.is_finite(), "what is not finite is told");
    }
}
