//! The one error of the library: what went wrong, whose move it is, and what to do about it.

use std::fmt;
use std::path::Path;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose move it is; the binary turns it into the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The file, an input or the command line is wrong: exit code 2.
    Usage,
    /// Something failed while running: exit code 1.
    Failed,
    /// A device has too little memory for what was asked: exit code 1.
    OutOfMemory,
    /// A mistake in the program itself, not in the file or an input: exit code 1.
    Bug,
    /// Stopped on request, resumable: exit code 130.
    Interrupted,
}

impl Kind {
    /// The word for it in JSON documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Failed => "failed",
            Self::OutOfMemory => "out_of_memory",
            Self::Bug => "bug",
            Self::Interrupted => "interrupted",
        }
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// An error that names the thing, the place and the cause, and where possible the cure.
///
/// `message` is lowercase and without a full stop; `hint` is one imperative sentence. The message says all that a person
/// needs; [`source`](std::error::Error::source) is the cause as a value, for code that asks what it was.
#[derive(Debug)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    pub hint: Option<String>,
    source: Option<Source>,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub fn out_of_memory(message: impl Into<String>) -> Self {
        Self::new(Kind::OutOfMemory, message)
    }

    /// A state that no file and no input can cause. The hint asks to report it.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message).hint(concat!(
            "report this: it is a bug in defrost ",
            env!("CARGO_PKG_VERSION"),
            ", not in your pipeline file"
        ))
    }

    pub fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Kind::Interrupted, message)
    }

    /// An I/O failure on a path: `cannot read `x.toml`: permission denied`.
    pub fn io(action: &str, path: &Path, error: std::io::Error) -> Self {
        let cause = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or folder".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        Self::failed(format!("cannot {action} `{}`: {cause}", path.display())).caused_by(error)
    }

    /// Keeps the cause as a value.
    pub fn caused_by(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what was being done when the error came: `stage `frozen`: …`.
    pub fn within(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub fn as_usage(mut self) -> Self {
        self.kind = Kind::Usage;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source: &(dyn std::error::Error + 'static) = self.source.as_deref()?;
        Some(source)
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        use candle_core::Error as Tensor;
        let error = match error {
            // Where RUST_BACKTRACE is set, candle's messages are pages long.
            Tensor::WithBacktrace { inner, .. } => *inner,
            error => error,
        };
        let message = format!("tensor error: {error}");
        let kind = match &error {
            Tensor::Cuda(cause) if is_out_of_device_memory(&**cause) => Kind::OutOfMemory,
            // Shapes, types and devices were checked long before: no input may lead here.
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
            | Tensor::RequiresContiguous { .. } => Kind::Bug,
            _ => Kind::Failed,
        };
        let described = match kind {
            Kind::Bug => Self::bug(message),
            kind => Self::new(kind, message),
        };
        described.caused_by(error)
    }
}

/// Whether candle's CUDA half, or a library below it, had no memory.
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
    use std::error::Error as _;

    use candle_core::{DType, Device, Tensor};

    use super::*;

    #[test]
    fn the_cause_is_kept_as_a_value() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::io("write", Path::new("a"), full).within("stage `b`").as_usage();
        let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::StorageFull));
        assert!(Error::failed("no cause").source().is_none());
    }

    #[test]
    fn a_bug_asks_to_be_reported_with_the_version() {
        let error = Error::bug("features of no image").within("stage `frozen`");
        assert_eq!((error.kind, &*error.message), (Kind::Bug, "stage `frozen`: features of no image"));
        assert!(error.hint.unwrap().contains(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn tensors_that_do_not_fit_are_a_bug_in_one_line() {
        let tensor = |columns| Tensor::zeros((2, columns), DType::F32, &Device::Cpu).unwrap();
        let error = Error::from((tensor(2) + tensor(3)).unwrap_err());
        assert_eq!((error.kind, error.message.lines().count()), (Kind::Bug, 1), "{error}");
        let error = Error::from(candle_core::Error::Msg("the file ends early".into()));
        assert_eq!((error.kind, &*error.message), (Kind::Failed, "tensor error: the file ends early"));
    }
}
