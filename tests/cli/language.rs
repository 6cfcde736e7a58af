//! The pipeline language: a corpus of files, and a complete file with every key damaged, through the program and
//! through the schema.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use defrost::pipeline::{self, DiagnosticReport, LoadOptions, Resolved};
use jsonschema::Validator;
use proptest::prelude::*;
use toml::de::{DeTable, DeValue};

/// The error codes that a schema can detect too.
const OF_SCHEMA: [&str; 12] = [
    "bad-name",
    "bad-value",
    "missing-key",
    "out-of-range",
    "renamed",
    "repeated",
    "reserved",
    "unknown-key",
    "unknown-kind",
    "unknown-value",
    "wrong-length",
    "wrong-type",
];
/// The error codes that a schema never detects: JSON has no such values.
const OF_TOML: [&str; 5] = ["date", "duplicate-key", "not-finite", "syntax", "too-large"];

fn corpus(part: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(part);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn environment(name: &str) -> Option<String> {
    (name == "PHOTOS").then(|| "/photos".to_owned())
}

fn load(file: &Path, set: &[&str]) -> Result<Resolved, DiagnosticReport> {
    let set = set.iter().map(|set| set.to_string()).collect();
    pipeline::load(
        file,
        &LoadOptions { set, device: None, threads: None, only: vec![], inputs: false, env: &environment },
    )
}

/// Loads a text as if it were a file of the corpus.
fn load_text(text: &str) -> Result<Resolved, DiagnosticReport> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    load(file.path(), &[])
}

fn validator() -> Validator {
    jsonschema::draft7::new(pipeline::schema()).unwrap()
}

/// The JSON that a schema validator checks.
fn json(text: &str) -> Option<serde_json::Value> {
    serde_json::to_value(text.parse::<toml::Table>().ok()?).ok()
}

fn found(result: &Result<Resolved, DiagnosticReport>) -> Vec<String> {
    let diagnostics = result.as_ref().err().map(|report| report.diagnostics.as_slice()).unwrap_or_default();
    diagnostics.iter().map(|d| format!("{} {}:{}", d.code, d.line, d.column)).collect()
}

/// Program and schema must agree on everything that a schema can express.
fn assert_same_verdict(
    text: &str,
    result: &Result<Resolved, DiagnosticReport>,
    validator: &Validator,
    what: &str,
) {
    let diagnostics = result.as_ref().err().map(|report| report.diagnostics.as_slice()).unwrap_or_default();
    let float_for_integer =
        |d: &pipeline::Diagnostic| d.message.contains("expected an integer, found a float");
    let Some(json) = json(text) else { return };
    // A schema cannot resolve the paths of a matrix or a search, so it accepts any value there.
    let varies = |line: &str| line.starts_with("[[matrix]]") || line.starts_with("[search.space]");
    let matrix = text.lines().position(varies).unwrap_or(usize::MAX);
    let of_schema = |d: &&pipeline::Diagnostic| OF_SCHEMA.contains(&d.code);
    if diagnostics.iter().filter(of_schema).any(|d| d.line > matrix) {
        return;
    }
    if diagnostics.iter().any(|d| OF_TOML.contains(&d.code) || float_for_integer(d)) {
        return;
    }
    let program = !diagnostics.iter().any(|d| OF_SCHEMA.contains(&d.code));
    let error = validator.validate(&json).err().map(|error| error.to_string());
    assert_eq!(program, error.is_none(), "{what}: program {:?}, schema {error:?}\n{text}", found(result));
}

#[test]
fn valid_files_are_valid_to_program_and_schema() {
    let validator = validator();
    for file in corpus("valid") {
        let result = load(&file, &[]);
        assert_eq!(found(&result), Vec::<String>::new(), "{}", file.display());
        let text = fs::read_to_string(&file).unwrap();
        assert_same_verdict(&text, &result, &validator, &file.display().to_string());
    }
}

