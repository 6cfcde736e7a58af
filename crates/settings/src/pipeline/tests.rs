//! Merging, overriding and what a loaded pipeline offers.

use std::fs;
use std::path::Path;

use super::*;

const PIPELINE: &str = r#"
name = "t"

[data.d]
format = "image_folder"
root = "images"
split = { validation = 0.2, test = 0.1 }

[model.m]
arch = "resnet18"

[defaults.train]
epochs = 3
batch_size = 16
optimizer = { kind = "adamw", lr = 1e-3, betas = [0.8, 0.9] }

[stage.test]
kind = "evaluate"
from = "fit@best"

[stage.fit]
kind = "train"
from = "start"
train = ["@head", "layer4"]
batch_size = 64

[stage.start]
kind = "load_weights"
file = "${WEIGHTS}/resnet18.safetensors"
"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn load(&self, set: &[&str]) -> Result<Resolved, DiagnosticReport> {
        self.load_with(set, false)
    }

    fn load_with(&self, set: &[&str], inputs: bool) -> Result<Resolved, DiagnosticReport> {
        let set = set.iter().map(|set| set.to_string()).collect();
        let env = |name: &str| (name == "WEIGHTS").then(|| "w".to_owned());
        load(
            &self.0.path().join("p.toml"),
            &LoadOptions { set, device: None, threads: None, only: vec![], inputs, env: &env },
        )
    }

    /// Code, file name, line, column.
    fn errors(&self, set: &[&str]) -> Vec<String> {
        errors(self.load(set))
    }
}

fn errors(result: Result<Resolved, DiagnosticReport>) -> Vec<String> {
    let diagnostics = result.err().map(|report| report.diagnostics).unwrap_or_default();
    let file = |name: &str| Path::new(name).file_name().unwrap().to_str().unwrap().to_owned();
    diagnostics.iter().map(|d| format!("{} {}:{}:{}", d.code, file(&d.file), d.line, d.column)).collect()
}

fn one(text: &str) -> Folder {
    Folder::new(&[("p.toml", text)])
}

fn train<'a>(resolved: &'a Resolved, name: &str) -> &'a Train {
    match resolved.stage(name) {
        Some(Stage::Train(train)) => train,
        other => panic!("{other:?} does not train"),
    }
}

#[test]
fn defaults_fill_what_a_stage_leaves_out_and_tables_replace_whole() {
    let resolved = one(PIPELINE).load(&[]).unwrap();
    let fit = train(&resolved, "fit");
    assert_eq!((fit.epochs, fit.batch_size), (3, 64));
    assert_eq!(fit.data.as_deref(), Some("d"));
    let own = PIPELINE.replace("batch_size = 64", "optimizer = { kind = \"adamw\", lr = 1 }");
    let resolved = one(&own).load(&[]).unwrap();
    let Optimizer::Adamw(adamw) = &train(&resolved, "fit").optimizer else { panic!() };
    assert_eq!((adamw.lr, adamw.betas), (1.0, [0.9, 0.999]));
}

#[test]
fn stages_keep_the_order_of_the_file_and_are_ordered_by_parent() {
    let resolved = one(PIPELINE).load(&[]).unwrap();
    let names: Vec<&str> = resolved.stages.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["test", "fit", "start"]);
    assert_eq!(resolved.order(), ["start", "fit", "test"]);
}

#[test]
fn set_changes_one_setting_as_if_the_file_said_so() {
    let file = one(PIPELINE);
    let set = |set: &[&str]| file.load(set).unwrap();
    assert_eq!(train(&set(&["stage.fit.epochs=7"]), "fit").epochs, 7);
    assert_eq!(train(&set(&["defaults.train.epochs=8"]), "fit").epochs, 8);
    assert_eq!(train(&set(&["stage.fit.train[1]=layer3"]), "fit").train.as_ref().unwrap()[1], "layer3");
    // A default that is changed in one stage stays what it was in the others.
    let Optimizer::Adamw(adamw) = train(&set(&["stage.fit.optimizer.lr = 0.5"]), "fit").optimizer.clone()
    else {
        panic!()
    };
    assert_eq!((adamw.lr, adamw.betas), (0.5, [0.8, 0.9]));
    let Schedule::Cosine(_) = train(&set(&["stage.fit.schedule.kind=cosine"]), "fit").schedule else {
        panic!()
    };
    assert_eq!(set(&["name=2026-11-22"]).name, "2026-11-22");
    assert_eq!(set(&["name=a", "name=\"b\""]).name, "b");
}

