//! Loads a file into a pipeline, or reports everything that is wrong with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic_report::DiagnosticReport;
use super::diagnostics::Diagnostic;
use super::document::{self, Node, NodeValue};
use super::matrix::{Combination, RunMatrix};
use super::overrides::Override;
use super::paths::{self, Variables};
use super::resolved::Resolved;
use super::search::SearchRuns;
use super::source_text::{SourceText, Span};
use super::unchecked::UncheckedPipeline;
use super::{Run, external_weights, graph, merge, preset, run_label, schema, schema_check, semantic_checks};

/// What the command line and the machine add to a file.
pub struct LoadOptions<'a> {
    /// `PATH=VALUE`, in order.
    pub set: Vec<String>,
    /// Replaces `run.device`.
    pub device: Option<String>,
    /// Replaces `run.threads`.
    pub threads: Option<usize>,
    /// Patterns that select runs of a matrix by label. All runs if empty.
    pub only: Vec<String>,
    /// Whether variables, files and folders must exist.
    pub inputs: bool,
    /// Looks up environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> LoadOptions<'a> {
    /// A file as it is written, with all its runs.
    pub fn unchanged(inputs: bool, env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { set: Vec::new(), device: None, threads: None, only: Vec::new(), inputs, env }
    }
}

/// Loads and checks a pipeline file with one run. Of a file with a matrix, returns the first run.
///
/// # Errors
/// As [`load_all`].
pub fn load(path: &Path, options: &LoadOptions) -> Result<Resolved, DiagnosticReport> {
    let first = load_all(path, options)?.into_iter().next();
    Ok(first.expect("a file has at least one run"))
}

/// Loads and checks a pipeline file: one run, or all runs of its matrix, in the order of the file.
///
/// # Errors
/// The report has every error that can be found without the names of parameters and classes. An error in only some runs
/// of a matrix says in which.
pub fn load_all(path: &Path, options: &LoadOptions) -> Result<Vec<Resolved>, DiagnosticReport> {
    load_chain(path, &[], options)
}

/// As [`load_all`], for callers that resolve names next. If only patterns are wrong, these errors are in
/// [`Resolved::faults`], so that they can be reported together with errors in names.
///
/// # Errors
/// As [`load_all`].
pub fn load_without_patterns(path: &Path, options: &LoadOptions) -> Result<Vec<Resolved>, DiagnosticReport> {
    read_chain(path, &[], options)
}

/// [`load_all`] for a file that other files load weights from. `above` are the full paths of these files; the last one
/// asks.
pub(super) fn load_chain(
    path: &Path,
    above: &[PathBuf],
    options: &LoadOptions,
) -> Result<Vec<Resolved>, DiagnosticReport> {
    let runs = read_chain(path, above, options)?;
    let labels: Vec<Option<String>> = runs.iter().map(|run| run.label.clone()).collect();
    let sound = runs.into_iter().map(|mut run| match std::mem::take(&mut run.faults) {
        faults if faults.is_empty() => Ok(run),
        faults => Err(DiagnosticReport::new(faults)),
    });
    DiagnosticReport::of_runs(labels.iter().map(Option::as_deref).zip(sound))
}

