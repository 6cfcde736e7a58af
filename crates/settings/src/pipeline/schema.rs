//! The JSON Schema of pipeline files, generated from the types. The checker walks the same one.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::matrix::MatrixTable;
use super::search::SearchTable;
use super::{Data, Model, Run, Stage};

/// One experiment: load pretrained weights, freeze parameters by name, train, unfreeze, evaluate.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "defrost pipeline")]
#[allow(dead_code, reason = "only its schema is used; the loader reads each table by itself")]
struct PipelineFile {
    /// A file whose settings this one starts from, relative to this file. Tables are merged; other values are replaced.
    #[schemars(length(min = 1))]
    extends: Option<String>,
    /// The name of the experiment, and of the folder of its runs.
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), length(max = 100))]
    name: String,
    /// The seed of all random numbers except the split. Another seed gives another result.
    #[serde(default)]
    seed: u64,
    /// The data sets, by name.
    #[schemars(schema_with = "named::<Data>")]
    data: BTreeMap<String, Data>,
    /// The models, by name.
    #[schemars(schema_with = "named::<Model>")]
    model: BTreeMap<String, Model>,
    /// Default settings of stages.
    #[serde(default)]
    defaults: Option<Defaults>,
    /// The stages of the experiment, by name.
    #[schemars(schema_with = "named::<Stage>")]
    stage: BTreeMap<String, Stage>,
    /// Makes several runs from one file: one for each value, or for each combination if there are several tables.
    #[schemars(length(min = 1, max = 100))]
    matrix: Option<Vec<MatrixTable>>,
    /// Draws settings at random, ranks the runs by a validation metric, and runs the whole file with the best.
    search: Option<SearchTable>,
    /// Where and how fast to run. Nothing here changes a result.
    #[serde(default)]
    run: Run,
}

/// Default settings of stages.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its schema is used")]
struct Defaults {
    /// The data set of every stage that names none, if the file has several: others are for stages that name them, such
    /// as evaluations on new images.
    data: Option<String>,
    /// The model of every `load_weights` or `init_weights` stage that names none, if the file has several.
    model: Option<String>,
    /// Settings for every train stage. A stage's own settings take precedence; tables replace whole.
    #[serde(default)]
    #[schemars(schema_with = "train_defaults")]
    train: Option<()>,
}

/// A table whose keys are names that may occur in paths, in `from` and as folders.
pub(super) fn named<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": "^[A-Za-z][A-Za-z0-9_-]*$" },
        "additionalProperties": generator.subschema_for::<T>(),
    })
}

/// The schema of the train stage without required keys, and without the keys that make it a stage.
fn train_defaults(generator: &mut SchemaGenerator) -> Schema {
    let mut stage = generator.subschema_for::<Stage>();
    let variants =
        stage.get_mut("oneOf").and_then(Value::as_array_mut).expect("stages are distinguished by kind");
    let mut train = variants.iter().find(|v| is_train(v)).expect("there is a train stage").clone();
    let fields = train.as_object_mut().expect("a stage is a table");
    fields.remove("required");
    let properties =
        fields.get_mut("properties").and_then(Value::as_object_mut).expect("a stage has settings");
    properties.remove("kind");
    properties.remove("from");
    Schema::try_from(train).expect("an object is a schema")
}

/// Removes what TOML cannot say (null), and writes what Rust's types imply as numbers.
#[derive(Clone)]
struct ForToml;

impl Transform for ForToml {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(fields) = schema.as_object_mut() else { return };
        strip_null(fields);
        join_lines(fields);
        if let Some(format) = fields.remove("format")
            && format == "uint32"
        {
            fields.insert("maximum".into(), json!(u32::MAX));
        }
        describe_tag(fields);
    }
}

/// Joins the lines of each paragraph of a description: documentation comments are wrapped, descriptions are not.
fn join_lines(fields: &mut Map<String, Value>) {
    if let Some(Value::String(text)) = fields.get_mut("description") {
        let paragraphs: Vec<String> = text.split("\n\n").map(|lines| lines.replace('\n', " ")).collect();
        *text = paragraphs.join("\n\n");
    }
}

fn strip_null(fields: &mut Map<String, Value>) {
    match fields.get_mut("default") {
        Some(Value::Null) => drop(fields.remove("default")),
        Some(Value::Object(settings)) => settings.retain(|_, setting| !setting.is_null()),
        _ => {}
    }
    if let Some(Value::Array(types)) = fields.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            fields.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(mut choices)) = fields.remove("anyOf") {
        choices.retain(|choice| choice.get("type") != Some(&json!("null")));
        match <[Value; 1]>::try_from(choices) {
            Ok([Value::Object(inner)]) => {
                for (key, value) in inner {
                    fields.entry(key).or_insert(value);
                }
            }
            Ok([other]) => drop(fields.insert("anyOf".into(), json!([other]))),
            Err(choices) => drop(fields.insert("anyOf".into(), Value::Array(choices))),
        }
    }
}

/// The tag of a variant gets the description of the variant.
fn describe_tag(fields: &mut Map<String, Value>) {
    let description = fields.get("description").cloned();
    let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for property in properties.values_mut().filter_map(Value::as_object_mut) {
        if let (true, Some(text)) = (property.contains_key("const"), &description) {
            property.entry("description").or_insert_with(|| text.clone());
        }
    }
}

/// The schema of a merged file, draft-07. Everything is inline, so neither editors nor the checker resolve references.
pub(super) fn merged() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        let settings = SchemaSettings::draft07().with(|s| s.inline_subschemas = true).with_transform(ForToml);
        settings.into_generator().into_root_schema_for::<PipelineFile>().to_value()
    });
    &SCHEMA
}

