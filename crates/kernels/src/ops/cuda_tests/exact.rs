//! Random draws, which equal the CPU's bits, and uploads of batches.

use candle_core::{DType, Device, Tensor};

use super::check::{HALVES, PassThrough, SHORT, gpu, nearest_half, one, rounding, to_gpu};
use crate::autograd::Tape;
use crate::ops::testing::{normal, numbers, relative_error};
use crate::ops::*;
use crate::random::{Purpose, Stream};

#[test]
#[ignore = "asks for a GPU"]
fn cuda_draws_are_those_of_the_cpu() {
    let x = nearest_half(&normal("x", &[7, 45])).to_dtype(DType::F32).unwrap();
    let run = |x: Tensor| {
        let stream = |sample| Stream::new(1, Purpose::Dropout, 2, sample);
        let mut streams: Vec<Stream> = (0..7).map(stream).collect();
        let mut tape = Tape::new();
        let mut leaf = tape.leaf(x.clone());
        let first = leaf.clone();
        for p in [0.25, 0.5] {
            leaf = dropout(&mut tape, &leaf, p, &mut streams).unwrap();
            leaf = stochastic_depth(&mut tape, &leaf, p, &mut streams).unwrap();
        }
        let output = leaf.tensor().clone();
        let loss = tape.record(&[&leaf], one().to_device(x.device()).unwrap(), || PassThrough(x));
        let gradient = tape.backward(&loss).unwrap().take(&first).unwrap();
        [output, gradient].map(|tensor| tensor.to_device(&Device::Cpu).unwrap())
    };
    let expected = run(x.clone());
    let found = run(to_gpu(&x, DType::F32));
    assert_eq!(found.map(|tensor| numbers(&tensor)), expected.each_ref().map(numbers));
    for dtype in HALVES {
        for (found, expected) in run(to_gpu(&x, dtype)).iter().zip(&expected) {
            let dropped = |tensor: &Tensor| numbers(tensor).iter().map(|x| *x == 0.0).collect::<Vec<_>>();
            assert_eq!(dropped(found), dropped(expected));
            // Two of the four factors are 2, which is exact.
            assert!(relative_error(found, expected) <= 2.0 * rounding(dtype) + SHORT);
        }
    }
}

#[test]
#[ignore = "asks for a GPU"]
fn cuda_batches_come_over_as_they_are() {
    let device = gpu();
    let batches: Vec<Tensor> = [7, 5, 9, 3, 9]
        .iter()
        .map(|rows| normal(&format!("{rows}"), &[*rows, 11]).to_dtype(DType::F32).unwrap())
        .collect();
    let placed: Vec<Tensor> =
        batches.iter().map(|batch| crate::device::to_device(batch, &device).unwrap()).collect();
    for (placed, batch) in placed.iter().zip(&batches) {
        assert_eq!(numbers(&placed.to_device(&Device::Cpu).unwrap()), numbers(batch));
    }
    let block = crate::cuda::block(&placed[0], 2, 5, 8).unwrap();
    let joined =
        crate::cuda::concatenate(&[block, placed[1].clone()]).unwrap().to_device(&Device::Cpu).unwrap();
    let joined = numbers(&joined);
    assert_eq!(joined[..55], numbers(&batches[0])[22..]);
    assert!(joined[55..88].iter().all(|number| *number == 0.0));
    assert_eq!(joined[88..], numbers(&batches[1]));
}
