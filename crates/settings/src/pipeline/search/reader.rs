//! Reads the search of a file, and draws its samples.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::diagnostics::Diagnostic;
use super::super::document::{Node, NodeValue};
use super::super::matrix::Combination;
use super::super::overrides::{ChangedSettings, Override};
use super::super::source_text::Span;
use super::super::unchecked::UncheckedPipeline;
use super::super::{Monitor, run_label, schema, schema_check};
use super::checks;
use super::draws::{self, Distribution};
use super::table::{RunOfSearch, Search, SearchedSetting};

/// The most runs that a search may make over all rungs.
const MOST_RUNS: usize = 20_000;
/// How often a sample is drawn again because an earlier one has the same values.
const MOST_DRAWS: usize = 1000;

/// A search, and the settings that its runs change.
pub struct SearchRuns {
    search: Arc<Search>,
    /// For each sample.
    sets: Vec<Vec<Override>>,
    /// For each rung but the last, the epochs of the stage.
    epochs: Vec<Override>,
}

/// A drawn setting while the table is read.
struct Axis<'a> {
    path: &'a str,
    node: &'a Node,
    distribution: Distribution,
}

impl SearchRuns {
    /// Reads the search of a merged file. `whole` is the file with its defaults and the settings of the command line,
    /// `arguments`. If the search is wrong, the errors are reported, and there is none.
    pub fn read(
        root: &Node,
        whole: &Node,
        arguments: &[Override],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let node = root.get("search")?;
        let before = diagnostics.len();
        if let Some(matrix) = root.get("matrix") {
            let help = "remove one of them; a setting that takes each of some values can be a `choice` of the search";
            let message = "`[[matrix]]` and `[search]` cannot be combined".to_owned();
            diagnostics.push(Diagnostic::new(matrix.span(), "conflict", message).help(help.to_owned()));
        }
        checks::unquoted(node, diagnostics);
        if diagnostics.len() == before {
            schema_check::check(&schema::merged()["properties"]["search"], node, "search", diagnostics);
        }
        if diagnostics.len() > before {
            return None;
        }
        let axes = axes(node, arguments, diagnostics);
        let draft = UncheckedPipeline::new(whole);
        let stage = checks::stage(node, &draft, diagnostics)?;
        let monitor = checks::metric(node, &draft, &stage, diagnostics);
        let early = early_epochs(node);
        checks::rungs(node, &draft, &stage, &early, diagnostics);
        axes.iter().for_each(|axis| {
            checks::setting(axis.path, axis.node, &draft, &stage, monitor, node, diagnostics)
        });
        if diagnostics.len() > before {
            return None;
        }
        Self::drawn(node, &draft, stage, monitor, &early, &axes, diagnostics)
    }

