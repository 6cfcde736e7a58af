//! Gradients that several ranks add: each rank owns a slice of every tensor, and adds that slice of all batches.
//!
//! The additions of an element and their order are those of one process, so the sum has the same bits. With a library's
//! all-reduce, they would depend on the number of ranks, and on the library.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::gradients::AccumulatedGradients;
use crate::error::{Error, Result};
use crate::model::{ParameterGradients, StateDict, TensorId};
use crate::ops::float::with_slice;

/// The elements of a tensor that a rank owns.
fn owned(elements: usize, rank: usize, ranks: usize) -> Range<usize> {
    elements * rank / ranks..elements * (rank + 1) / ranks
}

/// The slices of gradients since the last optimizer step that this rank owns.
pub(super) struct OwnedSlices {
    rank: usize,
    ranks: usize,
    /// The mean of each slice, flat. A parameter of which this rank owns no element is left out.
    sum: AccumulatedGradients,
    /// The parameters with a gradient in some batch.
    present: BTreeSet<TensorId>,
}

impl OwnedSlices {
    pub fn new(rank: usize, ranks: usize) -> Self {
        Self { rank, ranks, sum: AccumulatedGradients::default(), present: BTreeSet::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.sum.is_empty()
    }

    /// Takes the own slices of complete gradients, such as those of a checkpoint.
    pub fn take(&mut self, whole: AccumulatedGradients) -> Result<()> {
        self.present = whole.mean.keys().copied().collect();
        self.sum = AccumulatedGradients { mean: BTreeMap::new(), weight: whole.weight };
        for (id, tensor) in whole.mean {
            let own = owned(tensor.elem_count(), self.rank, self.ranks);
            if !own.is_empty() {
                let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
                self.sum.mean.insert(id, flat.narrow(0, own.start, own.len())?.copy()?);
            }
        }
        Ok(())
    }

    /// The slices of a batch's gradients for each rank, to be sent to it.
    pub fn append_parts(gradients: &ParameterGradients, parts: &mut [Vec<u8>]) -> Result<()> {
        let ranks = parts.len();
        let sizes = gradients.iter().filter_map(|(_, gradient)| gradient.as_ref());
        let sizes: Vec<_> =
            sizes.map(|gradient| (gradient.elem_count(), gradient.dtype().size_in_bytes())).collect();
        for (rank, part) in parts.iter_mut().enumerate() {
            // Without room for all, growing would take twice the memory.
            let bytes = |(elements, each): &(usize, usize)| owned(*elements, rank, ranks).len() * each;
            part.reserve_exact(sizes.iter().map(bytes).sum());
        }
        for gradient in gradients.iter().filter_map(|(_, gradient)| gradient.as_ref()) {
            let flat = gradient.to_device(&Device::Cpu)?.flatten_all()?;
            let (parts, elements) = (&mut *parts, flat.elem_count());
            fn append<T: bytemuck::Pod>(
                numbers: &[T],
                parts: &mut [Vec<u8>],
                own: impl Fn(usize) -> Range<usize>,
            ) {
                for (rank, part) in parts.iter_mut().enumerate() {
                    part.extend_from_slice(bytemuck::cast_slice(&numbers[own(rank)]));
                }
            }
            let own = |rank| owned(elements, rank, ranks);
            match flat.dtype() {
                DType::F32 => with_slice(&flat, |numbers: &[f32]| append(numbers, parts, own))?,
                DType::F64 => with_slice(&flat, |numbers: &[f64]| append(numbers, parts, own))?,
                other => return Err(Error::bug(format!("a gradient in {other:?}"))),
            }
        }
        Ok(())
    }

    /// Adds the own slices of a batch, as sent by [`Self::append_parts`]. `present` are all parameters that train, and
    /// whether the batch has a gradient of each.
    pub fn add(
        &mut self,
        state: &StateDict,
        present: &[(TensorId, bool)],
        weight: f64,
        slices: &mut Slices,
    ) -> Result<()> {
        let mut gradients = Vec::with_capacity(present.len());
        for &(id, has_gradient) in present {
            let tensor = &state.tensors[id];
            let own = owned(tensor.elem_count(), self.rank, self.ranks).len();
            if has_gradient {
                self.present.insert(id);
            }
            if own > 0 {
                let gradient = has_gradient.then(|| slices.next(tensor.dtype(), own)).transpose()?;
                gradients.push((id, gradient));
            }
        }
        self.sum.add(gradients, weight)
    }

    /// The own slices, for all ranks.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut parts = [Vec::new()];
        let gradients = self.sum.mean.iter().map(|(id, mean)| (*id, Some(mean.clone()))).collect();
        Self::append_parts(&gradients, &mut parts)?;
        let [bytes] = parts;
        Ok(bytes)
    }

