//! Checks of the sampler of a train stage: the annotations that it needs, the size of batches, and weights of the loss.

use super::stage::default_batch_size;
use super::unchecked::UncheckedPipeline;
use super::{ClassWeights, LabelKind, Loss, Sampler};

/// Checks the sampler of the train stage of this name, at `path`.
pub fn check(draft: &mut UncheckedPipeline, name: &str, path: &str) {
    let at = format!("{path}.sampler");
    let Some(sampler) = draft.read_or_default::<Sampler>(&at) else { return };
    let Some(loss) = draft.read_or_default::<Loss>(&format!("{path}.loss")) else { return };
    if loss.compares_embeddings() && !matches!(sampler, Sampler::PK(_)) {
        let message =
            "this loss compares the images of a batch, which must have several of each class".to_owned();
        let help =
            "set `sampler = { kind = \"p_k\", classes = 8, images = 4 }` and `batch_size = 32`".to_owned();
        draft.report(draft.key_span(&format!("{path}.loss")), "conflict", message, help);
        return;
    }
    if sampler.is_default() {
        return;
    }
    let kind = sampler.kind();
    if loss.compares_views() {
        let message = format!("`{kind}` chooses images by their classes, which this loss does not use");
        return draft.report(draft.key_span(&at), "conflict", message, "remove `sampler`".to_owned());
    }
    if let Some(labels) = draft.label_kind(name).filter(|labels| *labels != LabelKind::Class) {
        let data = draft.name_of(name, "data").unwrap_or_default();
        let message = format!("`{kind}` needs one class per image, but `data.{data}` {}", labels.in_words());
        let help = match labels {
            LabelKind::Boxes => "remove `sampler`: an image shows objects of several classes",
            _ => "remove `sampler`; `positive_weights` of the loss raises rare labels",
        };
        return draft.report(draft.key_span(&at), "conflict", message, help.to_owned());
    }
    batch_size(draft, path, &sampler);
    weights(draft, path, &loss);
}

/// Each batch has P × K images.
fn batch_size(draft: &mut UncheckedPipeline, path: &str, sampler: &Sampler) {
    let Sampler::PK(batch) = sampler else { return };
    let at = format!("{path}.batch_size");
    let written = draft.get(&at).is_some();
    let size = draft.read::<usize>(&at).filter(|_| written).or((!written).then_some(default_batch_size()));
    let Some(size) = size.filter(|size| *size != batch.batch_size()) else { return };
    let by_default = if written { "" } else { " by default" };
    let message = format!(
        "the sampler makes batches of {} × {} = {} images, but `batch_size` is {size}{by_default}",
        batch.classes,
        batch.images,
        batch.batch_size()
    );
    let place = if written { at } else { format!("{path}.sampler") };
    draft.report(
        draft.key_span(&place),
        "conflict",
        message,
        format!("write `batch_size = {}`", batch.batch_size()),
    );
}

/// Balanced weights are computed from the numbers of training images, not of those that the sampler shows.
fn weights(draft: &mut UncheckedPipeline, path: &str, loss: &Loss) {
    if loss.class_weights() != Some(&ClassWeights::Balanced) {
        return;
    }
    let message =
        "balanced `class_weights` and the sampler both make rare classes count more, which is once too often";
    let help = "remove `class_weights` or `sampler`; weights by class name may stay".to_owned();
    let place = draft.key_span(&format!("{path}.loss.class_weights"));
    draft.report(place, "conflict", message.to_owned(), help);
}