#[test]
fn set_is_checked_like_the_file_and_points_into_the_argument() {
    let file = one(PIPELINE);
    for (set, expected) in [
        ("stage.fit.epoch=7", "unknown-key --set:1:11"),
        ("stage.fit.epochs=seven", "wrong-type --set:1:18"),
        ("stage.fit.epochs=0", "out-of-range --set:1:18"),
        ("stage.fitt.epochs=7", "unknown-path --set:1:7"),
        ("stages.fit.epochs=7", "unknown-key --set:1:1"),
        ("stage.fit.train[2]=fc", "unknown-path --set:1:16"),
        ("stage.fit.epochs.x=1", "unknown-path --set:1:18"),
        ("stage.fit.epochs", "bad-set --set:1:1"),
        ("stage..epochs=1", "bad-set --set:1:7"),
        ("=1", "bad-set --set:1:1"),
        ("stage.fit.epochs=", "bad-set --set:1:17"),
        ("epochs=7", "unknown-path --set:1:1"),
        ("extends=x", "bad-set --set:1:1"),
        ("stage.fit.train=[\"fc\"", "syntax --set:1:22"),
        ("stage.fit.optimizer.lr=nan", "not-finite --set:1:24"),
        ("stage.test.from=fit", "missing-checkpoint --set:1:17"),
    ] {
        assert_eq!(file.errors(&[set]), [expected], "{set}");
    }
    for (set, expected) in [
        ("stage.fit.epochs 7", "write `stage.fit.epochs=7`"),
        ("stage.fit.epochs", "write `stage.fit.epochs=` followed by a value"),
        ("fit.epochs=7", "did you mean `stage.fit.epochs`?"),
        ("fit.batch_size=7", "did you mean `stage.fit.batch_size`?"),
        ("threads=7", "did you mean `run.threads`?"),
        ("stage.fit.epochs=seven", "write a whole number: `epochs = 3`"),
    ] {
        let report = file.load(&[set]).unwrap_err();
        assert_eq!(report.diagnostics[0].help.as_deref(), Some(expected), "{set}");
    }
    let env = |_: &str| None;
    let options = LoadOptions {
        set: vec![],
        device: Some("gpu".into()),
        threads: Some(0),
        only: vec![],
        inputs: false,
        env: &env,
    };
    let report = load(&file.0.path().join("p.toml"), &options);
    assert_eq!(errors(report), ["bad-value --device:1:1", "out-of-range --threads:1:1"]);
}

#[test]
fn errors_point_into_the_file_that_owns_the_setting() {
    let base = PIPELINE.replace("epochs = 3", "epochs = 0").replace("name = \"t\"\n", "");
    let over =
        "extends = \"shared/base.toml\"\nname = \"over\"\n\n[stage.fit]\nbatch_size = 0\nkind = \"train\"\n";
    let folder = Folder::new(&[("p.toml", over), ("shared/base.toml", &base)]);
    assert_eq!(folder.errors(&[]), ["out-of-range p.toml:5:14", "out-of-range base.toml:12:10"]);
}

#[test]
fn extends_merges_tables_and_rebases_paths() {
    let over = "extends = \"shared/base.toml\"\n[data.d]\nimage_size = 96\n[stage.fit]\ntrain = [\"fc\"]\n";
    let folder = Folder::new(&[("p.toml", over), ("shared/base.toml", PIPELINE)]);
    let resolved = folder.load(&[]).unwrap();
    let Data::ImageFolder(data) = &resolved.data["d"] else { panic!() };
    assert_eq!((data.image_size, data.root.as_str()), (96, "shared/images"));
    assert_eq!(train(&resolved, "fit").train, Some(vec!["fc".to_owned()]));
    let Some(Stage::LoadWeights(start)) = resolved.stage("start") else { panic!() };
    let file = start.file.as_deref().unwrap();
    assert_eq!(file, "shared/${WEIGHTS}/resnet18.safetensors");
    assert_eq!(resolved.path(file).unwrap(), folder.0.path().join("shared/w/resnet18.safetensors"));
    let twice = Folder::new(&[("p.toml", over), ("shared/base.toml", "extends = \"x.toml\"\n")]);
    assert!(twice.errors(&[]).contains(&"nested-extends base.toml:1:11".to_owned()));
    let broken = Folder::new(&[("p.toml", over), ("shared/base.toml", "a = \n")]);
    assert_eq!(broken.errors(&[]), ["syntax base.toml:1:5"]);
}