    fn drawn(
        node: &Node,
        draft: &UncheckedPipeline,
        stage: String,
        monitor: Monitor,
        early: &[(u32, &Node)],
        axes: &[Axis],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Self> {
        let number = |key: &str, default: i64| match node.get(key).map(|node| &node.value) {
            Some(NodeValue::Integer(number)) => *number,
            _ => default,
        };
        let samples = usize::try_from(number("samples", 0)).unwrap_or_default();
        let seed = u64::try_from(number("seed", 0)).unwrap_or_default();
        let at = node.get("samples").unwrap_or(node);
        if samples * (early.len() + 2) > MOST_RUNS {
            let most = MOST_RUNS / (early.len() + 2);
            let message = format!("the search has more than {most} samples, too many for its rungs");
            diagnostics.push(
                Diagnostic::new(&at.place, "too-many-runs", message).help("draw fewer samples".to_owned()),
            );
            return None;
        }
        let names = names(axes);
        let (mut sets, mut values, mut labels, mut known) =
            (Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
        for sample in 1..=samples {
            let Some(drawn) = draw(axes, seed, sample, &mut known) else {
                let count: u64 = axes.iter().filter_map(|axis| axis.distribution.count()).product();
                let message =
                    format!("the space has {count} combinations, fewer than {samples} samples need");
                let help = "draw fewer samples, or try every combination with `[[matrix]]`".to_owned();
                diagnostics.push(Diagnostic::new(&at.place, "too-many-runs", message).help(help));
                return None;
            };
            let parts = names
                .iter()
                .zip(&drawn)
                .map(|(name, value)| run_label::part(Some(name), &draws::text(value)));
            let label = std::iter::once(format!("sample={sample}"))
                .chain(parts)
                .reduce(|label, part| run_label::join(Some(&label), &part));
            labels.push(label.unwrap_or_default());
            let overrides = axes.iter().zip(&drawn).filter_map(|(axis, value)| {
                let value = Node { key: None, place: axis.node.place.clone(), value: value.clone() };
                Override::at(axis.path, key_of(axis.node), &value, diagnostics)
            });
            sets.push(overrides.collect());
            values.push(
                drawn
                    .into_iter()
                    .map(|value| Node { key: None, place: at.place.clone(), value }.to_json())
                    .collect(),
            );
        }
        let path = format!("stage.{stage}.epochs");
        let epochs: Vec<Override> = early
            .iter()
            .filter_map(|(_, node)| Override::at(&path, &node.place, node, diagnostics))
            .collect();
        let settings = axes.iter().zip(names).map(|(axis, name)| SearchedSetting {
            path: axis.path.to_owned(),
            name,
            logarithmic: axis.distribution.is_logarithmic(),
            choice: matches!(axis.distribution, Distribution::Choice(_)),
        });
        let eta = node.get("halving").and_then(|halving| integer(halving.get("eta")?)).unwrap_or(3);
        let search = Search {
            seed,
            monitor,
            finalists: usize::try_from(number("finalists", 1)).unwrap_or(1),
            early_epochs: early.iter().map(|(epochs, _)| *epochs).collect(),
            last_epochs: draft
                .get(&path)
                .and_then(integer)
                .filter(|_| axes.iter().all(|axis| axis.path != path)),
            eta: eta as usize,
            settings: settings.collect(),
            samples: values,
            labels,
            stage,
        };
        Some(Self { search: Arc::new(search), sets, epochs })
    }

    /// Every run: the samples of each rung, and then the whole file with each sample.
    pub fn combinations(&self) -> Vec<Combination<'_>> {
        let rungs = (0..self.search.rungs()).map(Some).chain([None]);
        let run = |rung: Option<usize>, sample: usize| {
            let epochs = rung.and_then(|rung| self.epochs.get(rung));
            Combination {
                label: Some(self.search.labels[sample].clone()),
                sets: self.sets[sample].iter().chain(epochs).collect(),
                of_search: Some(RunOfSearch { search: Arc::clone(&self.search), sample: sample + 1, rung }),
            }
        };
        rungs.flat_map(|rung| (0..self.sets.len()).map(move |sample| run(rung, sample))).collect()
    }
}

/// The drawn settings with their distributions.
fn axes<'a>(node: &'a Node, arguments: &[Override], diagnostics: &mut Vec<Diagnostic>) -> Vec<Axis<'a>> {
    let entries = node.get("space").map(Node::entries).unwrap_or_default();
    let mut all = Vec::new();
    let mut sets = Vec::new();
    for (path, table) in entries {
        match Distribution::read(table) {
            Ok(distribution) => {
                sets.extend(Override::at(path, key_of(table), table, diagnostics));
                all.push(Axis { path, node: table, distribution });
            }
            Err((at, code, message, help)) => {
                let is_key = table.entries().len() > 1;
                let place = at.map_or(key_of(table), |at| if is_key { key_of(at) } else { &at.place });
                diagnostics.push(Diagnostic::new(place, code, message).help(help));
            }
        }
    }
    let mut taken = ChangedSettings::default();
    for set in &sets {
        if let Some(other) = taken.overlapping(set) {
            let message = format!("`{}` and `{}` change the same setting", other.path(), set.path());
            diagnostics.push(
                Diagnostic::new(set.span(), "conflict", message).help("draw only one of them".to_owned()),
            );
        }
        taken.add(set);
    }
    for argument in arguments {
        if let Some(set) = taken.overlapping(argument) {
            let message = format!("`{}` is drawn by the search", set.path());
            let help = "select a sample with `--only`, such as `--only sample=1`, or change `[search.space]`"
                .to_owned();
            diagnostics.push(Diagnostic::new(argument.span(), "bad-set", message).help(help));
        }
    }
    all
}

/// The values of a sample, which no earlier sample has. `None` if the space has too few.
fn draw(
    axes: &[Axis],
    seed: u64,
    sample: usize,
    known: &mut BTreeSet<Vec<String>>,
) -> Option<Vec<NodeValue>> {
    let sample = u32::try_from(sample).unwrap_or(u32::MAX);
    let mut streams: Vec<_> = axes.iter().map(|axis| Distribution::stream(seed, axis.path, sample)).collect();
    for _ in 0..MOST_DRAWS {
        let values: Vec<NodeValue> =
            axes.iter().zip(&mut streams).map(|(axis, stream)| axis.distribution.draw(stream)).collect();
        if known.insert(values.iter().map(draws::text).collect()) {
            return Some(values);
        }
    }
    None
}

/// The last words of each path, as many as make it different from the others.
fn names(axes: &[Axis]) -> Vec<String> {
    let last = |path: &str, words: usize| {
        let parts: Vec<&str> = path.split('.').collect();
        parts[parts.len().saturating_sub(words)..].join(".")
    };
    let name = |axis: &Axis| {
        let differs = |words: &usize| {
            axes.iter().filter(|other| last(other.path, *words) == last(axis.path, *words)).count() == 1
        };
        last(axis.path, (1..10).find(differs).unwrap_or(10))
    };
    axes.iter().map(name).collect()
}

fn early_epochs(node: &Node) -> Vec<(u32, &Node)> {
    let epochs = node.get("halving").and_then(|halving| halving.get("epochs"));
    epochs
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter_map(|item| Some((integer(item)?, item)))
        .collect()
}

fn integer(node: &Node) -> Option<u32> {
    if let NodeValue::Integer(number) = node.value { number.try_into().ok() } else { None }
}

fn key_of(node: &Node) -> &Span {
    node.key.as_ref().unwrap_or(&node.place)
}
