//! A small test project: a folder with images, a pipeline and `runs/`, for the real binary.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use defrost::digest::Digest;
use image::RgbImage;
use serde_json::Value;

/// The general timeout of a program.
const PATIENCE: Duration = Duration::from_secs(300);

/// Three classes of coloured noise: random weights, a trained head, fine-tuning, and a test. It uses dropout,
/// augmentation, momentum and batch normalization in training: all state that must survive a kill.
const PIPELINE: &str = r#"name = "colours"
seed = 7

[data.photos]
format     = "image_folder"
root       = "photos"
image_size = 32
resize     = 32
split      = { validation = 0.25, test = 0.25, seed = 0 }

[model.net]
arch = "efficientnet_lite0"
head = { kind = "linear", dropout = 0.2 }

[defaults.train]
batch_size = 5

[stage.start]
kind = "init_weights"

[stage.frozen]
kind      = "train"
from      = "start"
train     = ["@head"]
epochs    = 3
optimizer = { kind = "adamw", lr = 1e-2 }

[stage.finetune]
kind       = "train"
from       = "frozen@best"
train_last = 2
epochs     = 2
augment    = { horizontal_flip = 0.5, rotation = 10 }
optimizer  = { kind = "sgd", lr = 1e-3, momentum = 0.9 }
schedule   = { kind = "cosine" }

[stage.test]
kind = "evaluate"
from = "finetune@best"
"#;

pub const STAGES: [&str; 4] = ["start", "frozen", "finetune", "test"];
const CLASSES: [(&str, [u8; 3]); 3] =
    [("blue", [30, 40, 200]), ("green", [40, 190, 50]), ("red", [210, 40, 30])];
const IMAGES_PER_CLASS: u32 = 12;

/// The program that cargo built, or the one named by `DEFROST` if the tests run on another machine.
fn program() -> OsString {
    std::env::var_os("DEFROST").unwrap_or_else(|| env!("CARGO_BIN_EXE_defrost").into())
}

