//! Checks a tree of settings against the JSON Schema and reports every difference with its location.
//!
//! The checker knows exactly the keywords that the generated schema uses (a test ensures this), so the program and an
//! editor accept the same files.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;
use serde_json::{Map, Value as Json};

use super::diagnostics::{Diagnostic, brief};
use super::document::{Node, NodeValue};
use super::source_text::Span;
use super::{names, suggest, synonyms, syntax};

/// The most unknown keys of a table that are compared with its missing keys.
const MOST_UNKNOWN: usize = 200;

/// Checks `node` against `schema`. `name` is the name of the setting in messages.
pub fn check<'a>(schema: &Json, node: &'a Node, name: &'a str, diagnostics: &'a mut Vec<Diagnostic>) {
    let path = if name == "pipeline" { Vec::new() } else { vec![name] };
    Checker { root: node, path, diagnostics }.node(schema, node, name);
}

struct Checker<'a> {
    root: &'a Node,
    /// The path of the current table, from the top of the file.
    path: Vec<&'a str>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, place: &Span, code: &'static str, message: String, help: Option<String>) {
        self.diagnostics.push(Diagnostic::new(place, code, message).help(help));
    }

    fn node(&mut self, schema: &Json, node: &'a Node, name: &str) {
        if node.value == NodeValue::Invalid {
            return;
        }
        if let Some(choices) = schema["oneOf"].as_array() {
            return self.one_of(schema, choices, node, name);
        }
        let wanted = schema["type"].as_str().expect("every schema says its type or oneOf");
        match (&node.value, wanted) {
            (NodeValue::Table(entries), "object") => self.table(schema, entries, node),
            (NodeValue::Array(items), "array") => self.array(schema, items, node, name),
            (NodeValue::String(text), "string") => self.string(schema, text, node, name),
            (NodeValue::Boolean(_), "boolean") => {}
            (NodeValue::Integer(number), "integer") => self.range(schema, *number as f64, node, name),
            (NodeValue::Integer(number), "number") => self.range(schema, *number as f64, node, name),
            (NodeValue::Float(number), "number") => self.range(schema, *number, node, name),
            _ => self.wrong_type(schema, &[wanted], node, name),
        }
    }

    fn wrong_type(&mut self, schema: &Json, wanted: &[&str], node: &Node, name: &str) {
        let expected = wanted.iter().map(|kind| article(kind)).collect::<Vec<_>>().join(" or ");
        let help = match &node.value {
            NodeValue::String(text) => unquoted(wanted, text),
            NodeValue::Float(number) if wanted == ["integer"] && number.fract() == 0.0 => {
                Some(format!("write `{number}`"))
            }
            _ => None,
        };
        let help = help.filter(|_| !self.has_many_errors()).or_else(|| match (&node.value, wanted) {
            _ if self.has_many_errors() => None,
            (NodeValue::String(text), ["array"]) => Some(format!("write `[{}]`", Json::from(text.as_str()))),
            (NodeValue::Integer(_) | NodeValue::Float(_) | NodeValue::Boolean(_), ["string"]) => {
                let text = &node.place.source.text[node.place.range.clone()];
                Some(format!("write `\"{text}\"`"))
            }
            _ if wanted.contains(&"object") => {
                synonyms::table(&self.path, schema, node).or_else(|| keys_help(schema))
            }
            (_, ["integer"]) => Some(format!("write a whole number: `{name} = 3`")),
            (_, ["number"]) => Some(format!("write a number: `{name} = 0.5`")),
            (_, ["boolean"]) => Some("write `true` or `false`".to_owned()),
            _ => None,
        });
        let message = format!("wrong type for `{name}`: expected {expected}, found {}", node.value);
        self.report(node.span(), "wrong-type", message, help);
    }

    /// Whether there are too many errors to search for suggestions.
    fn has_many_errors(&self) -> bool {
        suggest::has_many_errors(&*self.diagnostics)
    }

    fn table(&mut self, schema: &Json, entries: &'a [(String, Node)], node: &'a Node) {
        let none = Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&none);
        for (key, child) in entries {
            if let Some(property) = properties.get(key) {
                self.below(property, child, key);
            } else if schema["additionalProperties"].is_object() {
                self.property_name(schema, key, child);
                self.below(&schema["additionalProperties"], child, key);
            } else if schema["additionalProperties"] != Json::Bool(true) {
                self.unknown_key(schema, properties, key, child);
            }
        }
        // A misspelt key is one mistake: an unknown key, and not also a missing one.
        let unknown = || entries.iter().filter(|(word, _)| !properties.contains_key(word)).take(MOST_UNKNOWN);
        let misspelt = |key: &str| {
            unknown().any(|(word, _)| {
                synonyms::entry(&self.path, word) == Some(key)
                    || suggest::closest(word, properties.keys().map(String::as_str)) == Some(key)
            })
        };
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
        let missing: Vec<&str> = required.filter(|key| node.get(key).is_none() && !misspelt(key)).collect();
        for key in missing {
            let about = properties.get(key).and_then(|property| property["description"].as_str());
            let help = about.map(|about| format!("`{key}`: {about}"));
            self.report(node.span(), "missing-key", format!("missing key `{key}`"), help);
        }
        let least = schema["minProperties"].as_u64().unwrap_or(0);
        if (entries.len() as u64) < least {
            let help = schema["description"].as_str().map(str::to_owned);
            self.report(node.span(), "wrong-length", "this table must not be empty".into(), help);
        }
    }

    /// A setting of a table.
    fn below(&mut self, schema: &Json, child: &'a Node, key: &'a str) {
        self.path.push(key);
        self.node(schema, child, key);
        self.path.pop();
    }

    fn property_name(&mut self, schema: &Json, key: &str, child: &Node) {
        let Some(pattern) = schema["propertyNames"]["pattern"].as_str() else { return };
        if !matches(pattern, key) {
            let place = child.key.as_ref().unwrap_or(&child.place);
            let help = names::help(key, "_-", true);
            self.report(place, "bad-name", format!("`{}` is not a valid name", brief(key)), Some(help));
        }
    }

    fn unknown_key(&mut self, schema: &Json, properties: &Map<String, Json>, key: &str, child: &Node) {
        let place = child.key.as_ref().unwrap_or(&child.place);
        if reserved(schema, key) {
            let message = format!("`{key}` is reserved for a later version");
            return self.report(place, "reserved", message, Some(format!("remove `{key}`")));
        }
        if let Some(new) = schema["x-renamed"][key].as_str() {
            let message = format!("`{key}` was renamed to `{new}`");
            let about = properties.get(new).and_then(|property| property["description"].as_str());
            let help = format!("write `{new}`: {}", about.unwrap_or_default());
            return self.report(place, "renamed", message, Some(help));
        }
        let message = format!("unknown key `{}`", brief(key));
        if self.has_many_errors() {
            return self.report(place, "unknown-key", message, None);
        }
        let help = synonyms::key(self.root, &self.path, key, child)
            .or_else(|| {
                let meant = suggest::closest(key, properties.keys().map(String::as_str));
                meant.map(|meant| format!("did you mean `{meant}`?"))
            })
            .or_else(|| {
                let inner = properties.iter().find(|(_, property)| has_key(property, key));
                inner.map(|(outer, _)| format!("`{key}` is a key of `{outer}`"))
            })
            .or_else(|| keys_help(schema));
        self.report(place, "unknown-key", message, help);
    }

    fn array(&mut self, schema: &Json, items: &'a [Node], node: &Node, name: &str) {
        // An array whose schema does not describe its elements accepts any.
        for (index, item) in items.iter().enumerate().filter(|_| schema["items"].is_object()) {
            self.node(&schema["items"], item, &format!("{name}[{index}]"));
        }
        let least = schema["minItems"].as_u64();
        let most = schema["maxItems"].as_u64();
        let count = items.len() as u64;
        if least.is_some_and(|least| count < least) || most.is_some_and(|most| count > most) {
            let wanted = match (least, most) {
                (Some(least), Some(most)) if least == most => format!("exactly {least}"),
                (Some(least), _) => format!("at least {least}"),
                (None, most) => format!("at most {}", most.unwrap_or_default()),
            };
            let noun = if wanted.ends_with(" 1") { "element" } else { "elements" };
            let message = format!("`{name}` must have {wanted} {noun}, found {count}");
            self.report(&node.place, "wrong-length", message, None);
        }
        if schema["uniqueItems"] == Json::Bool(true) {
            let mut known = HashSet::new();
            for item in items {
                let text = item.to_json().to_string();
                if known.contains(&text) {
                    let message = format!("{} occurs twice in `{name}`", brief(&text));
                    self.report(&item.place, "repeated", message, Some("remove one of them".into()));
                }
                known.insert(text);
            }
        }
    }

    fn string(&mut self, schema: &Json, text: &str, node: &'a Node, name: &str) {
        if let Some(choices) = schema["enum"].as_array() {
            let choices: Vec<&str> = choices.iter().filter_map(Json::as_str).collect();
            return self.choice(schema, &choices, text, node, name);
        }
        if let Some(only) = schema["const"].as_str() {
            return self.choice(schema, &[only], text, node, name);
        }
        let characters = text.chars().count() as u64;
        let about = || schema["description"].as_str().map(str::to_owned);
        if schema["minLength"].as_u64().is_some_and(|least| characters < least) {
            self.report(&node.place, "bad-value", format!("`{name}` must not be empty"), about());
        } else if schema["maxLength"].as_u64().is_some_and(|most| characters > most) {
            let message = format!("`{name}` is longer than {} characters", schema["maxLength"]);
            self.report(&node.place, "bad-value", message, about());
        } else if schema["pattern"].as_str().is_some_and(|pattern| !matches(pattern, text)) {
            let help = match (synonyms::value(&self.path, text), name) {
                (Some(meant), _) => Some(format!("write `{name} = \"{meant}\"`")),
                (None, "name") if self.path == ["name"] => Some(names::help(text, "._-", false)),
                _ => about(),
            };
            self.report(&node.place, "bad-value", format!("`{}` is not a valid `{name}`", brief(text)), help);
        }
    }

    fn choice(&mut self, schema: &Json, choices: &[&str], text: &str, node: &'a Node, name: &str) {
        if !choices.contains(&text) {
            let help = match synonyms::value(&self.path, text).filter(|meant| choices.contains(meant)) {
                _ if self.has_many_errors() => None,
                _ if reserved(schema, text) => Some("reserved for a later version".into()),
                Some(meant) => Some(format!("write `{meant}`")),
                None => suggest::help(text, "valid values", choices.iter().copied()),
            };
            let message = format!("unknown value `{}` for `{name}`", brief(text));
            self.report(&node.place, "unknown-value", message, help);
        }
    }

    fn range(&mut self, schema: &Json, number: f64, node: &'a Node, name: &str) {
        type Bound = (&'static str, fn(f64, f64) -> bool, &'static str);
        const BOUNDS: [Bound; 4] = [
            ("minimum", |number, bound| number >= bound, "at least"),
            ("maximum", |number, bound| number <= bound, "at most"),
            ("exclusiveMinimum", |number, bound| number > bound, "above"),
            ("exclusiveMaximum", |number, bound| number < bound, "below"),
        ];
        for (keyword, holds, words) in BOUNDS {
            let Some(bound) = schema[keyword].as_f64() else { continue };
            if !holds(number, bound) {
                let message = format!("`{name}` must be {words} {bound}, found {number}");
                let help = schema["description"].as_str().map(|about| format!("`{name}`: {about}"));
                self.report(&node.place, "out-of-range", message, help);
            }
        }
    }

    fn one_of(&mut self, schema: &Json, choices: &[Json], node: &'a Node, name: &str) {
        let of_type = |kind: &str| choices.iter().filter(|c| c["type"] == kind).collect::<Vec<_>>();
        let fitting = match &node.value {
            NodeValue::String(_) => of_type("string"),
            NodeValue::Table(_) => of_type("object"),
            NodeValue::Array(_) => of_type("array"),
            NodeValue::Boolean(_) => of_type("boolean"),
            NodeValue::Integer(_) | NodeValue::Float(_) => of_type("number"),
            NodeValue::Invalid => Vec::new(),
        };
        match (fitting.as_slice(), &node.value) {
            ([], _) => {
                let mut wanted: Vec<&str> =
                    choices.iter().filter_map(|choice| choice["type"].as_str()).collect();
                wanted.dedup();
                self.wrong_type(schema, &wanted, node, name);
            }
            (variants, NodeValue::Table(_)) if tag(variants[0]).is_some() => {
                self.variant(schema, variants, node, name)
            }
            (constants, NodeValue::String(text)) if constants[0]["const"].is_string() => {
                let choices: Vec<&str> =
                    constants.iter().filter_map(|choice| choice["const"].as_str()).collect();
                self.choice(schema, &choices, text, node, name);
            }
            (fitting, _) => self.node(fitting[0], node, name),
        }
    }

    /// Tables that a constant distinguishes, such as a stage's `kind`.
    fn variant(&mut self, schema: &Json, variants: &[&Json], node: &'a Node, name: &str) {
        let (key, _) = tag(variants[0]).expect("the caller checked for a tag");
        let kinds: Vec<&str> =
            variants.iter().filter_map(|variant| tag(variant)).map(|(_, kind)| kind).collect();
        let Some(chosen) = node.get(key) else {
            return self.missing_tag(key, &kinds, variants, node, name);
        };
        let Some(text) = chosen.text() else {
            return self.wrong_type(schema, &["string"], chosen, key);
        };
        match variants.iter().find(|variant| tag(variant).is_some_and(|(_, kind)| kind == text)) {
            Some(variant) => self.node(variant, node, name),
            None if reserved(schema, text) => {
                let message = format!("{key} `{text}` is reserved for a later version");
                let help = format!("valid values: {}", suggest::list(kinds));
                self.report(&chosen.place, "reserved", message, Some(help));
            }
            None => {
                let path: Vec<&str> = self.path.iter().copied().chain([key]).collect();
                let help = match synonyms::value(&path, text).filter(|meant| kinds.contains(meant)) {
                    _ if self.has_many_errors() => None,
                    Some(meant) => Some(format!("write `{meant}`")),
                    None => synonyms::value_remark(&path, text)
                        .map(str::to_owned)
                        .or_else(|| suggest::help(text, "valid values", kinds)),
                };
                self.report(&chosen.place, "unknown-kind", format!("unknown {key} `{}`", brief(text)), help);
            }
        }
    }

    /// Without its tag, other keys of the table cannot be checked; but one of them may be the misspelt tag.
    fn missing_tag(&mut self, key: &str, kinds: &[&str], variants: &[&Json], node: &'a Node, name: &str) {
        let unknown = |word: &str| !variants.iter().any(|variant| has_key(variant, word));
        let misspelt =
            node.entries().iter().find(|(word, _)| unknown(word) && suggest::closest(word, [key]).is_some());
        if let Some((word, child)) = misspelt {
            let place = child.key.as_ref().unwrap_or(&child.place);
            let help = format!("did you mean `{key}`?");
            self.report(place, "unknown-key", format!("unknown key `{word}`"), Some(help));
        } else {
            let help = format!("valid values: {}", suggest::list(kinds.iter().copied()));
            self.report(node.span(), "missing-key", format!("missing key `{key}` in `{name}`"), Some(help));
        }
    }
}

