//! Settings that name files and folders, and the variables in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::diagnostics::Diagnostic;
use super::document::{Node, NodeValue};
use super::{RemoteWeights, suggest};
use crate::regular_file::{self, ReadRefusal};

/// The settings that are paths. `*` is any name.
const PATHS: [&[&str]; 11] = [
    &["extends"],
    &["data", "*", "root"],
    &["data", "*", "file"],
    &["data", "*", "split", "files", "validation"],
    &["data", "*", "split", "files", "test"],
    &["stage", "*", "file"],
    &["stage", "*", "adapter_file"],
    &["stage", "*", "pipeline"],
    &["stage", "*", "verification", "pairs"],
    &["stage", "*", "subsets", "*", "file"],
    &["stage", "*", "subsets", "*", "folder"],
];

/// Paths that are relative to another setting, not to the file.
const RELATIVE_PATHS: [&[&str]; 1] = [&["data", "*", "split", "folders", "*"]];

/// Looks up variables and remembers the values.
#[derive(Clone)]
pub struct Variables<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    pub found: BTreeMap<String, String>,
}

/// Why a text cannot be expanded.
#[derive(Debug, PartialEq)]
pub enum ExpandError {
    Unset(String),
    Malformed,
}

impl<'a> Variables<'a> {
    pub fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { env, found: BTreeMap::new() }
    }

    /// Replaces each `${VAR}` by its value.
    pub fn expand(&mut self, text: &str) -> Result<String, ExpandError> {
        let Self { env, found } = self;
        expand(text, |name| {
            let value = env(name)?;
            found.insert(name.to_owned(), value.clone());
            Some(value)
        })
    }
}

/// Replaces each `${VAR}` by what `lookup` has for it.
pub fn expand(text: &str, mut lookup: impl FnMut(&str) -> Option<String>) -> Result<String, ExpandError> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or(ExpandError::Malformed)?;
        if !is_variable(name) {
            return Err(ExpandError::Malformed);
        }
        expanded.push_str(before);
        expanded.push_str(&lookup(name).ok_or_else(|| ExpandError::Unset(name.to_owned()))?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The first `${VAR}` of a text.
fn first_variable(text: &str) -> Option<&str> {
    let inside = text.split("${").skip(1).filter_map(|part| part.split_once('}'));
    inside.map(|(name, _)| name).find(|name| is_variable(name))
}

/// Whether a setting is one of these paths.
fn is_path(paths: &[&[&str]], path: &[&str]) -> bool {
    let fits = |pattern: &&[&str]| {
        pattern.len() == path.len()
            && pattern.iter().zip(path).all(|(want, have)| *want == "*" || want == have)
    };
    paths.iter().any(fits)
}

/// Lets `change` rewrite every path of a tree.
pub fn for_each(root: &mut Node, change: &mut dyn FnMut(&mut String)) {
    fn walk(node: &mut Node, steps: &[&str], change: &mut dyn FnMut(&mut String)) {
        match (steps, &mut node.value) {
            ([], NodeValue::String(text)) => change(text),
            ([step, rest @ ..], NodeValue::Table(entries)) => {
                let chosen = entries.iter_mut().filter(|(key, _)| *step == "*" || key == step);
                chosen.for_each(|(_, child)| walk(child, rest, change));
            }
            _ => {}
        }
    }
    for steps in PATHS {
        walk(root, steps, change);
    }
    for_each_in_matrix(root, change);
}

/// Values that a matrix sets may be paths too.
fn for_each_in_matrix(root: &mut Node, change: &mut dyn FnMut(&mut String)) {
    let mut rewrite = |path: &str, node: &mut Node| {
        let steps: Vec<&str> = path.split('.').collect();
        if let (true, NodeValue::String(text)) = (is_path(&PATHS, &steps), &mut node.value) {
            change(text);
        }
    };
    for table in root.get_mut("matrix").map(Node::items_mut).unwrap_or_default() {
        let path = table.get("path").and_then(Node::text).unwrap_or_default().to_owned();
        let values = table.get_mut("values").map(Node::items_mut).unwrap_or_default();
        values.iter_mut().for_each(|value| rewrite(&path, value));
        for case in table.get_mut("cases").map(Node::items_mut).unwrap_or_default() {
            if let Some(NodeValue::Table(settings)) = case.get_mut("set").map(|set| &mut set.value) {
                settings.iter_mut().for_each(|(path, value)| rewrite(path, value));
            }
        }
    }
}

/// Checks that variables are set, well-formed, and used only in paths. Without `inputs`, an unset variable is no error,
/// because the machine need not have the data.
pub fn check_variables(
    root: &Node,
    inputs: bool,
    variables: &mut Variables,
    diagnostics: &mut Vec<Diagnostic>,
) {
    root.visit(&mut Vec::new(), &mut |path, node| {
        let Some(text) = node.text() else { return };
        let mut report = |code, message: String, help: String| {
            diagnostics.push(Diagnostic::new(&node.place, code, message).help(help));
        };
        if !is_path(&PATHS, path) && !is_path(&RELATIVE_PATHS, path) {
            if let Some(name) = first_variable(text) {
                let message = format!("`${{{name}}}` is used in a setting that is not a path");
                report(
                    "misplaced-variable",
                    message,
                    "variables are replaced only in paths, such as `root` and `file`".into(),
                );
            }
            return;
        }
        match variables.expand(text) {
            Ok(_) => {}
            Err(ExpandError::Unset(_)) if !inputs => {}
            Err(ExpandError::Unset(name)) => {
                let message = format!("the environment variable `{name}` is not set");
                report("unset-variable", message, format!("set it: `{name}=… defrost …`"));
            }
            Err(ExpandError::Malformed) => {
                let help = "write a variable as `${NAME}`, with letters, digits and `_`".to_owned();
                report("bad-variable", "invalid variable".into(), help);
            }
        }
    });
}

/// The largest size of a pipeline file, in bytes. A list of 20,000 classes takes half a MiB.
const LARGEST: u64 = 4 << 20;

/// Reads a pipeline file. The error is the reason, for a message, and how to fix it.
pub fn read(path: &Path) -> Result<String, (String, Option<&'static str>)> {
    let bytes = regular_file::read(path, LARGEST).map_err(|refused| {
        let help = match refused {
            ReadRefusal::NotRegular("a pipe" | "a socket") => {
                Some("write it to a file first: paths and runs are relative to the folder of the file")
            }
            ReadRefusal::NotRegular(_) => Some("pass a TOML file"),
            ReadRefusal::TooLarge(_) => Some(
                "list classes and images in a CSV file with `format = \"csv\"`, not in the pipeline file",
            ),
            ReadRefusal::Dangling(_) | ReadRefusal::Io(_) => None,
        };
        (refused.to_string(), help)
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        (format!("line {line} is not UTF-8 text"), Some("save it as UTF-8"))
    })
}

/// The file with the most similar name in the same folder, if it is similar enough.
pub fn closest_file(base: &Path, path: &str) -> Option<PathBuf> {
    let full = base.join(path);
    let wanted = full.file_name()?.to_str()?;
    let folder = full.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name != wanted).collect();
    names.sort();
    let near = suggest::closest(wanted, names.iter().map(String::as_str))?;
    Some(Path::new(path).with_file_name(near))
}