fn read_chain(
    path: &Path,
    above: &[PathBuf],
    options: &LoadOptions,
) -> Result<Vec<Resolved>, DiagnosticReport> {
    let name = path.display().to_string();
    let (problem, help) = match paths::read(path) {
        Ok(text) => return load_text(path, SourceText::new(name, text), above, options, Checks::All),
        Err(problem) => problem,
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = path.file_name().and_then(|file| file.to_str()).unwrap_or(&name);
    let (message, help) = if path.is_dir() {
        (format!("`{name}` is a folder, but a pipeline is a TOML file"), paths::pipelines_in(path))
    } else {
        let near =
            || paths::closest_file(folder, file).map(|near| format!("did you mean `{}`?", near.display()));
        (format!("cannot read `{name}`: {problem}"), help.map(str::to_owned).or_else(near))
    };
    let place = Span::new(&Arc::new(SourceText::new(name, "")), 0..0);
    Err(DiagnosticReport::new(vec![Diagnostic::new(&place, "unreadable", message).help(help)]))
}

/// Which checks a text needs.
#[derive(Clone, Copy, PartialEq)]
enum Checks {
    All,
    /// None for settings that exclude each other or have no effect: the text was written from a checked pipeline.
    Types,
}

/// A text that was written from a checked pipeline with one run, as if it were the text of the file at `path`.
pub(super) fn load_frozen_text(
    path: &Path,
    source: SourceText,
    options: &LoadOptions,
) -> Result<Resolved, DiagnosticReport> {
    let mut runs = load_text(path, source, &[], options, Checks::Types)?;
    let mut run = runs.pop().expect("a text has at least one run");
    match std::mem::take(&mut run.faults) {
        faults if faults.is_empty() => Ok(run),
        faults => Err(DiagnosticReport::new(faults)),
    }
}

fn load_text(
    path: &Path,
    source: SourceText,
    above: &[PathBuf],
    options: &LoadOptions,
    checks: Checks,
) -> Result<Vec<Resolved>, DiagnosticReport> {
    let chain = [above, &path.canonicalize().into_iter().collect::<Vec<_>>()].concat();
    let base: PathBuf = path.parent().unwrap_or(Path::new("")).to_owned();
    let source = Arc::new(source);
    let mut diagnostics = Vec::new();
    let mut variables = Variables::new(options.env);
    let root = document::parse(&source, &mut diagnostics);
    let root = merge::extend(root, &base, &mut variables, &mut diagnostics);
    // What cannot be parsed is not in the tree, and everything that needs it would be reported as missing.
    if diagnostics.iter().any(|d| d.code == "syntax" || d.code == "duplicate-key") {
        return Err(report(&source, diagnostics));
    }
    let (of_search, overrides): (Vec<_>, Vec<_>) =
        overrides(options, &mut diagnostics).into_iter().partition(|set| set.first() == "search");
    let mut root = root;
    of_search.iter().for_each(|set| set.apply(&mut root, &mut diagnostics));
    let matrix = RunMatrix::read(&root, &overrides, &mut diagnostics);
    let mut whole = root.clone();
    let mut search = None;
    if root.get("matrix").is_some() || root.get("search").is_some() {
        // Editors see the file as written, so it must also fit the schema without its matrix or search.
        apply_overrides(&mut whole, overrides.iter(), &mut diagnostics);
        search = SearchRuns::read(&root, &whole, &overrides, &mut diagnostics);
        whole.remove("search");
        schema_check::check(schema::merged(), &whole, "pipeline", &mut diagnostics);
    }
    let runs = match &search {
        Some(search) => search.combinations(),
        None => matrix.combinations(),
    };
    let runs = selected_runs(runs, &options.only, &mut diagnostics);
    let mut single = root;
    single.remove("matrix");
    single.remove("search");
    let root = &single;
    let sound = diagnostics.is_empty();
    let file = LoadedFile {
        path,
        base,
        text: source.text.as_str().into(),
        root,
        variables: &variables,
        chain,
        options,
        checks,
        sound,
    };
    // If all runs have many errors in common, each run would report them again.
    let most = if diagnostics.len() > TOO_MANY { 1 } else { runs.len() };
    let read: Vec<Result<Resolved, DiagnosticReport>> = runs[..most]
        .iter()
        .map(|run| {
            let mut found = Vec::new();
            file.read(run, &overrides, &mut found).ok_or_else(|| report(&source, found))
        })
        .collect();
    let titles: Vec<Option<String>> = runs.iter().map(Combination::title).collect();
    let runs = DiagnosticReport::of_runs(titles.iter().map(Option::as_deref).zip(read));
    if diagnostics.is_empty() {
        return runs;
    }
    Err(runs.err().unwrap_or_default().after(report(&source, diagnostics)))
}

/// With more errors in common, the runs of a matrix are not read one by one.
const TOO_MANY: usize = 50;

/// The runs that one of the patterns selects. A pattern that selects none is an error.
fn selected_runs<'a>(
    runs: Vec<Combination<'a>>,
    only: &[String],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Combination<'a>> {
    let is_whole = |run: &Combination| run.of_search.as_ref().is_none_or(|of| of.rung.is_none());
    let selects = |pattern: &String, run: &Combination| {
        is_whole(run) && run.label.as_deref().is_some_and(|label| run_label::selects(pattern, label))
    };
    let idle: Vec<&String> =
        only.iter().filter(|pattern| !runs.iter().any(|run| selects(pattern, run))).collect();
    for pattern in &idle {
        let source = Arc::new(SourceText::new("--only", (*pattern).clone()));
        let place = Span::new(&source, 0..pattern.len());
        let labels = runs.iter().filter(|run| is_whole(run)).filter_map(|run| run.label.as_deref());
        let of = if runs.iter().any(|run| run.of_search.is_some()) { "search" } else { "matrix" };
        let (message, help) = match runs.iter().any(|run| run.label.is_some()) {
            true => (format!("no run of the {of} matches `{pattern}`"), run_label::help(pattern, labels)),
            false => ("`--only` needs a matrix or a search, and the file has none".to_owned(), None),
        };
        diagnostics.push(Diagnostic::new(&place, "unknown-run", message).help(help));
    }
    if only.is_empty() || !idle.is_empty() {
        return runs;
    }
    let selected = runs.into_iter().filter(|run| only.iter().any(|pattern| selects(pattern, run)));
    // A selected sample is a run like any other: it runs the whole file, and nothing is ranked.
    selected.map(|run| Combination { of_search: None, ..run }).collect()
}

