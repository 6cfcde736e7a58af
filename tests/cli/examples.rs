//! The pipelines in `pipelines/`: each runs unchanged with images and published weights.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::{Project, document};
use defrost::model::{Description, Model};
use defrost::pipeline;
use serde_json::{Map, Value, json};

/// The variables that the pipelines use: image folders, those with boxes, and weight files by architecture.
const IMAGES: [&str; 6] = ["FACES", "STRANGERS", "PHOTOS", "TURTLES", "DOMAIN", "TASK"];
const BOXED_IMAGES: [&str; 5] = ["CROWNS", "NUCLEI", "STREETS", "THINGS", "SHADOW_FREE"];
const WEIGHTS: [(&str, &str); 4] = [
    ("RESNET18", "resnet18"),
    ("RESNET50", "resnet50"),
    ("EFFICIENTNET_B0", "efficientnet_b0"),
    ("VIT_S_16", "vit_s_16"),
];

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
    assert_eq!(id, "c0af9077");
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
        for arch in ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "efficientnet_b2", "vit_s_16"]
        {
            zeros(&folder.join(arch).with_extension("pth"), arch);
        }
        detectors(&folder);
        world.boxes();
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
        command.envs(BOXED_IMAGES.map(|variable| (variable, self.0.path().join("boxes"))));
        command.env("YOLO11N", weights.join("yolo11n-fused.safetensors"));
        command.env("YOLO11N_PT", weights.join("yolo11n.safetensors"));
        command.env("YOLO11", weights.join("yolo11s.safetensors"));
        command
    }

    /// Images with boxes, as YOLO's and as Pascal VOC's files.
    fn boxes(&self) {
        let root = self.0.path().join("boxes");
        let write = |file: String, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder is ours");
            fs::write(path, text).expect("the folder is ours");
        };
        write("data.yaml".to_owned(), "train: images/train\nval: images/val\nnames: [car, tram]\n");
        for (split, seed) in [("train", 0), ("val", 100), ("test", 200)] {
            for number in 0..4 {
                let name = format!("{split}{number}");
                self.0.image(&format!("boxes/images/{split}/{name}.png"), [90, 120, 150], seed + number);
                self.0.image(&format!("boxes/JPEGImages/{name}.png"), [90, 120, 150], seed + number);
                write(format!("labels/{split}/{name}.txt"), "0 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.5 0.5\n");
                write(format!("Annotations/{name}.xml"), VOC);
            }
            let names: String = (0..4).map(|number| format!("{split}{number}\n")).collect();
            write(format!("ImageSets/Main/{split}.txt"), &names);
        }
    }

    /// A folder with the pipeline's classes; three classes if it lists none.
    fn images(&self, text: &str, name: &str) -> PathBuf {
        let document: toml::Table = text.parse().expect("TOML");
        let data =
            document.get("data").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
        let named = data.filter_map(|data| data.get("classes")?.as_array()).flatten();
        let mut classes: Vec<&str> = named.filter_map(toml::Value::as_str).collect();
        if classes.is_empty() {
            classes = vec!["ash", "ivy", "jet", "leatherback", "loggerhead", "moss", "ridley", "umber"];
        }
        for class in classes {
            for number in 0..60 {
                self.0.image(&format!("{name}/{class}/{number}.png"), [90, 120, 150], number);
            }
        }
        self.0.path().join(name)
    }
}

/// One object of an image of 24 by 24 pixels.
const VOC: &str = "<annotation><size><width>24</width><height>24</height></size><object><name>crown</name>\
    <bndbox><xmin>6</xmin><ymin>6</ymin><xmax>18</xmax><ymax>18</ymax></bndbox></object></annotation>";

/// Writes weights as torchvision publishes them, by name and shape.
pub fn zeros(path: &Path, arch: &str) {
    let tensors = tensors(&described(json!({ "arch": arch }), 1000));
    write_zeros(path, tensors, None);
}

/// A detector of COCO's number of classes, as published and as exported: with batch normalisation merged into convolutions.
pub fn detectors(folder: &Path) {
    let detector =
        |arch: &str| tensors(&described(json!({ "arch": arch, "head": { "kind": "detect" } }), 80));
    let tensors = detector("yolo11n");
    let classes = (0..80).map(|class| match class {
        2 => "car".to_owned(),
        other => format!("class {other}"),
    });
    let classes = json!(classes.collect::<Vec<_>>()).to_string();
    let fused = tensors.iter().filter_map(|(name, shape)| match name.split_once(".bn.") {
        Some((layer, "bias")) => Some((format!("{layer}.conv.bias"), shape.clone())),
        Some(_) => None,
        None => Some((name.clone(), shape.clone())),
    });
    write_zeros(&folder.join("yolo11n-fused.safetensors"), fused.collect(), Some(&classes));
    write_zeros(&folder.join("yolo11n.safetensors"), tensors, Some(&classes));
    write_zeros(&folder.join("yolo11s.safetensors"), detector("yolo11s"), Some(&classes));
}

fn described(model: Value, classes: usize) -> Description {
    let spec: pipeline::Model = serde_json::from_value(model).expect("an architecture");
    Model::build(&spec, classes).description
}

fn tensors(description: &Description) -> Vec<(String, Vec<usize>)> {
    description.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect()
}

/// The values are a hole in the file.
fn write_zeros(path: &Path, tensors: Vec<(String, Vec<usize>)>, classes: Option<&str>) {
    let (mut header, mut end) = (Map::new(), 0);
    if let Some(classes) = classes {
        header.insert("__metadata__".to_owned(), json!({ "defrost.classes": classes }));
    }
    for (name, shape) in tensors {
        let begin = end;
        end += 4 * shape.iter().product::<usize>() as u64;
        header.insert(name, json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] }));
    }
    let header = Value::from(header).to_string();
    let mut file = File::create(path).expect("the folder is ours");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("the file is ours");
    file.write_all(header.as_bytes()).expect("the file is ours");
    file.set_len(8 + header.len() as u64 + end).expect("the file is ours");
}
