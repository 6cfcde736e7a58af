//! From a file to a pipeline, or to the list of all that is wrong with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostics::{Diagnostic, Place, Report, Source};
use super::document::{self, Node, Value};
use super::draft::Draft;
use super::paths::{self, Variables};
use super::resolved::Resolved;
use super::set::Override;
use super::{Run, check, graph, merge, schema, shape};

/// What the command line and the machine add to a file.
pub struct LoadOptions<'a> {
    /// `PATH=VALUE`, in order.
    pub set: Vec<String>,
    /// Instead of `run.device`.
    pub device: Option<String>,
    /// Instead of `run.threads`.
    pub threads: Option<usize>,
    /// Whether variables, files and folders must be there.
    pub inputs: bool,
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// Reads and checks a pipeline file. The report has every error that can be found without parameter and class names.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Resolved, Report> {
    let name = path.display().to_string();
    match paths::read(path) {
        Ok(text) => load_text(path, Source { name, text }, options),
        Err(problem) => {
            let place = Place::new(&Arc::new(Source { name: name.clone(), text: String::new() }), 0..0);
            let folder = path.parent().unwrap_or(Path::new(""));
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or(&name);
            let help =
                paths::closest_file(folder, file).map(|near| format!("did you mean `{}`?", near.display()));
            let message = format!("cannot read `{name}`: {problem}");
            Err(Report::new(vec![Diagnostic::new(&place, "unreadable", message).help(help)]))
        }
    }
}

fn load_text(path: &Path, source: Source, options: &LoadOptions) -> Result<Resolved, Report> {
    let base: PathBuf = path.parent().unwrap_or(Path::new("")).to_owned();
    let source = Arc::new(source);
    let mut diagnostics = Vec::new();
    let mut variables = Variables::new(options.env);
    let root = document::parse(&source, &mut diagnostics);
    let mut root = merge::extend(root, &base, &mut variables, &mut diagnostics);
    // What cannot be parsed is not in the tree, and everything that needs it would be called missing.
    if diagnostics.iter().any(|d| d.code == "syntax" || d.code == "duplicate-key") {
        return Err(report(&source, diagnostics));
    }

    let overrides = overrides(options, &mut diagnostics);
    let (to_defaults, to_stages): (Vec<_>, Vec<_>) = overrides.iter().partition(|set| set.is_default());
    to_defaults.into_iter().for_each(|set| set.apply(&mut root, &mut diagnostics));
    merge::apply_defaults(&mut root);
    to_stages.into_iter().for_each(|set| set.apply(&mut root, &mut diagnostics));

    check::check(schema::merged(), &root, "pipeline", &mut diagnostics);
    paths::check_variables(&root, options.inputs, &mut variables, &mut diagnostics);
    let mut draft = Draft::new(&root);
    draft.check_names();
    graph::check(&mut draft);
    shape::check(&mut draft);
    diagnostics.append(&mut draft.diagnostics);
    if options.inputs {
        paths::check_inputs(&root, &base, &mut variables, &mut diagnostics);
    }
    if !diagnostics.is_empty() {
        return Err(report(&source, diagnostics));
    }

    let read = || {
        Some(Resolved {
            name: root.get("name")?.text()?.to_owned(),
            seed: root.get("seed").map_or(Some(0), integer)?,
            data: draft.data().collect::<Option<_>>()?,
            model: draft.model().collect::<Option<_>>()?,
            stages: draft.stages().collect::<Option<_>>()?,
            run: root
                .get("run")
                .map_or(Some(Run::default()), |run| serde_json::from_value(run.to_json()).ok())?,
            file: path.to_owned(),
            text: source.text.clone(),
            base,
            variables: variables.found,
            root: root.clone(),
        })
    };
    // The checker and the types agree (tests hold them to it); if ever they do not, better a poor message than a panic.
    read().ok_or_else(|| {
        let message = "the file fits the schema and yet cannot be read; this is a bug in defrost";
        Report::new(vec![Diagnostic::new(&root.place, "internal", message)])
    })
}

/// What is wrong with the file itself stands before what is wrong with a file it extends.
fn report(source: &Source, mut diagnostics: Vec<Diagnostic>) -> Report {
    diagnostics.sort_by_key(|diagnostic| diagnostic.file != source.name);
    Report::new(diagnostics)
}

fn integer(node: &Node) -> Option<u64> {
    if let Value::Integer(number) = node.value { number.try_into().ok() } else { None }
}

fn overrides(options: &LoadOptions, diagnostics: &mut Vec<Diagnostic>) -> Vec<Override> {
    let mut all: Vec<Override> =
        options.set.iter().filter_map(|argument| Override::parse(argument, diagnostics)).collect();
    if let Some(device) = &options.device {
        all.push(Override::option("--device", ["run", "device"], device, Value::String(device.clone())));
    }
    if let Some(threads) = options.threads {
        let value = Value::Integer(threads.try_into().unwrap_or(i64::MAX));
        all.push(Override::option("--threads", ["run", "threads"], &threads.to_string(), value));
    }
    all
}