/// Applies settings: those of `[defaults]` before the stages take defaults, those that a preset depends on before the
/// stages take presets, all others after.
fn apply_overrides<'a>(
    root: &mut Node,
    sets: impl Iterator<Item = &'a Override>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let (to_defaults, to_stages): (Vec<_>, Vec<_>) = sets.partition(|set| set.is_default());
    to_defaults.into_iter().for_each(|set| set.apply(root, diagnostics));
    merge::apply_defaults(root);
    let (to_presets, to_stages): (Vec<_>, Vec<_>) =
        to_stages.into_iter().partition(|set| set.shapes_a_preset());
    to_presets.into_iter().for_each(|set| set.apply(root, diagnostics));
    preset::apply(root);
    to_stages.into_iter().for_each(|set| set.apply(root, diagnostics));
    merge::apply_splits(root);
}

/// A file, merged with the file that it extends.
struct LoadedFile<'a> {
    path: &'a Path,
    base: PathBuf,
    /// Its text, which all runs share.
    text: Arc<str>,
    root: &'a Node,
    /// The variables in the path of the file that it extends.
    variables: &'a Variables<'a>,
    /// The full paths of the files that load weights from one another, down to this file, which is the last.
    chain: Vec<PathBuf>,
    options: &'a LoadOptions<'a>,
    checks: Checks,
    /// Whether the settings that all runs share have no errors.
    sound: bool,
}

impl LoadedFile<'_> {
    /// Reads one run of the file. Returns `None` after reporting errors.
    fn read(
        &self,
        run: &Combination,
        overrides: &[Override],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Resolved> {
        let inputs = self.options.inputs;
        let mut root = self.root.clone();
        let mut variables = self.variables.clone();
        apply_overrides(&mut root, run.sets.iter().copied().chain(overrides), diagnostics);

        schema_check::check(schema::merged(), &root, "pipeline", diagnostics);
        paths::check_variables(&root, inputs, &mut variables, diagnostics);
        let mut draft = UncheckedPipeline::new(&root);
        draft.check_names();
        graph::check(&mut draft);
        if self.checks == Checks::All {
            semantic_checks::check(&mut draft);
        }
        diagnostics.append(&mut draft.diagnostics);
        let (faults, warnings) = (std::mem::take(&mut draft.faults), std::mem::take(&mut draft.warnings));
        let mut elsewhere = BTreeMap::new();
        if inputs {
            paths::check_inputs(&root, &self.base, &mut variables, diagnostics);
            let here =
                external_weights::CurrentFile { base: &self.base, chain: &self.chain, options: self.options };
            elsewhere = here.load(&root, &mut variables, diagnostics);
        }
        if !diagnostics.is_empty() {
            diagnostics.extend(faults);
            return None;
        }

        let of_search = run.of_search.clone();
        let read = || {
            Some(Resolved {
                name: root.get("name")?.text()?.to_owned(),
                label: run.label.clone(),
                seed: root.get("seed").map_or(Some(0), integer)?,
                data: draft.data().collect::<Option<_>>()?,
                model: draft.model().collect::<Option<_>>()?,
                stages: draft.stages().collect::<Option<_>>()?,
                run: root
                    .get("run")
                    .map_or(Some(Run::default()), |run| serde_json::from_value(run.to_json()).ok())?,
                file: self.path.to_owned(),
                text: Arc::clone(&self.text),
                base: self.base.clone(),
                elsewhere,
                faults: faults.clone(),
                warnings: warnings.clone(),
                fetched: BTreeMap::new(),
                variables: variables.found,
                root: root.clone(),
                of_search: of_search.clone(),
            })
        };
        let resolved = read();
        let resolved = match of_search.as_ref().filter(|of| of.rung.is_some()) {
            Some(of) => resolved.map(|run| run.only(&of.search.stage)),
            None => resolved,
        };
        if resolved.is_none() && self.sound {
            // The checker and the types agree, which tests ensure. If they ever disagree, a poor message is better than
            // a panic.
            let message = "the file fits the schema but cannot be read; this is a bug in defrost";
            diagnostics.push(Diagnostic::new(&root.place, "internal", message));
        }
        resolved
    }
}

/// Errors in the file itself come before errors in a file that it extends.
fn report(source: &SourceText, mut diagnostics: Vec<Diagnostic>) -> DiagnosticReport {
    diagnostics.sort_by_key(|diagnostic| diagnostic.file != source.name);
    DiagnosticReport::new(diagnostics)
}

fn integer(node: &Node) -> Option<u64> {
    if let NodeValue::Integer(number) = node.value { number.try_into().ok() } else { None }
}

fn overrides(options: &LoadOptions, diagnostics: &mut Vec<Diagnostic>) -> Vec<Override> {
    let mut all: Vec<Override> =
        options.set.iter().filter_map(|argument| Override::parse(argument, diagnostics)).collect();
    if let Some(device) = &options.device {
        all.push(Override::option("--device", ["run", "device"], device, NodeValue::String(device.clone())));
    }
    if let Some(threads) = options.threads {
        let value = NodeValue::Integer(threads.try_into().unwrap_or(i64::MAX));
        all.push(Override::option("--threads", ["run", "threads"], &threads.to_string(), value));
    }
    all
}
