//! The pipelines in `pipelines/`: each runs unchanged with images and published weights.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::{Project, document};
use defrost::model::Model;
use defrost::pipeline;
use serde_json::{Map, Value, json};

/// The variables that the pipelines use: image folders, and weight files by architecture.
const IMAGES: [&str; 6] = ["FACES", "STRANGERS", "PHOTOS", "TURTLES", "DOMAIN", "TASK"];
const WEIGHTS: [(&str, &str); 3] =
    [("RESNET18", "resnet18"), ("RESNET50", "resnet50"), ("EFFICIENTNET_B0", "efficientnet_b0")];

/// This one uses the weights of another example's stage.
const ASKING: &str = "transfer";

#[test]
fn every_pipeline_of_the_folder_plans_all_its_stages() {
    let world = World::new();
    let mut runs = BTreeMap::new();
    for entry in fs::read_dir(pipelines()).expect("the folder is there").flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        if let Some(name) = name.strip_suffix(".toml").filter(|name| *name != ASKING) {
            runs.insert(name.to_owned(), world.plan(name));
        }
    }
    // It needs the weights of a stage that has not run, and the error names it.
    let refused =
        String::from_utf8(world.command(ASKING).output().expect("defrost starts").stderr).expect("UTF-8");
    let command =
        format!("pretrain-transfer.toml --until domain --runs-dir {}", world.0.path().join("runs").display());
    assert!(refused.contains(&command), "{refused}");
    for (name, runs) in &runs {
        for stage in runs.iter().flat_map(|run| run["stages"].as_array().expect("a list of stages")) {
            assert_eq!(stage["status"], "miss", "{name}: {stage}");
        }
    }
    let count = |name: &str| runs[name].len();
    assert_eq!([count("turtle-compare"), count("turtle-progressive"), count("face-arcface")], [15, 1, 1]);
}

/// The quickstart's run id changes only if its results can change.
#[test]
fn the_quickstart_is_the_run_that_the_readme_shows() {
    let runs = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_defrost"));
    command.arg("plan").arg(pipelines().join("quickstart.toml"));
    command.args(["--json", "--no-estimates", "--runs-dir"]).arg(runs.path());
    let plan = document(&command.output().expect("defrost starts"));
    let folder = Path::new(plan["run_dir"].as_str().expect("a path"));
    let id = folder.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    assert_eq!(id, "9a074fc7");
    let readme = fs::read_to_string(pipelines().join("../README.md")).expect("it is there");
    assert!(readme.contains(&format!("quickstart in runs/quickstart/{id}")));
}

fn pipelines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")
}

/// Images of the classes that a pipeline lists, and weights with the correct names and shapes, all zero.
struct World(Project);

impl World {
    fn new() -> Self {
        let world = Self(Project::new());
        let folder = world.0.path().join("weights");
        fs::create_dir(&folder).expect("the folder is ours");
        for arch in ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "efficientnet_b2"] {
            zeros(&folder.join(arch).with_extension("pth"), arch);
        }
        world
    }

    /// The runs that `plan` shows.
    fn plan(&self, name: &str) -> Vec<Value> {
        let document = document(&self.command(name).output().expect("defrost starts"));
        document.get("runs").and_then(Value::as_array).cloned().unwrap_or_else(|| vec![document.clone()])
    }

    fn command(&self, name: &str) -> Command {
        let file = pipelines().join(name).with_extension("toml");
        let images = self.images(&fs::read_to_string(&file).expect("the file is there"), name);
        let weights = self.0.path().join("weights");
        let mut command = Command::new(env!("CARGO_BIN_EXE_defrost"));
        command
            .args(["plan", "--json", "--no-estimates", "--runs-dir"])
            .arg(self.0.path().join("runs"))
            .arg(file);
        command.env("WEIGHTS", &weights).envs(IMAGES.map(|variable| (variable, &images)));
        command.envs(WEIGHTS.map(|(variable, arch)| (variable, weights.join(arch).with_extension("pth"))));
        command
    }

    /// A folder with the pipeline's classes; three classes if it lists none.
    fn images(&self, text: &str, name: &str) -> PathBuf {
        let document: toml::Table = text.parse().expect("TOML");
        let data =
            document.get("data").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
        let named = data.filter_map(|data| data.get("classes")?.as_array()).flatten();
        let mut classes: Vec<&str> = named.filter_map(toml::Value::as_str).collect();
        if classes.is_empty() {
            classes = vec!["leatherback", "loggerhead", "ridley"];
        }
        for class in classes {
            for number in 0..60 {
                self.0.image(&format!("{name}/{class}/{number}.png"), [90, 120, 150], number);
            }
        }
        self.0.path().join(name)
    }
}

/// Writes weights as torchvision publishes them, by name and shape. The values are a hole in the file.
pub fn zeros(path: &Path, arch: &str) {
    let spec: pipeline::Model = serde_json::from_value(json!({ "arch": arch })).expect("an architecture");
    let (mut header, mut end) = (Map::new(), 0);
    for tensor in &Model::build(&spec, 1000).description.tensors {
        let begin = end;
        end += 4 * tensor.elements() as u64;
        let entry = json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [begin, end] });
        header.insert(tensor.name.clone(), entry);
    }
    let header = Value::from(header).to_string();
    let mut file = File::create(path).expect("the folder is ours");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("the file is ours");
    file.write_all(header.as_bytes()).expect("the file is ours");
    file.set_len(8 + header.len() as u64 + end).expect("the file is ours");
}
