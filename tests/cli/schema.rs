//! `defrost schema`, its copy in the repository, and the reference tables that are generated from it.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use defrost::pipeline;
use serde_json::{Map, Value};

#[test]
fn the_schema_in_the_repository_is_the_program_s() {
    let output = Command::cargo_bin("defrost").unwrap().arg("schema").output().unwrap();
    assert!(output.status.success());
    let kept = include_str!("../../schemas/pipeline.schema.json");
    assert!(
        output.stdout == kept.as_bytes(),
        "out of date: run `defrost schema > schemas/pipeline.schema.json`"
    );
}

/// The tables of `docs/pipeline-file.md` follow a mark such as `<!-- keys: stage.train -->` and are generated from the
/// schema: `UPDATE_DOCS=1 cargo test` writes them.
#[test]
fn the_reference_has_every_key_as_the_schema_has_it() {
    let mut tables = Vec::new();
    collect(pipeline::schema(), "pipeline", &mut tables);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/pipeline-file.md");
    let text = fs::read_to_string(&file).unwrap();
    let mut fresh = text.clone();
    for (path, table) in &tables {
        let mark = format!("<!-- keys: {path} -->\n");
        let start = fresh.find(&mark).unwrap_or_else(|| panic!("no `{mark}`")) + mark.len();
        let end = start + fresh[start..].find("\n\n").map_or(fresh.len() - start, |blank| blank + 1);
        fresh.replace_range(start..end, table);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, &fresh).unwrap();
    } else {
        assert!(text == fresh, "out of date: run `UPDATE_DOCS=1 cargo test --test cli schema`");
    }
    assert_eq!(text.matches("<!-- keys: ").count(), tables.len(), "a mark without a table");
}

/// A table of keys for every table of the language. `[defaults.train]` repeats the train stage.
fn collect(schema: &Value, path: &str, tables: &mut Vec<(String, String)>) {
    if let Some(properties) = schema["properties"].as_object() {
        let kind = properties.values().find_map(|property| property["const"].as_str());
        let path = kind.map_or(path.to_owned(), |kind| format!("{path}.{kind}"));
        // Keys that `extends` or the defaults may provide are required at the root.
        let conditions = pipeline::schema()["allOf"].as_array().into_iter().flatten();
        let conditional = conditions.map(|condition| match path.as_str() {
            "pipeline" => &condition["then"]["required"],
            "stage.train" => {
                &condition["then"]["properties"]["stage"]["additionalProperties"]["then"]["required"]
            }
            _ => &Value::Null,
        });
        let lists = std::iter::once(&schema["required"]).chain(conditional);
        let required: Vec<&str> =
            lists.filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect();
        tables.push((path.clone(), rows(properties, &required)));
        for (key, property) in properties.iter().filter(|(key, _)| *key != "defaults") {
            let outer = path.strip_prefix("pipeline").unwrap_or(&path).trim_start_matches('.');
            let inner = if outer.is_empty() { key.clone() } else { format!("{outer}.{key}") };
            collect(property, &inner, tables);
        }
    }
    for inner in ["additionalProperties", "items"]
        .map(|key| &schema[key])
        .into_iter()
        .filter(|inner| inner.is_object())
    {
        collect(inner, path, tables);
    }
    for choice in schema["oneOf"].as_array().into_iter().flatten() {
        collect(choice, path, tables);
    }
}

fn rows(properties: &Map<String, Value>, required: &[&str]) -> String {
    let mut keys: Vec<(&String, &Value)> = properties.iter().collect();
    keys.sort_by_key(|(key, property)| {
        (property["const"].is_null(), !required.contains(&key.as_str()), *key)
    });
    let mut text = String::from("| key | value | default | meaning |\n| --- | --- | --- | --- |\n");
    for (key, property) in keys {
        let absent = match &property["default"] {
            _ if required.contains(&key.as_str()) => "**required**".to_owned(),
            Value::Null | Value::Object(_) => "–".to_owned(),
            Value::Array(items) if items.is_empty() => "`[]`".to_owned(),
            default => format!("`{default}`").replace(',', ", "),
        };
        let meaning = property["description"].as_str().unwrap();
        text += &format!("| `{key}` | {} | {absent} | {meaning} |\n", value(property));
    }
    text
}

fn value(schema: &Value) -> String {
    let words = |values: Vec<&Value>| values.iter().map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", ");
    if let Some(only) = schema.get("const") {
        return format!("`{only}`");
    }
    let any_type = |choices: &&Vec<Value>| {
        choices.iter().all(|choice| {
            choice.get("enum").or(choice.get("const")).is_none() && choice["properties"].is_null()
        })
    };
    if schema["oneOf"].as_array().filter(any_type).is_some() {
        return "value".into();
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let constants: Vec<&Value> = choices.iter().filter_map(|choice| choice.get("const")).collect();
        let strings = choices.iter().filter_map(|choice| choice["enum"].as_array()).flatten();
        return match (constants.is_empty(), choices[0]["type"] == "string") {
            (false, _) => words(constants),
            (true, true) => format!("{}, or a table", words(strings.collect())),
            (true, false) => "table".into(),
        };
    }
    if let Some(choices) = schema["enum"].as_array() {
        return words(choices.iter().collect());
    }
    let bound = |keyword: &str, sign: &str| schema[keyword].as_f64().map(|bound| format!("{sign} {bound}"));
    let most = bound("maximum", "≤").filter(|_| schema["maximum"] != u32::MAX);
    let bounds =
        [bound("minimum", "≥"), bound("exclusiveMinimum", ">"), most, bound("exclusiveMaximum", "<")];
    let bounds: Vec<String> = bounds.into_iter().flatten().collect();
    match schema["type"].as_str().unwrap() {
        "array" => {
            let count = schema["minItems"].as_u64().filter(|least| schema["maxItems"] == *least);
            let items = value(&schema["items"]);
            let (noun, bounds) = items.split_once(' ').map_or((items.as_str(), None), |(n, b)| (n, Some(b)));
            let count = count.map(|count| format!("{count} ")).unwrap_or_default();
            let each = bounds.map(|bounds| format!(", each {bounds}")).unwrap_or_default();
            format!("array of {count}{noun}s{each}")
        }
        "object" => "table".into(),
        plain if bounds.is_empty() => plain.into(),
        plain => format!("{plain} {}", bounds.join(", ")),
    }
}
