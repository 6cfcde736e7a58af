//! Suggestions for users of other tools: the right command or option instead of one that does not exist.

use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use defrost::pipeline::synonyms;

use super::console::{shown, tell};
use super::options::table_of;

/// Words that a user may try as a command, and the suggestion.
const COMMANDS: [(&[&str], &str); 23] = [
    (
        &["train", "fit", "finetune", "fine-tune", "learn", "start", "execute", "launch", "go", "training"],
        "write `defrost run FILE`: it trains each stage that is not finished",
    ),
    (
        &["sbatch", "slurm", "cluster", "srun", "queue"],
        "write `defrost submit FILE`: it runs the file on a Slurm cluster",
    ),
    (&["scancel", "kill", "stop", "abort"], "write `defrost cancel FILE`: it cancels the jobs of the file"),
    (&["resume", "continue", "restart"], "write `defrost run FILE`: it resumes interrupted stages"),
    (
        &["evaluate", "eval", "test", "score", "val", "evaluation"],
        "add a stage with `kind = \"evaluate\"` to the file: `defrost run FILE` computes it",
    ),
    (
        &["infer", "inference", "classify", "pred", "prediction", "detect"],
        "write `defrost predict RUN IMAGE`",
    ),
    (&["onnx", "convert", "save", "deploy"], "write `defrost export RUN --out NAME.onnx`"),
    (&["ls", "runs", "history", "experiments", "jobs"], "write `defrost list`"),
    (&["show", "info", "describe", "state", "ps", "log", "logs"], "write `defrost status RUN`"),
    (&["summary", "model", "layers", "parameters"], "write `defrost params FILE`"),
    (&["clean", "prune", "cache", "rm", "delete", "remove"], "write `defrost gc`"),
    (&["check", "lint", "config"], "write `defrost validate FILE`"),
    (&["dry-run", "dryrun", "explain", "graph", "dag"], "write `defrost plan FILE`"),
    (&["new", "create", "quickstart", "setup", "template"], "write `defrost init`"),
    (
        &["sweep", "tune", "hpo", "search", "grid", "multirun"],
        "add a `[[matrix]]` to the file: `defrost run FILE` runs all its runs",
    ),
    (&["find-lr", "lrfind", "lr-finder", "range-test"], "write `defrost lr-find FILE`"),
    (&["benchmark", "profile", "speed", "throughput"], "write `defrost bench`"),
    (&["features", "embeddings", "extract"], "write `defrost embed RUN IMAGE`"),
    (&["plot", "visualize", "html", "dashboard", "ui"], "write `defrost report RUN`"),
    (
        &["tensorboard"],
        "write `defrost run FILE --set run.tensorboard=true`, then `tensorboard --logdir runs`",
    ),
    (&["version"], "write `defrost --version`"),
    (&["env", "environment", "gpu", "devices", "cuda", "checks"], "write `defrost doctor`"),
    (
        &["download", "hub", "zoo", "models", "fetch", "pull", "pretrained"],
        "write `defrost weights`: it lists published weights; `defrost weights fetch NAME` fetches some",
    ),
];

/// Words that are tried as an option but are not settings, and the suggestion.
const OPTIONS: [(&[&str], &str); 5] = [
    (
        &["config", "cfg", "c", "file", "f", "config-file", "yaml", "pipeline"],
        "pass the file as an argument: `defrost run FILE`",
    ),
    (&["dry-run", "n", "dryrun"], "write `defrost plan FILE`"),
    (&["overwrite", "clobber", "no-cache", "rerun"], "write `--force`"),
    (&["override", "o", "opts", "overrides", "cfg-options"], "write `--set PATH=VALUE`"),
    (&["tag", "run-name"], "a run has the `name` of its file; change it with `--set name=NAME`"),
];

