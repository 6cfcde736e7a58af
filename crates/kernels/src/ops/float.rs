//! The two working types, and access to the elements of tensors.

use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::Location;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Shape, Storage, Tensor, WithDType};

use super::exponential::exponential_of;
use super::normal::normal_of;
use super::sigmoid::sigmoid_of;
use super::softplus::softplus_of;
use super::vector::{Single, Vector};
use crate::error::{Error, Result};

/// f32, the type of training, or f64, the reference type of tests.
pub trait Float:
    WithDType
    + bytemuck::Pod
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::AddAssign
    + PartialOrd
    + Default
    + Send
    + Sync
{
    const ZERO: Self;
    const ONE: Self;

    /// The vector types of the profiles x86-v4 and x86-v3. f64 is for tests only and uses none.
    type Widest: Vector<Number = Self>;
    type Wide: Vector<Number = Self>;

    /// self · a + b with one rounding.
    fn fused_multiply_add(self, a: Self, b: Self) -> Self;

    fn square_root(self) -> Self;

    /// 1 / (1 + e^−self). In f32 it vectorises if it is inlined.
    fn sigmoid(self) -> Self;

    /// e^self, constant beyond ±87 in f32.
    fn exponential(self) -> Self;

    /// log(1 + e^self). In f32 it vectorises if it is inlined.
    fn softplus(self) -> Self;

    /// The standard normal distribution: the probability below self, and the density.
    fn normal(self) -> [Self; 2];

    /// The same number in f64. Unlike `to_f64` it is always inlined, so loops over it vectorise.
    fn widen(self) -> f64;

    /// The elements of a storage, if it is on the CPU and has this type.
    fn storage(storage: &CpuStorage) -> Option<&[Self]>;

    fn storage_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

macro_rules! float {
    ($type:ident, $variant:ident, [$sigmoid:expr, $exponential:expr, $softplus:expr, $normal:expr], $widest:ty, $wide:ty) => {
        impl Float for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            type Widest = $widest;
            type Wide = $wide;

            #[inline(always)]
            fn fused_multiply_add(self, a: Self, b: Self) -> Self {
                self.mul_add(a, b)
            }

            #[inline(always)]
            fn square_root(self) -> Self {
                self.sqrt()
            }

            #[inline(always)]
            fn sigmoid(self) -> Self {
                $sigmoid(self)
            }

            #[inline(always)]
            fn exponential(self) -> Self {
                $exponential(self)
            }

            #[inline(always)]
            fn softplus(self) -> Self {
                $softplus(self)
            }

            #[inline(always)]
            fn normal(self) -> [Self; 2] {
                $normal(self)
            }

            #[inline(always)]
            #[allow(clippy::useless_conversion)]
            fn widen(self) -> f64 {
                f64::from(self)
            }

            fn storage(storage: &CpuStorage) -> Option<&[Self]> {
                match storage {
                    CpuStorage::$variant(data) => Some(data),
                    _ => None,
                }
            }

            fn storage_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(data) => Some(data),
                    _ => None,
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
float!(
    f32,
    F32,
    [
        |x| sigmoid_of(Single(x)).0,
        |x| exponential_of(Single(x)).0,
        |x| softplus_of(Single(x)).0,
        |x| normal_of(Single(x)).map(|x| x.0)
    ],
    super::vector_x86::Avx512,
    super::vector_x86::Avx2
);
#[cfg(not(target_arch = "x86_64"))]
float!(
    f32,
    F32,
    [
        |x| sigmoid_of(Single(x)).0,
        |x| exponential_of(Single(x)).0,
        |x| softplus_of(Single(x)).0,
        |x| normal_of(Single(x)).map(|x| x.0)
    ],
    Single<f32>,
    Single<f32>
);
float!(
    f64,
    F64,
    [|x: f64| 1.0 / (1.0 + libm::exp(-x)), libm::exp, softplus, normal],
    Single<f64>,
    Single<f64>
);

/// log(1 + e^x) in f64.
fn softplus(x: f64) -> f64 {
    let rest = libm::log1p(libm::exp(-x.abs()));
    if x < 0.0 { rest } else { x + rest }
}

/// The standard normal distribution in f64.
fn normal(x: f64) -> [f64; 2] {
    use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
    let density = libm::exp(-0.5 * x * x) * (0.5 * FRAC_1_SQRT_2 * FRAC_2_SQRT_PI);
    [0.5 * libm::erfc(-x * FRAC_1_SQRT_2), density]
}

/// Runs `$body` with `$float` bound to the tensor's type: `by_dtype!(x, T => kernel::<T>(x))`.
#[macro_export]
macro_rules! by_dtype {
    ($tensor:expr, $float:ident => $body:expr) => {
        match $tensor.dtype() {
            candle_core::DType::F32 => {
                type $float = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $float = f64;
                $body
            }
            other => Err($crate::ops::float::unsupported(other)),
        }
    };
}
pub use by_dtype;

/// Calls `f` with the elements of a contiguous CPU tensor, in row-major order, without a copy.
#[track_caller]
pub fn with_slice<T: Float, R>(tensor: &Tensor, f: impl FnOnce(&[T]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    Ok(f(slice(tensor, &storage, layout)?))
}

/// [`with_slice`] for an optional tensor.
#[track_caller]
pub fn with_optional_slice<T: Float, R>(
    tensor: Option<&Tensor>,
    f: impl FnOnce(Option<&[T]>) -> R,
) -> Result<R> {
    match tensor {
        None => Ok(f(None)),
        Some(tensor) => with_slice(tensor, |data| f(Some(data))),
    }
}

/// [`with_slice`] for several tensors.
#[track_caller]
pub fn with_slices<T: Float, R>(tensors: &[&Tensor], f: impl FnOnce(&[&[T]]) -> R) -> Result<R> {
    let storages: Vec<_> = tensors.iter().map(|tensor| tensor.storage_and_layout()).collect();
    let slices: Result<Vec<&[T]>> = tensors
        .iter()
        .zip(&storages)
        .map(|(tensor, (storage, layout))| slice(tensor, storage, layout))
        .collect();
    Ok(f(&slices?))
}

/// The elements of a contiguous tensor.
#[track_caller]
fn slice<'a, T: Float>(tensor: &Tensor, storage: &'a Storage, layout: &Layout) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(Error::bug(format!("a tensor of shape {:?} is not contiguous", tensor.shape())));
    };
    let Storage::Cpu(storage) = storage else {
        let place = Location::caller();
        return Err(Error::bug(format!(
            "a tensor of a GPU came to the CPU's half of an operation ({place})"
        )));
    };
    match T::storage(storage) {
        Some(data) => Ok(&data[start..end]),
        None => Err(Error::bug(format!("expected {:?}, found {:?}", T::DTYPE, tensor.dtype()))),
    }
}

/// Calls `f` with the mutable elements of a contiguous CPU tensor. Every reference to the tensor sees the
/// change, so the caller must hold the only one.
pub fn with_slice_mut<T: Float, R>(tensor: &Tensor, f: impl FnOnce(&mut [T]) -> R) -> Result<R> {
    let change = Change { function: Cell::new(Some(f)), result: Cell::new(None), number: PhantomData };
    tensor.inplace_op1(&change)?;
    change.result.take().ok_or_else(|| Error::bug("a tensor was not changed"))
}

struct Change<T, F, R> {
    function: Cell<Option<F>>,
    result: Cell<Option<R>>,
    number: PhantomData<T>,
}

impl<T: Float, R, F: FnOnce(&mut [T]) -> R> InplaceOp1 for Change<T, F, R> {
    fn name(&self) -> &'static str {
        "change in place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        if let (Some(function), Some(data), Some((start, end))) =
            (self.function.take(), T::storage_mut(storage), layout.contiguous_offsets())
        {
            self.result.set(Some(function(&mut data[start..end])));
        }
        Ok(())
    }
}

