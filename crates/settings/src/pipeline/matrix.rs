//! `[[matrix]]`: several runs from one file. Each run is the file with some settings changed, as `--set` would.

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::diagnostics::Diagnostic;
use super::document::{Node, NodeValue};
use super::overrides::{ChangedSettings, Override};
use super::run_label;
use super::schema;
use super::schema_check;
use super::search::RunOfSearch;
use super::source_text::Span;

/// One axis of the matrix. Several tables multiply, in the order of the file: the last one varies fastest.
///
/// Only its schema is used. The loader reads the tree itself, where every value knows its place.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used")]
pub(super) struct MatrixTable {
    /// The first part of its labels, such as `arch` in `arch=resnet50`. Defaults to the last word of `path`.
    #[schemars(regex(pattern = r"^[A-Za-z][A-Za-z0-9_-]*$"))]
    name: Option<String>,
    /// The setting that takes each of `values`: a dotted path, as for `--set`.
    #[schemars(length(min = 1))]
    path: Option<String>,
    /// The values of `path`, one for each run.
    #[serde(default)]
    #[schemars(schema_with = "scalars")]
    values: Option<()>,
    /// Settings that change together, one table per run. Use either `cases`, or `path` and `values`.
    #[schemars(length(min = 1))]
    cases: Option<Vec<Case>>,
}

/// Settings that change together.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used")]
struct Case {
    /// The label of the run. It must not contain `,` or `*`.
    #[schemars(regex(pattern = r"^[^\s,*]([^,*\n]*[^\s,*])?$"))]
    label: String,
    /// The settings, each a quoted path and its value: `{ "model.net.arch" = "resnet50" }`.
    #[schemars(schema_with = "settings")]
    set: (),
}

fn scalars(_: &mut SchemaGenerator) -> Schema {
    let one = json_schema!({ "oneOf": [{ "type": "string" }, { "type": "number" }, { "type": "boolean" }] });
    json_schema!({ "type": "array", "items": one, "minItems": 1 })
}

fn settings(_: &mut SchemaGenerator) -> Schema {
    let any = json_schema!({ "oneOf": [
        { "type": "string" },
        { "type": "number" },
        { "type": "boolean" },
        { "type": "array" },
        { "type": "object", "additionalProperties": true },
    ] });
    json_schema!({ "type": "object", "minProperties": 1, "additionalProperties": any })
}

/// The most runs that one file may have.
const MOST_RUNS: usize = 10_000;
/// The most settings that all runs together may have. Each run is checked and kept as a whole file.
const MOST_SETTINGS: usize = 2_000_000;

/// The axes of a file. A file without a matrix has none, and is one run.
#[derive(Default)]
pub struct RunMatrix {
    axes: Vec<Vec<AxisValue>>,
}

/// One value of an axis.
struct AxisValue {
    label: String,
    sets: Vec<Override>,
}

/// One run of a matrix or a search: its label and its changed settings.
pub struct Combination<'a> {
    pub label: Option<String>,
    pub sets: Vec<&'a Override>,
    pub of_search: Option<RunOfSearch>,
}

impl Combination<'_> {
    /// The run in error messages: its label, and in a search with rungs also its epochs.
    pub fn title(&self) -> Option<String> {
        let label = self.label.clone()?;
        let of = self.of_search.as_ref();
        let epochs = of.and_then(|of| of.search.early_epochs.get(of.rung?));
        Some(epochs.map_or(label.clone(), |epochs| format!("{label}, after {epochs} epochs")))
    }
}

