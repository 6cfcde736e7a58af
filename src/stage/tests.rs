//! A train stage on a handful of images: however its features are come by, and wherever it was stopped, the same files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::data::Dataset;
use crate::error::{Kind, Result};
use crate::events::{Event, Interrupt, Observer, Quiet};
use crate::freeze::ParameterTable;
use crate::pipeline::{Arch, Head, ImageFolder, Model};
use crate::random::{Purpose, Stream};

/// Seven training and four validation images of two classes, one of each broken, and the weights to start from.
struct Scene(tempfile::TempDir);

type Files = BTreeMap<String, Vec<u8>>;

impl Scene {
    fn new() -> Self {
        let scene = Self(tempfile::tempdir().unwrap());
        for (part, count) in [("final", 2), ("judge", 4), ("learn", 7)] {
            for number in 0..count {
                scene.image(&format!("{part}/{}/{number}.png", ["cat", "dog"][number % 2]));
            }
        }
        for broken in ["judge/dog/3.png", "learn/cat/4.png"] {
            std::fs::write(scene.path("images").join(broken), "no image").unwrap();
        }
        let start = scene.path("start");
        std::fs::create_dir(&start).unwrap();
        let weights = InitWeights { subject: scene.subject(), seed: 5 };
        weights.execute(&scene.context(&start, &Folders::default(), &Quiet, &Interrupt::default())).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn image(&self, name: &str) {
        let path = self.path("images").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut stream = Stream::new(0, Purpose::Initialize, 0, crate::random::name_hash(name));
        let mut pixel = |_, _| image::Rgb([(); 3].map(|()| stream.next_u32() as u8));
        image::RgbImage::from_fn(40, 36, &mut pixel).save(path).unwrap();
    }

    fn subject(&self) -> Subject {
        let head = Head::Linear(toml::from_str("dropout = 0.4").unwrap());
        let classes = vec!["cat".to_owned(), "dog".to_owned()];
        Subject { model: Model { arch: Arch::EfficientNetLite0, head }, classes }
    }

    fn context<'a>(
        &self,
        output: &'a Path,
        checkpoints: &'a Folders,
        observer: &'a dyn Observer,
        interrupt: &'a Interrupt,
    ) -> Context<'a> {
        Context {
            stage: "stage",
            source: checkpoints.source.as_deref(),
            output,
            live: None,
            checkpoints,
            observer,
            interrupt,
            clock: &|| 0.0,
            workers: 2,
            checkpoint_seconds: f64::INFINITY,
            image_cache: 1 << 20,
        }
    }

    /// Two epochs of the head alone. `change` is made to the stage.
    fn execute(
        &self,
        checkpoints: &Folders,
        observer: &dyn Observer,
        interrupt: &Interrupt,
        change: &dyn Fn(&mut Train),
    ) -> Result<Files> {
        let folder: ImageFolder = toml::from_str(
            "root = \"\"\nimage_size = 32\nbroken = \"skip\"\n\
             split.folders = { train = \"learn\", validation = \"judge\", test = \"final\" }",
        )
        .unwrap();
        let dataset = Arc::new(Dataset::scan(&folder, &self.path("images")).unwrap());
        let settings = toml::from_str(
            "from = \"start\"\nepochs = 2\nbatch_size = 3\noptimizer = { kind = \"adamw\", lr = 1e-2 }\n\
             train = [\"@head\"]",
        )
        .unwrap();
        let description = self.subject().build().description;
        let table = ParameterTable::resolve(&description, &settings).unwrap();
        let view = View::new(&folder, None);
        let mut train = Train::new(self.subject(), view, Some(dataset), settings, table, &description, 11);
        assert_eq!(train.prefix, Prefix { layers: 18, recomputed: None });
        change(&mut train);
        let output = tempfile::tempdir().unwrap();
        train.execute(&self.context(output.path(), checkpoints, observer, interrupt))?;
        let files = std::fs::read_dir(output.path()).unwrap().map(|file| file.unwrap());
        let name = |file: &std::fs::DirEntry| file.file_name().into_string().unwrap();
        Ok(files.map(|file| (name(&file), std::fs::read(file.path()).unwrap())).collect())
    }

    fn checkpoints(&self) -> Folders {
        let source = Some(self.path("start").join(MODEL));
        Folders { source, folder: Some(tempfile::tempdir().unwrap()), ..Folders::default() }
    }

    fn files(&self, change: impl Fn(&mut Train)) -> Files {
        self.execute(&self.checkpoints(), &Quiet, &Interrupt::default(), &change).unwrap()
    }
}

/// Checkpoints in folders, the last of which counts.
#[derive(Default)]
struct Folders {
    /// The weights that the stage starts from.
    source: Option<PathBuf>,
    folder: Option<tempfile::TempDir>,
    saved: RefCell<Vec<PathBuf>>,
}

impl Checkpoints for Folders {
    fn latest(&self) -> Result<Option<PathBuf>> {
        Ok(self.saved.borrow().last().cloned())
    }

    fn save(&self, fill: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
        let mut saved = self.saved.borrow_mut();
        let next = self.folder.as_ref().unwrap().path().join(saved.len().to_string());
        std::fs::create_dir(&next).unwrap();
        fill(&next)?;
        saved.push(next);
        Ok(())
    }
}

/// Asks to stop after the second step, or after the first where one is counted beforehand.
#[derive(Default)]
struct Impatient {
    interrupt: Interrupt,
    steps: AtomicUsize,
}

impl Observer for Impatient {
    fn event(&self, event: &Event) {
        if matches!(event, Event::Step { .. }) && self.steps.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            self.interrupt.request();
        }
    }
}

#[track_caller]
fn assert_same(one: &Files, other: &Files, what: &str) {
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{what}");
    let differing: Vec<&String> = one.keys().filter(|name| one[*name] != other[*name]).collect();
    assert!(differing.is_empty(), "{what}: {differing:?} differ");
}

#[test]
fn features_kept_or_computed_anew_or_on_the_tape_give_the_same_files() {
    let scene = Scene::new();
    let kept = scene.files(|_| ());
    let metrics: serde_json::Value = serde_json::from_slice(&kept["metrics.json"]).unwrap();
    assert_eq!(metrics["broken_images"], 2);
    assert!(kept.contains_key("best.safetensors") && kept.contains_key("last.safetensors"));
    let anew = scene.files(|train| train.prefix.recomputed = Some("the test wants it"));
    assert_same(&kept, &anew, "computed anew");
    let on_tape = scene.files(|train| {
        train.prefix = Prefix { layers: 0, recomputed: Some("the test wants it") };
    });
    assert_same(&kept, &on_tape, "on the tape");
    // The recipe does not count test images, and this one comes first of all images.
    scene.image("final/cat/0.5.png");
    assert_same(&kept, &scene.files(|_| ()), "with one more test image");
}

#[test]
fn a_stage_stopped_twice_leaves_the_same_files() {
    let scene = Scene::new();
    let whole = scene.files(|_| ());
    for recomputed in [None, Some("the test wants it")] {
        let change = |train: &mut Train| train.prefix.recomputed = recomputed;
        let checkpoints = scene.checkpoints();
        let mut stops = 0;
        let files = loop {
            let impatient = Impatient::default();
            impatient.steps.store(stops % 2, Ordering::Relaxed);
            match scene.execute(&checkpoints, &impatient, &impatient.interrupt, &change) {
                Ok(files) => break files,
                Err(error) => assert_eq!(error.kind, Kind::Interrupted),
            }
            stops += 1;
        };
        assert!(stops >= 2, "{stops} stops");
        assert_same(&whole, &files, "stopped");
    }
}
