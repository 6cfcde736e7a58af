//! Synthetic runs: stages of a few bytes, published through the store into run directories like real ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, SystemTime};

use assert_cmd::Command;
use defrost::digest::Digest;
use defrost::run::{
    Event, EventLog, Interrupt, Observer, RunDirectory, RunRecord, RunState, StageOutcome, StageRecord,
};
use defrost::store::{AttemptRequest, AttemptStart, Store};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// A `runs` folder, removed on drop.
pub struct Runs {
    folder: tempfile::TempDir,
}

/// The distinguishing content of a synthetic run.
#[derive(Clone)]
pub struct Turtles {
    pub lr: f64,
    pub photos: &'static str,
    pub accuracy: f64,
    /// The time of the run, in seconds.
    pub at: u64,
}

impl Default for Turtles {
    fn default() -> Self {
        Self { lr: 1e-4, photos: "photos", accuracy: 0.9, at: 1_795_312_768 }
    }
}

/// A safetensors file of the tensors, f32.
pub fn weights(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let bytes: Vec<(&str, Vec<u8>, usize)> = tensors
        .iter()
        .map(|(name, values)| (*name, values.iter().flat_map(|v| v.to_le_bytes()).collect(), values.len()))
        .collect();
    let views = bytes.iter().map(|(name, bytes, length)| {
        (*name, TensorView::new(Dtype::F32, vec![*length], bytes).expect("the shape fits the bytes"))
    });
    safetensors::serialize(views, None).expect("tensors serialize")
}

impl Runs {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn store(&self) -> Store {
        Store::open(self.path())
    }

    /// Runs defrost on this folder.
    pub fn defrost(&self, args: &[&str]) -> Output {
        let mut command = Command::cargo_bin("defrost").expect("the binary is built");
        command.args(args).arg("--runs-dir").arg(self.path());
        command.output().expect("defrost starts")
    }

    /// The output of a command on both streams, without the folder's name.
    pub fn say(&self, args: &[&str]) -> String {
        let output = self.defrost(args);
        let text =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8")).concat();
        text.replace(&*self.path().to_string_lossy(), "[runs]")
    }

    /// The output of a command with `--json`.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.defrost(&[args, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).expect("one JSON document on standard output")
    }

    /// A complete run: weights loaded, fine-tuned for three epochs, tested.
    pub fn complete(&self, turtles: &Turtles) -> RunDirectory {
        self.run(turtles, RunState::Complete, 3)
    }

    /// A run killed in the second stage.
    pub fn interrupted(&self, turtles: &Turtles) -> RunDirectory {
        self.run(turtles, RunState::Interrupted, 1)
    }

    fn run(&self, turtles: &Turtles, end: RunState, stages: usize) -> RunDirectory {
        let store = self.store();
        let record = turtles.record();
        let run = RunDirectory::locate(self.path(), "turtles", &record.recipe).expect("the name is fit");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(turtles.at);
        let recorder =
            EventLog::open(&run, move || time, &Interrupt::default(), &mut || {}).expect("nobody is there");
        run.begin(&record, b"name = \"turtles\"\n", &turtles.resolved()).expect("the folder is writable");
        let names = record.stages.iter().map(|stage| stage.name.clone()).collect();
        let (name, run_dir, tasks) = ("turtles".into(), "here".into(), Default::default());
        recorder.event(&Event::RunStarted {
            name,
            run_dir,
            stages: names,
            tasks,
            images: BTreeMap::new(),
            outside: BTreeMap::new(),
        });
        for (done, stage) in record.stages.iter().enumerate() {
            let (name, kind) = (stage.name.clone(), stage.kind.clone());
            recorder.event(&Event::StageStarted {
                stage: name,
                kind,
                outcome: StageOutcome::Ran,
                reason: None,
            });
            let key = stage.key.expect("every key is known");
            let work =
                AttemptRequest { key: &key, variant: "scalar", uses: &[], forced: false, series: None };
            let finished =
                match store.begin(work, &Interrupt::default(), &mut || {}).expect("nobody is at it") {
                    AttemptStart::Published(finished) => finished,
                    AttemptStart::Working(attempt) => {
                        let write = |folder: &Path| {
                            for (file, bytes) in turtles.files(&stage.name) {
                                std::fs::write(folder.join(file), bytes).expect("the folder is writable");
                            }
                            Ok(())
                        };
                        if done == stages {
                            attempt.write_checkpoint(write).expect("a checkpoint");
                            write_live(&run.stage(&stage.name), &turtles.history(1));
                            break;
                        }
                        attempt.output().and_then(|folder| write(&folder)).expect("a folder");
                        attempt.finish(&store, false).expect("nothing else is there")
                    }
                };
            run.materialize(&store, &stage.name, &finished).expect("the store has it");
            let (stage, metrics) = (stage.name.clone(), BTreeMap::new());
            recorder.event(&Event::StageFinished {
                stage,
                outcome: StageOutcome::Ran,
                seconds: 1.5,
                metrics,
            });
        }
        if end == RunState::Complete {
            run.seal(&store).expect("all is there");
        }
        run.set_state(end).expect("the folder is writable");
        run
    }
}

