//! Matrix products through cuBLAS.

use std::ffi::c_void;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, result, sys};
use candle_core::{CudaDevice, DType};

use super::engine::{Address, Engine};
use super::memory;
use crate::error::{Error, Result};

pub struct Cublas(Arc<CudaBlas>);

impl Cublas {
    /// Split sums are accumulated in f32, also if the result is bf16 or f16.
    pub(super) fn new(device: &CudaDevice) -> Result<Self> {
        let blas = device.cublas_handle();
        let mode = sys::cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: the handle belongs to cuBLAS.
        unsafe { sys::cublasSetMathMode(*blas.handle(), mode) }
            .result()
            .map_err(|error| Error::failed(format!("cuBLAS: {error}")))?;
        Ok(Self(blas))
    }
}

/// A matrix in row-major order, or the transpose of one.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    pub address: Address,
    pub transposed: bool,
}

impl Operand {
    pub fn plain(address: Address) -> Self {
        Self { address, transposed: false }
    }

    pub fn transposed(address: Address) -> Self {
        Self { address, transposed: true }
    }
}

/// out [m, n] = left [m, k] · right [k, n], all row-major, accumulated in f32. All operands have type `dtype`.
pub struct CublasProduct {
    pub dtype: DType,
    pub dimensions: [usize; 3],
    pub left: Operand,
    pub right: Operand,
    pub out: Address,
    /// Adds to the previous content of `out`.
    pub accumulate: bool,
}

impl Engine {
    /// # Errors
    /// Dimensions that exceed cuBLAS's limits, or an unsupported type.
    pub fn product(&self, product: &CublasProduct) -> Result<()> {
        self.products(product, 1, product.dtype)
    }

    /// A batch of products of matrices stored one after another. The results have type `sums`.
    pub fn products(&self, product: &CublasProduct, count: usize, sums: DType) -> Result<()> {
        let [m, n, k] = product.dimensions;
        if m == 0 || n == 0 || k == 0 || count == 0 {
            return Err(Error::bug(format!("{count} products of [{m}, {k}] and [{k}, {n}]")));
        }
        let size = |size: usize| {
            i32::try_from(size).map_err(|_| Error::failed(format!("a matrix of {size} rows is too large")))
        };
        let (rows, columns, depth, count) = (size(m)?, size(n)?, size(k)?, size(count)?);
        let (numbers, sums) = (numbers(product.dtype)?, numbers(sums)?);
        let compute = match (product.dtype, self.settings().tf32) {
            (DType::F32, true) => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            _ => sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let way = |transposed| match transposed {
            true => sys::cublasOperation_t::CUBLAS_OP_T,
            false => sys::cublasOperation_t::CUBLAS_OP_N,
        };
        // cuBLAS is column-major, so it computes the transposes: out^T = right^T · left^T.
        let (left, right) = (product.left, product.right);
        let leading =
            |operand: Operand, rows: i32, columns: i32| if operand.transposed { rows } else { columns };
        let (one, before) = (1f32, if product.accumulate { 1f32 } else { 0f32 });
        // SAFETY: the callers in `ops` pass addresses of matrices of these sizes.
        unsafe {
            result::gemm_strided_batched_ex(
                *self.blas.0.handle(),
                way(right.transposed),
                way(left.transposed),
                columns,
                rows,
                depth,
                std::ptr::from_ref(&one).cast(),
                right.address.at as *const c_void,
                numbers,
                leading(right, depth, columns),
                (k * n) as i64,
                left.address.at as *const c_void,
                numbers,
                leading(left, rows, depth),
                (m * k) as i64,
                std::ptr::from_ref(&before).cast(),
                product.out.at as *mut c_void,
                sums,
                columns,
                (m * n) as i64,
                count,
                compute,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(|error| match error.0 {
            sys::cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => memory::out_of_memory(error),
            _ => Error::failed(format!("cuBLAS: {error} in a product of [{m}, {k}] and [{k}, {n}]"))
                .caused_by(error),
        })
    }
}

fn numbers(dtype: DType) -> Result<sys::cudaDataType_t> {
    match dtype {
        DType::F32 => Ok(sys::cudaDataType_t::CUDA_R_32F),
        DType::BF16 => Ok(sys::cudaDataType_t::CUDA_R_16BF),
        DType::F16 => Ok(sys::cudaDataType_t::CUDA_R_16F),
        other => Err(Error::bug(format!("no product of {other:?}"))),
    }
}