#[test]
fn inputs_are_looked_for_only_when_asked() {
    let folder = one(PIPELINE);
    assert_eq!(folder.errors(&[]), Vec::<String>::new());
    let expected = ["missing-folder p.toml:6:8", "missing-file p.toml:29:8"];
    assert_eq!(errors(folder.load_with(&[], true)), expected);
    let there = Folder::new(&[("p.toml", PIPELINE), ("images/a/1.png", ""), ("w/resnet18.safetensors", "")]);
    assert_eq!(errors(there.load_with(&[], true)), Vec::<String>::new());
    let unset = PIPELINE.replace("WEIGHTS", "NOWHERE");
    assert_eq!(one(&unset).errors(&[]), Vec::<String>::new());
    assert!(errors(one(&unset).load_with(&[], true)).contains(&"unset-variable p.toml:29:8".to_owned()));
    let file = one(&unset).load(&[]).unwrap();
    assert!(file.path("${NOWHERE}/x").unwrap_err().message.contains("NOWHERE"));
}

#[test]
fn the_resolved_text_says_the_same_and_says_it_all() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/valid");
    for entry in fs::read_dir(corpus).unwrap() {
        let env = |_: &str| None;
        let options =
            LoadOptions { set: vec![], device: None, threads: None, only: vec![], inputs: false, env: &env };
        let first = load(&entry.unwrap().path(), &options).unwrap();
        let text = first.to_toml();
        let frozen = format!("{text}\n{}", first.run_to_toml());
        let whole = one(&frozen).load(&[]).unwrap_or_else(|report| panic!("{report}\n{frozen}"));
        assert_eq!((whole.run, whole.root.get("run").is_some()), (first.run.clone(), true));
        let second = one(&text).load(&[]).unwrap_or_else(|report| panic!("{report}\n{text}"));
        assert_eq!((&first.name, first.seed), (&second.name, second.seed));
        assert_eq!((&first.data, &first.model), (&second.data, &second.model));
        assert_eq!(first.stages, second.stages);
        assert_eq!(text, second.to_toml());
    }
}

/// Of two settings that exclude each other, the resolved text has one with its default.
#[test]
fn the_resolved_text_of_a_given_shorter_side_is_valid() {
    let text = PIPELINE.replacen("format = \"image_folder\"", "format = \"image_folder\"\nresize = 300", 1);
    assert!(text.contains("resize = 300"));
    let resolved = one(&text).load(&[]).unwrap().to_toml();
    assert_eq!(one(&resolved).load(&[]).unwrap().to_toml(), resolved);
}

#[test]
fn later_errors_find_their_place() {
    let resolved = one(PIPELINE).load(&["stage.fit.optimizer.lr=0.5"]).unwrap();
    let place = |path: &str| {
        let diagnostic = resolved.diagnose(path, "unmatched", "nothing matches", None);
        (diagnostic.file.rsplit('/').next().unwrap().to_owned(), diagnostic.line, diagnostic.column)
    };
    assert_eq!(place("stage.fit.train[1]"), ("p.toml".into(), 24, 19));
    assert_eq!(place("stage.fit.epochs"), ("p.toml".into(), 13, 10));
    assert_eq!(place("stage.fit.optimizer.lr"), ("--set".into(), 1, 24));
    // What the file leaves out is reported at the table that would hold it.
    assert_eq!(place("stage.fit.batch_norm"), ("p.toml".into(), 21, 8));
    assert_eq!(place("stage.fit"), ("p.toml".into(), 21, 8));
}

#[test]
fn places_count_characters_and_survive_odd_line_ends() {
    let odd = PIPELINE.replace("name = \"t\"", "name = 't' # ü").replace('\n', "\r\n");
    let odd = odd.replace("{ validation = 0.2,", "{ group = 'Ünï(x)', validation = 2,");
    let bom = format!("\u{feff}{odd}");
    for text in [&odd, &bom] {
        assert_eq!(one(text).errors(&[]), ["out-of-range p.toml:7:42"], "{text}");
    }
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_an_error_not_a_panic() {
    let folder = one(PIPELINE);
    let env = |_: &str| None;
    let options =
        LoadOptions { set: vec![], device: None, threads: None, only: vec![], inputs: true, env: &env };
    let report = load(&folder.0.path().join("pp.toml"), &options).unwrap_err();
    assert_eq!(report.diagnostics[0].help.as_deref(), Some("did you mean `p.toml`?"));
    assert!(!report.render(false).is_empty());
    fs::write(folder.0.path().join("p.toml"), b"name = '\xff'").unwrap();
    assert_eq!(folder.errors(&[]), ["unreadable p.toml:1:1"]);
}
