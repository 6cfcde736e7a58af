//! What is said where a GPU's memory is too small.

use candle_core::Device;

use crate::error::Error;

/// The error of a training step on so many images, or of images on their way through a network; one that tells of full
/// memory says what was in use and what would fit.
pub fn explained(error: Error, device: &Device, step: Option<usize>) -> Error {
    #[cfg(feature = "cuda")]
    if let Some((used, total)) = crate::cuda::out_of_memory(&error, device) {
        let (used, total) = (used as f64 / 1e9, total as f64 / 1e9);
        let (what, cure) = match step {
            Some(batch) => {
                let smaller =
                    if batch > 1 { format!("`batch_size = {}`, ", batch / 2) } else { String::new() };
                let cure = format!("{smaller}`precision = \"bf16\"` or a smaller `image_size`");
                (format!("a step on {batch} images takes"), cure)
            }
            None => (
                "images on their way through the network take".to_owned(),
                "a smaller `image_size`".to_owned(),
            ),
        };
        return Error::failed(format!(
            "the GPU's memory is full: {what} more than {used:.3} GB, of {total:.3}"
        ))
        .hint(format!("try {cure}; the last checkpoint is kept"));
    }
    _ = (device, step);
    error
}
