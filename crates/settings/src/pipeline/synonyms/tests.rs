//! Every suggestion holds: what it says to write is what the schema takes.

use std::collections::BTreeSet;

use super::super::document::parse;
use super::lists::{Remark, ValueSynonyms};
use super::*;

/// Pieces between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn what_is_suggested_is_in_the_schema() {
    for SettingSynonyms { words, path, value, whole } in SETTINGS.iter() {
        let schema = schema_at(path).unwrap_or_else(|| panic!("{words:?}: there is no `{path}`"));
        assert!(holds(schema, value), "{path} = {value}");
        if let Some((path, text)) = whole {
            assert!(holds(schema_at(path).unwrap(), text), "{path} = {text}");
        }
        assert!(!words.is_empty(), "{path} has no words");
    }
    for ValueSynonyms { words, path, value } in VALUES.iter() {
        // A `kind` is a constant in one of several schemas.
        let (table, tag) = path.rsplit_once('.').unwrap();
        let tagged = ["kind", "format"].contains(&tag);
        let schema = schema_at(path).unwrap_or_else(|| panic!("there is no `{path}`"));
        let takes = |text: &str| match tagged {
            true => variants(schema_at(table).unwrap()).any(|kind| kind["properties"][tag]["const"] == *text),
            false => holds(schema, &format!("\"{text}\"")),
        };
        assert!(takes(value), "{path} = {value}");
        words.iter().for_each(|word| assert!(!takes(word), "{path} takes `{word}` as it is"));
    }
    for (path, examples) in TABLES.iter() {
        let schema = schema_at(path).unwrap_or_else(|| panic!("there is no `{path}`"));
        examples.iter().for_each(|text| assert!(holds(schema, text), "{path} = {text}"));
        let kinds = variants(schema).filter_map(|kind| kind["properties"]["kind"]["const"].as_str());
        for kind in kinds {
            assert!(examples.iter().any(|example| kind_of(example) == Some(kind)), "{path}: no `{kind}`");
        }
    }
}

/// A table that wants a table has an example of one.
#[test]
fn every_table_of_settings_has_an_example() {
    fn visit(schema: &Json, path: &str) {
        for kind in variants(schema) {
            if kind["properties"].is_object() {
                let deep = path.contains('.') && !path.ends_with(".NAME") && !path.contains("NAME.normalize");
                let known = TABLES.contains_key(path);
                assert!(!deep || known || path.contains("weights"), "`{path}` has no example");
            }
            for (key, property) in kind["properties"].as_object().into_iter().flatten() {
                visit(property, &format!("{path}.{key}"));
            }
        }
    }
    for table in ["data", "model", "stage"] {
        visit(&merged()["properties"][table]["additionalProperties"], &format!("{table}.NAME"));
    }
}

#[test]
fn no_word_means_two_things() {
    let mut words = BTreeSet::new();
    let settings = SETTINGS.iter().flat_map(|setting| &setting.words);
    for word in settings.chain(REMARKS.iter().flat_map(|remark| &remark.words)) {
        assert!(words.insert(folded(word)), "`{word}` is there twice");
    }
    assert!(words.len() > 400, "{} words", words.len());
    let mut values = BTreeSet::new();
    for meaning in VALUES.iter() {
        for word in &meaning.words {
            assert!(values.insert((folded(word), meaning.path)), "`{word}` is there twice");
        }
    }
}

#[test]
fn settings_that_remarks_name_exist() {
    let mut keys = BTreeSet::new();
    fn collect(schema: &'static Json, keys: &mut BTreeSet<&'static str>) {
        for kind in variants(schema) {
            for (key, property) in kind["properties"].as_object().into_iter().flatten() {
                keys.insert(key);
                collect(property, keys);
            }
            for inner in ["additionalProperties", "items"].map(|inner| &kind[inner]) {
                if inner.is_object() {
                    collect(inner, keys);
                }
            }
        }
    }
    collect(merged(), &mut keys);
    for Remark { words, text } in REMARKS.iter() {
        for piece in quoted(text).filter(|piece| !piece.starts_with("--") && !piece.starts_with("defrost ")) {
            let key = piece.split([' ', '=']).next().unwrap();
            let known =
                keys.contains(key) || ["[run]", "runs/"].contains(&piece) || piece.starts_with("NAME@");
            assert!(known, "{words:?}: there is no `{key}`");
        }
        assert!(!text.ends_with('.') && text.chars().next().is_some_and(char::is_lowercase), "{text}");
    }
}

