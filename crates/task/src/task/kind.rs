//! The list of all tasks, and the only place that selects one of them.

use serde_json::Value as Json;

use super::classification::Classification;
use super::contrastive::Contrastive;
use super::detection::Detection;
use super::metric_learning::MetricLearning;
use super::multi_label::MultiLabel;
use super::{OutputForm, Task, TaskSpec};
use crate::pipeline::{Data, Head};

/// A task by name. The data set of a stage determines it, with the head of its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskKind {
    #[default]
    Classification,
    MultiLabel,
    Detection,
    Contrastive,
    MetricLearning,
}

/// An operation on a task of any kind.
pub trait TaskVisitor {
    type Output;

    fn visit<T: Task>(self, task: T) -> Self::Output;
}

/// The same for the type of a task, without an instance.
trait TypeVisitor {
    type Output;

    fn visit<T: Task>(self) -> Self::Output;
}

impl TaskKind {
    /// A task that takes any data set is before those that need its annotations.
    pub const ALL: [Self; 5] =
        [Self::Contrastive, Self::MetricLearning, Self::Classification, Self::MultiLabel, Self::Detection];

    fn visit<V: TypeVisitor>(self, visitor: V) -> V::Output {
        match self {
            Self::Classification => visitor.visit::<Classification>(),
            Self::MultiLabel => visitor.visit::<MultiLabel>(),
            Self::Detection => visitor.visit::<Detection>(),
            Self::Contrastive => visitor.visit::<Contrastive>(),
            Self::MetricLearning => visitor.visit::<MetricLearning>(),
        }
    }

    /// The task of a stage on a data set; `None` if no task has its annotations.
    pub fn of(data: &Data, head: &Head) -> Option<Self> {
        struct Accepts<'a>(&'a Data, &'a Head);
        impl TypeVisitor for Accepts<'_> {
            type Output = bool;

            fn visit<T: Task>(self) -> bool {
                T::accepts(self.0, self.1)
            }
        }
        Self::ALL.into_iter().find(|kind| kind.visit(Accepts(data, head)))
    }

    /// What each image shows, for messages.
    pub fn annotation(self) -> &'static str {
        struct Annotation;
        impl TypeVisitor for Annotation {
            type Output = &'static str;

            fn visit<T: Task>(self) -> &'static str {
                T::ANNOTATION
            }
        }
        self.visit(Annotation)
    }

    /// Whether it learns from annotations.
    pub fn uses_labels(self) -> bool {
        struct UsesLabels;
        impl TypeVisitor for UsesLabels {
            type Output = bool;

            fn visit<T: Task>(self) -> bool {
                T::USES_LABELS
            }
        }
        self.visit(UsesLabels)
    }

    /// Whether a trained model predicts something, which can be evaluated.
    pub fn predicts(self) -> bool {
        struct Predicts;
        impl TypeVisitor for Predicts {
            type Output = bool;

            fn visit<T: Task>(self) -> bool {
                T::PREDICTS
            }
        }
        self.visit(Predicts)
    }

    /// The views of an image in a batch.
    pub fn views(self) -> usize {
        struct Views;
        impl TypeVisitor for Views {
            type Output = usize;

            fn visit<T: Task>(self) -> usize {
                T::VIEWS
            }
        }
        self.visit(Views)
    }

    /// Whether predictions are boxes, which [`BoxThresholds`](super::BoxThresholds) select.
    pub fn finds_boxes(self) -> bool {
        struct FindsBoxes;
        impl TypeVisitor for FindsBoxes {
            type Output = bool;

            fn visit<T: Task>(self) -> bool {
                T::FINDS_BOXES
            }
        }
        self.visit(FindsBoxes)
    }

    /// What the outputs of the network mean.
    pub fn output_form(self) -> OutputForm {
        struct Form;
        impl TypeVisitor for Form {
            type Output = OutputForm;

            fn visit<T: Task>(self) -> OutputForm {
                T::OUTPUT_FORM
            }
        }
        self.visit(Form)
    }

    /// The field of a recipe's model that is `true` for this task alone; recipes of classification have none.
    pub fn recipe_field(self) -> Option<&'static str> {
        struct Field;
        impl TypeVisitor for Field {
            type Output = Option<&'static str>;

            fn visit<T: Task>(self) -> Option<&'static str> {
                T::RECIPE_FIELD
            }
        }
        self.visit(Field)
    }

    /// The task of a recipe's model.
    pub fn of_recipe(model: &Json) -> Self {
        let is_set = |kind: &Self| kind.recipe_field().is_some_and(|field| model[field] == true);
        Self::ALL.into_iter().find(is_set).unwrap_or_default()
    }
}

impl TaskSpec<'_> {
    /// Creates the task and passes it to `visitor`.
    pub fn visit<V: TaskVisitor>(&self, visitor: V) -> V::Output {
        struct Make<'a, V>(&'a TaskSpec<'a>, V);
        impl<V: TaskVisitor> TypeVisitor for Make<'_, V> {
            type Output = V::Output;

            fn visit<T: Task>(self) -> V::Output {
                self.1.visit(T::new(self.0))
            }
        }
        self.kind.visit(Make(self, visitor))
    }
}
