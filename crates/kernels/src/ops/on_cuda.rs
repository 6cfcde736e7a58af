//! Dispatch between the CPU and the GPU half of an operation.

/// Returns `$compute` if `$tensor` is on a GPU; nothing in builds without CUDA.
#[macro_export]
macro_rules! on_cuda {
    ($tensor:expr, $compute:expr) => {
        #[cfg(feature = "cuda")]
        if $tensor.device().is_cuda() {
            return $compute;
        }
    };
}
pub use on_cuda;