impl RunMatrix {
    /// Reads the matrix of a merged file. `arguments` are the settings of the command line, which must not change what
    /// the matrix varies. If the matrix is wrong, the error is reported, and the file counts as one without a matrix.
    pub fn read(root: &Node, arguments: &[Override], diagnostics: &mut Vec<Diagnostic>) -> Self {
        let Some(node) = root.get("matrix") else { return Self::default() };
        let mut shape = Vec::new();
        schema_check::check(&schema::merged()["properties"]["matrix"], node, "matrix", &mut shape);
        if !shape.is_empty() {
            diagnostics.append(&mut shape);
            return Self::default();
        }
        let mut reader = MatrixReader::default();
        // A run has all settings of the file except the matrix.
        let count = |node: &Node| {
            let mut settings = 0usize;
            node.visit(&mut Vec::new(), &mut |_, _| settings += 1);
            settings
        };
        let settings = count(root).saturating_sub(count(node)).max(1);
        let most = MOST_RUNS.min(MOST_SETTINGS / settings).max(1);
        let counts = node.items().iter().map(|table| {
            ["values", "cases"].iter().filter_map(|key| table.get(key)).map(|list| list.items().len()).max()
        });
        let runs = counts.flatten().try_fold(1usize, |runs, choices| runs.checked_mul(choices));
        if runs.is_none_or(|runs| runs > most) {
            let message = match most {
                MOST_RUNS => format!("the matrix has more than {MOST_RUNS} runs"),
                most => format!("the matrix has more than {most} runs, too many for a file of this length"),
            };
            let help = "remove values, or use several files".to_owned();
            diagnostics.push(Diagnostic::new(node.span(), "too-many-runs", message).help(help));
            return Self::default();
        }
        let axes: Vec<Vec<AxisValue>> = node.items().iter().map(|table| reader.axis(table)).collect();
        reader.disjoint(&axes);
        let mut taken = ChangedSettings::default();
        axes.iter().flatten().flat_map(|choice| &choice.sets).for_each(|set| taken.add(set));
        for argument in arguments {
            if let Some(set) = taken.overlapping(argument) {
                let message = format!("`{}` is varied by the matrix", set.path());
                let help = "select runs with `--only`".to_owned();
                reader.report(argument.span(), "bad-set", message, help);
            }
        }
        let right = reader.diagnostics.is_empty();
        diagnostics.append(&mut reader.diagnostics);
        if right { Self { axes } } else { Self::default() }
    }

    /// Every run. Without a matrix, one run without a label.
    pub fn combinations(&self) -> Vec<Combination<'_>> {
        let mut all = vec![Combination { label: None, sets: Vec::new(), of_search: None }];
        for axis in &self.axes {
            let mut longer = Vec::new();
            for run in &all {
                longer.extend(axis.iter().map(|choice| Combination {
                    label: Some(run_label::join(run.label.as_deref(), &choice.label)),
                    sets: run.sets.iter().copied().chain(&choice.sets).collect(),
                    of_search: None,
                }));
            }
            all = longer;
        }
        all
    }
}

/// The errors so far, and the names and settings that earlier axes use.
#[derive(Default)]
struct MatrixReader {
    names: BTreeSet<String>,
    diagnostics: Vec<Diagnostic>,
}

impl MatrixReader {
    fn report(&mut self, place: &Span, code: &'static str, message: String, help: impl Into<Option<String>>) {
        self.diagnostics.push(Diagnostic::new(place, code, message).help(help));
    }

    fn axis(&mut self, table: &Node) -> Vec<AxisValue> {
        let choices = match (table.get("path"), table.get("values"), table.get("cases")) {
            (path, values, Some(cases)) => {
                for key in [path, values].into_iter().flatten().filter_map(|node| node.key.as_ref()) {
                    let message = "`path` and `values` cannot be combined with `cases`".to_owned();
                    self.report(key, "unknown-key", message, "move it to a separate `[[matrix]]`".to_owned());
                }
                self.cases(table, cases)
            }
            (Some(path), Some(values), None) => self.values(table, path, values),
            (path, _, None) => {
                let missing = if path.is_some() { "values" } else { "path" };
                let help = "a `[[matrix]]` table has `path` and `values`, or `cases`".to_owned();
                self.report(table.span(), "missing-key", format!("missing key `{missing}`"), help);
                Vec::new()
            }
        };
        let mut labels = BTreeSet::new();
        for (choice, place) in &choices {
            if !labels.insert(&choice.label) {
                let message = format!("two runs have the label `{}`", choice.label);
                self.report(place, "duplicate-label", message, "give each run a different label".to_owned());
            }
        }
        choices.into_iter().map(|(choice, _)| choice).collect()
    }