    /// The complete gradients from the slices of all ranks, in the order of the ranks.
    pub fn whole(&self, state: &StateDict, slices: &mut [Slices]) -> Result<AccumulatedGradients> {
        let mut mean = BTreeMap::new();
        for &id in &self.present {
            let tensor = &state.tensors[id];
            let mut parts = Vec::with_capacity(self.ranks);
            for (rank, slices) in slices.iter_mut().enumerate() {
                let own = owned(tensor.elem_count(), rank, self.ranks).len();
                if own > 0 {
                    parts.push(slices.next(tensor.dtype(), own)?);
                }
            }
            let whole = Tensor::cat(&parts, 0)?.reshape(tensor.shape())?;
            mean.insert(id, whole.to_device(tensor.device())?);
        }
        Ok(AccumulatedGradients { mean, weight: self.sum.weight })
    }

    /// Begins a new step.
    pub fn reset(&mut self) {
        *self = Self::new(self.rank, self.ranks);
    }
}

/// The slices of one rank, one after the other.
pub(super) struct Slices<'a>(pub &'a [u8]);

impl Slices<'_> {
    /// Fails if a rank sent more than was read.
    pub fn finish(&self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::bug("a rank sent more gradients than announced")) }
    }

    fn next(&mut self, dtype: DType, elements: usize) -> Result<Tensor> {
        let size = elements * dtype.size_in_bytes();
        let short = || Error::bug("a rank sent fewer gradients than announced");
        let (bytes, rest) = self.0.split_at_checked(size).ok_or_else(short)?;
        self.0 = rest;
        match dtype {
            DType::F32 => {
                let numbers = bytes.chunks_exact(4).map(|x| f32::from_ne_bytes([x[0], x[1], x[2], x[3]]));
                Ok(Tensor::from_vec(numbers.collect::<Vec<f32>>(), elements, &Device::Cpu)?)
            }
            DType::F64 => {
                let number = |x: &[u8]| f64::from_ne_bytes(x.try_into().expect("chunks of eight bytes"));
                let numbers = bytes.chunks_exact(8).map(number);
                Ok(Tensor::from_vec(numbers.collect::<Vec<f64>>(), elements, &Device::Cpu)?)
            }
            other => Err(Error::bug(format!("a gradient in {other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{normal, numbers};

    #[test]
    fn owners_add_what_one_process_adds_bit_for_bit() {
        // The last one is smaller than the number of ranks.
        let shapes: [&[usize]; 3] = [&[7, 11], &[13], &[2]];
        let single = |name: String, shape: &[usize]| normal(&name, shape).to_dtype(DType::F32).unwrap();
        let state =
            StateDict { tensors: shapes.iter().map(|shape| single("state".to_owned(), shape)).collect() };
        // One batch has no gradient of a parameter that the others have, and nobody has one of the second in the first.
        let batch = |index: usize| -> (ParameterGradients, f64) {
            let gradient = |id: usize| {
                let missing = (index, id) == (1, 0) || (index, id) == (0, 1);
                (!missing).then(|| single(format!("gradient {index} {id}"), shapes[id]))
            };
            ((0..3).map(|id| (id, gradient(id))).collect(), [4.0, 3.0, 4.5, 1.0, 0.1][index])
        };
        let alone = |batches: Range<usize>| {
            let mut sum = AccumulatedGradients::default();
            for (gradients, weight) in batches.map(batch) {
                sum.add(gradients, weight).unwrap();
            }
            sum
        };
        let expected = alone(0..5);
        for ranks in 1..5 {
            for resumed_at in 0..4 {
                let mut owners: Vec<_> = (0..ranks).map(|rank| OwnedSlices::new(rank, ranks)).collect();
                if resumed_at > 0 {
                    owners.iter_mut().for_each(|owner| owner.take(alone(0..resumed_at)).unwrap());
                }
                for (gradients, weight) in (resumed_at..5).map(batch) {
                    let mut parts = vec![Vec::new(); ranks];
                    OwnedSlices::append_parts(&gradients, &mut parts).unwrap();
                    let present: Vec<_> =
                        gradients.iter().map(|(id, gradient)| (*id, gradient.is_some())).collect();
                    for (owner, part) in owners.iter_mut().zip(&parts) {
                        let mut slices = Slices(part);
                        owner.add(&state, &present, weight, &mut slices).unwrap();
                        slices.finish().unwrap();
                    }
                }
                let bytes: Vec<_> = owners.iter().map(|owner| owner.to_bytes().unwrap()).collect();
                for owner in &owners {
                    let mut slices: Vec<_> = bytes.iter().map(|bytes| Slices(bytes)).collect();
                    let whole = owner.whole(&state, &mut slices).unwrap();
                    assert_eq!(whole.weight, expected.weight);
                    let bits = |sum: &AccumulatedGradients| -> Vec<(TensorId, Vec<u64>)> {
                        let of = |tensor| numbers(tensor).iter().map(|x: &f64| x.to_bits()).collect();
                        sum.mean.iter().map(|(id, tensor)| (*id, of(tensor))).collect()
                    };
                    assert_eq!(bits(&whole), bits(&expected), "{ranks} ranks, resumed at {resumed_at}");
                }
            }
        }
    }
}
