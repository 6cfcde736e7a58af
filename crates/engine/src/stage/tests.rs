//! A train stage on a handful of images: however its features are come by, and wherever it was stopped, the same files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::*;
use crate::data::{Dataset, Label, LabelKind};
use crate::error::{ErrorKind, Result};
use crate::events::{Event, Interrupt, NullObserver, Observer};
use crate::features::FeatureStore;
use crate::freeze::ParameterTable;
use crate::model::AdapterSpec;
use crate::pipeline::{Arch, Data, FeatureType, Head, ImageFolder, ImageSettings, Model, Monitor};
use crate::random::{Purpose, Stream};
use crate::ranks::Team;
use crate::store::{InputIndex, disk};
use crate::task::TaskKind;

mod boxed_features;
mod branching;
mod regression;

/// Seven training and four validation images of two classes, one of each broken, the weights to start from, and those of
/// a teacher.
struct Scene(tempfile::TempDir);

type Files = BTreeMap<String, Vec<u8>>;

/// A train stage with its images.
struct Staged {
    train: TrainStage,
    dataset: Arc<Dataset>,
}

impl Staged {
    fn execute(&self, context: &StageContext) -> Result<()> {
        self.train.execute(&self.dataset, context)
    }
}

impl Deref for Staged {
    type Target = TrainStage;

    fn deref(&self) -> &TrainStage {
        &self.train
    }
}

impl DerefMut for Staged {
    fn deref_mut(&mut self) -> &mut TrainStage {
        &mut self.train
    }
}

/// What a test makes of a stage.
type Change<'a> = &'a dyn Fn(&mut Staged);

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
        for (name, seed) in [("start", 5), ("teacher", 6)] {
            let folder = scene.path(name);
            std::fs::create_dir(&folder).unwrap();
            let weights = InitWeightsStage { model_spec: scene.model_spec(), seed };
            let (folders, interrupt) = (Folders::default(), Interrupt::default());
            weights.execute(&scene.context(&folder, &folders, None, &NullObserver, &interrupt)).unwrap();
        }
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

    fn model_spec(&self) -> ModelSpec {
        let head = Head::Linear(toml::from_str("dropout = 0.4").unwrap());
        let classes = vec!["cat".to_owned(), "dog".to_owned()];
        let model = Model { head, ..Model::of(Arch::EfficientNetLite0) };
        ModelSpec {
            model,
            classes,
            task: TaskKind::Classification,
            image_size: 32,
            channels: 3,
            adapter: None,
        }
    }

    fn context<'a>(
        &self,
        output: &'a Path,
        checkpoints: &'a Folders,
        features: Option<&'a FeatureStore<'a>>,
        observer: &'a dyn Observer,
        interrupt: &'a Interrupt,
    ) -> StageContext<'a> {
        StageContext {
            team: Team::alone(),
            device: &candle_core::Device::Cpu,
            stage: "stage",
            sources: &checkpoints.sources,
            output,
            live: None,
            checkpoints,
            features,
            observer,
            interrupt,
            clock: &|| 0.0,
            workers: 2,
            checkpoint_seconds: f64::INFINITY,
            keep_training_state: false,
            image_cache: 1 << 20,
        }
    }

    fn images(&self) -> (ImageSettings, Arc<Dataset>) {
        let folder: ImageFolder = toml::from_str(
            "root = \"\"\nimage_size = 32\nbroken = \"skip\"\n\
             split.folders = { train = \"learn\", validation = \"judge\", test = \"final\" }",
        )
        .unwrap();
        let mut dataset = Dataset::scan(&folder, &self.path("images")).unwrap();
        for index in 0..dataset.samples.len() {
            dataset.samples[index].digest = Some(disk::digest_file(&dataset.file(index)).unwrap());
        }
        (Data::ImageFolder(folder).images(), Arc::new(dataset))
    }

    /// Two epochs of the head alone. `change` is made to the stage.
    fn stage(&self, change: Change) -> Staged {
        let (folder, dataset) = self.images();
        let settings = toml::from_str(
            "from = \"start\"\nepochs = 2\nbatch_size = 3\noptimizer = { kind = \"adamw\", lr = 1e-2 }\n\
             train = [\"@head\"]",
        )
        .unwrap();
        let description = Arc::new(self.model_spec().build().description);
        let table = ParameterTable::resolve(&description, &settings).unwrap();
        let preprocess = Preprocess::new(&folder, None, Arch::ResNet18);
        let train = TrainStage::new(self.model_spec(), preprocess, settings, table, description, 11);
        assert_eq!(train.prefixes, [FrozenPrefix::without_features(18)]);
        let mut staged = Staged { train, dataset };
        change(&mut staged);
        staged
    }

    /// Executes a stage, with features kept in the scene where `folders` say so.
    fn execute(
        &self,
        folders: &Folders,
        observer: &dyn Observer,
        interrupt: &Interrupt,
        work: &dyn Fn(&StageContext) -> Result<()>,
    ) -> Result<Files> {
        let index = InputIndex::open(self.path("inputs.index"));
        let store = FeatureStore::new(self.path("features"), &index, "scalar", folders.room.unwrap_or(0));
        let store = folders.room.map(|_| &store);
        let output = tempfile::tempdir().unwrap();
        work(&self.context(output.path(), folders, store, observer, interrupt))?;
        let files = std::fs::read_dir(output.path()).unwrap().map(|file| file.unwrap());
        let name = |file: &std::fs::DirEntry| file.file_name().into_string().unwrap();
        Ok(files.map(|file| (name(&file), std::fs::read(file.path()).unwrap())).collect())
    }

    fn folders(&self, room: Option<u64>) -> Folders {
        let sources = ["start", "teacher"].map(|name| self.path(name).join(MODEL)).into();
        Folders { sources, folder: Some(tempfile::tempdir().unwrap()), room, ..Folders::default() }
    }

    /// The files of a train stage, with or without room for features.
    fn files(&self, room: Option<u64>, change: impl Fn(&mut Staged)) -> Files {
        let stage = self.stage(&change);
        let work = |context: &StageContext| stage.execute(context);
        self.execute(&self.folders(room), &NullObserver, &Interrupt::default(), &work).unwrap()
    }
}