const FILE: &str = r#"name = "t"
[data.d]
format = "image_folder"
root = "images"
[model.m]
arch = "resnet18"
[defaults.train]
batch_size = 4
[stage.start]
kind = "init_weights"
[stage.fit]
kind = "train"
from = "start"
epochs = 2
optimizer = { kind = "adamw", lr = 0.1 }
augment = { rotation = 5 }
[stage.test]
kind = "evaluate"
from = "fit@last"
"#;

fn suggested(path: &str, text: &str) -> String {
    let source = Arc::new(SourceText::new("p.toml", FILE));
    let root = parse(&source, &mut Vec::new());
    let (word, value) = text.split_once(" = ").unwrap();
    let source = Arc::new(SourceText::new("v", value));
    let node = document::parse_value(&source, 0, &mut Vec::new()).unwrap();
    let path: Vec<&str> = path.split('.').filter(|step| !step.is_empty()).collect();
    key(&root, &path, word, &node).unwrap_or_default()
}

#[test]
fn a_suggestion_says_what_to_write_and_where() {
    for (path, text, expected) in [
        ("stage.fit", "batch = 64", "write `batch_size = 64`"),
        ("stage.fit", "max_epochs = \"many\"", "write `epochs = 10`"),
        ("stage.fit", "hflip = true", "write `horizontal_flip = 0.5` in `augment`"),
        ("stage.fit.augment", "fliplr = 0.3", "write `horizontal_flip = 0.3`"),
        ("stage.fit", "brightness = 0.4", "write `color_jitter = { brightness = 0.4 }` in `augment`"),
        ("defaults.train", "hflip = 0.5", "write `augment = { horizontal_flip = 0.5 }`"),
        ("stage.fit", "lr0 = 0.01", "write `lr = 0.01` in `optimizer`"),
        // Momentum is of another kind of optimizer.
        ("stage.fit", "momentum = 0.9", "write `optimizer = { kind = \"sgd\", lr = 0.01, momentum = 0.9 }`"),
        ("stage.fit", "imgsz = 160", "write `image_size = 160` in `[data.d]`"),
        (
            "stage.fit.augment",
            "label_smoothing = 0.1",
            "write `loss = { kind = \"cross_entropy\", label_smoothing = 0.1 }` in `[stage.fit]`",
        ),
        ("stage.test", "bs = 8", "write `batch_size = 8` in `[stage.fit]`"),
        ("stage.fit", "num_workers = 2", "write `workers = 2` in `[run]`"),
        ("stage.fit", "seed_everything = 7", "write `seed = 7` at the top of the file"),
        ("", "epochs = 3", "write `epochs = 3` in `[stage.fit]`"),
        ("data.d", "val_split = 0.2", "write `split = { validation = 0.2 }`"),
        ("data.d", "label_col = \"y\"", "write `class_column = \"y\"` in a data set with `format = \"csv\"`"),
        ("model.m", "drop_path_rate = 0.1", "write `stochastic_depth = 0.1`"),
        ("stage.fit", "mosaic = 1.0", "write `mosaic = { probability = 1.0 }` in `augment`"),
        ("stage.fit", "close_mosaic = 5", "write `close_mosaic = 5` in `augment`"),
        ("stage.fit", "box = 6.0", "write `loss = { kind = \"detection\", box_gain = 7.5 }`"),
        ("stage.fit", "hsv_v = 0.3", "write `hsv = { value = 0.3 }` in `augment`"),
        ("stage.fit", "RandomHorizontalFlip = 0.5", "write `horizontal_flip = 0.5` in `augment`"),
        ("stage.fit", "nonsense = 1", ""),
    ] {
        assert_eq!(suggested(path, text), expected, "{text} in [{path}]");
    }
}

