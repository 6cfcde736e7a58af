//! Adds gradients of one tensor, in place if this code holds the only reference to the memory.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Error, InplaceOp2, Layout, Tensor};
use rayon::prelude::*;

use crate::error::Result;

/// A gradient during the backward pass. It records whether this is the only reference to its memory.
pub struct PendingGradient {
    tensor: Tensor,
    alone: bool,
}

impl PendingGradient {
    /// A gradient with no other reference to its memory.
    pub fn new(tensor: Tensor) -> Self {
        Self { tensor, alone: true }
    }

    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    pub fn is_unique(&self) -> bool {
        self.alone
    }

    /// Records the address and ownership of this gradient, to recognise results that are the same tensor.
    pub fn ownership(&self) -> GradientOwnership {
        GradientOwnership { address: storage_address(&self.tensor), alone: self.alone }
    }

    /// The sum of two gradients. Floating-point addition is commutative, so either operand may provide the
    /// memory.
    pub fn add(self, other: PendingGradient) -> Result<PendingGradient> {
        let (sum, addend) = if self.alone { (self, other) } else { (other, self) };
        if !sum.alone {
            #[cfg(feature = "cuda")]
            if sum.tensor.device().is_cuda() {
                return Ok(PendingGradient::new(crate::cuda::add(&sum.tensor, &addend.tensor)?));
            }
            return Ok(PendingGradient::new((sum.tensor + addend.tensor)?));
        }
        #[cfg(feature = "cuda")]
        if sum.tensor.device().is_cuda() {
            crate::cuda::add_in_place(&sum.tensor, &addend.tensor)?;
            return Ok(sum);
        }
        sum.tensor.inplace_op2(&addend.tensor, &AddInPlace)?;
        Ok(sum)
    }
}

/// The address of an operation's output gradient, and whether it was the only reference.
pub struct GradientOwnership {
    address: usize,
    alone: bool,
}

impl GradientOwnership {
    /// Decides which of the returned gradients have no other reference. New tensors have none. The output's
    /// gradient, if the operation returns it, keeps the ownership it had, for one input only.
    ///
    /// If the output's gradient was dropped, a new tensor may have its address. In that case the old gradient
    /// had no other reference, and neither has the new tensor.
    pub fn pending(self, grads: Vec<Option<Tensor>>) -> Vec<Option<PendingGradient>> {
        let addresses: Vec<Option<usize>> =
            grads.iter().map(|grad| grad.as_ref().map(storage_address)).collect();
        let alone = |address| {
            let holders = addresses.iter().filter(|other| **other == Some(address)).count();
            holders == 1 && (self.alone || address != self.address)
        };
        let slot = |(grad, address): (Option<Tensor>, &Option<usize>)| {
            Some(PendingGradient { tensor: grad?, alone: alone((*address)?) })
        };
        grads.into_iter().zip(&addresses).map(slot).collect()
    }
}

/// Equal for tensors that share memory, while they exist.
fn storage_address(tensor: &Tensor) -> usize {
    let (storage, _) = tensor.storage_and_layout();
    std::ptr::from_ref(&*storage).addr()
}

struct AddInPlace;

impl InplaceOp2 for AddInPlace {
    fn name(&self) -> &'static str {
        "add gradients in place"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        sum_layout: &Layout,
        addend: &CpuStorage,
        addend_layout: &Layout,
    ) -> candle_core::Result<()> {
        let op = self.name();
        let offsets = (sum_layout.contiguous_offsets(), addend_layout.contiguous_offsets());
        let (Some(to), Some(from)) = offsets else { return Err(Error::RequiresContiguous { op }) };
        let (lhs, rhs) = (sum_layout.shape().clone(), addend_layout.shape().clone());
        if lhs != rhs {
            return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op });
        }
        match (sum, addend) {
            (CpuStorage::F32(sum), CpuStorage::F32(addend)) => {
                add(&mut sum[to.0..to.1], &addend[from.0..from.1]);
            }
            (CpuStorage::F64(sum), CpuStorage::F64(addend)) => {
                add(&mut sum[to.0..to.1], &addend[from.0..from.1]);
            }
            (sum, addend) => {
                let (lhs, rhs) = (sum.dtype(), addend.dtype());
                return Err(Error::DTypeMismatchBinaryOp { lhs, rhs, op });
            }
        }
        Ok(())
    }
}

fn add<T: Copy + Send + Sync + std::ops::AddAssign>(sum: &mut [T], addend: &[T]) {
    const CHUNK: usize = 1 << 14;
    sum.par_chunks_mut(CHUNK).zip(addend.par_chunks(CHUNK)).for_each(|(sum, addend)| {
        for (sum, addend) in sum.iter_mut().zip(addend) {
            *sum += *addend;
        }
    });
}