/// The key whose constant distinguishes a variant, and that constant.
fn tag(variant: &Json) -> Option<(&str, &str)> {
    let properties = variant["properties"].as_object()?;
    properties.iter().find_map(|(key, property)| Some((key.as_str(), property["const"].as_str()?)))
}

fn reserved(schema: &Json, word: &str) -> bool {
    schema["x-reserved"].as_array().is_some_and(|words| words.iter().any(|reserved| reserved == word))
}

/// Whether a table with schema `schema` may have `key`.
fn has_key(schema: &Json, key: &str) -> bool {
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    std::iter::once(schema).chain(choices).any(|table| table["properties"].get(key).is_some())
}

fn keys_help(schema: &Json) -> Option<String> {
    let keys = schema["properties"].as_object()?.keys().map(String::as_str);
    Some(format!("valid keys: {}", suggest::list(keys)))
}

/// Whether the text of a string, without its quotes, is a value of a wanted type.
fn unquoted(wanted: &[&str], text: &str) -> Option<String> {
    let fits = wanted.iter().any(|kind| match *kind {
        "integer" => text.parse::<i64>().is_ok(),
        "number" => text.parse::<f64>().is_ok_and(f64::is_finite) && syntax::number(text).is_none(),
        "boolean" => text == "true" || text == "false",
        _ => false,
    });
    let number = || {
        syntax::number(text).filter(|number| match wanted {
            ["integer"] => number.parse::<i64>().is_ok(),
            _ => wanted.contains(&"number"),
        })
    };
    if fits {
        Some(format!("remove the quotes: `{text}`"))
    } else {
        number().map(|number| format!("write `{number}`"))
    }
}

fn article(kind: &str) -> String {
    match kind {
        "object" => "a table".into(),
        "integer" | "array" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

/// Whether a text matches a pattern of the schema. Each pattern is compiled once.
fn matches(pattern: &str, text: &str) -> bool {
    static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if !compiled.contains_key(pattern) {
        let regex = Regex::new(pattern).expect("the schema's patterns compile");
        compiled.insert(pattern.to_owned(), regex);
    }
    compiled[pattern].is_match(text)
}
