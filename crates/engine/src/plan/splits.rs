//! Checks that splits have images. If a table assigns images to splits, only reading it shows this.

use super::resolve::Resolver;
use crate::data::{Dataset, Split};
use crate::pipeline::{self, CheckpointKind, Monitor, Parent, Stage};
use crate::task::RecognitionSpec;

impl Resolver<'_> {
    /// Whether a table has the validation images that its split column should provide.
    pub(super) fn validation(
        &mut self,
        stage: &str,
        train: &pipeline::Train,
        dataset: Option<&Dataset>,
    ) -> Option<()> {
        if dataset.is_none_or(|dataset| !dataset.split(Split::Validation).is_empty()) {
            return Some(());
        }
        let best = Parent { stage, checkpoint: Some(CheckpointKind::Best) };
        let follows = |(_, other): &&(String, Stage)| other.parents().contains(&best);
        let at = if train.early_stop.is_some() {
            format!("stage.{stage}.early_stop")
        } else if train.monitor != Monitor::default() {
            format!("stage.{stage}.monitor")
        } else if train.schedule.settings().plateau().is_some() {
            format!("stage.{stage}.schedule")
        } else if let Some((follower, asks)) = self.pipeline.stages.iter().find(follows) {
            let several = matches!(asks, Stage::Evaluate(evaluate) if evaluate.ensemble.is_some());
            format!("stage.{follower}.{}", if several { "ensemble" } else { "from" })
        } else {
            return Some(());
        };
        let message = format!("`{stage}` has no validation images, which the best epoch is selected by");
        let help = "assign some images to `validation`".to_owned();
        self.diagnose(&at, "no-validation", message, Some(help));
        None
    }

    /// The same for the splits that an evaluation reads.
    pub(super) fn part(
        &mut self,
        stage: &str,
        evaluate: &pipeline::Evaluate,
        recognition: Option<&RecognitionSpec>,
        dataset: Option<&Dataset>,
    ) -> Option<()> {
        let mut parts = recognition.map_or_else(|| vec![evaluate.split], |asked| asked.parts(evaluate.split));
        if evaluate.thresholds.is_some() || evaluate.calibration.is_some() {
            parts.push(Split::Validation);
        }
        let empty = parts.into_iter().find(|part| dataset.is_some_and(|data| data.split(*part).is_empty()));
        let Some(empty) = empty else { return Some(()) };
        let message = format!("the {} split has no images to evaluate on", empty.name());
        let help = format!("assign some images to `{}`, or use another split", empty.name());
        self.diagnose(&format!("stage.{stage}.split"), "no-split", message, Some(help));
        None
    }
}