    /// The name of an axis, which no other axis may have; `None` if its labels need no name.
    fn name(&mut self, table: &Node, fallback: Option<(&str, &Span)>) -> Option<String> {
        let given = table.get("name").and_then(|node| Some((node.text()?, &node.place)));
        let (name, place) = given.or(fallback)?;
        if !self.names.insert(name.to_owned()) {
            let help = "set a different `name` for each".to_owned();
            self.report(place, "duplicate-label", format!("two axes have the name `{name}`"), help);
        }
        Some(name.to_owned())
    }

    fn values<'a>(&mut self, table: &Node, path: &'a Node, values: &'a Node) -> Vec<(AxisValue, &'a Span)> {
        let text = path.text().unwrap_or_default();
        let last = text.rsplit('.').next().unwrap_or_default();
        let name = self.name(table, Some((last, &path.place)));
        let mut choices = Vec::new();
        for value in values.items() {
            let label = match &value.value {
                NodeValue::String(text) => text.clone(),
                _ => value.place.source.text[value.place.range.clone()].to_owned(),
            };
            if !run_label::is_label(&label) {
                let help = "write it as one of `cases`, with a `label` that has no `,` and no `*`".to_owned();
                self.report(&value.place, "bad-label", format!("`{label}` is not valid in a label"), help);
            }
            let Some(set) = self.set(text, &path.place, value) else { break };
            choices.push((
                AxisValue { label: run_label::part(name.as_deref(), &label), sets: vec![set] },
                &value.place,
            ));
        }
        choices
    }

    fn cases<'a>(&mut self, table: &Node, cases: &'a Node) -> Vec<(AxisValue, &'a Span)> {
        let name = self.name(table, None);
        let mut choices = Vec::new();
        for case in cases.items() {
            let Some((label, place)) = case.get("label").and_then(|node| Some((node.text()?, &node.place)))
            else {
                continue;
            };
            let mut sets: Vec<Override> = Vec::new();
            for (path, value) in case.get("set").map(Node::entries).unwrap_or_default() {
                let place = value.key.as_ref().unwrap_or(&value.place);
                sets.extend(self.set(path, place, value));
            }
            let mut taken = ChangedSettings::default();
            for set in &sets {
                if let Some(other) = taken.overlapping(set) {
                    self.twice(set, other);
                }
                taken.add(set);
            }
            choices.push((AxisValue { label: run_label::part(name.as_deref(), label), sets }, place));
        }
        choices
    }

    /// One changed setting, if a matrix may change it.
    fn set(&mut self, path: &str, place: &Span, value: &Node) -> Option<Override> {
        let set = Override::at(path, place, value, &mut self.diagnostics)?;
        let (message, help) = match set.first() {
            "name" => {
                ("all runs of a matrix have the same name", "remove it: runs of a matrix differ by label")
            }
            "run" => (
                "`run` settings change no result, so a matrix cannot vary them",
                "set it for all runs with `--set`",
            ),
            "extends" | "matrix" | "search" => {
                ("a matrix cannot change `extends`, `matrix` or `search`", "write it into the file itself")
            }
            "data" | "model" | "stage" | "defaults" if set.path() == set.first() => {
                ("this would replace a whole table", "quote the path: `\"model.net.arch\" = …`")
            }
            _ => return Some(set),
        };
        self.report(place, "bad-path", message.to_owned(), help.to_owned());
        None
    }

    fn twice(&mut self, set: &Override, other: &Override) {
        let message = match set.path() == other.path() {
            true => format!("`{}` is set twice", set.path()),
            false => format!("`{}` is part of what `{}` sets", set.path(), other.path()),
        };
        self.report(set.span(), "conflict", message, "set it in only one table of the matrix".to_owned());
    }

    /// No axis may change a setting of another: the result would depend on their order.
    fn disjoint(&mut self, axes: &[Vec<AxisValue>]) {
        let mut taken = ChangedSettings::default();
        for axis in axes {
            for set in axis.iter().flat_map(|choice| &choice.sets) {
                if let Some(other) = taken.overlapping(set) {
                    self.twice(set, other);
                }
            }
            axis.iter().flat_map(|choice| &choice.sets).for_each(|set| taken.add(set));
        }
    }
}
