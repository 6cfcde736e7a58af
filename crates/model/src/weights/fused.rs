//! Files in fused form: batch normalisation is merged into the convolutions, which then have a bias.
//!
//! Exporters write this form for inference. The names tell: a convolution has a bias that the model lacks, and the
//! tensors of its normalisation are missing.

use super::{LoadRules, WeightsFile};
use crate::error::Error;
use crate::model::{Description, NormSpec, TensorId, TensorRole};

/// A normalisation that is merged into the convolution before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FusedNorm {
    /// Its index in [`Description::norms`].
    pub norm: usize,
    /// The name of the convolution's bias in [`WeightsFile::entries`].
    pub bias: String,
}

/// The merged normalisations of a file.
pub(super) fn fused(description: &Description, source: &WeightsFile) -> Vec<FusedNorm> {
    let entries = source.entries();
    let found = |(norm, spec): (usize, &NormSpec)| {
        for id in [spec.weight, spec.bias, spec.running_mean, spec.running_var] {
            if entries.contains_key(&description.tensors.get(id)?.name) {
                return None;
            }
        }
        let conv = &description.tensors[convolution(description, spec)?].name;
        let own = conv.strip_suffix("weight")?;
        let written = source.bare(conv);
        let names = [own, written.strip_suffix("weight").unwrap_or(own)].map(|name| format!("{name}bias"));
        let bias = names.into_iter().find(|name| entries.contains_key(name))?;
        description.id(&bias).is_none().then_some(FusedNorm { norm, bias })
    };
    description.norms.iter().enumerate().filter_map(found).collect()
}

/// The convolution before a normalisation, which is declared just before it.
fn convolution(description: &Description, norm: &NormSpec) -> Option<TensorId> {
    let id = norm.weight.checked_sub(1)?;
    let spec = &description.tensors[id];
    let outputs = &description.tensors[norm.weight].shape;
    let fits = spec.role == TensorRole::Weight && spec.shape.len() == 4 && spec.shape[..1] == outputs[..];
    fits.then_some(id)
}

/// The indices in [`Description::norms`] of the normalisations that are to be put back: merged in the file and not
/// reinitialised.
pub fn norms_to_restore(description: &Description, source: &WeightsFile, rules: &LoadRules) -> Vec<usize> {
    let norms = fused(description, source).into_iter().map(|fused| fused.norm);
    norms.filter(|&norm| is_restored(&description.norms[norm], rules)).collect()
}

pub(super) fn is_restored(norm: &NormSpec, rules: &LoadRules) -> bool {
    !rules.reinit.contains(norm.bias)
}

/// What to do with a file in fused form.
pub(super) fn error(description: &Description, source: &WeightsFile, fused: &[FusedNorm]) -> Error {
    let spec = &description.norms[fused[0].norm];
    let prefix = source.written("");
    Error::usage(format!(
        "the weights in `{}` are in fused form: batch normalisation is merged into {} of {} convolutions, such as \
         `{prefix}{}` instead of `{}.*`",
        source.path().display(),
        fused.len(),
        description.norms.len(),
        fused[0].bias,
        source.written(&spec.name),
    ))
    .hint(
        "add `restore_batch_norm = { images = 64 }` to the stage, which computes its statistics from training images, \
         or load the weights from before they were fused or exported",
    )
}