/// A CPU tensor from its elements in row-major order, without a copy.
pub fn tensor<T: Float>(data: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Ok(Tensor::from_vec(data, shape.into(), &Device::Cpu)?)
}

/// The elements of a small tensor, such as one per channel, in f64.
pub fn to_f64(tensor: &Tensor) -> Result<Vec<f64>> {
    by_dtype!(tensor, T => with_slice(tensor, |data: &[T]| data.iter().map(|x| x.widen()).collect()))
}

/// Rounds to the working type.
pub fn from_f64<T: Float>(data: &[f64]) -> Vec<T> {
    data.iter().map(|x| T::from_f64(*x)).collect()
}

pub fn unsupported(dtype: DType) -> Error {
    Error::bug(format!("no operation computes in {dtype:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_the_tensor_row_by_row() {
        let x = tensor(vec![1f32, 2., 3., 4., 5., 6.], (2, 3)).unwrap();
        assert_eq!(with_slice(&x, |data: &[f32]| data.to_vec()).unwrap(), [1., 2., 3., 4., 5., 6.]);
        let second = x.narrow(0, 1, 1).unwrap();
        assert_eq!(with_slice(&second, |data: &[f32]| data.to_vec()).unwrap(), [4., 5., 6.]);
        assert!(with_slice(&x.t().unwrap(), |_: &[f32]| ()).is_err());
        assert!(with_slice(&x, |_: &[f64]| ()).is_err());
    }
}