fn write_live(folder: &Path, text: &str) {
    std::fs::create_dir_all(folder).expect("the folder is writable");
    std::fs::write(folder.join("history.csv"), text).expect("the folder is writable");
}

impl Turtles {
    fn record(&self) -> RunRecord {
        let document = json!({ "lr": self.lr, "photos": self.photos });
        let recipe = Digest::of_json(&document);
        let photos = |kind: &str| match kind {
            "load_weights" => json!({}),
            _ => json!({ "photos": Digest::of(self.photos.as_bytes()) }),
        };
        let stage = |name: &str, kind: &str, key: Value| StageRecord {
            name: name.into(),
            kind: kind.into(),
            recipe: Digest::of_json(&key),
            key: Some(Digest::of_json(&key)),
            document: json!({ "settings": key, "engine": { "conv2d": 3 }, "inputs": photos(kind) }),
            rules: Value::Null,
            frozen: Vec::new(),
            source: None,
            other_sources: Vec::new(),
        };
        let stages = vec![
            stage("pretrained", "load_weights", json!("weights")),
            StageRecord {
                frozen: vec!["conv.weight".into(), "bn.running_mean".into()],
                source: Some("stages/pretrained/weights.safetensors".into()),
                ..stage("finetune", "train", json!([self.lr, self.photos]))
            },
            stage("test", "evaluate", json!([self.lr, self.photos, self.accuracy, "test"])),
        ];
        RunRecord { name: "turtles".into(), label: None, recipe, profile: "scalar".into(), stages }
    }

    fn resolved(&self) -> String {
        format!(
            "seed = 42\n\n[stage.finetune]\nkind = \"train\"\nmonitor = \"validation/accuracy\"\n\
             optimizer = {{ kind = \"sgd\", lr = {:?} }}\n",
            self.lr
        )
    }

    fn history(&self, epochs: usize) -> String {
        let mut text = "epoch,lr,train_loss,validation_accuracy,is_best\n".to_owned();
        let rows =
            [(1, self.accuracy - 0.1, true), (2, self.accuracy, true), (3, self.accuracy - 0.05, false)];
        for (epoch, accuracy, best) in &rows[..epochs] {
            text += &format!("{epoch},{},0.5,{accuracy},{best}\n", self.lr);
        }
        text
    }

    fn files(&self, stage: &str) -> Vec<(&'static str, Vec<u8>)> {
        let state = |head: f32| {
            weights(&[
                ("conv.weight", &[1.0, -2.0, 3.0, 4.0]),
                ("bn.running_mean", &[0.5]),
                ("fc.weight", &[head]),
            ])
        };
        match stage {
            "pretrained" => vec![("weights.safetensors", state(0.0))],
            "finetune" => vec![
                ("best.safetensors", state(self.lr as f32)),
                ("last.safetensors", state(2.0 * self.lr as f32)),
                ("history.csv", self.history(3).into_bytes()),
            ],
            _ => {
                let metrics =
                    json!({ "accuracy": self.accuracy, "loss": 0.25, "confusion_matrix": [[1, 0], [0, 1]] });
                vec![("metrics.json", metrics.to_string().into_bytes())]
            }
        }
    }
}

/// Changes one byte range of a read-only file, as a failing disk might.
pub fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("the file is there");
    change(&mut bytes);
    std::fs::remove_file(path).expect("its folder is writable");
    std::fs::write(path, bytes).expect("its folder is writable");
}

/// The finished stages in the store, as folders.
pub fn objects(runs: &Runs) -> Vec<PathBuf> {
    let below = |path: &Path| {
        std::fs::read_dir(path).map(|entries| entries.flatten().map(|entry| entry.path()).collect())
    };
    let keys: Vec<PathBuf> = below(&runs.path().join(".store")).unwrap_or_default();
    let mut found: Vec<PathBuf> =
        keys.iter().filter(|key| key.is_dir()).flat_map(|key| below(key)).flatten().collect();
    found.sort();
    found
}
