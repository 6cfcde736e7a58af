//! The recipes of every stage of the committed pipelines. A recipe that changes without a reason invalidates
//! cached results.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use defrost::code_path::CodePath;
use defrost::data::{Dataset, Label, LabelKind, Sample, Split};
use defrost::digest::Digest;
use defrost::pipeline::{self, LoadOptions};
use defrost::plan::{DiskAccess, StageDraft, resolve};
use defrost::stage::{Digester, LocatedWeights, PlannedStage, ResolvedStage};
use defrost::task::TaskKind;
use serde_json::Value;

use super::additions::sources;
use super::golden::declared;

const UPDATE: &str = "UPDATE_GOLDEN";
const HEADER: &str = "# What the stages of pipelines/ and tests/corpus/valid are known by, on images and weights that stand in for\n\
                      # theirs, and the code paths in each recipe: tests/engine/recipes.rs.\n\n";

/// The records of recipes, and the types of settings in them.
const RECIPE_SOURCES: [&str; 5] =
    ["stage/recipe", "pipeline/augment.rs", "pipeline/loss", "pipeline/model.rs", "pipeline/schedule"];

/// By stage: the digest of its document without the code paths, and the code paths with their versions.
type Recipes = BTreeMap<String, [String; 2]>;

/// The pipelines of the repository that are valid.
fn pipelines() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["pipelines", "tests/corpus/valid"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml")));
    }
    files.sort();
    files
}

/// The stages of a pipeline, resolved without disk access; empty if only the file's shape is valid.
fn drafts(file: &Path) -> Option<Vec<StageDraft>> {
    let environment = |_: &str| Some("/elsewhere".to_owned());
    let options = LoadOptions {
        set: vec![],
        device: None,
        threads: None,
        only: vec![],
        inputs: false,
        env: &environment,
    };
    let pipeline = pipeline::load(file, &options).unwrap_or_else(|report| panic!("{report:?}"));
    resolve(&pipeline, DiskAccess::Offline).ok()
}

/// Two images of each class in each split; the test split lacks the last of several classes.
fn images(classes: &[String], multi_label: bool) -> Dataset {
    let mut samples = Vec::new();
    for split in [Split::Train, Split::Validation, Split::Test] {
        let absent = usize::from(split == Split::Test && classes.len() > 2);
        for class in 0..(classes.len() - absent) as u32 {
            for number in 0..2 {
                let path = format!("{}/{class}/{number}.png", split.name());
                let digest = Some(Digest::of(path.as_bytes()));
                let label = if multi_label { Label::Labels(vec![class]) } else { Label::Class(class) };
                samples.push(Sample { path, label, split, digest });
            }
        }
    }
    let label_kind = if multi_label { LabelKind::Labels } else { LabelKind::Class };
    Dataset { root: PathBuf::new(), classes: classes.to_vec(), label_kind, samples, ..Dataset::default() }
}

/// Made-up images and weights in place of those of a stage.
struct StandIns(Dataset);

impl Digester for StandIns {
    fn file(&mut self, _: &Path) -> defrost::Result<Digest> {
        Ok(Digest::of(b"weights"))
    }

    fn images(&mut self, _: &Arc<Dataset>) -> defrost::Result<Arc<Dataset>> {
        Ok(Arc::new(std::mem::take(&mut self.0)))
    }
}

fn with_inputs(work: ResolvedStage) -> PlannedStage {
    with_images(work, |_| ())
}

fn with_images(mut work: ResolvedStage, change: impl FnOnce(&mut Dataset)) -> PlannedStage {
    let mut images = images(&work.model_spec().classes, work.model_spec().task == TaskKind::MultiLabel);
    change(&mut images);
    match &mut work {
        ResolvedStage::LoadWeights(_, weights, found) => {
            if *weights == LocatedWeights::Unknown {
                *weights = LocatedWeights::File { path: PathBuf::new(), digest: None };
            }
            if let Some(found) = found {
                *found = Some(Arc::default());
            }
        }
        ResolvedStage::Train(_, found) | ResolvedStage::Evaluate(_, found) => *found = Some(Arc::default()),
        _ => {}
    }
    work.digested(&mut StandIns(images)).unwrap()
}

fn recipes(drafts: Vec<StageDraft>) -> Recipes {
    let recipe = |draft: StageDraft| {
        let mut document = with_inputs(draft.work).document().unwrap();
        let engine = document.as_object_mut().and_then(|fields| fields.remove("engine")).unwrap();
        let paths = engine.as_object().unwrap().iter().map(|(name, version)| format!("{name} {version}"));
        let paths = paths.collect::<Vec<_>>().join(", ");
        (draft.name, [Digest::of_json(&document).to_string(), paths])
    };
    drafts.into_iter().map(recipe).collect()
}

