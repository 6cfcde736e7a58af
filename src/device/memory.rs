//! What is said where a GPU's memory is too small.

use candle_core::Device;

use crate::error::Error;

/// The error of a training step on `batch` images; one that tells of full memory says what was in use and what would fit.
pub fn explained(error: Error, device: &Device, batch: usize) -> Error {
    #[cfg(feature = "cuda")]
    if let Some((used, total)) = crate::cuda::out_of_memory(&error, device) {
        let (used, total) = (used as f64 / 1e9, total as f64 / 1e9);
        let smaller = if batch > 1 { format!("`batch_size = {}`, ", batch / 2) } else { String::new() };
        return Error::failed(format!(
            "the GPU's memory is full: a step on {batch} images takes more than {used:.1} GB, of {total:.1}"
        ))
        .hint(format!(
            "try {smaller}`precision = \"bf16\"` or a smaller `image_size`; the last checkpoint is kept"
        ));
    }
    _ = (device, batch);
    error
}
