//! Data sets of stages: their images and classes, and whether a head supports them.

use std::sync::Arc;

use super::resolve::{DiskAccess, Resolver};
use crate::data::{Dataset, data_format};
use crate::pipeline::{Data, Head};
use crate::stage::ModelSpec;
use crate::task::{TaskKind, UNKNOWN, is_known, list};

impl Resolver<'_> {
    /// The classes of a data set: from the file, else from the folder. If neither may be read, two unnamed classes are
    /// used, so that patterns can still be checked.
    pub(super) fn classes(&mut self, name: &str, data: &Data) -> Option<Vec<String>> {
        match (data.classes(), self.depth) {
            (Some(classes), _) => Some(classes.clone()),
            (None, DiskAccess::Offline) => Some(vec![UNKNOWN.to_owned(); 2]),
            (None, _) => self.scan(name, data).map(|dataset| dataset.classes.clone()),
        }
    }

    pub(super) fn images(&mut self, name: &str, data: &Data) -> Option<Arc<Dataset>> {
        (self.depth == DiskAccess::Inputs).then(|| self.scan(name, data)).flatten()
    }

    fn scan(&mut self, name: &str, data: &Data) -> Option<Arc<Dataset>> {
        if let Some(known) = self.datasets.get(name) {
            return known.clone();
        }
        let format = data_format(data);
        let shared = self.shared;
        let read = |data: Data| {
            let scan = || data_format(&data).read(&|path| self.pipeline.path(path)).map(Arc::new);
            shared.dataset(&self.pipeline.base, &data, scan)
        };
        let found = self.pipeline.with_expanded_folders(data).and_then(read);
        let found = found.map_err(|error| match self.depth {
            DiskAccess::Names => {
                error.hint(format!("list `classes` in `[data.{name}]`: then this command needs no data"))
            }
            _ => error,
        });
        let found = self.or_diagnose(&format!("data.{name}.{}", format.key()), "data", found);
        self.datasets.insert(name.to_owned(), found.clone());
        found
    }

    pub(super) fn same_classes(
        &mut self,
        stage: &str,
        data: &str,
        head: &[String],
        classes: &[String],
    ) -> Option<()> {
        if head == classes || !(is_known(head) && is_known(classes)) {
            return Some(());
        }
        let message = format!("the head predicts {}, but `{data}` has {}", list(head), list(classes));
        let help =
            "use the same `classes` in both data sets, or load the weights again with `reinit = [\"@head\"]`";
        self.diagnose(&format!("stage.{stage}.data"), "class-list", message, Some(help.to_owned()));
        None
    }

    /// The task of a head on the data set's annotations.
    pub(super) fn task_of(&mut self, name: &str, data: &Data, head: &Head) -> Option<TaskKind> {
        if let Some(task) = TaskKind::of(data, head) {
            return Some(task);
        }
        // Also reports mistakes in the data.
        self.images(name, data);
        let message = format!("`{name}` {}, from which no task learns yet", data.label_kind().in_words());
        self.diagnose(&format!("data.{name}.format"), "no-task", message, None);
        None
    }

    /// Exclusive classes and independent labels need different heads.
    pub(super) fn same_targets(
        &mut self,
        stage: &str,
        data: &str,
        head: &ModelSpec,
        found: &Data,
    ) -> Option<()> {
        let found = self.task_of(data, found, &head.model.head)?;
        if head.task == found {
            return Some(());
        }
        let (known, found) = (head.task.annotation(), found.annotation());
        let message = format!("the head is for {known}, but `{data}` has {found}");
        let help = "load the weights again for this data set with `reinit = [\"@head\"]`".to_owned();
        self.diagnose(&format!("stage.{stage}.data"), "class-list", message, Some(help));
        None
    }
}