#[test]
fn invalid_files_are_refused_at_the_exact_place_by_program_and_schema() {
    let validator = validator();
    let mut wrong = Vec::new();
    for file in corpus("invalid") {
        let text = fs::read_to_string(&file).unwrap();
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        assert!(!expected.is_empty(), "{} expects nothing", file.display());
        let result = load(&file, &[]);
        if found(&result) != expected {
            wrong.push(format!("{}: expected {expected:?}, found {:?}", file.display(), found(&result)));
        }
        assert_same_verdict(&text, &result, &validator, &file.display().to_string());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_probably_not_meant_is_told_at_its_place_and_keeps_nothing_from_running() {
    for file in corpus("warned") {
        let text = fs::read_to_string(&file).unwrap();
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        let warnings = load(&file, &[]).unwrap().warnings;
        let found: Vec<String> =
            warnings.iter().map(|d| format!("{} {}:{}", d.code, d.line, d.column)).collect();
        assert_eq!(found, expected, "{}", file.display());
    }
    for file in corpus("valid") {
        assert_eq!(load(&file, &[]).unwrap().warnings, [], "{}", file.display());
    }
}

/// A key of the complete file: its position, the position of its value, and whether its name is the user's
/// choice.
struct Key {
    path: String,
    name: Range<usize>,
    value: Range<usize>,
    kind: &'static str,
    made_up: bool,
}

fn keys(table: &DeTable, path: &str, out: &mut Vec<Key>) {
    for (name, value) in table {
        let made_up = ["data", "model", "stage"].contains(&path)
            || path.ends_with(".set")
            || path.ends_with(".subsets");
        let path =
            if path.is_empty() { name.get_ref().to_string() } else { format!("{path}.{}", name.get_ref()) };
        let kind = value.get_ref().type_str();
        out.push(Key { path: path.clone(), name: name.span(), value: value.span(), kind, made_up });
        match value.get_ref() {
            DeValue::Table(table) => keys(table, &path, out),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if let DeValue::Table(table) = item.get_ref() {
                        keys(table, &format!("{path}[{index}]"), out);
                    }
                }
            }
            _ => {}
        }
    }
}

fn full() -> (String, Vec<Key>) {
    keys_of("full.toml")
}

fn keys_of(name: &str) -> (String, Vec<Key>) {
    let text = fs::read_to_string(corpus("valid").into_iter().find(|f| f.ends_with(name)).unwrap()).unwrap();
    let mut all = Vec::new();
    keys(DeTable::parse(&text).unwrap().get_ref(), "", &mut all);
    (text, all)
}

fn replace(text: &str, range: Range<usize>, with: &str) -> String {
    format!("{}{with}{}", &text[..range.start], &text[range.end..])
}

fn line_column(text: &str, at: usize) -> String {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    format!("{}:{}", text[..at].matches('\n').count() + 1, text[start..at].chars().count() + 1)
}