const ROOM: Option<u64> = Some(u64::MAX);

/// Checkpoints in folders, the last of which counts.
#[derive(Default)]
struct Folders {
    /// The weights that the stage may read: those it starts from, and its teacher's.
    sources: Vec<PathBuf>,
    folder: Option<tempfile::TempDir>,
    /// The most bytes that features may take, if they are kept at all.
    room: Option<u64>,
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

/// How many features were computed, and how many found.
#[derive(Default)]
struct Counting {
    images: AtomicU64,
    stored: AtomicU64,
    warnings: AtomicU64,
}

impl Observer for Counting {
    fn event(&self, event: &Event) {
        match event {
            Event::FeaturesFound { images, stored, .. } => {
                self.images.fetch_add(*images, Ordering::Relaxed);
                self.stored.fetch_add(*stored, Ordering::Relaxed);
            }
            Event::Warning { .. } => _ = self.warnings.fetch_add(1, Ordering::Relaxed),
            _ => {}
        }
    }
}

impl Counting {
    fn counts(&self) -> (u64, u64) {
        (self.images.load(Ordering::Relaxed), self.stored.load(Ordering::Relaxed))
    }
}

/// Rotation and flips, of which two views are kept: the first of three epochs' views comes back in the last.
fn views(train: &mut Staged) {
    train.settings.augment = toml::from_str("rotation = 20\nhorizontal_flip = 0.5").unwrap();
    train.settings.epochs = 3;
    train.prefixes[0].views = Some(2);
}

/// Images of a batch mixed with each other.
fn mixing(train: &mut Staged) {
    train.settings.augment = toml::from_str("mixup = {}\ncutmix = {}\nhorizontal_flip = 0.5").unwrap();
    train.prefixes[0].recomputed = Some("the augmentation changes the images every epoch");
}

/// Every image has a label, one of them two.
fn labels(train: &mut Staged) {
    let dataset = Arc::make_mut(&mut train.dataset);
    dataset.label_kind = LabelKind::Labels;
    for sample in &mut dataset.samples {
        sample.label = Label::Labels(sample.label.classes().into_owned());
    }
    dataset.samples[3].label = Label::Labels(vec![0, 1]);
    train.model_spec.task = TaskKind::MultiLabel;
    train.settings.loss = toml::from_str("kind = \"bce\"\npositive_weights = \"balanced\"").unwrap();
    train.settings.monitor = Monitor::ValidationMap;
}

/// Taught by a model of other weights, on changed and mixed images.
fn taught(train: &mut Staged) {
    mixing(train);
    train.settings.distill = toml::from_str("teacher = \"teacher\"\ntemperature = 2").ok();
    train.teacher = Some(train.model_spec.clone());
}

#[test]
fn a_teacher_says_the_same_whatever_is_frozen_and_stays_as_it_is() {
    let scene = Scene::new();
    let before = std::fs::read(scene.path("teacher").join(MODEL)).unwrap();
    let files = scene.files(ROOM, taught);
    let on_the_tape = |train: &mut Staged| {
        taught(train);
        train.prefixes = vec![FrozenPrefix::without_features(0)];
    };
    assert_same(&files, &scene.files(None, on_the_tape), "on the tape");
    assert_ne!(files["last.safetensors"], scene.files(None, mixing)["last.safetensors"]);
    assert_eq!(std::fs::read(scene.path("teacher").join(MODEL)).unwrap(), before);
}

#[test]
fn features_kept_or_computed_anew_or_on_the_tape_give_the_same_files() {
    let scene = Scene::new();
    let kept = scene.files(ROOM, |_| ());
    let metrics: serde_json::Value = serde_json::from_slice(&kept["metrics.json"]).unwrap();
    assert_eq!(metrics["broken_images"], 2);
    assert!(kept.contains_key("best.safetensors") && kept.contains_key("last.safetensors"));
    assert_same(&kept, &scene.files(ROOM, |_| ()), "from the store");
    assert_same(&kept, &scene.files(None, |_| ()), "computed anew");
    assert_same(
        &kept,
        &scene.files(None, |train| train.prefixes = vec![FrozenPrefix::without_features(0)]),
        "on the tape",
    );
    // The recipe does not count test images, and this one comes first of all images.
    scene.image("final/cat/0.5.png");
    assert_same(&kept, &scene.files(ROOM, |_| ()), "with one more test image");
}

#[test]
fn views_and_half_precision_are_the_same_whether_or_not_they_are_kept() {
    let scene = Scene::new();
    let plain = scene.files(None, |_| ());
    let half = |train: &mut Staged| train.prefixes[0].kind = FeatureType::Bf16;
    let changes: [(&str, Change); 3] = [
        ("bf16", &half),
        ("views", &views),
        ("views in bf16", &|train| {
            views(train);
            half(train);
        }),
    ];
    let mut all = vec![plain["last.safetensors"].clone()];
    for (what, change) in changes {
        let kept = scene.files(ROOM, change);
        assert_same(&kept, &scene.files(None, change), what);
        assert_same(&kept, &scene.files(ROOM, change), what);
        assert!(!all.contains(&kept["last.safetensors"]), "{what} is a result of its own");
        all.push(kept["last.safetensors"].clone());
    }
    // As many views as epochs are the augmentation itself.
    let enough = |train: &mut Staged| {
        views(train);
        train.prefixes[0].views = Some(3);
    };
    let augmented = |train: &mut Staged| {
        views(train);
        train.prefixes[0].views = None;
        train.prefixes[0].recomputed = Some("the augmentation changes the images every epoch");
    };
    assert_same(&scene.files(ROOM, enough), &scene.files(None, augmented), "a view for each epoch");
}

/// The head, then the layer below it, then the last block: the prefix gets shorter twice.
fn gradual(train: &mut Staged) {
    train.settings.epochs = 4;
    // No batch may shrink to one image, which batch normalization rejects.
    train.settings.batch_size = 16;
    train.settings.unfreeze = [(1, 2), (2, 3)]
        .map(|(after_epochs, last)| {
            toml::from_str(&format!("after_epochs = {after_epochs}\nlast = {last}")).unwrap()
        })
        .into();
    let description = Arc::clone(&train.description);
    train.table = ParameterTable::resolve(&description, &train.settings).unwrap();
    train.prefixes = FrozenPrefix::of_training(&description, &train.table, &train.settings);
}

#[test]
fn a_prefix_that_gets_shorter_gives_the_files_of_none_at_all() {
    let scene = Scene::new();
    let layers = |train: &Staged| train.prefixes.iter().map(|prefix| prefix.layers).collect::<Vec<_>>();
    assert_eq!(layers(&scene.stage(&gradual)), [18, 17, 16]);
    let kept = scene.files(ROOM, gradual);
    assert_same(&kept, &scene.files(ROOM, gradual), "from the store");
    assert_same(&kept, &scene.files(None, gradual), "computed anew");
    let no_prefix = |train: &mut Staged| {
        gradual(train);
        train.prefixes = vec![FrozenPrefix::without_features(0)];
    };
    assert_same(&kept, &scene.files(None, no_prefix), "on the tape");
    let counting = Counting::default();
    let stage = scene.stage(&gradual);
    let work = |context: &StageContext| stage.execute(context);
    scene.execute(&scene.folders(ROOM), &counting, &Interrupt::default(), &work).unwrap();
    assert_eq!(counting.counts(), (33, 33), "eleven images behind each of three prefixes");
}

#[test]
fn interrupted_as_a_prefix_gets_shorter_it_ends_in_the_same_files() {
    let scene = Scene::new();
    let stage = scene.stage(&gradual);
    let work = |context: &StageContext| stage.execute(context);
    let whole = scene.files(ROOM, gradual);
    let folders = scene.folders(ROOM);
    loop {
        let impatient = Impatient::default();
        match scene.execute(&folders, &impatient, &impatient.interrupt, &work) {
            Ok(files) => break assert_same(&whole, &files, "resumed"),
            Err(error) => assert_eq!(error.kind, crate::error::ErrorKind::Interrupted, "{error}"),
        }
    }
    assert_eq!(folders.saved.borrow().len(), 4, "twice where a phase began, twice on request");
}

#[test]
fn what_is_in_the_store_needs_no_image() {
    let scene = Scene::new();
    let (first, again) = (Counting::default(), Counting::default());
    let count = |counting: &Counting, stage: Staged, folders: &Folders| {
        scene.execute(folders, counting, &Interrupt::default(), &|context| stage.execute(context)).unwrap()
    };
    count(&first, scene.stage(&|_| ()), &scene.folders(ROOM));
    assert_eq!(first.counts(), (11, 0));
    let other = |train: &mut Staged| train.settings.batch_size = 4;
    let expected = scene.files(None, other);
    let stage = scene.stage(&other);
    let (folder, dataset) = scene.images();
    let evaluate = |layers| {
        let preprocess = Preprocess::new(&folder, None, Arch::ResNet18);
        let members = vec![EnsembleMember { model_spec: scene.model_spec(), layers }];
        EvaluateStage {
            members,
            preprocess,
            split: crate::data::Split::Train,
            recognition: None,
            subsets: Vec::new(),
            fits: Default::default(),
            tta: None,
        }
    };
    let judged = |room, layers| {
        let work = evaluate(layers);
        let work = |context: &StageContext| work.execute(&dataset, context);
        scene.execute(&scene.folders(room), &NullObserver, &Interrupt::default(), &work).unwrap()
    };
    let uncached = judged(None, 0);
    assert_same(&uncached, &judged(None, 18), "an evaluation in two parts");

    // But for those that cannot be decoded: why is found out again.
    let kept = ["judge/dog/3.png", "learn/cat/4.png"].map(|broken| format!("images/{broken}"));
    let content = kept.each_ref().map(|broken| std::fs::read(scene.path(broken)).unwrap());
    std::fs::rename(scene.path("images"), scene.path("moved")).unwrap();
    for (broken, content) in kept.iter().zip(content) {
        std::fs::create_dir_all(scene.path(broken).parent().unwrap()).unwrap();
        std::fs::write(scene.path(broken), content).unwrap();
    }
    assert_same(&expected, &count(&again, stage, &scene.folders(ROOM)), "another stage");
    assert_eq!(again.counts(), (11, 11));
    // An evaluation shows some of its images.
    std::fs::remove_dir_all(scene.path("images")).unwrap();
    std::fs::rename(scene.path("moved"), scene.path("images")).unwrap();
    assert_same(&uncached, &judged(ROOM, 18), "an evaluation from the store");
}

#[test]
fn a_new_photo_is_one_row_and_a_broken_one_is_an_error_where_it_may_not_be_skipped() {
    let scene = Scene::new();
    scene.files(ROOM, |_| ());
    scene.image("learn/dog/new.png");
    // The same content elsewhere has its row.
    std::fs::copy(scene.path("images/learn/dog/1.png"), scene.path("images/learn/dog/copy.png")).unwrap();
    let counting = Counting::default();
    let execute = |change: Change| {
        let stage = scene.stage(change);
        let work = |context: &StageContext| stage.execute(context);
        scene.execute(&scene.folders(ROOM), &counting, &Interrupt::default(), &work)
    };
    execute(&|_| ()).unwrap();
    assert_eq!(counting.counts(), (13, 12));
    let error = execute(&|train| train.preprocess.0.broken = crate::pipeline::Broken::Error).unwrap_err();
    assert!(error.message.starts_with("cannot decode `"), "{error}");
}

#[test]
fn features_without_room_are_computed_anew_after_a_warning() {
    let scene = Scene::new();
    let counting = Counting::default();
    let changes: [Change; 2] = [&|_| (), &views];
    for change in changes {
        let stage = scene.stage(change);
        let work = |context: &StageContext| stage.execute(context);
        let files =
            scene.execute(&scene.folders(Some(999)), &counting, &Interrupt::default(), &work).unwrap();
        assert_same(&files, &scene.files(None, change), "without room");
    }
    assert_eq!(counting.warnings.load(Ordering::Relaxed), 2);
}

#[test]
fn features_interrupted_in_the_middle_go_on_from_there() {
    struct Stopping(Interrupt, Counting);
    impl Observer for Stopping {
        fn event(&self, event: &Event) {
            self.1.event(event);
            if let Event::Features { .. } = event {
                self.0.request();
            }
        }
    }
    let scene = Scene::new();
    for number in 7..80 {
        scene.image(&format!("learn/{}/{number}.png", ["cat", "dog"][number % 2]));
    }
    let expected = scene.files(None, |_| ());
    let stage = scene.stage(&|_| ());
    let work = |context: &StageContext| stage.execute(context);
    let mut stored = Vec::new();
    for stop in [true, true, false] {
        let stopping = Stopping(Interrupt::default(), Counting::default());
        let quiet = Interrupt::default();
        let interrupt = if stop { &stopping.0 } else { &quiet };
        let outcome = scene.execute(&scene.folders(ROOM), &stopping, interrupt, &work);
        match outcome {
            Ok(files) => assert_same(&expected, &files, "after two interruptions"),
            Err(error) => assert_eq!(error.kind, ErrorKind::Interrupted),
        }
        stored.push(stopping.1.counts().1);
    }
    assert_eq!(stored[0], 0);
    assert!(0 < stored[1] && stored[1] < stored[2] && stored[2] < 84, "{stored:?}");
}

/// A setting that is left at its default must not move features that are in the store.
#[test]
fn what_features_are_made_of_names_settings_only_where_they_are_set() {
    let scene = Scene::new();
    let stage = scene.stage(&|_| ());
    let made_by = |layers: usize, model_spec: &ModelSpec, labels| {
        let description = model_spec.build().description;
        let state = crate::weights::initialize_all(&description, 1).unwrap();
        prefix::cache_identity(
            model_spec,
            &description,
            &state,
            &FrozenPrefix::without_features(layers),
            &stage.preprocess,
            labels,
            None,
        )
        .unwrap()
    };
    let made_of_labelled = |model_spec: &ModelSpec, labels| made_by(1, model_spec, labels);
    let made_of = |model_spec: &ModelSpec| made_of_labelled(model_spec, LabelKind::Class);
    let fields =
        |made_of: &serde_json::Value| made_of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let plain = ["arch", "dtype", "engine", "images", "layers", "random", "tensors"];
    assert_eq!(fields(&made_of(&scene.model_spec())), plain);
    // Rows of images with boxes are of another shape.
    assert_eq!(made_of_labelled(&scene.model_spec(), LabelKind::Labels), made_of(&scene.model_spec()));
    let boxed = made_of_labelled(&scene.model_spec(), LabelKind::Boxes);
    assert_eq!((boxed["picture_sizes"].as_bool(), fields(&boxed).len()), (Some(true), plain.len() + 1));
    let model = |more: &str| toml::from_str(&format!("arch = \"dinov2_vits14\"\n{more}")).unwrap();
    let encoder = ModelSpec { model: model(""), ..scene.model_spec() };
    let by_size = ModelSpec { model: model("position_resampling = \"size\""), ..scene.model_spec() };
    assert_eq!(fields(&made_of(&encoder)), plain);
    let made = made_of(&by_size);
    assert_eq!(
        (&made["position_resampling"], &made["engine"]["position_resampling"]),
        (&"size".into(), &1.into())
    );
    assert_ne!(encoder.document(), by_size.document());
    // Adapters count where the layers have them.
    let weights = vec!["blocks.0.attn.qkv.weight".to_owned()];
    let adapter = AdapterSpec { weights, rank: 2, alpha: 3.0 };
    let adapted = ModelSpec { adapter: Some(adapter), ..encoder.clone() };
    assert_eq!(made_of(&adapted), made_of(&encoder));
    let made = made_by(2, &adapted, LabelKind::Class);
    assert_eq!((&made["adapter_scale"], &made["engine"]["low_rank"]), (&1.5.into(), &1.into()));
    assert_eq!(fields(&made).len(), plain.len() + 1);
}

#[test]
fn a_stage_stopped_twice_leaves_the_same_files() {
    let scene = Scene::new();
    let changes: [Change; 5] = [&|_| (), &views, &mixing, &taught, &labels];
    for (change, room) in changes.into_iter().flat_map(|change| [(change, ROOM), (change, None)]) {
        let whole = scene.files(None, change);
        let folders = scene.folders(room);
        let mut stops = 0;
        let files = loop {
            let impatient = Impatient::default();
            impatient.steps.store(stops % 2, Ordering::Relaxed);
            let stage = scene.stage(change);
            let work = |context: &StageContext| stage.execute(context);
            match scene.execute(&folders, &impatient, &impatient.interrupt, &work) {
                Ok(files) => break files,
                Err(error) => assert_eq!(error.kind, ErrorKind::Interrupted),
            }
            stops += 1;
        };
        assert!(stops >= 2, "{stops} stops");
        assert_same(&whole, &files, "stopped");
    }
}
