//! Checks what the members of an ensemble must share: the classes, and the preprocessing of images.

use super::resolve::Resolver;
use crate::pipeline::Evaluate;
use crate::stage::{Preprocess, ResolvedStage};
use crate::task::{is_known, list};

impl Resolver<'_> {
    /// Compares the members of an evaluation with one another and with the images that all of them read. A single model
    /// uses the preprocessing of the evaluation.
    pub(super) fn ensemble(
        &mut self,
        stage: &str,
        evaluate: &Evaluate,
        preprocess: &Preprocess,
        above: &[&ResolvedStage],
    ) -> Option<()> {
        let names = evaluate.ensemble.as_deref().unwrap_or_default();
        let mut first: Option<(&str, &ResolvedStage)> = None;
        for (place, (name, work)) in names.iter().zip(above).enumerate() {
            let at = format!("stage.{stage}.ensemble[{place}]");
            let found = match first {
                None => trained_for(name, work, preprocess),
                Some(first) => trained_for(name, work, preprocess)
                    .or_else(|| other_classes(first, (name, work)))
                    .or_else(|| other_size(first, (name, work)).filter(|_| evaluate.image_size.is_none())),
            };
            if let Some((code, message, help)) = found {
                self.diagnose(&at, code, message, Some(help.to_owned()));
                return None;
            }
            first = first.or(Some((name, work)));
        }
        Some(())
    }
}

type Problem = (&'static str, String, &'static str);

/// Pixels in another range would turn one member's probabilities into noise, and the mean would hide this.
pub(super) fn trained_for(name: &str, work: &ResolvedStage, preprocess: &Preprocess) -> Option<Problem> {
    let ResolvedStage::Train(train, _) = work else { return None };
    if train.preprocess.0.normalize == preprocess.0.normalize {
        return None;
    }
    let message = format!("`{name}` was trained with another `normalize` than this data set's");
    Some(("normalize", message, "use the same `normalize` in both data sets"))
}

fn other_classes(
    (first, one): (&str, &ResolvedStage),
    (name, other): (&str, &ResolvedStage),
) -> Option<Problem> {
    let (one, other) = (&one.model_spec().classes, &other.model_spec().classes);
    if one == other || !(is_known(one) && is_known(other)) {
        return None;
    }
    let message = format!("`{name}` predicts {}, but `{first}` predicts {}", list(other), list(one));
    Some(("class-list", message, "probabilities are averaged per class: train both with the same `classes`"))
}

fn other_size(
    (first, one): (&str, &ResolvedStage),
    (name, other): (&str, &ResolvedStage),
) -> Option<Problem> {
    let (ResolvedStage::Train(one, _), ResolvedStage::Train(other, _)) = (one, other) else { return None };
    let (one, other) = (one.preprocess.0.image_size, other.preprocess.0.image_size);
    if one == other {
        return None;
    }
    let message = format!("`{name}` was trained on images of {other} pixels, but `{first}` on {one}");
    Some(("image-size", message, "set `image_size`, which both are evaluated at"))
}
