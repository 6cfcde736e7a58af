//! The merged tree of a file, read piece by piece, and the errors found in it.
//!
//! Each piece is read on its own, so that one wrong key does not hide errors elsewhere.

use serde::de::DeserializeOwned;

use super::diagnostics::{Diagnostic, brief};
use super::document::Node;
use super::source_text::Span;
use super::suggest;
use super::{AvailableSplits, CocoSplit, Data, LabelKind, Model, Split, Stage, TableSplit, VocSplit, Yolo};

pub struct UncheckedPipeline<'a> {
    pub root: &'a Node,
    pub diagnostics: Vec<Diagnostic>,
    /// Errors in the patterns themselves.
    pub faults: Vec<Diagnostic>,
    /// Warnings, which do not prevent a run.
    pub warnings: Vec<Diagnostic>,
}

impl<'a> UncheckedPipeline<'a> {
    pub fn new(root: &'a Node) -> Self {
        let (diagnostics, faults, warnings) = Default::default();
        Self { root, diagnostics, faults, warnings }
    }

    /// The setting at a path, if the file has it.
    pub fn get(&self, path: &str) -> Option<&'a Node> {
        path.split('.').try_fold(self.root, |node, key| node.get(key))
    }

    /// The setting at a path, if the file has it and it fits its schema.
    pub fn read<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        serde_json::from_value(self.get(path)?.to_json()).ok()
    }

    /// As [`read`](Self::read), with the default if the file does not have the setting.
    pub fn read_or_default<T: DeserializeOwned + Default>(&self, path: &str) -> Option<T> {
        if self.get(path).is_none() { Some(T::default()) } else { self.read(path) }
    }

    /// The entries of a table.
    pub fn entries(&self, path: &str) -> &'a [(String, Node)] {
        self.get(path).map(Node::entries).unwrap_or_default()
    }

    /// The place of the value at a path, or of the name of the innermost table that contains it.
    pub fn span(&self, path: &str) -> &'a Span {
        self.root.nearest(path).span()
    }

    /// The place of the key at a path.
    pub fn key_span(&self, path: &str) -> &'a Span {
        let node = self.root.nearest(path);
        node.key.as_ref().unwrap_or(&node.place)
    }

    pub fn report(
        &mut self,
        place: &Span,
        code: &'static str,
        message: String,
        help: impl Into<Option<String>>,
    ) {
        self.diagnostics.push(Diagnostic::new(place, code, message).help(help));
    }

    pub fn warn(&mut self, place: &Span, code: &'static str, message: String, help: String) {
        self.warnings.push(Diagnostic::new(place, code, message).help(help).as_warning());
    }

    /// The name of the stage's data set (or model): the name written there, or that of [`unnamed`].
    pub fn name_of(&self, stage: &str, what: &str) -> Option<&'a str> {
        match self.get(&format!("stage.{stage}.{what}")) {
            Some(node) => node.text(),
            None => unnamed(self.entries(what)),
        }
    }

    /// The setting by which an evaluate stage compares embeddings instead of predicting, if it does.
    pub fn embedding_comparison(&self, path: &str) -> Option<&'static str> {
        let mut keys = ["verification", "identification"].into_iter();
        keys.find(|key| self.get(&format!("{path}.{key}")).is_some())
    }

    /// Which splits the data set of a stage has; `None` if this is unknown.
    pub fn parts_of(&self, stage: &str) -> Option<AvailableSplits> {
        let path = format!("data.{}", self.name_of(stage, "data")?);
        let split = format!("{path}.split");
        let data = self.get(&path)?;
        match data.get("format").and_then(Node::text)? {
            "csv" => self.read_or_default(&split).map(|split: TableSplit| split.parts()),
            "coco" => self.read_or_default(&split).map(|split: CocoSplit| split.parts()),
            "voc" => self.read_or_default(&split).map(|split: VocSplit| split.parts()),
            "yolo" => {
                let has_file = data.get("file").is_some();
                self.read_or_default(&split).map(|split: Split| Yolo::parts(has_file, &split))
            }
            _ => self.read_or_default(&split).map(|split: Split| split.parts()),
        }
    }

    /// The annotations of a stage's data set; `None` if this is unknown.
    pub fn label_kind(&self, stage: &str) -> Option<LabelKind> {
        let data = self.get(&format!("data.{}", self.name_of(stage, "data")?))?;
        let has_labels = ["labels_column", "label_columns"].iter().any(|key| data.get(key).is_some());
        Some(match data.get("format").and_then(Node::text) {
            Some("yolo" | "coco" | "voc") => LabelKind::Boxes,
            _ if has_labels => LabelKind::Labels,
            _ => LabelKind::Class,
        })
    }

    /// Checks that every stage names a data set and a model that exist, if the file does not leave only one.
    pub fn check_names(&mut self) {
        for (name, stage) in self.entries("stage") {
            let starts =
                matches!(stage.get("kind").and_then(Node::text), Some("load_weights" | "init_weights"));
            self.check_name(name, stage, "data");
            if starts {
                self.check_name(name, stage, "model");
            }
        }
    }

    fn check_name(&mut self, stage: &str, node: &'a Node, what: &str) {
        let known = self.entries(what);
        let names = known.iter().map(|(name, _)| name.as_str());
        match node.get(what) {
            None if known.len() > 1 && unnamed(known).is_none() => {
                let message = format!("`{stage}` must name one of the {} {what} tables", known.len());
                let help = format!("add `{what} = …`; there are {}", suggest::list(names));
                self.report(node.span(), "ambiguous", message, help);
            }
            Some(named) => {
                let tables = self.get(what);
                let unknown = |text: &&str| tables.is_some_and(|tables| tables.get(text).is_none());
                if let Some(text) = named.text().filter(unknown) {
                    let enough = suggest::has_many_errors(&self.diagnostics);
                    let help = if enough { None } else { suggest::help(text, "there are", names) };
                    let code = if what == "data" { "unknown-data" } else { "unknown-model" };
                    self.report(&named.place, code, format!("unknown {what} `{}`", brief(text)), help);
                }
            }
            None => {}
        }
    }

    pub fn data(&self) -> impl Iterator<Item = Option<(String, Data)>> {
        self.typed("data")
    }

    pub fn model(&self) -> impl Iterator<Item = Option<(String, Model)>> {
        self.typed("model")
    }

    /// The stages in the order of the file, with `data` and `model` filled in.
    pub fn stages(&self) -> impl Iterator<Item = Option<(String, Stage)>> {
        self.typed("stage").map(|stage| {
            let (name, mut stage): (String, Stage) = stage?;
            *stage.data_mut() = Some(self.name_of(&name, "data")?.to_owned());
            if let Some(model) = stage.model_mut() {
                *model = Some(self.name_of(&name, "model")?.to_owned());
            }
            Some((name, stage))
        })
    }

    fn typed<T: DeserializeOwned>(&self, what: &str) -> impl Iterator<Item = Option<(String, T)>> {
        let typed = |node: &Node| serde_json::from_value(node.to_json()).ok();
        self.entries(what).iter().map(move |(name, node)| Some((name.clone(), typed(node)?)))
    }
}

/// The data set (or model) of stages that name none: the only one, without data sets that are for evaluation alone.
pub fn unnamed(tables: &[(String, Node)]) -> Option<&str> {
    let is_for_training = |table: &Node| {
        let all = table.get("split").and_then(|split| split.get("all")).and_then(Node::text);
        all.is_none_or(|split| split == "train")
    };
    let mut candidates = tables.iter().filter(|(_, table)| is_for_training(table));
    match (candidates.next(), candidates.next(), tables) {
        (Some((only, _)), None, _) | (None, _, [(only, _)]) => Some(only),
        _ => None,
    }
}
