//! Published weights that fit the architectures, from the metadata of torchvision and timm.
//!
//! `tests/fixtures/weights/make_known_weights.py` writes the table.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// Published weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownWeights {
    /// The name of the architecture in pipeline files.
    pub arch: String,
    /// The `variant` to set in the model; `None` if it is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `torchvision` or `timm`.
    pub source: String,
    /// The name in that library.
    pub title: String,
    /// What to write as `file`.
    pub file: String,
    /// An SPDX name in lowercase, or the address of the licence.
    pub licence: String,
    /// Side length of the images of the evaluation, in pixels.
    pub input_size: usize,
    /// Channel statistics for pixels in [0, 1].
    pub mean: Vec<f64>,
    pub std: Vec<f64>,
    /// The shorter side before the crop, in pixels.
    pub resize: usize,
    /// `input_size / resize`.
    pub crop_pct: f64,
    pub interpolation: String,
    /// Accuracy on ImageNet in percent, where the library says it.
    pub top1: Option<f64>,
    /// 10⁶ bytes.
    pub megabytes: f64,
}

/// All of them, by architecture in the order of the language.
pub fn known_weights() -> &'static [KnownWeights] {
    static KNOWN: LazyLock<Vec<KnownWeights>> = LazyLock::new(|| {
        let lines = include_str!("known_weights.jsonl").lines();
        lines.map(|line| serde_json::from_str(line).expect("the table is valid")).collect()
    });
    &KNOWN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Arch, RemoteWeights};

    #[test]
    fn every_line_is_a_name_for_an_architecture() {
        for known in known_weights() {
            serde_json::from_value::<Arch>(known.arch.clone().into()).unwrap();
            let name = RemoteWeights::parse(&known.file).unwrap().unwrap();
            assert_eq!(name.to_string(), known.file);
            assert!(known.megabytes > 1.0 && known.mean.len() == 3 && known.std.len() == 3, "{known:?}");
        }
        assert!(known_weights().len() > 50);
    }
}