/// Suggestions if a folder is given instead of a pipeline file: the TOML files in it, except the files of a run.
pub fn pipelines_in(folder: &Path) -> Option<String> {
    let names = fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| name.ends_with(".toml") && name != "resolved.toml" && !name.starts_with('.'))
        .collect();
    names.sort();
    let paths: Vec<String> = names.iter().map(|name| folder.join(name).display().to_string()).collect();
    match &paths[..] {
        [] => Some("pass a pipeline file; `defrost init` writes one".to_owned()),
        [only] => Some(format!("did you mean `{only}`?")),
        [first, ..] => Some(format!("pass one of its {} TOML files, such as `{first}`", paths.len())),
    }
}

/// A suggestion for a path that does not exist, or else where it was looked up.
pub fn missing_help(base: &Path, path: &str) -> String {
    if let Some(help) = of_a_shell(path).or_else(|| of_windows(path)) {
        return help;
    }
    match closest_file(base, path) {
        Some(near) => format!("did you mean `{}`?", near.display()),
        None if Path::new(path).is_absolute() => "correct the path".into(),
        None if is_of_timm(path) => format!("write `hf://{path}` for weights of the Hugging Face hub"),
        None => {
            let full: PathBuf = base.join(path).components().collect();
            format!("paths are relative to the folder of the pipeline file: `{}`", full.display())
        }
    }
}

/// The name of a model of timm without `hf://`.
fn is_of_timm(path: &str) -> bool {
    path.strip_prefix("timm/").is_some_and(|model| !model.is_empty() && !model.contains('/'))
}

/// A path with something that only a shell expands: `~/photos`, `$HOME/photos`, `%USERPROFILE%\photos`.
fn of_a_shell(path: &str) -> Option<String> {
    let parts = |c: char| c == '/' || c == '\\';
    let (first, rest) = path.split_once(parts).unwrap_or((path, ""));
    let name = match first {
        "~" => "HOME",
        _ => first.strip_prefix('$').or_else(|| first.strip_prefix('%')?.strip_suffix('%'))?,
    };
    let rest = rest.replace('\\', "/");
    let slash = if rest.is_empty() { "" } else { "/" };
    is_variable(name).then(|| format!("write variables as `${{NAME}}`: `${{{name}}}{slash}{rest}`"))
}