#[test]
fn the_recipes_of_committed_pipelines_stay() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("tests/golden/recipes.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let golden: BTreeMap<String, Recipes> = toml::from_str(&text).unwrap();
    let mut found = BTreeMap::new();
    for file in pipelines() {
        let name = file.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        found.extend(drafts(&file).map(|drafts| (name, recipes(drafts))));
    }
    if std::env::var(UPDATE).is_ok() {
        std::fs::write(&path, format!("{HEADER}{}", toml::to_string(&found).unwrap())).unwrap();
        return;
    }
    let mut moved = Vec::new();
    for (file, stages) in &found {
        for (stage, recipe) in stages {
            let known = golden.get(file).and_then(|stages| stages.get(stage));
            if known != Some(recipe) {
                moved.push(format!("{file}, stage `{stage}`:\n  was {known:?}\n  is  {recipe:?}"));
            }
        }
    }
    assert!(
        moved.is_empty(),
        "recipes moved, and with them the keys of what was computed; where that is meant, run \
         `{UPDATE}=1 cargo test --test engine recipes` and read the change\n{}",
        moved.join("\n")
    );
    assert_eq!(found.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>());
}

/// A code path in no recipe could change without changing any key.
#[test]
fn every_code_path_is_in_the_recipe_of_some_stage() {
    let mut taken = BTreeSet::new();
    for draft in pipelines().iter().flat_map(|file| drafts(file).unwrap_or_default()) {
        let work = with_inputs(draft.work);
        let paths = work.code_paths();
        let versions: BTreeMap<&str, u32> = paths.iter().map(|path| (path.name(), path.version())).collect();
        let engine = work.document().unwrap()["engine"].take();
        assert_eq!(engine, serde_json::json!(versions), "`{}` has its code paths in its recipe", draft.name);
        taken.extend(paths);
    }
    // None of these pipelines has a file name that a spreadsheet would execute.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart.toml");
    for draft in drafts(&file).unwrap() {
        let named = with_images(draft.work, |images| images.samples[0].path = "=1.png".into());
        taken.extend(named.code_paths());
    }
    // Nor one of a format that is less usual.
    for extension in ["webp", "bmp", "tif", "gif", "ppm"] {
        for draft in drafts(&file).unwrap() {
            let named = |images: &mut Dataset| images.samples[0].path = format!("1.{extension}");
            taken.extend(with_images(draft.work, named).code_paths());
        }
    }
    let declared: BTreeSet<CodePath> = declared().into_values().collect();
    assert_eq!(taken, declared);
}

/// The list above comes from the modules' macro: every code path must be declared with it, and none may be
/// looked up by name.
#[test]
fn code_paths_are_declared_in_one_way() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let files = walkdir::WalkDir::new(&crates).into_iter().map(|entry| entry.unwrap().into_path());
    let mut rooms = BTreeSet::new();
    for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let text = std::fs::read_to_string(&file).unwrap();
        // crates/CRATE/src/ROOM/…
        let below = file.strip_prefix(&crates).unwrap();
        let Some(room) = below.iter().nth(2) else { continue };
        let room = room.to_string_lossy().into_owned();
        if room != "code_path.rs" {
            assert!(!text.contains("CodePath::new"), "{} declares a path by itself", file.display());
        }
        if text.contains("code_paths! {") {
            rooms.insert(room);
        }
    }
    let listed = ["data", "features", "metrics", "model", "ops", "report", "train", "weights"];
    assert_eq!(rooms, listed.map(str::to_owned).into(), "a room is missing in `golden::declared`");
}

/// The fields that `skip_serializing_if` keeps out of a document at their default, by name.
fn left_out_fields(source: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut lines = source.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line.starts_with("#[serde(") && line.contains("skip_serializing_if") {
            let field = lines.find(|line| !line.starts_with("#[") && !line.starts_with("//")).unwrap();
            let field = field.trim_start_matches("pub ").trim_start_matches("pub(super) ");
            fields.push(field.split(':').next().unwrap().to_owned());
        }
    }
    fields
}

fn collect_keys(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                keys.insert(key.clone());
                collect_keys(value, keys);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_keys(value, keys)),
        _ => {}
    }
}

/// A field that no pinned document has could change its name or form without any pin moving.
#[test]
fn every_field_that_recipes_leave_out_at_its_default_is_in_some_pinned_recipe() {
    let mut keys = BTreeSet::new();
    for draft in pipelines().iter().flat_map(|file| drafts(file).unwrap_or_default()) {
        collect_keys(&with_inputs(draft.work).document().unwrap(), &mut keys);
    }
    let mut fields = 0;
    for (file, code) in sources() {
        if !RECIPE_SOURCES.iter().any(|path| file.starts_with(path)) {
            continue;
        }
        // No pinned document describes features. Tests of stages have sets with these fields.
        let of_features = ["activations", "adapter_scale", "picture_sizes"];
        let fields_here = left_out_fields(&code);
        for field in fields_here.into_iter().filter(|field| !of_features.contains(&field.as_str())) {
            assert!(keys.contains(&field), "`{field}` of src/{file} is in no pinned recipe");
            fields += 1;
        }
    }
    assert!(fields > 25, "{fields} fields");
}
