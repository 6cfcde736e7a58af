//! Arithmetic over whole tensors on CUDA: to the bits of the CPU's, but for the order of long sums.

use candle_core::{DType, Tensor};

use crate::cuda::{Engine, address, arguments};
use crate::error::Result;

/// Numbers that one block squares and sums. It enters results.
const CHUNK: usize = 1 << 14;

/// As [`super::blend`].
pub(super) fn blend(from: &Tensor, to: &Tensor, share: f64) -> Result<Tensor> {
    let (engine, count) = (Engine::of(from)?, from.elem_count());
    let (out, address_of_out) = engine.tensor(DType::F32, from.shape())?;
    let arguments = arguments![count as i64, address(from)?, address(to)?, share as f32, address_of_out];
    engine.numbers("blend", count, arguments)?;
    Ok(out)
}

/// As [`super::sum_of_squares`]: waits for the GPU, since whether a gradient is too long is for the host to say.
pub(super) fn sum_of_squares(x: &Tensor) -> Result<f64> {
    let (engine, count) = (Engine::of(x)?, x.elem_count());
    let chunks = count.div_ceil(CHUNK);
    let sums = engine.buffer::<f64>(chunks)?;
    let arguments = arguments![count as i64, CHUNK as i64, address(x)?, engine.address(&sums)];
    engine.rows("squares", chunks, arguments)?;
    Ok(engine.read(&sums)?[..chunks].iter().sum())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::*;
    use crate::ops::testing::{normal, numbers};

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
            (blends, host(scaled(&from, 0.7).unwrap()), sum_of_squares(&from).unwrap())
        };
        let ((blends, scales, squares), expected) = (run(&gpu), run(&Device::Cpu));
        assert_eq!((blends, scales), (expected.0, expected.1));
        assert!((squares / expected.2 - 1.0).abs() < 1e-12, "{squares} beside {}", expected.2);
        assert_eq!(squares, sum_of_squares(&on(&gpu, "from")).unwrap(), "two runs differ");
    }
}