/// Prints the error in a command line, and a suggestion. Help and version are printed unchanged.
pub fn report_usage_error(mut error: clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    if let Some(hint) = hint(&error, &arguments) {
        for other in [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand] {
            error.remove(other);
        }
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![hint.into()]));
    }
    escape(&mut error);
    tell(error.render().ansi().to_string().trim_end());
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Escapes the typed text, because it may be the name of a file.
fn escape(error: &mut clap::Error) {
    let escaped = |(kind, value): (ContextKind, &ContextValue)| match value {
        ContextValue::String(text) => Some((kind, ContextValue::String(shown(text)))),
        ContextValue::Strings(list) => Some((kind, ContextValue::Strings(list.iter().map(shown).collect()))),
        _ => None,
    };
    let escaped: Vec<_> = error.context().filter_map(escaped).collect();
    let typed = |(kind, value): &(ContextKind, ContextValue)| error.get(*kind) != Some(value);
    if escaped.iter().any(typed) {
        // A tip repeats the typed text.
        error.remove(ContextKind::Suggested);
    }
    for (kind, value) in escaped {
        error.insert(kind, value);
    }
}

fn hint(error: &clap::Error, arguments: &[String]) -> Option<String> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.clone()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = word(ContextKind::InvalidSubcommand)?.to_lowercase().replace('_', "-");
            found(&COMMANDS, &word).map(str::to_owned)
        }
        ErrorKind::UnknownArgument => option(&word(ContextKind::InvalidArg)?, arguments),
        _ => None,
    }
}

fn found<'a>(table: &[(&[&str], &'a str)], word: &str) -> Option<&'a str> {
    table.iter().find(|(words, _)| words.contains(&word)).map(|(_, text)| *text)
}

/// The suggestion instead of `--epochs 5`, or `epochs=5`.
fn option(typed: &str, arguments: &[String]) -> Option<String> {
    let (name, behind) = typed.split_once('=').map_or((typed, None), |(name, value)| (name, Some(value)));
    let is_option = name.starts_with('-');
    if !is_option && behind.is_none() {
        return None;
    }
    let word = name.trim_start_matches('-').to_lowercase();
    if let Some(text) = found(&OPTIONS, &word.replace('_', "-")) {
        return Some(text.to_owned());
    }
    let path = word.contains('.').then(|| word.clone());
    if let Some((setting, example)) = synonyms::option(&word) {
        let given = behind.map(str::to_owned).or_else(|| following(name, arguments));
        // The value was given for one setting, so it does not fit a whole table.
        let value = given.filter(|_| !example.starts_with(['{', '['])).unwrap_or_else(|| example.to_owned());
        return Some(match setting {
            "run.device" => format!("write `--device {}`", example.trim_matches('"')),
            "run.threads" => format!("write `--threads {value}`"),
            _ => {
                let path = with_names_of_file(setting, arguments);
                let set = format!("{path}={}", value.trim_matches('"'));
                let set = if value.contains([' ', '[', '{']) { format!("'{path}={value}'") } else { set };
                let whose = if path.contains("NAME") { ", with a name from the file for NAME" } else { "" };
                format!("settings are in the file; change one with `--set {set}`{whose}")
            }
        });
    }
    if let Some(remark) = synonyms::remark(&word) {
        return Some(remark.to_owned());
    }
    path.map(|path| format!("change a setting with `--set {path}={}`", behind.unwrap_or("VALUE")))
}

/// The value after an option.
fn following(name: &str, arguments: &[String]) -> Option<String> {
    let place = arguments.iter().position(|argument| argument.split('=').next() == Some(name))?;
    if let Some((_, value)) = arguments[place].split_once('=') {
        return Some(value.to_owned());
    }
    let value = arguments.get(place + 1)?;
    (!value.starts_with('-') && !value.ends_with(".toml")).then(|| value.clone())
}

/// A path with a name from the file: the first train stage, data set or model.
fn with_names_of_file(path: &str, arguments: &[String]) -> String {
    let named = || -> Option<String> {
        let (table, _) = path.split_once(".NAME")?;
        let file = arguments.iter().find(|argument| argument.ends_with(".toml"))?;
        let tables = table_of(Path::new(file))?;
        let entries = tables.get(table)?.as_table()?;
        let trains = |entry: &toml::Value| entry.get("kind").and_then(|kind| kind.as_str()) == Some("train");
        let mut names = entries.iter().filter(|(_, entry)| table != "stage" || trains(entry));
        names.next().map(|(name, _)| path.replacen("NAME", name, 1))
    };
    named().unwrap_or_else(|| path.to_owned())
}