/// Removed on drop.
pub struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// Nothing has been computed.
    pub fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        std::fs::create_dir(project.path().join("runs")).expect("the folder is ours");
        std::fs::write(project.file(), PIPELINE).expect("the folder is ours");
        for (class, colour) in CLASSES {
            for number in 0..IMAGES_PER_CLASS {
                project.image(&format!("photos/{class}/{number:02}.png"), colour, number);
            }
        }
        project
    }

    /// The pipeline has run once.
    pub fn finished() -> Self {
        let project = Self::new();
        project.run(&[]);
        project
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self) -> PathBuf {
        self.path().join("colours.toml")
    }

    /// Writes an image of coloured noise; equal arguments give equal bytes.
    pub fn image(&self, path: &str, colour: [u8; 3], seed: u32) {
        let mut state = seed;
        let image = RgbImage::from_fn(24, 24, |_, _| {
            image::Rgb(colour.map(|channel| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                channel.saturating_add((state >> 26) as u8)
            }))
        });
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder is ours");
        image.save(&path).expect("PNG can be written");
    }

    /// Replaces a text that occurs once in the pipeline.
    pub fn edit(&self, old: &str, new: &str) {
        let text = self.text();
        assert_eq!(text.matches(old).count(), 1, "`{old}` stands once in the pipeline");
        self.write(&text.replace(old, new));
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(self.file()).expect("the pipeline is there")
    }

    pub fn write(&self, pipeline: &str) {
        std::fs::write(self.file(), pipeline).expect("the folder is ours");
    }

    /// A command in the project's folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.current_dir(self.path()).args(arguments).stdin(Stdio::null());
        command
    }

    #[track_caller]
    pub fn defrost(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        ended(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("defrost starts"))
    }

    /// Starts `run` without waiting.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(&["run", "colours.toml", "--json"]);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("defrost starts")
    }

    /// Runs the pipeline to its end, and returns the JSON document.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(&ended(self.start(arguments)))
    }

    /// Runs the pipeline, which must end with this code, and returns its output on stderr.
    #[track_caller]
    pub fn run_fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = ended(self.start(arguments));
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    }

    /// Starts the run again and again, and kills it after the end of these epochs of a stage that has `of` epochs. Returns
    /// the number of kills: on a loaded machine a run may finish before.
    pub fn kill_after_epochs(&self, epochs: &[u32], of: u32, arguments: &[&str]) -> usize {
        let events = self.plan(arguments)["run_dir"].as_str().expect("a path").to_owned() + "/events.jsonl";
        let written = || std::fs::read_to_string(&events).unwrap_or_default();
        let mut killed = 0;
        for epoch in epochs {
            let mut child = self.start(arguments);
            let mark = format!("\"epoch\":{epoch},\"epochs\":{of},\"event\":\"epoch_finished\"");
            let started = Instant::now();
            while !written().contains(&mark)
                && started.elapsed() < PATIENCE
                && child.try_wait().expect("a child").is_none()
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            if child.try_wait().expect("a child").is_none() {
                killed += 1;
                child.kill().expect("it runs");
            }
            child.wait().expect("a child");
        }
        killed
    }

    /// The status of each stage in `plan`: `hit`, `miss` or `resume`. It measures nothing.
    #[track_caller]
    pub fn plan(&self, arguments: &[&str]) -> Value {
        let arguments = [&["plan", "colours.toml", "--json", "--no-estimates"], arguments].concat();
        document(&self.defrost(&arguments))
    }

    /// The stages that `plan` shows as to be computed.
    #[track_caller]
    pub fn misses(&self, arguments: &[&str]) -> Vec<String> {
        let plan = self.plan(arguments);
        let stages = plan["stages"].as_array().expect("a list of stages");
        let missing = stages.iter().filter(|stage| stage["status"] != "hit");
        missing.map(|stage| stage["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// The folder of a finished stage in the store.
    pub fn stored(&self, key: &str) -> PathBuf {
        let folder = self.path().join("runs/.store").join(key);
        let mut variants = std::fs::read_dir(folder).expect("the store has it").flatten();
        variants.next().expect("one variant").path()
    }
}

/// Waits for the end of a run. A run that hangs is killed, and fails its test with its output.
#[track_caller]
pub fn ended(child: Child) -> Output {
    let id = child.id().to_string();
    let (ended, end) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let still = end.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
        still && Command::new("kill").args(["-s", "KILL", &id]).status().is_ok()
    });
    let output = child.wait_with_output().expect("defrost ends");
    drop(ended);
    let still = watch.join().expect("it only waits");
    assert!(!still, "nothing happened for {PATIENCE:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[track_caller]
pub fn document(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON document on standard output")
}

/// The output of a finished run with `--json`.
pub struct Run {
    pub directory: PathBuf,
    pub document: Value,
}

impl Run {
    #[track_caller]
    pub fn of(output: &Output) -> Self {
        let document = document(output);
        Self { directory: document["run_dir"].as_str().expect("a path").into(), document }
    }

    /// By stage: `ran`, `cached` or `resumed`.
    pub fn statuses(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let stages = self.document["stages"].as_array().expect("a list of stages");
        stages.iter().map(|stage| (text(&stage["name"]), text(&stage["status"]))).collect()
    }

    /// The stages of a status.
    pub fn those(&self, status: &str) -> Vec<String> {
        self.statuses().into_iter().filter(|(_, found)| found == status).map(|(name, _)| name).collect()
    }

    pub fn metrics(&self, stage: &str) -> &Value {
        let stages = self.document["stages"].as_array().expect("a list of stages");
        &stages.iter().find(|found| found["name"] == stage).expect("the stage has run")["metrics"]
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).expect("the run directory has it")
    }

    /// Every deterministic file with its digest, from the manifest.
    pub fn manifest(&self) -> String {
        self.read("manifest.json")
    }

    pub fn files(&self) -> BTreeMap<String, Digest> {
        let manifest: Value = serde_json::from_str(&self.manifest()).expect("JSON");
        serde_json::from_value(manifest["files"].clone()).expect("a digest for each file")
    }

    pub fn state(&self) -> String {
        self.read("state").trim().to_owned()
    }

    pub fn key(&self, stage: &str) -> String {
        let plan: Value = serde_json::from_str(&self.read("plan.json")).expect("JSON");
        let stages = plan["stages"].as_array().expect("a list of stages");
        let found = stages.iter().find(|found| found["name"] == stage).expect("the plan has the stage");
        found["key"].as_str().expect("its key is known").to_owned()
    }
}

/// Runs that are killed after the ends of these epochs, of a stage that has `of`, and then finish have this manifest.
/// One of the runs has `kills`: on a loaded machine one may finish before.
#[track_caller]
pub fn killed_runs_end_in(
    manifest: &str,
    project: impl Fn() -> Project,
    (epochs, of): (&[u32], u32),
    kills: usize,
    arguments: &[&str],
) {
    let killed = || {
        let project = project();
        let killed = project.kill_after_epochs(epochs, of, arguments);
        assert_eq!(project.run(arguments).manifest(), manifest);
        killed
    };
    assert!((0..20).any(|_| killed() >= kills), "a run is killed in time");
}
