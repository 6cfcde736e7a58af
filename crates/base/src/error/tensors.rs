//! Errors of candle, with their kinds here.

use std::path::Path;

use super::{Error, ErrorKind};

impl Error {
    /// A failure to read or write tensors at a path.
    pub fn tensors(action: &str, path: &Path, error: candle_core::Error) -> Self {
        use candle_core::Error as Candle;
        match error {
            Candle::Io(error) | Candle::SafeTensor(safetensors::SafeTensorError::IoError(error)) => {
                Self::io(action, path, error)
            }
            Candle::WithBacktrace { inner, .. } | Candle::WithPath { inner, .. } => {
                Self::tensors(action, path, *inner)
            }
            error => Self::failed(format!("cannot {action} `{}`: {error}", path.display())),
        }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        use candle_core::Error as Tensor;
        let error = match error {
            // With RUST_BACKTRACE, candle's messages contain the whole backtrace.
            Tensor::WithBacktrace { inner, .. } => *inner,
            error => error,
        };
        let message = format!("tensor error: {error}");
        let kind = match &error {
            Tensor::Cuda(cause) if is_out_of_device_memory(&**cause) => ErrorKind::OutOfMemory,
            // Shapes, types and devices are checked before: no input may cause this error.
            Tensor::UnexpectedDType { .. }
            | Tensor::DTypeMismatchBinaryOp { .. }
            | Tensor::UnsupportedDTypeForOp(..)
            | Tensor::DimOutOfRange { .. }
            | Tensor::UnexpectedNumberOfDims { .. }
            | Tensor::UnexpectedShape { .. }
            | Tensor::ShapeMismatch { .. }
            | Tensor::ShapeMismatchBinaryOp { .. }
            | Tensor::ShapeMismatchCat { .. }
            | Tensor::DeviceMismatchBinaryOp { .. }
            | Tensor::NarrowInvalidArgs { .. }
            | Tensor::BroadcastIncompatibleShapes { .. }
            | Tensor::MatMulUnexpectedStriding(_)
            | Tensor::RequiresContiguous { .. } => ErrorKind::Bug,
            _ => ErrorKind::Failed,
        };
        let described = match kind {
            ErrorKind::Bug => Self::bug(message),
            kind => Self::new(kind, message),
        };
        described.caused_by(error)
    }
}

/// Whether candle's CUDA half, or a library below it, ran out of memory.
#[cfg(feature = "cuda")]
fn is_out_of_device_memory(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    use candle_core::cuda_backend::CudaError;
    use candle_core::cuda_backend::cudarc::{cublas::sys::cublasStatus_t, driver::sys::CUresult};
    match error.downcast_ref() {
        Some(CudaError::Cuda(driver)) => driver.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY,
        Some(CudaError::Load { cuda, .. }) => cuda.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY,
        Some(CudaError::Cublas(blas)) => blas.0 == cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED,
        _ => false,
    }
}

#[cfg(not(feature = "cuda"))]
fn is_out_of_device_memory(_: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;

    #[test]
    fn tensors_that_do_not_fit_are_a_bug_in_one_line() {
        let tensor = |columns| Tensor::zeros((2, columns), DType::F32, &Device::Cpu).unwrap();
        let error = Error::from((tensor(2) + tensor(3)).unwrap_err());
        assert_eq!((error.kind, error.message.lines().count()), (ErrorKind::Bug, 1), "{error}");
        let error = Error::from(candle_core::Error::Msg("the file ends early".into()));
        assert_eq!((error.kind, &*error.message), (ErrorKind::Failed, "tensor error: the file ends early"));
    }
}