/// Whatever the table and whatever the word, what is suggested can be written there: no dead hint.
#[test]
fn no_suggestion_is_for_a_table_that_does_not_take_it() {
    for path in [
        "",
        "data.d",
        "data.d.split",
        "model.m",
        "model.m.head",
        "defaults.train",
        "stage.start",
        "stage.fit",
        "stage.fit.optimizer",
        "stage.fit.augment",
        "stage.test",
        "run",
    ] {
        for word in SETTINGS.iter().flat_map(|setting| &setting.words) {
            let help = suggested(path, &format!("{word} = 1"));
            let pieces: Vec<&str> = quoted(&help).collect();
            let (key, value) = pieces[0].split_once(" = ").unwrap();
            let table = match pieces.get(1).copied() {
                _ if help.ends_with("at the top of the file") => String::new(),
                None => path.to_owned(),
                Some(kind) if kind.contains('=') => continue,
                Some(table) if table.starts_with('[') => table.trim_matches(['[', ']']).to_owned(),
                Some(below) => format!("{path}.{below}"),
            };
            let steps: Vec<&str> = table.split('.').filter(|step| !step.is_empty()).chain([key]).collect();
            let schema = schema_at(&general(&steps).join("."));
            assert!(schema.is_some_and(|schema| holds(schema, value)), "`{word}` in [{path}]: {help}");
        }
    }
}

#[test]
fn values_and_tables_have_words_too() {
    assert_eq!(value(&["stage", "fit", "monitor"], "val_accuracy"), Some("validation/accuracy"));
    assert_eq!(value(&["defaults", "train", "monitor"], "val_loss"), Some("validation/loss"));
    assert_eq!(value(&["run", "device"], "cuda"), Some("cuda:0"));
    assert_eq!(value(&["run", "device"], "tpu"), None);
    assert_eq!(value(&["stage", "fit", "monitor"], "metrics/mAP50-95(B)"), Some("validation/ap50_95"));
    assert_eq!(value(&["data", "d", "format"], "pascal_voc"), Some("voc"));
    let optimizer = ["stage", "fit", "optimizer", "kind"];
    assert!(value_remark(&optimizer, "auto").unwrap().contains("adamw"));
    assert!(value_remark(&optimizer, "MuSGD").unwrap().contains("\"sgd\""));
    assert_eq!((value(&optimizer, "auto"), value_remark(&optimizer, "sgd")), (None, None));
    let table = |path: &str, text: &str| {
        let source = Arc::new(SourceText::new("v", text));
        let node = document::parse_value(&source, 0, &mut Vec::new()).unwrap();
        let path: Vec<&str> = path.split('.').collect();
        super::table(&path, schema_at(&general(&path).join(".")).unwrap(), &node).unwrap()
    };
    assert_eq!(
        table("stage.fit.optimizer", "\"adamw\""),
        "write a table: `optimizer = { kind = \"adamw\", lr = 1e-3 }`"
    );
    assert_eq!(
        table("stage.fit.optimizer", "\"SGD\""),
        "write a table: `optimizer = { kind = \"sgd\", lr = 0.01, momentum = 0.9 }`"
    );
    assert_eq!(
        table("stage.fit.schedule", "\"StepLR\""),
        "write a table: `schedule = { kind = \"step\", step_size = 10 }`"
    );
    assert_eq!(table("stage.fit.early_stop", "3"), "write a table: `early_stop = { patience = 3 }`");
    assert_eq!(table("stage.fit.early_stop", "0"), "write a table: `early_stop = { patience = 5 }`");
    assert_eq!(table("stage.fit.augment", "true"), "write a table: `augment = { horizontal_flip = 0.5 }`");
}
