//! A learning rate range test on a train stage: its images, rules and loss, and nothing that is kept.

use std::sync::Arc;

use super::batch_source::{BatchInputs, TrainingBatches as Batches};
use super::teacher::Teacher;
use super::{StageContext, TrainStage};
use crate::data::Dataset;
use crate::error::Result;
use crate::events::{StepPosition, StepTimer};
use crate::metrics::Scores;
use crate::task::{Task, TaskVisitor};
use crate::train::{self, LrPoint, LrRange, LrRangeTest, Optimizer, TrainContext};

impl TrainStage {
    /// Trains from the weights that the stage starts from, while the learning rate grows. The weights are not kept;
    /// features of frozen layers are, for the stage. `seed` replaces the pipeline's in the order and changes of images.
    ///
    /// # Errors
    /// What the stage itself would fail with; [`Interrupted`](crate::error::Kind::Interrupted) when asked to stop.
    pub fn lr_range_test(
        &self,
        dataset: &Arc<Dataset>,
        context: &StageContext,
        range: &LrRange,
        seed: u64,
    ) -> Result<LrRangeTest> {
        let seeded = Self { seed, ..self.clone() };
        seeded.task(Some(dataset)).visit(Raise { stage: &seeded, dataset, context, range })
    }

    fn raise<T: Task>(
        &self,
        task: &T,
        dataset: &Arc<Dataset>,
        context: &StageContext,
        range: &LrRange,
    ) -> Result<LrRangeTest> {
        let model = self.model_spec.build();
        let source = self.initial_state(context.source()?)?.to_device(context.device)?;
        // Only who trains from the start does here.
        let materials = BatchInputs::of_training(self, dataset, &model, &source, context);
        let teacher = self.teacher.as_ref().map(|teacher| Teacher::open(teacher, context)).transpose()?;
        let batch_source = Batches::new(self, task, &materials[..1], teacher.as_ref())?;
        let train_context = TrainContext {
            model: &model,
            table: &self.table,
            task,
            batch_source: &batch_source,
            seed: self.seed,
            settings: &self.settings,
            team: context.team,
        };
        let (mut pace, mut step) = (StepTimer::new((context.clock)()), 0);
        let images = self.settings.batch_size * self.settings.accumulate as usize;
        let mut watch = |point: &LrPoint| {
            step += 1;
            let (stage, left) = (context.stage, range.steps - step);
            let position = StepPosition { stage, epoch: 1, epochs: 1, step, steps: range.steps, left };
            let scores = Scores::from([("loss".to_owned(), point.loss)]);
            context.observer.event(&pace.step((context.clock)(), images, position, scores));
            context.interrupt.requested()
        };
        let steps_per_epoch = train_context.steps_per_epoch();
        let optimizer = |table: &_| Optimizer::for_table(&self.settings.optimizer, table, steps_per_epoch);
        train::lr_range_test(&train_context, range, source.clone(), optimizer, &mut watch)
    }
}

/// A range test, carried out for whichever task the stage has.
struct Raise<'a> {
    stage: &'a TrainStage,
    dataset: &'a Arc<Dataset>,
    context: &'a StageContext<'a>,
    range: &'a LrRange,
}

impl TaskVisitor for Raise<'_> {
    type Output = Result<LrRangeTest>;

    fn visit<T: Task>(self, task: T) -> Result<LrRangeTest> {
        self.stage.raise(&task, self.dataset, self.context, self.range)
    }
}