#[test]
fn every_key_of_the_language_stands_in_the_full_file() {
    fn collect(schema: &serde_json::Value, path: String, out: &mut Vec<String>) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            out.push(path.clone());
            collect(property, path, out);
        }
        collect_more(schema, path, out);
    }
    fn collect_more(schema: &serde_json::Value, path: String, out: &mut Vec<String>) {
        for inner in
            ["additionalProperties", "items"].map(|key| &schema[key]).into_iter().filter(|s| s.is_object())
        {
            collect(inner, format!("{path}.*"), out);
        }
        for choice in schema["oneOf"].as_array().into_iter().flatten() {
            collect(choice, path.clone(), out);
        }
    }
    let mut wanted = Vec::new();
    collect(pipeline::schema(), String::new(), &mut wanted);
    let (_, all) = full();
    let general = |key: &Key| {
        let mut parts: Vec<&str> = key.path.split('.').collect();
        if ["data", "model", "stage"].contains(&parts[0]) && parts.len() > 1 {
            parts[1] = "*";
        }
        // So are those of a search.
        if let ["search", "space", .., key] = parts[..] {
            parts = if parts.len() > 3 { vec!["search", "space", "*", key] } else { vec!["search", "space"] };
        }
        // Subsets have names, too.
        if parts.len() > 3 && parts[2] == "subsets" {
            parts[3] = "*";
        }
        // The settings of a matrix are settings again, under quoted paths.
        if let Some(set) = parts.iter().position(|part| *part == "set") {
            parts.truncate(set + 1);
        }
        let plain: Vec<String> =
            parts.iter().map(|part| part.replace("[0]", ".*").replace("[1]", ".*")).collect();
        plain.join(".")
    };
    // A file cannot have both a matrix and a search.
    let (_, search) = keys_of("search.toml");
    let there: Vec<String> = all.iter().chain(&search).map(general).collect();
    // A stage's own settings equal the defaults, so one of the two suffices for inner keys.
    let covered = |path: &String| {
        let twins =
            [path.replace("defaults.train.", "stage.*."), path.replace("stage.*.", "defaults.train.")];
        path == "extends" || twins.iter().any(|twin| there.contains(twin))
    };
    let missing: Vec<&String> = wanted.iter().filter(|path| !covered(path)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_misspelt_key_is_found_wherever_it_stands() {
    let validator = validator();
    let (text, all) = full();
    for key in all.iter().filter(|key| !key.made_up) {
        // A header may name the same table again.
        let header = text[..key.name.start].ends_with(['[', '.']);
        let mutated = replace(&text, key.name.end - 1..key.name.end, "q");
        let result = load_text(&mutated);
        let place = line_column(&mutated, key.name.start);
        let expected = format!("unknown-key {place}");
        assert!(
            found(&result).contains(&expected) || header,
            "{}: no {expected} in {:?}",
            key.path,
            found(&result)
        );
        assert!(result.is_err(), "{}", key.path);
        assert_same_verdict(&mutated, &result, &validator, &key.path);
    }
}

#[test]
fn a_value_of_another_type_is_found_wherever_it_stands() {
    let validator = validator();
    let (text, all) = full();
    for key in &all {
        // Tables with a header have no value to replace.
        let header = text[..key.name.start].ends_with("[[");
        if header || key.kind == "table" && !text[key.value.clone()].starts_with('{') {
            continue;
        }
        let other = if key.kind == "string" || key.kind == "table" { "1234567" } else { "'oops'" };
        let mutated = replace(&text, key.value.clone(), other);
        let result = load_text(&mutated);
        let expected = format!("wrong-type {}", line_column(&mutated, key.value.start));
        assert!(found(&result).contains(&expected), "{}: no {expected} in {:?}", key.path, found(&result));
        assert_same_verdict(&mutated, &result, &validator, &key.path);
    }
}

#[test]
fn a_deleted_key_is_missed_where_it_is_needed() {
    let validator = validator();
    let (text, all) = full();
    let mut missed = Vec::new();
    for key in all.iter().filter(|key| !key.made_up && text[key.name.end..].trim_start().starts_with('=')) {
        let after = text[key.value.end..].strip_prefix(", ").map_or(0, |_| 2);
        let before = if after == 0 && text[..key.name.start].ends_with(", ") { 2 } else { 0 };
        let mutated = replace(&text, key.name.start - before..key.value.end + after, "");
        let result = load_text(&mutated);
        assert_same_verdict(&mutated, &result, &validator, &key.path);
        if found(&result).iter().any(|line| line.starts_with("missing-key")) {
            missed.push(key.path.as_str());
        }
    }
    for needed in ["name", "data.birds.root", "model.small.arch", "stage.head.from", "stage.head.kind"] {
        assert!(missed.contains(&needed), "{needed} is not missed, only {missed:?}");
    }
    assert!(!missed.contains(&"stage.head.epochs"), "the defaults have it");
}

proptest! {
    #[test]
    fn no_text_panics(text in r#"([a-z]{1,4}( = |\.|=)|[\[\]{}"'=.,#\n0-9@$!*-]|"[^"]{0,9}"|\PC|[\t\r\x00\u{feff}]){0,60}"#) {
        if let Err(report) = load_text(&text) {
            prop_assert!(!report.render(true).is_empty());
        }
    }

    #[test]
    fn no_edit_of_a_file_panics_or_parts_program_and_schema(at in 0.0..1.0, length in 0usize..12, with in r#"[\[\]{}"=.,a-z0-9\n -]{0,3}"#) {
        let (text, _) = full();
        let start = (at * text.len() as f64) as usize;
        let mutated = replace(&text, start..(start + length).min(text.len()), &with);
        let result = load_text(&mutated);
        if let Err(report) = &result {
            prop_assert!(!report.render(false).is_empty());
        }
        assert_same_verdict(&mutated, &result, &validator(), "edited");
    }
}