/// The schema of a file as written: it may lack what `extends` or `[defaults.train]` provides.
pub fn schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| as_written(merged().clone()));
    &SCHEMA
}

/// Makes the required keys of a train stage conditional, and says which keys of a matrix go together. The conditions
/// are at the root, next to the stages' `oneOf`: inside it, editors would complete nothing.
fn as_written(mut schema: Value) -> Value {
    let root = schema.as_object_mut().expect("the root is an object");
    let whole = root.remove("required").expect("a pipeline has required keys");
    let train = root["properties"]["stage"]["additionalProperties"]["oneOf"]
        .as_array_mut()
        .and_then(|variants| variants.iter_mut().find(|variant| is_train(variant)))
        .expect("there is a train stage");
    let (own, from_defaults): (Vec<Value>, Vec<Value>) = train["required"]
        .as_array()
        .into_iter()
        .flatten()
        .cloned()
        .partition(|key| key == "kind" || key == "from");
    train["required"] = own.into();
    let extends = json!({ "required": ["extends"] });
    let mut conditions = vec![json!({ "if": { "not": extends }, "then": { "required": whole } })];
    for key in from_defaults {
        let given = json!({
            "required": ["defaults"],
            "properties": { "defaults": { "required": ["train"], "properties": { "train": { "required": [key] } } } },
        });
        let needs_it = json!({
            "if": { "properties": { "kind": { "const": "train" } }, "required": ["kind"] },
            "then": { "required": [key] },
        });
        conditions.push(json!({
            "if": { "not": { "anyOf": [extends, given] } },
            "then": { "properties": { "stage": { "additionalProperties": needs_it } } },
        }));
    }
    let one_of = |keys: &[&str]| keys.iter().map(|key| json!({ "required": [key] })).collect::<Vec<_>>();
    let loaded = json!({
        "anyOf": one_of(&["file", "from", "average", "pipeline"]),
        "dependencies": { "pipeline": ["stage"], "stage": ["pipeline"] },
    });
    let evaluated = json!({ "anyOf": one_of(&["from", "ensemble"]) });
    for (kind, demands) in [("load_weights", loaded), ("evaluate", evaluated)] {
        let has_weights = json!({
            "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
            "then": demands,
        });
        conditions.push(json!({
            "if": { "not": extends },
            "then": { "properties": { "stage": { "additionalProperties": has_weights } } },
        }));
    }
    root.insert("allOf".into(), conditions.into());
    root["properties"]["matrix"]["items"]["oneOf"] = json!([
        { "required": ["path", "values"], "not": { "required": ["cases"] } },
        { "required": ["cases"], "not": { "anyOf": [{ "required": ["path"] }, { "required": ["values"] }] } },
    ]);
    let distributions = ["uniform", "log_uniform", "integer", "log_integer", "choice"];
    root["properties"]["search"]["properties"]["space"]["additionalProperties"]["oneOf"] =
        one_of(&distributions).into();
    schema
}

fn is_train(variant: &Value) -> bool {
    variant.pointer("/properties/kind/const") == Some(&json!("train"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Visits every schema of the schema, with the place it was found at.
    fn visit(schema: &Value, place: &str, visitor: &mut dyn FnMut(&str, &Map<String, Value>)) {
        let fields = schema.as_object().expect("a schema is an object");
        visitor(place, fields);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            visit(property, &format!("{place}.{name}"), visitor);
        }
        for key in ["additionalProperties", "items"] {
            if schema[key].is_object() {
                visit(&schema[key], &format!("{place}.*"), visitor);
            }
        }
        for (index, choice) in schema["oneOf"].as_array().into_iter().flatten().enumerate() {
            visit(choice, &format!("{place}|{index}"), visitor);
        }
    }

    #[test]
    fn the_checker_knows_every_keyword_of_the_schema() {
        const CHECKED: [&str; 18] = [
            "additionalProperties",
            "const",
            "enum",
            "exclusiveMaximum",
            "exclusiveMinimum",
            "items",
            "maxItems",
            "maxLength",
            "maximum",
            "minItems",
            "minLength",
            "minProperties",
            "minimum",
            "oneOf",
            "pattern",
            "properties",
            "propertyNames",
            "uniqueItems",
        ];
        const SAYS_NOTHING: [&str; 6] =
            ["$schema", "default", "description", "title", "x-renamed", "x-reserved"];
        visit(merged(), "pipeline", &mut |place, fields| {
            for (key, value) in fields {
                let known = CHECKED.contains(&key.as_str()) || SAYS_NOTHING.contains(&key.as_str());
                assert!(known || ["required", "type"].contains(&key.as_str()), "{place}: `{key}`");
                assert!(key != "type" || value.is_string(), "{place}: several types");
            }
            let more = fields.get("additionalProperties");
            let closed = more.is_some_and(|more| *more == false || more.is_object())
                || place.starts_with("pipeline.matrix.*.cases.*.set.*");
            assert!(fields.get("type") != Some(&json!("object")) || closed, "{place} takes any key");
            assert!(
                fields.contains_key("type") || fields.contains_key("oneOf"),
                "{place} has neither type nor oneOf"
            );
        });
    }

    #[test]
    fn every_setting_is_described() {
        visit(merged(), "pipeline", &mut |place, fields| {
            for (name, property) in fields.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                assert!(property["description"].is_string(), "{place}.{name} has no description");
            }
        });
    }
}