/// A Windows path on another system, or a path whose backslashes were read as escapes.
fn of_windows(path: &str) -> Option<String> {
    if path.contains(char::is_control) {
        return Some(
            "in double quotes `\\` starts an escape: write the path in single quotes, or with `/`".into(),
        );
    }
    let drive = path.as_bytes().get(1) == Some(&b':') && path.starts_with(|c: char| c.is_ascii_alphabetic());
    if cfg!(windows) || !path.contains('\\') && !drive {
        return None;
    }
    Some(match drive || path.starts_with("\\\\") {
        true => "this is a Windows path: write the path of the folder on this machine".into(),
        false => format!("write `{}`: use `/` between folders", path.replace('\\', "/")),
    })
}

/// Checks that the files and folders of path settings exist.
pub fn check_inputs(root: &Node, base: &Path, variables: &mut Variables, diagnostics: &mut Vec<Diagnostic>) {
    let mut sought: Vec<(&Node, String, bool)> = Vec::new();
    for (_, stage) in root.get("stage").map(Node::entries).unwrap_or_default() {
        if stage.get("kind").and_then(Node::text) != Some("load_weights") {
            continue;
        }
        for node in ["file", "pipeline"].into_iter().filter_map(|key| stage.get(key)) {
            let Some(Ok(path)) = node.text().map(|text| variables.expand(text)) else { continue };
            match RemoteWeights::parse(&path) {
                None => sought.push((node, path, false)),
                // Without variables, it is checked where it is written.
                Some(Err(error)) if node.text() != Some(&path) => {
                    let wrong = Diagnostic::new(&node.place, "weights-name", error.message);
                    diagnostics.push(wrong.help(error.help));
                }
                Some(_) => {}
            }
        }
    }
    for (_, stage) in root.get("stage").map(Node::entries).unwrap_or_default() {
        let adapter = stage.get("adapter_file").and_then(|node| Some((node, node.text()?)));
        if let Some((node, Ok(path))) = adapter.map(|(node, text)| (node, variables.expand(text))) {
            sought.push((node, path, false));
        }
    }
    for (_, stage) in root.get("stage").map(Node::entries).unwrap_or_default() {
        let Some(node) = stage.get("verification").and_then(|verification| verification.get("pairs")) else {
            continue;
        };
        if let Some(Ok(path)) = node.text().map(|text| variables.expand(text)) {
            sought.push((node, path, false));
        }
    }
    for (_, stage) in root.get("stage").map(Node::entries).unwrap_or_default() {
        for (_, subset) in stage.get("subsets").map(Node::entries).unwrap_or_default() {
            for (key, is_folder) in [("file", false), ("folder", true)] {
                let Some(node) = subset.get(key) else { continue };
                if let Some(Ok(path)) = node.text().map(|text| variables.expand(text)) {
                    sought.push((node, path, is_folder));
                }
            }
        }
    }
    for (_, data) in root.get("data").map(Node::entries).unwrap_or_default() {
        let files = data.get("split").and_then(|split| split.get("files"));
        let files = files.map(Node::entries).unwrap_or_default().iter().map(|(_, file)| file);
        for node in data.get("file").into_iter().chain(files) {
            if let Some(Ok(path)) = node.text().map(|text| variables.expand(text)) {
                sought.push((node, path, false));
            }
        }
        let Some(node) = data.get("root") else { continue };
        let Some(Ok(path)) = node.text().map(|text| variables.expand(text)) else { continue };
        let there = base.join(&path).is_dir();
        sought.push((node, path.clone(), true));
        let folders =
            data.get("split").and_then(|split| split.get("folders")).map(Node::entries).unwrap_or_default();
        for (_, folder) in folders.iter().filter(|_| there) {
            let Some(Ok(name)) = folder.text().map(|text| variables.expand(text)) else { continue };
            // A YOLO data set may name a list of images.
            let is_folder = !name.ends_with(".txt");
            let inside = format!("{path}/{name}");
            // `/train` has always been a folder of `root` too.
            let is_elsewhere = Path::new(&name).is_absolute() && !base.join(&inside).exists();
            sought.push((folder, if is_elsewhere { name } else { inside }, is_folder));
        }
    }
    for (node, path, folder) in sought {
        let full = base.join(&path);
        let (found, code, what) = match folder {
            true => (full.is_dir(), "missing-folder", "folder"),
            false => (full.is_file(), "missing-file", "file"),
        };
        if !found && !path.is_empty() {
            let message = match full.exists() {
                true => format!("`{path}` is not a {what}"),
                false => format!("no such {what}: `{path}`"),
            };
            diagnostics.push(Diagnostic::new(&node.place, code, message).help(missing_help(base, &path)));
        }
    }
}
