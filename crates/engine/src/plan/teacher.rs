//! Checks what a teacher and its student must share: the classes, and the preprocessing of images.

use super::ensemble::trained_for;
use super::resolve::Resolver;
use crate::pipeline::Train;
use crate::stage::{ModelSpec, Preprocess, ResolvedStage};
use crate::task::{is_known, list};

impl Resolver<'_> {
    /// The teacher of a train stage, if it has one: the second model that the stage reads.
    pub(super) fn teacher(
        &mut self,
        stage: &str,
        train: &Train,
        student: &ModelSpec,
        preprocess: &Preprocess,
        above: &[&ResolvedStage],
    ) -> Option<Option<ModelSpec>> {
        let (Some(distill), Some(work)) = (&train.distill, above.get(1)) else { return Some(None) };
        let (name, teacher) = (&distill.teacher, work.model_spec());
        let at = format!("stage.{stage}.distill.teacher");
        if !teacher.task.predicts() {
            let message =
                format!("the teacher `{name}` predicts nothing: it is for {}", teacher.task.annotation());
            let help = "use a stage that learns the classes of this one".to_owned();
            self.diagnose(&at, "conflict", message, Some(help));
            return None;
        }
        if teacher.classes != student.classes && is_known(&teacher.classes) && is_known(&student.classes) {
            let message = format!(
                "the teacher `{name}` predicts {}, but this stage predicts {}",
                list(&teacher.classes),
                list(&student.classes)
            );
            let help = "teacher and student must have the same classes: train both with the same `classes`"
                .to_owned();
            self.diagnose(&at, "class-list", message, Some(help));
            return None;
        }
        if let Some((code, message, help)) = trained_for(name, work, preprocess) {
            self.diagnose(&at, code, message, Some(help.to_owned()));
            return None;
        }
        Some(Some(teacher.clone()))
    }
}
